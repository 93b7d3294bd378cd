"""x[index] and x[index] = value against NumPy, on random mixtures of everything an index may hold, with gradients."""

import numpy as np
import pytest

import dlcore as dl


def random_slice(rng, n):
    bounds = [None if rng.random() < 0.4 else int(rng.integers(-n - 2, n + 3)) for _ in range(2)]
    return slice(*bounds, None if rng.random() < 0.5 else int(rng.choice([-3, -2, -1, 1, 2, 3])))


def random_mask(rng, shape, count):
    mask = np.zeros(shape, bool)
    mask.reshape(-1)[rng.permutation(mask.size)[:count]] = True
    return mask


def random_index(rng, shape):
    """Ints, slices, None, Ellipsis, index arrays and masks whose shapes broadcast."""
    common = [(), (3,), (2, 3), (1, 3)][rng.integers(4)]
    gathers, index, axis = rng.random() < 0.6, [], 0
    while axis < len(shape) and rng.random() < 0.85:
        kind = rng.random()
        if kind < 0.1:
            index.append(None)
        elif kind < 0.2 and ... not in [i for i in index if i is ...]:
            index.append(...)
            axis = len(shape) - int(rng.integers(0, len(shape) - axis + 1))
        elif kind < 0.45:
            index.append(int(rng.integers(-shape[axis], shape[axis])))
            axis += 1
        elif kind < 0.65 or not gathers:
            index.append(random_slice(rng, shape[axis]))
            axis += 1
        elif kind < 0.9:
            index.append(rng.integers(-shape[axis], shape[axis], common))
            axis += 1
        else:
            covered = int(rng.integers(1, min(2, len(shape) - axis) + 1))
            index.append(random_mask(rng, shape[axis : axis + covered], 3 if common[-1:] == (3,) else 1))
            axis += covered
    return tuple(index)


def as_given(rng, index):
    """The same index with some arrays as tensors or lists."""
    forms = (dl.tensor, np.asarray, lambda a: a.tolist() if a.ndim else a)
    return tuple(forms[rng.integers(3)](i) if isinstance(i, np.ndarray) else i for i in index)


def cases(seed, count):
    rng = np.random.default_rng(seed)
    while count:
        shape = tuple(int(n) for n in rng.integers(1, 6, rng.integers(1, 5)))
        x, index = rng.standard_normal(shape), random_index(rng, shape)
        try:
            want = x[index]
        except IndexError:  # shapes that do not broadcast
            with pytest.raises((IndexError, ValueError)):
                dl.tensor(x)[as_given(rng, index)]
            continue
        count -= 1
        yield rng, x, index, as_given(rng, index), want


@pytest.mark.parametrize("seed", range(4))
def test_reading_is_numpys(seed):
    for rng, x, index, given, want in cases(seed, 300):
        tensor = dl.tensor(x, requires_grad=True)
        got = tensor[given]
        np.testing.assert_array_equal(got.detach(), want, err_msg=str((x.shape, index)))
        np.testing.assert_array_equal(tensor.detach()[given], want, err_msg=str((x.shape, index)))
        weights, gradient = rng.standard_normal(want.shape), np.zeros(x.shape)
        got.backward(dl.tensor(weights, "float64"))
        np.add.at(gradient, index, weights)
        np.testing.assert_allclose(tensor.grad, gradient, atol=1e-12, err_msg=str((x.shape, index)))


@pytest.mark.parametrize("seed", range(4))
def test_writing_is_numpys(seed):
    for rng, x, index, given, want in cases(seed, 300):
        shape = [want.shape, (), (1,) * want.ndim, want.shape[1:]][rng.integers(4)]
        value, after = rng.standard_normal(shape), x.copy()
        after[index] = value
        plain = dl.tensor(x)
        plain[given] = float(value) if value.ndim == 0 else value
        np.testing.assert_array_equal(plain, after, err_msg=str((x.shape, index)))

        before, source = dl.tensor(x, requires_grad=True), dl.tensor(value, "float64", requires_grad=True)
        tracked = before * 1
        tracked[given] = source
        np.testing.assert_array_equal(tracked.detach(), after)
        weights, direction, written = rng.standard_normal(x.shape), rng.standard_normal(shape), np.zeros(x.shape)
        tracked.backward(dl.tensor(weights))
        written[index] = direction
        slope = 0 if source.grad is None else np.vdot(np.asarray(source.grad), direction)
        np.testing.assert_allclose(slope, np.vdot(weights, written), atol=1e-12, err_msg=str((x.shape, index)))
        weights[index] = 0
        np.testing.assert_allclose(0 if before.grad is None else before.grad, weights, err_msg=str((x.shape, index)))


