"""The tuner, as far as it goes without a GPU: what it would time, chooses and keeps."""

import tomllib

import pytest

from dlcore.kernels import tune
from dlcore.kernels.launch import ARCHES, Call, Program, configuration


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
