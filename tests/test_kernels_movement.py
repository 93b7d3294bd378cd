"""Movement kernels: what the table's samples are too small for, bad indices, and what they compile to."""

import shutil

import numpy as np
import pytest

import dlcore as dl
from dlcore.dtypes import bfloat16, bool_, float16, float32, float64, int64, uint8
from dlcore.kernels import interpret
from dlcore.kernels.compile import can_compile, compile_program
from dlcore.kernels.launch import ARCHES, BAD_INDEX, Call, View, contiguous_strides
from dlcore.kernels.movement import accumulate, copy, gather, positions, put, scaled, take
from dlcore.kernels.specialise import specialise
from dlcore.ops.scaling import take_scaled

pytest.importorskip("triton")


def rng():
    return np.random.default_rng(0)


def run(planner, arrays, out, params=(), error=None):
    """``out`` (None: for rows without one) after the planner's Program; its error words must be ``error``."""
    outputs = [] if out is None else [out]
    call = Call((*map(interpret.view, arrays),), (*map(interpret.view, outputs),), (), params, ARCHES["sm_90"])
    words = np.array([0, 2**63 - 1])
    interpret.run(planner(call), arrays, outputs, words)
    assert tuple(words) == (error or (0, 2**63 - 1))
    return out


# ---- copies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [uint8, bfloat16, float32, float64], ids=str)
def test_transpositions_into_views(dtype):
    x = rng().integers(0, 256, (3, 70, 65, dtype.itemsize), np.uint8).view(dtype.numpy)[..., 0]
    room = np.zeros((65, 3, 80), dtype.numpy)
    out = room[:, :, 5:75]
    run(copy.contiguous, [x.transpose(2, 0, 1)], out)
    assert out.tobytes() == np.ascontiguousarray(x.transpose(2, 0, 1)).tobytes()
    assert not room[:, :, :5].tobytes().strip(b"\0") and not room[:, :, 75:].tobytes().strip(b"\0")


def test_concat_of_parts_at_odd_places():
    parts = [rng().standard_normal((4, n, 3)).astype(np.float32) for n in (5, 1, 0, 1100)]
    out = run(copy.concat, parts, np.empty((4, 1106, 3), np.float32), (1,))
    np.testing.assert_array_equal(out, np.concatenate(parts, 1))


# ---- elements by index --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 3, 4, 16, 1000, 2500])
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float64])
def test_rows_of_every_width(dtype, columns):
    x = rng().integers(0, 100, (20, columns)).astype(dtype)
    index = rng().integers(-20, 20, 37)
    np.testing.assert_array_equal(run(take.take, [x, index], np.empty((37, columns), dtype), (0,)), x[index])


def test_rows_of_views():
    """Rows further apart than they are long, at odd addresses, and columns that must be copied first."""
    x, index = rng().standard_normal((40, 30)), rng().integers(0, 20, (2, 9)).astype(np.int32)
    for view in (x[::2], x[:20, 3:20], x[20:0:-1], x.T[:, ::2]):
        out = run(take.take, [view, index], np.empty((2, 9, view.shape[1])), (0,))
        np.testing.assert_array_equal(out, view[index])
    out = run(take.take, [x[:, ::2], index[:, :5] % 15], np.empty((40, 2, 5)), (1,))
    np.testing.assert_array_equal(out, x[:, ::2][:, index[:, :5] % 15])


