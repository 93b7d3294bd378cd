"""The bench of a GPU and its bundle without a GPU: a dry run end to end, and what becomes of jobs that go wrong."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
if shutil.which("gcc") is None or not (ROOT / "bench").exists():
    pytest.skip("needs gcc and the source tree", allow_module_level=True)

from bench import report  # noqa: E402
from bench.gpu import __main__ as gpu  # noqa: E402
from bench.gpu import checks, kinds, processes, record, stages  # noqa: E402
from bench.gpu.merge import merge  # noqa: E402
from bench.gpu.processes import Lane, Process, Stuck  # noqa: E402
from bench.gpu.record import Record, read  # noqa: E402
from bench.gpu.stages import STAGES, Stage  # noqa: E402
from dlcore.kernels import binary as storage  # noqa: E402
from dlcore.kernels.binary import Binary  # noqa: E402
from dlcore.kernels.launch import ARCHES  # noqa: E402

KEPT = {k: v for k, v in os.environ.items() if not k.startswith(("DLCORE_", "PYTEST_")) and k != "TRITON_INTERPRET"}
FEW = 6  # jobs of each stage in the dry run: of `steps` that is all


def other_python():
    """A Python 3.12 that has NumPy and for which the extension is built, if this is none and there is one."""
    for name in (ROOT / "build" / "python312" / "bin" / "python", shutil.which("python3.12")):
        built = list((ROOT / "dlcore").glob("_C.cpython-312-*.so"))
        command = [str(name), "-c", "import ml_dtypes, numpy, sys; sys.exit(sys.version_info[:2] != (3, 12))"]
        if built and name and Path(name).exists() and not subprocess.run(command, stderr=subprocess.PIPE).returncode:
            return str(name)
    return None


def chosen_python(wanted):
    found = sys.executable if sys.version_info[:2] == (3, 12) else other_python()
    if wanted == "3.12" and found is None:
        pytest.skip("the dry run is on this Python: there is no 3.12 with NumPy for which the extension is built")
    if wanted == "this" and found is not None:
        pytest.skip("the dry run is on Python 3.12")
    return found or sys.executable


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# ---- the bundle ---------------------------------------------------------------------------------------------------


def bundled(python, folder, *options):
    """The files of a bundle without kernels: a dry run has some without code."""
    command = [sys.executable, "-m", "bench.gpu.bundle", "--python", python, "--no-kernels", *options]
    command += ["--out", str(folder / "bundle")]
    done = subprocess.run(command, cwd=ROOT, env=KEPT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "bundle"


@pytest.mark.parametrize("wanted", ["3.12", "this"])
def test_a_dry_run_of_the_bundle_goes_from_end_to_end_and_is_resumed(wanted, tmp_path):
    python = chosen_python(wanted)
    bundle, out = bundled(python, tmp_path, "--no-wheels"), tmp_path / "out"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(*options):
        environment = {"PATH": os.environ["PATH"], "OUT": str(out), "PYTHON": python}  # as on a bare machine
        command = ["bash", str(bundle / "run.sh"), "300", "--dry-run", "--uncompiled", "--few", str(FEW), *options]
        done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    text = run()
    found = lines(out / "results.jsonl")
    assert {r["stage"] for r in found} == {stage.name for stage in STAGES}
    for stage in STAGES:
        want = stages.jobs(stage.name, [r for r in found if r["stage"] == "speed"])[:FEW]
        assert {r["name"] for r in found if r["stage"] == stage.name} == set(want), stage.name
    assert {r["sources"] for r in found} == {record.sources()}, "the bundle's sources are not the tree's"
    assert len(list(out.iterdir())) <= 8 and all(len(line) < 250 for line in text.splitlines())
    assert not list(elsewhere.iterdir())

    before = (out / "results.jsonl").read_text()
    shutil.copy(out / "results.jsonl", bundle / "done" / "first.jsonl")
    for carried_in in (False, True):
        if carried_in:
            shutil.rmtree(out)
        assert "add" not in run("--stages", "kind", "first", "load", "rows").replace("loaded", "")
        assert (out / "results.jsonl").read_text() == before
    with pytest.raises(ValueError, match="is of a dry run"):
        merge(out, tmp_path / "results", tmp_path / "sm_90.toml")


def test_a_bundle_for_another_python_says_so(tmp_path):
    bundle = bundled(sys.executable, tmp_path, "--no-wheels")
    (bundle / "bundle.json").write_text(json.dumps({"python": [3, 99], "suffix": ".cpython-399.so"}))
    for arguments, said in ((["10"], "bundle: this bundle is for CPython 3.99"), ([], "usage: bash run.sh SECONDS")):
        command = ["bash", str(bundle / "run.sh"), *arguments]
        done = subprocess.run(command, env={**KEPT, "PYTHON": sys.executable}, capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr.startswith(said)


def test_packages_that_are_missing_are_taken_from_wheels(tmp_path):
    spec = importlib.util.spec_from_file_location("start", ROOT / "bench" / "gpu" / "start.py")
    start = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(start)
    (tmp_path / "wheels").mkdir()
    for name in ("not_installed_here", "numpy"):
        made = tmp_path / name
        (made / name).mkdir(parents=True)
        (made / name / "__init__.py").touch()
        shutil.make_archive(str(tmp_path / name), "zip", made)
        (tmp_path / f"{name}.zip").rename(tmp_path / "wheels" / f"{name}-1-py3-none-any.whl")
    start.HERE = str(tmp_path)
    start.unpack_wheels(str(tmp_path / "site"))
    assert [p.name for p in (tmp_path / "site").iterdir()] == ["not_installed_here"]


KINDS = """
import json, sys
from bench.gpu import kinds
from bench.gpu.context import Context
from dlcore.kernels import compile
from fake_driver import stub

