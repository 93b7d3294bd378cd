"""Batch normalisation of images with their channels first, and its gradient.

Bound: memory. In training x is read for the mean of each part of a channel, again for what differs from it, mostly from
L2, and a third time for the result: 8 bytes an element (float32) at least, 16 where L2 is too small. Inference reads
and writes once. A residual and a ReLU behind training are part of the map: 4 bytes more for the residual, against 20 in
kernels of their own. Backward reads x and dout for the sums and again for dx; ReLU's gradient is a kernel of its own.
Statistics are float32 (float64 for float64).

Stages, all unmeasured (not yet run on hardware): moments of at most 64 parts of the images of each channel; one program
that joins them in order (Chan et al. 1979), moves the running statistics on unless one is not finite, and counts the
batch; the map of all planes. No atomics: the order follows from shapes alone.
"""

from __future__ import annotations

import math
from typing import Any

from dlcore.dtypes import DType, float64
from dlcore.kernels.common.activations import relu
from dlcore.kernels.common.math import divide
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    F64,
    Call,
    In,
    Launch,
    Out,
    Program,
    Temp,
    View,
    Workspace,
    accumulator,
    ceil_div,
    index_dtype,
    power_of_2,
)
from dlcore.kernels.norm.rows import PARTS, inverse_root, plane_sums_kernel

CHANNELS = 256  # that one program joins at once


