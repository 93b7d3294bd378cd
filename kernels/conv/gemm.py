"""Convolutions and their gradients to the input as products whose left matrix is never made: implicit GEMM.

Rows are places of the result (N L), columns its channels D, and terms the channels and places of the kernel: for each
block of channels of each place, a tile of the input is gathered through pointers (zeros where it is padding) and
multiplied with the weights of that place. 2 N L G D C K FLOPs on N G (C S + D L) + G D C K elements that must move:
bound by arithmetic from some 64 channels on, by memory below. Each input is read from L2 K times, once for every place.

The gradient to the input is the same walk backwards: places of the input that are equal modulo the stride are met by
the same places of the kernel, so that each of these phases (`phase`) is a convolution of stride 1 by some of them:
nothing is multiplied by zeros between strides, and nothing is added by atomics. The second axis of the grid counts
them.

Weights lie as (G, D, C, K); where many programs read them they are packed first to (G, K, in, out), so that a tile of
them is loaded 16 bytes at a time. With channels last so is a tile of the input, else (NCHW) neighbours along x are
loaded one by one, coalesced, through registers. The third axis of the grid counts groups.

Rounding: as linear's kernels (matmul/epilogue.py). Sums run through places and channels in one order for each shape.

Versions: 1, this one: unmeasured, not yet run on hardware. Compiled: registers and shared KiB on sm_80, 90, 100, 120;
no spills; forward with bias and ReLU (GELU: tiles of 64 rows, 174 to 250 registers), then the gradient to the input:
  bf16, channels last   128x128x64 w8  206, 64   128, 96   127, 96   176, 64     202   128    94   175
                        64x64x64 w4    159, 32   105, 48    64, 48   128, 32     160    99    61   128
  bf16, NCHW            128x64x32 w8   192, 16   182, 16   128, 24   196, 16     181   184   128   190
  tf32x3, channels last 64x64x32 w4    166, 32   150, 48   128, 48   160, 32     168   139    96   178 (64x32)
Channels last, 128x128x64 on Hopper: two programs an SM by registers and by shared memory, 16 warps, wgmma fed by
16-byte cp.async. NCHW: one program of 8 warps an SM, whose inputs pass through registers: by design it hides less
latency, and channels last should be faster from some 64 channels on.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from dlcore.dtypes import float32
from dlcore.kernels.common.activations import ACTIVATIONS
from dlcore.kernels.conv.walk import AXES, Walk, kind, precision_of, walk_of
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    Call,
    In,
    Launch,
    Out,
    Program,
    Temp,
    Workspace,
    accumulator,
    ceil_div,
    power_of_2,
)  # fmt: skip
from dlcore.kernels.matmul.epilogue import activate, multiply_add, with_bias

__all__ = ["conv", "conv_input"]

PACKED_FROM = 32  # programs that read the same weights, from which another launch pays


@jit
def phase(p, size, kernel, stride, before, dilation, common, inverse):
    """The places of an axis of the input that are p modulo stride once padded: the first, how many; the places of the
    kernel that meet them: the first, their distance, how many; and the place of the output that the first two meet.

    common: of stride and dilation the greatest divisor; inverse: of dilation / common modulo stride / common.
    """
    step = stride // common
    first = (p + stride - before % stride) % stride
    places = tl.maximum(size - first + stride - 1, 0) // stride
    tap = p // common * inverse % step
    taps = tl.where(p % common == 0, tl.maximum(kernel - tap + step - 1, 0) // step, 0)
    return first, places, tap, step, taps, (first + before - tap * dilation) // stride


@jit
def strides(channels, z, y, x, CHANNELS_LAST: tl.constexpr, INDEX: tl.constexpr):
    """Of an image, a channel, and each axis of space, in elements."""
    one = tl.full((), 1, INDEX)
    if CHANNELS_LAST:
        of_x = one * channels
        of_y = of_x * x
        of_z = of_y * y
        of_c = one
        of_n = of_z * z
    else:
        of_x = one
        of_y = one * x
        of_z = of_y * y
        of_c = of_z * z
        of_n = of_c * channels
    return of_n, of_c, of_z, of_y, of_x


@jit
def gemm_kernel(
    x, w, out, pre, bias, images, inputs_units, outputs_units, size_z, size_y, size_x, made_z, made_y, made_x,
    kernel_z, kernel_y, kernel_x, stride_z, stride_y, stride_x, before_z, before_y, before_x,
    dilation_z, dilation_y, dilation_x, common_z, common_y, common_x, inverse_z, inverse_y, inverse_x,
    UNIT_INPUTS: tl.constexpr, UNIT_OUTPUTS: tl.constexpr, BACK: tl.constexpr, PACKED: tl.constexpr,
    CHANNELS_LAST: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    ACTIVATION: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    group, groups = tl.program_id(2), tl.num_programs(2)
    inputs, outputs = inputs_units * UNIT_INPUTS, outputs_units * UNIT_OUTPUTS
    points = kernel_z * kernel_y * kernel_x
    if BACK:
        p = tl.program_id(1)
        first_z, rows_z, tap_z, step_z, taps_z, from_z = phase(
            p // (stride_x * stride_y), size_z, kernel_z, stride_z, before_z, dilation_z, common_z, inverse_z
        )
        first_y, rows_y, tap_y, step_y, taps_y, from_y = phase(
            p // stride_x % stride_y, size_y, kernel_y, stride_y, before_y, dilation_y, common_y, inverse_y
        )
        first_x, rows_x, tap_x, step_x, taps_x, from_x = phase(
            p % stride_x, size_x, kernel_x, stride_x, before_x, dilation_x, common_x, inverse_x
        )
        taken, given = outputs, inputs  # channels of a group that are summed over, and that are made
        have_z, have_y, have_x, want_z, want_y, want_x = made_z, made_y, made_x, size_z, size_y, size_x
        walk_z, walk_y, walk_x = -(dilation_z // common_z), -(dilation_y // common_y), -(dilation_x // common_x)
    else:
        first_z, rows_z, tap_z, step_z, taps_z, from_z = 0, made_z, 0, 1, kernel_z, -before_z
        first_y, rows_y, tap_y, step_y, taps_y, from_y = 0, made_y, 0, 1, kernel_y, -before_y
        first_x, rows_x, tap_x, step_x, taps_x, from_x = 0, made_x, 0, 1, kernel_x, -before_x
        taken, given = inputs, outputs
        have_z, have_y, have_x, want_z, want_y, want_x = size_z, size_y, size_x, made_z, made_y, made_x
        walk_z, walk_y, walk_x = dilation_z, dilation_y, dilation_x
    across = tl.cdiv(given, BLOCK_N)
    row = (tl.program_id(0) // across).to(INDEX) * BLOCK_M + tl.arange(0, BLOCK_M)
    d = tl.program_id(0) % across * BLOCK_N + tl.arange(0, BLOCK_N)

    one = tl.full((), 1, INDEX)
    all_rows = one * images * rows_z * rows_y * rows_x
    some_x, some_y, some_z = tl.maximum(rows_x, 1), tl.maximum(rows_y, 1), tl.maximum(rows_z, 1)
    at_x = row % some_x
    at_y = row // some_x % some_y
    at_z = row // (some_x * some_y) % some_z
    n = row // (one * some_x * some_y * some_z)
    of_n, of_c, of_z, of_y, of_x = strides(taken * groups, have_z, have_y, have_x, CHANNELS_LAST, INDEX)
    if BACK:
        in_z, in_y, in_x = at_z + from_z, at_y + from_y, at_x + from_x
    else:
        in_z, in_y, in_x = at_z * stride_z + from_z, at_y * stride_y + from_y, at_x * stride_x + from_x
    base = n * of_n + in_z * of_z + in_y * of_y + in_x * of_x + group * taken * of_c
    if PACKED:
        w_in, w_out, w_tap, w_group = given, 1, taken * given, points * taken * given
    elif BACK:
        w_in, w_out, w_tap, w_group = inputs * points, points, 1, points * taken * given
    else:
        w_in, w_out, w_tap, w_group = points, inputs * points, 1, points * taken * given
    w += group.to(tl.int64) * w_group

    acc = tl.zeros((BLOCK_M, BLOCK_N), ACC)
    blocks = tl.cdiv(taken, BLOCK_K)
    for step in range(taps_z * taps_y * taps_x * blocks):
        place, c = step // blocks, step % blocks * BLOCK_K + tl.arange(0, BLOCK_K)
        j_x, j_y, j_z = place % taps_x, place // taps_x % taps_y, place // (taps_x * taps_y)
        to_z, to_y, to_x = j_z * walk_z, j_y * walk_y, j_x * walk_x
        z, y, x_ = in_z + to_z, in_y + to_y, in_x + to_x
        there = (row < all_rows) & (z >= 0) & (z < have_z) & (y >= 0) & (y < have_y) & (x_ >= 0) & (x_ < have_x)
        at = base + (to_z * of_z + to_y * of_y + to_x * of_x)
        left = tl.load(x + (at[:, None] + c[None, :] * of_c), there[:, None] & (c < taken)[None, :], 0)
        tap = ((tap_z + j_z * step_z) * kernel_y + tap_y + j_y * step_y) * kernel_x + tap_x + j_x * step_x
        w_at = tap * w_tap + c[:, None] * w_in + d[None, :] * w_out
        right = tl.load(w + w_at, (c < taken)[:, None] & (d < given)[None, :], 0)
        acc = multiply_add(left, right, acc, PRECISION)

    to_n, to_c, to_z, to_y, to_x = strides(given * groups, want_z, want_y, want_x, CHANNELS_LAST, INDEX)
    if BACK:
        at_z, at_y, at_x = first_z + at_z * stride_z, first_y + at_y * stride_y, first_x + at_x * stride_x
    channel = group * given + d
    places = n * to_n + at_z * to_z + at_y * to_y + at_x * to_x
    at = places[:, None] + channel[None, :] * to_c
    mask = (row < all_rows)[:, None] & (d < given)[None, :]
    values = None
    if bias is not None:
        values = tl.load(bias + channel, d < given, 0)[None, :]
    result = with_bias(acc, values, out.dtype.element_ty)
    if pre is not None:
        tl.store(pre + at, result, mask)
    tl.store(out + at, activate(result.to(ACC), ACTIVATION).to(result.dtype), mask)


@jit
def pack_kernel(
    w, packed, total, inputs, outputs, points, BACK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Weights (G, D, C, K) as (G, K, C, D), or BACK as (G, K, D, C)."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if BACK:
        c, rest = i % inputs, i // inputs
        d, rest = rest % outputs, rest // outputs
    else:
        d, rest = i % outputs, i // outputs
        c, rest = rest % inputs, rest // inputs
    k, group = rest % points, rest // points
    at = ((group * outputs + d) * inputs + c) * points + k
    tl.store(packed + i, tl.load(w + at, i < total, 0), i < total)


# ---- planners -----------------------------------------------------------------------------------------------------


class Tile(NamedTuple):
    """Rows, columns and terms of a step, warps and stages."""

    m: int
    n: int
    k: int
    warps: int
    stages: int


def tile_of(walk: Walk, rows: int, taken: int, given: int, heavy: bool, processors: int) -> Tile:
    """Small where there are few channels, few rows for all SMs, or much else that takes registers (``heavy``)."""
    what, last = kind(walk.dtype), walk.channels_last
    columns = min(max(power_of_2(given), 16), 64)
    if what in ("double", "ieee"):
        side = 32 if what == "double" else 64
        return Tile(side, min(columns, side), 16, 4, 2)
    terms = min(max(power_of_2(taken), 32), 64 if what == "half" and last else 32)
    if what != "half":
        return Tile(64, min(columns, 32 if heavy else 64), terms, 4, 3 if last else 2)
    large = ceil_div(rows, 128) * ceil_div(given, columns) * walk.groups >= 2 * processors
    if not large or heavy:
        return Tile(64, columns, terms, 4, 3 if last else 2)
    if given > 64 and last:
        return Tile(128, 128, terms, 8, 3)
    return Tile(128, columns, terms, 8 if columns == 64 else 4, 3 if last else 2)


def conv(call: Call) -> Program:
    """activation(the convolution + bias), and the value before the activation where it is wanted."""
    x, weight, bias, *_ = call.inputs
    out, pre = call.outputs
    assert x is not None and weight is not None and out is not None
    if out.size == 0:
        return Program(())
    walk, activation = walk_of(call, x, weight.shape, out.shape), ACTIVATIONS.get(call.attrs[4])
    results = {"out": Out(0), "pre": pre and Out(1), "bias": bias and In(2)}
    heavy = activation is not None and activation.heavy
    return _program(call, walk, results, activation and activation.value, heavy, back=False)


def conv_input(call: Call) -> Program:
    """The gradient to the input."""
    y, weight = call.inputs
    out = call.outputs[0]
    assert y is not None and weight is not None and out is not None
    if out.size == 0:
        return Program(())
    walk = walk_of(call, out.shape, weight.shape, y.shape)
    return _program(call, walk, {"out": Out(0), "pre": None, "bias": None}, None, False, back=True)


def _program(call: Call, walk: Walk, results: dict[str, Any], activation: Any, heavy: bool, back: bool) -> Program:
    taken, given = (walk.outputs, walk.inputs) if back else (walk.inputs, walk.outputs)
    phases = math.prod(walk.stride) if back else 1
    lengths = [ceil_div(n, s) for n, s in zip(walk.size, walk.stride, strict=True)] if back else walk.made
    rows = walk.images * math.prod(lengths)  # of a phase at most
    heavy = heavy or (back and walk.channels_last and walk.dtype is float32)
    tile = tile_of(walk, rows * phases, taken, given, heavy, call.arch.multiprocessors)
    tiles = ceil_div(rows, tile.m)
    as_it_is = back and walk.points == 1  # weights lie as they would be packed
    packs = not as_it_is and walk.points > 1 and tiles * phases >= PACKED_FROM
    weights: Any = Temp(0, walk.dtype) if packs else In(1)
    args = {
        "x": In(0), "w": weights, **results, **walk.arguments(), **_moduli(walk, back), "BACK": back,
        "PACKED": packs or as_it_is, "CHANNELS_LAST": walk.channels_last, "BLOCK_M": tile.m, "BLOCK_N": tile.n,
        "BLOCK_K": tile.k, "ACTIVATION": activation, "PRECISION": precision_of(walk.dtype),
        "ACC": accumulator(walk.dtype), "INDEX": walk.index,
    }  # fmt: skip
    grid = tiles * ceil_div(given, tile.n), phases, walk.groups
    launches = [Launch(gemm_kernel, grid, args, tile.warps, tile.stages)]
    temps = ()
    if packs:
        total = walk.groups * walk.outputs * walk.inputs * walk.points
        launches.insert(0, _pack(walk, total, back))
        temps = (Workspace(total * walk.dtype.itemsize),)
    return Program(tuple(launches), temps, tuple(k for k, v in enumerate(call.inputs) if v is not None))


def _moduli(walk: Walk, back: bool) -> dict[str, int]:
    """What `phase` needs of stride and dilation."""
    found: dict[str, int] = {}
    for axis, stride, dilation in zip(AXES, walk.stride, walk.dilation, strict=True):
        common = math.gcd(stride, dilation) if back else 1
        step = stride // common
        found |= {f"common_{axis}": common,
                  f"inverse_{axis}": pow(dilation // common, -1, step) if back and step > 1 else 0}  # fmt: skip
    return found


def _pack(walk: Walk, total: int, back: bool) -> Launch:
    args = {
        "w": In(1), "packed": Temp(0, walk.dtype), "total": total, "inputs": walk.inputs, "outputs": walk.outputs,
        "points": walk.points, "BACK": back, "BLOCK": 1024,
    }  # fmt: skip
    return Launch(pack_kernel, (ceil_div(total, 1024),), args)
