"""dlcore verify: what is right passes, what is wrong is found, and random calls find what samples do not."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import dlcore as dl
from dlcore import testing
from dlcore.cli import main
from dlcore.dtypes import float16, float32, float64
from dlcore.op import REGISTRY, Sample, Spec, operation
from dlcore.verify import checks, draws, fuzz, fuzzing, shrink
from dlcore.verify import verify as verify_operations

HEAD = """
import os
import numpy as np
import dlcore as dl
from dlcore.dtypes import float32, float64
from dlcore.op import Sample, Spec, operation
"""


@pytest.fixture
def define():
    """Makes operations of one operand, which are forgotten afterwards."""
    made = []

    def make(name="doubled", rule=lambda x: Spec(x.shape, x.dtype), **parts):
        common = {
            "reference": lambda x: 2 * x, "kernels": {"cpu": right}, "dtypes": (float32, float64),
            "samples": [Sample((5, 7)), Sample(np.array([1.0, np.inf]), grad=False)],
        }  # fmt: skip
        made.append(name)
        return operation(name=name, **(common | parts))(rule).op

    yield make
    for name in made:
        REGISTRY.pop(name, None)


def right(x, out):
    np.asarray(out)[...] = 2 * np.asarray(x)


def wrong_where(condition):
    """A kernel that is off by one part in a hundred where ``condition`` of the operand holds."""

    def kernel(x, out):
        right(x, out)
        if condition(x):
            np.asarray(out)[...] *= np.asarray(1.01, np.asarray(out).dtype)

    return kernel


def test_a_right_row_passes(define):
    report = checks.check_row(define(composite=lambda x: x + x, gradient=lambda dout: 2 * dout))
    assert report.failures == []
    assert report.checks["forward"].done == 2 * 2 * 4 and report.checks["forward"].worst == 0
    assert report.checks["composite"].done == 4 and report.checks["gradient"].done > 0
    assert report.checks["repeatable"].done == 4
    assert "cannot be recorded" in report.checks["replay"].note  # NumPy reads it back


def test_a_row_of_dlcore_passes():
    report = checks.check_row(REGISTRY["tanh_backward"], dtypes=("float32", "float16"))
    assert report.failures == [] and report.dtypes == ("float16", "float32") and 0 < report.checks["forward"].worst < 2
    assert report.checks["replay"].done == report.checks["composite"].done - 1 > 0  # but for the large sample


@pytest.mark.parametrize(
    "condition, check",
    [
        (lambda x: x.dtype is float64, "forward"),
        (lambda x: not x.is_contiguous, "forward"),
        (lambda x: x.data_ptr % 16 != 0, "repeatable"),
    ],
    ids=["one dtype", "one layout", "another address"],
)
def test_a_wrong_kernel_is_found(define, condition, check):
    report = checks.check_row(define(kernels={"cpu": wrong_where(condition)}))
    assert report.checks[check].failures and "doubled" in report.checks[check].failures[0]


def test_a_wrong_gradient_and_a_wrong_composite_are_found(define):
    report = checks.check_row(define(gradient=lambda dout: 3 * dout))
    assert report.checks["gradient"].failures and not report.checks["forward"].failures
    report = checks.check_row(define("tripled", composite=lambda x: x + x + x, gradient=lambda dout: 2 * dout))
    assert [name for name, c in report.checks.items() if c.failures] == ["composite"]


def test_what_a_row_raises_is_a_finding(define):
    def broken(x, out):
        raise RuntimeError("no such thing")

    report = checks.check_row(define(kernels={"cpu": broken}))
    assert "raised RuntimeError: no such thing" in report.checks["forward"].failures[0]


def test_other_instruction_sets_and_the_report_of_several_processes(define):
    op = define()
    report, other = checks.check_row(op), checks.check_isa(op)
    assert other.checks["twin"].done == 4 and other.digests == report.digests
    report.merge(other)
    assert "4 of 4 with the same bits" in report.checks["twin"].note
    assert json.loads(json.dumps(report.to_json()))["row"] == "doubled"


def test_error_is_measured_in_ulps():
    want = np.array([1.0, 2.0])
    got = dl.tensor(np.array([1.0, 2.0 + 3 * 2 * 2.0**-23], np.float32))
    assert testing.difference(got, want, 4) == (pytest.approx(3.0), "")
    assert "times the bound" in testing.difference(got, want, 2).text
    nan = testing.difference(dl.tensor(np.array([np.nan, 2.0], np.float32)), want, 2)
    assert nan.ulps == np.inf and "1 of 2" in nan.text
    assert testing.difference(dl.tensor(np.array([1, 3])), np.array([1, 2]), 9).ulps == np.inf


def test_a_sum_that_overflows_is_excused_only_where_its_terms_do():
    inf = dl.tensor(np.array([np.inf], np.float32))
    assert testing.difference(inf, np.array([1.0]), 4, np.array([1e39]), overflows=True).text == ""
    assert testing.difference(inf, np.array([1.0]), 4, np.array([1e38]), overflows=True).text
    assert testing.difference(inf, np.array([1.0]), 4, np.array([1e39])).text


# ---- random calls -------------------------------------------------------------------------------------------------


def found(op, count=400):
    return fuzzing.fuzz_row(op, "cpu", 0, count, (), (), lambda message: None)


def test_random_calls_of_a_right_row(define):
    result = found(define(), 200)
    assert result.text == "" and result.calls == 200 and result.plain < 20


@pytest.mark.parametrize(
    "condition, shape, shows",
    [
        (lambda x: np.isinf(np.asarray(x)).any() and x.size > 1, (2,), "np.inf"),
        (lambda x: x.ndim > 0 and x.shape[-1] == 17, (17,), "x = np.array([[0.0, 0.0, "),
        (lambda x: x.ndim == 2 and x.size > 0 and x.strides[-1] == 2, (1, 2), "place(x, Layout("),
    ],
    ids=["infinity", "17 in the last axis", "strided"],
)
def test_random_calls_find_and_shrink_a_planted_fault(define, condition, shape, shows):
    result = found(define(kernels={"cpu": wrong_where(condition)}), 2000)
    assert "outside the bound" in result.text and shows in result.snippet
    namespace = {}
    with pytest.raises(AssertionError, match="outside the bound"):
        exec(result.snippet, namespace)
    assert namespace["x"].size == np.prod(shape) and namespace["x"].shape[-1] in (1, shape[-1])


def test_random_calls_are_the_same_for_the_same_seed(define):
    op = define()
    for number in range(20):
        a, b = draws.draw(op, 3, number), draws.draw(op, 3, number)
        assert a.layouts == b.layouts
        assert all(x.tobytes() == y.tobytes() and x.shape == y.shape for x, y in zip(a.operands, b.operands,
                                                                                     strict=True))  # fmt: skip
    others = [draws.draw(op, 4, n).operands[0].tobytes() for n in range(20)]
    assert others != [draws.draw(op, 3, n).operands[0].tobytes() for n in range(20)]


@pytest.mark.parametrize(
    "layout",
    [
        draws.Layout((1, 0), (1, 1), 0), draws.Layout((0, 1), (2, -1), 3), draws.Layout((1, 0), (-2, 3), 1),
        draws.Layout((0, 1), (1, 0), 5),
    ],
)  # fmt: skip
def test_operands_lie_as_told(layout):
    x = np.arange(12, dtype=np.float16).reshape(3, 4)
    x = np.repeat(x[:, :1], 4, 1) if layout.steps[1] == 0 else x
    t = draws.place(x, layout)
    assert np.array_equal(np.asarray(t), x) and t.dtype is float16
    sides = [abs(s) * n for s, n in zip(layout.steps, x.shape, strict=True)]
    inner = layout.order[-1]
    assert t.strides[inner] == layout.steps[inner]
    assert t.strides[layout.order[0]] == layout.steps[layout.order[0]] * max(1, sides[inner])


def test_refused_calls_are_drawn_again_closer_to_the_samples(define):
    def infer(x):
        if x.shape not in ((5, 7), (2,)):
            raise dl.ShapeError(f"doubled: not {x.shape}")
        return Spec(x.shape, x.dtype)

    result = found(define(rule=infer), 60)
    assert result.text == "" and result.calls == 60 and result.refused > 30 and result.plain > 20


def test_an_error_that_is_no_refusal_is_found(define):
    def infer(x):
        if x.shape[-1:] == (16,):
            raise RuntimeError("this is no refusal")
        return Spec(x.shape, x.dtype)

    assert "raised RuntimeError: this is no refusal" in found(define(rule=infer)).text
    result = found(define("halved", reference=lambda x: 2 * x if np.max(x) is not None else x))
    assert "raised ValueError: zero-size array" in result.text  # taken by the operation, and not by its reference


def test_other_bits_the_second_time_are_found(define):
    calls = iter(range(1 << 20))

    def kernel(x, out):
        right(x, out)
        if float(np.sum(np.isnan(np.asarray(x)))) == 0:
            np.asarray(out)[...] *= np.asarray(1 + 2e-7 * (next(calls) % 3), np.asarray(out).dtype)

    assert "other bits" in found(define(kernels={"cpu": kernel}, ulp=4, dtypes=(float32,))).text


def test_shrinking_stops_in_time(define):
    given = draws.draw(define(), 0, 1)
    assert shrink.shrunk(given, lambda d: True, seconds=0.0) is given
    assert shrink.shrunk(given, lambda d: True, seconds=5.0).size == 0


# ---- processes and the command ------------------------------------------------------------------------------------


def write(path, kernel):
    path.write_text(HEAD + textwrap.dedent(kernel) + textwrap.dedent("""
        @operation(
            kernels={"cpu": kernel}, dtypes=(float32,), reference=lambda x: 2 * x, samples=[Sample((5, 7))],
        )
        def user_doubled(x: Spec) -> Spec:
            return Spec(x.shape, x.dtype)
    """))  # fmt: skip
    return str(path)


@pytest.fixture
def forgotten():
    yield
    REGISTRY.pop("user_doubled", None)


RIGHT = """
def kernel(x, out):
    np.asarray(out)[...] = 2 * np.asarray(x)
