"""Planner of permutation.cu: a random permutation as the stable order of random words."""

from __future__ import annotations

from dlcore.kernels.launch import I32, Call, Cuda, In, Launch, Out, Program, Temp, Workspace, ceil_div
from dlcore.kernels.random.philox import blocks_used

SOURCE = "random/permutation.cu"
THREADS, SCAN_THREADS = 256, 1024
ALL = 512  # numbers that one block orders
BUCKET = 256  # numbers in a bucket, on average at most


def permutation(call: Call) -> Program:
    """Launches of `permutation`."""
    n = int(call.params[0])
    generator = call.inputs[0]
    assert generator is not None
    drawn = {"state": In(0), "stride": generator.strides[0], "n": n}
    moved = {"state": In(0), "stride": generator.strides[0], "used": blocks_used(n, 2)}
    if n <= ALL:
        args = {**drawn, "used": moved["used"], "out": Out(0)}
        return Program((Launch(Cuda(SOURCE, "rank_all", ALL), (1,), args),) if n else ())
    bits = (ceil_div(n, BUCKET) - 1).bit_length()
    buckets, grid = 1 << bits, (ceil_div(moved["used"], THREADS),)
    counts, start, next, split = (Temp(k) for k in range(4))
    drawn["shift"] = I32(64 - bits)
    launches = (
        Launch(Cuda(SOURCE, "count", THREADS), grid, {**drawn, "counts": counts}),
        Launch(
            Cuda(SOURCE, "scan", SCAN_THREADS),
            (1,),
            {"counts": counts, "start": start, "next": next, "buckets": I32(buckets)},
        ),
        Launch(Cuda(SOURCE, "scatter", THREADS), grid, {**drawn, "next": next, "split": split}),
        Launch(Cuda(SOURCE, "rank", THREADS), (buckets,), {"start": start, "split": split, "out": Out(0), **moved}),
    )
    sizes = (4 * buckets, 8 * (buckets + 1), 8 * buckets, 16 * n)
    return Program(launches, tuple(Workspace(size, zeroed=k == 0) for k, size in enumerate(sizes)))