@pytest.mark.skipif(not shutil.which("g++"), reason="no g++")
@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_rows_in_cuda_are_those_in_triton(dtype):
    """Rows of 48 and 784 bytes, views, axes in front, bad indices, more than one block."""
    x = rng().integers(0, 256, (2, 30, 784), np.uint8)
    for columns, index in ((784, rng().integers(-30, 30, (5, 7))), (48, np.array([29, 30, -30, -31]))):
        view, index = x[:, ::2, :columns].view(dtype), (index // 2).astype(dtype if dtype == np.int64 else np.int8)
        wrong = np.flatnonzero((index.ravel() < -15) | (index.ravel() > 14))
        error = (BAD_INDEX, wrong[0]) if wrong.size else None
        shape = (2, *index.shape, view.shape[2])
        cuda, triton = (run(p.take, [view, index], np.empty(shape, dtype), (1,), error) for p in (gather, take))
        np.testing.assert_array_equal(cuda, triton)


def test_bad_indices_are_reported_and_touch_nothing():
    x, index = rng().standard_normal((6, 5)), np.array([1, 6, -6, 2**40, -7, 0])
    bad = (BAD_INDEX, 1)
    out = run(take.take, [x, index], np.full((6, 5), np.nan), (0,), bad)
    np.testing.assert_array_equal(out, np.where(np.array([1, 0, 1, 0, 0, 1])[:, None], x[[1, 0, 0, 0, 0, 0]], 0))
    dx = run(accumulate.take_backward, [x, index], np.full((6, 5), np.nan), (0,), bad)
    np.testing.assert_array_equal(dx, [x[2] + x[5], x[0], *np.zeros((4, 5))])
    room = np.zeros((3, 6, 5))
    run(put.put_, [room[1], index, np.float64(7)], None, (1,), bad)
    assert room[1, :2].min() == 7 and room.sum() == 70
    wide = np.broadcast_to(index[:, None], (6, 5)).copy()
    out = run(take.gather, [x, wide], np.full((6, 5), np.nan), (0,), (BAD_INDEX, 5))
    np.testing.assert_array_equal(out[[0, 2, 5]], x[[1, 0, 0]])
    run(accumulate.gather_backward, [x, wide], np.empty((6, 5)), (0,), (BAD_INDEX, 5))
    run(positions.ravel_index, [index, index % 3], np.empty(6, np.int64), (6, 3), bad)


def test_the_last_of_equal_indices_wins():
    """Among many blocks, into a view of two assigned axes that are not one."""
    target, index = np.zeros((9, 7, 3, 2)), rng().integers(-35, 35, 3000)
    view, value = target[:7, 1:6, :, 1], rng().standard_normal((3000, 3))
    want = np.zeros((35, 3))
    for i, place in enumerate(index):
        want[place] = value[i]
    run(put.put_, [view, index, value], None, (2,))
    np.testing.assert_array_equal(view, want.reshape(7, 5, 3))
    view[...] = 0
    assert not target.any()
    dout = rng().standard_normal((7, 5, 3))
    got = run(take.put_backward, [dout, index], np.empty((3000, 3)), (2,))
    last = {place % 35: i for i, place in enumerate(index)}
    kept = np.array([last[place % 35] == i for i, place in enumerate(index)])
    np.testing.assert_array_equal(got, np.where(kept[:, None], dout.reshape(35, 3)[index], 0))


def test_a_value_may_be_a_view_of_the_target():
    x = np.arange(3000.0)
    run(put.put_, [x, np.arange(1, 3000), x[:-1]], None, (1,))
    np.testing.assert_array_equal(x, [0, *range(2999)])


# ---- rows shifted and scaled --------------------------------------------------------------------------------------


def scaled_on_cpu(*operands):
    """What the CPU's kernel gives; offset and scale that are numbers stay numbers."""
    return take_scaled(*(x if x is None or isinstance(x, float) else dl.tensor(x) for x in operands)).numpy()


def assert_scaled(x, offset, scale, index):
    want = scaled_on_cpu(x, offset, scale, index)
    wide = np.float64 if x.dtype == np.float64 else np.float32
    offset, scale = (np.asarray(v, wide)[()] for v in (offset, scale))  # views stay views
    got = run(scaled.scaled, [x, offset, scale, index], np.full_like(want, 7))
    assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("columns", [1, 3, 784, 1030])
@pytest.mark.parametrize("dtype", [bool_, uint8, int64, float16, bfloat16, float32, float64], ids=str)
def test_scaled_rows_have_the_bits_of_the_cpu(dtype, columns):
    x = rng().integers(0, 2 if dtype is bool_ else 256, (20, columns)).astype(dtype.numpy)
    if dtype is int64:
        x *= 2**50 + 12345  # rounded on the way to float32
    index = rng().integers(-20, 20, 13).astype(np.int32)
    assert_scaled(x, 0.1307, 3.2457, index)
    assert_scaled(x, 33.3184, 1 / 78.5675, None)
    assert_scaled(x, rng().standard_normal(columns).astype(np.float32), np.float32(0.3), index)


def test_scaled_channels():
    """Runs within a tile and across tiles, vectors that are views, all rows and some."""
    factors = rng().standard_normal((3, 5)).astype(np.float32)
    for shape in ((6, 3, 5, 7), (4, 3, 32, 16), (3, 3, 1100)):
        x = rng().integers(0, 256, shape).astype(np.uint8)
        for index in (np.array([0, -1, 2, 2]), None):
            assert_scaled(x, factors[:, 1], factors[::-1, 4], index)
            assert_scaled(x, 0.5, factors[:, 0], index)


def test_scaled_rows_of_views():
    """Odd addresses, rows further apart than they are long or backwards, columns that must be copied first."""
    x, index = rng().integers(0, 256, (41, 70)).astype(np.uint8), np.array([3, -1, 0, 7, 7])
    for view in (x.ravel()[1:-69].reshape(40, 70), x[::2], x[:, 1:65], x[::-1, :64], x[:, ::2], x.T):
        assert_scaled(view, 1.5, 0.25, index)
        assert_scaled(view, 1.5, 0.25, None)
        assert_scaled(view, 1.5, 0.25, np.repeat(index, 2)[::2])


def test_scaled_rows_of_bad_indices_are_those_of_zeros():
    x, index = rng().integers(0, 256, (6, 5)).astype(np.uint8), np.array([1, 6, -6, 2**40, -7, 0])
    out = run(scaled.scaled, [x, np.float32(2), np.float32(3), index], np.empty((6, 5), np.float32), (), (BAD_INDEX, 1))
    rows = np.where(np.array([1, 0, 1, 0, 0, 1])[:, None], x[[1, 0, 0, 0, 0, 0]], 0)
    np.testing.assert_array_equal(out, (rows - 2.0) * 3)


# ---- sums by index ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "length", "columns", "why"),
    [(5000, 300, 5, "three runs to merge"), (3000, 1, 4, "one row for all"), (700, 900, 130, "two column tiles")],
)
def test_sums_of_sorted_rows(n, length, columns, why):
    index = rng().integers(-length, length, n)
    index[n // 3 : n // 2] = length // 2  # a row that crosses many chunks
    dout = rng().standard_normal((2, n, columns)).astype(np.float32)
    dx = np.empty((2, length, columns), np.float32)
    run(accumulate.take_backward, [dout, index], dx, (1,))
    want, scale = np.zeros((2, length, columns)), np.zeros((2, length, columns))
    for o in range(2):
        np.add.at(want[o], index, dout[o].astype(np.float64))
        np.add.at(scale[o], index, np.abs(dout[o]))
    assert (np.abs(dx - want) <= 8 * 2.0**-24 * scale).all(), why
    again = run(accumulate.take_backward, [dout, index], np.empty_like(dx), (1,))
    assert again.tobytes() == dx.tobytes()


@pytest.mark.parametrize("count", [3, 32, 33, 100])
def test_sums_along_an_axis(count):
    """Few candidates are compared, many sorted; index is shorter than dx along the other axes."""
    index, dout = rng().integers(-9, 9, (4, count, 5)), rng().standard_normal((4, count, 5))
    dx = run(accumulate.gather_backward, [dout, index], np.empty((5, 9, 6)), (1,))
    want = np.zeros((5, 9, 6))
    a, _, b = np.indices(index.shape)
    np.add.at(want, (a, index, b), dout)
    np.testing.assert_allclose(dx, want, 0, 1e-13)
    if count <= 32:
        np.testing.assert_array_equal(dx, want)


@pytest.mark.parametrize("count", [3, 3000])
@pytest.mark.parametrize(("fold", "function", "start"), [(0, np.multiply, 1), (1, np.maximum, 0), (2, np.minimum, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_folds_along_an_axis(count, fold, function, start, dtype):
    """Few candidates are compared, many sorted, with places that cross many chunks, and one to which nothing goes."""
    index = rng().integers(0, 2, (count, 2))
    src = rng().choice(np.array([-1, 1], dtype), (count, 2)) if fold == 0 else rng().integers(-999, 999, (count, 2))
    src = src.astype(dtype)
    if dtype is np.float32 and fold:
        src[1, 1] = np.nan
        start = -np.inf if fold == 1 else np.inf
    elif fold:
        start = np.iinfo(dtype).min if fold == 1 else np.iinfo(dtype).max
    out = run(accumulate.scatter_fold, [src, index], np.empty((3, 2), dtype), (0, fold))
    want = np.full((3, 2), start, dtype)
    with np.errstate(all="ignore"):
        function.at(want, (index, np.arange(2)[None, :]), src)
    np.testing.assert_array_equal(out, want)


# ---- positions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [5, 2000, 3000])
def test_positions_of_true_elements_of_many_blocks(size):
    x = rng().random((5, 7, 101)) < 0.6
    want = np.argwhere(x)
    assert run(positions.count_nonzero, [x], np.empty((), np.int64)) == len(want)
    got = run(positions.nonzero, [x.transpose(0, 2, 1).transpose(0, 2, 1)], np.empty((size, 3), np.int64))
    np.testing.assert_array_equal(got[: len(want)], want[:size])
    assert not got[len(want) :].any()


# ---- compiled code ------------------------------------------------------------------------------------------------


def view(shape, dtype, strides=None):
    return View(shape, dtype, strides or contiguous_strides(shape))


def code(planner, inputs, outputs, params, arch):
    call = Call(tuple(inputs), tuple(outputs), (), params, ARCHES[arch])
    program = planner(call)
    if not can_compile(specialise(program.launches[0], call)[0]):
        pytest.skip("no Triton of the pinned version")
    binaries = compile_program(program, call)
    assert not any(b.problems or b.spills for b in binaries)
    return {b.name.rpartition(":")[2]: b.instructions for b in binaries}


@pytest.mark.parametrize("arch", sorted(ARCHES))
def test_wide_accesses(arch):
    index, tokens = view((128,), int64), view((64, 256), int64)
    images = code(take.take, [view((60000, 784), uint8), index], [view((128, 784), uint8)], (0,), arch)
    words = code(take.take, [view((5000, 768), bfloat16), tokens], [view((64, 256, 768), bfloat16)], (0,), arch)
    cuda = code(gather.take, [view((60000, 784), uint8), index], [view((128, 784), uint8)], (0,), arch)
    assert [(k["ld.v4"], k["st.v4"]) for k in cuda.values()] == [(4, 4)]
    assert all(k["take_kernel"]["ld.v4"] >= 4 and k["take_kernel"]["st.v4"] == 4 for k in (images, words))
    number = View((), float32, (), weak=True)
    pixels = [view((60000, 784), uint8), number, number, index]
    batch = code(scaled.scaled, pixels, [view((128, 784), float32)], (), arch)["scaled_kernel"]
    assert (batch["ld"], batch["st.v4"], batch.get("st", 0)) == (2, 2, 0)  # 4 bytes, 16 bytes
    turned = code(copy.contiguous, [view((512, 512), float32, (1, 512))], [view((512, 512), float32)], (), arch)
    assert turned["tile_kernel"]["ld.v4"] == turned["tile_kernel"]["st.v4"] == 2


def test_sums_and_positions_keep_to_registers():
    dout, tokens = view((64, 256, 768), bfloat16), view((64, 256), int64)
    sums = code(accumulate.take_backward, [dout, tokens], [view((5000, 768), bfloat16)], (0,), "sm_90")
    assert {"sort_kernel", "merge_kernel", "sum_kernel", "join_kernel"} <= sums.keys()
    assert sums["sum_kernel"]["ld.v4"] and sums["sum_kernel"]["st.v4"]
    code(positions.nonzero, [view((400, 100), bool_)], [view((300, 2), int64)], (), "sm_90")
