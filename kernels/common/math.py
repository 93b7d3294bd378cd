"""Elementary functions of float32 and float64 tensors, for kernels to call: the GPU's csrc/common/math.inl.

The same formulas in the same order, with a fused multiply-add exactly where the C++ writes one, correctly rounded
division and roots, and fusion off: so a result has the bits of the CPU's plain functions, and their error bounds (1 to
3 ulp) hold here too. With AVX-512 the CPU looks logarithms, and exponentials of doubles, up in tables instead.
Branch-free; `tl.exp` and its like are not used, as they are approximations that flush subnormal numbers.

Arithmetic instructions a float32 element (PTX for sm_90; a division is one of them and becomes about 8): exp 22,
expm1 20, log 32, log1p 38, tanh 24, sigmoid 26. At 8 bytes an element an H100 has time for about 70 (float32) and 35
(16 bits), so all stay bound by memory in float32. pow takes 45, sine and cosine 20 instructions in float64, as on the
CPU: bound by arithmetic where float64 is slow (sm_120: 1/64 of float32). Registers of pow 106, sin 92, others 30 to 56.
Unmeasured: not yet run on hardware.
"""

import math

from dlcore.kernels.language import jit, tl

INFINITY = tl.constexpr(math.inf)


@jit
def bits_of(x):
    if x.dtype == tl.float64:
        return x.to(tl.uint64, bitcast=True)
    else:
        return x.to(tl.uint32, bitcast=True)


@jit
def of_bits(b):
    if b.dtype == tl.uint64:
        return b.to(tl.float64, bitcast=True)
    else:
        return b.to(tl.float32, bitcast=True)


@jit
def copysign_(magnitude, sign):
    top: tl.constexpr = 0x8000000000000000 if sign.dtype == tl.float64 else 0x80000000
    return of_bits((bits_of(magnitude) & (top - 1)) | (bits_of(sign) & top))


@jit
def at_most(x, high):
    return tl.where(x > high, high, x)  # NaN passes through


@jit
def poly(x, C: tl.constexpr):  # C[0] + C[1] x + C[2] x^2 + ...
    y = tl.fma(x, C[len(C) - 1], C[len(C) - 2])
    for i in tl.static_range(3, len(C) + 1):
        y = tl.fma(y, x, C[len(C) - i])
    return y


@jit
def divide(a, b):  # rounded to nearest, which `/` is not for float32
    if b.dtype == tl.float64:
        return a / b
    else:
        return tl.math.div_rn(a, b)


@jit
def root(x):
    if x.dtype == tl.float64:
        return tl.sqrt(x)  # rounded to nearest
    else:
        return tl.math.sqrt_rn(x)


# ---- exponentials -------------------------------------------------------------------------------------------------


# x + this: x rounded to an integer, found in the low bits, with the exponent's bias on top.
ZERO32, ZERO64 = tl.constexpr(12582912.0 + 127), tl.constexpr(6755399441055744.0 + 1023)


@jit
def power_of_two(rounded):  # 2^n in the normal range, n given as n + ZERO
    return of_bits(bits_of(rounded) << (52 if rounded.dtype == tl.float64 else 23))


@jit
def expm1_reduced(r):  # exp(r) - 1 for |r| <= ln(2) / 2
    if r.dtype == tl.float64:
        p = poly(r, (0.5000000000000006, 0.16666666666666685, 0.04166666666657295, 0.00833333333331445,
                     0.0013888888932615678, 0.00019841269903369735, 2.480150414517628e-05, 2.755722762571203e-06,
                     2.76264516753643e-07, 2.5114583997541123e-08))  # fmt: skip
    else:
        p = poly(r, (0.5, 0.16666542, 0.041666277, 0.008366642, 0.001394671))
    return tl.fma(r * r, p, r)


