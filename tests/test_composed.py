"""Everyday functions made of other operations: values by NumPy, gradients by differences, wrong inputs."""

import numpy as np
import pytest

import dlcore as dl
from dlcore import _C
from dlcore._arguments import names_errors
from dlcore.op import REGISTRY
from dlcore.ops import pointwise

RNG = np.random.default_rng(3)
A, B = RNG.standard_normal((4, 6)), RNG.standard_normal((3, 6))
V, W = RNG.standard_normal(7), RNG.standard_normal(4)
N = np.where(RNG.random((4, 6)) < 0.3, np.nan, A)
LINE = np.array([-1.0, 0.0, 0.5, 2.0])

SAME = {  # of NumPy's or dlcore's namespace, with arrays or tensors
    "cov": lambda np, t: np.cov(t(A)),
    "cov of columns": lambda np, t: np.cov(t(A), rowvar=False, ddof=0),
    "cov of one variable": lambda np, t: np.cov(t(V)),
    "corrcoef": lambda np, t: np.corrcoef(t(A)),
    "corrcoef of columns": lambda np, t: np.corrcoef(t(A), rowvar=False),
    "corrcoef of one variable": lambda np, t: np.corrcoef(t(V)),
    "nanargmax": lambda np, t: np.nanargmax(t(N), axis=1),
    "nanargmin of all": lambda np, t: np.nanargmin(t(N)),
    "nancumsum": lambda np, t: np.nancumsum(t(N)),
    "nancumprod": lambda np, t: np.nancumprod(t(N), axis=1),
    "interp": lambda np, t: np.interp(t(A), t(LINE), t(W)),
    "interp, outside": lambda np, t: np.interp(t(A), t(LINE), t(W), left=-9.0, right=9.0),
    "interp at the points": lambda np, t: np.interp(t(LINE), t(LINE), t(W)),
    "interp of one point": lambda np, t: np.interp(t(V), t(LINE[:1]), t(W[:1])),
    "interp of NaN": lambda np, t: np.interp(t(N), t(LINE), t(W)),
    "vander": lambda np, t: np.vander(t(W)),
    "vander, increasing": lambda np, t: np.vander(t(W), 3, increasing=True),
    "gradient": lambda np, t: np.gradient(t(V)),
    "gradient of a matrix": lambda np, t: np.stack(np.gradient(t(A), 0.5)),
    "gradient along an axis": lambda np, t: np.gradient(t(A), 2.0, axis=1),
    "gradient of two places": lambda np, t: np.gradient(t(V[:2])),
    **{f"convolve, {m}": lambda np, t, m=m: np.convolve(t(V), t(W), m) for m in ("full", "same", "valid")},
    "convolve, the shorter first": lambda np, t: np.convolve(t(W), t(V), "same"),
    "polyfit": lambda np, t: np.polyfit(t(V), t(V**3 - 2 * V), 3),
    "polyfit, weights and columns": lambda np, t: np.polyfit(t(LINE), t(A[:, :2]), 1, w=t(W**2)),
    "polyval": lambda np, t: np.polyval(t(W), t(A)),
    "compress": lambda np, t: np.compress(t(np.array([True, False, True])), t(A), axis=1),
    "compress of all": lambda np, t: np.compress(t(np.array([False, True])), t(A)),
    "extract": lambda np, t: np.extract(t(A > 0), t(A)),
    "block": lambda np, t: np.block([[t(A), t(A[:, :2])], [t(B), t(B[:, :2])]]),
    "block of one row": lambda np, t: np.block([t(V), t(W)]),
    "block without lists": lambda np, t: np.block(t(A)),
    "digitize": lambda np, t: np.digitize(t(np.append(A.ravel(), LINE)), t(LINE)),
    "digitize, right": lambda np, t: np.digitize(t(np.append(A.ravel(), LINE)), t(LINE), right=True),
    "divmod": lambda np, t: np.stack(np.divmod(t(A), 0.3)),
    "fabs": lambda np, t: np.fabs(t(A)),
    "size": lambda np, t: np.full(np.shape(t(A)), np.size(t(A), 1) + np.ndim(t(A)) + np.size(t(V))),
}


@pytest.mark.parametrize("call", SAME.values(), ids=SAME)
def test_values_are_numpys(call):
    want, found = call(np, np.asarray), call(dl, dl.tensor)
    assert found.shape == np.shape(want) and found.dtype.kind == ("int" if want.dtype.kind == "i" else "float")
    np.testing.assert_allclose(found.numpy(), want, rtol=1e-12, atol=1e-12)


