"""What a GPU can do at best: copy, read, multiply and add, multiply tiles. Timed by dlcore/bench/gpu_roofs.py.

    copy    out = x, of 8-byte words, each read and written once: 16 bytes a thread and access, four in flight
    read    sums of 8-byte words, one of each block; a block walks over the words with a stride of all blocks, so that
            all of them read neighbouring lines at any time
    fma     x = x * a + b, 8 * `steps` times: 16 chains a thread in registers, no memory between. The 8 are unrolled:
            the loop's own instructions then take 2 % of the issue slots
    dot     acc = acc + a @ b, `steps` times, with the same two tiles: tensor cores, operands in shared memory

Versions: 1, this one. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Call, In, Launch, Out, Program, ceil_div

UNROLL = tl.constexpr(8)
FMA_BLOCK = 2048  # 16 elements for each of 128 threads
TILE = (128, 128, 64)  # M, N, K
WORDS = 1024  # of 8 bytes for a block of 128 threads: 64 bytes a thread

# ---- device -------------------------------------------------------------------------------------------------------


@jit
def copy_kernel(x, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    if (tl.program_id(0) + 1).to(tl.int64) * BLOCK <= n:  # without a mask: wide accesses for any n
        tl.store(out + i, tl.load(x + i))
    else:
        tl.store(out + i, tl.load(x + i, i < n), i < n)


@jit
def read_kernel(x, out, n, BLOCK: tl.constexpr):
    total = tl.zeros([BLOCK], tl.int64)
    first, step = tl.program_id(0).to(tl.int64) * BLOCK, tl.num_programs(0).to(tl.int64) * BLOCK
    whole = n // BLOCK * BLOCK
    for at in range(first, whole, step):
        total += tl.load(x + at + tl.arange(0, BLOCK))
    if tl.program_id(0) == 0:
        i = whole + tl.arange(0, BLOCK)
        total += tl.load(x + i, i < n, 0)
    tl.store(out + tl.program_id(0), tl.sum(total))


@jit
def fma_kernel(x, out, steps, a, b, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    y = tl.load(x + i)
    factor, term = tl.full([BLOCK], a, y.dtype), tl.full([BLOCK], b, y.dtype)
    for _ in range(steps):
        for _ in tl.static_range(UNROLL):
            y = tl.fma(y, factor, term)
    tl.store(out + i, y)


@jit
def dot_kernel(
    x, y, out, steps,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    rows, columns, inner = tl.arange(0, M)[:, None], tl.arange(0, N)[None, :], tl.arange(0, K)
    a, b = tl.load(x + rows * K + inner[None, :]), tl.load(y + inner[:, None] * N + columns)
    total = tl.zeros([M, N], tl.float32)
    for _ in range(steps):
        total = tl.dot(a, b, total, input_precision=PRECISION)
    tl.store(out + tl.program_id(0).to(tl.int64) * M * N + rows * N + columns, total)


# ---- planners -----------------------------------------------------------------------------------------------------


def _size(call: Call) -> int:
    assert call.inputs[0] is not None
    return call.inputs[0].size


def _blocks(call: Call) -> int:
    assert call.outputs[0] is not None
    return call.outputs[0].shape[0]


def copy(call: Call) -> Program:
    """(x) -> a copy."""
    n = _size(call)
    args = {"x": In(0), "out": Out(0), "n": n, "BLOCK": WORDS}
    return Program((Launch(copy_kernel, (ceil_div(n, WORDS),), args),), contiguous=(0,))


def read(call: Call) -> Program:
    """(x, int64) -> one sum for each of as many blocks as the output has elements."""
    args = {"x": In(0), "out": Out(0), "n": _size(call), "BLOCK": WORDS}
    return Program((Launch(read_kernel, (_blocks(call),), args),), contiguous=(0,))


def fma(call: Call) -> Program:
    """(x; steps, a, b) -> x * a + b, done 8 * steps times; whole blocks of elements."""
    steps, a, b = call.attrs
    args = {"x": In(0), "out": Out(0), "steps": steps, "a": float(a), "b": float(b), "BLOCK": FMA_BLOCK}
    return Program((Launch(fma_kernel, (_size(call) // FMA_BLOCK,), args),), contiguous=(0,))


def dot(call: Call) -> Program:
    """(x, y; blocks, steps, precision) -> `steps` times x @ y, of each of `blocks` blocks: (blocks, M, N) float32."""
    blocks, steps, precision = call.attrs
    m, n, k = TILE
    args = {"x": In(0), "y": In(1), "out": Out(0), "steps": steps, "M": m, "N": n, "K": k, "PRECISION": precision}
    return Program((Launch(dot_kernel, (blocks,), args, num_warps=8),), contiguous=(0, 1))