@jit
def reduce_exp(x):  # (x - n ln 2, n + ZERO)
    zero: tl.constexpr = ZERO64 if x.dtype == tl.float64 else ZERO32
    rounded = tl.fma(x, 1.4426950408889634, zero)  # 1 / ln 2
    n = rounded - zero
    if x.dtype == tl.float64:  # ln 2 in two parts, the first short enough for exact products
        r = tl.fma(n, -1.9082149292705877e-10, tl.fma(n, -0.6931471803691238, x))
    else:
        r = tl.fma(n, 0.00021219444170128554, tl.fma(n, -0.693359375, x))
    return r, rounded


@jit
def scale_exp(r, rounded):  # exp(r) 2^n; as two factors, for 2^n may lie outside the normal range
    zero: tl.constexpr = ZERO64 if r.dtype == tl.float64 else ZERO32
    n = rounded - zero
    half = tl.fma(n, 0.5, zero)
    rest = (n - (half - zero)) + zero
    return (expm1_reduced(r) + 1.0) * power_of_two(half) * power_of_two(rest)


@jit
def exp_(x):
    low = -746.0 if x.dtype == tl.float64 else -104.0
    high = 710.0 if x.dtype == tl.float64 else 89.0
    r, rounded = reduce_exp(tl.where(x > high, high, tl.where(x < low, low, x)))
    return scale_exp(r, rounded)


@jit
def exp_normal(x, low=None):  # exp(x + low) where it is a normal number; |low| <= ulp(x)
    r, rounded = reduce_exp(x)
    if low is not None:
        r += low
    return (expm1_reduced(r) + 1.0) * power_of_two(rounded)


@jit
def expm1_inside(x):  # exp(x) - 1 within the limits of expm1_
    r, rounded = reduce_exp(x)
    half = power_of_two(rounded - 1.0)  # half of 2^n, which may overflow alone
    return 2.0 * tl.fma(half, expm1_reduced(r), half - 0.5)


@jit
def expm1_(x):
    low = -80.0 if x.dtype == tl.float64 else -40.0
    high = 710.0 if x.dtype == tl.float64 else 89.0
    y = expm1_inside(tl.where(x > high, high, tl.where(x < low, low, x)))
    smallest = 4.450147717014403e-308 if x.dtype == tl.float64 else 2.350988701644575e-38
    return tl.where(tl.abs(x) < smallest, x, copysign_(y, x))  # half of a subnormal number may lose a bit


@jit
def tanh_(x):
    e = expm1_inside(2.0 * at_most(tl.abs(x), 20.0 if x.dtype == tl.float64 else 10.0))
    return copysign_(divide(e, e + 2.0), x)


@jit
def sigmoid_(x):
    r, rounded = reduce_exp(-at_most(tl.abs(x), 746.0 if x.dtype == tl.float64 else 104.0))
    e = scale_exp(r, rounded)
    return divide(tl.where(x < 0.0, e, 1.0), 1.0 + e)


# ---- logarithms ---------------------------------------------------------------------------------------------------


