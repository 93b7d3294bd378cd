"""What the pages of figures are made of: tables, ratios, and the causes of what falls short."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from dlcore.bench.session import Measurement

CAUSES = Path(__file__).with_name("causes.txt")
_TEXT = ("case", "dtype", "stays at", "why")  # columns of words begin at the left, numbers end at the right


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; its first column is a name."""
    rule = ["---", *("---" if name in _TEXT else "---:" for name in header[1:])]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (header, rule, *rows))


def best(m: Measurement, engines: Iterable[str]) -> str | None:
    """The fastest of some engines, of those that took part."""
    return min((e for e in engines if e in m.engines), key=lambda e: m.engines[e].median, default=None)


def ratio(m: Measurement, engine: str, against: Iterable[str]) -> float | None:
    """How many times faster an engine is than the best of others that took part."""
    fastest = best(m, against)
    return None if fastest is None else m.engines[fastest].median / m.engines[engine].median


def times(factor: float | None) -> str:
    """A ratio as a cell."""
    return "" if factor is None else f"{factor:.2f}x"


def causes(text: str) -> dict[str, str]:
    """Key -> what holds it back, as it was measured: lines of "key: cause"; a key may begin with a model, "d: GPT"."""
    lines = (re.match(r"((?:[a-z]: )?.+?): (.+)", x) for x in text.splitlines() if not x.startswith("#"))
    return {line[1].strip(): line[2].strip() for line in lines if line}


def keys(case: str, shape: str = "", threads: int = 1) -> tuple[str, ...]:
    """What a cause may be told of: a case on so many threads, a case, what is computed in any cache, an operation."""
    return f"{case} t{threads}", case, shape, re.split(r"[( ,]", case)[0]


def cause(m: Measurement, known: dict[str, str]) -> str:
    """What is known to hold a case back."""
    return next((known[key] for key in keys(m.case, m.shape, m.threads) if key in known), "")
