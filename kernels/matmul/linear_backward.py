"""Gradients of linear: dx = dpre @ weight, dweight = dpre.T @ x, dbias = the sum of dpre over rows, where
dpre = dout activation'(saved). Shapes: R rows, N features out, K features in.

4 R N K FLOPs on (2 R N + 2 R K + 2 N K) elements that must move.
Small layers take one launch: programs of both products compute dpre from dout and saved as they load it (from L2, for
each tile anew), and those of dweight's first column of tiles add up dbias on the way. Larger ones take dpre and partial
sums of dbias in one pass (bound by memory, 3 R N elements), then two products, each as matmul would do it. Sums over
rows have an order that depends on shapes alone.

Versions: unmeasured, not yet run on hardware. Compiled, no spills: one launch with tiles of 64, bf16 109-128 registers
(2 wgmma a step without an activation on Hopper, else 16 mma.sync: wgmma would wait for each dpre that it takes from
registers), tf32x3 148-167; tiles of 32, 93-117; dpre with GELU 124-168, loads and stores of 16 bytes.
"""

from __future__ import annotations

import math
from typing import Any

from dlcore.dtypes import DType, float64
from dlcore.kernels.common.activations import ACTIVATIONS
from dlcore.kernels.language import Kernel, jit, tl
from dlcore.kernels.launch import (
    Call,
    In,
    Launch,
    Out,
    Program,
    accumulator,
    ceil_div,
    index_dtype,
    power_of_2,
    shared_out,
)  # fmt: skip
from dlcore.kernels.matmul.epilogue import multiply_add
from dlcore.kernels.matmul.plan import multiply
from dlcore.kernels.matmul.precision import float32_precision
from dlcore.kernels.matmul.product import (
    Builder,
    Matrix,
    as_contiguous,
    flat,
    matrix,
    product,
    row_major,
    unit_of,
)

__all__ = ["linear_backward"]

# ---- one launch ---------------------------------------------------------------------------------------------------


@jit
def load_dpre(dout, saved, at, mask, GRADIENT: tl.constexpr, ACC: tl.constexpr):
    """dpre at these places, rounded to the dtype of dout."""
    value = tl.load(dout + at, mask, 0)
    if GRADIENT is not None:
        kept = tl.load(saved + at, mask, 0).to(ACC)
        value = GRADIENT(value.to(ACC), kept).to(value.dtype)
    return value