@jit
def split_exponent(x):  # (m in [sqrt(1/2), sqrt(2)), e) with x = m 2^e, for positive normal x
    if x.dtype == tl.float64:
        b = bits_of(x) - 0x3FE6A09E667F3BCD
        e = of_bits(((b + 0x3FF0000000000000) >> 52) | 0x4330000000000000) - (4503599627370496.0 + 1023)
        return of_bits((b & 0xFFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD), e
    else:
        b = bits_of(x) - 0x3F3504F3
        e = of_bits(((b + 0x3F800000) >> 23) | 0x4B000000) - (8388608.0 + 127)
        return of_bits((b & 0x7FFFFF) + 0x3F3504F3), e


@jit
def log_reduced(f, e):  # log(1 + f) + e ln 2; with s = f / (2 + f), log(1 + f) = 2 s + s R(s^2)
    s = divide(f, 2.0 + f)
    z = s * s
    half_square = 0.5 * f * f
    if f.dtype == tl.float64:
        series = z * poly(z, (6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01,
                              2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01,
                              1.479819860511658591e-01))  # fmt: skip
        tail = tl.fma(s, half_square + series, e * 1.9082149292705877e-10) - half_square
        return tl.fma(e, 0.6931471803691238, tail + f)
    else:
        series = z * poly(z, (0.6666666269302368, 0.40000972151756287, 0.2849878668785095, 0.24279078841209412))
        tail = tl.fma(s, half_square + series, e * -0.00021219444170128554) - half_square
        return tl.fma(e, 0.693359375, tail + f)


@jit
def log_(x):
    shift = 54 if x.dtype == tl.float64 else 25
    subnormal = x < (2.2250738585072014e-308 if x.dtype == tl.float64 else 1.1754943508222875e-38)
    m, e = split_exponent(tl.where(subnormal, x * (18014398509481984.0 if shift == 54 else 33554432.0), x))
    y = log_reduced(m - 1.0, tl.where(subnormal, e - shift, e))
    positive = tl.where(x < float("inf"), y, x)
    return tl.where(x > 0.0, positive, tl.where(x == 0.0, float("-inf"), float("nan")))


@jit
def log1p_(x):
    u = 1.0 + x
    back = u - 1.0
    lost = (1.0 - (u - back)) + (x - back)  # u + lost = 1 + x exactly
    m, e = split_exponent(u)
    zero: tl.constexpr = ZERO64 if x.dtype == tl.float64 else ZERO32
    scale = power_of_two(-at_most(e, 1022.0 if x.dtype == tl.float64 else 126.0) + zero)
    y = copysign_(log_reduced(tl.fma(lost, scale, m - 1.0), e), x)
    inside = tl.where(x < float("inf"), y, x)
    return tl.where(x > -1.0, inside, tl.where(x == -1.0, float("-inf"), float("nan")))


# ---- sine and cosine ----------------------------------------------------------------------------------------------


@jit
def reduce_near(x):  # (sin(r), cos(r), n) of float32 |x| <= 2^20 less the nearest n pi / 2: in float64
    x = x.to(tl.float64)
    rounded = tl.fma(x, 0.6366197723675814, 6755399441055744.0)  # pi / 2 is held in three parts
    n = rounded - 6755399441055744.0  # whose products with n are exact
    r = tl.fma(n, -6.07710050630396597660e-11, tl.fma(n, -1.57079632673412561417e00, x))
    r = tl.fma(n, -2.02226624879595063154e-21, r)
    z = r * r
    s = r * tl.fma(z, poly(z, (-0.1666666664167099, 0.008333329382379977, -0.00019839332123549865,
                               2.7182758931484836e-06)), 1.0)  # fmt: skip
    c = tl.fma(z * z, poly(z, (0.04166666662390772, -0.0013888883822446877, 2.4799533935083498e-05,
                               -2.7211131614379425e-07)), tl.fma(z, -0.5, 1.0))  # fmt: skip
    return s, c, bits_of(rounded)


@jit
def sin_near(x, QUARTER: tl.constexpr):  # sin(x + QUARTER pi / 2) of float32 |x| <= 2^20
    s, c, n = reduce_near(x)
    k = n + QUARTER
    value = tl.where((k & 1) != 0, c, s)
    return of_bits(bits_of(value) ^ ((k & 2) << 62)).to(tl.float32)


# 2 / pi: the bits before the point (64 zeros), then 1216 behind it.
TWO_OVER_PI = tl.constexpr((
    0x0000000000000000, 0xA2F9836E4E441529, 0xFC2757D1F534DDC0, 0xDB6295993C439041,
    0xFE5163ABDEBBC561, 0xB7246E3A424DD2E0, 0x06492EEA09D1921C, 0xFE1DEB1CB129A73E,
    0xE88235F52EBB4484, 0xE99C7026B45F7E41, 0x3991D639835339F4, 0x9C845F8BBDF9283B,
    0x1FF897FFDE05980F, 0xEF2F118B5A0A6D1F, 0x6D367ECF27CB09B7, 0x4F463F669E5FEA2D,
    0x7527BAC7EBE5F17B, 0x3D0739F78A5292EA, 0x6BFB5FB11F8D5D08, 0x56033046FC7B6BAB,
))  # fmt: skip


@jit
def reduce_any(x):  # (n mod 4, x - n pi / 2) for the nearest n, float64 x >= 1/2, by products of integers
    bits = bits_of(x)
    start = (bits >> 52).to(tl.int64) - (1075 - 62)  # x = m 2^e, m an integer: 2^e 2 / pi mod 4 begins at this bit
    m = (bits & 0xFFFFFFFFFFFFF) | 0x10000000000000
    word, shift = start >> 6, (start & 63).to(tl.uint64)
    zero = tl.zeros(x.shape, tl.uint64)
    w0, w1, w2, w3 = zero, zero, zero, zero
    for k in tl.static_range(17):
        w0 = tl.where(word == k, zero + TWO_OVER_PI[k], w0)
        w1 = tl.where(word == k, zero + TWO_OVER_PI[k + 1], w1)
        w2 = tl.where(word == k, zero + TWO_OVER_PI[k + 2], w2)
        w3 = tl.where(word == k, zero + TWO_OVER_PI[k + 3], w3)
    back = 63 - shift
    w0 = (w0 << shift) | ((w1 >> 1) >> back)
    w1 = (w1 << shift) | ((w2 >> 1) >> back)
    w2 = (w2 << shift) | ((w3 >> 1) >> back)
    low = m * w1 + tl.umulhi(m, w2)
    carry = (low < m * w1).to(tl.uint64)
    high = m * w0 + tl.umulhi(m, w1) + carry  # x 2 / pi mod 4: two bits before the point, 62 behind it
    n = (high + 0x2000000000000000) >> 62
    rest = (high - (n << 62)).to(tl.int64, bitcast=True).to(tl.float64) + low.to(tl.float64) * 5.421010862427522e-20
    return n, rest * 3.4061215800865545e-19  # pi / 2 2^-62


@jit
def sin_any(x, QUARTER: tl.constexpr):  # sin(x + QUARTER pi / 2) of any float64
    a = tl.abs(x)
    n, r = reduce_any(tl.where((a >= 0.5) & (a < float("inf")), a, 1.0))
    n = tl.where(a < 0.5, tl.zeros_like(n), n)
    r = tl.where(a < 0.5, a, tl.where(a < float("inf"), r, float("nan")))
    z = r * r
    s = tl.fma(r * z, poly(z, (-1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04,
                               2.75573137070700676789e-06, -2.50507602534068634195e-08,
                               1.58969099521155010221e-10)), r)  # fmt: skip
    half = 0.5 * z
    w = 1.0 - half
    c = poly(z, (4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05,
                 -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11))  # fmt: skip
    c = w + tl.fma(z * z, c, (1.0 - w) - half)
    k = n + QUARTER
    value = tl.where((k & 1) != 0, c, s)
    value = of_bits(bits_of(value) ^ ((k & 2) << 62))
    if QUARTER == 0:
        value = tl.where(x < 0.0, -value, value)
        value = tl.where(x == 0.0, x, value)
    return value


@jit
def circle(x, QUARTER: tl.constexpr):  # float32 beyond 2^20 is rare: a block that has none does without it
    if x.dtype == tl.float64:
        return sin_any(x, QUARTER)
    else:
        y = sin_near(x, QUARTER)
        far = tl.abs(x) > 1048576.0
        if tl.max(far.to(tl.int32)) != 0:
            y = tl.where(far, sin_any(x.to(tl.float64), QUARTER).to(tl.float32), y)
        return y


# ---- powers -------------------------------------------------------------------------------------------------------


@jit
def pow_sign(base, exponent, log):  # of |base|^exponent: -1 for odd exponents of a negative base, NaN for fractions
    size = at_most(tl.abs(exponent), 9007199254740992.0)  # beyond 2^53 all are even integers
    half = 0.5 * size
    of_others = tl.where(tl.abs(log) < float("inf"), float("nan"), 1.0)
    of_integers = tl.where(half == tl.floor(half), 1.0, -1.0)
    of_negative = tl.where(tl.floor(size) == size, of_integers, of_others)
    return tl.where(copysign_(tl.full(base.shape, 1.0, tl.float64), base) < 0.0, of_negative, 1.0)


@jit
def pow_float(base, exponent):  # exp(y log|x|) in float64, each to 1e-10, which float32 does not notice
    x = base.to(tl.float64)
    y = exponent.to(tl.float64)
    a = tl.abs(x)  # a subnormal float32 is a normal float64
    m, e = split_exponent(a)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = poly(z, (2.0, 0.6666666667552095, 0.39999995698006585, 0.28572102286416945, 0.22176441624650203,
                      0.19580873951908767))  # fmt: skip
    log = tl.where(a < float("inf"), tl.fma(e, 0.6931471805599453, s * series), a)
    log = tl.where(a == 0.0, float("-inf"), log)
    power = tl.where(y == 0.0, 0.0, tl.where(log == 0.0, 0.0, y * log))
    r, rounded = reduce_exp(tl.where(power > 90.0, 90.0, tl.where(power < -110.0, -110.0, power)))
    q = poly(r, (0.500000006785065, 0.16666665862244623, 0.04166629404783285, 0.008333498120910993,
                 0.0013944736637650668, 0.0001979003253687571))  # fmt: skip
    value = (tl.fma(r * r, q, r) + 1.0) * power_of_two(rounded)
    return (value * pow_sign(x, y, log)).to(tl.float32)


@jit
def two_product(a, b):  # a b as a sum of two
    high = a * b
    return high, tl.fma(a, b, -high)


@jit
def log_twofold(a):  # log(a), 0 < a < inf, as a sum of two: about 100 bits
    subnormal = a < 2.2250738585072014e-308
    m, e = split_exponent(tl.where(subnormal, a * 18014398509481984.0, a))
    e = tl.where(subnormal, e - 54.0, e)
    f = m - 1.0
    below = 2.0 + f
    s = f / below  # s + s_low = f / (2 + f)
    s_low = (tl.fma(-s, below, f) - s * (f - (below - 2.0))) / below
    z, z_low = two_product(s, s)
    z_low = tl.fma(2.0 * s, s_low, z_low)
    rest = z * poly(z, (0.4, 0.2857142857142857, 0.2222222222222222, 0.18181818181818182, 0.15384615384615385,
                        0.13333333333333333, 0.11764705882352941, 0.10526315789473684, 0.09523809523809523,
                        0.08695652173913043, 0.08))  # fmt: skip
    c = 0.6666666666666666 + rest  # c + c_low = 2/3 + rest
    c_low = (rest - (c - 0.6666666666666666)) + 3.700743415417188e-17
    t, t_low = two_product(z, c)
    t_low = tl.fma(z, c_low, tl.fma(z_low, c, t_low))
    h, h_low = two_product(s, t)
    h_low = tl.fma(s, t_low, tl.fma(s_low, t, h_low)) + 2.0 * s_low
    high = e * 0.6931471803691238  # exact
    first = high + 2.0 * s
    error = (high - (first - (first - high))) + (2.0 * s - (first - high))
    total = first + h
    error += (first - (total - (total - first))) + (h - (total - first))
    error += tl.fma(e, 1.9082149292705877e-10, h_low)
    log = total + error
    return log, error - (log - total)


@jit
def pow_double(x, y):
    a = tl.abs(x)
    log, log_low = log_twofold(a)
    log = tl.where(a < float("inf"), log, a)
    log = tl.where(a == 0.0, float("-inf"), log)
    power = y * log
    low = tl.fma(y, log_low, tl.fma(y, log, -power))
    low = tl.where(tl.abs(power) < 1000.0, low, 0.0)  # not where a limit is reached
    power = tl.where(y == 0.0, 0.0, tl.where(log == 0.0, 0.0, power))
    r, rounded = reduce_exp(tl.where(power > 710.0, 710.0, tl.where(power < -746.0, -746.0, power)))
    value = scale_exp(r + low, rounded)
    return value * pow_sign(x, y, log)