def test_distances():
    want = np.linalg.norm(A[:, None] - B[None], axis=-1)
    np.testing.assert_allclose(dl.cdist(dl.tensor(A), dl.tensor(B)).numpy(), want, rtol=1e-12)
    np.testing.assert_allclose(dl.cdist(dl.tensor(A), B, 1.0).numpy(), np.abs(A[:, None] - B[None]).sum(-1), rtol=1e-12)
    assert dl.cdist(dl.ones(2, 3, 4), dl.ones(5, 4)).shape == (2, 3, 5)
    np.testing.assert_allclose(dl.dist(dl.tensor(V), 1.0).item(), np.linalg.norm(V - 1), rtol=1e-12)
    x = dl.tensor(A, requires_grad=True)
    dl.cdist(x, x).sum().backward()  # of each point from itself too
    assert np.isfinite(x.grad.numpy()).all()


def test_integrals_up_to_each_place():
    y = np.cumsum(A, 1)
    steps = (A[:, 1:] + A[:, :-1]) / 2
    np.testing.assert_allclose(dl.cumulative_trapezoid(dl.tensor(A)).numpy(), np.cumsum(steps, 1), atol=1e-12)
    places = np.sort(RNG.random(6))
    found = dl.cumulative_trapezoid(dl.tensor(A), places)
    np.testing.assert_allclose(found.numpy(), np.cumsum(steps * np.diff(places), 1), atol=1e-12)
    found = dl.cumulative_trapezoid(dl.tensor(A), y, axis=0)
    want = np.cumsum((A[1:] + A[:-1]) / 2 * np.diff(y, axis=0), 0)
    np.testing.assert_allclose(found.numpy(), want, atol=1e-12)
    assert dl.cumulative_trapezoid(dl.ones(2, 1)).shape == dl.cumulative_trapezoid(dl.ones(2, 0)).shape == (2, 0)
    with pytest.raises(dl.ShapeError, match=r"^cumulative_trapezoid: x has shape \(5,\), y has \(2, 4\)"):
        dl.cumulative_trapezoid(dl.ones(2, 4), dl.arange(5.0))  # the fifth place belongs to no element


def test_the_most_frequent_are_the_smallest_of_several_and_the_last():
    x = dl.tensor([[3.0, 1.0, 2.0, 1.0, 3.0], [dl.nan, 2.0, 0.0, dl.nan, 0.5], [4.0, 4.0, 4.0, -1.0, -1.0]])
    values, indices = dl.mode(x, 1)
    np.testing.assert_array_equal(np.asarray(values), [1.0, np.nan, 4.0])
    assert indices.tolist() == [3, 3, 2]
    values, indices = dl.mode(x[::2], 0, keepdims=True)
    assert values.tolist() == [[3.0, 1.0, 2.0, -1.0, -1.0]] and indices.tolist() == [[0, 0, 0, 1, 1]]
    one = dl.mode(dl.tensor([[7]]))
    assert [v.tolist() for v in one] == [[7], [0]]


def test_counts_in_bins_are_pytorchs():
    x = dl.tensor([1.0, 2.0, 1.0, 2.5, 9.0, -1.0])
    assert dl.histc(x, 4, 0, 3).tolist() == [0.0, 2.0, 1.0, 1.0] and dl.histc(x, 4, 0, 3).dtype is dl.float32
    assert dl.histc(x, 2).tolist() == [5.0, 1.0]
    assert dl.histc(dl.tensor([5, 5]), bins=2, min=5, max=5).tolist() == [0, 2]


def test_runs_of_equal_elements():
    x = dl.tensor([[1, 1, 2], [2, 1, 3]])
    values, inverse, counts = dl.unique_consecutive(x, return_inverse=True, return_counts=True)
    assert values.tolist() == [1, 2, 1, 3] and counts.tolist() == [2, 2, 1, 1]
    assert inverse.tolist() == [[0, 0, 1], [1, 2, 3]] and dl.take(values, inverse).tolist() == x.tolist()
    none = dl.unique_consecutive(x[:0], True, True)
    assert [t.shape for t in none] == [(0,), (0, 3), (0,)]
    assert dl.unique_consecutive(dl.tensor([5])).tolist() == [5]


