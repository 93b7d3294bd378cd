"""`dlcore bench`: its cases, engines that are compared before they are timed, result files, what counts as a change."""

import csv
import itertools
import json
import math
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dlcore as dl
from dlcore._selection import load, selected
from dlcore.bench import show
from dlcore.bench.cases import SNIPPETS, Case, Snippet, cases
from dlcore.bench.results import Results, changes, drift
from dlcore.bench.roofs import Roofs
from dlcore.bench.session import Measurement, Session, Timing, _difference, _far_behind
from dlcore.cli import main
from dlcore.dtypes import bfloat16, float32, int64
from dlcore.op import REGISTRY, Input, Op, Workload
from dlcore.ops import operations

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # last: `bench` is not installed, dlcore may be
table = pytest.importorskip("bench.table", reason="needs the source tree")
report = pytest.importorskip("bench.report", reason="needs the source tree")
memory = pytest.importorskip("bench.memory", reason="needs the source tree")
goals = pytest.importorskip("bench.goals", reason="needs the source tree")
figures = pytest.importorskip("bench.figures", reason="needs the source tree")
suites = pytest.importorskip("bench.suites", reason="needs the source tree")
OWN_OPERATION = """
import math
from dlcore.op import Sample, Spec, floating, operation

@operation(
    promote=floating, composite=lambda x: x + x, reference=lambda x: 2 * x, samples=[Sample((33, 65))],
    cost=lambda x: (math.prod(x.shape), 2 * x.dtype.itemsize * math.prod(x.shape)),
    baselines={{"numpy": "{numpy}"}},
)
def {name}(x: Spec) -> Spec:
    return Spec(x.shape, x.dtype)
"""
WHEN_TOLD = """
import os, time

def when_told(x):
    while not os.path.exists({gate!r}):
        time.sleep(0.01)
    return x + x
"""


@pytest.fixture
def own(tmp_path):
    """Makes files with an operation of one's own, and forgets the operations afterwards."""
    operations()
    before = set(REGISTRY)

    def make(name, numpy="x + x"):
        path = tmp_path / f"{name}.py"
        path.write_text(OWN_OPERATION.format(name=name, numpy=numpy))
        return str(path)

    yield make
    for name in set(REGISTRY) - before:
        del REGISTRY[name]


def case(name, mode="forward", dtype=float32, largest=1 << 24):
    """The operation's largest case up to so many bytes."""
    found = [c for c in cases(selected([name]), [dtype], [mode]) if c.bytes <= largest]
    return max(found, key=lambda c: c.bytes)


# ---- cases --------------------------------------------------------------------------------------------------------


def test_every_case_has_a_name_of_its_own():
    names = [c.name for c in cases(selected())]
    assert len(names) == len(set(names)) > 300


def test_modes_dtypes_and_devices_are_those_that_a_row_has():
    assert {c.mode for c in cases(selected(["argmax"]))} == {"forward"}
    assert {c.mode for c in cases(selected(["exp"]), [float32])} >= {"forward", "both"}
    assert {c.dtype for c in cases(selected(["exp"]), [bfloat16])} == {bfloat16}
    assert all("cuda" in c.workload.devices for c in cases(selected(["softmax"]), device="cuda:0"))


def test_work_is_the_row_s_cost_and_operands_are_as_described():
    made = Case(REGISTRY["add"], Workload((Input((3, 5), dtype=float32), (5,))), float32)
    assert made.work == (15.0, 4.0 * (15 + 5 + 15)) and made.bytes == 4 * 35
    x, y = made.arrays()
    assert x.shape == (3, 5) and y.shape == (5,) and x.dtype == y.dtype == np.float32
    assert all(np.array_equal(p, q) for p, q in zip(made.arrays(), (x, y), strict=True)), "drawn alike every time"

    labels = Case(REGISTRY["take"], Workload((Input((4, 2)), Input((90,), 1, 4, int64)), (0,)), float32).arrays()[1]
    assert labels.dtype == np.int64 and set(labels.tolist()) == {1, 2, 3}


