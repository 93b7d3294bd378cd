"""Results as files: JSON with all there is, CSV with a line for each engine and case; and two of them compared."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from dlcore import _json
from dlcore._files import write
from dlcore._json import short
from dlcore.bench.session import LIBRARIES, Measurement, Timing

__all__ = ["Change", "Results", "changes", "drift"]

FORMAT = 1


@dataclass
class Results:
    """Measurements of one run, with where and with what they were taken. ``roofs``: of the machine, as JSON."""

    machine: dict[str, Any]
    versions: dict[str, str]
    rows: list[Measurement]
    roofs: dict[str, Any] | None = None

    def save(self, path: Path) -> tuple[Path, Path]:
        """Writes ``path``.json and ``path``.csv, each whole or not at all."""
        files = path.with_suffix(".json"), path.with_suffix(".csv")
        data = {"format": FORMAT, "machine": self.machine, "versions": self.versions, "roofs": self.roofs}
        rows = [asdict(m) | {"engines": {e: t._asdict() for e, t in m.engines.items()}} for m in self.rows]
        write(files[0], json.dumps(data | {"rows": rows}, indent=1) + "\n")
        write(files[1], self._csv())
        return files

    def _csv(self) -> str:
        text = io.StringIO()
        own = [f.name for f in fields(Measurement) if f.name not in ("engines", "problems")]
        writer = csv.writer(text, lineterminator="\n")
        place = {k: self.machine[k] for k in ("processor", "gpu", "commit", "date") if k in self.machine}
        writer.writerow([*own, "engine", "version", *Timing._fields, *place])
        for m in self.rows:
            shared = [getattr(m, name) for name in own]
            for engine, timing in m.engines.items():
                version = self.versions.get(engine.partition(" ")[0], "")
                writer.writerow([*shared, engine, version, *timing, *place.values()])
        return text.getvalue()

    @staticmethod
    def load(path: Path) -> Results:
        """Results from ``path``.json. Raises ValueError where it holds something else."""
        path = path.with_suffix(".json") if path.suffix != ".json" else path
        try:
            data = _json.read(path, FORMAT)
            rows = _json.typed(list[Measurement], data.get("rows"), "rows")
            for m in rows:
                if any(min(t.median, t.p20, t.p80) <= 0 for t in m.engines.values()):
                    raise ValueError(f"{short(m.case)} has a time that is not above 0")
            machine = _json.typed(dict[str, Any], data.get("machine"), "machine")
            versions = _json.typed(dict[str, str], data.get("versions"), "versions")
            roofs: Any = _json.typed(dict[str, Any] | None, data.get("roofs"), "roofs")  # type: ignore[arg-type]
            return Results(machine, versions, rows, roofs)
        except ValueError as error:
            raise ValueError(f"{path} holds no results of dlcore bench ({error})") from None


# ---- two runs -----------------------------------------------------------------------------------------------------


class Change(NamedTuple):
    """A case of two runs. ``ratio``: how many times faster the second is, the machine's own change taken out;
    ``noise``: what it must exceed (as a fraction) to count; ``verdict``: "faster", "slower" or "noise"."""

    case: str
    first: float
    second: float
    ratio: float
    noise: float
    verdict: str


def _key(m: Measurement) -> tuple[str, str, int, str]:
    return m.case, m.cache, m.threads, m.device


def _pairs(a: Results, b: Results) -> list[tuple[Measurement, Measurement]]:
    known = {_key(m): m for m in a.rows if m.own in m.engines}
    return [(known[_key(m)], m) for m in b.rows if _key(m) in known and m.own in m.engines]


def drift(a: Results, b: Results) -> tuple[float, int]:
    """How many times faster the machine itself was in ``b``, by libraries of the same version in both: the median
    over their cases, and of how many. (1.0, 0) where there are none."""
    same = [name for name in LIBRARIES if name in a.versions and a.versions[name] == b.versions.get(name)]
    ratios = [
        then.engines[e].median / now.engines[e].median
        for then, now in _pairs(a, b)
        for e in then.engines
        if e in now.engines and e.partition(" ")[0] in same
    ]
    return (statistics.median(ratios), len(ratios)) if ratios else (1.0, 0)


def changes(a: Results, b: Results) -> list[Change]:
    """The cases that both runs have.

    A change counts when it exceeds both runs' noise (dlcore timed twice in one run), and what is left of the spread of
    the peers' own ratios: libraries that did not change tell how far the same code is apart in two runs.
    """
    machine, _ = drift(a, b)
    found = []
    for then, now in _pairs(a, b):
        ratio = then.seconds / now.seconds / machine
        noise = max(0.03, 2 * then.noise, 2 * now.noise, _peers_change(then, now, machine))
        verdict = "noise" if abs(math.log(ratio)) <= math.log1p(noise) else "faster" if ratio > 1 else "slower"
        apart = then.engines["dlcore"], now.engines["dlcore"]
        if verdict != "noise" and apart[0].p20 <= apart[1].p80 * machine and apart[1].p20 * machine <= apart[0].p80:
            verdict = "noise"  # the middle three fifths of the samples overlap
        name = f"{now.case}, {now.cache}, {now.threads}t"
        found.append(Change(name, then.seconds, now.seconds, ratio, noise, verdict))
    return sorted(found, key=lambda c: c.ratio)


def _peers_change(then: Measurement, now: Measurement, machine: float) -> float:
    """By how much libraries, whose code is the same, differ in this case between the runs; the median of them."""
    ratios = [
        then.engines[e].median / now.engines[e].median / machine
        for e in then.engines
        if e in now.engines and not e.startswith("dlcore")
    ]
    return math.expm1(statistics.median(abs(math.log(r)) for r in ratios)) if ratios else 0.0


def ratios(rows: Sequence[Measurement], library: str) -> list[float]:
    """dlcore over a library, of the cases that both have."""
    return [r for r in (m.ratio(library) for m in rows) if r is not None]
