"""C = activation(A @ B + bias) by a persistent kernel that moves tiles with TMA: large products on sm_90 and later.

2 M N K FLOPs on (M K + K N + M N) elements that must move; bound by arithmetic. As many programs as the SMs run at
once, one or two each (`PerSM`), walk over the tiles. The descriptors are made on the host (`Descriptor`), once for
each address; where warps are specialised, which Triton 3.9 does not compile so, each program makes its own as it
starts, 2 to 4 one after the other with a fence of the whole GPU each. TMA fills what lies beyond an edge with zeros,
so there are no masks; it wants addresses and strides divisible by 16 bytes, and a planner packs operands that are not
so (pack.py) into a workspace first. Loops: pipelined by software, flattened over tiles or not; or warp-specialised
(one warp group loads, two multiply, and an epilogue overlaps the next tile's loads), which on sm_90 happens only with
4 warps and flatten off.

Versions: unmeasured, not yet run on hardware. Compiled, without spills in all layouts and with every epilogue:
registers, shared KiB, matrix instructions of one step of K:
  sm_90   bf16 128x256x64 w8 s3 159-190, 176, 4 wgmma m64n256k16; specialised w4 s3 168, 161, setmaxnreg 40/232;
          s4 160-198, 224; tf32x3 128x128x32 w8 s3 190-210, 160, 12 wgmma
          two programs an SM: tf32x3 64x128x32 w4 s3 182-213, 112, 12 wgmma m64n128k8; bf16 128x128x64 w8 s2 95-117, 96,
          4 wgmma m64n128k16 (but 208 with a long activation of rows of odd length: then one)
  sm_100  bf16 128x256x64 w8 s3 136-234, 176, 8 tcgen05, 512 columns of tensor memory; tf32x3 176, 160, 24 tcgen05;
          two programs an SM: tf32x3 64x128x32 w4 s3 156-232, 112
  sm_120  bf16 128x128x64 w8 s3 122-170, 96, 64 mma.sync; 128x64x64 w4 s3 166, 64
Descriptors of the host leave the registers as they are (sm_90, bf16 128x256x64: 165) and take out 33 tensormap.replace,
3 fences of the tensor-map proxy and 384 bytes of scratch a program.
Stores in parts take GELU on 128x256 (sm_90) from 255 registers and 624 bytes of spills to 174 and none, and from 208 to
160 KiB, which leaves room for a fourth stage. Two programs an SM are for tf32x3, whose tensor cores wait three times a
step while operands are split: the other program's products fill the gap.
"""

from __future__ import annotations

from typing import Any

from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Arch, Descriptor, Launch, PerSM, accumulator, ceil_div
from dlcore.kernels.matmul.epilogue import activate, grouped, multiply_add, with_bias
from dlcore.kernels.matmul.pointers import load_bias, results, scattered, sizes, store_tile, strides
from dlcore.kernels.matmul.product import Matrix, Product
from dlcore.kernels.matmul.tiles import Tile, parts

__all__ = ["launch", "ready"]


@jit
def describe(
    x, entries, rows, columns, pitch, batch_stride,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, BY_ROWS: tl.constexpr, BATCHED: tl.constexpr,
):  # fmt: skip
    """The descriptor of an operand as it lies in memory; rows and columns are those of the product."""
    if BY_ROWS and BATCHED:
        blocks = tl.make_tensor_descriptor(x, [entries, rows, columns], [batch_stride, pitch, 1], [1, ROWS, COLUMNS])
    elif BY_ROWS:
        blocks = tl.make_tensor_descriptor(x, [rows, columns], [pitch, 1], [ROWS, COLUMNS])
    elif BATCHED:
        blocks = tl.make_tensor_descriptor(x, [entries, columns, rows], [batch_stride, pitch, 1], [1, COLUMNS, ROWS])
    else:
        blocks = tl.make_tensor_descriptor(x, [columns, rows], [pitch, 1], [COLUMNS, ROWS])
    return blocks


@jit
def load_block(
    x, entry, row, column, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BY_ROWS: tl.constexpr, BATCHED: tl.constexpr
):
    """A block of an operand, (ROWS, COLUMNS) whichever way it lies in memory."""
    if BY_ROWS and BATCHED:
        block = x.load([entry, row, column]).reshape(ROWS, COLUMNS)
    elif BY_ROWS:
        block = x.load([row, column])
    elif BATCHED:
        block = x.load([entry, column, row]).reshape(COLUMNS, ROWS).T
    else:
        block = x.load([column, row]).T
    return block


