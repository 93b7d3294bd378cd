"""Loss kernels, interpreted: losses and gradients against NumPy in float64, bad labels, one launch or several."""

import numpy as np
import pytest
from interpreted import at_odd_address, check, planned, run

from dlcore import testing
from dlcore.dtypes import bfloat16, float16, float32, float64, int64
from dlcore.kernels.common.lines import Tile
from dlcore.kernels.launch import ARCHES, BAD_LABEL, Call, View, contiguous_strides
from dlcore.kernels.loss import linear, total
from dlcore.kernels.loss.cross_entropy import cross_entropy
from dlcore.kernels.loss.mse import mse_loss
from dlcore.kernels.loss.scale import scale
from dlcore.op import REGISTRY

pytest.importorskip("triton")

CROSS_ENTROPY, MSE_LOSS, SCALE_INPLACE = (REGISTRY[n] for n in ("cross_entropy", "mse_loss", "scale_inplace"))
LINEAR = REGISTRY["linear_cross_entropy_forward"]
IGNORED = -100


def gradient(logits, target, weight, ignore, smoothing, reduction):
    """dlogits in float64, of logits (N, C, d...)."""
    x = np.moveaxis(logits, 1, -1)
    e = np.exp(x - x.max(-1, keepdims=True))
    p, n = e / e.sum(-1, keepdims=True), x.shape[-1]
    w = np.ones(n) if weight is None else weight
    counted = (target != ignore)[..., None]
    one_hot = np.where(counted, np.arange(n) == target[..., None], 0.0)
    targets = counted * w * ((1 - smoothing) * one_hot + smoothing / n)
    total = (one_hot * w).sum() if reduction == "mean" else 1
    return np.moveaxis((p * targets.sum(-1, keepdims=True) - targets) / total, -1, 1)


def check_gradient(dlogits, logits, *rest):
    want = gradient(logits.astype(np.float64), *rest)
    eps = np.finfo(np.float32).eps if dlogits.dtype.itemsize == 4 else float(2.0**-7)
    assert np.abs(dlogits.astype(np.float64) - want).max() <= 8 * eps * np.abs(want).max()


def operands(shape, seed=0, weights=False, ignored=False):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    if ignored:
        target.flat[::3] = IGNORED
    weight = rng.random(shape[1]).astype(np.float32) if weights else None
    return (2 * rng.standard_normal(shape)).astype(np.float32), target, weight


@pytest.mark.parametrize(
    ("shape", "tile"),
    [
        ((33, 65), None),  # all in one program
        ((70, 300), None),  # several, ragged
        ((8, 4096), None),  # a tile's edge
        ((3, 37, 41), None),  # lines side by side
        ((3, 700), Tile(256, 1, 1)),  # lines read twice
        ((2, 70, 20), Tile(32, 16, 1)),
    ],
)
@pytest.mark.parametrize(
    ("smoothing", "weights", "reduction"),
    [(0.0, False, "mean"), (0.1, False, "none"), (0.0, True, "mean"), (0.2, True, "mean"), (0.2, True, "sum")],
)
def test_cross_entropy_and_gradient(shape, tile, smoothing, weights, reduction):
    arrays = operands(shape, weights=weights, ignored=True)
    attrs = (IGNORED, smoothing, reduction)
    planner = cross_entropy if tile is None else lambda call: cross_entropy(call, tile)
    check_gradient(check(CROSS_ENTROPY, planner, arrays, attrs)[1], *arrays, *attrs)


@pytest.mark.parametrize("dtype", [bfloat16, float16, float64])
def test_cross_entropy_in_other_dtypes(dtype):
    logits, target, _ = operands((40, 300))
    arrays = [logits.astype(dtype.numpy), target.astype(np.int16), None]
    dlogits = check(CROSS_ENTROPY, cross_entropy, arrays, (IGNORED, 0.1, "mean"))[1]
    check_gradient(dlogits, arrays[0], target, None, IGNORED, 0.1, "mean")


def test_many_sums_are_joined_in_two_steps(monkeypatch):
    monkeypatch.setattr(total, "FEW", 4)
    arrays = operands((9, 70))
    planner = lambda call: cross_entropy(call, Tile(128, 1, 1))  # noqa: E731
    assert len(planned(CROSS_ENTROPY, planner, arrays, (IGNORED, 0.0, "mean"))[1].launches) == 4
    check(CROSS_ENTROPY, planner, arrays, (IGNORED, 0.0, "mean"))


def test_without_a_gradient_nothing_is_written_but_the_loss():
    arrays = operands((9, 700))
    for planner in (cross_entropy, lambda call: cross_entropy(call, Tile(256, 1, 1))):
        (loss, extra), _ = run(CROSS_ENTROPY, planner, arrays, (IGNORED, 0.1, "mean"), extras=False)
        (want,) = testing.reference(CROSS_ENTROPY, arrays, (IGNORED, 0.1, "mean"))
        assert extra is None and abs(loss - want) < 1e-5


def test_ignored_lines_of_nan_have_no_gradient():
    logits, target, _ = operands((5, 70))
    logits[2], target[2] = np.nan, IGNORED
    (loss, dlogits), _ = run(CROSS_ENTROPY, cross_entropy, [logits, target, None], (IGNORED, 0.0, "mean"))
    assert np.isfinite(loss) and (dlogits[2] == 0).all() and np.isfinite(dlogits).all()


@pytest.mark.parametrize("tile", [None, Tile(64, 1, 1)])
def test_a_bad_label_sets_the_error_word(tile):
    logits, target, weight = operands((20, 130), weights=True)
    target[7], target[12] = 130, -1
    planner = cross_entropy if tile is None else lambda call: cross_entropy(call, tile)
    (_, dlogits), errors = run(CROSS_ENTROPY, planner, [logits, target, weight], (IGNORED, 0.1, "mean"))
    assert errors.tolist() == [BAD_LABEL, 7]
    assert (dlogits[[7, 12]] == 0).all() and (dlogits[8] != 0).all()


