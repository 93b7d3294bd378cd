"""What the definitions of pointwise operations cannot say: gradients at limits, operators in place, zeros' signs."""

import math

import numpy as np
import pytest

import dlcore as dl


def gradients(function, *values):
    """The values' gradients of the sum of function(*values), as lists."""
    leaves = [dl.tensor(v, requires_grad=True) for v in values]
    function(*leaves).sum().backward()
    return [leaf.grad.tolist() for leaf in leaves]


def test_the_gradient_of_clip_reaches_x_at_its_limits():
    x = [-2.0, -1.0, 0.5, 1.0, 2.0, math.nan]
    assert gradients(lambda x: dl.clip(x, -1, 1), x) == [[0, 1, 1, 1, 0, 0]]
    assert gradients(lambda x: dl.clip(x, -1), x) == [[0, 1, 1, 1, 1, 0]]
    assert gradients(lambda x: dl.clip(x, None, 1), x) == [[1, 1, 1, 1, 0, 0]]
    assert gradients(lambda x: dl.clip(x), x) == [[1] * 6]


def test_the_gradient_of_clip_goes_to_the_limit_that_was_taken():
    x, low, high = [-2.0, 0.0, 2.0, 0.5], [-1.0, -1.0, -1.0, 3.0], [1.0, 1.0, 1.0, 2.0]
    assert dl.clip(dl.tensor(x), dl.tensor(low), dl.tensor(high)).tolist() == [-1, 0, 1, 2]
    found = gradients(dl.clip, x, low, high)
    assert found == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1]]


def test_the_gradient_of_a_power_of_zero():
    assert gradients(lambda b: 0.0 ** b, [2.0, 0.0, -1.0]) == [[0, 0, -math.inf]]
    zero = dl.zeros(3)
    assert gradients(lambda b: zero**b, [2.0, 0.0, -1.0]) == [[0, 0, -math.inf]]


def test_rounding_has_a_gradient_of_zero():
    assert gradients(lambda a, b: a // b, [5.0, -3.0], [2.0, 2.0]) == [[0, 0], [0, 0]]
    assert gradients(lambda x: dl.round(x, 1) + dl.floor(x) * x, [1.75]) == [[1]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["expm1", "log1p", "asin", "atan", "floor", "trunc", "round"])
def test_zeros_keep_their_sign_and_subnormals_their_bits(name, dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([-0.0, 0.0, tiny, -3 * tiny, 7 * tiny], dtype)
    found = getattr(dl, name)(dl.tensor(x)).numpy()
    kept = x * 0 if name in ("floor", "trunc", "round") else x
    wanted = np.floor(x) if name == "floor" else kept
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))


def test_operators_of_integers():
    i, k = np.arange(-4, 4), np.arange(8)
    x, y = dl.tensor(i), dl.tensor(k)
    for function in (
        lambda a, b: a & b, lambda a, b: a | 5, lambda a, b: 3 ^ a, lambda a, b: ~a, lambda a, b: a << b,
        lambda a, b: a >> 1, lambda a, b: 2 << b, lambda a, b: (a > 0) & True, lambda a, b: ~(a > 0) ^ (b > 3),
        lambda a, b: (a > 0) & b,
    ):  # fmt: skip
        wanted = function(i, k)
        assert function(x, y).tolist() == wanted.tolist()
        assert function(x, y).dtype.numpy == wanted.dtype
    with pytest.raises(dl.DTypeError, match="bitwise_and: does not take float32"):
        dl.ones(2) & 1
    with pytest.raises(dl.DTypeError, match="bitwise_not: does not take float32"):
        ~dl.ones(2)


def test_operators_in_place():
    a = np.array([5, -7, 12, 100], np.int16)
    x = dl.tensor(a)
    same = x
    for symbol in ("&= 29", "|= 2", "^= 9", "<<= 3", ">>= 2", "//= 3", "%= 7"):
        exec(f"x {symbol}; a {symbol}", {}, space := {"x": x, "a": a})
        assert space["x"] is same and x.tolist() == a.tolist() and x.dtype is dl.int16, symbol
    mask = dl.tensor([True, False])
    mask &= dl.tensor([True, True])
    mask |= False
    assert mask.tolist() == [True, False]


def test_logic_takes_numbers():
    x, n = dl.tensor([0.0, -0.0, math.nan, 2.0]), dl.tensor([1, 0, 2, 0], dl.uint8)
    assert dl.logical_and(x, n).tolist() == [False, False, True, False]
    assert dl.logical_or(x, n).tolist() == [True, False, True, True]
    assert dl.logical_xor(n, 300).tolist() == [False, True, False, True]
    assert dl.logical_not(x).tolist() == [True, True, False, False]
    assert dl.logical_and(dl.tensor([True, False]), 1).tolist() == [True, False]


def test_rounding_to_digits():
    x = [0.125, 2.675, -1.005, 12345.678, 1e30]
    for digits in (0, 1, 2, -2):
        np.testing.assert_allclose(dl.round(dl.tensor(x, dl.float64), digits).numpy(), np.round(x, digits), rtol=1e-15)
    assert dl.round(dl.tensor([15, 25, -15, 1234]), -1).tolist() == [20, 20, -20, 1230]
    assert dl.round(dl.tensor([1.5, 2.5, -0.5])).tolist() == [2, 2, 0]


def test_numpys_functions_are_ours():
    x = dl.tensor([0.25, -0.75], requires_grad=True)
    for name in ("floor", "rint", "arcsin", "arccos", "arctan", "trunc", "signbit", "isinf"):
        found = getattr(np, name)(x)
        assert isinstance(found, dl.Tensor), name
        np.testing.assert_allclose(found.detach().numpy(), getattr(np, name)(x.detach().numpy()), rtol=1e-6)
    assert np.hypot(x, x).requires_grad and np.arctan2(x, 2.0).requires_grad
    assert (np.invert(dl.tensor([1, 2]))).tolist() == [-2, -3]
