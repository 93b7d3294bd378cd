"""Maxima and means of windows over one to three axes, and their gradients, each by one element a lane.

Bound by memory where windows are small: max_pool of 2 by 2 in float32 reads 16 bytes an output and writes 5, its
gradient reads 5 for four elements and writes 16. Windows that overlap are read again from L1 and L2. A lane computes
one output: it walks through the positions of its window (a loop unrolled up to 16 of them), found from the output's
number by divisions. In NHWC neighbouring lanes are channels, in NCHW places in a row, so that both read whole lines at
stride 1 and half of them at stride 2.

Gradients gather: the lane of an element of the input walks through the windows that may hold it, in the order of the
positions, and adds what it finds there, of maxima where the byte that the forward pass kept says that position. There
are no atomics, and the order is fixed. An axis of kernel 0 has adaptive windows, whose ends are computed.

1-d and 2-d operands are led by axes of length 1, which cost nothing: their lengths are compiled in. Large windows
(the maximum of whole planes) are one lane's work each and slow. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dlcore.kernels.common.math import divide
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Call, In, Launch, Out, Program, View, accumulator, ceil_div, index_dtype

__all__ = ["avg_pool", "avg_pool_backward", "max_pool", "max_pool_at", "max_pool_backward", "max_pool_indices"]

BLOCK = 512
UNROLLED = 16  # positions


@jit
def split(i, d, h, w, inner):
    """(plane, places along three axes, channel) of elements numbered i of (planes, d, h, w, inner)."""
    t = i // inner
    u = t // w
    v = u // h
    return v // d, v % d, u % h, t % w, i % inner


@jit
def start_of(o, n, size, STRIDE: tl.constexpr, BEFORE: tl.constexpr, KERNEL: tl.constexpr):
    """Where window o of `size` begins on an axis of n elements."""
    if KERNEL == 0:
        return (o.to(tl.int64) * n // size).to(o.dtype)
    else:
        return o * STRIDE - BEFORE


@jit
def element_of(o, k, n, size, KERNEL: tl.constexpr, STRIDE: tl.constexpr, BEFORE: tl.constexpr, DILATION: tl.constexpr):
    """(element at position k of window o, whether it is in the input and the window)."""
    start = start_of(o, n, size, STRIDE, BEFORE, KERNEL)
    if KERNEL == 0:
        end = ((o.to(tl.int64) + 1) * n + size - 1) // size
        return start + k, start + k < end
    else:
        e = start + k * DILATION
        return e, (e >= 0) & (e < n)


@jit
def elements_of(o, n, size, KERNEL: tl.constexpr, STRIDE: tl.constexpr, BEFORE: tl.constexpr, PADDING: tl.constexpr):
    """How many elements window o has along an axis; with PADDING, those of the padding too."""
    start = start_of(o, n, size, STRIDE, BEFORE, KERNEL)
    if KERNEL == 0:
        return (((o.to(tl.int64) + 1) * n + size - 1) // size).to(o.dtype) - start
    elif PADDING:
        return tl.minimum(start + KERNEL, n + BEFORE) - start
    else:
        return tl.minimum(start + KERNEL, n) - tl.maximum(start, 0)


@jit
def window_of(
    i, j, n, size, KERNEL: tl.constexpr, STRIDE: tl.constexpr, BEFORE: tl.constexpr, DILATION: tl.constexpr
):
    """(the window j before the last that may hold element i, the element's position, whether it is in there)."""
    if KERNEL == 0:
        o = ((((i.to(tl.int64) + 1) * size + n - 1) // n) - 1 - j).to(i.dtype)
        k = i - (o.to(tl.int64) * n // size).to(i.dtype)
        end = ((o.to(tl.int64) + 1) * n + size - 1) // size
        return o, k, (o >= 0) & (o < size) & (k >= 0) & (i < end)
    else:
        o = (i + BEFORE) // STRIDE - j
        reach = i + BEFORE - o * STRIDE
        k = reach // DILATION
        return o, k, (o >= 0) & (o < size) & (reach % DILATION == 0) & (k < KERNEL)


@jit
def max_kernel(
    x, out, places, indices, total, inner, d, h, w, od, oh, ow,
    KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SD: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PD: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr, DD: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    ND: tl.constexpr, NH: tl.constexpr, NW: tl.constexpr, LOWEST: tl.constexpr, ACC: tl.constexpr,
    INDEX: tl.constexpr, UNROLL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(INDEX) * BLOCK + tl.arange(0, BLOCK)
    inside = i < total
    plane, a, b, c, channel = split(i, od, oh, ow, inner)
    best = tl.full((BLOCK,), LOWEST, ACC)
    at = tl.zeros((BLOCK,), tl.int32)
    flat = tl.full((BLOCK,), -1, tl.int64)
    found = tl.zeros((BLOCK,), tl.int1)
    if UNROLL:
        for k in tl.static_range(ND * NH * NW):
            e, in_d = element_of(a, k // (NH * NW), d, od, KD, SD, PD, DD)
            f, in_h = element_of(b, k // NW % NH, h, oh, KH, SH, PH, DH)
            g, in_w = element_of(c, k % NW, w, ow, KW, SW, PW, DW)
            there = inside & in_d & in_h & in_w
            place = (e.to(tl.int64) * h + f) * w + g
            v = tl.load(x + ((plane.to(tl.int64) * d * h * w) + place) * inner + channel, there, LOWEST).to(ACC)
            better = there & ((v > best) | (v != v) | (found == 0))
            best, at, flat = tl.where(better, v, best), tl.where(better, k, at), tl.where(better, place, flat)
            found |= there
    else:
        for k in range(ND * NH * NW):
            e, in_d = element_of(a, k // (NH * NW), d, od, KD, SD, PD, DD)
            f, in_h = element_of(b, k // NW % NH, h, oh, KH, SH, PH, DH)
            g, in_w = element_of(c, k % NW, w, ow, KW, SW, PW, DW)
            there = inside & in_d & in_h & in_w
            place = (e.to(tl.int64) * h + f) * w + g
            v = tl.load(x + ((plane.to(tl.int64) * d * h * w) + place) * inner + channel, there, LOWEST).to(ACC)
            better = there & ((v > best) | (v != v) | (found == 0))
            best, at, flat = tl.where(better, v, best), tl.where(better, k, at), tl.where(better, place, flat)
            found |= there
    tl.store(out + i, best.to(out.dtype.element_ty), inside)
    if places is not None:
        tl.store(places + i, at.to(places.dtype.element_ty), inside)
    if indices is not None:
        tl.store(indices + i, flat, inside)


@jit
def at_kernel(
    x, places, out, total, inner, d, h, w, od, oh, ow,
    KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SD: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PD: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr, DD: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    ND: tl.constexpr, NH: tl.constexpr, NW: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(INDEX) * BLOCK + tl.arange(0, BLOCK)
    inside = i < total
    plane, a, b, c, channel = split(i, od, oh, ow, inner)
    k = tl.load(places + i, inside, 0).to(tl.int32)
    e, in_d = element_of(a, k // (NH * NW), d, od, KD, SD, PD, DD)
    f, in_h = element_of(b, k // NW % NH, h, oh, KH, SH, PH, DH)
    g, in_w = element_of(c, k % NW, w, ow, KW, SW, PW, DW)
    there = inside & in_d & in_h & in_w
    place = ((plane.to(tl.int64) * d + e) * h + f) * w + g
    tl.store(out + i, tl.load(x + place * inner + channel, there, 0), inside)


@jit
def mean_kernel(
    x, out, total, inner, d, h, w, od, oh, ow, divisor,
    KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SD: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PD: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr, DD: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    ND: tl.constexpr, NH: tl.constexpr, NW: tl.constexpr, PADDING: tl.constexpr, FIXED: tl.constexpr,
    ACC: tl.constexpr, INDEX: tl.constexpr, UNROLL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(INDEX) * BLOCK + tl.arange(0, BLOCK)
    inside = i < total
    plane, a, b, c, channel = split(i, od, oh, ow, inner)
    total_of = tl.zeros((BLOCK,), ACC)
    if UNROLL:
        for k in tl.static_range(ND * NH * NW):
            e, in_d = element_of(a, k // (NH * NW), d, od, KD, SD, PD, DD)
            f, in_h = element_of(b, k // NW % NH, h, oh, KH, SH, PH, DH)
            g, in_w = element_of(c, k % NW, w, ow, KW, SW, PW, DW)
            place = ((plane.to(tl.int64) * d + e) * h + f) * w + g
            total_of += tl.load(x + place * inner + channel, inside & in_d & in_h & in_w, 0).to(ACC)
    else:
        for k in range(ND * NH * NW):
            e, in_d = element_of(a, k // (NH * NW), d, od, KD, SD, PD, DD)
            f, in_h = element_of(b, k // NW % NH, h, oh, KH, SH, PH, DH)
            g, in_w = element_of(c, k % NW, w, ow, KW, SW, PW, DW)
            place = ((plane.to(tl.int64) * d + e) * h + f) * w + g
            total_of += tl.load(x + place * inner + channel, inside & in_d & in_h & in_w, 0).to(ACC)
    if FIXED:
        by = tl.zeros((BLOCK,), tl.int64) + divisor
    else:
        by = elements_of(a, d, od, KD, SD, PD, PADDING).to(tl.int64) * elements_of(b, h, oh, KH, SH, PH, PADDING)
        by *= elements_of(c, w, ow, KW, SW, PW, PADDING)
    tl.store(out + i, quotient(total_of, by).to(out.dtype.element_ty), inside)


@jit
def quotient(a, b):
    """a / b; of integers truncated."""
    if a.dtype.is_floating():
        return divide(a, b.to(a.dtype))
    else:
        size = tl.abs(a) // tl.where(b == 0, 1, tl.abs(b))
        return tl.where((a < 0) != (b < 0), -size, size)


@jit
def back_kernel(
    dout, places, maxima, dx, total, inner, d, h, w, od, oh, ow, divisor,
    KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SD: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PD: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr, DD: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    ND: tl.constexpr, NH: tl.constexpr, NW: tl.constexpr, MD: tl.constexpr, MH: tl.constexpr, MW: tl.constexpr,
    PADDING: tl.constexpr, FIXED: tl.constexpr, ACC: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(INDEX) * BLOCK + tl.arange(0, BLOCK)
    inside = i < total
    plane, a, b, c, channel = split(i, d, h, w, inner)
    found = tl.zeros((BLOCK,), ACC)
    for j in range(MD * MH * MW):  # windows that begin later hold it at an earlier position
        e, p, in_d = window_of(a, j // (MH * MW), d, od, KD, SD, PD, DD)
        f, q, in_h = window_of(b, j // MW % MH, h, oh, KH, SH, PH, DH)
        g, r, in_w = window_of(c, j % MW, w, ow, KW, SW, PW, DW)
        there = inside & in_d & in_h & in_w
        at = (((plane.to(tl.int64) * od + e) * oh + f) * ow + g) * inner + channel
        if places is not None:
            there &= tl.load(places + at, there, 0).to(tl.int32) == (p * NH + q) * NW + r
            if maxima is not None:
                there &= (tl.load(maxima + at, there, 0).to(ACC) <= 0) == 0  # where it is NaN, too
            found += tl.load(dout + at, there, 0).to(ACC)
        else:
            v = tl.load(dout + at, there, 0).to(ACC)
            if FIXED:
                by = tl.zeros((BLOCK,), tl.int64) + divisor
            else:
                by = elements_of(e, d, od, KD, SD, PD, PADDING).to(tl.int64)
                by *= elements_of(f, h, oh, KH, SH, PH, PADDING)
                by *= elements_of(g, w, ow, KW, SW, PW, PADDING)
            found += divide(v, tl.where(there, by, 1).to(ACC))
    tl.store(dx + i, found.to(dx.dtype.element_ty), inside)


# ---- planners -------------------------------------------------------------------------------------------------------


class Windows:
    """What kernels are told of the windows of a call: `x` and `out` are of the forward pass."""

    def __init__(self, call: Call, x: View, out: View):
        params, space = [int(p) for p in call.params], len(x.shape) - 2
        last = params[0] == 1
        self.rest = params[1 + 4 * space :]
        lengths = [v.shape[1:-1] if last else v.shape[2:] for v in (x, out)]
        numbers = [params[1 + k * space : 1 + (k + 1) * space] for k in range(4)]
        lead = 3 - space
        self.n, self.size = ((*[1] * lead, *v) for v in lengths)
        self.kernel, self.stride, self.before, self.dilation = (
            (*[neutral] * lead, *v) for v, neutral in zip(numbers, (1, 1, 0, 1), strict=True)
        )
        self.inner = x.shape[-1] if last else 1

    @property
    def widest(self) -> tuple[int, ...]:
        """Positions along each axis."""
        axes = zip(self.kernel, self.n, self.size, strict=True)
        return tuple(k or (n // o if n % o == 0 else min(n, n // o + 2)) for k, n, o in axes)

    @property
    def meeting(self) -> tuple[int, ...]:
        """Windows that may hold an element, along each axis."""
        axes = zip(self.kernel, self.stride, self.dilation, self.n, self.size, strict=True)
        return tuple(ceil_div((k - 1) * d + 1, s) if k else ceil_div(o, n) + 1 for k, s, d, n, o in axes)

    def args(self, total: int, reach: int) -> dict[str, Any]:
        """Lengths and numbers of the windows for a kernel of ``total`` lanes."""
        found: dict[str, Any] = {"total": total, "inner": self.inner}
        found |= dict(zip(("d", "h", "w", "od", "oh", "ow"), (*self.n, *self.size), strict=True))
        for letter, values in zip("KSPD", (self.kernel, self.stride, self.before, self.dilation), strict=True):
            found |= {letter + axis: v for axis, v in zip("DHW", values, strict=True)}
        found |= {f"N{axis}": v for axis, v in zip("DHW", self.widest, strict=True)}
        return found | {"INDEX": index_dtype(reach), "BLOCK": BLOCK}

    @property
    def unrolled(self) -> bool:
        """Whether the loop over positions is."""
        return int(np.prod(self.widest)) <= UNROLLED


def _launch(kernel: Any, total: int, args: dict[str, Any], contiguous: tuple[int, ...]) -> Program:
    return Program((Launch(kernel, (ceil_div(total, BLOCK),), args),), (), contiguous)


def _max(call: Call, places: int, indices: int | None) -> Program:
    x, out = call.inputs[0], call.outputs[0]
    assert x is not None and out is not None
    if out.size == 0:
        return Program(())
    windows, is_float = Windows(call, x, out), x.dtype.is_float
    kept = Out(places) if call.outputs[places] is not None else None
    args = {
        "x": In(0), "out": Out(0), "places": kept, "indices": None if indices is None else Out(indices),
        **windows.args(out.size, max(x.size, out.size)), "UNROLL": windows.unrolled,
        "ACC": accumulator(x.dtype) if is_float else x.dtype,
        "LOWEST": -np.inf if is_float else int(np.iinfo(x.dtype.numpy).min),
    }  # fmt: skip
    return _launch(max_kernel, out.size, args, (0,))


def max_pool(call: Call) -> Program:
    """out = the maxima of windows, and their positions where asked for."""
    return _max(call, 1, None)


def max_pool_indices(call: Call) -> Program:
    """The same, and flat indices in space."""
    return _max(call, 2, 1)


def max_pool_at(call: Call) -> Program:
    """out = the elements of x at the positions that places say."""
    x, out = call.inputs[0], call.outputs[0]
    assert x is not None and out is not None
    if out.size == 0:
        return Program(())
    windows = Windows(call, x, out).args(out.size, max(x.size, out.size))
    return _launch(at_kernel, out.size, {"x": In(0), "places": In(1), "out": Out(0), **windows}, (0, 1))


def _back(call: Call, places: In | None, maxima: In | None) -> Program:
    dout, dx = call.inputs[0], call.outputs[0]
    assert dout is not None and dx is not None
    if dx.size == 0:
        return Program(())
    windows = Windows(call, dx, dout)
    if dout.size == 0:  # no windows: one that is empty has no widest
        windows.size = tuple(max(n, 1) for n in windows.size)
    meeting = {f"M{axis}": 0 if dout.size == 0 else v for axis, v in zip("DHW", windows.meeting, strict=True)}
    padding, divisor = (1, 0) if places else windows.rest
    args = {
        "dout": In(0), "places": places, "maxima": maxima, "dx": Out(0),
        **windows.args(dx.size, max(dx.size, dout.size)), **meeting,
        "divisor": divisor, "PADDING": bool(padding), "FIXED": divisor != 0, "ACC": accumulator(dout.dtype),
    }  # fmt: skip
    return _launch(back_kernel, dx.size, args, tuple(range(len(call.inputs))))


def max_pool_backward(call: Call) -> Program:
    """dx = the sums of dout over the windows whose maximum an element is, where asked for only if it is above 0."""
    return _back(call, In(1), None if call.inputs[2] is None else In(2))


def avg_pool_backward(call: Call) -> Program:
    """dx = the sums of dout, divided, over the windows that hold an element."""
    return _back(call, None, None)


def avg_pool(call: Call) -> Program:
    """out = the means of windows."""
    x, out = call.inputs[0], call.outputs[0]
    assert x is not None and out is not None
    if out.size == 0:
        return Program(())
    windows = Windows(call, x, out)
    padding, divisor = windows.rest
    args = {
        "x": In(0), "out": Out(0), **windows.args(out.size, max(x.size, out.size)), "divisor": divisor,
        "PADDING": bool(padding), "FIXED": divisor != 0, "UNROLL": windows.unrolled,
        "ACC": accumulator(x.dtype) if x.dtype.is_float else x.dtype,
    }  # fmt: skip
    return _launch(mean_kernel, out.size, args, (0,))