@jit
def small_kernel(
    dout, x, weight, saved, dx, dweight, dbias, r, n_units, k_units, stride_w, tiles_dx, columns_dw,
    TILE: tl.constexpr, STEP: tl.constexpr, UNIT_N: tl.constexpr, UNIT_K: tl.constexpr, UNIT_W: tl.constexpr,
    WEIGHT_BY_ROWS: tl.constexpr, GRADIENT: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    n, k, stride_w = n_units * UNIT_N, k_units * UNIT_K, stride_w * UNIT_W
    program = tl.program_id(0)
    tile, step = tl.arange(0, TILE), tl.arange(0, STEP)
    acc = tl.zeros((TILE, TILE), ACC)
    if program < tiles_dx:
        across = tl.cdiv(k, TILE)
        rows, columns = program // across * TILE + tile, program % across * TILE + tile
        for start in range(0, n, STEP):
            features = start + step
            mask = (rows < r)[:, None] & (features < n)[None, :]
            dpre = load_dpre(dout, saved, rows[:, None] * n + features[None, :], mask, GRADIENT, ACC)
            if WEIGHT_BY_ROWS:
                at = features[:, None] * stride_w + columns[None, :]
            else:
                at = features[:, None] + columns[None, :] * stride_w
            w = tl.load(weight + at, (features < n)[:, None] & (columns < k)[None, :], 0)
            acc = multiply_add(dpre, w, acc, PRECISION)
        if dx is not None:
            mask = (rows < r)[:, None] & (columns < k)[None, :]
            tl.store(dx + rows[:, None] * k + columns[None, :], acc.to(dx.dtype.element_ty), mask)
    else:
        place = program - tiles_dx
        features, columns = place // columns_dw * TILE + tile, place % columns_dw * TILE + tile
        total = tl.zeros((TILE,), ACC)
        for start in range(0, r, STEP):
            rows = start + step
            mask = (features < n)[:, None] & (rows < r)[None, :]
            dpre = load_dpre(dout, saved, rows[None, :] * n + features[:, None], mask, GRADIENT, ACC)
            total += tl.sum(dpre.to(ACC), 1)
            if dweight is not None:
                mask = (rows < r)[:, None] & (columns < k)[None, :]
                value = tl.load(x + rows[:, None] * k + columns[None, :], mask, 0)
                acc = multiply_add(dpre, value, acc, PRECISION)
        if dweight is not None:
            mask = (features < n)[:, None] & (columns < k)[None, :]
            tl.store(dweight + features[:, None] * k + columns[None, :], acc.to(dweight.dtype.element_ty), mask)
        if dbias is not None:
            mine = tl.where(place % columns_dw == 0, n, 0)  # the first tile of each row of them writes
            tl.store(dbias + features, total.to(dbias.dtype.element_ty), features < mine)


def _small(builder: Builder, call: Call, weight: Matrix, sizes: tuple[int, int, int], gradient: Kernel | None) -> None:
    r, n, k = sizes
    dx, dweight, dbias = call.outputs
    dtype = weight.dtype
    double, tensor_memory = dtype is float64, builder.arch.capability // 10 in (10, 11)  # whose detour costs registers
    hopper = builder.arch.capability // 10 == 9 and gradient is not None  # where wgmma would be serialised
    tile = 32 if double or hopper or r * n * k < 1 << 20 or (tensor_memory and dtype.itemsize == 4) else 64
    precision = float32_precision()
    step = 16 if double or (tile == 32 and dtype.itemsize == 4 and precision != "tf32") else 32
    tiles_dx = ceil_div(r, tile) * ceil_div(k, tile) if dx else 0
    columns = max(1, ceil_div(k, tile)) if dweight else 1
    rest = ceil_div(n, tile) * columns if dweight or dbias else 0
    unit_n, unit_k, unit_w = (unit_of(dtype.itemsize, size) for size in (n, k, weight.pitch))
    args = {
        "dout": In(0), "x": In(1), "weight": In(2), "saved": In(3) if gradient else None, "dx": dx and Out(0),
        "dweight": dweight and Out(1), "dbias": dbias and Out(2), "r": r, "n_units": n // unit_n,
        "k_units": k // unit_k, "stride_w": weight.pitch // unit_w, "tiles_dx": tiles_dx, "columns_dw": columns,
        "TILE": tile, "STEP": step, "UNIT_N": unit_n, "UNIT_K": unit_k, "UNIT_W": unit_w,
        "WEIGHT_BY_ROWS": weight.by_rows, "GRADIENT": gradient, "PRECISION": precision,
        "ACC": accumulator(dtype),
    }  # fmt: skip
    builder.contiguous |= {0, 1} | ({3} if gradient else set())
    builder.launches.append(Launch(small_kernel, (tiles_dx + rest,), args, 8 if double else 4, 3))


# ---- dpre and the sums of its columns -----------------------------------------------------------------------------


@jit
def dpre_kernel(
    dout, saved, dpre, sums, r, n_units, stripe,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, UNIT_N: tl.constexpr, GRADIENT: tl.constexpr, ACC: tl.constexpr,
    INDEX: tl.constexpr,
):  # fmt: skip
    n = n_units * tl.full((), UNIT_N, INDEX)
    first = tl.program_id(1).to(INDEX) * stripe
    last = tl.minimum(r, first + stripe)
    columns = tl.program_id(0).to(INDEX) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), ACC)
    for start in range(first, last, ROWS):
        rows = (start + tl.arange(0, ROWS)).to(tl.int64)
        mask = (rows < last)[:, None] & (columns < n)[None, :]
        at = rows[:, None] * n + columns[None, :]
        value = load_dpre(dout, saved, at, mask, GRADIENT, ACC)
        if dpre is not None:
            tl.store(dpre + at, value, mask)
        total += value.to(ACC)
    if sums is not None:
        tl.store(sums + tl.program_id(1) * n + columns, tl.sum(total, 0), columns < n)


