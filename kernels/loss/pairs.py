"""Losses of pairs of numbers and their gradients in one pass: the operations of dlcore/ops/pairs.py.

Bound: memory, also where a logarithm is taken. Two reads and one write of each element (12 bytes for float32), 4 to 60
operations. Sums are float32 (float64 for float64), joined in a fixed order by a second launch, as mse_loss has them.
Formulas are those of csrc/loss/pairs.inl. Where inputs must be probabilities others are reported.

Versions, all unmeasured (not yet run on hardware): 1. full blocks unmasked and one masked tail.
"""

from __future__ import annotations

from collections.abc import Callable

from dlcore.dtypes import float64, int32, int64
from dlcore.kernels.common.layout import ONE, SMALL, Axis, Layout, tiles_of
from dlcore.kernels.common.math import divide, exp_, log1p_, log_
from dlcore.kernels.language import Kernel, jit, tl
from dlcore.kernels.launch import F64, Call, Errors, In, Launch, Out, Program, Temp, Workspace, accumulator
from dlcore.kernels.launch import NO_PROBABILITY as CODE
from dlcore.kernels.loss.total import MEAN, NONE, to_loss
from dlcore.kernels.movement.index import report

NO_PROBABILITY = tl.constexpr(CODE)

# ---- (value, slope) of an input x and a target t; the number is the loss's own ---------------------------------------


@jit
def sign(x):
    return tl.where(x > 0.0, 1.0, tl.where(x < 0.0, -1.0, x))


@jit
def l1(x, t, number):
    return tl.abs(x - t), sign(x - t)


@jit
def smooth_l1(x, t, beta):
    d = x - t
    a = tl.abs(d)
    q = divide(d, beta)
    return tl.where(a < beta, 0.5 * d * q, a - 0.5 * beta), tl.where(a < beta, q, sign(d))


@jit
def huber(x, t, delta):
    d = x - t
    a = tl.abs(d)
    return tl.where(a < delta, 0.5 * d * d, delta * (a - 0.5 * delta)), tl.where(a < delta, d, delta * sign(d))


@jit
def bce_logits(x, t, number):
    e = exp_(-tl.abs(x))
    s = divide(tl.where(x < 0.0, e, 1.0), 1.0 + e)
    return tl.fma(-x, t, tl.where(x > 0.0, x, 0.0)) + log1p_(e), s - t


@jit
def bce(x, t, number):
    p, q = log_(x), log1p_(-x)
    p, q = tl.where(p < -100.0, -100.0, p), tl.where(q < -100.0, -100.0, q)
    below = x * (1.0 - x)
    return (t - 1.0) * q - t * p, divide(x - t, tl.where(below < 1e-12, 1e-12, below))


@jit
def kl(x, t, number):
    return tl.where(t == 0.0, 0.0, t * (log_(t) - x)), -t


@jit
def kl_logs(x, t, number):
    p = exp_(t)
    return tl.where(p == 0.0, 0.0, p * (t - x)), -p


# ---- the pass -------------------------------------------------------------------------------------------------------


@jit
def graded(x, t, dx, errors, i, mask, number, factor, F: tl.constexpr, C: tl.constexpr):
    """Losses at elements i; their gradient is written where it is wanted."""
    if mask is None:
        u = tl.load(x + i).to(C)
        value, slope = F(u, tl.load(t + i).to(C), number)
    else:
        u = tl.load(x + i, mask, 0).to(C)
        value, slope = F(u, tl.load(t + i, mask, 0).to(C), number)
        value = tl.where(mask, value, 0.0)
    if errors is not None:
        report(errors, (u < 0.0) | (u > 1.0), i, NO_PROBABILITY)
    if dx is not None:
        tl.store(dx + i, (slope * factor).to(dx.dtype.element_ty), mask)
    return value


@jit
def pair_kernel(
    x, t, dx, out, errors, number, n, chunk,
    F: tl.constexpr, REDUCTION: tl.constexpr, C: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    begin = tl.program_id(0).to(INDEX) * chunk
    end = tl.minimum(begin + chunk, n)
    full = begin + (end - begin) // BLOCK * BLOCK
    factor = tl.full((1,), 1, C)
    if REDUCTION == 1:
        factor = divide(factor, tl.full((1,), n, C))
    number = tl.full((1,), number, C)
    i = tl.arange(0, BLOCK)
    sums = tl.zeros((BLOCK,), C)
    for start in range(begin, full, BLOCK):
        value = graded(x, t, dx, errors, start + i, None, number, factor, F, C)
        if REDUCTION == 0:
            tl.store(out + start + i, value.to(out.dtype.element_ty))
        sums += value
    if full < end:
        value = graded(x, t, dx, errors, full + i, full + i < end, number, factor, F, C)
        if REDUCTION == 0:
            tl.store(out + full + i, value.to(out.dtype.element_ty), full + i < end)
        sums += value
    if REDUCTION != 0:
        tl.store(out + tl.program_id(0), tl.sum(sums, 0).to(out.dtype.element_ty))


def pairs(function: Kernel, numbered: bool = False, checked: bool = False) -> Callable[[Call], Program]:
    """A planner: input and target to loss and gradient. ``numbered``: the second parameter is the loss's number;
    ``checked``: inputs are probabilities."""

    def plan(call: Call) -> Program:
        x, dinput, reduction = call.inputs[0], call.outputs[1], int(call.params[0])
        assert x is not None
        n, held = x.size, accumulator(x.dtype)
        if n == 0:
            return to_loss(reduction == MEAN, 0, held, 0, 0) if reduction != NONE else Program(())
        number = float(call.params[1]) if numbered else 0.0
        tiles = tiles_of(Layout(ONE, (ONE, ONE), Axis(n, 1, 0), ONE, False), 2 * held.itemsize)
        args = {
            "x": In(0), "t": In(1), "dx": dinput and Out(1), "out": Out(0) if reduction == NONE else Temp(0, held),
            "errors": Errors() if checked else None, "number": F64(number) if held is float64 else number, "n": n,
            "chunk": tiles.chunk, "F": function, "REDUCTION": reduction, "C": held, "BLOCK": tiles.depth,
            "INDEX": int64 if n >= SMALL else int32,
        }  # fmt: skip
        main = Launch(pair_kernel, (tiles.splits,), args, num_warps=tiles.warps)
        # Aligned, or loads would be of other widths, and sums in another order.
        copied = tuple(k for k, v in enumerate(call.inputs) if v and not (v.contiguous and v.aligned))
        if reduction == NONE:
            return Program((main,), contiguous=copied)
        end = to_loss(reduction == MEAN, tiles.splits, held, n, 1)
        return Program((main, *end.launches), (Workspace(tiles.splits * held.itemsize), *end.temps), copied)

    return plan


l1_loss, smooth_l1_loss, huber_loss = pairs(l1), pairs(smooth_l1, True), pairs(huber, True)
binary_cross_entropy, binary_cross_entropy_with_logits = pairs(bce, checked=True), pairs(bce_logits)
kl_div, kl_div_of_logs = pairs(kl), pairs(kl_logs)