context = Context(True, False)
with compile.written_down(stub) as found:
    for name in sys.argv[1:]:
        found.clear()
        kinds.kind(context, name)
        print(json.dumps([(w.kernel.name, {k: v for k, v in w.constants if isinstance(v, int)}, w.options)
                          for w in found.values()], default=str))
"""


def test_kinds_of_kernel_are_what_they_are_called(tmp_path):
    wanted = {
        "matmul through pointers": "pointers_kernel", "matmul by TMA, several tiles a program": '"SPECIALIZE": false',
        "matmul, warp-specialised": '"SPECIALIZE": true', "softmax by clusters": "num_ctas",
        "matmul with a split K": "slices_kernel",
    }  # fmt: skip
    (tmp_path / "kinds.py").write_text(KINDS)
    command = [sys.executable, str(ROOT / "tests" / "fake_driver"), str(tmp_path / "kinds.py"), *wanted]
    environment = {**KEPT, "DLCORE_DEVICE": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for (name, part), line in zip(wanted.items(), done.stdout.splitlines(), strict=True):
        assert part in line, (name, line)


# ---- jobs that go wrong -------------------------------------------------------------------------------------------

DRILL = """
import os, sys, time
from bench.gpu import worker
from fake_driver import open_fake
import dlcore as dl

driver, asked = open_fake(), []

def drill(context, name):
    asked.append(name)
    x = dl.ones(3, device=context.gpu)
    if name == "loses the context":
        driver.fail(700)
        (x + 1).numpy()
    if name == "hangs":
        print("about to hang", file=sys.stderr, flush=True)
        time.sleep(60)
    if name == "crashes":
        os.abort()
    if name == "talks":
        print("y" * 100_000)
    if name == "is ill" and asked[0] != name:
        raise ValueError("something was left behind")
    if name == "exact":
        context.driver
        before = driver.used()
        y = dl.empty(3, device=context.gpu)
        return {"bytes": driver.used() - before, "left": (y := None) or driver.used() - before}
    return {"asked": len(asked)}

