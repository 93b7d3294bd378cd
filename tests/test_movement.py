"""Functions that move elements, against NumPy: what is spelled with operations, which have tests of their own."""

import pickle

import numpy as np
import pytest

import dlcore as dl
from dlcore.ops.writing import coordinates

RNG = np.random.default_rng(3)
A = RNG.standard_normal((4, 6, 3)).astype(np.float32)
M = RNG.integers(-9, 9, (4, 6))
V = np.arange(5)


def arrays(value):
    """What is compared: nested sequences of tensors as arrays."""
    return [arrays(v) for v in value] if isinstance(value, list | tuple) else np.asarray(value)


def same(ours, theirs):
    ours, theirs = arrays(ours), arrays(theirs)
    if isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
        return
    assert ours.shape == theirs.shape and ours.dtype.kind == theirs.dtype.kind
    np.testing.assert_array_equal(ours, theirs)


CALLS = {
    "split-3": ("split", A, 3, 1), "split-indices": ("split", A, [1, 1, 9], 1), "split-negative": ("split", V, [-2]),
    "array_split": ("array_split", V, 3), "array_split-many": ("array_split", V, 7),
    "array_split-2d": ("array_split", A, 4, -2), "hsplit": ("hsplit", A, 2), "hsplit-vector": ("hsplit", V, [2]),
    "vsplit": ("vsplit", A, 2), "dsplit": ("dsplit", A, 3),
    "moveaxis": ("moveaxis", A, 0, -1), "moveaxis-two": ("moveaxis", A, (0, 2), (1, 0)),
    "swapaxes": ("swapaxes", A, 0, -1),
    "expand_dims": ("expand_dims", A, 1), "expand_dims-two": ("expand_dims", A, (0, -1)), "ravel": ("ravel", A),
    "flip": ("flip", A), "flip-axes": ("flip", A, (0, -1)), "flip-empty": ("flip", A[:0], 0), "flipud": ("flipud", M),
    "fliplr": ("fliplr", M), "rot90": ("rot90", M), "rot90-2": ("rot90", M, 2), "rot90-axes": ("rot90", A, -1, (2, 0)),
    "roll": ("roll", M, 4), "roll-axis": ("roll", M, -7, 1), "roll-axes": ("roll", M, (1, -2), (0, 1)),
    "roll-twice": ("roll", M, (1, 2), (1, 1)), "roll-one-shift": ("roll", A, 2, (0, 1)),
    "roll-empty": ("roll", M[:0], 2),
    "broadcast_to": ("broadcast_to", V, (2, 5)), "atleast_1d": ("atleast_1d", np.float32(2)),
    "atleast_2d": ("atleast_2d", V, M), "atleast_3d": ("atleast_3d", V, M, A, np.float32(1)),
    "hstack": ("hstack", [A, A[:, :1]]), "hstack-vectors": ("hstack", [V, V[:2]]), "vstack": ("vstack", [V, V]),
    "vstack-2d": ("vstack", [M, M[:1]]), "dstack": ("dstack", [M, M]), "dstack-vectors": ("dstack", (V, V)),
    "column_stack": ("column_stack", [V, V]), "column_stack-mixed": ("column_stack", [M[:, 0], M]),
    "stack": ("stack", [M, M], 2), "tile": ("tile", M, (2, 3)), "tile-more": ("tile", V, (2, 1, 2)),
    "tile-fewer": ("tile", A, 2), "tile-none": ("tile", M, (0, 1)), "repeat": ("repeat", M, 3),
    "repeat-axis": ("repeat", A, 2, 1),
    "repeat-counts": ("repeat", M, [0, 2, 1, 3], 0), "repeat-nothing": ("repeat", M, 0, 1),
    "pad-number": ("pad", M, 2), "pad-pair": ("pad", M, (1, 2)), "pad-pairs": ("pad", M, ((1, 2), (0, 3))),
    "meshgrid": ("meshgrid", V, V[:3], V[:2]), "meshgrid-one": ("meshgrid", V),
    "indices": ("indices", (2, 3)), "tril": ("tril", A, 1), "triu": ("triu", A, -1), "diag": ("diag", V, -1),
    "diag-bool": ("diag", V > 2),
    "diag-matrix": ("diag", M, 2), "diagflat": ("diagflat", M[:2, :2], 1), "trace": ("trace", M, 1),
    "trace-axes": ("trace", M[None], 0, 2, 1),
    "tril_indices": ("tril_indices", 4, -1, 3), "triu_indices": ("triu_indices", 3, 1),
    "take_along_axis": ("take_along_axis", M, M.argsort(1), 1),
    "take_along_axis-broadcast": ("take_along_axis", A, np.array([[[1], [-1]]]), 1),
    "take_along_axis-flat": ("take_along_axis", M, np.array([3, -1]), None),
    "unravel_index": ("unravel_index", np.array([[3, 22], [7, 0]]), (4, 6)),
    "append": ("append", M, V), "append-axis": ("append", M, M[:1], 0), "delete": ("delete", M, [1, -1], 1),
    "delete-one": ("delete", M, 2), "delete-slice": ("delete", A, slice(0, 3, 2), 0),
    "insert": ("insert", V, 2, 9), "insert-many": ("insert", V, [1, 1, 4], [7, 8, 9]),
    "insert-row": ("insert", M, 1, M[0], 0), "insert-rows": ("insert", M, 1, M[:2], 0),
    "insert-columns": ("insert", M, [0, 3], M[:, :2], 1), "insert-flat": ("insert", M, -1, V),
    "flatnonzero": ("flatnonzero", M), "diag_indices": ("diag_indices", 3), "ix_": ("ix_", V[:2], V[1:]),
    "ravel_multi_index": ("ravel_multi_index", (np.array([3, 0]), np.array([1, 5])), (4, 6)),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_as_numpy(case):
    name, *given = CALLS[case]

    def tensors(value):
        if isinstance(value, list | tuple) and value and isinstance(value[0], np.ndarray):
            return type(value)(tensors(v) for v in value)
        return dl.tensor(value) if isinstance(value, np.ndarray | np.generic) else value

    same(getattr(dl, name)(*map(tensors, given)), getattr(np, name)(*given))


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "wrap"])
@pytest.mark.parametrize("width", [1, (2, 0), ((0, 3), (2, 1)), ((5, 7), (13, 2)), {-1: (1, 2)}, ((1,), (2,))])
def test_padding_with_its_own_elements(mode, width):
    plain = [(0, 0), width[-1]] if isinstance(width, dict) else width
    same(dl.pad(dl.tensor(M), width, mode=mode), np.pad(M, plain, mode=mode))


