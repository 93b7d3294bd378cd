"""The tuner and the bench of a GPU, as far as they go without one: what they choose, keep, and go on with."""

import json
import tomllib

import pytest

from dlcore.errors import DeviceError
from dlcore.kernels import tune
from dlcore.kernels.launch import ARCHES, Call, Program, configuration

gpu = pytest.importorskip("bench.gpu")


def test_the_table_is_merged_and_sorted(tmp_path):
    path = tmp_path / "sm_90.toml"
    tune.keep("sm_90", "matmul", "half-64x64", {"m": 64, "kernel": "tma", "flatten": True, "cap": None}, path)
    tune.keep("sm_90", "a b", "rows 32", {"n": 32, "share": 0.5, "shape": (1, 2)}, path)
    tune.keep("sm_90", "matmul", "half-16x16", {"m": 16}, path)
    assert tomllib.loads(path.read_text()) == {
        "a b": {"rows 32": {"n": 32, "share": 0.5, "shape": [1, 2]}},
        "matmul": {"half-64x64": {"m": 64, "kernel": "tma", "flatten": True}, "half-16x16": {"m": 16}},
    }
    text = path.read_text()
    tune.keep("sm_90", "matmul", "half-16x16", {"m": 16}, path)
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["[", "a = 1", "[matmul]\nb = 2", "\N{BULLET}", "a = " + "[" * 5000])
def test_a_table_that_is_none_is_named_and_stays(tmp_path, text):
    path = tmp_path / "sm_90.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"sm_90\.toml is no table of configurations"):
        tune.keep("sm_90", "matmul", "half-16x16", {"m": 16}, path)
    assert path.read_text() == text and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_names_with_quotes_are_kept(tmp_path):
    path = tmp_path / "sm_90.toml"
    for m in (1, 2):
        tune.keep("sm_90", 'a "b"', "c\\d", {"kernel": 'x"y', "m": m}, path)
    assert tomllib.loads(path.read_text()) == {'a "b"': {"c\\d": {"kernel": 'x"y', "m": 2}}}


def test_the_first_stays_unless_another_is_clearly_faster():
    slow, same, fast = tune.Timing(10, 9, 11), tune.Timing(9.5, 8.5, 10), tune.Timing(5, 4, 6)
    assert tune.best([slow, same]) == 0
    assert tune.best([slow, same, fast]) == 2
    assert tune.best([fast, slow]) == 0


def test_candidates_take_turns():
    calls = []
    functions = [lambda k=k: calls.append(k) for k in range(3)]
    found = tune.timings(functions, lambda f: f() or float(calls[-1]), rounds=5)
    assert calls == [0, 1, 2] * 6
    assert [t.median for t in found] == [0, 1, 2]


def test_lookups_are_heard_whatever_a_planner_remembers():
    seen = {}

    def planner(call):
        return seen.setdefault(call.arch, configuration(call.arch, "matmul", "small") or Program(()))

    call = Call((), (), (), (), ARCHES["sm_90"])
    for _ in range(2):
        assert tune.lookups(planner, call) == [("matmul", "small")]


def test_without_a_gpu_the_clock_says_so(monkeypatch):
    monkeypatch.setattr(tune.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match="tuning needs CuPy and an NVIDIA GPU"):
        tune.Clock(0)


# ---- the bench ----------------------------------------------------------------------------------------------------


class Answers:
    """A child that answers at once."""

    def __init__(self, **answers):
        self.answers, self.asked = answers, []

    def ask(self, stage, name, seconds):
        """What was prepared for the job."""
        self.asked.append((stage, name))
        return self.answers.get(name, {"seconds": 1.0})


def run(tmp_path, child, **options):
    """One go of the stage `steps`."""
    options = gpu.Options(stages=("steps",), **options)
    record = gpu.Record(tmp_path)
    return gpu.run(options, record, child), record


@pytest.fixture(autouse=True)
def one_commit(monkeypatch):
    """The commit does not change under the test."""
    monkeypatch.setattr(gpu, "describe", lambda: {"commit": "abc"})


def test_it_goes_on_where_it_was_and_tries_failures_again(tmp_path):
    jobs = [("steps", name) for name in gpu.jobs("steps")]
    first = Answers(**{jobs[1][1]: {"error": "hung"}})
    assert run(tmp_path, first)[0] == 1 and first.asked == jobs
    second = Answers()
    assert run(tmp_path, second)[0] == 0 and second.asked == jobs[1:2]
    third = Answers()
    run(tmp_path, third, again=True)
    assert third.asked == jobs


def test_no_job_starts_after_the_time(tmp_path, capsys):
    child = Answers()
    assert run(tmp_path, child, minutes=0)[0] == 0 and not child.asked
    assert "3 jobs are left" in capsys.readouterr().out


def test_a_torn_line_costs_its_own_job_only(tmp_path):
    run(tmp_path, Answers())
    path = tmp_path / "gpu.jsonl"
    path.write_text(path.read_text()[:-20])
    again = Answers()
    _, record = run(tmp_path, again)
    assert len(again.asked) == 1 and len(record.done) == 3
    assert [json.loads(line)["seconds"] for line in path.read_text().splitlines()] == [1.0] * 3


def test_results_of_another_commit_are_measured_anew(tmp_path, monkeypatch):
    run(tmp_path, Answers())
    monkeypatch.setattr(gpu, "describe", lambda: {"commit": "def"})
    again = Answers()
    run(tmp_path, again)
    assert len(again.asked) == 3


@pytest.mark.parametrize("code", ["import os; os.abort()", "import time; time.sleep(60)"])
def test_a_child_that_crashes_or_hangs_costs_one_job(code, monkeypatch):
    child = gpu.Child(dry_run=True)
    popen = gpu.subprocess.Popen
    monkeypatch.setattr(gpu.subprocess, "Popen", lambda command, **rest: popen([command[0], "-c", code], **rest))
    answer = child.ask("first", "add", 1)
    assert "not finished after 1 s" in answer["error"] or "ended with -6" in answer["error"]
    assert child.process is None