@jit
def columns_kernel(sums, out, stripes, n, STRIPES: tl.constexpr, COLUMNS: tl.constexpr):
    columns = tl.program_id(0).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
    rows = tl.arange(0, STRIPES).to(tl.int64)
    mask = (rows < stripes)[:, None] & (columns < n)[None, :]
    total = tl.sum(tl.load(sums + rows[:, None] * n + columns[None, :], mask, 0), 0)
    tl.store(out + columns, total.to(out.dtype.element_ty), columns < n)


def _dpre(builder: Builder, sizes: tuple[int, int], dtype: DType, gradient: Kernel | None, bias: bool) -> Any:
    """Adds the pass over dout; returns where dpre is."""
    r, n = sizes
    columns, rows = 128, 32 if gradient is None else 16
    across = ceil_div(n, columns)
    stripes = max(1, min(64, ceil_div(r, 2 * rows), 4 * builder.arch.multiprocessors // across))
    share, stripes = shared_out(ceil_div(r, rows), stripes)
    stripe = share * rows
    unit = unit_of(dtype.itemsize, n)
    dpre = builder.temp(r * n, dtype) if gradient else None
    sums = builder.temp(stripes * n, accumulator(dtype)) if bias else None
    args = {
        "dout": In(0), "saved": In(3) if gradient else None, "dpre": dpre, "sums": sums, "r": r,
        "n_units": n // unit, "stripe": stripe, "ROWS": rows, "COLUMNS": columns, "UNIT_N": unit,
        "GRADIENT": gradient, "ACC": accumulator(dtype), "INDEX": index_dtype(max(r, n)),
    }  # fmt: skip
    builder.contiguous |= {0} | ({3} if gradient else set())
    builder.launches.append(Launch(dpre_kernel, (across, stripes), args, num_warps=4))
    if bias:
        final = {"sums": sums, "out": Out(2), "stripes": stripes, "n": n, "STRIPES": power_of_2(stripes), "COLUMNS": 32}
        builder.launches.append(Launch(columns_kernel, (ceil_div(n, 32),), final, num_warps=4))
    return dpre or In(0)


# ---- the operation ------------------------------------------------------------------------------------------------


# R, R N and R N K up to which one launch does it all; so none of its offsets comes near 2^31.
SMALL_ROWS, SMALL_DPRE, SMALL_WORK = 1024, 1 << 17, 1 << 26


def linear_backward(call: Call) -> Program:
    """dx, dweight and dbias, each only where it is wanted."""
    dout, x, weight_view, _ = call.inputs
    dx, dweight, dbias = call.outputs
    assert dout is not None and x is not None and weight_view is not None
    builder = Builder(call.arch)
    activation = ACTIVATIONS.get(call.attrs[0])
    gradient = activation and activation.gradient
    r, (n, k), dtype = math.prod(dout.shape[:-1]), weight_view.shape, dout.dtype
    if not any(o is not None and o.size for o in call.outputs):
        return Program(())
    weight = matrix(In(2), weight_view, ())
    if not weight.dense or not weight.aligned or weight.pitch * max(n, k) >= 1 << 31:
        builder.contiguous.add(2)
        weight = matrix(In(2), as_contiguous(weight_view), ())
    some = max(r, 1)  # without rows dweight has to be written all the same
    if r <= SMALL_ROWS and some * n <= SMALL_DPRE and some * n * k <= SMALL_WORK:
        _small(builder, call, weight, (r, n, k), gradient)
        return builder.program()
    place = In(0)
    builder.contiguous.add(0)
    if gradient is not None or dbias is not None:
        place = _dpre(builder, (r, n), dtype, gradient, dbias is not None)
    dpre = row_major(place, dtype, r, n)
    if dx is not None and dx.size:
        multiply(builder, product(dpre, weight, (), out=Out(0)))
    if dweight is not None and dweight.size:
        multiply(builder, product(dpre.transposed, flat(builder, 1, x), (), out=Out(1)))
    return builder.program()
