"""What the definitions of pointwise operations cannot say: gradients at limits, operators in place, zeros' signs."""

import itertools
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


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_common_divisors_of_many_numbers(dtype):
    generator, ends = np.random.default_rng(5), np.iinfo(dtype)
    a, b = generator.integers(ends.min, ends.max, (2, 321), dtype, endpoint=True)
    a[::2] = b[::2] // 2 * generator.integers(0, 4, 161, dtype)  # with much in common, and 0
    a[:9], b[:9] = np.array(list(itertools.product([0, ends.min, ends.max], repeat=2)), dtype).T
    for name in "gcd", "lcm":
        exact = [getattr(math, name)(int(x), int(y)) for x, y in zip(a, b, strict=True)]
        wanted = np.array([x % 2**64 for x in exact], np.uint64).astype(dtype)  # wrapped
        np.testing.assert_array_equal(getattr(dl, name)(dl.tensor(a), dl.tensor(b)).numpy(), wanted)


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


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("shape", [(300, 520), (33, 40), (9, 40), (40, 9, 70), (3, 17, 35, 33)])
def test_operands_that_lie_across_the_rows(shape, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, shape).astype(dtype)
    for order in itertools.permutations(range(len(shape))):
        there, y = x.transpose(order), rng.integers(0, 9, [shape[k] for k in order]).astype(dtype)
        view, other = dl.tensor(x).permute(*order), dl.tensor(y)
        np.testing.assert_array_equal((view + other).numpy(), there + y)
        np.testing.assert_array_equal((view * other[..., :1]).numpy(), there * y[..., :1])
        chosen = dl.where(view > other, view, other[:1])
        np.testing.assert_array_equal(chosen.numpy(), np.where(there > y, there, y[:1]))
        np.testing.assert_array_equal(view.to("float32").numpy(), there.astype(np.float32))
        view += other
        np.testing.assert_array_equal(view.numpy(), there + y)


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


@pytest.mark.parametrize("dtype", [dl.float32, dl.float64, dl.bfloat16], ids=lambda t: t.name)
@pytest.mark.parametrize("name", ["exp", "reciprocal", "relu", "erf", "tan", "lgamma"])
def test_in_place_at_any_length(name, dtype):
    """The last elements of a loop may be a group of vectors that overlaps the one before: nothing is done twice."""
    for n in (1, 7, 15, 17, 31, 33, 47, 63, 65, 100, 511, 513, 1023):
        x = dl.asarray(np.linspace(0.1, 0.9, n), dtype=dtype)
        expected = getattr(dl, name)(x).numpy()
        getattr(x, f"{name}_")()
        np.testing.assert_array_equal(x.numpy(), expected)


