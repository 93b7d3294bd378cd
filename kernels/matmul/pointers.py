"""C = activation(A @ B + bias) tile by tile through pointers: the kernel for every architecture, layout and shape.

2 M N K FLOPs on (M K + K N + M N) elements that must move; bound by arithmetic where tiles are many and deep, by memory
where one side is short. A program computes one tile of C (or one slice of its sum, split-K) with A and B going through
shared memory NUM_STAGES deep. Rows and columns beyond the edge are loaded from row 0 and never stored, so that only K
needs a mask. Strides and sizes come in units of 16 bytes where they divide: loads are 16-byte cp.async then.

Versions: unmeasured, not yet run on hardware. Compiled: registers, shared KiB, instructions of one step of K;
no spills, with bias, ReLU, GELU and the saved value too; all loads are 16-byte cp.async unless rows are odd:
  sm_80   bf16 128x256x32 w8 252, 48, 64 mma.sync; 128x128x64 w8 188, 64; 16x64x128 w4 80, 60;
          tf32x3 128x64x32 w8 170, 48, 96 mma.sync
  sm_90   bf16 128x64x64 w4 128, 96, 8 wgmma; 64x16x128 w4 56, 80, 8 wgmma; tf32x3 64x64x32 w4 140, 64, 12 wgmma
  sm_100  bf16 128x64x64 w4 124, 96, 8 tcgen05; 64x16x128 w4 48, 80; tf32x3 64x64x32 w4 117, 64, 12 tcgen05
  sm_120  bf16 64x64x64 w8 70, 32, 16 mma.sync; 16x64x128 w4 72, 40; tf32x3 128x64x32 w8 235, 48, 96 mma.sync
"""

from __future__ import annotations

from typing import Any

from dlcore.dtypes import DType, float64
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Arch, Launch, accumulator, ceil_div, index_dtype
from dlcore.kernels.matmul.epilogue import activate, grouped, multiply_add, with_bias
from dlcore.kernels.matmul.product import Product, unit_of
from dlcore.kernels.matmul.tiles import Tile, parts

__all__ = ["launch"]


@jit
def tile_start(x, row, column, stride, ROWS: tl.constexpr, BY_ROWS: tl.constexpr):
    """x + the offset of element (row, column): int64, for matrices beyond 2^31 elements."""
    if BY_ROWS:
        x += row.to(tl.int64) * ROWS * stride + column
    else:
        x += row.to(tl.int64) * ROWS + column * stride
    return x


@jit
def inside(length, BLOCK: tl.constexpr, UNIT: tl.constexpr):
    """0 .. BLOCK - 1, and 0 instead of what lies beyond length. UNIT neighbours stay neighbours: without the hint the
    compiler would load elements one by one."""
    i = tl.arange(0, BLOCK)
    return tl.max_contiguous(tl.multiple_of(tl.where(i < length, i, 0), UNIT), UNIT)