@pytest.mark.parametrize("values", [5, (1, 2), ((1, 2), (3, 4)), -0.0])
def test_padding_with_constants(values):
    a = M.astype(np.float32)
    ours, theirs = dl.pad(dl.tensor(a), ((1, 2), (3, 0)), constant_values=values), np.pad(
        a, ((1, 2), (3, 0)), constant_values=values
    )
    same(ours, theirs)
    same(np.signbit(ours.numpy()), np.signbit(theirs))


def test_names_of_pytorch():
    x = dl.tensor(A)
    same(dl.chunk(x, 4, 1), [A[:, 0:2], A[:, 2:4], A[:, 4:6]])
    same(dl.unbind(x, 2), [A[..., k] for k in range(3)])
    same(x.narrow(1, -3, 2), A[:, 3:5])
    same(x.select(1, -1), A[:, -1])
    same(x.unflatten(1, (2, -1)), A.reshape(4, 2, 3, 3))
    same(x.view_as(x.reshape(-1)), A.reshape(-1))
    same(dl.repeat_interleave(x, 2, 0), A.repeat(2, 0))
    embedded = dl.diag_embed(x, 1, 0, -1)
    assert embedded.shape == (4, 4, 6, 4)
    same(dl.diagonal(embedded, 1, 0, -1), A)
    assert int(embedded.count_nonzero()) == A.size
    same(dl.cartesian_prod(dl.tensor([1, 2]), dl.tensor([3, 4, 5])), [[1, 3], [1, 4], [1, 5], [2, 3], [2, 4], [2, 5]])
    same(dl.combinations(dl.tensor([7, 8, 9])), [[7, 8], [7, 9], [8, 9]])
    blocks = np.block([[M[:2, :2], np.zeros((2, 1), int)], [np.zeros((1, 2), int), np.ones((1, 1), int)]])
    same(dl.block_diag(dl.tensor(M[:2, :2]), dl.tensor([[1]])), blocks)
    same(dl.broadcast_tensors(dl.tensor(V), dl.tensor([[1], [2]])), np.broadcast_arrays(V, [[1], [2]]))


