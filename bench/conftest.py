"""Times each case once, all engines in turns in processes of their own, and hands each test its engine's samples.

Results go to bench/results/<machine>/<suite>.json and .csv when a whole suite was measured; `python -m bench.report`
makes the README's tables of them.
"""

import os
import sys
from pathlib import Path

import pytest

from bench import RESULTS
from bench.goals import verdicts
from bench.suites import SUITES
from dlcore.bench.machine import describe, slug
from dlcore.bench.results import Results
from dlcore.bench.session import Session, installed

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser):
    group = parser.getgroup("dlcore's benchmarks")
    group.addoption("--peers", default=sys.executable, help="a Python that has torch and jax, or one of them")
    group.addoption("--processors", default="1,2", help="numbers of processors for each engine")
    group.addoption("--turns", type=int, default=15, help="turns of each engine")
    group.addoption("--seconds", type=float, default=0.04, help="length of a turn")


class Clock:
    """pytest-benchmark's timer: it goes on by the samples that the engine's own process measured."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Bench:
    """The sessions, one for each number of processors, and what they measured."""

    def __init__(self, config):
        self.options, self.sessions, self.found = config.option, {}, {}
        self.libraries = [name for name in installed(config.option.peers) if name != "cupy"]

    def processors(self):
        there = len(os.sched_getaffinity(0))
        return [n for n in map(int, self.options.processors.split(",")) if n <= there]

    def session(self, processors):
        """Workers for a number of processors; those for another are ended, lest they take turns from these."""
        if processors not in self.sessions:
            self.close()
            pythons = dict.fromkeys(self.libraries, self.options.peers)
            session = Session(self.libraries, processors, pythons=pythons, path=str(ROOT))
            self.sessions[processors] = session.__enter__()
        return self.sessions[processors]

    def samples(self, suite, timed, processors):
        """The measurement of a case, and engine -> samples; all engines are timed when the first is asked for."""
        key = suite, timed.case.name, processors
        if key not in self.found:
            session = self.session(processors)
            turns = 3 if timed.unit == "ms" else self.options.turns
            seconds = timed.turn * self.options.seconds
            self.found[key] = *session.sample(timed.case, timed.cache, turns, seconds), dict(session.versions)
        return self.found[key][:2]

    def close(self):
        for session in self.sessions.values():
            session.__exit__()
        self.sessions.clear()

    def results(self, suite):
        """What was measured of a suite."""
        found = {key: value for key, value in self.found.items() if key[0] == suite}
        versions = {name: version for *_, known in found.values() for name, version in known.items()}
        return Results(describe(), versions, [measurement for measurement, *_ in found.values()])


def pytest_configure(config):
    config.dlcore_bench = Bench(config)


@pytest.fixture
def bench(request):
    return request.config.dlcore_bench


def pytest_generate_tests(metafunc):
    bench = metafunc.config.dlcore_bench
    session, parameters = Session(bench.libraries), []
    for suite, every in SUITES.items():
        for processors in bench.processors():
            for timed in every:
                if timed.one_thread_only and processors > 1:
                    continue
                title = f"{suite}: {timed.case.name}, {processors} thread{'s' * (processors > 1)}"
                for engine in session.engines(timed.case):
                    mark = pytest.mark.benchmark(group=title, timer=Clock())
                    identity = f"{title}, {engine}"
                    parameters.append(pytest.param(suite, timed, processors, engine, id=identity, marks=mark))
    metafunc.parametrize("suite,timed,processors,engine", parameters)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config):
    """How the goals stand, and where the results are."""
    bench = config.dlcore_bench
    bench.close()
    for suite, every in SUITES.items():
        wanted = {(t.case.name, p) for t in every for p in bench.processors() if not (t.one_thread_only and p > 1)}
        done = {(name, processors) for found, name, processors in bench.found if found == suite}
        if not done:
            continue
        results = bench.results(suite)
        terminalreporter.section(f"goals of {suite}")
        for line, reached in verdicts(suite, results.rows):
            terminalreporter.write_line(line, green=reached, red=not reached)
        if done == wanted and not config.option.benchmark_disable and bench.libraries:
            paths = results.save(RESULTS / slug() / suite)
            terminalreporter.write_line(f"wrote {' and '.join(os.path.relpath(p) for p in paths)}")
