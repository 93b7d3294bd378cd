"""Roofs, points under them, the picture, the page, and the command."""

import dataclasses
import html.parser
import importlib.util
import json
import math
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dlcore as dl
from dlcore import _C
from dlcore.bench import gpu_roofs, roofs
from dlcore.bench.roofs import Roofs
from dlcore.bench.session import Measurement, Timing
from dlcore.cli import main
from dlcore.cli import roofline as command
from dlcore.roofline import model as models
from dlcore.roofline.page import describe, page
from dlcore.roofline.points import STEP, Point, from_launches, from_measurements
from dlcore.roofline.report import Report
from dlcore.roofline.roofs import lines, plateaus, size

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = f"{ROOT / 'examples' / 'roofline_model.py'}:build"

needs_matplotlib = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib")

# Round numbers, to compute with by hand: 100 GB/s up to 1 MB, 10 GB/s beyond; 50 and 25 GFLOP/s.
MADE = Roofs(
    "cpu", 2,
    copy=[(1 << 10, 80e9), (1 << 20, 100e9), (1 << 24, 10e9)], read=[(1 << 10, 90e9), (1 << 20, 60e9), (1 << 24, 8e9)],
    fma={"float32": 50e9, "float64": 25e9}, gemm={"float32": 40e9}, library="NumPy 2.1 (some BLAS), 2 threads",
)  # fmt: skip


# ---- the loops ----------------------------------------------------------------------------------------------------


@pytest.fixture
def two_threads():
    before = _C.thread_count()
    _C.set_thread_count(2)
    yield 2
    _C.set_thread_count(before)


def timed(kernel, x, out, *params, threads=2):
    """Runs a loop; again where other processes kept its threads from coming together in time."""
    times = dl.zeros((threads, 2), dtype=dl.float64)
    for _ in range(50):
        _C.run_kernel(kernel, [x], [out, times], params)
        begun, ended = times.numpy().T
        if not np.isnan(begun).any():
            break
    assert (ended >= begun).all() and (begun > 0).all()


@pytest.mark.smoke
@pytest.mark.parametrize("past_caches", [0, 1])
@pytest.mark.parametrize("count", [1, 63, 64, 1000, 40_007])
def test_copy_copies(count, past_caches, two_threads):
    x = dl.tensor(np.random.default_rng(count).integers(-(2**62), 2**62, count))
    room = dl.full((count + 64,), 7, dtype=dl.int64)
    timed("roofs:copy", x, room[:count], 2, past_caches)
    assert np.array_equal(room.numpy()[:count], x.numpy())
    assert (room.numpy()[count:] == 7).all()


@pytest.mark.smoke
@pytest.mark.parametrize("count", [1, 63, 64, 1000, 40_007])
def test_read_sums_every_word_in_every_pass(count, two_threads):
    words = np.random.default_rng(count).integers(-(2**40), 2**40, count)
    sums = dl.zeros((2,), dtype=dl.int64)
    timed("roofs:read", dl.tensor(words), sums, 3)
    assert sums.numpy().sum() == 3 * words.sum()


@pytest.mark.smoke
@pytest.mark.parametrize("name", roofs.CHAINS)
def test_fma_multiplies_and_adds(name, two_threads):
    x = np.random.default_rng(0).standard_normal((2, roofs.CHAINS[name])).astype(name)
    out = dl.zeros(x.shape, dtype=getattr(dl, name))
    timed("roofs:fma", dl.tensor(x), out, 20, 0.75, 0.5)
    want = x.astype(np.longdouble)
    for _ in range(20):
        want = want * 0.75 + 0.5
    eps = np.finfo(name).eps
    np.testing.assert_allclose(out.numpy(), want.astype(name), rtol=20 * eps, atol=20 * eps)


@pytest.mark.parametrize("isa", ["v1", "v3"])
def test_other_instruction_sets(isa):
    tests = [f"{__file__}::{name}" for name in ("test_copy_copies", "test_read_sums_every_word_in_every_pass",
                                                "test_fma_multiplies_and_adds")]  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, env=os.environ | {"DLCORE_ISA": isa}, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_more_threads_than_the_pool_has_do_nothing(two_threads):
    times = dl.zeros((3, 2), dtype=dl.float64)
    x, y = dl.ones(1000), dl.zeros(1000)
    _C.run_kernel("roofs:copy", [x], [y, times], [1, 0])
    assert np.isnan(times.numpy()[:, 0]).any()