@jit
def batch_offset(entry, batch_inner, outer, inner, UNIT: tl.constexpr, AXES: tl.constexpr):
    """Where the matrix of this entry of the batch begins, in elements."""
    unit = tl.full((), UNIT, tl.int64)
    if AXES == 2:
        unit *= (entry // batch_inner) * outer + (entry % batch_inner) * inner
    else:
        unit *= entry * inner
    return unit


@jit
def load_bias(
    bias, row, column, m, n, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, SWAPPED: tl.constexpr
):  # fmt: skip
    """The bias of a tile, one for each column of the result, or None."""
    values = None
    if bias is not None:
        if SWAPPED:
            places = row * BLOCK_M + tl.arange(0, BLOCK_M)
            values = tl.load(bias + places, places < m, 0)
        else:
            places = column * BLOCK_N + tl.arange(0, BLOCK_N)
            values = tl.load(bias + places, places < n, 0)
    return values


@jit
def store_tile(
    acc, c, before, pre, bias, row, column, m, n, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    ACTIVATION: tl.constexpr, SWAPPED: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Epilogue and masked stores of one tile, in PARTS from left to right: a long activation on all of it at once would
    not fit into registers. SWAPPED: element (i, j) of this product is (j, i) of the result."""
    if PARTS == 1:
        rows, columns = row * BLOCK_M + tl.arange(0, BLOCK_M), column * BLOCK_N + tl.arange(0, BLOCK_N)
        mask = (rows < m)[:, None] & (columns < n)[None, :]
        if SWAPPED:
            at = columns.to(tl.int64)[None, :] * m + rows[:, None]
        else:
            at = rows.to(tl.int64)[:, None] * n + columns[None, :]
        if before is not None:
            acc += tl.load(before + at, mask, 0)
        values = bias
        if bias is not None:
            values = bias[:, None] if SWAPPED else bias[None, :]
        x = with_bias(acc, values, c.dtype.element_ty)
        if pre is not None:
            tl.store(pre + at, x, mask)
        tl.store(c + at, activate(x.to(acc.dtype), ACTIVATION).to(x.dtype), mask)
    else:
        HALF: tl.constexpr = BLOCK_N // 2
        left, right = acc.reshape(BLOCK_M, 2, HALF).permute(0, 2, 1).split()
        left_bias, right_bias = bias, bias
        if bias is not None and not SWAPPED:
            left_bias, right_bias = bias.reshape(2, HALF).permute(1, 0).split()
        store_tile(
            left, c, before, pre, left_bias, row, 2 * column, m, n, BLOCK_M, HALF, ACTIVATION, SWAPPED, PARTS // 2
        )  # fmt: skip
        store_tile(
            right, c, before, pre, right_bias, row, 2 * column + 1, m, n, BLOCK_M, HALF, ACTIVATION, SWAPPED, PARTS // 2
        )  # fmt: skip


@jit
def pointers_kernel(
    a, b, c, before, pre, bias, m_units, n_units, k_units, share, stride_a, stride_b, batch_inner,
    a_outer, a_inner, b_outer, b_inner,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr, SPLITS: tl.constexpr,
    AXES: tl.constexpr, A_BY_ROWS: tl.constexpr, B_BY_ROWS: tl.constexpr, UNIT_A: tl.constexpr, UNIT_B: tl.constexpr,
    UNIT_M: tl.constexpr, UNIT_N: tl.constexpr, UNIT_K: tl.constexpr, WHOLE_K: tl.constexpr, ACTIVATION: tl.constexpr,
    SWAPPED: tl.constexpr, PRECISION: tl.constexpr, PARTS: tl.constexpr, ACC: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    m, n, k = (
        m_units * tl.full((), UNIT_M, INDEX), n_units * tl.full((), UNIT_N, INDEX), k_units * tl.full((), UNIT_K, INDEX)
    )  # fmt: skip
    tiles_m, tiles_n, steps = tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N), tl.cdiv(k, BLOCK_K)
    tile, rest = tl.program_id(0) % (tiles_m * tiles_n), tl.program_id(0) // (tiles_m * tiles_n)
    split, entry = rest % SPLITS, (rest // SPLITS).to(tl.int64)
    row, column = grouped(tile, tiles_m, tiles_n, GROUP)
    begin, end = 0, tl.maximum(steps, 1)
    if SPLITS > 1:
        begin = split * (share // BLOCK_K)
        end = tl.minimum(steps, begin + share // BLOCK_K)
        tl.assume(begin < end)  # `shares` leaves no split without a step

    stride_a, stride_b = stride_a * tl.full((), UNIT_A, tl.int64), stride_b * tl.full((), UNIT_B, tl.int64)
    a = tile_start(a, row, begin * BLOCK_K, stride_a, BLOCK_M, A_BY_ROWS)
    b = tile_start(b, column, begin * BLOCK_K, stride_b, BLOCK_N, not B_BY_ROWS)
    a += batch_offset(entry, batch_inner, a_outer, a_inner, UNIT_A, AXES)
    b += batch_offset(entry, batch_inner, b_outer, b_inner, UNIT_B, AXES)
    along = tl.arange(0, BLOCK_K)
    if A_BY_ROWS:
        a_at = inside(m - row * BLOCK_M, BLOCK_M, 1)[:, None] * stride_a + along[None, :]
        a_step = tl.full((), BLOCK_K, tl.int64)
    else:
        a_at = inside(m - row * BLOCK_M, BLOCK_M, UNIT_A)[:, None] + along[None, :] * stride_a
        a_step = stride_a * BLOCK_K
    if B_BY_ROWS:
        b_at = along[:, None] * stride_b + inside(n - column * BLOCK_N, BLOCK_N, UNIT_B)[None, :]
        b_step = stride_b * BLOCK_K
    else:
        b_at = along[:, None] + inside(n - column * BLOCK_N, BLOCK_N, 1)[None, :] * stride_b
        b_step = tl.full((), BLOCK_K, tl.int64)
    a_tile, b_tile = a + a_at, b + b_at
    values = load_bias(bias, row, column, m, n, BLOCK_M, BLOCK_N, SWAPPED)  # arrives while the sums are made
    acc = tl.zeros((BLOCK_M, BLOCK_N), ACC)
    for step in range(begin, end):
        if WHOLE_K:
            x, y = tl.load(a_tile), tl.load(b_tile)
        else:
            left = k - step * BLOCK_K
            x, y = tl.load(a_tile, along[None, :] < left, 0), tl.load(b_tile, along[:, None] < left, 0)
        acc = multiply_add(x, y, acc, PRECISION)
        a_tile += a_step
        b_tile += b_step
    place = entry * m * n
    if SPLITS > 1:
        place += split * (tl.num_programs(0) // (tiles_m * tiles_n * SPLITS)).to(tl.int64) * m * n
    if before is not None:
        before += place
    if pre is not None:
        pre += place
    store_tile(acc, c + place, before, pre, values, row, column, m, n, BLOCK_M, BLOCK_N, ACTIVATION, SWAPPED, PARTS)


def launch(p: Product, tile: Tile, precision: str, arch: Arch, share: int, slices: Any = None) -> Launch:
    """The launch for one product; or for ``slices`` of its sums over ``share`` terms each, without epilogue."""
    heavy = slices is None and p.heavy
    args = {
        "a": p.a.pointer, "b": p.b.pointer, **results(p, slices), **sizes(p, p.dtype.itemsize), **strides(p),
        "share": share, "BLOCK_M": tile.m, "BLOCK_N": tile.n, "BLOCK_K": tile.k, "GROUP": tile.group,
        "SPLITS": tile.splits, "WHOLE_K": p.k > 0 and p.k % tile.k == 0, "PRECISION": precision,
        "PARTS": parts(tile, p.dtype, arch, heavy, scattered(p), added=p.before is not None),
        "ACC": accumulator(p.dtype), "INDEX": side_dtype(p),
    }  # fmt: skip
    blocks = ceil_div(p.m, tile.m) * ceil_div(p.n, tile.n)
    # Without a limit ptxas aims at 64 registers for some kernels of these kinds, and spills 8 or 16 bytes.
    options = {"maxnreg": 255} if scattered(p) or p.dtype is float64 else {}
    return Launch(pointers_kernel, (blocks * tile.splits * p.entries,), args, tile.warps, tile.stages, options)


def side_dtype(p: Product) -> DType:
    """What rows, columns and terms are counted in."""
    return index_dtype(max(p.m, p.n, p.k))


def scattered(p: Product) -> bool:
    """Whether results are stored by 4 bytes or less, each at an address of its own, which takes registers."""
    return unit_of(p.dtype.itemsize, p.m if p.swapped else p.n) * p.dtype.itemsize <= 4


def results(p: Product, slices: Any) -> dict[str, Any]:
    """Where results go, and how."""
    if slices is not None:
        return {"c": slices, "before": None, "pre": None, "bias": None, "ACTIVATION": None, "SWAPPED": p.swapped}
    return {
        "c": p.out, "before": p.before, "pre": p.pre, "bias": p.bias, "ACTIVATION": p.epilogue, "SWAPPED": p.swapped,
    }  # fmt: skip


def sizes(p: Product, itemsize: int) -> dict[str, int]:
    """M, N and K in units that loads and stores can take at once."""
    args = {}
    for letter, size in (("m", p.m), ("n", p.n), ("k", p.k)):
        unit = unit_of(itemsize, size)
        args |= {f"{letter}_units": size // unit, f"UNIT_{letter.upper()}": unit}
    return args


def strides(p: Product) -> dict[str, Any]:
    """Strides of operands and batch, in units."""
    a, b, axes = p.a, p.b, len(p.batch)
    ua, ub = a.unit, b.unit
    outer_a, inner_a = (0, 0, *a.batch)[-2:]
    outer_b, inner_b = (0, 0, *b.batch)[-2:]
    return {
        "stride_a": a.pitch // ua, "stride_b": b.pitch // ub, "A_BY_ROWS": a.by_rows, "B_BY_ROWS": b.by_rows,
        "UNIT_A": ua, "UNIT_B": ub, "AXES": axes, "batch_inner": p.batch[-1] if axes else 1,
        "a_outer": outer_a // ua, "a_inner": inner_a // ua, "b_outer": outer_b // ub, "b_inner": inner_b // ub,
    }  # fmt: skip
