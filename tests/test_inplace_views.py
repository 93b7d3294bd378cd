"""Writes in place into views of tensors with a gradient history: the values and gradients of code without any."""

import numpy as np
import pytest

import dlcore as dl

A = np.random.default_rng(5).standard_normal((4, 6))


def leaf(values=A):
    return dl.tensor(values, dtype=dl.float64, requires_grad=True)


def swapped(w):
    v = w * 1.0
    v[0], v[1] = v[1] * 2, v[0] * 3
    return v


def swapped_plainly(w):
    return dl.concat([w[1:2] * 2, w[:1] * 3, w[2:]])


def column(w):
    y = w * w
    y[:, 0] += w[:, 1]
    return y


def column_plainly(w):
    return dl.concat([w[:, :1] ** 2 + w[:, 1:2], w[:, 1:] ** 2], 1)


def row_by_row(w):
    y = w * 1.0
    for k, row in enumerate(y):
        row *= k + 1.0
    return y


def row_by_row_plainly(w):
    return w * dl.tensor([[1.0], [2.0], [3.0], [4.0]], dtype=dl.float64)


def filled(w):
    out = dl.zeros(4, 6, dtype=dl.float64)
    for k in range(4):
        out[k] += w[k] * w[3 - k]
    return out


def filled_plainly(w):
    return w * w[::-1]


def siblings(w):
    y = w * 1.0
    a, b, whole = y[0], y[1], y.reshape(-1)
    a += b
    b += a * 2  # made before the write, and what it is after it
    return y + whole[:6]


def siblings_plainly(w):
    a = w[0] + w[1]
    return dl.concat([a[None], (w[1] + a * 2)[None], w[2:]]) + a


def nested(w):
    y = w * 1.0
    part = y[1:].T[::2, ::-1]
    part[0] = w[0, :3] * 5
    part.mul_(2)
    y += w
    return y * part.sum()


def nested_plainly(w):
    mask = np.zeros((4, 6))
    mask[1:, 0] = 1
    scale = np.ones((4, 6))
    scale[1:, ::2] = 2
    first = dl.concat([dl.zeros(1, dtype=dl.float64), (w[0, :3] * 5)[::-1]])
    y = dl.where(dl.tensor(mask == 1), first[:, None], w) * dl.tensor(scale) + w
    return y * y[1:, ::2].sum()


def diagonals(w):
    y = w * 1.0
    dl.diagonal(y, 1)[:] = 0
    dl.split(y, 2, 1)[1][0] = w[0, :3] ** 2
    dl.flip(y, 0)[0, :2] *= 3
    return y


def diagonals_plainly(w):
    keep, threefold = np.ones((4, 6)), np.ones((4, 6))
    keep[range(4), range(1, 5)] = 0
    keep[0, 3:], threefold[3, :2] = 0, 3
    square = dl.concat([dl.zeros(3, dtype=dl.float64), w[0, :3] ** 2])[None] * dl.tensor([[1.0]] + [[0.0]] * 3)
    return w * dl.tensor(keep * threefold) + square


def gathered(w):
    y = w * 1.0
    part = y[:2]
    part[:, [0, 2]] = part[:, [2, 0]] * 2
    y[y > 1] = 0.5
    return y


def gathered_plainly(w):
    swap = w * dl.tensor(np.outer([1, 1, 1, 1], [1.0] * 6))
    top = dl.concat([w[:2, 2:3] * 2, w[:2, 1:2], w[:2, :1] * 2, w[:2, 3:]], 1)
    y = dl.concat([top, swap[2:]])
    return dl.where(y > 1, 0.5, y)


CASES = {f.__name__: (f, g) for f, g in (
    (swapped, swapped_plainly), (column, column_plainly), (row_by_row, row_by_row_plainly), (filled, filled_plainly),
    (siblings, siblings_plainly), (nested, nested_plainly), (diagonals, diagonals_plainly),
    (gathered, gathered_plainly),
)}  # fmt: skip