def test_views_share_memory():
    x = dl.zeros(4, 6)
    dl.flip(x, 1)[0, 0] = 1
    dl.split(x, [2], 1)[1][1, 0] = 2
    x.unfold(1, 2, 2)[2, 1, 0] = 3
    dl.diagonal(x, 1)[2] = 4
    dl.moveaxis(x, 0, 1)[0, 3] = 5
    want = np.zeros((4, 6))
    want[0, 5], want[1, 2], want[2, 2], want[2, 3], want[3, 0] = 1, 2, 3, 4, 5
    np.testing.assert_array_equal(x.numpy(), want)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: dl.tile(x, 1), lambda x: dl.tile(x, (3, 1)), lambda x: dl.repeat(x, 1, 0),
        lambda x: dl.repeat(x, 4, 0), lambda x: dl.roll(x, 0, 0), lambda x: dl.pad(x, 0),
        lambda x: dl.pad(x, 0, mode="edge"), lambda x: dl.stack([x]), lambda x: dl.vstack([x]), lambda x: dl.tril(x, 9),
        lambda x: dl.scatter(x, 0, dl.zeros(0, 0, dtype=dl.int64), 1),
        lambda x: dl.masked_fill(x, dl.tensor(False), 1), lambda x: dl.take_along_axis(x, dl.tensor([[0]]), 0),
    ],
)  # fmt: skip
def test_copies_share_no_memory(function):
    x = dl.zeros(1, 3)
    made = function(x)
    x.fill_(1)
    assert not np.asarray(made).any()
    made.fill_(2)
    assert (np.asarray(x) == 1).all()


def test_windows():
    a = RNG.standard_normal((5, 7)).astype(np.float32)
    view = np.lib.stride_tricks.sliding_window_view
    same(dl.sliding_window_view(dl.tensor(a), 3, 1), view(a, 3, 1))
    same(dl.sliding_window_view(dl.tensor(a), (2, 3)), view(a, (2, 3)))
    same(dl.sliding_window_view(dl.tensor(a), (2, 2), (1, 1)), view(a, (2, 2), (1, 1)))
    x = dl.tensor(a, requires_grad=True)
    x.unfold(1, 3, 1).sum().backward()
    np.testing.assert_array_equal(x.grad, np.broadcast_to([1, 2, 3, 3, 3, 2, 1], (5, 7)))


@pytest.mark.parametrize("shape", [(3, 4), (7, 3), (3, 3, 3)])
def test_fill_diagonal(shape):
    for wrap in (False, True):
        a, x, turned = np.zeros(shape), dl.zeros(shape), dl.zeros(shape[::-1]).permute(*reversed(range(len(shape))))
        np.fill_diagonal(a, 5, wrap)
        for tensor in (x, turned):
            dl.fill_diagonal(tensor, 5, wrap)
            np.testing.assert_array_equal(tensor, a)


# ---- by index -------------------------------------------------------------------------------------------------------