@pytest.mark.parametrize("function", [
    dl.cov, dl.corrcoef, lambda x: dl.cdist(x, x[:2] + 1), lambda x: dl.interp(x, LINE, W), dl.gradient,
    lambda x: dl.interp(LINE[:2] + 0.1, LINE, x[0, :4]), lambda x: dl.convolve(x[0], x[1, :3]), dl.logit,
    lambda x: dl.polyval(x[0], x[1]), dl.cumulative_trapezoid, lambda x: dl.compress([True, False, True], x, 1),
    lambda x: dl.block([[x, x[:, :1]]]), lambda x: dl.clamp_min(x, 0.5), lambda x: dl.clamp_max(x, 0.5), dl.frac,
])  # fmt: skip
def test_gradients(function):
    x = dl.tensor(RNG.random((3, 5)) * 0.8 + 0.1, requires_grad=True)
    assert dl.testing.gradcheck(function, x)


def test_blocks_of_each_example_and_of_a_recorded_step():
    x = dl.arange(8.0).reshape(2, 2, 2)
    wanted = np.concatenate([x.numpy()] * 2, -1)
    np.testing.assert_array_equal(dl.func.vmap(lambda x: dl.block([x, x]))(x).numpy(), wanted)
    step = dl.capture(lambda x: dl.block([x, x]))
    for _ in range(3):
        np.testing.assert_array_equal(step(x).numpy(), wanted)


def test_small_ones():
    x = dl.tensor([-1.5, 0.25, 2.0])
    assert dl.frac(x).tolist() == [-0.5, 0.25, 0.0] and x.frac().tolist() == [-0.5, 0.25, 0.0]
    np.testing.assert_allclose(dl.logit(dl.sigmoid(x)).numpy(), x.numpy(), rtol=1e-6)
    assert dl.logit(dl.tensor([0.0, 1.0]), 0.5).tolist() == [0.0, 0.0]
    assert dl.clamp_min(x, 0).tolist() == [0.0, 0.25, 2.0] and x.clamp_max(0).tolist() == [-1.5, 0.0, 0.0]
    assert dl.numel(x) == 3 and dl.is_floating_point(x) and not dl.is_floating_point(dl.arange(2))
    assert dl.clone(x).data_ptr != x.data_ptr and dl.detach(x).data_ptr == x.data_ptr


