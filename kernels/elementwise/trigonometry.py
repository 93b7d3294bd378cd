"""What the operations of dlcore/ops/trigonometry.py do to one element: as csrc/elementwise/trigonometry.inl, with the
bounds stated there. They are bound by arithmetic in float64, by memory else.
"""

from dlcore.kernels.common.math import (
    at_most,
    bits_of,
    copysign_,
    divide,
    expm1_reduced,
    log1p_,
    poly,
    power_of_two,
    reduce_exp,
    reduce_near,
    root,
    sin_any,
)
from dlcore.kernels.language import jit, tl


@jit
def pi_times(factor, like):  # factor pi as a sum of two, for factors of few bits
    if like.dtype == tl.float64:
        return factor * 3.141592653589793, factor * 1.2246467991473532e-16
    else:
        return factor * 3.1415927410125732, factor * -8.742277657347586e-08


@jit
def atan_reduced(t):  # atan(t) for |t| <= tan(pi / 8)
    z = t * t
    if t.dtype == tl.float64:
        p = poly(z, (-0.33333333333331694, 0.19999999999519524, -0.1428571423704545, 0.11111108666146251,
                     -0.09090838188924605, 0.07691025253212136, -0.06651623140238963, 0.05766393120393459,
                     -0.04681078227250732, 0.0291840478942146, -0.008415106898868617))  # fmt: skip
    else:
        p = poly(z, (-0.333333164, 0.199984938, -0.142439231, 0.10596437, -0.0608435124))
    return tl.fma(t * z, p, t)


@jit
def atan_of_quotient(a, b):  # atan(a / b) for a, b >= 0, not both 0 and not both infinite
    far = a > 2.414213562373095 * b
    middle = a > 0.41421356237309503 * b
    over = tl.where(far, -b, tl.where(middle, a - b, a))
    under = tl.where(far, a, tl.where(middle, a + b, b))
    high, low = pi_times(tl.where(far, 0.5, tl.where(middle, 0.25, 0.0)).to(a.dtype), a)
    return high + (atan_reduced(divide(over, under)) + low)


@jit
def atan(x):
    a = tl.abs(x)
    return copysign_(atan_of_quotient(a, tl.full(a.shape, 1.0, a.dtype)), x)


@jit
def atan2(y, x):
    infinity = float("inf")
    y_size, x_size = tl.abs(y), tl.abs(x)
    larger = tl.where(y_size > x_size, y_size, x_size)
    if y.dtype == tl.float64:
        large, small, up = 1e307, 2.2250738585072014e-308 * 1024, 4503599627370496.0
    else:
        large, small, up = 1e37, 1.1754943508222875e-38 * 1024, 8388608.0
    scale = tl.where(larger > large, 0.125, tl.where(larger < small, up, 1.0)).to(larger.dtype)
    infinite = (y_size == infinity) & (x_size == infinity)
    nothing = (y_size == 0.0) & (x_size == 0.0)
    a = tl.where(infinite, 1.0, y_size * scale)
    b = tl.where(infinite | nothing, 1.0, x_size * scale)
    angle = atan_of_quotient(a, b)
    high, low = pi_times(1.0, angle)
    negative = (bits_of(x) >> (63 if x.dtype == tl.float64 else 31)) != 0
    return copysign_(tl.where(negative, high - (angle - low), angle), y)


@jit
def asin_series(z):  # (asin(x) - x) / x for |x| <= 1/2, z = x^2
    if z.dtype == tl.float64:
        p = poly(z, (0.16666666666665414, 0.07500000000337698, 0.044642856826995696, 0.03038195921058391,
                     0.02237175600559999, 0.017359738307230362, 0.013884886855770473, 0.012171573116529413,
                     0.0065175678701664755, 0.019557051723595252, -0.01626965284016717,
                     0.03194342246668499))  # fmt: skip
    else:
        p = poly(z, (0.166666597, 0.0750050917, 0.0445160493, 0.0318152159, 0.0144106848, 0.0375549607))
    return z * p


@jit
def asin(x):
    a = tl.abs(x)
    distance = 0.5 * (1.0 - a)
    near = a <= 0.5
    r = tl.where(near, a, root(distance))
    y = tl.fma(r, asin_series(tl.where(near, a * a, distance)), r)
    high, low = pi_times(0.5, x)
    return copysign_(tl.where(near, y, high - (y + y - low)), x)