@pytest.mark.parametrize(
    "index, text",
    [
        (5, "getitem: index 5 is out of range for axis 0 of shape (2, 2)"),
        ((0, -3), "getitem: index -3 is out of range for axis 1 of shape (2, 2)"),
        ((0, 0, 0), "getitem: 3 indices for shape (2, 2)"),
        ((..., ...), "getitem: more than one Ellipsis in an index"),
        ("a", "getitem: an index of type str is not supported"),
        (np.zeros(3, bool), "getitem: a mask of shape (3,) does not fit shape (2, 2) from axis 0 on"),
        ([0, 2], "getitem: index 2 at position 1 is out of range for axis 0 of length 2"),
        (([0, 1], [0, -3]), "getitem: index -3 at position 1 is out of range for axis 1 of length 2"),
    ],
)
def test_wrong_indices_are_named(index, text):
    with pytest.raises(IndexError) as error:
        dl.zeros(2, 2)[index]
    assert str(error.value) == text


@pytest.mark.parametrize("mask", [(0,), (0, 2), (3, 0), (0, 0)])
def test_masks_of_length_0_select_nothing(mask):
    a = np.arange(12.0).reshape(3, 2, 2)
    x, chosen = dl.tensor(a, requires_grad=True), np.zeros(mask, bool)
    for index in (chosen, dl.tensor(chosen)):
        assert x[index].shape == a[chosen].shape
        y = x * 1
        y[index] = 5.0
        y[index] = dl.ones(2) if y[index].ndim > 1 else 1.0
        np.testing.assert_array_equal(y.detach(), a)
        (y.sum() + x[index].sum()).backward()
        np.testing.assert_array_equal(x.grad, np.ones_like(a))
        x.grad = None
    with pytest.raises(IndexError, match=r"a mask of shape \(0, 3\) does not fit shape \(3, 2, 2\) from axis 0"):
        x[np.zeros((0, 3), bool)]


def test_a_wrong_index_changes_nothing():
    x = dl.zeros(3, 2)
    with pytest.raises(IndexError):
        x[[0, 1, 3]] = 1.0
    assert not np.asarray(x).any()


def test_the_last_of_equal_indices_wins_and_gets_the_gradient():
    value = dl.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x = dl.zeros(3)
    x[[1, 1, 0]] = value
    np.testing.assert_array_equal(x.detach(), [3, 2, 0])
    x.backward(dl.ones(3))
    np.testing.assert_array_equal(value.grad, [0, 1, 1])


@pytest.mark.parametrize(
    "index",
    [True, np.False_, (True, 0), (slice(None), True), (True, [0, 1]), (None, False, 1), ([0, 1], True, [2, 3])],
    ids=str,
)  # fmt: skip
def test_masks_of_no_axes(index):
    a = np.arange(12.0).reshape(3, 4)
    given = dl.tensor(bool(index)) if isinstance(index, np.bool_) else index
    np.testing.assert_array_equal(dl.tensor(a)[given], a[index])
    plain, tracked = dl.tensor(a), dl.tensor(a, requires_grad=True) * 1
    plain[given] = tracked[given] = 7.0
    a[index] = 7.0
    np.testing.assert_array_equal(plain, a)
    np.testing.assert_array_equal(tracked.detach(), a)


def test_an_index_of_numbers_is_kept_by_a_recording():
    @dl.capture
    def step(x):
        y = x * 1
        y[[0, 2]] = y[[2, 0]] * 2
        return y[:, [1, 0]], y[(0, 1), (1, 1)]

    for k in range(4):
        a = np.arange(6.0).reshape(3, 2) + k
        b = a.copy()
        b[[0, 2]] = a[[2, 0]] * 2
        rows, elements = step(dl.tensor(a))
        np.testing.assert_array_equal(rows, b[:, ::-1])
        np.testing.assert_array_equal(elements, b[:2, 1])
    assert step.recordings == 1