@pytest.mark.parametrize("call, error, text", [
    (lambda: dl.cov(dl.ones(1, 2, 3)), dl.ShapeError, r"cov: x has shape \(1, 2, 3\)"),
    (lambda: dl.cdist(dl.ones(2, 3), dl.ones(2, 4)), dl.ShapeError, "cdist: takes points"),
    (lambda: dl.interp(V, LINE, V), dl.ShapeError, r"interp: xp \(4,\) and fp \(7,\)"),
    (lambda: dl.gradient(dl.ones(2, 1)), dl.ShapeError, "gradient: axis 1 of shape"),
    (lambda: dl.gradient(dl.ones(3), axis=1), IndexError, "gradient: axis 1 is out of range"),
    (lambda: dl.convolve(dl.ones(2, 2), V), dl.ShapeError, "convolve: takes two lines"),
    (lambda: dl.convolve(V, W, "all"), ValueError, "convolve: mode 'all' is not one of"),
    (lambda: dl.vander(A), dl.ShapeError, "vander: x has shape"),
    (lambda: dl.polyfit(V, W, 1), dl.ShapeError, r"polyfit: x \(7,\) and y \(4,\) are not points"),
    (lambda: dl.polyfit(V, V, 1, w=W), dl.ShapeError, r"polyfit: w has shape \(4,\), x has \(7,\)"),
    (lambda: dl.mode(dl.zeros(2, 0)), dl.ShapeError, r"mode: x has shape \(2, 0\): no elements along axis 1"),
    (lambda: dl.histc(V, 3, 2, 1), ValueError, r"histc: range is \(2\.0, 1\.0\): low must not exceed high"),
    (lambda: dl.polyval(A, V), dl.ShapeError, "polyval: p has shape"),
    (lambda: dl.compress(A > 0, A), dl.ShapeError, "compress: condition has shape"),
    (lambda: dl.compress([True] * 9, V), IndexError, "compress: index 7 at position 7"),
    (lambda: dl.block([]), dl.ShapeError, "block: a list has no blocks"),
    (lambda: dl.digitize(V, A), dl.ShapeError, "digitize: boundaries have shape"),
    (lambda: dl.linalg.logdet(dl.ones(2, 3)), dl.ShapeError, "logdet: takes x"),
])  # fmt: skip
def test_wrong_inputs(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_what_a_call_means_is_kept_for_its_shapes_not_its_tensors():
    index = dl.tensor([1, 0, 1])
    for k in range(3):  # the first call says what the others do
        x, y = dl.arange(3.0) + k, dl.arange(3.0) * 10 + k
        assert dl.scatter_add(x, 0, index, x).tolist() == [2 * k + 1.0, 3 + 3 * k, 2.0 + k], "one tensor twice"
        assert dl.scatter_add(x, 0, index, y).tolist() == [k + 10.0 + k, 1 + k + 20 + 2 * k, 2.0 + k]
        assert dl.index_select(y, 0, index).tolist() == [10.0 + k, k, 10 + k]
        assert dl.masked_fill(y, y > 15, k).tolist() == [k, 10.0 + k, k]
        assert dl.masked_fill(y, y > 15, float(k)).tolist() == [k, 10.0 + k, k]
        assert dl.roll(y, k).tolist() == np.roll(y.numpy(), k).tolist()
        assert dl.gather(y, 0, index).tolist() == dl.gather(y, index, 0).tolist() == [10.0 + k, k, 10 + k]
        with pytest.raises(IndexError, match=r"^index_select: index 3 at position 0 is out of range for axis 0"):
            dl.index_select(y, 0, index + 2)
        with pytest.raises(IndexError, match=r"^scatter: axis 1 is out of range"):
            dl.scatter(y, 1, index, x)
    whole = dl.ones(3, requires_grad=True)
    dl.index_select(whole, 0, index).sum().backward()
    assert whole.grad.tolist() == [1.0, 2.0, 0.0], "a gradient is wanted where none was before"
    every = dl.func.vmap(lambda row: dl.index_select(row, 0, index))(dl.arange(6.0).reshape(2, 3))
    assert every.tolist() == [[1.0, 0.0, 1.0], [4.0, 3.0, 4.0]]


# ---- calls that C++ makes again by itself (csrc/core/traced.cpp) ----------------------------------------------------


def _new(shape=(3,), seed=0):
    return dl.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


AGAIN = {  # functions of two tensors, each with what it is in NumPy
    "results and arguments": (lambda x, y: (x * y, y), lambda x, y: (x * y, y)),
    "a list": (lambda x, y: [x + y, x - y], lambda x, y: [x + y, x - y]),
    "views": (lambda x, y: dl.concat([x[1:], y.reshape(-1)[::2]], 0), lambda x, y: np.concatenate([x[1:], y[::2]])),
    "a constant": (lambda x, y: x * dl.tensor([1.0, 2.0, 3.0]) + y, lambda x, y: x * np.float32([1, 2, 3]) + y),
    "a constant of a constant": (lambda x, y: x + dl.arange(3).to(dl.float32) * y, lambda x, y: x + np.arange(3) * y),
    "the same twice": (lambda x, y: x * x - y, lambda x, y: x * x - y),
    "a value that is read": (lambda x, y: x * y[0].item(), lambda x, y: x * y[0]),
    "a truth": (lambda x, y: x if (y > 0).any() else -x, lambda x, y: x if (y > 0).any() else -x),
    "an array that is read": (lambda x, y: x + dl.tensor(np.asarray(y)), lambda x, y: x + y),
    "a mask": (lambda x, y: x[y > 0], lambda x, y: x[y > 0]),
}  # fmt: skip


@pytest.mark.parametrize("name", AGAIN)
def test_calls_again_are_of_the_new_values(name):
    ours, numpy = AGAIN[name]
    function = names_errors(ours)
    for seed in range(4):
        x, y = _new(seed=seed), _new(seed=seed + 10)
        assert function(x, x) is not None  # one tensor twice is another call
        found, want = function(x, y), numpy(x.numpy(), y.numpy())
        several = isinstance(want, list | tuple)
        assert not several or type(found) is type(want)
        for f, w in zip(found if several else [found], want if several else [want], strict=True):
            np.testing.assert_allclose(f.numpy(), w, rtol=1e-6)


@pytest.mark.parametrize("kind", ["result", "view", "constant", "written"])
def test_results_share_no_memory_with_the_next(kind):
    def made(x):
        own = dl.zeros(3)
        if kind == "written":
            own += x
        return {"result": x + 1, "view": (x + 1)[:2], "constant": own, "written": own}[kind]

    function = names_errors(made)
    for seed in range(3):
        x = _new(seed=seed)
        want = made(x).numpy().copy()
        found = function(x)
        np.testing.assert_array_equal(found.numpy(), want)
        found.fill_(7)


def test_calls_again_depend_on_all_that_python_sees():
    seen = []

    def function(x, k=1, kind="add"):
        seen.append((x.shape, x.strides, k, kind))
        return x + k if kind == "add" else x * k

    traced = names_errors(function)
    x = _new((3, 3))
    calls = [
        lambda: traced(x), lambda: traced(x.T), lambda: traced(x, 2), lambda: traced(x, 2.0), lambda: traced(x, True),
        lambda: traced(x, kind="mul"), lambda: traced(x, 2, "mul"), lambda: traced(x, k=2), lambda: traced(x.double()),
    ]  # fmt: skip
    first = [call() for call in calls]
    again = [call() for call in calls]
    assert len(seen) == len(calls)
    for a, b in zip(first, again, strict=True):
        assert a.dtype is b.dtype
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_gradients_of_calls_again():
    function = names_errors(lambda x, y: dl.sum(x * y + dl.exp(x)))
    for seed in range(3):
        x, y = _new(seed=seed), _new(seed=seed + 10)
        assert not function(x, y).requires_grad
        x.requires_grad = True
        function(x, y).backward()
        np.testing.assert_allclose(x.grad.numpy(), y.numpy() + np.exp(x.detach().numpy()), rtol=1e-6)
        with dl.no_grad():
            assert not function(x, y).requires_grad
        detached = names_errors(lambda x: _frozen(x) * x)
        for _ in range(2):
            x.grad = None
            detached(x).sum().backward()
            np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy(), rtol=1e-6)


