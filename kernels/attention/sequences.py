"""What each query sees where sequences of several lengths lie one after the other: two numbers for each query.

A launch of its own before attention: a query finds its sequence by bisection, log2(N) loads of 4 or 8 bytes that L1
holds, and stores 8 bytes. Bound by the latency of those loads, a few microseconds. Offsets that fall, or lead beyond
what there is, are reported: programs share them out. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import BAD_OFFSET
from dlcore.kernels.movement.index import report

BAD = tl.constexpr(BAD_OFFSET)


@jit
def check_offsets(offsets, errors, k, count, step, most):
    """Reports those of the offsets numbered k, of ``count`` sequences, that cannot be."""
    inside = k <= count
    value = tl.load(offsets + k * step, inside, 0)
    before = tl.load(offsets + (k - 1) * step, inside & (k > 0), 0)
    report(errors, inside & ((value < before) | (value > most)), k, BAD)


@jit
def bounds_kernel(
    queries, keys, bounds, errors, rows, most, count, queries_step, keys_step, left, right,
    LEFT: tl.constexpr, RIGHT: tl.constexpr, LOWER: tl.constexpr, STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The first key and one past the last that each of ``rows`` queries sees, of ``most`` keys in ``count`` sequences.

    They never fall from one query to the next, and stay within the keys whatever the offsets say."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    for start in range(0, count + 1, tl.num_programs(0) * BLOCK):
        check_offsets(queries, errors, start + i, count, queries_step, rows)
        check_offsets(keys, errors, start + i, count, keys_step, most)
    sequence, beyond = tl.zeros((BLOCK,), tl.int32), tl.zeros((BLOCK,), tl.int32) + count
    for _ in range(STEPS):
        middle = (sequence + beyond) // 2
        begun = tl.load(queries + middle * queries_step) <= i
        sequence, beyond = tl.where(begun, middle, sequence), tl.where(begun, beyond, middle)
    first = tl.load(queries + sequence * queries_step).to(tl.int32)
    last = tl.load(queries + (sequence + 1) * queries_step).to(tl.int32)
    begin = tl.load(keys + sequence * keys_step).to(tl.int32)
    end = tl.load(keys + (sequence + 1) * keys_step).to(tl.int32)
    begin, end = tl.minimum(tl.maximum(begin, 0), most), tl.minimum(tl.maximum(end, 0), most)
    place = i - first + begin
    if LOWER:
        place += (end - begin) - (last - first)
    low, high = begin, end
    if LEFT:
        low = tl.minimum(tl.maximum(place - left, begin), end)
    if RIGHT:
        high = tl.minimum(tl.maximum(place + right + 1, begin), end)
    behind = i >= last
    tl.store(bounds + i, tl.where(behind, end, low), i < rows)
    tl.store(bounds + rows + i, tl.where(behind, end, high), i < rows)
