"""Dropout, forward and backward: the mask is drawn again in the backward pass from a copy of the state, never stored.

Bound by memory for 32-bit elements: one read, one write, 8 bytes; 15 integer instructions an element for its word take
about as long as the 4 bytes of a 16-bit element (see philox.py). A word is compared with round(p 2^32), as on the CPU:
the same mask, and the same bits but for the payload of a NaN.

Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from dlcore.dtypes import float64
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import F64, Call, In, Out, Program
from dlcore.kernels.random.philox import advance, draw, draws, is_whole, places, read_state


@jit
def kept(x, word, threshold, scale):
    wide: tl.constexpr = tl.float64 if x.dtype == tl.float64 else tl.float32
    return tl.where(word.to(tl.int64) >= threshold, x.to(wide) * scale, 0.0).to(x.dtype)


@jit
def dropout_kernel(
    state, stride, out, n, used, x, saved, threshold, scale, BLOCKS: tl.constexpr, ADVANCE: tl.constexpr
):
    seed, offset = read_state(state, stride)
    at = places(BLOCKS, 1)
    if is_whole(n, BLOCKS, 1):
        x0, x1, x2, x3 = tl.load(x + at), tl.load(x + at + 16), tl.load(x + at + 32), tl.load(x + at + 48)
        w0, w1, w2, w3 = draw(seed, offset, BLOCKS)
        tl.store(out + at, kept(x0, w0, threshold, scale))
        tl.store(out + at + 16, kept(x1, w1, threshold, scale))
        tl.store(out + at + 32, kept(x2, w2, threshold, scale))
        tl.store(out + at + 48, kept(x3, w3, threshold, scale))
    else:
        w0, w1, w2, w3 = draw(seed, offset, BLOCKS)
        tl.store(out + at, kept(tl.load(x + at, at < n), w0, threshold, scale), at < n)
        tl.store(out + at + 16, kept(tl.load(x + at + 16, at + 16 < n), w1, threshold, scale), at + 16 < n)
        tl.store(out + at + 32, kept(tl.load(x + at + 32, at + 32 < n), w2, threshold, scale), at + 32 < n)
        tl.store(out + at + 48, kept(tl.load(x + at + 48, at + 48 < n), w3, threshold, scale), at + 48 < n)
    if saved is not None:  # noqa: SIM102 (one is known at compile time)
        if tl.program_id(0) == 0:
            tl.store(saved, seed)
            tl.store(saved + 1, offset)
    if ADVANCE:
        advance(state, stride, offset, used)


# ---- planning -----------------------------------------------------------------------------------------------------


def dropout(call: Call) -> Program:
    """Launches of `dropout`."""
    return _planned(call, Out(1) if call.outputs[1] else None, True)


def dropout_backward(call: Call) -> Program:
    """Launches of `dropout_backward`."""
    return _planned(call, None, False)


def _planned(call: Call, saved: Out | None, moves: bool) -> Program:
    x = call.inputs[0]
    assert x is not None
    threshold, scale = call.params
    args = {
        "x": In(0),
        "saved": saved,
        "threshold": int(threshold),
        "scale": F64(scale) if x.dtype is float64 else float(scale),
    }
    launches = draws(call, dropout_kernel, 1, x.dtype, args, state=1, moves=moves)
    return Program(launches, contiguous=() if x.contiguous else (0,))