def test_scatter():
    x, index = np.zeros((3, 5), np.float32), np.array([[0, 1, 2, 0], [2, -1, 0, 1]])
    src = RNG.standard_normal((2, 5)).astype(np.float32)
    want = x.copy()
    for i, j in np.ndindex(index.shape):
        want[index[i, j], j] = src[i, j]
    same(dl.scatter(dl.tensor(x), 0, dl.tensor(index), dl.tensor(src)), want)
    same(dl.scatter(dl.tensor(x), 0, dl.tensor(index), 2.0), (want != 0) * np.float32(2))


FOLDS = {"sum": np.add, "prod": np.multiply, "amax": np.maximum, "amin": np.minimum}


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("reduce", ["sum", "prod", "amax", "amin", "mean"])
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_scatter_reduce(reduce, own, dtype):
    x, src = (RNG.integers(1, 9, shape).astype(dtype) for shape in ((4, 3), (6, 3)))
    index = RNG.integers(0, 3, (6, 3))  # nothing goes to the last row
    touched = np.zeros((4, 3), int)
    np.add.at(touched, (index, np.arange(3)[None, :]), 1)
    start = {"prod": 1, "amax": -100, "amin": 100}.get(reduce, 0)
    want = x.copy() if own else np.where(touched > 0, dtype(start), x)
    FOLDS.get(reduce, np.add).at(want, (index, np.arange(3)[None, :]), src)
    if reduce == "mean":
        count = touched + 1 if own else np.maximum(touched, 1)
        want = want // count if dtype is np.int32 else (want / count).astype(dtype)
    got = dl.scatter_reduce(dl.tensor(x), 0, dl.tensor(index), dl.tensor(src), reduce, include_self=own)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)


def test_rows_by_index():
    a, rows = A.copy(), RNG.standard_normal((4, 3, 3)).astype(np.float32)
    x, index = dl.tensor(a), dl.tensor([1, -1, 1])
    want = a.copy()
    np.add.at(want, (slice(None), [1, 5, 1]), 2 * rows)
    np.testing.assert_allclose(dl.index_add(x, 1, index, dl.tensor(rows), alpha=2).numpy(), want, rtol=1e-6)
    want = a.copy()
    want[:, [1, 5, 1]] = rows
    same(dl.index_copy(x, 1, index, dl.tensor(rows)), want)
    want[:, [1, 5]] = 7
    same(dl.index_fill(x, 1, index, 7), np.where(np.isin(np.arange(6), [1, 5])[None, :, None], np.float32(7), a))
    same(dl.index_select(x, 1, index), a[:, [1, 5, 1]])
    same(dl.index_add(dl.tensor([1, 2]), 0, dl.tensor([0, 0]), dl.tensor([5, 6])), np.array([12, 2]))


def test_put_along_axis():
    for values in (9, np.array([[1], [2], [3], [4]])):
        a, x = M.copy(), dl.tensor(M)
        order = np.argsort(M, 1)[:, :2]
        np.put_along_axis(a, order, values, 1)
        dl.put_along_axis(x, dl.tensor(order), values, 1)
        same(x, a)


def test_masks():
    x, mask = dl.tensor(M), M > 2
    same(dl.masked_fill(x, dl.tensor(mask), -1), np.where(mask, -1, M))
    same(x.masked_select(dl.tensor(mask)), M[mask])
    same(x.masked_select(dl.tensor(mask[0])), M[np.broadcast_to(mask[0], M.shape)])
    want = M.copy()
    want[mask] = np.arange(mask.sum())
    same(dl.masked_scatter(x, dl.tensor(mask), dl.arange(24)), want)
    assert dl.masked_fill(dl.tensor(A), dl.tensor(True), 0).dtype == dl.float32


def test_one_hot():
    same(dl.one_hot(dl.tensor([[0, 2], [1, 1]]), 3), np.eye(3, dtype=np.int64)[[[0, 2], [1, 1]]])
    assert dl.one_hot(dl.tensor([3, 1])).shape == (2, 4)