def test_every_float_is_rounded_to_bfloat16_as_the_nearest():
    """All upper halves with lower ones around a tie; a NaN beside other numbers changes none of them."""
    low = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    bits = (np.arange(1 << 16, dtype=np.uint32)[:, None] << 16 | low).reshape(-1)
    nan = bits & 0x7FFFFFFF > 0x7F800000
    rounded = np.where(nan, bits | 0x400000, bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    for order in (np.arange(bits.size), np.argsort(bits * np.uint32(2654435761))):
        found = dl.tensor(bits[order].view(np.float32)).to(dl.bfloat16).numpy().view(np.uint16)
        np.testing.assert_array_equal(found, rounded[order])


def test_floats_beyond_an_int32_become_its_limits():
    limit = 2.0**31
    x = [limit, limit - 128, -limit, -limit - 256, 3e38, -3e38, math.inf, -math.inf, math.nan, -0.9, 1.9, -2.9] * 3
    most, least = 2**31 - 1, -(2**31)
    wanted = [most, most - 127, least, least, most, least, most, least, 0, 0, 1, -2] * 3
    for n in (1, 15, 16, 17, 36):
        assert dl.tensor(x[:n], dl.float32).to(dl.int32).tolist() == wanted[:n]


@pytest.mark.parametrize("dtype", [dl.float32, dl.int16], ids=lambda t: t.name)
@pytest.mark.parametrize("shape", [(3, 1), (40, 17), (300, 64), (700, 301), (5, 60, 257), (3, 2, 700)])
def test_rows_and_numbers_that_repeat(shape, dtype):
    """A number for each row, a row for each matrix: walked as numbers, as blocks of rows or row by row."""
    x = np.random.default_rng(0).integers(-99, 99, shape).astype(dtype.numpy)
    operands = {"x": x, "strided": x[::-1, ..., ::-1], "turned": x,
                "column": x[..., :1].copy(), "row": x[..., :1, :].copy(), "number": x.ravel()[:1].copy()}  # fmt: skip
    mine = {name: dl.tensor(values) for name, values in operands.items()}
    mine["strided"], mine["turned"] = mine["x"][::-1, ..., ::-1], dl.tensor(x.T.copy()).permute(*range(x.ndim)[::-1])
    for name in ("x", "strided", "turned"):
        for other in ("column", "row", "number"):
            for text in (f"{name} - {other}", f"{other} - {name}", f"{name} < {other}"):
                got, wanted = (eval(text, {}, scope) for scope in (mine, operands))
                np.testing.assert_array_equal(got.numpy(), wanted, err_msg=text)
    same = mine["x"]
    same -= same[..., :1]
    np.testing.assert_array_equal(same.numpy(), x - x[..., :1])


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


FLOATS = ["float16", "bfloat16", "float32", "float64"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_neighbours_are_numpys(dtype):
    info = np.finfo(dtype)
    values = [0.0, -0.0, 1.0, -1.0, info.max, info.min, info.tiny, info.smallest_subnormal, 3.3]
    values += [np.inf, -np.inf, np.nan]
    x = np.array(values, dtype)
    with np.errstate(all="ignore"):
        wanted = np.nextafter(x[:, None], x)
    found = dl.nextafter(dl.tensor(x[:, None]), dl.tensor(x)).numpy()
    np.testing.assert_array_equal(found, wanted)
    signed = ~np.isnan(wanted) & ((wanted != 0) | (x[:, None] != x))  # of zeros of both signs NumPy gives either
    np.testing.assert_array_equal(np.signbit(found)[signed], np.signbit(wanted)[signed])


def test_neighbours_of_bfloat16():
    x = dl.tensor([0.0, 1.0, 1.0, -2.0, math.inf, 3.3895313892515355e38], dl.bfloat16)
    y = dl.tensor([-1.0, 2.0, 0.0, -3.0, 0.0, math.inf], dl.bfloat16)
    tiny = 2.0**-133
    assert dl.nextafter(x, y).tolist() == [-tiny, 1.0078125, 0.99609375, -2.015625, 3.3895313892515355e38, math.inf]


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinities_become_the_largest_numbers(dtype):
    x = dl.tensor([math.inf, -math.inf, math.nan, 1.5]).astype(dtype)
    most = x.dtype.largest
    assert dl.nan_to_num(x).tolist() == [most, -most, 0, 1.5]
    assert dl.nan_to_num(x, nan=2.0, neginf=-1.0).tolist() == [most, -1, 2, 1.5]
    assert dl.nan_to_num(dl.tensor([1, 2])).tolist() == [1, 2]
    assert gradients(dl.nan_to_num, [math.inf, math.nan, 2.0]) == [[0, 0, 1]]


def test_powers_of_the_base_have_exact_logarithms():
    for dtype in ("float32", "float64"):
        whole = range(-37, 39) if dtype == "float32" else range(-300, 301)
        decimal = dl.tensor(np.array([float(f"1e{k}") for k in whole]), dtype)
        assert dl.log10(decimal).tolist() == list(whole)
        binary = dl.exp2(dl.tensor(list(range(-140, 128)), dtype))
        assert binary.tolist() == [2.0**k for k in range(-140, 128)]
        assert dl.log2(binary).tolist() == list(range(-140, 128))


def error_of(found, wanted):
    """The largest error in units of the last place of `wanted`, long doubles; infinities must be the same ones."""
    with np.errstate(over="ignore"):
        rounded = wanted.astype(found.dtype)
    sure = np.isfinite(rounded)
    np.testing.assert_array_equal(found[~sure], rounded[~sure])
    place = abs(rounded[sure] - np.nextafter(rounded[sure], 0)).astype(np.longdouble)
    place = np.maximum(place, np.finfo(found.dtype).smallest_subnormal)
    return float((abs(found[sure] - wanted[sure]) / place).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "most"), [("log", 1.3), ("log2", 2), ("log10", 2), ("exp", 1.1), ("exp2", 1.1), ("logsigmoid", 3)]
)
def test_errors_all_over_the_range(name, most, dtype):
    """Every place of the tables that logarithms and exponentials are looked up in, of numbers of any size."""
    info, rng = np.finfo(dtype), np.random.default_rng(0)
    if name.startswith("log"):
        sizes = np.concatenate([np.zeros(6), rng.integers(info.minexp - info.nmant, info.maxexp, 14)])
        x = np.ldexp(np.linspace(0.71, 1.42, 1500), sizes.astype(int)[:, None])
    else:
        edge = info.maxexp * (1 if name == "exp2" else math.log(2))
        x = np.concatenate([np.linspace(-1.2 * edge, 1.1 * edge, 9000), np.linspace(-2, 2, 9000)])
    x = np.append(x, [0.0, -0.0, math.inf, -math.inf, math.nan]).astype(dtype)
    wide = x.astype(np.longdouble)
    with np.errstate(all="ignore"):
        wanted = -np.logaddexp(-wide, 0) if name == "logsigmoid" else getattr(np, name)(wide)
    assert error_of(getattr(dl, name)(dl.tensor(x)).numpy(), wanted) < most


def test_errors_of_the_error_function():
    x = np.append(np.linspace(-4.2, 4.2, 20_001), [math.inf, -math.inf, math.nan]).astype(np.float32)
    wanted = np.array([math.erf(v) for v in x], np.longdouble)
    assert error_of(dl.erf(dl.tensor(x)).numpy(), wanted) < 2


def powers(a, b):
    with np.errstate(all="ignore"):
        return np.power(a.astype(np.longdouble), b.astype(np.longdouble))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_errors_of_powers(dtype):
    """Bases of any size, also close to 1, with exponents up to where results overflow and vanish."""
    info, rng, n = np.finfo(dtype), np.random.default_rng(0), 8000
    for size, most in ((1e-3, 1), (0.5, 3 if dtype == "float64" else 1), (info.maxexp - 3, 1)):
        a = np.exp2(rng.uniform(-size, size, n)).astype(dtype)
        logarithm = np.log2(a.astype(np.longdouble))
        target = rng.uniform(info.minexp - info.nmant - 3, info.maxexp + 2, n) * rng.choice([1, 1, 1e-2], n)
        b = (target / np.where(logarithm == 0, 1, logarithm)).astype(dtype)
        assert error_of(dl.pow(dl.tensor(a), dl.tensor(b)).numpy(), powers(a, b)) < most


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_powers_of_special_numbers_beside_others(dtype):
    info = np.finfo(dtype)
    whole = 2.0**info.nmant
    near = [whole, whole**4, whole + 1, 2 * whole, 2 * whole + 2, info.max, info.tiny / 4, info.smallest_subnormal]
    near += [1 - info.epsneg, 1 + info.eps]
    values = np.array([0, 1, 2, 3, 0.5, 1.5, 101, 150, 1075, 1e4, math.inf, math.nan, *near], dtype)
    values = np.concatenate([values, -values])
    a, b = (v.ravel() for v in np.broadcast_arrays(values[:, None], values))
    wanted = powers(a, b)
    found = dl.pow(dl.tensor(a), dl.tensor(b)).numpy()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    known = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(wanted[known]))
    assert error_of(found[known], wanted[known]) <= 1
    for k in range(0, len(a), 37):  # what an element gets does not depend on its neighbours
        alone = dl.pow(dl.tensor(a[[k, k]]), dl.tensor(b[[k, k]])).numpy()
        np.testing.assert_array_equal(alone, found[[k, k]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_powers_at_any_length_and_stride(dtype):
    rng = np.random.default_rng(0)
    a, b = dl.tensor(rng.uniform(0.5, 2, 134).astype(dtype)), dl.tensor(rng.uniform(-3, 3, 134).astype(dtype))
    whole = dl.pow(a, b).numpy()
    for n in range(1, 68):
        np.testing.assert_array_equal(dl.pow(a[:n], b[:n]).numpy(), whole[:n])
        np.testing.assert_array_equal(dl.pow(a[: 2 * n : 2], b[: 2 * n : 2]).numpy(), whole[: 2 * n : 2])
        there = a[:n] + 0
        there **= b[:n]
        np.testing.assert_array_equal(there.numpy(), whole[:n])


def test_the_logarithm_of_gamma_is_right_near_its_zeros():
    gamma, zeta = 0.5772156649015329, 1.6449340668482264
    for dtype, bound in (("float32", 2e-7), ("float64", 4e-16)):
        eps = np.finfo(dtype).eps
        near = np.array([k * 64 * eps for k in (-3, 1, 5)], np.float64)
        at_one = dl.lgamma(dl.tensor((1 + near).astype(dtype))).numpy()
        np.testing.assert_allclose(at_one, near * (zeta / 2 * near - gamma), rtol=bound * 4)
        at_two = dl.lgamma(dl.tensor((2 + near).astype(dtype))).numpy()
        np.testing.assert_allclose(at_two, near * ((1 - gamma) + (zeta - 1) / 2 * near), rtol=bound * 4)
        assert dl.lgamma(dl.tensor([1.0, 2.0], dtype)).tolist() == [0, 0]


def test_the_logarithm_of_gamma_on_both_sides():
    """Values in 90 digits; near the zeros between poles what it is made of cancels, and at the poles it is infinite."""
    wanted = {
        -2.457024738220801: -6.168712140884665e-16, -3.14358088834998: 1.6978655906121085e-15,
        -10.000000275573193: -6.497842411979615e-07, -15.999999999999952: -0.0034851246475472554,
        -6.5: -6.389634350909333, -7.3: -7.779101629826852, -0.3: 1.4648400508576025, 0.1: 2.252712651734206,
        7.9: 8.32426586800881, 8.1: 8.72738826343204, 33.3: 82.60372358165495, -4.0: math.inf, -1e300: math.inf,
    }  # fmt: skip
    found = dl.lgamma(dl.tensor(list(wanted), dl.float64)).numpy()
    values = np.array(list(wanted.values()))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(values))
    finite = np.isfinite(values)
    error = abs(found[finite] - values[finite])
    assert (error <= 9e-16 * np.maximum(abs(values[finite]), 2)).all()


@pytest.mark.parametrize(("name", "most"), [("tan", 2), ("sin", 1), ("cos", 1)])
def test_angles_near_multiples_of_a_quarter_turn(name, most):
    """In float64, where the reduction cancels all but the last bits of an angle, and anywhere."""
    rng = np.random.default_rng(0)
    turns = np.concatenate([rng.integers(1, 600_000, 500), rng.uniform(-9, 9, 3000), rng.uniform(-6e5, 6e5, 500)])
    x = (turns * np.longdouble("1.5707963267948966192313")).astype(np.float64)
    wanted = getattr(np, name)(x.astype(np.longdouble))
    error = abs(getattr(dl, name)(dl.tensor(x)).numpy() - wanted) / np.spacing(abs(wanted).astype(np.float64))
    assert error.max() < most


def test_polygamma():
    x = dl.tensor([0.5, 1.0, 3.5, 20.0, -0.3, -2.6], dl.float64)
    assert dl.polygamma(0, x).tolist() == dl.digamma(x).tolist()
    series = np.arange(2_000_000, dtype=np.float64)
    for n in (1, 2, 5):
        terms = (np.asarray(x)[:, None] + series[None]) ** -(n + 1)
        tail = (np.asarray(x) + 2_000_000) ** -n / n
        wanted = (-1) ** (n + 1) * math.factorial(n) * (terms.sum(1) + tail)
        np.testing.assert_allclose(dl.polygamma(n, x).numpy(), wanted, rtol=1e-6 if n == 1 else 1e-11)
    (first,) = gradients(lambda v: dl.polygamma(1, v), [1.0, 2.0, -0.3, 5.0])
    np.testing.assert_allclose(first, dl.polygamma(2, dl.tensor([1.0, 2.0, -0.3, 5.0])).numpy(), rtol=1e-5)
    with pytest.raises(ValueError, match="polygamma: n is 21; it must be at most 20"):
        dl.polygamma(21, x)
    with pytest.raises(ValueError, match="polygamma: n is -1"):
        dl.polygamma(-1, x)


def test_products_and_quotients_are_added_with_a_factor():
    x, a, b = (dl.tensor(v) for v in ([1.0, 2.0], [3.0, -1.0], [2.0, 4.0]))
    assert dl.addcmul(x, a, b).tolist() == [7, -2]
    assert dl.addcmul(x, a, b, value=0.5).tolist() == [4, 0]
    assert x.addcdiv(a, b, 2).tolist() == [4, 1.5]
    with pytest.raises(dl.ShapeError, match=r"addcmul: shapes do not broadcast: \(2,\) and \(3,\) and \(2,\)"):
        dl.addcmul(x, dl.ones(3), b)
    with pytest.raises(dl.ShapeError, match=r"addcdiv: shapes"):
        dl.addcdiv(x, dl.ones(3), b)


def test_float_power_is_in_float64():
    assert dl.float_power(dl.tensor([2, 4]), -1).tolist() == [0.5, 0.25]
    assert dl.float_power(dl.tensor([2.0], dl.float32), dl.tensor([0.5])).tolist() == [2**0.5]
    assert dl.float_power(2, dl.tensor([3, -1])).dtype is dl.float64
    (found,) = gradients(lambda x: dl.float_power(x, 3), [2.0])
    assert found == [12]


def test_maxima_without_nan_share_their_gradient():
    a, b = [1.0, math.nan, 2.0, 5.0], [1.0, 3.0, math.nan, 4.0]
    assert dl.fmax(dl.tensor(a), dl.tensor(b)).tolist() == [1, 3, 2, 5]
    assert gradients(dl.fmax, a, b) == [[0.5, 0, 1, 1], [0.5, 1, 0, 0]]
    assert gradients(dl.fmin, a, b) == [[0.5, 0, 1, 0], [0.5, 1, 0, 1]]


def test_slopes_at_special_points():
    first, second = gradients(dl.xlogy, [0.0, 0.0, 2.0], [0.0, 2.0, 1.0])
    assert first == pytest.approx([0, math.log(2), 0]) and second[1:] == [0, 2]
    (found,) = gradients(dl.sinc, [0.0, 1e-4, 0.49999, 0.50001, 2.0])
    wanted = [0, -math.pi**2 / 3 * 1e-4, -1.27321, -1.27327, 0.5]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-12)
    infinite = dl.tensor([math.inf, -math.inf], requires_grad=True)
    dl.logaddexp(infinite, infinite.detach()).sum().backward()
    assert infinite.grad.tolist() == [0.5, 0.5]


def test_quotients_are_rounded_down_or_towards_zero():
    for a, b in (([7, -7, 8, -128], [2, 2, -3, -1]), ([7.0, -7.0, 8.5, -1.0], [2.0, 2.0, -3.0, 0.0])):
        x, y = dl.tensor(a, None if isinstance(a[0], float) else dl.int8), dl.tensor(b)
        down, towards = dl.div(x, y, rounding_mode="floor"), x.div(y, rounding_mode="trunc")
        assert down.tolist() == (x // y).tolist() and down.dtype is (x // y).dtype is towards.dtype
        assert towards.tolist() == [math.trunc(p / q) if q else -math.inf for p, q in zip(a, b, strict=True)]
    assert dl.div(dl.tensor([1, 2]), 0, rounding_mode="trunc").tolist() == [0, 0]
    assert dl.div(dl.tensor([1.0]), dl.tensor([2.0])).tolist() == [0.5]
    with pytest.raises(ValueError, match="div: rounding_mode 'up' is not one of None, 'floor', 'trunc'"):
        dl.div(dl.ones(1), 2, rounding_mode="up")
    with pytest.raises(dl.ShapeError, match="div: shapes do not broadcast"):
        dl.div(dl.ones(2), dl.ones(3), rounding_mode="trunc")