def test_who_takes_ten_turns_and_ten_times_as_long_is_timed_once():
    assert _far_behind([(0.5, 0.5)], [(0.01, 0.01)], 0.04)
    assert not _far_behind([], [(0.01, 0.01)], 0.04), "not yet timed"
    assert not _far_behind([(0.3, 0.3)], [(0.01, 0.01)], 0.04), "less than ten turns"
    assert not _far_behind([(0.5, 0.5)], [(0.4, 0.4)], 0.04), "slow for all"


def test_operands_may_have_any_names():
    """`start` of crop was the time at which its loop had begun."""
    (case,) = (c for c in cases(selected(["crop"]), [float32], ["forward"]) if c.results[0].shape == (128, 28, 28))
    with Session([], 1) as session:
        m = session.measure(case, rounds=1, seconds=0.001)
    assert m.seconds > 0 and not m.problems


def test_operands_of_batches_keep_their_layout():
    case = Case(REGISTRY["matmul"], Workload(((3, 4, 5), Input((3, 5, 6), transposed=True))), float32)
    with Session([], threads=1) as made:
        path = made._requests(case, "warm")["dlcore"]["arrays"][1]
        assert path["transposed"] and np.load(path["path"]).shape == (3, 6, 5)


def test_families_and_names_that_do_not_exist_are_named():
    with pytest.raises(ValueError, match="no operation sofmax"):
        selected(["sofmax"])
    with pytest.raises(ValueError, match="no family of_its_own"):
        selected(family=["of_its_own"])


# ---- engines ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def session():
    with Session(["numpy"], threads=1) as made:
        yield made


@pytest.mark.parametrize(
    "name,mode,cache",
    [
        ("add", "forward", "warm"), ("add", "both", "cold"), ("add", "tracked", "warm"), ("adam", "forward", "warm"),
        ("take", "forward", "cold"), ("uniform", "forward", "warm"),
    ],
)  # fmt: skip
def test_cases_are_timed(session, name, mode, cache):
    largest = 4096 if mode == "tracked" else 1 << 24
    m = session.measure(case(name, mode, largest=largest), cache, rounds=2, seconds=0.001)
    assert not m.problems and m.row == name and m.mode == mode and m.cache == cache
    for engine, timing in m.engines.items():  # a library that the machine holds up for ten turns is timed once
        assert 0 < timing.p20 <= timing.median <= timing.p80 and timing.host > 0
        assert timing.samples >= (2 if engine.startswith("dlcore") else 1)
    numpy = {e for e in m.engines if e.startswith("numpy")}
    assert bool(numpy) == (mode == "forward" and any(e.startswith("numpy") for e in REGISTRY[name].ways()))


def test_cold_operands_are_taken_in_turns(session):
    medium = case("exp")
    copies = session._copies(medium, "cold")
    assert session._copies(medium, "warm") == 1 and copies * medium.bytes >= 64 << 20


def test_work_of_forward_and_backward_is_that_of_all_launches(session):
    modes = ("both", "forward")
    both, forward = (session._described(case("mse_loss", mode), "warm") for mode in modes)
    assert both.bytes > forward.bytes and both.flops > forward.flops


@pytest.mark.parametrize("program", SNIPPETS[:1], ids=lambda p: p.name)
def test_programs_are_timed(session, program):
    m = session.measure(program, rounds=1, seconds=0.001)
    assert set(m.engines) == {"dlcore"} and m.mode == "program"


def test_a_library_that_computes_something_else_is_not_timed(session, own):
    (op,) = load(own("tripled", "3 * x"))
    with Session(["numpy"], threads=1, file=own("tripled", "3 * x")) as fresh:
        m = fresh.measure(cases([op], [float32], ["forward"])[0], rounds=1, seconds=0.001)
    assert "numpy" not in m.engines and m.problems["numpy"].startswith("differs: ")
    assert m.ratio("numpy") is None and "dlcore" in m.engines