def test_operands_of_any_layout():
    logits, target, weight = operands((12, 70), weights=True)
    attrs = (IGNORED, 0.1, "mean")
    (want, dwant), _ = run(CROSS_ENTROPY, cross_entropy, [logits, target, weight], attrs)
    wide = np.zeros((12, 140), np.float32)
    wide[:, ::2] = logits
    for x in (at_odd_address(logits), np.asfortranarray(logits), wide[:, ::2], logits[::-1].copy()[::-1]):
        (loss, dlogits), _ = run(CROSS_ENTROPY, cross_entropy, [x, target[::-1].copy()[::-1], weight], attrs)
        assert loss == want and (dlogits == dwant).all()


@pytest.mark.parametrize("n", [1, 4096, 8193, 200_001])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_mse_and_gradient(n, reduction):
    x, t = np.random.default_rng(n).standard_normal((2, n))
    for dtype in (float32, bfloat16):
        loss, dx = check(MSE_LOSS, mse_loss, [x, t], (reduction,), dtype)
        wide = [v.astype(dtype.numpy).astype(np.float64) for v in (x, t)]
        want = 2 * (wide[0] - wide[1]) / (n if reduction == "mean" else 1)
        assert np.abs(dx.astype(np.float64) - want).max() <= 2 * dtype.eps * np.abs(want).max()
        assert loss.shape == ((n,) if reduction == "none" else ())


@pytest.mark.parametrize("factor", [1.0, -0.5])
def test_scale_in_place(factor):
    rng = np.random.default_rng(0)
    for x in (rng.standard_normal(5000), rng.standard_normal((30, 40))[::2, ::-3], np.zeros((0, 3))):
        x = x.astype(np.float32) if x.base is None else x
        want = x * x.dtype.type(factor)
        run(SCALE_INPLACE, scale, [x, np.array(factor, x.dtype)], ())
        assert (x == want).all()


# ---- linear_cross_entropy -----------------------------------------------------------------------------------------


def layer(rows, k, classes, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x, weight, bias = (rng.standard_normal(shape).astype(dtype.numpy) for shape in ((rows, k), (classes, k), classes))
    target = rng.integers(0, classes, rows)
    target[::3] = IGNORED
    return [x, weight, target, bias]


def layer_gradients(x, weight, target, bias, *attrs):
    """dx, dweight and dbias in float64."""
    x, weight, bias = (v.astype(np.float64) for v in (x, weight, bias))
    d = gradient(x @ weight.T + bias, target, None, *attrs)
    return (d @ weight, np.abs(d) @ np.abs(weight)), (d.T @ x, np.abs(d.T) @ np.abs(x)), (d.sum(0), np.abs(d).sum(0))


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", [float32, bfloat16, float64])
@pytest.mark.parametrize(
    ("rows", "classes", "smoothing", "reduction"),
    [(40, 33, 0.0, "mean"), (200, 48, 0.1, "sum"), (200, 33, 0.1, "mean"), (130, 1, 0.0, "sum")],
)
def test_linear_cross_entropy_chunk_by_chunk(arch, dtype, rows, classes, smoothing, reduction, monkeypatch):
    monkeypatch.setattr(linear, "LOGITS", 1)  # chunks of 64 rows
    arrays, attrs = layer(rows, 8, classes, dtype), (IGNORED, smoothing, reduction)
    planner = lambda call: linear.linear_cross_entropy(call._replace(arch=ARCHES[arch]))  # noqa: E731
    kernels = [x.kernel.name for x in planned(LINEAR, planner, arrays, attrs)[1].launches]
    assert sum(name.endswith("cross_entropy_kernel") for name in kernels) == -(-rows // 64)
    found = check(LINEAR, planner, arrays, attrs)
    eps = float(np.finfo(np.float32).eps) if dtype is float32 else float(dtype.eps)
    for got, (want, size) in zip(found[1:], layer_gradients(*arrays, *attrs), strict=True):
        assert (np.abs(got.astype(np.float64) - want) <= 16 * eps * (size + np.abs(want).max())).all()


def test_linear_cross_entropy_of_a_bad_label(monkeypatch):
    monkeypatch.setattr(linear, "LOGITS", 1)
    arrays = layer(200, 8, 33, float32)
    arrays[2][[150, 70]] = 33, -1
    assert run(LINEAR, linear.linear_cross_entropy, arrays, (IGNORED, 0.0, "sum"))[1].tolist() == [BAD_LABEL, 70]


@pytest.mark.parametrize("arch", ARCHES)
def test_linear_cross_entropy_stores_a_chunk_of_its_logits(arch):
    rows, k, classes = 2048, 512, 32000
    views = tuple(View(s, d, contiguous_strides(s)) for s, d in (((rows, k), float32), ((classes, k), float32),
                                                                 ((rows,), int64)))  # fmt: skip
    loss = View((), float32, ())
    call = Call((*views, None), (loss, *views[:2], None), (IGNORED, 0.0, "mean"), (1, IGNORED, 0.0), ARCHES[arch])
    program = linear.linear_cross_entropy(call)
    logits, outputs = rows * classes * 4, (rows + classes) * k * 4
    assert sum(t.bytes for t in program.temps) + outputs <= (2 * logits + outputs) / 5
    large = call._replace(inputs=(View((65536, k), float32, (k, 1)), views[1], View((65536,), int64, (1,)), None))
    assert len(linear.linear_cross_entropy(large).launches) < 150
