"""Elman's recurrent layer, tanh or ReLU, in one direction over a whole sequence, and its gradient, one launch each.

2 T B H^2 FLOPs in each direction, on T B H gates and states. Bound by latency as the LSTM, of which see the head
(lstm.py) for how weights and states are kept.

Versions: unmeasured, not yet run on hardware. Registers and shared KiB, as in lstm.py, none with spills:
  sm_80   bf16 128 units 110, 36; 94, 36 (mma.sync); float32 128 units 128, 9; 124, 9
  sm_90   bf16 128 units 52, 36; 56, 40 (wgmma m64n16k16); 256 units, block by block 72, 16; 68, 16; float32 128 units
          110, 9; 96, 9; float64 136, 18; 128, 18
  sm_100  bf16 128 units 94, 40; 59, 48 (tcgen05); float32 128 units 110, 9; 92, 9
  sm_120  bf16 128 units 80, 36; 78, 36; 256 units, block by block 84, 8; 78, 8; float32 64 units 92, 5; 56, 5
"""

from __future__ import annotations

from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Call, Errors, Program
from dlcore.kernels.recurrent.steps import (
    inputs,
    layer_of,
    outputs,
    planned,
    product,
    read,
    shared,
    steps_of,
    tanh_of,
    view,
    weights_of,
    write,
)


@jit
def rnn_kernel(
    gates, w, h0, lengths, errors, y, h_n, state, steps, batch, RELU: tl.constexpr,
    H: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr, RESIDENT: tl.constexpr,
    REVERSE: tl.constexpr, FAST: tl.constexpr, PRECISION: tl.constexpr, C: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)[None, :]
    j = tl.arange(0, BLOCK_H)[:, None]
    inside, row = (j < H) & (b < batch), b.to(INDEX) * H
    n = steps_of(lengths, errors, b, batch, steps)
    h = read(h0, row + j, inside, C)
    w_h = None
    if RESIDENT:
        w_h = weights_of(w, 0, 0, H, BLOCK_H, BLOCK_H, False)
    for step in range(steps):
        t = step
        if REVERSE:
            t = steps - 1 - step
        out = t * tl.full((), batch * H, INDEX) + row + j
        place = row + step % 2 * tl.full((), batch * H, INDEX)
        shared(state, place + j, h, inside, RESIDENT)
        new = read(gates, out, inside, C)
        new = product(new, w_h, w, 0, h, state, place, b < batch, H, BLOCK_K, False, PRECISION)
        if RELU:
            new = tl.where(new < 0, 0, new)  # NaN passes through
        else:
            new = tanh_of(new, FAST)
        there = t < n
        h = tl.where(there, new, h)
        tl.store(y + out, tl.where(there, new, 0).to(y.dtype.element_ty), inside)
    tl.store(h_n + row + j, h.to(h_n.dtype.element_ty), inside)


@jit
def rnn_backward_kernel(
    dy, dh_n, w, lengths, y, dgates, dh0, state, steps, batch, RELU: tl.constexpr,
    H: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr, RESIDENT: tl.constexpr,
    REVERSE: tl.constexpr, FAST: tl.constexpr, PRECISION: tl.constexpr, C: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)[None, :]
    j = tl.arange(0, BLOCK_H)[:, None]
    inside, row = (j < H) & (b < batch), b.to(INDEX) * H
    n = steps_of(lengths, None, b, batch, steps)
    dh = read(dh_n, row + j, inside, C)
    w_h = None
    if RESIDENT:
        w_h = weights_of(w, 0, 0, H, BLOCK_H, BLOCK_H, True)
    for step in range(steps):
        t = steps - 1 - step
        if REVERSE:
            t = step
        out = t * tl.full((), batch * H, INDEX) + row + j
        there = inside & (t < n)
        h = read(y, out, inside, C)
        arrived = dh + read(dy, out, inside, C)
        if RELU:
            made = tl.where(h > 0, arrived, 0)
        else:
            made = arrived * (1 - h * h)
        made = tl.where(there, made, 0)
        write(dgates, out, made, inside)
        place = row + step % 2 * tl.full((), batch * H, INDEX)
        shared(state, place + j, made, inside, RESIDENT)
        back = tl.zeros((BLOCK_H, BLOCK_B), C)
        back = product(back, w_h, w, 0, made, state, place, b < batch, H, BLOCK_K, True, PRECISION)
        dh = tl.where(there, back, dh)
    write(dh0, row + j, dh, inside)


# ---- planners -----------------------------------------------------------------------------------------------------
def rnn_forward(call: Call) -> Program:
    """The program of rnn_forward."""
    gates, relu = view(call.inputs, 0), bool(call.params[0])
    layer = layer_of(*gates.shape, 1, gates.dtype, bool(call.params[1]), call.arch)
    operands = {**inputs(call, "gates w h0 lengths"), **outputs(call, "y h_n"), "errors": Errors(), "RELU": relu}
    return planned(call, rnn_kernel, layer, 1, operands)


def rnn_backward(call: Call) -> Program:
    """The program of rnn_backward."""
    y, relu = view(call.inputs, 4), bool(call.params[0])
    layer = layer_of(*y.shape, 1, y.dtype, bool(call.params[1]), call.arch, True)
    operands = {**inputs(call, "dy dh_n w lengths y"), **outputs(call, "dgates dh0"), "RELU": relu}
    return planned(call, rnn_backward_kernel, layer, 1, operands)