def test_a_library_that_fails_is_named_and_dlcore_timed_all_the_same(own):
    file = own("quadrupled", "np.there_is_no_such(x)")
    (op,) = load(file)
    with Session(["numpy"], threads=1, file=file) as fresh:
        m = fresh.measure(cases([op], [float32], ["forward"])[0], rounds=1, seconds=0.001)
    assert "no attribute 'there_is_no_such'" in m.problems["numpy"] and m.seconds > 0


def test_a_program_of_dlcore_s_that_fails_says_so(session):
    with pytest.raises(RuntimeError, match="bench: broken: NameError: name 'nonsense'"):
        session.measure(Snippet("broken", "", "nonsense()"), rounds=1, seconds=0.001)


def test_a_library_that_cannot_start_is_left_out(tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    with Session(["numpy"], threads=1, pythons={"numpy": str(broken)}) as fresh:
        m = fresh.measure(case("add"), rounds=1, seconds=0.001)
        assert set(m.engines) == {"dlcore"} and "numpy" in fresh.absent["numpy"]


def result(values, exact=False, shape=None):
    return [{"shape": shape or [len(values)], "exact": exact, "values": values}]


@pytest.mark.parametrize(
    "theirs,text",
    [
        (result([1.0, 2.0, "nan"]), ""),
        (result([1.0, 2.0 + 1e-6, "nan"]), ""),
        (result([1.0, 2.01, "nan"]), "differs: 2.01 for 2.0"),
        (result([1.0, 2.0, "inf"]), "differs: inf for nan"),
        (result([1.0, 2.0, "nan"], shape=[3, 1]), "shape [3, 1] for [3]"),
        ([], "0 results for 1"),
    ],
)
def test_results_are_compared(theirs, text):
    assert _difference(theirs, result([1.0, 2.0, "nan"]), case("exp")) == text


def test_integers_are_compared_exactly():
    want, got = result([1000000, 7], exact=True), result([1000001, 7], exact=True)
    assert _difference(got, want, case("exp")) == "differs: 1000001.0 for 1000000.0"


# ---- files, and two runs ------------------------------------------------------------------------------------------


def measurement(name="exp", dlcore=1e-3, spread=0.01, noise=0.01, **libraries):
    def timing(seconds):
        return Timing(seconds, seconds * (1 - spread), seconds * (1 + spread), 9, seconds)

    engines = {"dlcore": timing(dlcore), **{e: timing(s) for e, s in libraries.items()}}
    labels = (name, name, "elementwise", "7", "float32", "forward", "warm", 1, "cpu")
    return Measurement(*labels, 7.0, 56.0, 56, noise=noise, engines=engines)


def results(*found, commit="a", **versions):
    return Results({"processor": "one", "commit": commit, "date": "today"}, {"dlcore": "1", **versions}, list(found))


def test_files_hold_everything_and_a_failed_write_leaves_the_old(tmp_path, monkeypatch):
    first = results(measurement(torch=2e-3), torch="2.13")
    json_path, csv_path = first.save(tmp_path / "deep" / "run")
    assert Results.load(json_path) == Results.load(tmp_path / "deep" / "run") == first
    lines = list(csv.DictReader(csv_path.read_text().splitlines()))
    found = [(x["engine"], x["version"], float(x["median"])) for x in lines]
    assert found == [("dlcore", "1", 1e-3), ("torch", "2.13", 2e-3)]
    assert lines[0]["case"] == "exp" and lines[0]["commit"] == "a" and float(lines[0]["bytes"]) == 56

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        results(measurement(dlcore=5.0)).save(tmp_path / "deep" / "run")
    monkeypatch.undo()
    assert Results.load(json_path) == first


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99, "rows": []}'])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.json"):
        Results.load(path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("format",), True),
        (("rows",), {}),
        (("rows", 0), []),
        (("rows", 0, "case"), 5),
        (("rows", 0, "threads"), 1.5),
        (("rows", 0, "flops"), "7"),
        (("rows", 0, "more"), 1),
        (("rows", 0, "engines"), []),
        (("rows", 0, "engines", "dlcore"), [1.0]),
        (("rows", 0, "engines", "dlcore", "median"), None),
        (("rows", 0, "engines", "dlcore", "median"), 0.0),
        (("rows", 0, "engines", "dlcore", "p20"), float("nan")),
        (("rows", 0, "engines", "dlcore", "samples"), 10**30),
        (("machine",), "one"),
        (("versions", "dlcore"), 1),
        (("roofs",), 5),
    ],
)
def test_results_of_other_types_are_refused(tmp_path, place, value):
    path, _ = results(measurement(torch=2e-3)).save(tmp_path / "run")
    data = json.loads(path.read_text())
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"run\.json holds no results of dlcore bench"):
        Results.load(path)