worker.WORK["drill"] = drill
sys.exit(worker.main())
"""


@pytest.fixture
def lane(tmp_path):
    """A worker on the fake driver whose jobs are those of DRILL."""
    (tmp_path / "drill.py").write_text(DRILL)
    flags = ["--dry-run", "--uncompiled", "--exact"]
    command = [sys.executable, str(ROOT / "tests" / "fake_driver"), str(tmp_path / "drill.py"), *flags]
    made = Lane(command, ROOT, {**KEPT, "DLCORE_DEVICE": "cpu", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"})
    yield made
    made.close()


def test_packs_of_which_none_can_be_loaded_are_told(monkeypatch, tmp_path):
    made = Binary("add", "sm_80", "add", 32, 0, compiler="triton 3.9.0, ptxas 13.0", cubin=b"code")
    storage.write_packs(tmp_path, [("ab" * 32, made)])
    monkeypatch.setenv("DLCORE_KERNELS", str(tmp_path))
    monkeypatch.setenv("DLCORE_CACHE", str(tmp_path / "cache"))
    backend = SimpleNamespace(arch=ARCHES["sm_90"])
    context = SimpleNamespace(gpu=SimpleNamespace(backend=backend), driver=SimpleNamespace(version=lambda: 12080))
    told = checks.load(context, "all")["error"]
    assert told == "none of the packs (sm_80.pack of CUDA 13) is for sm_90 and a driver of CUDA 12"


def test_what_goes_wrong_costs_its_own_job(lane):
    assert lane.ask("drill", "fine", 60)["asked"] == 1
    assert lane.ask("drill", "fine", 60)["asked"] == 2  # by the same process
    answer = lane.ask("drill", "loses the context", 60)
    assert "CUDA error 700" in answer["error"] and lane.process is None
    assert lane.ask("drill", "fine", 60)["asked"] == 1
    assert "its process ended with -6" in lane.ask("drill", "crashes", 60)["error"]
    answer = lane.ask("drill", "hangs", 15)
    assert answer["late"] and answer["error"].splitlines() == ["not finished in time", "about to hang"]
    assert lane.ask("drill", "talks", 60)["asked"] == 1
    answer = lane.ask("drill", "is ill", 60)  # in a new process it is well
    assert answer["asked"] == 1 and "something was left behind" in answer["failed_at_first"]
    assert "KeyError" in lane.ask("no stage", "fine", 60)["error"]


def test_blocks_are_of_just_the_bytes_asked_for(lane):
    answer = lane.ask("drill", "exact", 60)
    assert (answer["bytes"], answer["left"]) == (12, 0)


def test_a_process_that_cannot_be_ended_is_named(monkeypatch, tmp_path):
    process = Process([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, KEPT)
    wait, killed = process.popen.wait, process.popen.pid

    def never(seconds):
        raise subprocess.TimeoutExpired("", seconds)

    monkeypatch.setattr(process.popen, "wait", never)
    with pytest.raises(Stuck, match=f"process {killed} does not end when it is killed"):
        process.end()
    assert wait(10) == -9 and process not in Process.living
    for pipe in (process.popen.stdin, process.popen.stdout, process.log):
        pipe.close()


def test_a_job_whose_process_cannot_be_ended_is_late(monkeypatch, tmp_path):
    def end(process, as_usual=Process.end):
        as_usual(process)
        raise Stuck("process 5 does not end when it is killed")

    monkeypatch.setattr(Process, "end", end)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    for answer in (Lane(command, tmp_path, KEPT).ask("kind", "add", 1), processes.run(command, tmp_path, KEPT, 1)):
        assert answer["late"] and answer["error"].startswith("process 5 does not end")


def test_a_command_ends_with_all_it_has_started(tmp_path):
    script = f"sleep 60 & echo $! > {tmp_path}/child; echo said; wait"
    answer = processes.run(["bash", "-c", script], tmp_path, KEPT, 1)
    assert answer["late"] and answer["output"] == "said\n"
    child = int((tmp_path / "child").read_text())
    for _ in range(100):  # it is being killed
        if not Path(f"/proc/{child}").exists() or Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError(f"process {child} lives on")


# ---- a run --------------------------------------------------------------------------------------------------------

ANSWERS = "import json, sys\nfor line in sys.stdin: print(json.dumps({answer}), flush=True)"
PLAN = (Stage("machine", 100, 1, 20), Stage("kind", 100, 2, 20), Stage("first", 100, 2, 20), Stage("tune", 100, 1, 20))


@pytest.fixture
def go(tmp_path, monkeypatch):
    """Runs the plan with a worker made of some Python; (exit code, results)."""

    def run(code, *options, plan=PLAN):
        monkeypatch.setattr(gpu, "commands", lambda options: ([sys.executable, "-c", textwrap.dedent(code)], []))
        monkeypatch.setattr(gpu, "describe", lambda path: None)
        arguments = ["--out", str(tmp_path / "out"), "--seconds", "60", "--only", "add", *options]
        return gpu.main(arguments, plan), lines(tmp_path / "out" / "results.jsonl")

    return run


def test_what_went_well_is_not_done_again_and_what_failed_is(go, tmp_path, monkeypatch):
    answer = ANSWERS.format(answer='{"error": "no"} if "sub" in line else {"asked": line}')
    code, found = go(answer, "--only", "sub")
    assert code == 1 and [r["name"] for r in found] == ["sub"]
    code, found = go(ANSWERS.format(answer='{"now": 1}'), "--only", "sub")
    assert code == 0 and len(found) == 2 and found[1]["now"] == 1
    assert len(go(ANSWERS.format(answer='{"now": 2}'), "--only", "sub")[1]) == 2
    assert len(go(ANSWERS.format(answer='{"now": 2}'), "--only", "sub", "--again")[1]) == 3
    monkeypatch.setattr(record, "sources", lambda root: "others")
    assert len(go(ANSWERS.format(answer='{"now": 3}'), "--only", "sub")[1]) == 4


def test_a_torn_line_costs_its_own_job_only(tmp_path):
    made = Record(tmp_path)
    for name in ("add", "exp"):
        made.add("first", name, {"checks": 1})
    path = made.path
    path.write_bytes(path.read_bytes()[:-20])
    again = Record(tmp_path)
    assert again.well("first", "add") and not again.well("first", "exp")
    again.add("first", "exp", {"checks": 2})
    assert [r["checks"] for r in read(path)] == [1, 2]
    third = Record(tmp_path / "third", [path, tmp_path / "there is none"])
    assert third.well("first", "exp") and [r["checks"] for r in read(third.path)] == [1, 2]
    third.add("first", "exp", {"error": "no"})
    assert Record(tmp_path / "third").well("first", "exp"), "a success stays"


def test_nothing_is_begun_when_the_time_is_over(go, capsys, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.jsonl").touch()
    code, found = go(ANSWERS.format(answer="{}"), "--seconds", "5")
    assert (code, found) == (0, []) and "jobs are left: the same command goes on with them" in capsys.readouterr().out


def test_a_run_stops_where_the_first_kinds_are_all_wrong(go):
    code, found = go(ANSWERS.format(answer='{"error": "wrong"}'))
    assert code == 3 and found[-1]["error"].startswith("the first kinds of kernel have all failed")
    assert found[-1]["error"].endswith(": wrong")
    assert [r["name"] for r in found if r["stage"] == "kind"] == 2 * list(kinds.FIRST)  # the second time apart
    assert not any(r["stage"] == "first" for r in found)


def test_a_run_goes_on_with_kernels_apart_where_only_these_are_right(go):
    answer = '{} if __import__("os").environ.get("DLCORE_OVERLAP") == "0" else {"error": "wrong"}'
    code, found = go(ANSWERS.format(answer=answer), "--few", "4")
    assert code == 0 and [r["stage"] for r in found[:6]] == ["kind"] * 6 and found[-1]["stage"] == "tune"
    assert not any("overlap" in r for r in found[:3]) and all(r["overlap"] is False for r in found[3:])


def test_a_run_goes_on_after_a_job_that_hangs_and_stops_when_the_gpu_is_silent(go, monkeypatch):
    plan = (Stage("first", 100, 1, 1.0),)
    some = ANSWERS.format(answer='__import__("time").sleep(60) if "abs" in line else {}')
    code, found = go(some, "--only", "a", "--few", "2", plan=plan)
    assert code == 1 and found[0]["late"] and len(found) == 2 and "error" not in found[1]
    monkeypatch.setattr(gpu, "PROBE", 1.0)
    code, found = go("import time; time.sleep(60)", plan=plan)
    assert code == 3 and found[-1]["error"] == "the GPU does not answer any more"


def test_a_run_that_is_ended_ends_what_it_has_started(tmp_path):
    script = f"""
        import sys
        from bench.gpu import __main__ as gpu
        waits = "import time; open('{tmp_path}/begun', 'w'); time.sleep(60)"
        gpu.commands = lambda options: ([sys.executable, "-c", waits], [])
        gpu.describe = lambda path: None
        options = ["--out", "{tmp_path}/out", "--seconds", "100", "--only", "add"]
        sys.exit(gpu.main(options, [gpu.Stage("first", 100, 2, 50)]))
    """
    run = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, env=KEPT, stdout=subprocess.PIPE)
    for _ in range(600):
        if (tmp_path / "begun").exists():
            break
        time.sleep(0.1)
    run.terminate()
    said, _ = run.communicate(timeout=30)
    assert run.returncode == 143 and b"results: " in said
    assert not (tmp_path / "out" / "results.jsonl").exists()


def test_winners_are_written_as_they_come(go, tmp_path):
    winner = {"arch": "sm_90", "kernel": "matmul", "key": "half-4096", "values": {"m": 128, "tile": [1, 2]}}
    code, _ = go(ANSWERS.format(answer=winner), "--only", "add 67108864", plan=(Stage("tune", 100, 1, 20),))
    assert code == 0
    table = tomllib.loads((tmp_path / "out" / "sm_90.toml").read_text())
    assert table == {"matmul": {"half-4096": {"m": 128, "tile": [1, 2]}}}


# ---- what comes of it ---------------------------------------------------------------------------------------------


def test_counters_are_read_of_the_cases_that_are_slowest_beside_torch():
    timed = [{"name": str(k), "seconds": 1.0, "torch": torch} for k, torch in enumerate((2.0, 0.5, 1.0, 0.7))]
    assert stages.jobs("counters", timed) == ["1", "3", "2"]
    assert stages.jobs("counters", [{"name": "x", "seconds": 1.0}, {"name": "step", "engines": {}}]) == ["x"]
    text = (
        '==PROF== 1\n"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"\n'
        '"0","tma","dram__bytes","Gbyte","1,2"\n'
    )
    assert stages.counters(text) == {"0 tma": {"dram__bytes": "1,2 Gbyte"}}


@pytest.fixture
def measured(tmp_path):
    """Results as a GPU would have given them."""
    made = Record(tmp_path / "out")
    machine = {"gpu": "NVIDIA H100", "driver": 13000, "versions": {"torch": "9.9"}}
    made.add("machine", "all", {**machine, "date": "2030-01-02", "commit": "abc"})
    made.add("first", "softmax", {"checks": 4})
    made.add("first", "matmul", {"error": "wrong"})
    made.add("speed", "step a adam", {"engines": {"dlcore recorded": 1e-5, "torch": 4e-4}})
    made.add("speed", "bfloat16 matmul", {"seconds": 1e-3, "flops": 5e11, "bytes": 1e9, "torch": 5e-4})
    made.add("tune", "bfloat16 matmul", {"arch": "sm_90", "kernel": "matmul", "key": "half", "values": {"m": 64}})
    return made


def test_results_are_merged_and_shown(measured, tmp_path):
    folder, results, table = measured.path.parent, tmp_path / "results", tmp_path / "sm_90.toml"
    path = merge(folder, results, table)
    assert path == results / "nvidia-h100" / "gpu.jsonl"
    assert path.read_text() == merge(folder, results, table).read_text()
    assert tomllib.loads(table.read_text()) == {"matmul": {"half": {"m": 64}}}
    text = report.render("<!-- bench: gpu -->\n<!-- /bench -->", results / "none", report.OF_GPUS)
    assert "Medians on NVIDIA H100, CUDA 13.0, torch 9.9; commit abc, 2030-01-02." in text
    assert "| step a adam | 10.0 | 400.0 |" in text
    assert "| bfloat16 matmul | 1000.0 | 1.00 | 500.00 | 500.0 | 0.50x |" in text
    assert "\n1 of " in report.render("<!-- bench: kernels -->\n<!-- /bench -->", results / "none")
    nothing = report.render("<!-- bench: gpu -->\n<!-- /bench -->", tmp_path / "nowhere" / "none")
    assert "Nothing has been measured on a GPU yet." in nothing
    marked = "<!-- bench: headline -->\nold\n<!-- /bench -->"
    assert report.render(marked, results / "none", report.OF_GPUS) == marked


def test_a_failure_replaces_no_success_of_the_same_sources(measured, tmp_path):
    results, table = tmp_path / "results", tmp_path / "sm_90.toml"
    path = merge(measured.path.parent, results, table)
    measured.add("first", "softmax", {"error": "no"})
    merge(measured.path.parent, results, table)
    assert next(r for r in read(path) if r["name"] == "softmax")["checks"] == 4
    measured.sources = "others"
    measured.add("first", "softmax", {"error": "no"})
    merge(measured.path.parent, results, table)
    assert next(r for r in read(path) if r["name"] == "softmax")["error"] == "no"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="does not say on which machine"):
        merge(tmp_path / "empty", results, table)
