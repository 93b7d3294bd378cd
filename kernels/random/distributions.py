"""Exponential, truncated normal, gamma and Poisson numbers; words and state: see philox.py and
csrc/random/distributions.inl, whose formulas these are.

Exponential numbers are bound by memory, the others by float64 arithmetic: logarithms and roots, which GPUs for
computing have many units for and others few. Rejection goes on until all elements of a program have a number: of 128
elements of which 0.95 are accepted at once, two or three attempts.

Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from typing import Any

from dlcore.dtypes import float64
from dlcore.kernels.common.math import at_most, exp_, log_, poly
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import BAD_PARAMETER, F64, Call, Errors, In, Launch, Out, Program, accumulator, ceil_div
from dlcore.kernels.movement.index import report
from dlcore.kernels.random.draws import circle
from dlcore.kernels.random.philox import (
    OPTIONS,
    advance,
    advance_kernel,
    blocks_used,
    draw,
    draws,
    is_whole,
    long_word,
    places,
    put_four,
    put_two,
    read_state,
)

BAD = tl.constexpr(BAD_PARAMETER)

# ---- functions of uniform numbers ---------------------------------------------------------------------------------


@jit
def exponential_of(word, scale):
    return -scale * log_(word.to(tl.float32) * 2.3283064365386963e-10 + 1.1641532182693481e-10)  # 2^-32, 2^-33


@jit
def exponential_long(low_word, high_word, scale):
    u = ((long_word(low_word, high_word) >> 11).to(tl.int64) + 1).to(tl.float64) * 1.1102230246251565e-16  # 2^-53
    return -scale * log_(u)


@jit
def exponential_kernel(
    state, stride, out, n, used, scale,
    LONG: tl.constexpr, BLOCKS: tl.constexpr, ADVANCE: tl.constexpr,
):  # fmt: skip
    seed, offset = read_state(state, stride)
    w0, w1, w2, w3 = draw(seed, offset, BLOCKS)
    if LONG:
        at = places(BLOCKS, 2)
        x0, x1 = exponential_long(w0, w1, scale), exponential_long(w2, w3, scale)
        put_two(out, at, x0, x1, n, is_whole(n, BLOCKS, 2))
    else:
        at = places(BLOCKS, 1)
        to: tl.constexpr = out.dtype.element_ty
        x0, x1 = exponential_of(w0, scale).to(to), exponential_of(w1, scale).to(to)
        x2, x3 = exponential_of(w2, scale).to(to), exponential_of(w3, scale).to(to)
        put_four(out, at, x0, x1, x2, x3, n, is_whole(n, BLOCKS, 1))
    if ADVANCE:
        advance(state, stride, offset, used)


@jit
def normal_quantile(p):
    """AS 241: the three rational functions of csrc/random/distributions.inl, all computed and one chosen."""
    q = p - 0.5
    r = 0.180625 - q * q
    near = q * poly(r, (3.387132872796366608, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125,
                        45921.953931549871457, 67265.770927008700853, 33430.575583588128105,
                        2509.0809287301226727))  # fmt: skip
    near /= poly(r, (1.0, 42.313330701600911252, 687.1870074920579083, 5394.1960214247511077, 21213.794301586595867,
                     39307.89580009271061, 28729.085735721942674, 5226.495278852545925))  # fmt: skip
    root = tl.sqrt(-log_(tl.where(q < 0.0, p, 1.0 - p)))
    r = root - 1.6
    middle = poly(r, (1.42343711074968357734, 4.6303378461565452959, 5.7694972214606914055, 3.64784832476320460504,
                      1.27045825245236838258, 0.24178072517745061177, 0.0227238449892691845833,
                      7.7454501427834140764e-4))  # fmt: skip
    middle /= poly(r, (1.0, 2.05319162663775882187, 1.6763848301838038494, 0.68976733498510000455,
                       0.14810397642748007459, 0.0151986665636164571966, 5.475938084995344946e-4,
                       1.05075007164441684324e-9))  # fmt: skip
    r = root - 5.0
    far = poly(r, (6.6579046435011037772, 5.4637849111641143699, 1.7848265399172913358, 0.29656057182850489123,
                   0.026532189526576123093, 0.0012426609473880784386, 2.71155556874348757815e-5,
                   2.01033439929228813265e-7))  # fmt: skip
    far /= poly(r, (1.0, 0.59983220655588793769, 0.13692988092273580531, 0.0148753612908506148525,
                    7.868691311456132591e-4, 1.8463183175100546818e-5, 1.4215117583164458887e-7,
                    2.04426310338993978564e-15))  # fmt: skip
    x = tl.where(root <= 5.0, middle, far)
    return tl.where(tl.abs(q) <= 0.425, near, tl.where(q < 0.0, -x, x))


@jit
def within(u, mean, deviation, first, width, low, high):
    x = mean + deviation * normal_quantile(first + width * u)
    return at_most(tl.where(x < low, low, x), high)


@jit
def truncated_kernel(
    state, stride, out, n, used, mean, deviation, first, width, low, high,
    LONG: tl.constexpr, BLOCKS: tl.constexpr, ADVANCE: tl.constexpr,
):  # fmt: skip
    seed, offset = read_state(state, stride)
    w0, w1, w2, w3 = draw(seed, offset, BLOCKS)
    if LONG:
        at = places(BLOCKS, 2)
        u0 = ((long_word(w0, w1) >> 12).to(tl.int64).to(tl.float64) + 0.5) * 2.220446049250313e-16  # 2^-52
        u1 = ((long_word(w2, w3) >> 12).to(tl.int64).to(tl.float64) + 0.5) * 2.220446049250313e-16
        x0, x1 = (within(u0, mean, deviation, first, width, low, high),
                  within(u1, mean, deviation, first, width, low, high))  # fmt: skip
        put_two(out, at, x0, x1, n, is_whole(n, BLOCKS, 2))
    else:
        at = places(BLOCKS, 1)
        to: tl.constexpr = out.dtype.element_ty
        x0 = within(half_open(w0), mean, deviation, first, width, low, high).to(to)
        x1 = within(half_open(w1), mean, deviation, first, width, low, high).to(to)
        x2 = within(half_open(w2), mean, deviation, first, width, low, high).to(to)
        x3 = within(half_open(w3), mean, deviation, first, width, low, high).to(to)
        put_four(out, at, x0, x1, x2, x3, n, is_whole(n, BLOCKS, 1))
    if ADVANCE:
        advance(state, stride, offset, used)


# ---- by rejection -------------------------------------------------------------------------------------------------


@jit
def half_open(word):
    """A word as a number in (0, 1), float64."""
    return (word.to(tl.int64).to(tl.float64) + 0.5) * 2.3283064365386963e-10


@jit
def wide(low_word, high_word):
    """53 bits of two words, in [0, 1)."""
    return (long_word(low_word, high_word) >> 11).to(tl.int64).to(tl.float64) * 1.1102230246251565e-16


@jit
def attempt_of(seed, offset, i, attempt):
    """The words of an attempt of the elements i."""
    block = (offset + i).to(tl.uint64)
    zero = (block * 0).to(tl.uint32)
    return tl.philox(seed, block.to(tl.uint32), (block >> 32).to(tl.uint32), zero + attempt, zero + 1)


@jit
def gamma_attempt(a, w0, w1, w2, w3, LOG: tl.constexpr):
    """(number, whether it is accepted); Marsaglia & Tsang 2000."""
    d = tl.where(a < 1.0, a + 1.0, a) - 0.3333333333333333
    cosine, _ = circle(w1.to(tl.int64).to(tl.float64) * 2.3283064365386963e-10)
    x = tl.sqrt(-2.0 * log_(half_open(w0))) * cosine
    cube = 1.0 + x / tl.sqrt(9.0 * d)
    v = tl.where(cube > 0.0, cube * cube * cube, 1.0)
    good = (cube > 0.0) & (log_(half_open(w2)) < 0.5 * x * x + d * (1.0 - v + log_(v)))
    raised = tl.where(a < 1.0, log_(half_open(w3)) / a, 0.0)
    if LOG:
        y = log_(d * v) + raised
    else:
        y = d * v * exp_(raised)
    return y, good


@jit
def log_factorial(k):
    """log k! of whole numbers k >= 0, in float64: Stirling's series at 11 or above, less the factors up to there."""
    product = k * 0.0 + 1.0
    x = k + 1.0
    for _ in tl.static_range(10):
        below = x < 11.0
        product = tl.where(below, product * x, product)
        x = tl.where(below, x + 1.0, x)
    r = 1.0 / (x * x)
    series = poly(r, (0.08333333333333333, -0.002777777777777778, 0.0007936507936507937, -0.0005952380952380953,
                      0.0008417508417508417, -0.0019175269175269176))  # fmt: skip
    return (x - 0.5) * log_(x) - x + 0.91893853320467274 + series / x - log_(product)


