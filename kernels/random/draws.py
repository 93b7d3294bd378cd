"""Random tensors: uniform, normal, integers, masks. Words and state: see philox.py.

Bound by memory for 32 bits an element and more (a write, nothing read but the state); uniforms of 16 bits about equally
by integer arithmetic, normals by arithmetic: per pair a logarithm, a division, a root, sine and cosine, some 90
float32 instructions. All have the CPU's bits: exact operations, or its polynomials with its fused multiply-adds.

Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from dlcore.dtypes import DType, bfloat16, float16, float32, float64
from dlcore.kernels.common.math import at_most, bits_of, log_reduced, of_bits, poly, root, split_exponent
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import F64, Call, In, Launch, Out, Program, accumulator
from dlcore.kernels.random.philox import (
    advance,
    draw,
    draws,
    is_whole,
    long_word,
    places,
    put_four,
    put_two,
    read_state,
)  # fmt: skip

# ---- device -------------------------------------------------------------------------------------------------------


@jit
def scaled(word, low, width, last, BITS: tl.constexpr):
    u = (word >> (32 - BITS)).to(tl.int32).to(tl.float32) * (1.0 / (1 << BITS))
    return at_most(low + width * u, last)


@jit
def scaled_long(low_word, high_word, low, width, last):
    u = (long_word(low_word, high_word) >> 11).to(tl.int64).to(tl.float64) * 1.1102230246251565e-16  # 2^-53
    return at_most(low + width * u, last)


@jit
def uniform_kernel(
    state, stride, out, n, used, low, high, last,
    BITS: tl.constexpr, BLOCKS: tl.constexpr, ADVANCE: tl.constexpr,
):  # fmt: skip
    seed, offset = read_state(state, stride)
    w0, w1, w2, w3 = draw(seed, offset, BLOCKS)
    width = high - low
    if BITS == 53:
        at = places(BLOCKS, 2)
        x0 = scaled_long(w0, w1, low, width, last)
        x1 = scaled_long(w2, w3, low, width, last)
        put_two(out, at, x0, x1, n, is_whole(n, BLOCKS, 2))
    else:
        at = places(BLOCKS, 1)
        x0 = scaled(w0, low, width, last, BITS).to(out.dtype.element_ty)
        x1 = scaled(w1, low, width, last, BITS).to(out.dtype.element_ty)
        x2 = scaled(w2, low, width, last, BITS).to(out.dtype.element_ty)
        x3 = scaled(w3, low, width, last, BITS).to(out.dtype.element_ty)
        put_four(out, at, x0, x1, x2, x3, n, is_whole(n, BLOCKS, 1))
    if ADVANCE:
        advance(state, stride, offset, used)


@jit
def circle(x):
    """(cos 2 pi x, sin 2 pi x), 0 <= x < 1."""
    wide: tl.constexpr = x.dtype == tl.float64
    magic: tl.constexpr = 6755399441055744.0 if wide else 12582912.0  # x + this: rounded, the integer in the low bits
    rounded = tl.fma(x, 4.0, magic)
    r = tl.fma(rounded - magic, -0.25, x)
    z = r * r
    if wide:
        s = r * poly(z, (6.283185307179586, -41.341702240399634, 81.60524927594453, -76.70585970331943,
                         42.05868490239031, -15.093797515564116, 3.780726239391256))  # fmt: skip
        c = tl.fma(z, poly(z, (-19.739208802178716, 64.93939402266807, -85.45681720655122, 60.244641332388106,
                               -26.42625110916204, 7.903095982069222, -1.6968500209636137)), 1.0)  # fmt: skip
    else:
        s = r * poly(z, (6.2831855, -41.341663, 81.592354, -75.39357))
        c = tl.fma(z, poly(z, (-19.739208, 64.93932, -85.443245, 59.220287)), 1.0)
    n = bits_of(rounded)
    top: tl.constexpr = 62 if wide else 30
    sine = tl.where((n & 1) != 0, c, s)
    cosine = tl.where((n & 1) != 0, s, c)
    return of_bits(bits_of(cosine) ^ (((n + 1) & 2) << top)), of_bits(bits_of(sine) ^ ((n & 2) << top))


@jit
def box_muller(u, v, mean, deviation):
    m, e = split_exponent(u)
    r = root(-2.0 * log_reduced(m - 1.0, e)) * deviation
    cosine, sine = circle(v)
    return r * cosine + mean, r * sine + mean


@jit
def normal_pair(first, second, mean, deviation):
    # All 32 bits of u, though float32 holds 24: small u are the tail, which reaches 6.6 deviations.
    u = first.to(tl.float32) * 2.3283064365386963e-10 + 1.1641532182693481e-10  # 2^-32, 2^-33
    v = (second >> 8).to(tl.int32).to(tl.float32) * 5.9604644775390625e-08  # 2^-24
    return box_muller(u, v, mean, deviation)


@jit
def normal_kernel(
    state, stride, out, n, used, mean, deviation,
    LONG: tl.constexpr, BLOCKS: tl.constexpr, ADVANCE: tl.constexpr,
):  # fmt: skip
    seed, offset = read_state(state, stride)
    w0, w1, w2, w3 = draw(seed, offset, BLOCKS)
    if LONG:
        at = places(BLOCKS, 2)
        u = ((long_word(w0, w1) >> 11).to(tl.int64) + 1).to(tl.float64) * 1.1102230246251565e-16
        v = (long_word(w2, w3) >> 11).to(tl.int64).to(tl.float64) * 1.1102230246251565e-16
        x0, x1 = box_muller(u, v, mean, deviation)
        put_two(out, at, x0, x1, n, is_whole(n, BLOCKS, 2))
    else:
        at = places(BLOCKS, 1)
        x0, x1 = normal_pair(w0, w1, mean, deviation)
        x2, x3 = normal_pair(w2, w3, mean, deviation)
        to: tl.constexpr = out.dtype.element_ty
        put_four(out, at, x0.to(to), x1.to(to), x2.to(to), x3.to(to), n, is_whole(n, BLOCKS, 1))
    if ADVANCE:
        advance(state, stride, offset, used)


@jit
def below(word, low, span, ALL: tl.constexpr):
    """low + floor(span word / 2^64), modulo 2^64; ALL: span is 2^64."""
    if ALL:
        return word.to(tl.int64) + low
    else:
        return tl.umulhi(word, tl.full(word.shape, span, tl.int64).to(tl.uint64)).to(tl.int64) + low


@jit
def randint_kernel(
    state, stride, out, n, used, low, span,
    ALL: tl.constexpr, BLOCKS: tl.constexpr, ADVANCE: tl.constexpr,
):  # fmt: skip
    seed, offset = read_state(state, stride)
    w0, w1, w2, w3 = draw(seed, offset, BLOCKS)
    at = places(BLOCKS, 2)
    x0 = below(long_word(w0, w1), low, span, ALL).to(out.dtype.element_ty)
    x1 = below(long_word(w2, w3), low, span, ALL).to(out.dtype.element_ty)
    put_two(out, at, x0, x1, n, is_whole(n, BLOCKS, 2))
    if ADVANCE:
        advance(state, stride, offset, used)


@jit
def bernoulli_kernel(state, stride, out, n, used, threshold, BLOCKS: tl.constexpr, ADVANCE: tl.constexpr):
    seed, offset = read_state(state, stride)
    w0, w1, w2, w3 = draw(seed, offset, BLOCKS)
    at = places(BLOCKS, 1)  # threshold is 2^32 at most: compared as int64
    x0, x1 = w0.to(tl.int64) < threshold, w1.to(tl.int64) < threshold
    x2, x3 = w2.to(tl.int64) < threshold, w3.to(tl.int64) < threshold
    put_four(out, at, x0, x1, x2, x3, n, is_whole(n, BLOCKS, 1))
    if ADVANCE:
        advance(state, stride, offset, used)


@jit
def reserve_kernel(state, stride, saved, used):
    seed, offset = read_state(state, stride)
    tl.store(saved, seed)
    tl.store(saved + 1, offset)
    advance(state, stride, offset, used)


# ---- planning -----------------------------------------------------------------------------------------------------

BITS = {float16: 11, bfloat16: 8, float32: 24, float64: 53}


def _dtype(call: Call) -> DType:
    out = call.outputs[0]
    assert out is not None
    return out.dtype


def uniform(call: Call) -> Program:
    """Launches of `uniform`."""
    dtype = _dtype(call)
    wide = dtype is float64
    numbers = zip(("low", "high", "last"), call.params, strict=True)
    args = {name: F64(x) if wide else float(x) for name, x in numbers}
    return Program(draws(call, uniform_kernel, 1 + wide, dtype, {**args, "BITS": BITS[dtype]}))


def normal(call: Call) -> Program:
    """Launches of `normal`."""
    dtype = _dtype(call)
    wide = dtype is float64
    args = {name: F64(x) if wide else float(x) for name, x in zip(("mean", "deviation"), call.params, strict=True)}
    sized = accumulator(dtype)  # 16-bit outputs too: twice as many numbers a thread take 125 registers
    return Program(draws(call, normal_kernel, 1 + wide, sized, {**args, "LONG": wide}))


def randint(call: Call) -> Program:
    """Launches of `randint`."""
    low, span = map(int, call.params)
    args = {"low": low, "span": span, "ALL": span == 0}
    return Program(draws(call, randint_kernel, 2, _dtype(call), args))


def bernoulli(call: Call) -> Program:
    """Launches of `bernoulli`."""
    return Program(draws(call, bernoulli_kernel, 1, _dtype(call), {"threshold": int(call.params[0])}))


def reserve(call: Call) -> Program:
    """Launches of `reserve`."""
    state = call.inputs[0]
    assert state is not None
    args = {"state": In(0), "stride": state.strides[0], "saved": Out(0), "used": int(call.params[0])}
    return Program((Launch(reserve_kernel, (1,), args, num_warps=1),))