@jit
def store_blocks(
    acc, c, pre, bias, entry, row, column, n, M: tl.constexpr, N: tl.constexpr, ACTIVATION: tl.constexpr,
    BATCHED: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Epilogue of a tile in PARTS, left to right, stored by TMA, which drops what lies beyond the edges.

    Parts need less shared memory on their way, and an activation fewer registers."""
    if PARTS == 1:
        values = None
        if bias is not None:
            columns = column + tl.arange(0, N)
            values = tl.load(bias + columns, columns < n, 0)[None, :]
        x = with_bias(acc, values, c.dtype)
        y = activate(x.to(acc.dtype), ACTIVATION).to(x.dtype)
        if BATCHED:
            if pre is not None:
                pre.store([entry, row, column], x.reshape(1, M, N))
            c.store([entry, row, column], y.reshape(1, M, N))
        else:
            if pre is not None:
                pre.store([row, column], x)
            c.store([row, column], y)
    else:
        HALF: tl.constexpr = N // 2
        left, right = acc.reshape(M, 2, HALF).permute(0, 2, 1).split()
        store_blocks(left, c, pre, bias, entry, row, column, n, M, HALF, ACTIVATION, BATCHED, PARTS // 2)
        store_blocks(right, c, pre, bias, entry, row, column + HALF, n, M, HALF, ACTIVATION, BATCHED, PARTS // 2)


@jit
def tma_kernel(
    a, b, c, before, pre, bias, entries, m_units, n_units, k_units, share, stride_a, stride_b, a_batch, b_batch,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr, SPLITS: tl.constexpr,
    BATCHED: tl.constexpr, A_MANY: tl.constexpr, B_MANY: tl.constexpr, A_BY_ROWS: tl.constexpr,
    B_BY_ROWS: tl.constexpr, UNIT_A: tl.constexpr, UNIT_B: tl.constexpr, UNIT_M: tl.constexpr, UNIT_N: tl.constexpr,
    UNIT_K: tl.constexpr, ACTIVATION: tl.constexpr, SWAPPED: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr,
    STORES: tl.constexpr, FLATTEN: tl.constexpr, SPECIALIZE: tl.constexpr, PARTS: tl.constexpr, MADE: tl.constexpr,
):  # fmt: skip
    m, n, k = m_units * UNIT_M, n_units * UNIT_N, k_units * UNIT_K
    wide_m, wide_n = m * tl.full((), 1, tl.int64), n * tl.full((), 1, tl.int64)
    a_blocks, b_blocks, c_blocks, pre_blocks = a, b, c, pre
    if not MADE:
        unit_a, unit_b = tl.full((), UNIT_A, tl.int64), tl.full((), UNIT_B, tl.int64)
        a_blocks = describe(a, entries, m, k, stride_a * unit_a, a_batch * unit_a, BLOCK_M, BLOCK_K, A_BY_ROWS, A_MANY)
        b_blocks = describe(b, entries, k, n, stride_b * unit_b, b_batch * unit_b, BLOCK_K, BLOCK_N, B_BY_ROWS, B_MANY)
    if STORES and not MADE:
        c_blocks = describe(c, entries, m, n, wide_n, wide_m * n, BLOCK_M, BLOCK_N // PARTS, True, BATCHED)
        if pre is not None:
            pre_blocks = describe(pre, entries, m, n, wide_n, wide_m * n, BLOCK_M, BLOCK_N // PARTS, True, BATCHED)

    tiles_m, tiles_n, steps = tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N), tl.cdiv(k, BLOCK_K)
    tiles = tiles_m * tiles_n
    for work in tl.range(
        tl.program_id(0), tiles * SPLITS * entries, tl.num_programs(0), flatten=FLATTEN, warp_specialize=SPECIALIZE
    ):
        tile, rest = work % tiles, work // tiles
        split, entry = rest % SPLITS, rest // SPLITS
        row, column = grouped(tile, tiles_m, tiles_n, GROUP)
        first = split * (share // BLOCK_K)
        last = tl.minimum(steps, first + share // BLOCK_K)
        acc = tl.zeros((BLOCK_M, BLOCK_N), ACC)
        for step in range(first, last):
            x = load_block(a_blocks, entry, row * BLOCK_M, step * BLOCK_K, BLOCK_M, BLOCK_K, A_BY_ROWS, A_MANY)
            y = load_block(b_blocks, entry, step * BLOCK_K, column * BLOCK_N, BLOCK_K, BLOCK_N, B_BY_ROWS, B_MANY)
            acc = multiply_add(x, y, acc, PRECISION)
        if STORES:
            store_blocks(
                acc, c_blocks, pre_blocks, bias, entry, row * BLOCK_M, column * BLOCK_N, n,
                BLOCK_M, BLOCK_N, ACTIVATION, BATCHED, PARTS,
            )  # fmt: skip
        else:
            place = (entry + split * entries) * wide_m * n
            sums, saved = before, pre
            if before is not None:
                sums = before + place
            if pre is not None:
                saved = pre + place
            values = load_bias(bias, row, column, m, n, BLOCK_M, BLOCK_N, SWAPPED)
            store_tile(
                acc, c + place, sums, saved, values, row, column, m, n, BLOCK_M, BLOCK_N, ACTIVATION, SWAPPED, PARTS
            )  # fmt: skip


def ready(x: Matrix) -> bool:
    """Whether TMA can read ``x`` where it lies."""
    size = x.dtype.itemsize
    pitches = (x.pitch, *(s for s in x.batch if s))
    return x.dense and x.aligned and len(x.batch) <= 1 and all(s > 0 and s * size % 16 == 0 for s in pitches)


def described(x: Matrix, entries: int, rows: int, columns: int) -> Descriptor:
    """`describe`, on the host: the descriptor of ``x`` as it lies in memory, for blocks of so many rows and columns."""
    lengths, block = ((x.rows, x.columns), (rows, columns)) if x.by_rows else ((x.columns, x.rows), (columns, rows))
    if not any(x.batch):
        return Descriptor(x.pointer, x.dtype, lengths, (x.pitch, 1), block)
    return Descriptor(x.pointer, x.dtype, (entries, *lengths), (sum(x.batch), x.pitch, 1), (1, *block))


def launch(p: Product, tile: Tile, precision: str, arch: Arch, share: int, slices: Any = None) -> Launch:
    """The launch for one product of operands that are `ready`; or for ``slices`` of its sums over ``share`` terms each,
    without epilogue."""
    ua, ub = p.a.unit, p.b.unit
    batch = {"a_batch": sum(p.a.batch) // ua, "b_batch": sum(p.b.batch) // ub}
    common = {name: v for name, v in strides(p).items() if not name.startswith(("a_", "b_", "AXES", "batch"))}
    added = p.before is not None or p.out.dtype not in (None, p.dtype)
    stores = slices is None and not p.swapped and not added and p.n * p.dtype.itemsize % 16 == 0
    heavy = slices is None and p.heavy
    made = not tile.specialize
    in_parts = parts(tile, p.dtype, arch, heavy, scattered(p), stores)
    args = {
        "a": p.a.pointer, "b": p.b.pointer, **results(p, slices), **sizes(p, p.dtype.itemsize), **common, **batch,
        "entries": p.entries, "share": share, "BATCHED": bool(p.batch),
        "A_MANY": any(p.a.batch), "B_MANY": any(p.b.batch), "BLOCK_M": tile.m, "BLOCK_N": tile.n, "BLOCK_K": tile.k,
        "GROUP": tile.group, "SPLITS": tile.splits, "PRECISION": precision, "ACC": accumulator(p.dtype),
        "STORES": stores, "PARTS": in_parts, "FLATTEN": tile.flatten,
        "SPECIALIZE": tile.specialize, "MADE": made,
    }  # fmt: skip
    if made:
        args |= {"a": described(p.a, p.entries, tile.m, tile.k), "b": described(p.b, p.entries, tile.k, tile.n)}
        args |= dict.fromkeys(("stride_a", "stride_b", "a_batch", "b_batch"), 1)  # the descriptors tell them
    if made and stores:
        batch_stride = (p.m * p.n,) if p.batch else ()
        result = Matrix(p.out, p.dtype, p.m, p.n, p.n, 1, batch_stride)
        width = tile.n // in_parts
        args["c"] = described(result, p.entries, tile.m, width)
        args["pre"] = p.pre and described(result._replace(pointer=p.pre), p.entries, tile.m, width)
    work = ceil_div(p.m, tile.m) * ceil_div(p.n, tile.n) * tile.splits * p.entries
    return Launch(tma_kernel, (PerSM(work),), args, tile.warps, tile.stages)
