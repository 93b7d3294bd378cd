"""Times dlcore and its peers in turns: persistent worker processes, one case at a time, round after round.

Every engine's output is compared before anything is timed. dlcore runs twice, in two processes: what its two medians
differ by is the noise. Results go to bench/results/<machine>/<suite>.json; `python -m bench.report` shows them.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from bench import weight
from bench.cases import SUITES, TORCH, Case
from bench.machine import describe, folder
from bench.report import in_unit

ROOT = Path(__file__).resolve().parents[1]
console = Console(width=None if sys.stdout.isatty() else 150)


class Worker:
    """One engine in its own process, stopped while others have their turn: idle threads of OpenMP and OpenBLAS go on
    spinning for milliseconds, on the processor that the next engine needs."""

    def __init__(self, engine: str, threads: int, python: str) -> None:
        command = [python, "-m", "bench.worker", engine, str(threads)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.engine, self.version = engine, self._answer()["version"]
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, **request):
        """One request, one answer."""
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        self.process.send_signal(signal.SIGSTOP)
        return answer

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"bench: the worker for {self.engine} ended (see its message above)")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait()


@dataclass
class Options:
    """Which suites, against which Python's peers, how long."""

    suites: tuple[Literal["steps", "epoch", "operations", "gemm", "weight"], ...] = (*SUITES, "weight")
    peers: str = sys.executable
    """A Python that has torch and jax; peers it lacks are left out."""
    threads: tuple[int, ...] = (1, 2)
    rounds: int = 15
    seconds: float = 0.04
    """Length of one turn."""
    only: str = ""
    """Run only the cases whose name contains this."""


def check(case: Case, answers: dict[str, dict]) -> None:
    """Every engine must have computed what the last one (NumPy, where it takes part) computed."""
    *others, reference = answers
    want = answers[reference]
    for engine in others:
        got = answers[engine]
        values, expected = np.array(got["values"]), np.array(want["values"])
        tolerance = 0 if got["exact"] else 1e-4 * np.abs(expected).max()
        if got["shape"] != want["shape"] or not (np.abs(values - expected) <= tolerance).all():
            raise SystemExit(f"bench: {case.name}: {engine} and {reference} differ: {values[:4]} {expected[:4]}")


def time_case(case: Case, workers: list[Worker], options: Options) -> dict[str, list[float]]:
    """Engine -> seconds a call, taken in turns."""
    request = {"setup": case.setup, "stmt": case.stmt, "check": case.check or case.stmt, "seconds": options.seconds}
    check(case, {w.engine: w.ask(**request) for w in workers})
    times = {w.engine: [] for w in workers}
    for _ in range(options.rounds):
        for worker in workers:
            times[worker.engine] += worker.ask(seconds=options.seconds)
    return times


def row(case: Case, threads: int, times: dict[str, list[float]]) -> dict:
    """Medians and percentiles in seconds; `goals`: how many times faster an engine is than what it is held against."""
    engines = {}
    for engine, values in times.items():
        p20, p50, p80 = np.percentile(values, [20, 50, 80])
        engines[engine] = {"median": p50, "p20": p20, "p80": p80, "samples": len(values)}
    again = engines.pop("dlcore again", None)
    noise = abs(again["median"] / engines["dlcore"]["median"] - 1) if again else None
    goals = []
    for goal in case.goals:
        against = {e: engines[e]["median"] for e in goal.against if e in engines}
        if against and goal.threads in (None, threads):
            best = min(against, key=against.get)
            ratio = against[best] / engines[goal.engine]["median"]
            goals.append({"engine": goal.engine, "against": best, "ratio": ratio, "goal": goal.factor})
    found = {"case": case.name, "threads": threads, "unit": case.unit, "work": case.work}
    return found | {"engines": engines, "noise": noise, "goals": goals}


def verdict(goal: dict) -> str:
    """How a goal stands, in rich's markup."""
    colour = "green" if goal["ratio"] >= goal["goal"] else "red"
    return f"[{colour}]{goal['ratio']:.2f}[/] of {goal['goal']:.2g}"


def show(suite: str, rows: list[dict]) -> None:
    """The results as a table."""
    names = list(dict.fromkeys(e for r in rows for e in r["engines"]))
    table = Table(title=suite)
    for column in ("case", "threads", "unit", *names, "faster than", "noise"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for r in rows:
        cells = [in_unit(r, r["engines"][n]["median"]) if n in r["engines"] else "" for n in names]
        goals = "\n".join(f"{g['engine']} / {g['against']}: {verdict(g)}" for g in r["goals"])
        noise = "" if r["noise"] is None else f"{r['noise']:.0%}"
        table.add_row(r["case"], str(r["threads"]), r["unit"], *cells, goals, noise)
    console.print(table)


def interpreters(options: Options) -> dict[str, str]:
    """Engine -> the Python that has it."""
    own = ("dlcore", "dlcore again", "dlcore, recorded", "dlcore, fit", "dlcore, 430 recorded steps")
    found = dict.fromkeys(own, sys.executable)
    for module, engines in {"torch": TORCH, "jax": ("jax.jit",)}.items():
        if subprocess.run([options.peers, "-c", f"import {module}"], capture_output=True).returncode == 0:
            found |= dict.fromkeys(engines, options.peers)
        else:
            console.print(f"bench: {options.peers} has no {module}: left out (--peers names another Python)")
    return found | {"NumPy by hand": sys.executable, "numpy": sys.executable}


def run(suite: str, options: Options, pythons: dict[str, str]) -> None:
    """One suite, at each number of threads."""
    cases = [c for c in SUITES[suite] if options.only in c.name]
    rows, versions = [], {}
    for threads in options.threads:
        workers = {}
        for case in cases:
            if case.one_thread_only and threads > 1:
                continue
            wanted = [e for e in pythons if e.removesuffix(" again") in case.engines]
            for engine in wanted:
                if engine not in workers:
                    workers[engine] = Worker(engine, threads, pythons[engine])
                    versions[engine] = workers[engine].version
            rows.append(row(case, threads, time_case(case, [workers[e] for e in wanted], options)))
            verdicts = ", ".join(verdict(g) for g in rows[-1]["goals"])
            console.print(f"{suite}: {case.name}, {threads} thread(s): {verdicts}")
        for worker in workers.values():
            worker.close()
    show(suite, rows)
    ratios = [g["ratio"] for r in rows for g in r["goals"]]
    if suite == "gemm" and ratios:
        console.print(f"geometric mean of the ratios: {statistics.geometric_mean(ratios):.2f}")
    if not options.only:
        save(suite, {"versions": versions, "rows": rows})


def save(suite: str, result: dict) -> None:
    """Writes bench/results/<machine>/<suite>.json."""
    path = folder() / f"{suite}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": describe(), **result}, indent=1) + "\n")
    console.print(f"wrote {os.path.relpath(path)}")


def main(options: Options) -> None:
    """Runs the suites asked for."""
    pythons = interpreters(options)
    for suite in options.suites:
        if suite == "weight":
            save("weight", weight.measure(options.peers))
        else:
            run(suite, options, pythons)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