@pytest.mark.parametrize(
    "before,after,verdict",
    [
        ({"dlcore": 1.0}, {"dlcore": 1.02}, "noise"),
        ({"dlcore": 1.0}, {"dlcore": 1.3}, "slower"),
        ({"dlcore": 1.0}, {"dlcore": 0.7}, "faster"),
        ({"dlcore": 1.0, "noise": 0.2}, {"dlcore": 1.3}, "noise"),
        ({"dlcore": 1.0, "spread": 0.3}, {"dlcore": 1.3, "spread": 0.3}, "noise"),
        ({"dlcore": 1.0, "torch": 1.0}, {"dlcore": 1.3, "torch": 1.3}, "noise"),  # the machine is slower, not dlcore
        ({"dlcore": 1.0, "torch": 1.0}, {"dlcore": 1.0, "torch": 1.3}, "faster"),
    ],
)
def test_what_counts_as_a_change(before, after, verdict):
    a, b = results(measurement(**before), torch="2"), results(measurement(**after), torch="2")
    (change,) = changes(a, b)
    assert change.verdict == verdict


def test_the_machine_s_own_change_is_taken_from_libraries_of_the_same_version():
    a = results(measurement(torch=1.0), measurement("tanh", torch=2.0), torch="2")
    b = results(measurement(torch=2.0), measurement("tanh", torch=4.0), torch="2")
    assert drift(a, b) == (0.5, 2)
    b.versions["torch"] = "3"
    assert drift(a, b) == (1.0, 0)


# ---- the command --------------------------------------------------------------------------------------------------