@jit
def poisson_small(rate, u):
    """By inversion: rates below 10."""
    p = exp_(-rate)
    total, k = p, tl.zeros(rate.shape, tl.int64)
    going = (u > total) & (p > 1e-300)
    while tl.max(going.to(tl.int32)) != 0:
        k += going.to(tl.int64)
        p = tl.where(going, p * (rate / tl.where(k > 0, k, 1).to(tl.float64)), p)
        total = tl.where(going, total + p, total)
        going = going & (u > total) & (p > 1e-300)
    return k


@jit
def poisson_attempt(rate, w0, w1, w2, w3):
    """(number, whether it is accepted) of rates from 10 on; Hörmann 1993, PTRS."""
    root = tl.sqrt(rate)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse, accepted = 1.1239 + 1.1328 / (b - 3.4), 0.9277 - 3.6224 / (b - 2.0)
    u, v = wide(w0, w1) - 0.5, wide(w2, w3)
    near = 0.5 - tl.abs(u)
    k = tl.floor((2.0 * a / near + b) * u + rate + 0.43)
    whole = tl.where(k >= 0.0, k, 0.0)
    bound = whole * log_(rate) - rate - log_factorial(whole)
    close = log_(v * inverse / (a / (near * near) + b)) <= bound
    good = (k >= 0.0) & ((near >= 0.013) | (v <= near)) & close
    return whole.to(tl.int64), ((near >= 0.07) & (v <= accepted)) | good