def gradients(function, order=1):
    w = leaf()
    out = function(w)
    value = (out * dl.tensor(np.cos(np.arange(out.size)).reshape(out.shape))).sum()
    first = dl.grad(value, w, create_graph=order > 1)[0]
    if order == 1:
        return out.detach().numpy(), first.numpy()
    return dl.grad((first * first).sum(), w)[0].numpy()


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case):
    ours, plain = CASES[case]
    for got, want in zip(gradients(ours), gradients(plain), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("case", ["nested", "column", "filled"])
def test_second_gradients(case):
    ours, plain = CASES[case]
    np.testing.assert_allclose(gradients(ours, 2), gradients(plain, 2), rtol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_within_recordings(case):
    ours = CASES[case][0]

    @dl.capture
    def step(w):
        out = ours(w)
        (out * out).sum().backward()
        return out

    for k in range(4):
        w, plain = leaf(A + k), leaf(A + k)
        out = ours(plain)
        (out * out).sum().backward()
        np.testing.assert_array_equal(step(w).numpy(), out.detach().numpy())
        np.testing.assert_array_equal(w.grad.numpy(), plain.grad.numpy())
    assert step.recordings == 1


def test_a_view_of_before_is_a_result_of_a_recording():
    def step(w):
        y = w * 1.0
        reverse = y[::-1]
        y.mul_(3.0)
        y[0] = w[1] * 5.0
        return reverse, y

    captured = dl.capture(step)
    for k in range(4):
        got, want = leaf(A + k), leaf(A + k)
        for function, w in ((captured, got), (step, want)):
            reverse, y = function(w)
            (reverse * reverse).sum().backward()
            np.testing.assert_array_equal(reverse.detach().numpy(), y.detach().numpy()[::-1])
        np.testing.assert_array_equal(got.grad.numpy(), want.grad.numpy())
    assert captured.recordings == 1


def test_what_a_view_knows_of_its_base():
    y = dl.zeros(3, 4)
    assert y.base is None and y[0].base is y and y.T[1:].base is y and y[0].detach().base is None
    with dl.no_grad():
        assert y[0].base is None
    part = y[0]
    part += dl.ones(4, requires_grad=True)
    assert y.requires_grad and y.node.name == "strided_assign" and part.node.name == "as_strided"
    assert y[1].requires_grad


def test_a_view_of_before_is_what_the_base_is_now():
    w, y = leaf([1.0, 2.0]), dl.zeros(2, dtype=dl.float64)
    first, second = y[:1], y[1:]
    first += w[:1]
    assert second.requires_grad  # as a part of what depends on w
    second += first * 3 + w[1:]
    y.sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), [4.0, 1.0])


def test_what_would_lose_a_gradient_is_refused():
    w = leaf([1.0, 2.0, 3.0])
    with pytest.raises(dl.AutogradError, match="a view of a leaf that requires a gradient cannot be changed in place"):
        w[0] = 1.0
    with pytest.raises(dl.AutogradError, match="a view of a leaf"):
        w[:2].add_(1.0)
    y = w * 1.0
    with dl.no_grad():
        part = y[:1]
    with pytest.raises(dl.AutogradError, match=r"made under no_grad\(\)"):
        part += w[:1]
    late = y[:1]
    with dl.no_grad():
        y[2] = 0.0
    with pytest.raises(dl.AutogradError, match="changed in place through another tensor"):
        late += w[:1]
    np.testing.assert_array_equal(y.detach().numpy(), [1, 2, 0])


def test_a_value_that_is_needed_and_overwritten_is_an_error():
    w = leaf([1.0, 2.0])
    y = w * 1.0
    square = y * y
    y[0] = 0.0
    with pytest.raises(dl.AutogradError, match="changed in place since"):
        square.sum().backward()


def test_nothing_is_kept_when_all_is_dropped():
    w, cpu = leaf(np.ones((64, 1024))), dl.device("cpu")
    before = cpu.memory_stats()["in_use"]
    for _ in range(3):
        y = w * 1.0
        rows = y[0], y[1]
        rows[0].mul_(2.0)
        (y.sum() + rows[1].sum()).backward()
    w.grad = None
    del y, rows
    assert cpu.memory_stats()["in_use"] == before


def test_a_tensor_of_integers_takes_the_value_and_no_gradient():
    k, w = dl.zeros(3, dtype=dl.int64), leaf([1.5, 2.5])
    k[:2] = w
    assert k.tolist() == [1, 2, 0] and not k.requires_grad
