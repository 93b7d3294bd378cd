"""GRU: one layer in one direction over a whole sequence, and its gradient, one launch each.

6 T B H^2 FLOPs in each direction, on 3 T B H gates and, for a gradient, 4 T B H numbers of 4 bytes. Bound by latency as
the LSTM, of which see the head (lstm.py) for how weights and states are kept.

Versions: unmeasured, not yet run on hardware. Registers and shared KiB, as in lstm.py, none with spills:
  sm_80   bf16 128 units 126, 104; 169, 140 (mma.sync); float32 128 units 254, 9; 226, 9
  sm_90   bf16 64 units 96, 30; 122, 50; 128 units 101, 108; 127, 148 (wgmma m64n16k16); 256 units, block by block 176,
          16; 217, 16; float32 128 units 250, 9; 236, 9; float64 217, 18; 239, 18
  sm_100  bf16 64 units 96, 32; 128, 52; 128 units 167, 108; 156, 152 (tcgen05); float32 128 units 240, 9; 240, 9
  sm_120  bf16 64 units 96, 28; 142, 46; 128 units, block by block 136, 9; 126, 9; 256 units 182, 16; 216, 16
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
    sigmoid_of,
    steps_of,
    tanh_of,
    view,
    weights_of,
    write,
)


@jit
def bias_of(b_hh, gate, j, H: tl.constexpr, BLOCK_B: tl.constexpr, C: tl.constexpr):
    """A gate's bias for all rows."""
    found = tl.zeros((j.shape[0], BLOCK_B), C)
    if b_hh is not None:
        found += tl.load(b_hh + gate * H + j, j < H, 0).to(C)
    return found


@jit
def gru_kernel(
    gates, w, b_hh, h0, lengths, errors, y, h_n, activated, state, steps, batch,
    H: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr, RESIDENT: tl.constexpr,
    REVERSE: tl.constexpr, FAST: tl.constexpr, PRECISION: tl.constexpr, C: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)[None, :]
    j = tl.arange(0, BLOCK_H)[:, None]
    inside, row = (j < H) & (b < batch), b.to(INDEX) * H
    n = steps_of(lengths, errors, b, batch, steps)
    h = read(h0, row + j, inside, C)
    w_r, w_z, w_n = None, None, None
    if RESIDENT:
        w_r = weights_of(w, 0, 0, H, BLOCK_H, BLOCK_H, False)
        w_z = weights_of(w, 1, 0, H, BLOCK_H, BLOCK_H, False)
        w_n = weights_of(w, 2, 0, H, BLOCK_H, BLOCK_H, False)
    for step in range(steps):
        t = step
        if REVERSE:
            t = steps - 1 - step
        at = (t * tl.full((), batch * 3 * H, INDEX) + row * 3) + j
        place = row + step % 2 * tl.full((), batch * H, INDEX)
        shared(state, place + j, h, inside, RESIDENT)
        r = read(gates, at, inside, C) + bias_of(b_hh, 0, j, H, BLOCK_B, C)
        z = read(gates, at + H, inside, C) + bias_of(b_hh, 1, j, H, BLOCK_B, C)
        new, hidden = read(gates, at + 2 * H, inside, C), bias_of(b_hh, 2, j, H, BLOCK_B, C)
        r = sigmoid_of(product(r, w_r, w, 0, h, state, place, b < batch, H, BLOCK_K, False, PRECISION), FAST)
        z = sigmoid_of(product(z, w_z, w, 1, h, state, place, b < batch, H, BLOCK_K, False, PRECISION), FAST)
        hidden = product(hidden, w_n, w, 2, h, state, place, b < batch, H, BLOCK_K, False, PRECISION)
        new = tanh_of(new + r * hidden, FAST)
        out = t * tl.full((), batch * H, INDEX) + row + j
        kept = t * tl.full((), batch * 4 * H, INDEX) + row * 4 + j
        write(activated, kept, r, inside)
        write(activated, kept + H, z, inside)
        write(activated, kept + 2 * H, new, inside)
        write(activated, kept + 3 * H, hidden, inside)
        there = t < n
        new = new + z * (h - new)
        h = tl.where(there, new, h)
        tl.store(y + out, tl.where(there, new, 0).to(y.dtype.element_ty), inside)
    tl.store(h_n + row + j, h.to(h_n.dtype.element_ty), inside)