@jit
def rejection_kernel(
    state, stride, parameters, out, errors, n, used,
    POISSON: tl.constexpr, LOG: tl.constexpr, ADVANCE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    seed, offset = read_state(state, stride)
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    x = tl.load(parameters + i, inside, 1.0).to(tl.float64)
    if POISSON:
        good = (x >= 0.0) & (x <= 4503599627370496.0)  # 2^52
    else:
        good = (x > 0.0) & (x < float("inf"))
    report(errors, inside & (good == 0), i, BAD)
    x = tl.where(good, x, 1.0)
    if POISSON:
        w0, w1, _, _ = attempt_of(seed, offset, i, 0)
        made = poisson_small(tl.where(x < 10.0, x, 0.0), wide(w0, w1))
        left = inside & (x >= 10.0)
        x = tl.where(left, x, 10.0)
    else:
        made = x * 0.0
        left = inside
    attempt = 0
    while tl.max(left.to(tl.int32)) != 0:
        w0, w1, w2, w3 = attempt_of(seed, offset, i, attempt)
        if POISSON:
            value, taken = poisson_attempt(x, w0, w1, w2, w3)
        else:
            value, taken = gamma_attempt(x, w0, w1, w2, w3, LOG)
        made = tl.where(left & taken, value, made)
        left = left & (taken == 0)
        attempt += 1
    tl.store(out + i, made.to(out.dtype.element_ty), inside)
    if ADVANCE:
        advance(state, stride, offset, used)


# ---- planning -----------------------------------------------------------------------------------------------------


def _formula(call: Call, kernel: Any, names: tuple[str, ...], doubles: bool) -> Program:
    out = call.outputs[0]
    assert out is not None
    wide = out.dtype is float64
    numbers = zip(names, call.params, strict=True)
    args = {name: F64(x) if wide or doubles else float(x) for name, x in numbers}
    return Program(draws(call, kernel, 1 + wide, accumulator(out.dtype), {**args, "LONG": wide}))


def exponential(call: Call) -> Program:
    """Launches of `exponential`."""
    return _formula(call, exponential_kernel, ("scale",), False)


def truncated_normal(call: Call) -> Program:
    """Launches of `truncated_normal`."""
    return _formula(call, truncated_kernel, ("mean", "deviation", "first", "width", "low", "high"), True)


def _rejection(call: Call, poisson: bool) -> Program:
    generator, parameters = call.inputs
    assert generator is not None and parameters is not None
    n, stride = parameters.size, generator.strides[0]
    if not n:
        return Program(())
    used, programs = blocks_used(n, 4), ceil_div(n, 128)
    args = {
        "state": In(0), "stride": stride, "parameters": In(1), "out": Out(0), "errors": Errors(), "n": n, "used": used,
        "POISSON": poisson, "LOG": not poisson and bool(call.params[0]), "ADVANCE": programs == 1, "BLOCK": 128,
    }  # fmt: skip
    launches = [Launch(rejection_kernel, (programs,), args, options=OPTIONS)]
    if programs > 1:
        moving = {"state": In(0), "stride": stride, "used": used}
        launches.append(Launch(advance_kernel, (1,), moving, num_warps=1))
    return Program(tuple(launches), contiguous=(1,))


def gamma(call: Call) -> Program:
    """Launches of `gamma`."""
    return _rejection(call, False)


def poisson(call: Call) -> Program:
    """Launches of `poisson`."""
    return _rejection(call, True)
