"""Layer and RMS normalisation of rows, and their gradients; group normalisation, whose rows are groups of channels.

Bound: memory. Forward one read and one write of each element (8 bytes for float32, 4 for 16-bit floats), about 8
operations; backward two reads and one write for dx, and where rows no longer fit the caches a second read for the sums
over rows. Statistics and sums are float32 (float64 for float64). The mean is found twice, the second time of what the
first leaves, so that rows far from 0 keep their digits.

Versions, all unmeasured (not yet run on hardware):
1. whole rows in registers up to 8192 columns (4096 backward), several rows a program where they are short.
2. longer rows block by block, read three times forward and twice backward, all but the first mostly from L2.

Gradients of weight and bias are sums over rows in two stages: at most 64 parts of the rows, then the parts in order. No
atomics: the order follows from shapes alone.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from dlcore.dtypes import DType, float64
from dlcore.kernels.common.math import divide, root
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

FORWARD, BACKWARD = 8192, 4096  # columns that one program holds
PARTS = 64  # of the rows, whose sums are added at the end


@jit
def inverse_root(x):
    r = root(x)
    return divide(tl.full(r.shape, 1, r.dtype), r)


@jit
def vector_of(pointer, row, col, mask, period, width, INNER: tl.constexpr, C: tl.constexpr):
    """Weights of a tile: of its columns, or of the channel of each element."""
    if INNER == 0:
        return tl.load(pointer + col, mask, 0).to(C)
    else:
        return tl.load(pointer + (row % period) * width + col // INNER, mask, 0).to(C)


@jit
def store_tile(out, at, y, row, col, mask, weight, bias, period, width, INNER: tl.constexpr, C: tl.constexpr):
    if weight is not None:
        y = y * vector_of(weight, row, col, mask, period, width, INNER, C)
    if bias is not None:
        y = y + vector_of(bias, row, col, mask, period, width, INNER, C)
    tl.store(out + at, y.to(out.dtype.element_ty), mask)


@jit
def row_norm_kernel(
    x, weight, bias, out, mean, rstd, rows, n, period, width, eps, CENTRED: tl.constexpr, INNER: tl.constexpr,
    C: tl.constexpr, INDEX: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    row = tl.expand_dims(tl.program_id(0).to(INDEX) * BLOCK_R + tl.arange(0, BLOCK_R), 1)
    col = tl.expand_dims(tl.arange(0, BLOCK_N), 0)
    inside = row < rows
    size = tl.full((BLOCK_R, 1), n, C)
    middle = tl.zeros((BLOCK_R, 1), C)
    if WHOLE:
        mask = inside & (col < n)
        v = tl.load(x + row * n + col, mask, 0).to(C)
        if CENTRED:
            middle = divide(tl.sum(v, 1, keep_dims=True), size)
            v = tl.where(mask, v - middle, 0)
            rest = divide(tl.sum(v, 1, keep_dims=True), size)
            v = tl.where(mask, v - rest, 0)
            middle += rest
        scale = inverse_root(divide(tl.sum(v * v, 1, keep_dims=True), size) + eps)
        store_tile(out, row * n + col, v * scale, row, col, mask, weight, bias, period, width, INNER, C)
    else:
        rest = tl.zeros((BLOCK_R, 1), C)
        if CENTRED:
            sums = tl.zeros((BLOCK_R, BLOCK_N), C)
            for start in range(0, n, BLOCK_N):
                mask = inside & (col < n - start)
                sums += tl.load(x + row * n + start + col, mask, 0).to(C)
            middle = divide(tl.sum(sums, 1, keep_dims=True), size)
            sums = tl.zeros((BLOCK_R, BLOCK_N), C)
            for start in range(0, n, BLOCK_N):
                mask = inside & (col < n - start)
                sums += tl.where(mask, tl.load(x + row * n + start + col, mask, 0).to(C) - middle, 0)
            rest = divide(tl.sum(sums, 1, keep_dims=True), size)
        squares = tl.zeros((BLOCK_R, BLOCK_N), C)
        for start in range(0, n, BLOCK_N):
            mask = inside & (col < n - start)
            v = tl.where(mask, tl.load(x + row * n + start + col, mask, 0).to(C) - middle - rest, 0)
            squares += v * v
        scale = inverse_root(divide(tl.sum(squares, 1, keep_dims=True), size) + eps)
        for start in range(0, n, BLOCK_N):
            mask = inside & (col < n - start)
            v = (tl.load(x + row * n + start + col, mask, 0).to(C) - middle - rest) * scale
            at = row * n + start + col
            store_tile(out, at, v, row, start + col, mask, weight, bias, period, width, INNER, C)
        middle += rest
    if mean is not None:
        tl.store(mean + row, middle, inside)
    if rstd is not None:
        tl.store(rstd + row, scale, inside)


@jit
def row_dx_kernel(
    dout, x, mean, rstd, weight, dx, rows, n, period, width, CENTRED: tl.constexpr, INNER: tl.constexpr,
    C: tl.constexpr, INDEX: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    row = tl.expand_dims(tl.program_id(0).to(INDEX) * BLOCK_R + tl.arange(0, BLOCK_R), 1)
    col = tl.expand_dims(tl.arange(0, BLOCK_N), 0)
    inside = row < rows
    size = tl.full((BLOCK_R, 1), n, C)
    middle = tl.load(mean + row, inside, 0).to(C) if CENTRED else tl.zeros((BLOCK_R, 1), C)
    scale = tl.load(rstd + row, inside, 0).to(C)
    if WHOLE:
        mask = inside & (col < n)
        g = tl.load(dout + row * n + col, mask, 0).to(C)
        if weight is not None:
            g = g * vector_of(weight, row, col, mask, period, width, INNER, C)
        xhat = tl.where(mask, (tl.load(x + row * n + col, mask, 0).to(C) - middle) * scale, 0)
        rest = xhat * divide(tl.sum(g * xhat, 1, keep_dims=True), size)
        if CENTRED:
            rest += divide(tl.sum(g, 1, keep_dims=True), size)
        tl.store(dx + row * n + col, ((g - rest) * scale).to(dx.dtype.element_ty), mask)
    else:
        sums, products = tl.zeros((BLOCK_R, BLOCK_N), C), tl.zeros((BLOCK_R, BLOCK_N), C)
        for start in range(0, n, BLOCK_N):
            mask = inside & (col < n - start)
            g = tl.load(dout + row * n + start + col, mask, 0).to(C)
            if weight is not None:
                g = g * vector_of(weight, row, start + col, mask, period, width, INNER, C)
            sums += g
            products += g * tl.where(mask, (tl.load(x + row * n + start + col, mask, 0).to(C) - middle) * scale, 0)
        product = divide(tl.sum(products, 1, keep_dims=True), size)
        total = divide(tl.sum(sums, 1, keep_dims=True), size) if CENTRED else tl.zeros((BLOCK_R, 1), C)
        for start in range(0, n, BLOCK_N):
            mask = inside & (col < n - start)
            g = tl.load(dout + row * n + start + col, mask, 0).to(C)
            if weight is not None:
                g = g * vector_of(weight, row, start + col, mask, period, width, INNER, C)
            xhat = (tl.load(x + row * n + start + col, mask, 0).to(C) - middle) * scale
            y = (g - total - xhat * product) * scale
            tl.store(dx + row * n + start + col, y.to(dx.dtype.element_ty), mask)


@jit
def row_sums_kernel(
    dout, x, mean, rstd, weights, biases, rows, n, share, CENTRED: tl.constexpr, C: tl.constexpr,
    INDEX: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Of one part of the rows: the sums of dout * xhat and of dout, for BLOCK_N columns."""
    col = tl.program_id(0).to(INDEX) * BLOCK_N + tl.arange(0, BLOCK_N)
    part = tl.program_id(1).to(INDEX)
    end = tl.minimum(part * share + share, rows)
    of_weight, of_bias = tl.zeros((BLOCK_R, BLOCK_N), C), tl.zeros((BLOCK_R, BLOCK_N), C)
    for start in range(0, share, BLOCK_R):
        row = tl.expand_dims(part * share + start + tl.arange(0, BLOCK_R), 1)
        mask = (row < end) & (tl.expand_dims(col, 0) < n)
        d = tl.load(dout + row * n + tl.expand_dims(col, 0), mask, 0).to(C)
        v = tl.load(x + row * n + tl.expand_dims(col, 0), mask, 0).to(C)
        if CENTRED:
            v = v - tl.load(mean + row, row < end, 0).to(C)
        of_weight += d * tl.where(mask, v * tl.load(rstd + row, row < end, 0).to(C), 0)
        of_bias += d
    if weights is not None:
        tl.store(weights + part * n + col, tl.sum(of_weight, 0), col < n)
    if biases is not None:
        tl.store(biases + part * n + col, tl.sum(of_bias, 0), col < n)


