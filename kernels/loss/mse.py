"""mse_loss and its gradient in one pass: (x - t)^2, summed or not, and 2 (x - t), already scaled for the mean.

Bound: memory. Two reads and one write of each element (12 bytes for float32), 4 operations. Sums are float32 (float64
for float64), 32 to a thread and 64 blocks to a program at most, joined in a fixed order by a second launch.

Versions, all unmeasured (not yet run on hardware): 1. full blocks unmasked and one masked tail, so that an odd length
keeps 16-byte loads and stores.
"""

from __future__ import annotations

from dlcore.dtypes import int32, int64
from dlcore.kernels.common.layout import ONE, SMALL, Axis, Layout, tiles_of
from dlcore.kernels.common.math import divide
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Call, In, Launch, Out, Program, Temp, Workspace, accumulator
from dlcore.kernels.loss.total import MEAN, NONE, to_loss


@jit
def differences(x, t, dx, out, i, mask, twice, REDUCTION: tl.constexpr, C: tl.constexpr):
    """Squares at elements i; what is wanted of each is written."""
    if mask is None:
        d = tl.load(x + i).to(C) - tl.load(t + i).to(C)
    else:
        d = tl.load(x + i, mask, 0).to(C) - tl.load(t + i, mask, 0).to(C)
    if dx is not None:
        tl.store(dx + i, (d * twice).to(dx.dtype.element_ty), mask)
    if REDUCTION == 0:
        tl.store(out + i, (d * d).to(out.dtype.element_ty), mask)
    return d * d


@jit
def mse_kernel(
    x, t, dx, out, n, chunk, REDUCTION: tl.constexpr, C: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr
):
    begin = tl.program_id(0).to(INDEX) * chunk
    end = tl.minimum(begin + chunk, n)
    full = begin + (end - begin) // BLOCK * BLOCK
    twice = tl.full((1,), 2, C)
    if REDUCTION == 1:
        twice = divide(twice, tl.full((1,), n, C))
    i = tl.arange(0, BLOCK)
    sums = tl.zeros((BLOCK,), C)
    for start in range(begin, full, BLOCK):
        sums += differences(x, t, dx, out, start + i, None, twice, REDUCTION, C)
    if full < end:
        sums += differences(x, t, dx, out, full + i, full + i < end, twice, REDUCTION, C)
    if REDUCTION != 0:
        tl.store(out + tl.program_id(0), tl.sum(sums, 0).to(out.dtype.element_ty))


def mse_loss(call: Call) -> Program:
    """The operation: input and target to loss and the input's gradient."""
    x, dinput, reduction = call.inputs[0], call.outputs[1], int(call.params[0])
    assert x is not None
    n, held = x.size, accumulator(x.dtype)
    if n == 0:
        return to_loss(reduction == MEAN, 0, held, 0, 0) if reduction != NONE else Program(())
    tiles = tiles_of(Layout(ONE, (ONE, ONE), Axis(n, 1, 0), ONE, False), 2 * held.itemsize)
    args = {
        "x": In(0), "t": In(1), "dx": dinput and Out(1), "out": Out(0) if reduction == NONE else Temp(0, held), "n": n,
        "chunk": tiles.chunk, "REDUCTION": reduction, "C": held, "INDEX": int64 if n >= SMALL else int32,
        "BLOCK": tiles.depth,
    }  # fmt: skip
    main = Launch(mse_kernel, (tiles.splits,), args, num_warps=tiles.warps)
    # Aligned, or loads would be of other widths, and sums in another order.
    copied = tuple(k for k, v in enumerate(call.inputs) if v and not (v.contiguous and v.aligned))
    if reduction == NONE:
        return Program((main,), contiguous=copied)
    end = to_loss(reduction == MEAN, tiles.splits, held, n, 1)
    return Program((main, *end.launches), (Workspace(tiles.splits * held.itemsize), *end.temps), copied)