def _frozen(x):
    with dl.no_grad():
        return x * 2


def test_errors_of_calls_again_are_the_functions():
    def picked(x, i):
        return dl.take(x, i) * 2

    function = names_errors(picked)
    x = _new()
    function(x, dl.tensor([0, 2]))
    assert function.programs == 1
    for index in ([0, 3], [1, -4]):
        with pytest.raises(IndexError, match=r"^picked: index -?\d at position 1 is out of range"):
            function(x, dl.tensor(index))
    np.testing.assert_array_equal(function(x, dl.tensor([1, 1])).numpy(), x.numpy()[[1, 1]] * 2)


def test_calls_again_within_recordings_batches_and_autocast():
    function = names_errors(lambda x, y: dl.matmul(x, y) + 1)
    x, y = _new((4, 4)), _new((4, 4), 1)
    want = function(x, y).numpy()
    np.testing.assert_array_equal(function(x, y).numpy(), want)
    step = dl.capture(function)
    for _ in range(3):
        np.testing.assert_array_equal(step(x, y).numpy(), want)
    batched = dl.func.vmap(function, in_dims=(0, None))(dl.stack([x, x]), y)
    np.testing.assert_allclose(batched.numpy(), [want, want], rtol=1e-5)
    with dl.autocast(dl.bfloat16):
        assert function(x, y).dtype is dl.bfloat16
    assert function(x, y).dtype is dl.float32


def test_calls_with_new_numbers_are_not_kept_for_ever():
    function = names_errors(lambda x, k: x * k + k)
    x = _new()
    for k in range(200):
        want = x.numpy() * np.float32(k / 7) + np.float32(k / 7)
        np.testing.assert_allclose(function(x, k / 7).numpy(), want, rtol=1e-5, atol=1e-6)
    assert function.programs < 100
    for _ in range(200):
        function(x, 0.0)  # the first of them is known
    function(x, -1.0)
    assert function.programs > 64


def test_a_call_that_is_looked_at_holds_few_large_results():
    def function(x):
        for _ in range(30):
            x = x + 1
        return x

    traced, x = names_errors(function), dl.zeros(1 << 20)
    _C.reset_peak_memory()
    before = _C.memory_stats()["in_use"]
    traced(x)
    assert _C.memory_stats()["peak"] - before < 10 * x.nbytes
    assert traced.programs == 0
    traced(x[:4])
    assert traced.programs == 1


def test_the_composite_of_an_own_operation_reads_what_changes():
    factors = iter([2.0, 3.0, 5.0])
    own = pointwise("test_scaled", "x", "x times the next factor.", family="", composite=lambda x: x * next(factors),
                    reference=lambda x: x)  # fmt: skip
    try:
        assert [own(dl.ones(())).item() for _ in range(3)] == [2.0, 3.0, 5.0]
    finally:
        del REGISTRY["test_scaled"]