@jit
def plane_moments_kernel(
    x, means, squares, images, channels, n, share, C: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Of one channel and one part of the images: the mean, and the sum of squares of what differs from it."""
    channel = tl.program_id(0).to(INDEX)
    part = tl.program_id(1).to(INDEX)
    first, last = part * share, tl.minimum(part * share + share, images)
    i = tl.arange(0, BLOCK)
    count = ((last - first) * n).to(C)
    sums = tl.zeros((BLOCK,), C)
    for image in range(first, last):
        plane = x + (image * channels + channel) * n
        for start in range(0, n, BLOCK):
            sums += tl.load(plane + start + i, i < n - start, 0).to(C)
    middle = divide(tl.sum(sums, 0), count)
    rests, powers = tl.zeros((BLOCK,), C), tl.zeros((BLOCK,), C)
    for image in range(first, last):
        plane = x + (image * channels + channel) * n
        for start in range(0, n, BLOCK):
            v = tl.load(plane + start + i, i < n - start, 0).to(C) - middle
            v = tl.where(i < n - start, v, 0)
            rests += v
            powers += v * v
    rest = divide(tl.sum(rests, 0), count)
    tl.store(means + part * channels + channel, middle + rest)
    tl.store(squares + part * channels + channel, tl.sum(powers, 0) - rest * rest * count)


@jit
def moved_on(running, stride, col, inside, found, share, C: tl.constexpr):
    before = tl.load(running + col * stride, inside, 0).to(C)
    tl.store(running + col * stride, ((1 - share) * before + share * found).to(running.dtype.element_ty), inside)


@jit
def join_moments_kernel(
    means, squares, mean, rstd, kept_mean, kept_rstd, variances, running_mean, running_var, batches, channels, parts,
    images, n, share, mean_stride, var_stride, momentum, eps, C: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Mean and 1 / standard deviation of each channel, and then the running statistics, in one program."""
    i = tl.arange(0, BLOCK)
    total = tl.full((), images * n, C)
    bad = tl.zeros((), tl.int32)
    for start in range(0, channels, BLOCK):
        col, inside = start + i, i < channels - start
        count, middle, power = tl.zeros((BLOCK,), C), tl.zeros((BLOCK,), C), tl.zeros((BLOCK,), C)
        for k in range(parts):
            more = tl.full((BLOCK,), tl.minimum(share, images - k * share) * n, C)
            delta = tl.load(means + k * channels + col, inside, 0) - middle
            both = count + more
            middle += delta * divide(more, both)
            power += tl.load(squares + k * channels + col, inside, 0) + delta * delta * divide(count * more, both)
            count = both
        variance = divide(power, tl.full((BLOCK,), 0, C) + total)
        variance = tl.where(variance < 0, 0, variance)
        scale = inverse_root(variance + eps)
        tl.store(mean + col, middle, inside)
        tl.store(rstd + col, scale, inside)
        if kept_mean is not None:
            tl.store(kept_mean + col, middle, inside)
        if kept_rstd is not None:
            tl.store(kept_rstd + col, scale, inside)
        tl.store(variances + col, variance, inside)
        finite = (middle - middle == 0) & (variance - variance == 0)
        bad += tl.sum((inside & (finite == 0)).to(tl.int32), 0)
    if running_mean is not None:
        amount = tl.full((), momentum, C)
        if batches is not None:
            counted = tl.load(batches) + (bad == 0).to(tl.int64)
            tl.store(batches, counted)
            if momentum < 0:
                amount = divide(tl.full((), 1, C), counted.to(C))
        for start in range(0, channels, BLOCK):  # each thread reads what it has written
            col, inside = start + i, (i < channels - start) & (bad == 0)
            unbiased = divide(tl.load(variances + col, inside, 0) * total, (total - 1) + tl.full((BLOCK,), 0, C))
            moved_on(running_mean, mean_stride, col, inside, tl.load(mean + col, inside, 0), amount, C)
            moved_on(running_var, var_stride, col, inside, unbiased, amount, C)


@jit
def plane_map_kernel(
    x, mean, spread, weight, bias, residual, out, rows, channels, n, eps, VARIANCE: tl.constexpr, RELU: tl.constexpr,
    C: tl.constexpr, INDEX: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """(x - mean) * spread * weight + bias of planes; `spread`: 1 / standard deviation, or the variance. Then + residual
    and ReLU, rounded in between as separate kernels round."""
    row = tl.expand_dims(tl.program_id(0).to(INDEX) * BLOCK_R + tl.arange(0, BLOCK_R), 1)
    col = tl.expand_dims(tl.program_id(1).to(INDEX) * BLOCK_N + tl.arange(0, BLOCK_N), 0)
    inside, channel = row < rows, row % channels
    scale = tl.load(spread + channel, inside, 1).to(C)
    if VARIANCE:
        scale = inverse_root(scale + eps)
    if weight is not None:
        scale = scale * tl.load(weight + channel, inside, 0).to(C)
    mask = inside & (col < n)
    y = (tl.load(x + row * n + col, mask, 0).to(C) - tl.load(mean + channel, inside, 0).to(C)) * scale
    if bias is not None:
        y = y + tl.load(bias + channel, inside, 0).to(C)
    y = y.to(out.dtype.element_ty)
    if residual is not None:
        y = (y.to(C) + tl.load(residual + row * n + col, mask, 0).to(C)).to(out.dtype.element_ty)
    if RELU:
        y = relu(y.to(C)).to(out.dtype.element_ty)
    tl.store(out + row * n + col, y, mask)


@jit
def join_sums_kernel(parts, total, out, n, count, C: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr):
    """The sums of all parts, in order, in the dtype of sums and in that of the output."""
    col = tl.program_id(0).to(INDEX) * BLOCK + tl.arange(0, BLOCK)
    found = tl.zeros((BLOCK,), C)
    for k in range(count):
        found += tl.load(parts + k * n + col, col < n, 0)
    tl.store(total + col, found, col < n)
    if out is not None:
        tl.store(out + col, found.to(out.dtype.element_ty), col < n)


@jit
def plane_dx_kernel(
    dout, x, mean, rstd, weight, dweight, dbias, dx, rows, channels, n, count, C: tl.constexpr, INDEX: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    row = tl.expand_dims(tl.program_id(0).to(INDEX) * BLOCK_R + tl.arange(0, BLOCK_R), 1)
    col = tl.expand_dims(tl.program_id(1).to(INDEX) * BLOCK_N + tl.arange(0, BLOCK_N), 0)
    inside, channel = row < rows, row % channels
    size = tl.full((BLOCK_R, 1), count, C)
    scale = tl.load(rstd + channel, inside, 0).to(C)
    product = divide(tl.load(dweight + channel, inside, 0), size)
    total = divide(tl.load(dbias + channel, inside, 0), size)
    factor = scale if weight is None else scale * tl.load(weight + channel, inside, 0).to(C)
    mask = inside & (col < n)
    xhat = (tl.load(x + row * n + col, mask, 0).to(C) - tl.load(mean + channel, inside, 0).to(C)) * scale
    y = (tl.load(dout + row * n + col, mask, 0).to(C) - total - xhat * product) * factor
    tl.store(dx + row * n + col, y.to(dx.dtype.element_ty), mask)


# ---- planners -----------------------------------------------------------------------------------------------------
def _number(value: float, dtype: DType) -> Any:
    return F64(value) if dtype is float64 else value


def _planes(call: Call, k: int) -> tuple[View, int, int, int]:
    """Operand k, its images, channels and the elements of a plane."""
    x = call.inputs[k]
    assert x is not None
    return x, x.shape[0], x.shape[1], math.prod(x.shape[2:])


def _map_tile(rows: int, n: int) -> tuple[tuple[int, int], dict[str, int]]:
    """The grid over planes, and the tile of a program."""
    block = min(power_of_2(max(n, 1)), 1024)
    several = min(max(1024 // block, 1), power_of_2(rows))
    return (ceil_div(rows, several), ceil_div(n, block)), {"BLOCK_R": several, "BLOCK_N": block}


def _parts(images: int) -> tuple[int, int]:
    """(images of a part, parts)."""
    share = max(ceil_div(images, PARTS), 1)
    return share, max(ceil_div(images, share), 1)


def _given(call: Call, k: int) -> In | None:
    return In(k) if call.inputs[k] is not None else None


def batch_norm_training(call: Call) -> Program:
    """The program of batch_norm_training with channels first."""
    momentum, eps, _, rectified = call.params
    x, images, c, n = _planes(call, 0)
    if not x.size:
        return Program(())
    (share, parts), dtype = _parts(images), accumulator(x.dtype)
    index, size = index_dtype(max(x.size, parts * c)), dtype.itemsize
    means, squares, mean, rstd, variances = (Temp(k, dtype) for k in range(5))
    moments = {
        "x": In(0), "means": means, "squares": squares, "images": images, "channels": c, "n": n, "share": share,
        "C": dtype, "INDEX": index, "BLOCK": min(power_of_2(n), 1024),
    }  # fmt: skip
    running = call.inputs[4:]
    strides = [v.strides[0] if v is not None and c > 1 else 1 for v in running[:2]] or [1, 1]
    joined = {
        "means": means, "squares": squares, "mean": mean, "rstd": rstd,
        "kept_mean": Out(1) if call.outputs[1] else None, "kept_rstd": Out(2) if call.outputs[2] else None,
        "variances": variances, "running_mean": In(4) if running else None, "running_var": In(5) if running else None,
        "batches": In(6) if len(running) > 2 else None, "channels": c, "parts": parts, "images": images, "n": n,
        "share": share, "mean_stride": strides[0], "var_stride": strides[1],
        "momentum": _number(float(momentum), x.dtype), "eps": _number(float(eps), x.dtype), "C": dtype,
        "BLOCK": min(power_of_2(c), CHANNELS),
    }  # fmt: skip
    launches = (
        Launch(plane_moments_kernel, (c, parts), moments),
        Launch(join_moments_kernel, (1,), joined),
        _map(call, mean, rstd, 1, 2, eps, False, _given(call, 3), bool(rectified)),
    )
    temps = [Workspace(parts * c * size)] * 2 + [Workspace(c * size)] * 3
    used = tuple(k for k in range(4) if call.inputs[k] is not None)
    return Program(launches, tuple(temps), contiguous=used)


def _map(
    call: Call, mean: Any, spread: Any, weight: int, bias: int, eps: float, variance: bool,
    residual: In | None = None, rectified: bool = False,
) -> Launch:  # fmt: skip
    x, images, c, n = _planes(call, 0)
    grid, tile = _map_tile(images * c, n)
    args = {
        "x": In(0), "mean": mean, "spread": spread, "weight": _given(call, weight), "bias": _given(call, bias),
        "residual": residual, "out": Out(0), "rows": images * c, "channels": c, "n": n,
        "eps": _number(float(eps), x.dtype), "VARIANCE": variance, "RELU": rectified, "C": accumulator(x.dtype),
        "INDEX": index_dtype(x.size), **tile,
    }  # fmt: skip
    return Launch(plane_map_kernel, grid, args)


def batch_norm_inference(call: Call) -> Program:
    """The program of batch_norm_inference with channels first."""
    x, *_ = _planes(call, 0)
    if not x.size:
        return Program(())
    launch = _map(call, In(1), In(2), 3, 4, float(call.params[0]), True)
    return Program((launch,), contiguous=tuple(k for k, v in enumerate(call.inputs) if v is not None))


def batch_norm_backward(call: Call) -> Program:
    """The program of batch_norm_backward with channels first."""
    x, images, c, n = _planes(call, 1)
    (share, parts), dtype = _parts(images), accumulator(x.dtype)
    index, used = index_dtype(max(x.size, parts * c)), tuple(k for k, v in enumerate(call.inputs) if v is not None)
    if not c:
        return Program(())
    weights, biases, dweight, dbias = (Temp(k, dtype) for k in range(4))
    sums = {
        "dout": In(0), "x": In(1), "mean": In(2), "rstd": In(3), "weights": weights, "biases": biases,
        "images": images, "channels": c, "n": n, "groups": 0, "width": 1, "share": share, "C": dtype, "INDEX": index,
        "BLOCK": min(power_of_2(max(n, 1)), 1024),
    }  # fmt: skip
    launches = [Launch(plane_sums_kernel, (c, parts), sums)]
    for k, (source, total) in enumerate(((weights, dweight), (biases, dbias)), 1):
        args = {"parts": source, "total": total, "out": Out(k) if call.outputs[k] else None, "n": c, "count": parts,
                "C": dtype, "INDEX": index, "BLOCK": 256}  # fmt: skip
        launches.append(Launch(join_sums_kernel, (ceil_div(c, 256),), args))
    if call.outputs[0] and x.size:
        grid, tile = _map_tile(images * c, n)
        args = {
            "dout": In(0), "x": In(1), "mean": In(2), "rstd": In(3), "weight": _given(call, 4), "dweight": dweight,
            "dbias": dbias, "dx": Out(0), "rows": images * c, "channels": c, "n": n, "count": images * n, "C": dtype,
            "INDEX": index, **tile,
        }  # fmt: skip
        launches.append(Launch(plane_dx_kernel, grid, args))
    size = dtype.itemsize
    temps = [Workspace(parts * c * size)] * 2 + [Workspace(c * size)] * 2
    return Program(tuple(launches), tuple(temps), contiguous=used)