def test_the_command_times_and_writes_and_compares(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["bench", "--op", "relu", "--dtype", "float32", "--vs", "numpy", "--rounds", "1", "--seconds", "0.001"]
    assert main([*arguments, "--out", "first"]) == 0
    text = capsys.readouterr().out
    assert "relu" in text and "% of roof" in text and "noise (dlcore held against itself)" in text
    found = json.loads(Path("first.json").read_text())
    assert found["machine"]["commit"] is not None and found["versions"]["numpy"] == np.__version__
    assert {row["cache"] for row in found["rows"]} == {"warm", "cold"}
    assert main(["bench", "--compare", "first.json", "first.json"]) == 0
    assert "within the noise" in capsys.readouterr().out
    slower = Results.load(Path("first"))
    for row in slower.rows:
        row.engines["dlcore"] = Timing(*(9 * v for v in row.engines["dlcore"][:3]), *row.engines["dlcore"][3:])
        row.noise = 0.0
    slower.save(Path("second"))
    assert main(["bench", "--compare", "first.json", "second.json"]) == 1
    assert "slower" in capsys.readouterr().out


def test_a_row_of_one_s_own_is_timed(own, capsys):
    arguments = ["bench", "--load", own("own_operation"), "--rounds", "1", "--seconds", "0.001", "--cache", "warm"]
    assert main([*arguments, "--vs", "numpy"]) == 0
    text = capsys.readouterr().out
    assert "own_operation" in text and "33x65" in text


def test_rows_come_through_a_pipe_as_they_are_measured(own, tmp_path):
    path, gate = Path(own("first")), tmp_path / "gate"
    second = OWN_OPERATION.format(name="second", numpy="x + x").replace("lambda x: x + x", "when_told")
    path.write_text(path.read_text() + WHEN_TOLD.format(gate=str(gate)) + second)
    arguments = ["bench", "--load", str(path), "--rounds", "1", "--seconds", "0.001", "--cache", "warm",
                 "--mode", "forward", "--dtype", "float32", "--vs", "numpy"]  # fmt: skip
    watchdog = threading.Timer(100, gate.touch)  # where nothing comes before the end
    watchdog.start()
    command = [sys.executable, "-m", "dlcore", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        titles, row = process.stdout.readline(), process.stdout.readline()
        early = not gate.exists()
        gate.touch()
        rest = process.stdout.read()
    watchdog.cancel()
    assert early and process.returncode == 0, titles + row + rest
    assert titles.split()[:3] == ["operation", "operands", "dtype"] and row.split()[:2] == ["first", "33x65"]
    assert sum(line.startswith(("first", "second")) for line in rest.splitlines()) == 1  # and no table of both again


def test_a_row_that_fails_is_named_and_the_others_are_timed(own, capsys):
    path = Path(own("works"))
    broken = OWN_OPERATION.format(name="fails", numpy="x").replace("lambda x: x + x", "lambda x: x.nonsense()")
    path.write_text(path.read_text() + broken)
    assert main(["bench", "--load", str(path), "--rounds", "1", "--seconds", "0.001", "--cache", "warm"]) == 1
    text = capsys.readouterr().out
    assert "bench: fails 33x65 float32 forward: AttributeError" in text and "works" in text


def test_a_file_that_uses_gradients_itself_can_be_loaded():
    arguments = ["bench", "--load", str(ROOT / "examples" / "own_operation.py"), "--rounds", "1", "--seconds", "0.001"]
    command = [sys.executable, "-m", "dlcore", *arguments, "--cache", "warm"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "snake" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments,text",
    [
        (["--op", "sofmax"], "no operation sofmax"),
        (["--op", "exp", "--dtype", "float33"], "float33"),
        (["--op", "argmax", "--mode", "both"], "nothing to time"),
        (["--load", "there_is_none.py"], "there is no file there_is_none.py"),
        (["--compare", "a.json", "b.json"], "a.json"),
        (["--op", "exp", "--python", "/no/python"], "/no/python is no Python that runs"),
    ],
)
def test_wrong_arguments_are_named(arguments, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == 1
    error = capsys.readouterr().err
    assert text in error and "Traceback" not in error


def test_slower_is_red_and_shown(capsys):
    from rich.console import Console

    slow, fast = measurement(torch=0.5e-3), measurement("tanh", torch=4e-3)
    console = Console(force_terminal=True, width=200, color_system="standard", highlight=False)
    console.print(show.table([slow, fast], None))
    found = results(slow, fast, torch="2")
    show.summary(found, console)
    text = capsys.readouterr().out
    assert "\x1b[31m0.50x" in text and "\x1b[32m4.00x" in text and "slower in 1" in text


@pytest.mark.parametrize("seconds,text", [(1.5, "1.50 s"), (74.1e-6, "74.1 us"), (3e-9, "3.00 ns"), (0.123, "123 ms")])
def test_times_have_three_digits(seconds, text):
    assert show.time(seconds) == text


def test_the_share_of_the_roof_is_the_least_time_over_the_time():
    class Half:
        copy = ((1e3, 1.0), (1e9, 1.0))

        def least(self, flops, moved, touched, dtype):
            return 5e-4

        def working_set(self, moved, touched, cold):
            return touched

    assert math.isclose(show.share(measurement(), Half()), 0.5)


def test_the_project_s_suites_run(tmp_path):
    pytest.importorskip("pytest_benchmark")
    if not (ROOT / "bench" / "suites.py").exists():
        pytest.skip("needs the source tree")
    command = [sys.executable, "-m", "pytest", "bench", "-q", "-p", "no:xdist", "-p", "no:cacheprovider",
               "--processors", "1", "--turns", "1", "--seconds", "0.001", "-k", "dlcore and (64x64 or adds)",
               "--benchmark-json", str(tmp_path / "out.json")]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}  # this one may run under xdist
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "out.json").read_text())["benchmarks"]
    assert len(found) >= 2 and all(b["stats"]["median"] > 0 for b in found)


