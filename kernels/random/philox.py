"""Philox 4x32-10 (Salmon et al. 2011): the words that all random operations draw from, with the CPU's bits.

A generator's state is (seed, offset) in device memory. Blocks of four 32-bit words come in groups of 16:

    32-bit draws: element i is word i / 16 % 4 of block 16 (i / 64) + i % 16
    64-bit draws: element i is words 2 h, 2 h + 1 (low, high), h = i / 16 % 2, of block 16 (i / 32) + i % 16

so words of one kind are stored as runs of 16 elements: no exchange between threads, whole 32-byte sectors (a mask of
bytes fills each with two stores). Some 60 integer instructions a block, 15 a 32-bit element: below the time that 4
bytes take on every architecture, about equal for 2.

The state moves on in device memory, so that a recorded step draws anew at each replay. A kernel of several programs
cannot do that itself, for one that starts late has still to read the old offset: a second launch of one thread,
`advance_kernel`, follows. (The last program could do it if finished ones were counted; but Adam's counter, the upper
half of its step count, has none like it here: all 64 bits of the offset count.) A draw that one program of up to 16
warps covers, 8192 elements of 32 bits, moves the state itself.

`philox` reads and writes 64 bytes a block. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlcore.dtypes import DType
from dlcore.kernels.language import Kernel, jit, tl
from dlcore.kernels.launch import Call, In, Launch, Out, Program, ceil_div

OPTIONS = {"enable_fp_fusion": False}  # a * b + c rounds twice, as on the CPU

# ---- device -------------------------------------------------------------------------------------------------------


@jit
def read_state(state, stride):
    return tl.load(state), tl.load(state + stride)


@jit
def draw(seed, offset, BLOCKS: tl.constexpr):
    """Words 0 to 3, uint32, of this program's blocks."""
    first = offset + tl.program_id(0).to(tl.int64) * BLOCKS
    block = (first + tl.arange(0, BLOCKS)).to(tl.uint64)
    low, high = block.to(tl.uint32), (block >> 32).to(tl.uint32)
    zero = tl.zeros([BLOCKS], tl.uint32)
    return tl.philox(seed, low, high, zero, zero)


@jit
def long_word(low, high):
    return low.to(tl.uint64) | (high.to(tl.uint64) << 32)


@jit
def places(BLOCKS: tl.constexpr, WORDS: tl.constexpr):
    """Where the first element of each of this program's blocks goes; the others follow at distances of 16."""
    b = tl.arange(0, BLOCKS)
    return tl.program_id(0).to(tl.int64) * (BLOCKS * 4 // WORDS) + (b // 16 * (64 // WORDS) + b % 16)


@jit
def is_whole(n, BLOCKS: tl.constexpr, WORDS: tl.constexpr):
    """Whether all elements of this program exist: then accesses need no mask, and are vectors whatever n is."""
    return (tl.program_id(0).to(tl.int64) + 1) * (BLOCKS * 4 // WORDS) <= n


@jit
def put_two(out, at, x0, x1, n, whole):
    if whole:
        tl.store(out + at, x0)
        tl.store(out + at + 16, x1)
    else:
        tl.store(out + at, x0, at < n)
        tl.store(out + at + 16, x1, at + 16 < n)


@jit
def put_four(out, at, x0, x1, x2, x3, n, whole):
    put_two(out, at, x0, x1, n, whole)
    put_two(out, at + 32, x2, x3, n, whole)


@jit
def advance(state, stride, offset, used):
    """For a kernel of one program, or after all programs have read the state."""
    tl.debug_barrier()  # every warp has read the state
    tl.store(state + stride, offset + used)


@jit
def advance_kernel(state, stride, used):
    tl.store(state + stride, tl.load(state + stride) + used)


@jit
def philox_kernel(counters, key, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    seed = (tl.load(key).to(tl.uint64) & 0xFFFFFFFF) | (tl.load(key + 1).to(tl.uint64) << 32)
    c0 = tl.load(counters + 4 * i, inside, 0).to(tl.uint32)
    c1 = tl.load(counters + 4 * i + 1, inside, 0).to(tl.uint32)
    c2 = tl.load(counters + 4 * i + 2, inside, 0).to(tl.uint32)
    c3 = tl.load(counters + 4 * i + 3, inside, 0).to(tl.uint32)
    w0, w1, w2, w3 = tl.philox(seed, c0, c1, c2, c3)
    tl.store(out + 4 * i, w0.to(tl.int64), inside)
    tl.store(out + 4 * i + 1, w1.to(tl.int64), inside)
    tl.store(out + 4 * i + 2, w2.to(tl.int64), inside)
    tl.store(out + 4 * i + 3, w3.to(tl.int64), inside)


# ---- planning -----------------------------------------------------------------------------------------------------


def philox(call: Call) -> Program:
    """Launches of `philox`."""
    counters, key = call.inputs
    assert counters is not None and key is not None
    n = counters.size // 4
    args = {"counters": In(0), "key": In(1), "out": Out(0), "n": n, "BLOCK": 256}
    launches = (Launch(philox_kernel, (ceil_div(n, 256),), args),) if n else ()
    return Program(launches, contiguous=tuple(k for k, v in enumerate((counters, key)) if not v.contiguous))


def blocks_used(n: int, words: int) -> int:
    """Philox blocks that n elements of ``words`` words use: whole groups of 16."""
    return ceil_div(n * words, 64) * 16


def draws(
    call: Call, kernel: Kernel, words: int, dtype: DType, args: Mapping[str, Any], state: int = 0, moves: bool = True
) -> tuple[Launch, ...]:
    """Launches of ``kernel`` for the elements of output 0, and, where it ``moves``, of what moves the state on.

    ``words``: 32-bit words an element; ``dtype``: of the output, its 16-byte vectors set the size of a program;
    ``state``: which input is the generator.
    """
    out, generator = call.outputs[0], call.inputs[state]
    assert out is not None and generator is not None
    n, used, stride = out.size, blocks_used(out.size, words), generator.strides[0]
    if not n:
        return ()
    blocks = max(min(2048 // dtype.itemsize, 1024), 256)
    warps = next((w for w in (4, 8, 16) if used <= blocks * w // 4), 4)  # one program, else programs of 4 warps
    blocks = blocks * warps // 4
    programs = ceil_div(used, blocks)
    own = {"state": In(state), "stride": stride, "out": Out(0), "n": n, "used": used}
    constants = {"BLOCKS": blocks, "ADVANCE": moves and programs == 1}
    launches = [Launch(kernel, (programs,), {**own, **args, **constants}, num_warps=warps, options=OPTIONS)]
    if moves and programs > 1:
        advancing = {"state": In(state), "stride": stride, "used": used}
        launches.append(Launch(advance_kernel, (1,), advancing, num_warps=1))
    return tuple(launches)