def test_run_kernel_refuses_what_it_cannot_run():
    x, times = dl.ones(96), dl.zeros((1, 2), dtype=dl.float64)
    with pytest.raises(ValueError, match="no kernel named roofs:nothing"):
        _C.run_kernel("roofs:nothing", [x], [x, times], [1])
    with pytest.raises(TypeError, match="operands are tensors"):
        _C.run_kernel("roofs:copy", [np.ones(3)], [x, times], [1, 0])
    with pytest.raises(ValueError, match="contiguous"):
        _C.run_kernel("roofs:copy", [dl.ones((4, 4)).T], [x, times], [1, 0])
    with pytest.raises(RuntimeError, match="do not fill the registers"):
        _C.run_kernel("roofs:fma", [dl.ones((1, 5))], [dl.ones((1, 5)), times], [1, 0.5, 1.0])
    step = dl.capture(lambda x: _C.run_kernel("roofs:copy", [x], [x, times], [1, 0]))
    step(x)
    with pytest.raises(ValueError, match="cannot be recorded"):
        step(x)


# ---- roofs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured():
    told = []
    threads = _C.thread_count()
    found = roofs.measure("cpu", threads=2, quick=True, progress=lambda done, what: told.append((done, what)))
    assert _C.thread_count() == threads
    assert told[-1] == (1.0, "") and [d for d, _ in told] == sorted(d for d, _ in told)
    return found


def test_measured_roofs_make_sense(measured):
    sizes = roofs.working_sets(True)
    assert [s for s, _ in measured.copy] == [s for s, _ in measured.read] == sizes == sorted(sizes)
    rates = [rate for _, rate in (*measured.copy, *measured.read)]
    assert all(math.isfinite(rate) and rate > 0 for rate in rates)
    assert set(measured.fma) == {"float32", "float64"} == set(measured.gemm)
    assert all(math.isfinite(rate) and rate > 0 for rate in (*measured.fma.values(), *measured.gemm.values()))
    assert 0 <= measured.taken < 1
    assert "NumPy" in measured.library and measured.library.endswith("2 threads")
    assert (measured.device, measured.threads, measured.quick) == ("cpu", 2, True)
    curve = [measured.bandwidth(2.0**k) for k in range(10, 40)]
    assert curve == sorted(curve, reverse=True), "a larger working set is never faster"
    assert curve[0] == max(rates)


def test_time_that_others_take_is_told():
    loops = roofs._Loops(2, 0.0)
    loops._wall, loops._busy = 10.0, 15.0
    assert loops.taken == pytest.approx(0.25)
    quiet, busy = (dataclasses.replace(MADE, taken=taken) for taken in (0.02, 0.25))
    assert command._notes(quiet) == [] and "25% of the processors' time" in command._notes(busy)[0]