def test_results_of_the_project_can_be_read():
    found = (ROOT / "bench" / "results").glob("*/*.json")
    paths = [p for p in found if p.stem in ("steps", "epoch", "operations", "gemm", "rows")]
    assert paths or not (ROOT / "bench").exists()
    for path in paths:
        assert Results.load(path).rows, path


def test_a_row_that_lists_no_sizes_is_timed_at_its_largest_sample(own):
    (op,) = load(own("unlisted"))
    assert isinstance(op, Op) and [c.shape for c in cases([op], [float32], ["forward"])] == ["33x65"]


TIMED = Measurement("", "", "", "", "float32", "program", "warm", 1, "cpu", 0.0, 0.0, 0, engines={
    "dlcore": Timing(2e-6, 2e-6, 2e-6, 1, 0.0), "torch": Timing(6e-6, 6e-6, 6e-6, 1, 0.0)})  # fmt: skip
COLD = replace(TIMED, case="x > y, cold", shape="x > y", cache="cold", engines={
    **TIMED.engines, "dlcore roof past the caches": Timing(1e-6, 1e-6, 1e-6, 1, 0.0)})  # fmt: skip
WHERE = {"processor": "p", "family": "f", "cores": 1, "vectors": "v", "commit": "c", "date": "d"}


# ---- the table of every operation ---------------------------------------------------------------------------------


def test_the_table_times_operations_at_both_sizes_and_functions_made_of_them():
    found = {(size, case.name.partition(" float")[0]) for size, case in table.everything(["sort", "tril", "stack"])}
    assert found == {
        ("1M", "sort 1048576"), ("1M", "sort 1023x1025 0"), ("8", "sort 8"),
        ("1M", "tril 1024x1024"), ("1M", "tril 1023x1025 1"), ("8", "tril 3x3"),
        ("1M", "stack([x, y]), 1M"), ("8", "stack([x, y]), 8"),
        ("1M", "stack([x, y], 1), 1M"), ("8", "stack([x, y], 1), 8"),
    }  # fmt: skip


def test_the_table_holds_a_function_against_the_best_library_and_tells_causes():
    function = next(f for f in table.COMPOSED if f.name == "stack")
    with Session(["numpy"], 1) as session:
        m = session.measure(table.composed(function, "8"), rounds=1, seconds=0.001)
    assert not m.problems and m.engines.keys() == {"dlcore", "numpy"}
    m.why, m.engines["dlcore"] = "8", m.engines["numpy"]._replace(median=2 * m.engines["numpy"].median)
    results = Results({"processor": "p", "family": "f", "cores": 1, "vectors": "v", "python": "3", "commit": "c",
                       "date": "d"}, {"numpy": "2"}, [m])  # fmt: skip
    text = table.table_page.page(results, table.table_page.causes("# none\nstack: because"))
    assert "0.50x" in text and "| because |" in text and "| **all** |  |  |  | 1 | 0.50x | 1 |" in text
    m.engines.update({"numpy out": m.engines["numpy"], "numpy": m.engines["dlcore"]})
    assert "it is given the memory of the result" in table.table_page.page(results, {"stack, 8": "unused"})
    other = Results({**results.machine, "family": "g"}, results.versions, [])
    text = table.table_page.page(results, {}, [other])
    assert "| g: dlcore | g: over the fastest |" in text and "Beside them those on p (family g" in text


def test_the_table_shows_shares_of_the_roof_of_what_is_large():
    roofs = Roofs("cpu", 1, [(1 << 20, 1e9)], [(1 << 20, 1e9)], {"float32": 1e12, "float64": 1e12}).to_json()
    rows = [replace(TIMED, case=f"neg {why}", row="neg", why=why, bytes=1000.0, touched=1000) for why in table.SIZES]
    text = table.table_page.page(Results({**WHERE, "python": "3"}, {}, rows, roofs), {})
    assert "| `neg 1M` | 1M | 2.00 us | 50% | 3.00x |" in text and "| `neg 8` | 8 | 2.00 us |  | 3.00x |" in text