@jit
def gru_backward_kernel(
    dy, dh_n, w, h0, lengths, y, activated, dgates, dh0, dhidden, state, steps, batch,
    H: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr, RESIDENT: tl.constexpr,
    REVERSE: tl.constexpr, FAST: tl.constexpr, PRECISION: tl.constexpr, C: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)[None, :]
    j = tl.arange(0, BLOCK_H)[:, None]
    inside, row = (j < H) & (b < batch), b.to(INDEX) * H
    n = steps_of(lengths, None, b, batch, steps)
    dh, first = read(dh_n, row + j, inside, C), read(h0, row + j, inside, C)
    w_r, w_z, w_n = None, None, None
    if RESIDENT:
        w_r = weights_of(w, 0, 0, H, BLOCK_H, BLOCK_H, True)
        w_z = weights_of(w, 1, 0, H, BLOCK_H, BLOCK_H, True)
        w_n = weights_of(w, 2, 0, H, BLOCK_H, BLOCK_H, True)
    for step in range(steps):
        t, before = steps - 1 - step, steps - 2 - step
        if REVERSE:
            t, before = step, step + 1
        at = (t * tl.full((), batch * 3 * H, INDEX) + row * 3) + j
        out = t * tl.full((), batch * H, INDEX) + row + j
        kept = t * tl.full((), batch * 4 * H, INDEX) + row * 4 + j
        there = inside & (t < n)
        r, z = read(activated, kept, inside, C), read(activated, kept + H, inside, C)
        new, hidden = read(activated, kept + 2 * H, inside, C), read(activated, kept + 3 * H, inside, C)
        begun = there & (step + 1 < steps) & (before < n)  # else the step before is the one to begin with
        h = tl.where(begun, read(y, before * tl.full((), batch * H, INDEX) + row + j, begun, C), first)
        arrived = dh + read(dy, out, inside, C)
        to_new = arrived * (1 - z) * (1 - new * new)
        to_z = arrived * (h - new) * (z * (1 - z))
        to_r = to_new * hidden * (r * (1 - r))
        to_new, to_z, to_r = tl.where(there, to_new, 0), tl.where(there, to_z, 0), tl.where(there, to_r, 0)
        to_hidden = to_new * r
        write(dgates, at, to_r, inside)
        write(dgates, at + H, to_z, inside)
        write(dgates, at + 2 * H, to_new, inside)
        write(dhidden, out, to_hidden, inside)
        place = (row + step % 2 * tl.full((), batch * H, INDEX)) * 3
        if not RESIDENT:
            tl.store(state + place + j, to_r.to(state.dtype.element_ty), inside)
            tl.store(state + place + H + j, to_z.to(state.dtype.element_ty), inside)
        shared(state, place + 2 * H + j, to_hidden, inside, RESIDENT)
        back = arrived * z
        back = product(back, w_r, w, 0, to_r, state, place, b < batch, H, BLOCK_K, True, PRECISION)
        back = product(back, w_z, w, 1, to_z, state, place + H, b < batch, H, BLOCK_K, True, PRECISION)
        back = product(back, w_n, w, 2, to_hidden, state, place + 2 * H, b < batch, H, BLOCK_K, True, PRECISION)
        dh = tl.where(there, back, dh)
    write(dh0, row + j, dh, inside)


# ---- planners -----------------------------------------------------------------------------------------------------
def gru_forward(call: Call) -> Program:
    """The program of gru_forward."""
    gates = view(call.inputs, 0)
    steps, batch, width = gates.shape
    layer = layer_of(steps, batch, width // 3, 3, gates.dtype, bool(call.params[0]), call.arch)
    operands = {**inputs(call, "gates w b_hh h0 lengths"), **outputs(call, "y h_n activated"), "errors": Errors()}
    return planned(call, gru_kernel, layer, 1, operands)


def gru_backward(call: Call) -> Program:
    """The program of gru_backward."""
    y = view(call.inputs, 5)
    layer = layer_of(*y.shape, 3, y.dtype, bool(call.params[0]), call.arch, True)
    operands = {**inputs(call, "dy dh_n w h0 lengths y activated"), **outputs(call, "dgates dh0 dhidden")}
    return planned(call, gru_backward_kernel, layer, 3, operands)