def test_gradients_of_scatter_reduce():
    x = dl.tensor([1.0, 5.0, 2.0], requires_grad=True)
    src = dl.tensor([5.0, 5.0, 0.0, 3.0], requires_grad=True)
    index = dl.tensor([1, 1, 2, 2])
    for reduce, dx, dsrc in (
        ("sum", [1, 1, 1], [1, 1, 1, 1]), ("mean", [1, 1 / 3, 1 / 3], [1 / 3, 1 / 3, 1 / 3, 1 / 3]),
        ("prod", [1, 25, 0], [25, 25, 6, 0]),
    ):  # fmt: skip
        gx, gsrc = dl.grad(dl.scatter_reduce(x, 0, index, src, reduce).sum(), (x, src))
        np.testing.assert_allclose(gx.numpy(), dx)
        np.testing.assert_allclose(gsrc.numpy(), dsrc)


# ---- what is refused ------------------------------------------------------------------------------------------------

X = dl.zeros(2, 3)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: dl.split(X, 2, 1), ValueError, r"split: axis 1 of shape \(2, 3\) has no 2 equal parts; array_split"),
        (lambda: dl.split(X, 0), ValueError, "split: the number of parts is 0"),
        (lambda: dl.array_split(X, 1 << 60), MemoryError, ""),  # at once
        (lambda: dl.hsplit(dl.tensor(1.0), 1), ValueError, r"hsplit: x has shape \(\); it needs at least 1 axes"),
        (lambda: dl.moveaxis(X, (0, 1), 0), ValueError, "moveaxis: 2 axes to 1 places"),
        (lambda: dl.moveaxis(X, (0, 0), (0, 1)), ValueError, "moveaxis: an axis is given twice"),
        (lambda: dl.flip(X, 2), IndexError, r"flip: axis 2 is out of range for shape \(2, 3\)"),
        (lambda: dl.rot90(X, 1, (0, 0)), ValueError, "rot90: an axis is given twice"),
        (lambda: dl.broadcast_to(X, (4, 2)), ValueError, r"broadcast_to: \(2, 3\) does not broadcast to \(4, 2\)"),
        (lambda: dl.hstack([X, dl.zeros(3, 3)]), ValueError, "hstack: shapes differ outside axis 1"),
        (lambda: dl.vstack([]), ValueError, "vstack: no tensors are given"),
        (lambda: dl.tile(X, -1), ValueError, "tile: negative number of repetitions"),
        (lambda: dl.repeat(X, [1, 2, 3], 0), ValueError, r"repeat: 3 repeats for axis 0 of shape \(2, 3\)"),
        (lambda: dl.roll(X, (1, 2, 3), (0, 1)), ValueError, "roll: 3 shifts for 2 axes"),
        (lambda: dl.pad(X, ((1, 1),) * 3), ValueError, r"pad: pad_width .* is neither a number, nor a pair, nor 2"),
        (lambda: dl.pad(X, -1), ValueError, "pad: pad_width is -1; it must be at least 0"),
        (lambda: dl.pad(X, 1, mode="mirror"), ValueError, "pad: mode 'mirror' is not one of 'constant'"),
        (lambda: dl.pad(X[:0], 1, mode="edge"), ValueError, r"pad: axis 0 of shape \(0, 3\) is empty"),
        (lambda: dl.pad(X.astype("int8"), 1, constant_values=300), OverflowError, "pad: "),
        (lambda: dl.meshgrid(X), ValueError, r"meshgrid: \(2, 3\) is no vector"),
        (lambda: dl.diag(dl.zeros(2, 2, 2)), ValueError, r"diag: x has shape \(2, 2, 2\); it takes a vector"),
        (lambda: dl.take_along_axis(X, dl.tensor([0]), 1), ValueError, "take_along_axis: indices have 1 axes"),
        (lambda: dl.take_along_axis(X, dl.tensor([[3]]), 1), IndexError, "take_along_axis: index 3 at position 0"),
        (lambda: dl.scatter(X, 0, dl.tensor([[2]]), 1.0), IndexError, "scatter: index 2 at position 0 is out of range"),
        (lambda: dl.scatter(X, 0, dl.tensor([[0]]), X.astype("int8")), TypeError, "scatter: src is of dtype int8, x"),
        (lambda: dl.index_add(X, 0, dl.tensor([2]), dl.ones(1, 3)), IndexError, "index_add: index 2 at position 0"),
        (lambda: dl.index_add(X, 0, dl.tensor([0]), dl.ones(2, 3)), ValueError, "index_add: a source of shape"),
        (lambda: dl.index_fill(X, 0, dl.tensor([0.0]), 1), TypeError, "index_fill: indices are of dtype float32"),
        (lambda: dl.masked_fill(X, X, 1), TypeError, "masked_fill: mask is of dtype float32, not bool"),
        (lambda: dl.masked_scatter(X, X == 0, dl.ones(5)), ValueError, "masked_scatter: source has 5 elements for 6"),
        (lambda: dl.one_hot(dl.tensor([3]), 3), IndexError,
         "one_hot: label 3 at position 0 is out of range for 3 classes"),
        (lambda: dl.one_hot(dl.tensor([3, -1])), IndexError,
         "one_hot: label -1 at position 1 is out of range for 4 classes"),
        (lambda: dl.one_hot(X, 3), TypeError, "one_hot: classes are of dtype float32, not integers"),
        (lambda: dl.unravel_index(dl.tensor(24), (4, 6)), IndexError, "unravel_index: index 24 at position 0"),
        (lambda: coordinates(dl.tensor(24), (4, 6)), IndexError, "coordinates: index 24 at position 0"),
        (lambda: X.unfold(1, 4), ValueError, r"unfold: windows of 4 elements along axis 1 of shape \(2, 3\)"),
        (lambda: dl.sliding_window_view(X, 4, 1), ValueError, "sliding_window_view: windows of shape"),
        (lambda: X.narrow(1, 2, 2), IndexError, "narrow: 2 places from 2 on leave axis 1"),
        (lambda: X.unflatten(1, (2, -1)), ValueError, r"unflatten: axis 1 of shape \(2, 3\) does not become \(2, -1\)"),
    ],
)  # fmt: skip
def test_wrong_calls_are_named(call, error, text):
    with pytest.raises(error, match=f"^{text}"):
        call()


