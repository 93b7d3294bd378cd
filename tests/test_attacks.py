"""The attacks, small: not one violation; and the runner itself tells deaths, hangs and exceptions apart."""

import os
import signal
import time

import attacks
import pytest
from attacks import __main__ as runner
from attacks import children


@pytest.mark.parametrize("name", attacks.names())
def test_no_violation(name):
    module = attacks.load(name)
    assert module.SMALL < module.LARGE
    assert module.UNIT
    assert module.__doc__
    assert list(module.attack(module.SMALL, seed=0)) == []


def _answer(x):
    return x + 1


def _raise():
    raise ValueError("no")


def _die():
    children.mark("17 the last")
    os.kill(os.getpid(), signal.SIGSEGV)


def _hang():
    time.sleep(60)


def _leave():
    os._exit(3)


def _units(first, count, seed):
    for unit in range(first, first + count):
        children.mark(f"{unit} with seed {seed}")
        if unit == 5:
            os.abort()
    return [f"unit {unit}" for unit in range(first, first + count) if unit % 4 == 0]


def test_children_tell_how_they_ended():
    assert children.run(_answer, 1) == children.Outcome("", 2)
    assert children.run(_raise).how == "raised ValueError: no"
    died = children.run(_die)
    assert (died.how, died.mark, died.alive) == ("died of SIGSEGV", "17 the last", False)
    hung = children.run(_hang, seconds=1.0)
    assert hung.how == "hung for 1 s"
    assert "_hang" in hung.output  # the stacks of its threads
    assert children.run(_leave).how == "ended with exit code 3"


def test_the_next_child_goes_on_behind_a_death():
    lines = list(children.violations(_units, 12, 3, chunk=8))
    assert lines[1:] == ["unit 8"]
    assert "died of SIGABRT at 5 with seed 3" in lines[0]


def test_the_report_keeps_rows_of_attacks_that_did_not_run(tmp_path, monkeypatch):
    first, *others = attacks.names()
    monkeypatch.setattr(runner, "REPORT", tmp_path / "reliability.md")
    runner.write([runner.Run(first, "calls", 1_000_000, 0, 61.7)])
    text = runner.REPORT.read_text()
    assert f"| [{first}](../tests/attacks/{first}.py) | calls | 1,000,000 | 0 | 62 |" in text
    runner.write([runner.Run(name, "kills", 2, 1, 3.0) for name in others])
    kept = runner.REPORT.read_text()
    assert text.splitlines()[-1] in kept
    assert kept.count("\n| [") == len(attacks.names())