@jit
def join_parts_kernel(parts, out, n, count, C: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr):
    """The sums of all parts, in order."""
    col = tl.program_id(0).to(INDEX) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), C)
    for k in range(count):
        total += tl.load(parts + k * n + col, col < n, 0)
    tl.store(out + col, total.to(out.dtype.element_ty), col < n)


@jit
def plane_sums_kernel(
    dout, x, mean, rstd, weights, biases, images, channels, n, groups, width, share, C: tl.constexpr,
    INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Of one channel and one part of the images: the sums of dout * xhat and of dout over planes of n elements."""
    channel = tl.program_id(0).to(INDEX)
    part = tl.program_id(1).to(INDEX)
    i = tl.arange(0, BLOCK)
    of_weight, of_bias = tl.zeros((BLOCK,), C), tl.zeros((BLOCK,), C)
    for image in range(part * share, tl.minimum(part * share + share, images)):
        row = image * groups + channel // width
        middle, scale = tl.load(mean + row).to(C), tl.load(rstd + row).to(C)
        plane = (image * channels + channel) * n
        for start in range(0, n, BLOCK):
            mask = i < n - start
            d = tl.load(dout + plane + start + i, mask, 0).to(C)
            v = tl.load(x + plane + start + i, mask, 0).to(C)
            of_weight += d * tl.where(mask, (v - middle) * scale, 0)
            of_bias += d
    if weights is not None:
        tl.store(weights + part * channels + channel, tl.sum(of_weight, 0))
    if biases is not None:
        tl.store(biases + part * channels + channel, tl.sum(of_bias, 0))


# ---- planners -----------------------------------------------------------------------------------------------------
def _tile(rows: int, n: int, limit: int, dtype: DType) -> dict[str, Any]:
    """Rows and columns of a program, and whether they are whole rows."""
    limit //= 4 if dtype is float64 else 1
    block = power_of_2(n)
    if block > limit:
        return {"BLOCK_R": 1, "BLOCK_N": min(limit, 4096), "WHOLE": False}
    return {"BLOCK_R": min(max(1024 // block, 1), power_of_2(rows)), "BLOCK_N": block, "WHOLE": True}


def _warps(tile: dict[str, Any]) -> int:
    return max(1, min(8, tile["BLOCK_R"] * tile["BLOCK_N"] // 256))


def _number(value: float, dtype: DType) -> Any:
    return F64(value) if dtype is float64 else value


def _view(call: Call, k: int) -> View:
    found = call.inputs[k]
    assert found is not None
    return found


def _forward(
    call: Call, rows: int, n: int, centred: bool, vectors: tuple[int, ...], eps: float, channels: dict[str, int]
) -> Program:  # fmt: skip
    x = _view(call, 0)
    if not x.size:
        return Program(())
    tile, kept = _tile(rows, n, FORWARD, x.dtype), [Out(k) if v else None for k, v in enumerate(call.outputs)]
    weight, bias = (*[In(k) if call.inputs[k] else None for k in vectors], None)[:2]
    args = {
        "x": In(0), "weight": weight, "bias": bias, "out": Out(0), "mean": kept[1] if centred else None,
        "rstd": kept[-1], "rows": rows, "n": n, **channels, "eps": _number(eps, x.dtype), "CENTRED": centred,
        "C": accumulator(x.dtype), "INDEX": index_dtype(x.size), **tile,
    }  # fmt: skip
    order = ("x", "weight", "bias", "out", "mean", "rstd", "rows", "n", "period", "width", "eps")
    args = {name: args[name] for name in order} | {k: v for k, v in args.items() if k not in order}
    launch = Launch(row_norm_kernel, (ceil_div(rows, tile["BLOCK_R"]),), args, num_warps=_warps(tile))
    return Program((launch,), contiguous=tuple(k for k, v in enumerate(call.inputs) if v is not None))


ROWS = {"period": 1, "width": 1, "INNER": 0}


def forward(centred: bool, call: Call) -> Program:
    """The program of layer_norm_forward, or rms_norm_forward."""
    axes, eps = call.params
    x = _view(call, 0)
    n = 1
    for length in x.shape[len(x.shape) - int(axes) :]:
        n *= length
    rows = x.size // n if n else 0
    return _forward(call, rows, n, centred, (1, 2) if centred else (1,), float(eps), ROWS)


def _dx(call: Call, rows: int, n: int, centred: bool, channels: dict[str, int]) -> Launch:
    x, at = _view(call, 1), 3 if centred else 2
    tile = _tile(rows, n, BACKWARD, x.dtype)
    args = {
        "dout": In(0), "x": In(1), "mean": In(2) if centred else None, "rstd": In(at),
        "weight": In(at + 1) if call.inputs[at + 1] else None, "dx": Out(0), "rows": rows, "n": n,
        "period": channels["period"], "width": channels["width"], "CENTRED": centred, "INNER": channels["INNER"],
        "C": accumulator(x.dtype), "INDEX": index_dtype(x.size), **tile,
    }  # fmt: skip
    return Launch(row_dx_kernel, (ceil_div(rows, tile["BLOCK_R"]),), args, num_warps=_warps(tile))


def _joined(call: Call, n: int, parts: int, dtype: DType) -> tuple[list[Launch], list[Workspace], list[Any]]:
    """The launches that add parts to dweight and dbias, the workspaces of the parts, and where each is."""
    launches, temps, places = [], [], []
    for k in range(1, 3):
        if k >= len(call.outputs) or call.outputs[k] is None:
            places.append(None)
            continue
        place = Temp(len(temps), dtype)
        places.append(place)
        temps.append(Workspace(parts * n * dtype.itemsize))
        args = {"parts": place, "out": Out(k), "n": n, "count": parts, "C": dtype, "INDEX": index_dtype(parts * n),
                "BLOCK": 256}  # fmt: skip
        launches.append(Launch(join_parts_kernel, (ceil_div(n, 256),), args))
    return launches, temps, places


def backward(centred: bool, call: Call) -> Program:
    """The program of layer_norm_backward, or rms_norm_backward."""
    x, at = _view(call, 1), 3 if centred else 2
    rows, n = _view(call, at).size, 1
    for length in x.shape[len(_view(call, at).shape) :]:
        n *= length
    launches = [_dx(call, rows, n, centred, ROWS)] if call.outputs[0] and x.size else []
    block = min(power_of_2(max(n, 1)), 128)
    deep = max(1024 // block, 1)
    share = max(ceil_div(ceil_div(rows, PARTS), deep) * deep, deep)
    parts, dtype = max(ceil_div(rows, share), 1), accumulator(x.dtype)
    joins, temps, (weights, biases) = _joined(call, n, parts, dtype)
    if joins and n:
        args = {
            "dout": In(0), "x": In(1), "mean": In(2) if centred else None, "rstd": In(at), "weights": weights,
            "biases": biases, "rows": rows, "n": n, "share": share, "CENTRED": centred, "C": dtype,
            "INDEX": index_dtype(max(x.size, parts * n)), "BLOCK_R": deep, "BLOCK_N": block,
        }  # fmt: skip
        launches += [Launch(row_sums_kernel, (ceil_div(n, block), parts), args), *joins]
    used = tuple(k for k, v in enumerate(call.inputs) if v is not None)
    return Program(tuple(launches), tuple(temps), contiguous=used)


# ---- groups -------------------------------------------------------------------------------------------------------
def _groups(x: View, groups: int) -> dict[str, int]:
    """How the weights of a group lie: `width` channels of INNER elements each."""
    inner = 1
    for length in x.shape[2:]:
        inner *= length
    return {"period": groups, "width": x.shape[1] // groups, "INNER": inner}


def group_norm_forward(call: Call) -> Program:
    """The program of group_norm_forward with channels first."""
    groups, eps, _ = call.params
    x, channels = _view(call, 0), _groups(_view(call, 0), int(groups))
    rows = x.shape[0] * int(groups)
    return _forward(call, rows, channels["width"] * channels["INNER"], True, (1, 2), float(eps), channels)


def group_norm_backward(call: Call) -> Program:
    """The program of group_norm_backward with channels first."""
    x, groups = _view(call, 1), int(call.params[0])
    channels, images, c = _groups(x, groups), x.shape[0], x.shape[1]
    n, rows = channels["INNER"], images * groups
    launches = [_dx(call, rows, channels["width"] * n, True, channels)] if call.outputs[0] and x.size else []
    share = max(ceil_div(images, PARTS), 1)
    parts, dtype = max(ceil_div(images, share), 1), accumulator(x.dtype)
    joins, temps, (weights, biases) = _joined(call, c, parts, dtype)
    if joins and c:
        args = {
            "dout": In(0), "x": In(1), "mean": In(2), "rstd": In(3), "weights": weights, "biases": biases,
            "images": images, "channels": c, "n": n, "groups": groups, "width": channels["width"], "share": share,
            "C": dtype, "INDEX": index_dtype(max(x.size, parts * c)), "BLOCK": min(power_of_2(max(n, 1)), 1024),
        }  # fmt: skip
        launches += [Launch(plane_sums_kernel, (c, parts), args), *joins]
    used = tuple(k for k, v in enumerate(call.inputs) if v is not None)
    return Program(tuple(launches), tuple(temps), contiguous=used)


layer_norm_forward, rms_norm_forward = partial(forward, True), partial(forward, False)
layer_norm_backward, rms_norm_backward = partial(backward, True), partial(backward, False)
"""Planners of the rows."""
