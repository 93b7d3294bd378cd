"""`pytest bench`: every suite, as pytest-benchmark shows it. `--peers PYTHON` for torch and jax, -k for some of it."""

import pytest


def test_speed(benchmark, request, bench, suite, timed, processors, engine):
    """The engine's times, and that it computes what dlcore does."""
    measured, samples = bench.samples(suite, timed, processors)
    if engine not in samples:
        pytest.fail(f"{measured.case}: {measured.problems.get(engine, 'its process could not be started')}")
    found, clock = iter(samples[engine]), request.node.get_closest_marker("benchmark").kwargs["timer"]

    def turn():
        clock.now += next(found, 0.0)

    benchmark.extra_info.update(engine=engine, threads=processors, noise=measured.noise)
    benchmark.pedantic(turn, rounds=len(samples[engine]))