def test_recorded():
    """Numbers that depend on shapes alone are kept by a recording."""


    @dl.capture
    def step(x):
        return dl.pad(dl.repeat(x, [1, 2], 0), 7, mode="reflect").sum() + dl.one_hot(x.argmax(1), 4)[0]

    for k in range(4):
        x = dl.tensor(A[k % 4, :2])
        want = np.pad(A[k % 4, :2].repeat([1, 2], 0), 7, mode="reflect").sum() + np.eye(4)[A[k % 4, 0].argmax()]
        np.testing.assert_allclose(step(x).numpy(), want, rtol=1e-5)
    assert step.recordings == 1


def test_what_a_call_of_a_view_means_is_kept_for_its_shape_layout_and_arguments():
    x = dl.tensor(np.arange(24.0).reshape(2, 3, 4))
    turned = dl.permute(x, (2, 0, 1))
    for _ in range(2):  # the second time by what was kept
        for t in (x, turned, x.detach().requires_grad_(), x[:, :1]):
            assert dl.flatten(t, 1).tolist() == t.numpy().reshape(t.shape[0], -1).tolist()
            assert dl.select(t, 0, -1).tolist() == t.numpy()[-1].tolist()
            for one in (dl.select(t, 0, 1), dl.select(t, 0, index=1), dl.select(t, 0, np.int64(1))):
                assert one.tolist() == t.numpy()[1].tolist()
            assert dl.swapaxes(t, 0, 2).requires_grad == t.requires_grad
        assert dl.flip(x, ()) is x
        with pytest.raises(TypeError, match="select: index True is not an integer"):
            dl.select(x, 0, True)
        with pytest.raises(IndexError, match="select: index 2 is out of range for axis 0"):
            dl.select(x, 0, 2)
    assert pickle.loads(pickle.dumps(dl.select)) is dl.select
