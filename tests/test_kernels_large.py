"""Offsets beyond 2^31: operands whose elements lie gigabytes apart, in sparse files of which a few pages exist."""

import ml_dtypes
import numpy as np
import pytest
from interpreted import check

pytest.importorskip("triton")

from dlcore import dtypes
from dlcore.kernels.interpret import run, view
from dlcore.kernels.launch import ARCHES, Call, Out, View, contiguous_strides
from dlcore.kernels.loss import cross_entropy
from dlcore.kernels.matmul import plan
from dlcore.kernels.matmul.linear_backward import linear_backward
from dlcore.kernels.matmul.tiles import Tile
from dlcore.kernels.movement import accumulate, copy, take
from dlcore.kernels.reduce import reduce
from dlcore.kernels.softmax import backward, softmax
from dlcore.op import REGISTRY

BF16 = np.dtype(ml_dtypes.bfloat16)
FAR = 1 << 31  # elements


@pytest.fixture
def far(tmp_path):
    """far(values, strides): an array of these values, with strides in elements; what lies between is zeros."""

    def make(values, strides):
        size = sum((n - 1) * s for n, s in zip(values.shape, strides, strict=True)) + 1
        path = tmp_path / str(len(list(tmp_path.iterdir())))
        memory = np.memmap(path, values.dtype, "w+", shape=(size,))
        made = np.lib.stride_tricks.as_strided(memory, values.shape, [s * values.itemsize for s in strides])
        made[...] = values
        return made

    return make


def draw(*shape, dtype=np.float32):
    """Normal numbers."""
    return np.random.default_rng(shape).standard_normal(shape).astype(dtype)


def planned(planner, arrays, out, params=(), grid=None):
    """The output, interpreted; of the first ``grid`` programs only where that is given."""
    call = Call(tuple(map(view, arrays)), (view(out),), (), params, ARCHES["sm_90"])
    program = planner(call)
    assert not program.contiguous, "the operand was copied, and nothing is tested"
    if grid:
        program = program._replace(launches=tuple(x._replace(grid=(grid,)) for x in program.launches))
    run(program, arrays, (out,))
    return out