def test_a_library_that_cannot_be_asked_is_no_roof(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert roofs._numpy_gemm(1, 0.1)[0] == {}


def test_bandwidth_by_working_set():
    assert MADE.curve == [(1 << 10, 100e9), (1 << 20, 100e9), (1 << 24, 10e9)]  # noise of a small one is lifted
    assert MADE.bandwidth(0) == MADE.bandwidth(1 << 10) == MADE.bandwidth(1 << 15) == 100e9
    assert MADE.bandwidth(1 << 22) == pytest.approx(55e9)  # half way in the logarithm
    assert MADE.bandwidth(1 << 24) == MADE.bandwidth(1 << 40) == 10e9


def test_flops_by_dtype():
    assert [MADE.flops(name) for name in ("float32", "bfloat16", "float16", "bool", "int32")] == [50e9] * 5
    assert [MADE.flops(d) for d in (dl.float64, dl.int64)] == [25e9] * 2
    faster = Roofs(**MADE.to_json() | {"gemm": {"float32": 60e9}})
    assert faster.flops("float32") == 60e9  # what a library reaches can be reached
    gpu = Roofs(**MADE.to_json() | {"fma": {**MADE.fma, "float16": 800e9, "tf32": 400e9}, "threads": 0})
    assert (gpu.flops("float16"), gpu.flops("float32"), gpu.flops("float64")) == (800e9, pytest.approx(400e9 / 3), 25e9)


def test_least_time_and_what_bounds():
    # 1 MFLOP at 50 GFLOP/s: 20 us; 1 MB at 100 GB/s: 10 us, at 10 GB/s: 100 us
    assert MADE.least(1e6, 1e6, 1 << 20, "float32") == pytest.approx(20e-6)
    assert MADE.bound(1e6, 1e6, 1 << 20, "float32") == "arithmetic"
    assert MADE.least(1e6, 1e6, 1 << 24, "float32") == pytest.approx(100e-6)
    assert MADE.bound(1e6, 1e6, 1 << 24, "float32") == "memory"
    assert MADE.least(1e6, 1e6, 1 << 20, dl.float64) == pytest.approx(40e-6)
    assert MADE.least(0, 0, 0, "float32") == 0.0


def test_working_set():
    assert MADE.working_set(100, 1000) == 100  # a few rows of a large table
    assert MADE.working_set(1000, 100) == 100  # the same memory twice
    assert MADE.working_set(100, 100, cold=True) == 1 << 24


def test_roofs_as_json():
    assert Roofs.from_json(json.loads(json.dumps(MADE.to_json()))) == MADE
    whole = MADE.to_json()
    wrong = [{"more": 1}, {"copy": 5}, {"copy": [], "read": []}, {"copy": [[1 << 20, 0.0]]}, {"fma": {"float32": 1.0}}]
    for broken in ({}, None, *(whole | part for part in wrong), whole | {"read": [["a", 1.0]]}):
        with pytest.raises(ValueError, match=r"not what Roofs\.to_json gave"):
            Roofs.from_json(broken)


def test_levels_of_memory():
    assert plateaus(MADE) == [(1 << 20, 100e9), (1 << 24, 10e9)]
    rates = [470, 420, 236, 230, 200, 94, 55, 53, 51]  # 94: between two levels
    found = Roofs("cpu", 1, [(1 << k, r * 1e9) for k, r in enumerate(rates)], [], MADE.fma)
    assert plateaus(found) == [(2, 470e9), (16, 236e9), (256, 55e9)]
    assert plateaus(Roofs("cpu", 1, [(64, 1e9)], [], MADE.fma)) == [(64, 1e9)]


def test_lines():
    found = lines(MADE, {"float32", "bfloat16"})
    assert [line.kind for line in found] == ["cache", "memory", "FMA", "GEMM"]
    assert [line.rate for line in found] == [100e9, 10e9, 50e9, 40e9]
    assert "1 MiB" in found[0].label and "NumPy" in found[3].label
    assert [line.rate for line in lines(MADE, {"float32", "float64"}) if line.kind == "FMA"] == [50e9, 25e9]
    assert [size(n) for n in (512, 65536, 1.5 * 2**20, 2**33)] == ["512 B", "64 KiB", "1.5 MiB", "8 GiB"]


# ---- on the interpreter's GPU -------------------------------------------------------------------------------------

PROGRAM = """
import numpy as np, dlcore as dl
from dlcore.bench import gpu_roofs as g, roofs
gpu, rng = dl.device("cuda"), np.random.default_rng(0)
words = rng.integers(-2**40, 2**40, 5001)
x = dl.tensor(words, device=gpu)
assert np.array_equal(g.roof_copy(x).numpy(), words)
assert np.array_equal(g.roof_read(x, 3).numpy().sum(), words.sum())
values = rng.standard_normal(2 * g.FMA_BLOCK)
for dtype in (dl.float32, dl.float64):
    want = values.astype(dtype.numpy)
    for _ in range(3 * g.UNROLL):
        want = want * dtype.numpy.type(0.5) + dtype.numpy.type(1)
    got = g.roof_fma(dl.tensor(values, dtype=dtype, device=gpu), 3, 0.5, 1.0).numpy()
    assert np.allclose(got, want, rtol=8 * dtype.eps), dtype
m, n, k = g.TILE
a, b = rng.integers(-4, 4, (m, k)), rng.integers(-4, 4, (k, n))
for dtype in (dl.float16, dl.bfloat16, dl.float32):
    x, y = (dl.tensor(t, dtype=dtype, device=gpu) for t in (a, b))
    got = g.roof_dot(x, y, 2, 3, "tf32").numpy()
    assert got.shape == (2, m, n) and (got == 3 * (a @ b)).all(), dtype
found = roofs.measure("cuda", quick=True)
assert found.threads == 0 and set(found.fma) == {"float32", "float64", "float16", "bfloat16", "tf32"}
assert all(rate > 0 for _, rate in (*found.copy, *found.read)) and found.bandwidth(1) > 0
print("as it should be")
"""


def test_gpu_loops_interpreted():
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1", "DLCORE_CUDA": "interpreter"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.stdout == "as it should be\n", done.stderr


@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100", "sm_120"])
def test_gpu_loops_compile(arch):
    pytest.importorskip("triton")
    from dlcore.cli.programs import ask
    from dlcore.kernels.compile import compile_many
    from dlcore.kernels.launch import ARCHES, contiguous_strides, prepared
    from dlcore.kernels.specialise import specialise
    from dlcore.op import Spec

    def specs(dtype, *shapes):
        return [Spec(s, dtype, False, contiguous_strides(s)) for s in shapes]

    flat, (m, n, k) = (1 << 20,), gpu_roofs.TILE
    asked = [
        (gpu_roofs.roof_copy.op, specs(dl.int64, flat), ()),
        (gpu_roofs.roof_read.op, specs(dl.int64, flat), (1056,)),
        (gpu_roofs.roof_fma.op, specs(dl.float32, flat), (2048, 0.5, 1.0)),
        (gpu_roofs.roof_fma.op, specs(dl.float64, flat), (512, 0.5, 1.0)),
    ]
    half = (dl.float16, dl.bfloat16)
    asked += [(gpu_roofs.roof_dot.op, specs(d, (m, k), (k, n)), (1056, 512, "tf32")) for d in (*half, dl.float32)]
    wanted = []
    for op, given, attrs in asked:
        (found,) = ask(op, "roof", given[0].dtype, given, attrs, [ARCHES[arch]])
        assert not isinstance(found.program, Exception), found.program
        (launch,) = found.program.launches
        wanted.append(specialise(launch, prepared(found.call, found.program))[0])
    made = compile_many(wanted, 1)
    for binary, (op, *_) in zip(made, asked, strict=True):
        assert not getattr(binary, "problems", [str(binary)]), f"{op.name}: {binary}"
        assert bool(binary.matrix) == (op is gpu_roofs.roof_dot.op)
    assert all(binary.instructions.get("ld.v4") for binary in made)


# ---- points -------------------------------------------------------------------------------------------------------


def measurement(row, family, seconds, flops=0.0, moved=0.0, touched=None, dtype="float32", cache="warm"):
    touched = int(moved) if touched is None else touched
    found = Measurement(
        f"{row} {dtype}", row, family, "8x8", dtype, "forward", cache, 2, "cpu", flops, moved, touched
    )  # fmt: skip
    found.engines["dlcore"] = Timing(seconds, seconds, seconds, 3, seconds)
    return found


def test_points_from_measurements():
    points = from_measurements(
        [
            measurement("exp", "elementwise", 40e-6, flops=1e6, moved=1e6, touched=1 << 20),
            measurement("add", "elementwise", 20e-6, flops=1e4, moved=1e6, touched=1 << 20),
            measurement("reshape", "", 1e-6),
            measurement("take", "movement", 200e-6, moved=1e6, touched=1 << 30, cache="cold"),
            measurement("add", "elementwise", 80e-6, flops=1e6, moved=1e6, touched=1 << 20, dtype="float64"),
        ],
        MADE,
    )
    assert [p.number for p in points] == [1, 2, 3, 4, 5]
    assert [p.family for p in points] == ["elementwise"] * 3 + ["movement", "other"]
    shares = {(p.name, p.dtype): p.share for p in points}
    assert shares["exp", "float32"] == pytest.approx(0.5)
    assert shares["add", "float32"] == pytest.approx(0.5, rel=0.05)  # 1 MB at 100 GB/s, a little less than 1 MiB
    assert shares["add", "float64"] == pytest.approx(0.5)
    assert shares["take", "float32"] == pytest.approx(0.5)  # from memory
    assert shares["reshape", "float32"] is None
    exp = next(p for p in points if p.name == "exp")
    assert (exp.intensity, exp.bandwidth, exp.rate) == (1.0, pytest.approx(25e9), pytest.approx(25e9))
    assert exp.bound == "arithmetic" and exp.drawn and not points[-1].drawn
    assert Point.from_json(json.loads(json.dumps(exp.to_json()))) == exp
    with pytest.raises(ValueError, match="a point without 'name'"):
        Point.from_json({"number": 1})


def test_points_of_a_recorded_step():
    step = models.record(models.load(EXAMPLE), repeats=2, seconds=0.05)
    whole, *launches = from_launches(step.explanation, step.held, step.wall, step.name, MADE)
    assert (whole.family, whole.name, whole.shape) == (STEP, "step", f"{len(launches)} launches")
    assert whole.seconds == step.wall > 0
    assert whole.flops == sum(p.flops for p in launches) > 128 * (4 * 784 * 256 + 6 * 256 * 128)
    assert whole.bytes == sum(p.bytes for p in launches)
    assert whole.least == pytest.approx(sum(p.least for p in launches))
    assert step.held > 4 * 3 * (784 * 256 + 256 * 128)  # parameters and the two averages of Adam
    assert [p.number for p in launches] == list(range(2, len(launches) + 2))
    assert {p.family for p in launches} >= {"matmul", "loss", "optim"}
    first = launches[0]
    assert first.name == "linear + bias + relu" and first.line.startswith("roofline_model.py:")
    assert first.working_set == 4 * (128 * 784 + 784 * 256 + 256 + 128 * 256)
    adam = next(p for p in launches if p.name == "adam")
    assert adam.dtype == "float32" and adam.bound == "memory"


# ---- models that cannot be recorded, and files that hold none -----------------------------------------------------


def built(tmp_path, text, name="wrong_model"):
    file = tmp_path / f"{name}.py"
    file.write_text("import numpy as np\nimport dlcore as dl\nfrom dlcore import nn\n" + text)
    return str(file)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("def make(): pass", "has no function build (it has make)"),
        ("build = 3", "has no function build (it has none)"),
        ("def build(): return 3", "build() returned a int; wanted: a Module or a function"),
        ("def build(): return ()", "build() returned (); wanted"),
        ("def build(): return dl.ones(3), 1", "wanted: a Module or a function"),
        ("def build(): return nn.Linear(2, 3)", "missing a required argument"),
        ("def build(): return nn.Linear(2, 3), 1, 2", "too many positional arguments"),
        ("def build(): return lambda x: x", "missing a required argument: 'x'"),
    ],
)
def test_wrong_builds_end_with_one_line(tmp_path, text, error, capsys):
    assert main(["roofline", f"{built(tmp_path, text)}:build", "--quick"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("dlcore: roofline: ") and error in said and said.count("\n") == 1


def test_a_step_that_reads_a_value_is_refused_with_its_line(tmp_path, capsys):
    text = "def build():\n    def step(x):\n        return x * x.sum().item()\n    return step, dl.ones(3)\n"
    assert main(["roofline", built(tmp_path, text), "--quick"]) == 1
    said = capsys.readouterr().err
    assert "cannot be recorded" in said and "x.sum().item()" in said


def test_wrong_arguments(tmp_path, capsys):
    for arguments, error in (
        (["no_such.py:build"], "there is no file no_such.py"),
        (["no_such"], "there is no file no_such"),
        ([EXAMPLE, "--op", "add"], "a model has its own"),
        (["--op", "ad"], "no operation ad"),
        (["--dtype", "float31"], "float31"),
        (["--op", "add", "--dtype", "bool"], "has a case in bool"),
    ):
        assert main(["roofline", *arguments, "--quick"]) == 1
        said = capsys.readouterr().err
        assert error in said and said.count("\n") == 1
    assert main(["roofline", "--threads", "0", "--quick"]) == 2
    assert "at least 1" in capsys.readouterr().err


def test_a_module_is_recorded_without_gradients(tmp_path):
    text = "def build():\n    return nn.Sequential(nn.Linear(8, 4), nn.ReLU()), np.ones((3, 8), np.float32)\n"
    step = models.record(models.load(built(tmp_path, text)), repeats=2, seconds=0.01)
    assert step.name == "Sequential" and step.serial
    assert [row.fused for row in step.explanation.rows] == ["linear + bias + relu"]


def test_functions_without_arguments_and_captured_ones(tmp_path):
    text = "x = dl.ones((4, 4))\n@dl.capture\ndef twice():\n    return x + x\ndef make():\n    return twice\n"
    step = models.record(models.load(f"{built(tmp_path, text)}:make"), repeats=2, seconds=0.01)
    assert step.name == "twice" and [row.operation for row in step.explanation.rows] == ["add"]


# ---- the picture --------------------------------------------------------------------------------------------------


def crowd(count, seed=0):
    """Points in a few heaps, as operations are: of equal intensity, and nearly of equal speed."""
    rng = np.random.default_rng(seed)
    points = []
    families = ("elementwise", "activation", "reduce", "matmul", "random", "of my own")
    for k in range(count):
        moved = 1e6
        flops = moved * float(rng.choice([0.0, 1 / 12, 1 / 8, 0.25, 2.5, 30.0]))
        least = MADE.least(flops, moved, moved, "float32")
        seconds = least / float(rng.choice([0.9, 0.88, 0.5, 0.1])) * float(rng.uniform(1, 1.05))
        name, family = f"operation_{k}", families[k % len(families)]
        bound = MADE.bound(flops, moved, moved, "float32")
        points.append(
            Point(k + 1, name, "1023x1025 @ 1023x1025", "float32", family, flops, moved, moved, seconds, least, bound)
        )
    return points


@needs_matplotlib
@pytest.mark.parametrize("count", [1, 11, 40, 110])
def test_labels_are_there_and_apart(count):
    from dlcore.roofline import picture

    points = crowd(count)
    figure = picture.draw(points, MADE, "a title")
    texts = {t.get_text() for t in figure.findobj(lambda t: getattr(t, "get_gid", lambda: None)() == "number")}
    assert texts == {str(p.number) for p in points if p.drawn}
    names = [t.get_text() for t in figure.findobj(lambda t: getattr(t, "get_gid", lambda: None)() == "name")]
    assert len(names) == count and all(any(n.startswith(f"{p.number}  {p.name}") for n in names) for p in points)
    boxes = picture.labels(figure)
    assert len(boxes) == len(texts) + 2 * count
    width, height = figure.get_size_inches() * figure.dpi
    assert all(b.x0 >= 0 and b.y0 >= 0 and b.x1 <= width and b.y1 <= height for b in boxes)
    assert not [(a, b) for k, a in enumerate(boxes) for b in boxes[k + 1 :] if a.overlaps(b)]


@needs_matplotlib
def test_of_a_crowd_numbers_stand_at_their_marks_and_keys_apart():
    from dlcore.roofline import picture

    points = [p._replace(family=f"family {p.number % 25}") for p in crowd(340)]
    figure = picture.draw(points, MADE, "a title")
    numbers = figure.findobj(lambda t: getattr(t, "get_gid", lambda: None)() == "number")
    assert 40 < len(numbers) < 340 and max(np.hypot(*t.xyann) for t in numbers) < 12
    boxes = picture.labels(figure)
    assert len(boxes) == len(numbers) + 2 * 340, "the second panel has them all"
    assert not [(a, b) for k, a in enumerate(boxes) for b in boxes[k + 1 :] if a.overlaps(b)]
    roofs, kernels = (key.get_window_extent() for key in figure.legends)
    width, height = figure.get_size_inches() * figure.dpi
    assert not roofs.overlaps(kernels) and max(roofs.x1, kernels.x1) <= width and roofs.y1 <= height


@needs_matplotlib
def test_families_differ_by_mark_and_by_colour():
    from dlcore.roofline.picture import marks

    families = ["activation", "elementwise", "matmul", "loss", "movement", "optim", "random", "reduce", "softmax"]
    found = marks(families)
    assert len({mark for mark, _ in found.values()}) == len(families)
    assert len({found[f][1] for f in families[:8]}) == 8
    assert marks(["softmax", "mine"])["softmax"] == found["softmax"], "the same in every picture"


@needs_matplotlib
def test_picture_without_arithmetic_and_without_points():
    from dlcore.roofline import picture

    quiet = [p._replace(flops=0.0) for p in crowd(3)]
    assert len(picture.labels(picture.draw(quiet, MADE, ""))) == 6
    assert picture.labels(picture.draw([], MADE, "")) == []


# ---- the page -----------------------------------------------------------------------------------------------------


class Reader(html.parser.HTMLParser):
    """What a page opens and closes, what it loads, and its text."""

    VOID = frozenset({"meta", "br", "link", "img", "input"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.loads, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.loads += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def check_page(text, points):
    """It is whole, loads nothing, and has every kernel in its table."""
    reader = Reader(text)
    assert all(target.startswith("#") for target in reader.loads)
    assert not re.search(r"https?://|@import|url\((?!#)|<script", text)
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    rows = [attrs for tag, attrs in reader.tags if tag == "th" and attrs.get("scope") == "row"]
    assert len(rows) >= len(points)
    assert all(attrs.get("scope") for tag, attrs in reader.tags if tag == "th")
    words = "\n".join(reader.words)
    assert all(p.name in words and p.shape in words for p in points)
    (image,) = [attrs for tag, attrs in reader.tags if tag == "svg" and attrs.get("role") == "img"]
    assert image["aria-label"] == describe(points)
    return words


@needs_matplotlib
def test_page():
    from dlcore.roofline import picture

    points = crowd(20)
    drawing = picture.svg(points, MADE, describe(points))
    assert "var(--ink)" in drawing and "#010203" not in drawing
    machine = {"processor": "a <processor>", "python": "3.11", "commit": "", "date": "2026-11-23", "dlcore": "0.1"}
    words = check_page(page(points, MADE, machine, "A <title>", ["a <note>"], drawing), points)
    for text in ("A <title>", "a <note>", "a <processor>", "2026-11-23", "some BLAS", "1 MiB", "memory", "arithmetic"):
        assert text in words


def test_picture_in_words():
    points = crowd(20)
    said = describe(points)
    assert "20 kernels" in said and "median" in said and "operation_" in said
    assert describe([]) == "Roofline without points"


# ---- the command --------------------------------------------------------------------------------------------------


@needs_matplotlib
def test_operations_end_to_end(tmp_path, capsys):
    out = tmp_path / "deep" / "folder"
    assert main(["roofline", "--op", "add", "softmax", "--quick", "--threads", "1", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    for text in ("add", "softmax", "FLOPs/byte", "% of roof", "multiply-adds", "NumPy", "1 thread"):
        assert text in said
    assert sorted(p.name for p in out.iterdir()) == [f"roofline.{e}" for e in ("html", "json", "png", "svg")]
    report = Report.load(out / "roofline.json")
    assert [p.name for p in report.points] == ["add", "softmax"] and report.roofs.threads == 1
    assert all(p.share == pytest.approx(p.least / p.seconds) and p.share > 0 for p in report.points)
    assert report.machine["date"] and report.points[1].bytes == 8 * report.points[1].flops / 20
    check_page((out / "roofline.html").read_text(), report.points)
    assert (out / "roofline.png").read_bytes().startswith(b"\x89PNG")
    (out / "roofline.json").write_text('{"format": 1}')
    with pytest.raises(ValueError, match=r"is no roofline\.json"):
        Report.load(out / "roofline.json")


@needs_matplotlib
def test_model_end_to_end(tmp_path, capsys):
    threads = _C.thread_count()
    assert main(["roofline", EXAMPLE, "--quick", "--out", str(tmp_path)]) == 0
    assert _C.thread_count() == threads
    said = capsys.readouterr().out
    for text in ("step of roofline_model.py", "linear + bias + relu", "cross_entropy", "adam", "A replay takes"):
        assert text in said
    report = Report.load(tmp_path / "roofline.json")
    assert report.points[0].family == STEP and report.points[0].share > 0
    check_page((tmp_path / "roofline.html").read_text(), report.points)


def test_one_operation_that_fails_does_not_take_the_others_along(capsys, monkeypatch):
    from dlcore.bench.session import Session

    measure = Session.measure

    def failing(self, case, **settings):
        if case.op.name == "mul":
            raise RuntimeError("bench: mul: broken")
        return measure(self, case, **settings)

    monkeypatch.setattr(Session, "measure", failing)
    assert main(["roofline", "--op", "add", "mul", "--quick"]) == 1
    said = capsys.readouterr().out
    assert "failed bench: mul: broken" in said and "add" in said


def test_without_matplotlib_out_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["roofline", "--op", "add", "--quick", "--out", str(tmp_path)]) == 1
    assert "pip install 'dlcore[plot]'" in capsys.readouterr().err


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="needs the source tree")
def test_program_of_the_documentation_runs(capsys):
    text = (ROOT / "docs" / "roofline.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(program, "docs/roofline.md", "exec"), {})
    assert capsys.readouterr().out.strip().endswith(("memory", "arithmetic"))


def test_example_runs(capsys):
    runpy.run_path(EXAMPLE.rpartition(":")[0], run_name="__main__")
    assert float(capsys.readouterr().out.split()[-1]) < 1.0