def test_machines_stand_side_by_side(tmp_path):
    def made(family, case):
        rows = [replace(TIMED, case=f"{case} {mode}") for mode in ("forward", "both")]
        where = {"processor": "p", "family": family, "cores": 1, "vectors": "v", "commit": "c", "date": "d"}
        return Results(where, {"torch": "2"}, rows)

    for family, case in (("f", "pool"), ("g", "norm")):
        made(family, case).save(tmp_path / family / "pools")
    text = report.pools(None, tmp_path / "f")
    assert "| layer (µs) | threads | f: forward (over torch) | f: with gradients (over torch) | g: forward" in text
    assert "| pool | 1 | 2 (3.00x) | 2 (3.00x) |  |  |" in text and "| norm | 1 |  |  | 2 (3.00x) | 2 (3.00x) |" in text


@pytest.mark.parametrize("name", ["sum over rows of 7 int8", "where(c, x, y)", "x[:, ::2] + 1"])
def test_what_memory_bounds_moves_the_bytes_of_its_roof(name):
    run, first = memory.operation(dl, name, sets=2)
    run()
    dtype, shape = memory._spec(memory.CASES[name][2])
    assert (first().shape, first().dtype.name) == (shape, dtype) and memory.moved(name)[1] == first().nbytes
    for past in (0, 1):
        move, same = memory.roof(dl, name, past=past)
        move()
        assert dl.array_equal(same(), first())


def test_what_memory_bounds_is_shown_beside_its_roof(tmp_path):
    Results(WHERE, {"torch": "2"}, [COLD]).save(tmp_path / "f" / "memory")
    assert "| x > y | 1 |  |  |  | 2 | 50% | 3.00x |" in report.memory(None, tmp_path / "f")


def test_goals_are_counted_and_what_falls_short_is_told_with_its_cause(tmp_path, monkeypatch):
    Results(WHERE, {"torch": "2"}, [COLD, replace(COLD, threads=2)]).save(tmp_path / "memory")
    step = {"case": "a", "threads": 1, "ratio": 1.5}
    (tmp_path / "launches.json").write_text(json.dumps({"rows": [step, {**step, "ratio": 1.0}]}))
    text = goals.page(tmp_path)
    assert "| memory | 2 | 0 |\n| launches | 2 | 1 |\n" in text
    places = "0.50x roof past the caches (1 thread, cold); 0.50x roof past the caches (2 threads, cold)"
    assert f"\n| memory | x > y | 0.85x | {places} | not isolated yet |\n" in text
    assert "\n| launches | a | 0.95x | 0.67x the sum of its launches (1 thread) | not isolated yet |\n" in text
    monkeypatch.setattr(goals, "causes", lambda text: {"x > y": "bytes are packed", "x > y, cold t2": "of two"})
    lines = goals.page(tmp_path).splitlines()
    assert [x.rpartition("(")[2] for x in lines if "| x > y |" in x] == [
        "1 thread, cold) | bytes are packed |", "2 threads, cold) | of two |",
    ]  # fmt: skip


def test_each_cause_is_of_something_that_is_timed():
    keys = set()
    for size, case in table.everything():
        family = case.family if isinstance(case, Snippet) else table.family(case.op)
        keys |= {*figures.keys(case.name), f"{family}, {size}"}
    for timed in itertools.chain(*suites.SUITES.values()):
        shape = timed.case.shape if isinstance(timed.case, Snippet) else ""
        keys |= {key for threads in (1, 2) for key in figures.keys(timed.case.name, shape, threads)}
    assert figures.causes(figures.CAUSES.read_text()).keys() <= keys
    assert figures.causes("# none\n\nd: GPT, Adam t2: products: 25 us") == {"d: GPT, Adam t2": "products: 25 us"}
