"""How the goals of bench/suites.py stand in a machine's results, and what holds back what falls short."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.figures import CAUSES, best, cause, causes, ratio, table, times
from bench.launches import GOAL
from bench.suites import SUITES, Goal
from dlcore.bench.results import Results
from dlcore.bench.session import Measurement

UNKNOWN = "not isolated yet"


def held(suite: str, rows: Sequence[Measurement]) -> Iterator[tuple[Measurement, Goal, str, float]]:
    """Each goal that can be judged: (measurement, goal, what it is held against, ratio)."""
    known = {t.case.name: t for t in SUITES[suite]}
    for m in rows:
        for goal in known[m.case].goals if m.case in known else ():
            reached, fastest = ratio(m, goal.engine, goal.against), best(m, goal.against)
            if reached is not None and fastest is not None and goal.threads in (None, m.threads):
                yield m, goal, fastest, reached


def verdicts(suite: str, rows: Sequence[Measurement]) -> list[tuple[str, bool]]:
    """How goals stand, in words, and whether each is reached."""
    lines = []
    for m, goal, fastest, reached in held(suite, rows):
        text = f"{m.case}, {m.threads} thread(s): {goal.engine} is {reached:.2f} of {goal.factor:.2g} times {fastest}"
        lines.append((f"{text}, noise {m.noise:.0%}", reached >= goal.factor))
    return lines


def page(results: Path) -> str:
    """A line for each suite, and one for each case that falls short somewhere, with the reason."""
    known, counts = causes(CAUSES.read_text()), []
    short: dict[tuple[str, str, str, str], list[str]] = {}  # (suite, case, goal, why) -> where it stays
    for suite in SUITES:
        path = results / f"{suite}.json"
        found = list(held(suite, Results.load(path).rows)) if path.exists() else []
        missed = [(m, goal, fastest, reached) for m, goal, fastest, reached in found if reached < goal.factor]
        counts += [_counted(suite, len(found), len(missed))] if found else []
        for m, goal, fastest, reached in missed:
            key = suite, _subject(m), f"{goal.factor:.2g}x", cause(m, known) or UNKNOWN
            where = f"{_threads(m.threads)}{', cold' * (m.cache == 'cold')}"
            short.setdefault(key, []).append(f"{times(reached)} {fastest.removeprefix('dlcore ')} ({where})")
    steps = json.loads((results / "launches.json").read_text())["rows"]
    late = [r for r in steps if r["ratio"] > GOAL]
    counts.append(_counted("launches", len(steps), len(late)))
    for r in late:
        key = "launches", r["case"], f"{1 / GOAL:.2g}x", UNKNOWN
        short.setdefault(key, []).append(f"{times(1 / r['ratio'])} the sum of its launches ({_threads(r['threads'])})")
    rows = [[suite, case, goal, "; ".join(places), why] for (suite, case, goal, why), places in short.items()]
    header = ["suite", "case", "goal", "stays at", "why"]
    return "\n".join([table(["suite", "goals", "reached"], counts), *([table(header, rows)] if rows else [])])


def _counted(suite: str, goals: int, missed: int) -> list[str]:
    return [suite, str(goals), str(goals - missed)]


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


def _subject(m: Measurement) -> str:
    """What is timed, be it in a warm cache or a cold one."""
    return m.case.removesuffix(f", {m.cache}").removesuffix(" float32 forward").replace(" dlcore.", ", sums ")