@jit
def acos(x):
    a = tl.abs(x)
    distance = 0.5 * (1.0 - a)
    near = a <= 0.5
    r = tl.where(near, x, root(distance))
    y = tl.fma(r, asin_series(tl.where(near, a * a, distance)), r)
    half, half_low = pi_times(0.5, x)
    whole, whole_low = pi_times(1.0, x)
    return tl.where(near, half - (y - half_low), tl.where(x < 0.0, whole - (y + y - whole_low), y + y))


@jit
def hypot(a, b):
    infinity = float("inf")
    if a.dtype == tl.float64:
        x, y = tl.abs(a), tl.abs(b)
        m, n = tl.where(x > y, x, y), tl.where(x > y, y, x)
        large, small = m > 3.273390607896142e150, m < 3.054936363499605e-151  # 2^500, 2^-500
        up, down = 4.149515568880993e180, 2.409919865102884e-181  # 2^600, 2^-600
        scale, back = tl.where(large, down, tl.where(small, up, 1.0)), tl.where(large, up, tl.where(small, down, 1.0))
        p, q = m * scale, n * scale
        length = root(tl.fma(p, p, q * q)) * back
    else:
        x, y = a.to(tl.float64), b.to(tl.float64)
        length = root(x * x + y * y).to(tl.float32)
    return tl.where((tl.abs(a) == infinity) | (tl.abs(b) == infinity), infinity, length)


# ---- tangent and hyperbolic functions -------------------------------------------------------------------------------


@jit
def tan(x):
    if x.dtype == tl.float64:
        return sin_any(x, 0) / sin_any(x, 1)
    else:
        s, c, k = reduce_near(x)
        odd = (k & 1) != 0
        y = (tl.where(odd, -c, s) / tl.where(odd, s, c)).to(tl.float32)
        far = tl.abs(x) > 1048576.0
        if tl.max(far.to(tl.int32)) != 0:
            wide = x.to(tl.float64)
            y = tl.where(far, (sin_any(wide, 0) / sin_any(wide, 1)).to(tl.float32), y)
        return y


@jit
def quarter_expm1(a):  # (e^a - 1) / 4 for a >= 0: it is finite as long as sinh(a) is
    r, rounded = reduce_exp(at_most(a, 710.7 if a.dtype == tl.float64 else 89.6))
    quarter = power_of_two(rounded - 2.0)
    return tl.fma(quarter, expm1_reduced(r), quarter - 0.25)


@jit
def sinh(x):
    a = tl.abs(x)
    u = quarter_expm1(a)
    y = 2.0 * u + divide(u, tl.fma(u, 2.0, 0.5))
    smallest = 1.7800590868057611e-307 if x.dtype == tl.float64 else 9.40395480657830e-38
    return tl.where(a < smallest, x, copysign_(y, x))


@jit
def cosh(x):
    u = quarter_expm1(tl.abs(x))
    return tl.fma(u, 2.0, 0.5) + divide(0.5, tl.fma(u, 4.0, 1.0))


@jit
def asinh(x):
    a = tl.abs(x)
    beyond = 36028797018963968.0 if x.dtype == tl.float64 else 67108864.0
    near = at_most(a, beyond)
    square = near * near
    inside = near + divide(square, 1.0 + root(square + 1.0))
    far = a > beyond
    y = log1p_(tl.where(far, a, inside)) + tl.where(far, 0.6931471805599453, 0.0).to(x.dtype)
    return copysign_(y, x)


@jit
def acosh(x):
    far = x > (36028797018963968.0 if x.dtype == tl.float64 else 67108864.0)
    t = tl.where(far, 1.0, x) - 1.0
    inside = t + root(tl.fma(t, t, t + t))
    y = log1p_(tl.where(far, x, inside)) + tl.where(far, 0.6931471805599453, 0.0).to(x.dtype)
    return tl.where(x < 1.0, float("nan"), y)


@jit
def atanh(x):
    a = tl.abs(x)
    y = 0.5 * log1p_(divide(a + a, 1.0 - a))
    smallest = 4.450147717014403e-308 if x.dtype == tl.float64 else 2.350988701644575e-38
    return tl.where(a < smallest, x, copysign_(y, x))


@jit
def deg2rad(x):
    return (x.to(tl.float64) * 0.017453292519943295).to(x.dtype)


@jit
def rad2deg(x):
    return (x.to(tl.float64) * 57.29577951308232).to(x.dtype)