# ---- products -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [False, True])
def test_small_matrices_with_rows_far_apart(far, turned):
    values = draw(8, 32, 32, dtype=BF16)
    a = far(values, (32, FAR // 31 + 32, 1))
    b = draw(8, 32, 32, dtype=BF16)
    operands = (b, a) if turned else (a, b)
    got = planned(plan.matmul, operands, np.full((8, 32, 32), np.nan, BF16))
    want = np.matmul(*(x.astype(np.float64) for x in ((b, values) if turned else (values, b))))
    assert np.abs(got.astype(np.float64) - want).max() < 0.1


def test_small_matrices_at_hand_are_numbered_in_32_bits():
    def index(rows):
        a = View((64, 32, 32), dtypes.bfloat16, (32, rows, 1))
        b = View((64, 32, 32), dtypes.bfloat16, contiguous_strides((64, 32, 32)))
        (launch,) = plan.matmul(Call((a, b), (b,), (), (), ARCHES["sm_90"])).launches
        return launch.args["INDEX"]

    assert (index(2048), index(70_400_000)) == (dtypes.int32, dtypes.int64)


@pytest.mark.parametrize("tile", [Tile("pointers", 16, 32, 16, 4, 2), Tile("tma", 16, 32, 16, 4, 2), None])
def test_products_of_matrices_with_rows_far_apart(far, tile, monkeypatch):
    values, b = draw(3, 24, dtype=BF16), draw(24, 8 if tile else 1, dtype=BF16)
    for step in (FAR, FAR - 1):  # in units of 8 elements, and packed first
        a = far(values, (step, 1))
        monkeypatch.setattr(plan, "choose", lambda work, arch: tile)
        got = planned(plan.matmul, (a, b), np.full((3, b.shape[1]), np.nan, BF16))
        np.testing.assert_allclose(got.astype(float), values.astype(float) @ b.astype(float), rtol=0.02, atol=0.05)


@pytest.mark.parametrize("planner", ["linear_backward", "pointers", "vector"])
def test_sides_beyond_31_bits_are_int64_in_kernels(planner):
    """In units of 8 they fit int32, and so would their product with 8."""
    rows, dtype = (1 << 31) + 64, dtypes.bfloat16
    x, w = View((rows, 8), dtype, (8, 1)), View((8, 8), dtype, (8, 1))
    arch = ARCHES["sm_90"]
    if planner == "linear_backward":
        call = Call((x, x, w, x), (None, None, View((8,), dtype, (1,))), ("relu", (False, False, True)), (), arch)
        program = linear_backward(call)
    else:
        b = w if planner == "pointers" else View((8,), dtype, (1,))
        call = Call((x, b), (View((rows, 8)[: len(b.shape)], dtype, (8, 1)[: len(b.shape)]),), (), (), arch)
        program = plan.matmul(call)
    assert program.launches[0].kernel.function.__name__ == {
        "linear_backward": "dpre_kernel", "pointers": "pointers_kernel", "vector": "vector_kernel",
    }[planner]  # fmt: skip
    assert program.launches[0].args["INDEX"] is dtypes.int64


def test_a_weight_of_a_layer_without_rows_is_not_for_the_small_kernel():
    """Its gradient is zeros, at offsets beyond 2^31."""
    side, dtype = 1 << 16, dtypes.bfloat16
    x, w = View((0, side), dtype, (side, 1)), View((side, side), dtype, (side, 1))
    call = Call((x, x, w, None), (None, w, None), ("none", (False, True, False)), (), ARCHES["sm_90"])
    assert "small_kernel" not in [launch.kernel.function.__name__ for launch in linear_backward(call).launches]


# ---- lines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("strides", "axis"), [((FAR, 1), 1), ((FAR // 2, 1), 1), ((FAR, 1), 0)], ids=str)
def test_softmax_of_lines_far_apart(far, strides, axis):
    shape = (3, 64)
    values = draw(*shape)
    x = far(values, strides)
    for op, planner in ((REGISTRY["softmax"], softmax.softmax), (REGISTRY["log_softmax"], softmax.log_softmax)):
        check(op, planner, [x], (axis,))
    out = far(np.abs(values), strides)
    check(REGISTRY["softmax_backward"], backward.softmax_backward, [x, out], (axis,))


def test_cross_entropy_of_lines_far_apart(far):
    logits = far(draw(3, 64), (FAR, 1))
    target = np.array([0, 63, 5])
    op = REGISTRY["cross_entropy"]
    check(op, cross_entropy.cross_entropy, [logits, target, None], (-100, 0.0, "mean"))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", ["sum", "max", "argmax", "logsumexp"])
def test_reductions_of_lines_far_apart(far, name, axis):
    x = far(draw(3, 64), (FAR, 1))
    planner = {"sum": reduce.sum_, "max": reduce.max_}.get(name) or getattr(reduce, name)
    check(REGISTRY[name], planner, [x], (axis if name.startswith("arg") else (axis,),))


def test_a_line_of_more_than_31_bits(tmp_path):
    """Its length in units of 16 fits int32; the first parts of its sum are not empty."""
    x = np.memmap(tmp_path / "x", np.int8, "w+", shape=(2 * FAR,))
    x[:4] = 1
    call = Call((view(x),), (View((), dtypes.int64, ()),), (), (1,), ARCHES["sm_90"])
    first = reduce.sum_(call).launches[0]
    parts = np.full(4, -1)
    only = first._replace(grid=(1, 1), args=first.args | {"out": Out(0)})
    run(reduce.sum_(call)._replace(launches=(only,), temps=()), (x,), (parts,))
    assert parts.tolist() == [4, -1, -1, -1]


# ---- movement -----------------------------------------------------------------------------------------------------


def test_rows_by_index_far_apart(far):
    values = draw(3, 64)
    x, index = far(values, (FAR - 8, 1)), np.array([2, 0, -1])
    got = planned(take.take, (x, index), np.full((3, 64), np.nan, np.float32), (0,))
    assert got.tobytes() == values[index].tobytes()
    got = planned(copy.contiguous, (x,), np.full((3, 64), np.nan, np.float32))
    assert got.tobytes() == values.tobytes()


def test_few_candidates_far_apart(tmp_path):
    """gather_backward compares 32 candidates for each element; each index is 2^27 elements after the one before."""
    shape = (32, FAR // 16)
    index = np.memmap(tmp_path / "index", np.uint8, "w+", shape=shape)
    dout = np.memmap(tmp_path / "dout", BF16, "w+", shape=shape)
    dout[:, :4] = np.arange(128).reshape(32, 4)
    out = np.memmap(tmp_path / "out", BF16, "w+", shape=shape)
    planned(accumulate.gather_backward, (dout, index), out, (0,), grid=1)
    assert out[0, :4].tolist() == dout[:, :4].astype(np.float32).sum(0).astype(BF16).tolist()


def test_keys_that_do_not_fit_are_an_error():
    big = View((1 << 31, 4), dtypes.int8, (4, 1))
    index = View((1 << 31, 4), dtypes.uint8, (4, 1))
    with pytest.raises(OverflowError, match="gradient of take or gather: 8589934592 indices into 8589934592 places"):
        accumulate.gather_backward(Call((big, index), (big,), (), (0,), ARCHES["sm_90"]))
