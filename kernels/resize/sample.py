"""Images sampled at places of a grid, of two or three axes.

Bound by memory where there are many channels: the pixels around each point are read, mostly from the cache, and each
sample is written once; 2 FLOPs a tap and channel, and about 20 a point and axis for its place. A lane is a point, and a
program takes them through all channels, so that what is computed of a place is computed once. Pixels beyond the image
are not read and count as 0. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

import math

from dlcore.kernels.elementwise.rounding import round
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Call, In, Launch, Out, Program, accumulator, ceil_div, index_dtype

__all__ = ["grid_sample"]

BILINEAR, NEAREST, BICUBIC = (tl.constexpr(k) for k in range(3))
ZEROS, BORDER, REFLECTION = (tl.constexpr(k) for k in range(3))
BLOCK = 128


@jit
def padded(c, n, PADDING: tl.constexpr, ALIGN: tl.constexpr):
    """The place inside of an image of n pixels that stands for c; beyond an image of zeros they stay near."""
    if PADDING == REFLECTION:
        low = 0.0 if ALIGN else -0.5
        span = n - 1 if ALIGN else n
        safe = tl.where(span > 0, span, 1.0)
        away = tl.abs(c - low)
        times = tl.floor(away / safe)
        rest = away - times * safe
        odd = times - 2 * tl.floor(times / 2) != 0
        c = tl.where(span > 0, tl.where(odd, span - rest, rest) + low, c - c)
    least = -3.0 if PADDING == ZEROS else 0.0
    most = n + 2 if PADDING == ZEROS else n - 1
    c = tl.where(c < least, least, c)
    return tl.where(c > most, most, c)


@jit
def tap(g, n, K: tl.constexpr, MODE: tl.constexpr, PADDING: tl.constexpr, ALIGN: tl.constexpr):
    """(pixel, whether it is there, weight) of tap K along one axis at the coordinate g."""
    c = (g + 1) / 2 * (n - 1) if ALIGN else ((g + 1) * n - 1) / 2
    if MODE == BICUBIC:  # Keys 1981, a = -3/4
        below = tl.floor(c)
        x = c - below + 1 - K if K < 2 else below - c + K - 1
        near = (1.25 * x - 2.25) * x * x + 1
        far = ((-0.75 * x + 3.75) * x - 6) * x + 3
        weight = near if K == 1 or K == 2 else far
        pixel = padded(below + (K - 1), n, PADDING, ALIGN)
        pixel = tl.floor(pixel) if PADDING == REFLECTION else pixel
    else:
        c = padded(c, n, PADDING, ALIGN)
        if MODE == NEAREST:
            pixel = round(c)  # halves to even
            weight = 1 + 0 * c  # NaN of NaN
        else:
            below = tl.floor(c)
            pixel = below + K
            weight = c - below if K == 1 else 1 - (c - below)
    there = (pixel >= 0) & (pixel < n)
    return tl.where(there, pixel, 0.0).to(tl.int32), there, weight


@jit
def sample_kernel(
    x, grid, out, points, channels, depth, height, width,
    x_image, x_channel, x_pixel, out_image, out_channel, out_point,
    AXES: tl.constexpr, MODE: tl.constexpr, PADDING: tl.constexpr, ALIGN: tl.constexpr, TAPS: tl.constexpr,
    COMPUTE: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(INDEX) * BLOCK + tl.arange(0, BLOCK)
    n = tl.program_id(1).to(INDEX)
    inside = i < points
    place = grid + (n * points + i) * AXES
    across = tl.load(place, inside, 0).to(COMPUTE)
    down = tl.load(place + 1, inside, 0).to(COMPUTE)
    deep = tl.load(place + 2, inside, 0).to(COMPUTE) if AXES == 3 else down
    for c in range(channels):
        total = tl.zeros((BLOCK,), COMPUTE)
        for t in tl.static_range(TAPS**AXES):
            z, z_there, z_weight = tap(across, tl.full((), width, COMPUTE), t % TAPS, MODE, PADDING, ALIGN)
            y, y_there, y_weight = tap(down, tl.full((), height, COMPUTE), t // TAPS % TAPS, MODE, PADDING, ALIGN)
            at = y.to(INDEX) * width + z
            there = inside & y_there & z_there
            weight = y_weight * z_weight
            if AXES == 3:
                u, u_there, u_weight = tap(deep, tl.full((), depth, COMPUTE), t // (TAPS * TAPS), MODE, PADDING, ALIGN)
                at += u.to(INDEX) * height * width
                there &= u_there
                weight *= u_weight
            value = tl.load(x + n * x_image + c * x_channel + at * x_pixel, there, 0).to(COMPUTE)
            total += weight * value
        tl.store(out + n * out_image + c * out_channel + i * out_point, total.to(out.dtype.element_ty), inside)


def grid_sample(call: Call) -> Program:
    """out (N, C, ...) = x (N, C, D, H, W) or (N, C, H, W) at the places of grid (N, ..., 3 or 2)."""
    (x, grid), out = call.inputs, call.outputs[0]
    assert x is not None and grid is not None and out is not None
    if out.size == 0:
        return Program(())
    mode, padding, align, last = (int(p) for p in call.params[:4])
    axes, points = grid.shape[-1], math.prod(grid.shape[1:-1])
    channels = x.shape[-1] if last else x.shape[1]
    size = x.shape[1:-1] if last else x.shape[2:]
    pixels = math.prod(size)
    args = {
        "x": In(0), "grid": In(1), "out": Out(0), "points": points, "channels": channels,
        "depth": size[0] if axes == 3 else 1, "height": size[-2], "width": size[-1], "x_image": channels * pixels,
        "x_channel": 1 if last else pixels, "x_pixel": channels if last else 1, "out_image": channels * points,
        "out_channel": 1 if last else points, "out_point": channels if last else 1,
        "AXES": axes, "MODE": mode, "PADDING": padding, "ALIGN": bool(align), "TAPS": (2, 1, 4)[mode],
        "COMPUTE": accumulator(x.dtype), "INDEX": index_dtype(max(x.size, out.size, grid.size)), "BLOCK": BLOCK,
    }  # fmt: skip
    return Program((Launch(sample_kernel, (ceil_div(points, BLOCK), x.shape[0]), args),), (), (0, 1))
