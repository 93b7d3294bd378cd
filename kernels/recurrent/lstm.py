"""LSTM: one layer in one direction over a whole sequence, and its gradient, one launch each.

Forward 8 T B H^2 FLOPs; it reads 4 T B H gates and writes T B H states and, for a gradient, 5 T B H numbers of 4 bytes;
backward as many FLOPs, and reads what forward kept. Bound by latency: T steps, each a product of (4 H, H) with 16
states, of which one waits for the one before. A program has 16 rows of the batch (steps.py), so a batch of 64 keeps 4
SMs busy; in return a layer is one launch, where a launch a step and kernel would take 2 to 3 microseconds each.

Weights of 16 bits stay with a program from the first step to the last, in shared memory (sm_90, sm_100) or registers
(mma.sync), as long as they have at most 128 KiB (64 KiB on sm_120): up to 128 units. Longer ones, and those of float32
and float64, come block by block from L2 at each step: 1 MiB of float32 at 256 units, 10 microseconds by estimate.
The state goes from thread to thread in registers and shared memory where weights stay, else through 2 B H numbers in
global memory and a barrier a step. float32 is multiplied exactly ("ieee"); float32 and float64 have the CPU's sigmoid
and tanh, 16 bits the approximations of the hardware.

Versions: unmeasured, not yet run on hardware. Registers and shared KiB as compiled for 64 steps of 64 rows with
lengths, states and all that a gradient wants, forward, then backward, none of these with spills:
  sm_80   bf16 128 units 166, 136; 182, 136 (mma.sync); float32 128 units 254, 9; 248, 9
  sm_90   bf16 64 units 122, 36; 128, 62; 128 units 128, 136; 168, 188 (wgmma m64n16k16); 256 units, block by block 255,
          16; 236, 16; float32 128 units 254, 9; 236, 9; float64 242, 18; 255, 18
  sm_100  bf16 64 units 152, 44; 142, 64; 128 units 254, 132; 209, 148 (tcgen05); float32 128 units 244, 9; 236, 9
  sm_120  bf16 64 units 143, 36; 128, 56; 128 units, block by block 183, 9; 173, 9; 256 units 253, 16; 232, 16
At 256 units of 16 bits a forward pass with no states to begin with but lengths spills 16 to 64 bytes a thread on sm_80,
sm_90 and sm_120, whatever the number of warps.
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
def lstm_kernel(
    gates, w, h0, c0, lengths, errors, y, h_n, c_n, activated, cells, state, steps, batch,
    H: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr, RESIDENT: tl.constexpr,
    REVERSE: tl.constexpr, FAST: tl.constexpr, PRECISION: tl.constexpr, C: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)[None, :]
    j = tl.arange(0, BLOCK_H)[:, None]
    inside, row = (j < H) & (b < batch), b.to(INDEX) * H
    n = steps_of(lengths, errors, b, batch, steps)
    h, c = read(h0, row + j, inside, C), read(c0, row + j, inside, C)
    w_i, w_f, w_g, w_o = None, None, None, None
    if RESIDENT:
        w_i = weights_of(w, 0, 0, H, BLOCK_H, BLOCK_H, False)
        w_f = weights_of(w, 1, 0, H, BLOCK_H, BLOCK_H, False)
        w_g = weights_of(w, 2, 0, H, BLOCK_H, BLOCK_H, False)
        w_o = weights_of(w, 3, 0, H, BLOCK_H, BLOCK_H, False)
    for step in range(steps):
        t = step
        if REVERSE:
            t = steps - 1 - step
        at = (t * tl.full((), batch * 4 * H, INDEX) + row * 4) + j
        i, f = read(gates, at, inside, C), read(gates, at + H, inside, C)
        g, o = read(gates, at + 2 * H, inside, C), read(gates, at + 3 * H, inside, C)
        place = row + step % 2 * tl.full((), batch * H, INDEX)
        shared(state, place + j, h, inside, RESIDENT)
        i = sigmoid_of(product(i, w_i, w, 0, h, state, place, b < batch, H, BLOCK_K, False, PRECISION), FAST)
        f = sigmoid_of(product(f, w_f, w, 1, h, state, place, b < batch, H, BLOCK_K, False, PRECISION), FAST)
        g = tanh_of(product(g, w_g, w, 2, h, state, place, b < batch, H, BLOCK_K, False, PRECISION), FAST)
        o = sigmoid_of(product(o, w_o, w, 3, h, state, place, b < batch, H, BLOCK_K, False, PRECISION), FAST)
        write(activated, at, i, inside)
        write(activated, at + H, f, inside)
        write(activated, at + 2 * H, g, inside)
        write(activated, at + 3 * H, o, inside)
        there = t < n
        c = tl.where(there, f * c + i * g, c)
        new = o * tanh_of(c, FAST)
        h = tl.where(there, new, h)
        out = t * tl.full((), batch * H, INDEX) + row + j
        write(cells, out, c, inside)
        tl.store(y + out, tl.where(there, new, 0).to(y.dtype.element_ty), inside)
    tl.store(h_n + row + j, h.to(h_n.dtype.element_ty), inside)
    tl.store(c_n + row + j, c.to(c_n.dtype.element_ty), inside)


@jit
def lstm_backward_kernel(
    dy, dh_n, dc_n, w, c0, lengths, activated, cells, dgates, dh0, dc0, state, steps, batch,
    H: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr, RESIDENT: tl.constexpr,
    REVERSE: tl.constexpr, FAST: tl.constexpr, PRECISION: tl.constexpr, C: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)[None, :]
    j = tl.arange(0, BLOCK_H)[:, None]
    inside, row = (j < H) & (b < batch), b.to(INDEX) * H
    n = steps_of(lengths, None, b, batch, steps)
    dh, dc = read(dh_n, row + j, inside, C), read(dc_n, row + j, inside, C)
    w_i, w_f, w_g, w_o = None, None, None, None
    if RESIDENT:
        w_i = weights_of(w, 0, 0, H, BLOCK_H, BLOCK_H, True)
        w_f = weights_of(w, 1, 0, H, BLOCK_H, BLOCK_H, True)
        w_g = weights_of(w, 2, 0, H, BLOCK_H, BLOCK_H, True)
        w_o = weights_of(w, 3, 0, H, BLOCK_H, BLOCK_H, True)
    for step in range(steps):
        t, before = steps - 1 - step, steps - 2 - step
        if REVERSE:
            t, before = step, step + 1
        at = (t * tl.full((), batch * 4 * H, INDEX) + row * 4) + j
        out = t * tl.full((), batch * H, INDEX) + row + j
        there = inside & (t < n)
        i, f = read(activated, at, inside, C), read(activated, at + H, inside, C)
        g, o = read(activated, at + 2 * H, inside, C), read(activated, at + 3 * H, inside, C)
        squashed = tanh_of(read(cells, out, inside, C), FAST)
        if step + 1 < steps:
            c = read(cells, before * tl.full((), batch * H, INDEX) + row + j, inside, C)
        else:
            c = read(c0, row + j, inside, C)
        arrived = dh + read(dy, out, inside, C)
        dcell = dc + arrived * o * (1 - squashed * squashed)
        to_i, to_f = dcell * g * (i * (1 - i)), dcell * c * (f * (1 - f))
        to_g, to_o = dcell * i * (1 - g * g), arrived * squashed * (o * (1 - o))
        to_i, to_f = tl.where(there, to_i, 0), tl.where(there, to_f, 0)
        to_g, to_o = tl.where(there, to_g, 0), tl.where(there, to_o, 0)
        write(dgates, at, to_i, inside)
        write(dgates, at + H, to_f, inside)
        write(dgates, at + 2 * H, to_g, inside)
        write(dgates, at + 3 * H, to_o, inside)
        place = (row + step % 2 * tl.full((), batch * H, INDEX)) * 4
        if not RESIDENT:
            tl.store(state + place + j, to_i.to(state.dtype.element_ty), inside)
            tl.store(state + place + H + j, to_f.to(state.dtype.element_ty), inside)
            tl.store(state + place + 2 * H + j, to_g.to(state.dtype.element_ty), inside)
        shared(state, place + 3 * H + j, to_o, inside, RESIDENT)
        back = tl.zeros((BLOCK_H, BLOCK_B), C)
        back = product(back, w_i, w, 0, to_i, state, place, b < batch, H, BLOCK_K, True, PRECISION)
        back = product(back, w_f, w, 1, to_f, state, place + H, b < batch, H, BLOCK_K, True, PRECISION)
        back = product(back, w_g, w, 2, to_g, state, place + 2 * H, b < batch, H, BLOCK_K, True, PRECISION)
        back = product(back, w_o, w, 3, to_o, state, place + 3 * H, b < batch, H, BLOCK_K, True, PRECISION)
        dh, dc = tl.where(there, back, dh), tl.where(there, dcell * f, dc)
    write(dh0, row + j, dh, inside)
    write(dc0, row + j, dc, inside)


# ---- planners -----------------------------------------------------------------------------------------------------
def lstm_forward(call: Call) -> Program:
    """The program of lstm_forward without a projection."""
    gates = view(call.inputs, 0)
    steps, batch, width = gates.shape
    layer = layer_of(steps, batch, width // 4, 4, gates.dtype, bool(call.params[0]), call.arch)
    operands = {**inputs(call, "gates w h0 c0 lengths -"), **outputs(call, "y h_n c_n activated cells")}
    return planned(call, lstm_kernel, layer, 1, {**operands, "errors": Errors()})


def lstm_backward(call: Call) -> Program:
    """The program of lstm_backward without a projection."""
    cells, dtype = view(call.inputs, 8), view(call.inputs, 3).dtype
    layer = layer_of(*cells.shape, 4, dtype, bool(call.params[0]), call.arch, True)
    operands = {**inputs(call, "dy dh_n dc_n w c0 lengths - activated cells"), **outputs(call, "dgates dh0 dc0 -")}
    return planned(call, lstm_backward_kernel, layer, 4, operands)