"""


def test_command_on_a_file_with_a_row(tmp_path, capsys, forgotten):
    file, report = write(tmp_path / "mine.py", RIGHT), tmp_path / "found.json"
    assert main(["verify", "--load", file, "--json", str(report), "--device", "cpu", "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    assert "user_doubled" in out and "exact" in out and "1 operations on cpu" in out and "0 wrong" in out
    (found,) = json.loads(report.read_text())["rows"]
    assert found["row"] == "user_doubled" and found["checks"]["forward"]["done"] == 4


def test_command_reports_what_differs_and_what_crashes(tmp_path, capsys, forgotten):
    file = write(tmp_path / "wrong.py", """
        def kernel(x, out):
            if x.is_contiguous:
                os.abort()
            np.asarray(out)[...] = 2 * np.asarray(x)
    """)  # fmt: skip
    assert main(["verify", "--load", file, "--op", "user_doubled", "relu", "--device", "cpu"]) == 1
    out = capsys.readouterr().out
    assert "the process crashed: SIGABRT" in out and "2 operations on cpu" in out and "1 wrong" in out


def test_fuzz_prints_a_program_that_shows_the_difference(tmp_path, capsys, forgotten):
    file = write(tmp_path / "wrong.py", """
        def kernel(x, out):
            np.asarray(out)[...] = np.where(np.isnan(np.asarray(x)), 0, 2 * np.asarray(x))
    """)  # fmt: skip
    report = tmp_path / "found.json"
    command = ["verify", "--load", file, "--fuzz", "300", "--device", "cpu", "--json", str(report), "--jobs", "1"]
    assert main(command) == 1
    out = capsys.readouterr().out
    (result,) = json.loads(report.read_text())["fuzz"]
    assert result["snippet"] in out and "outside the bound" in out
    done = subprocess.run([sys.executable, "-c", result["snippet"]], capture_output=True, text=True)
    assert done.returncode == 1 and "AssertionError: user_doubled [0]: 1 of 1 outside the bound" in done.stderr
    assert "nan" in done.stdout


def test_a_random_call_that_crashes_is_told(tmp_path, forgotten):
    from dlcore._selection import load

    file = write(tmp_path / "crash.py", """
        def kernel(x, out):
            if x.ndim == 2 and x.shape[0] > 5:
                os.abort()
            np.asarray(out)[...] = 2 * np.asarray(x)
    """)  # fmt: skip
    ops = load(file)
    (result,) = fuzz(ops, 200, 0, "cpu", jobs=1, files=[file])
    assert "SIGABRT" in result.text and "REGISTRY['user_doubled']" in result.snippet
    given = draws.draw(ops[0], 0, result.number)
    assert given.operands[0].shape[0] > 5


def test_progress_is_told():
    told = []
    verify_operations([REGISTRY["neg"]], jobs=1, twins=False, done=lambda *args: told.append(args))
    assert told == [("neg", 1, 1)]


def test_unknown_names_are_one_line(capsys):
    assert main(["verify", "--op", "no_such"]) == 1
    assert capsys.readouterr().err.startswith("dlcore: no operation no_such")


def test_random_operands_lie_where_the_bounds_hold():
    wide = np.array([-1e30, -3.0, 0.25, 7.0, np.nan])

    def mapped(name, attrs=(), **changed):
        op = REGISTRY[name]
        operands = [changed.get(n, np.ones(5)) for n in op.input_names]
        return dict(zip(op.input_names, draws.restricted(op, operands, attrs), strict=True))

    out = mapped("sigmoid_backward", out=wide)["out"]  # a strict domain
    assert np.nanmin(out) >= 0 and np.nanmax(out) <= 1 and np.isnan(out[-1]) and out[2] == 0.25
    out = mapped("log_softmax_backward", (-1,), out=wide)["out"]  # what the definition maps itself
    assert np.nanmin(out) == -80 and np.nanmax(out) == 0 and np.isnan(out[-1])
    saved = mapped("linear_backward", ("tanh", (True, True, True)), saved=wide)["saved"]  # that of another operation
    assert np.nanmin(saved) == -1 and np.nanmax(saved) == 1
    saved = mapped("linear_backward", ("gelu", (True, True, True)), saved=np.full(5, -20.0))["saved"]
    assert np.all(saved == -20 / 4.5)
    x = mapped("exp", x=wide)["x"]
    assert np.array_equal(x, wide, equal_nan=True)