@pytest.mark.parametrize(
    "index", [([0, 1, 0], slice(1, 3)), (slice(0, 2), [1, 1]), ([0, 0], [1, 1]), (slice(1, 2),), (np.eye(3, 4) > 0,),
              ([[0, 1], [0, 1]],)], ids=range(6),
)  # fmt: skip
def test_index_put(index):
    rng = np.random.default_rng(1)
    a = rng.standard_normal((3, 4))
    values = rng.standard_normal(a[index].shape)
    added, written = a.copy(), a.copy()
    np.add.at(added, index, values)
    written[index] = values
    x, v = dl.tensor(a, requires_grad=True), dl.tensor(values, requires_grad=True)
    np.testing.assert_allclose(dl.index_put(x, index, v, accumulate=True).detach(), added)
    np.testing.assert_array_equal(dl.index_put(x, index, v).detach(), written)
    np.testing.assert_allclose(dl.tensor(a).index_put_(index, values, accumulate=True), added)
    weights = rng.standard_normal((3, 4))
    dl.index_put(x, index, v, accumulate=True).backward(dl.tensor(weights))
    np.testing.assert_array_equal(x.grad, weights)
    np.testing.assert_array_equal(v.grad, weights[index])


def test_methods_that_write_by_index():
    x = dl.zeros(3, 4)
    x.index_fill_(0, dl.tensor([1]), 2).masked_fill_(x == 0, 1).scatter_add_(1, dl.tensor([[0, 0]]), dl.ones(1, 2))
    x.fill_diagonal_(9).tril_().index_add_(dim=0, index=dl.tensor([2]), source=dl.ones(1, 4))
    np.testing.assert_array_equal(x, [[9, 0, 0, 0], [2, 9, 0, 0], [2, 2, 10, 1]])
    with pytest.raises(IndexError, match=r"^index_add_: index 3 at position 0"):
        x.index_add_(0, dl.tensor([3]), dl.ones(1, 4))


HUGE = 1 << 70


@pytest.mark.parametrize("parts", [
    (HUGE, None, -HUGE), (None, None, HUGE), (None, None, -HUGE), (None, None, 2**63 - 1), (2, None, -(2**63)),
    (-HUGE, HUGE), (HUGE, None), (None, -HUGE, -1), (8, None, HUGE),
])  # fmt: skip
@pytest.mark.parametrize("grad", [False, True])
def test_slices_beyond_64_bits_are_cut(parts, grad):
    a, at = np.arange(16.0).reshape(2, 8), slice(*parts)
    x = dl.tensor(a, requires_grad=grad)
    recorded = dl.capture(lambda x: x[:, at] * 2)
    for index in ((0, at), (..., at), ([0, 1, 1], at), (None, 1, at)):
        np.testing.assert_array_equal(x[index].detach(), a[index])
        written, changed = a.copy(), x.clone()
        written[index] = -1
        changed[index] = -1
        np.testing.assert_array_equal(changed.detach(), written)
    for _ in range(3):
        np.testing.assert_array_equal(recorded(x).detach(), a[:, at] * 2)


@pytest.mark.parametrize("grad", [False, True])
def test_indices_without_a_gradient_give_the_same_views(grad):
    a = np.arange(60.0).reshape(3, 4, 5)
    x = dl.tensor(a, requires_grad=grad)
    for index in (1, -1, slice(1, None, 2), slice(2, 0, -1), slice(3, 3), slice(2, 3, 4), None,
                  (0, None, slice(None, None, -2)), (slice(None), 2, slice(4, 0, -3)), (1, 2, 3), ()):  # fmt: skip
        view = x[index]
        assert view.tolist() == a[index].tolist() and view.shape == a[index].shape
        assert view.is_view and view.base is x and view.requires_grad == grad
        if view.size > 1:
            assert [s * 8 for n, s in zip(view.shape, view.strides, strict=True) if n > 1] == [
                s for n, s in zip(a[index].shape, a[index].strides, strict=True) if n > 1
            ]
        with dl.no_grad():
            assert x[index].base is None and x[index].data_ptr == view.data_ptr
            assert x[index].strides == view.strides
