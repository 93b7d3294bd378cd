"""cross_entropy of class indices and its gradient in one pass over the logits, for any number of classes.

    loss = (1 - s) w[t] nll(t) + s / n sum_c w[c] nll(c),  nll(c) = log(sum(exp(x))) - x[c],  s the label smoothing
    dlogits = factor ((1 - s) w[t] (p - [c = t]) + s / n (sum(w) p - w[c])),  p the softmax, factor of the reduction

Bound: memory. The logits are read once and dlogits written once, 8 bytes an element (float32), 4 for 16-bit floats;
separate kernels (log_softmax, nll_loss and both backward) move 24. One exponential and about 10 operations an element.

The mean divides by the weight of the labels that count, which must be known before the first gradient is written: a
small kernel sums it in at most 128 parts, every program adds those up, and no number travels to the host. Losses are
summed in a fixed order. A label out of range sets the error word; its line counts for nothing.

Versions, all unmeasured (not yet run on hardware); registers at sm_90, no spills on any architecture:
1. whole lines in registers: up to 32768 classes in one program, 16 warps; several lines a program where they are short.
   The label's gradient is computed apart, in float32, and stored after a barrier over what the tile stored: comparing
   every class with the label takes 30 registers more, and spilled. 100 registers for float32, 106 for 16 bits.
   Half as many classes with label smoothing (123 registers with weights). Logits are on their way before labels are
   read, and the count of labels is read after the sums: neither waits for the other.
2. one launch instead of three where one program can hold all logits (4096): the loss of a small classifier.
3. lines read twice beyond: maximum and sum block by block, then the gradient: 3 transfers for 2, the second read
   mostly from L2. 98 registers, 40 where rows are not whole vectors.
4. clusters (sm_90, sm_100), a configuration, none by default: 2 to 8 blocks hold a line and share its sums: 110
   registers for 131072 classes of 16 bits in 8 blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dlcore.dtypes import DType, float64, int32
from dlcore.kernels.common.lines import (
    Lines,
    Tile,
    at,
    lines_of,
    program_items,
    program_lines,
    raised,
    step_of,
    tile_of,
    tiles,
    with_warps,
)
from dlcore.kernels.common.math import INFINITY, divide
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    BAD_LABEL,
    F64,
    Call,
    Errors,
    In,
    Launch,
    Out,
    Program,
    Temp,
    Workspace,
    accumulator,
    power_of_2,
)
from dlcore.kernels.loss.total import MEAN, NONE, parts_of, to_loss

LIMIT = 32768  # classes one program can hold without spilling
TOGETHER = 4096  # logits that one program takes, loss included
LANES = 8  # elements a thread where a tile has several rows: each row brings a label, a weight and addresses
BAD = tl.constexpr(BAD_LABEL)


# ---- what the mean divides by -------------------------------------------------------------------------------------
@jit
def counts_kernel(target, weight, counts, positions, n, ignore, chunk, C: tl.constexpr, BLOCK: tl.constexpr):
    begin = tl.program_id(0).to(tl.int64) * chunk
    end = tl.minimum(begin + chunk, positions)
    total = tl.zeros((BLOCK,), C)
    for start in range(begin, end, BLOCK):
        i = start + tl.arange(0, BLOCK)
        label = tl.load(target + i, i < end, 0).to(tl.int64)
        counted = (i < end) & (label != ignore) & (label >= 0) & (label < n)
        total += tl.load(weight + label, counted, 0).to(C) if weight is not None else counted.to(C)
    tl.store(counts + tl.program_id(0), tl.sum(total, 0))


# ---- losses and gradients -----------------------------------------------------------------------------------------
@jit
def labels_of(target, errors, position, first, inside, n, ignore):
    """The labels of some lines and which of them count; those that cannot be go to the error word."""
    label = tl.load(target + position, inside, 0).to(tl.int64)
    counted = inside & (label != ignore)
    bad = counted & ((label < 0) | (label >= n))
    word = errors + tl.zeros(label.shape, tl.int32)
    tl.atomic_max(word, tl.full(label.shape, BAD, tl.int64), bad, "relaxed")
    tl.atomic_min(word + 1, position.to(tl.int64) + first, bad, "relaxed")
    counted = counted & (label >= 0) & (label < n)
    return tl.where(counted, label, -1).to(position.dtype), counted


@jit
def weights_of(weight, items, n, C: tl.constexpr):
    """The weights of classes ``items``, 0 beyond the last."""
    return tl.load(weight + items, items < n, 0).to(C) if weight is not None else (items < n).to(C)


@jit
def gradient(e, p, share, w, counted):
    """dlogits but for the labels' own: exponentials times one factor of their line, less what smoothing takes."""
    return tl.where(counted, e * p - share * w, 0.0)


@jit
def cross_entropy_kernel(
    x, target, weight, counts, dx, out, errors, n, lines, first, x_far, x_outer, dx_far, dx_outer, ignore, parts,
    smoothing, REDUCTION: tl.constexpr, SMOOTH: tl.constexpr, C: tl.constexpr, UNIT: tl.constexpr, AXIS: tl.constexpr,
    INDEX: tl.constexpr, BLOCK_L: tl.constexpr, BLOCK_N: tl.constexpr, PARTS: tl.constexpr, WHOLE: tl.constexpr,
    ALONE: tl.constexpr, SHARED: tl.constexpr, IN_PLACE: tl.constexpr,
):  # fmt: skip
    unit = tl.full((), UNIT, INDEX)
    x_far, x_outer, dx_far, dx_outer = x_far * unit, x_outer * unit, dx_far * unit, dx_outer * unit
    if AXIS == 1:
        n = n * unit
    else:
        lines = lines * unit
    line, o = program_lines(lines, BLOCK_L, AXIS, INDEX)
    items = program_items(BLOCK_N, AXIS)
    inside = line < lines
    x_first = at(x, line, items, o, x_far, x_outer, AXIS)
    x_step = step_of(x_far, AXIS, INDEX)
    SHAPE: tl.constexpr = (BLOCK_L, BLOCK_N) if AXIS == 1 else (BLOCK_N, BLOCK_L)

    if WHOLE:  # on their way while labels are read and checked
        mask = inside & (items < n)
        v = tl.load(x_first, mask, -INFINITY).to(C)
    position = o * lines + line
    label, counted = labels_of(target, errors, position, first, inside, n, ignore)
    own = tl.load(weight + label, counted, 0).to(C) if weight is not None else counted.to(C)
    of_label = tl.load(at(x, line, label, o, x_far, x_outer, AXIS), counted, 0).to(C)
    of_all = tl.zeros((1, 1), C)
    w_sum = tl.full((1, 1), n, C)
    if WHOLE:
        top = tl.max(v, AXIS, keep_dims=True)
        v -= top
        if SMOOTH:
            w = weights_of(weight, items, n, C)
            w_sum = tl.sum(w, AXIS, keep_dims=True)
            of_all = tl.sum(tl.where(mask, w * v, 0.0), AXIS, keep_dims=True)
        else:
            w = tl.zeros((1, 1), C)
        e = tl.exp(v)
        total = tl.sum(e, AXIS, keep_dims=True)
    else:
        top = tl.full((BLOCK_L, 1) if AXIS == 1 else (1, BLOCK_L), -INFINITY, C)
        sums = tl.zeros(SHAPE, C)
        for start in range(0, n, BLOCK_N):
            mask = inside & (items < n - start)
            v = tl.load(x_first + start * x_step, mask, -INFINITY, eviction_policy="evict_last").to(C)
            before = top
            top, shift = raised(top, v, AXIS)
            sums = sums * tl.exp(before - shift) + tl.exp(v - shift)
        total = tl.sum(sums, AXIS, keep_dims=True)
        if SMOOTH and weight is not None:
            w_sums = tl.zeros((1, BLOCK_N) if AXIS == 1 else (BLOCK_N, 1), C)
            for start in range(0, n, BLOCK_N):
                w_sums += weights_of(weight, start + items, n, C)
            w_sum = tl.sum(w_sums, AXIS, keep_dims=True)

    if IN_PLACE:
        tl.debug_barrier()  # every thread has read what of the line another one writes over
    factor = tl.full((1, 1), 1, C)
    if REDUCTION == 1:
        if ALONE:
            count = tl.sum(tl.sum(own, 1), 0)
        else:
            k = tl.arange(0, PARTS)
            count = tl.sum(tl.load(counts + k, k < parts, 0), 0).to(C)
        factor = divide(factor, tl.full((1, 1), count, C))
    s = tl.full((1, 1), smoothing, C)
    hard = (1 - s) * own
    soft = s / tl.full((1, 1), n, C)
    share = factor * soft
    p = divide(factor * (hard + (soft * w_sum if SMOOTH else 0.0)), total)
    if WHOLE:
        if dx is not None:
            d = gradient(e, p, share, w, counted)
            if SHARED:
                d -= tl.where(items == label, factor * hard, 0.0)
            tl.store(at(dx, line, items, o, dx_far, dx_outer, AXIS), d.to(dx.dtype.element_ty), mask)
    elif SMOOTH or dx is not None:
        alls = tl.zeros(SHAPE, C)
        for start in range(0, n, BLOCK_N):
            mask = inside & (items < n - start)
            v = tl.load(x_first + start * x_step, mask, -INFINITY, eviction_policy="evict_first").to(C)
            v -= top
            w = tl.zeros((1, 1), C)
            if SMOOTH:
                w = weights_of(weight, start + items, n, C)
                alls += tl.where(mask, w * v, 0.0)
            if dx is not None:
                d = gradient(tl.exp(v), p, share, w, counted)
                to = at(dx, line, items, o, dx_far, dx_outer, AXIS) + start * step_of(dx_far, AXIS, INDEX)
                tl.store(to, d.to(dx.dtype.element_ty), mask)
        of_all = tl.sum(alls, AXIS, keep_dims=True)

    if dx is not None and not SHARED:
        w = tl.zeros((1, 1), C)
        if SMOOTH:
            w = own
        d = gradient(tl.exp(of_label - top), p, share, w, counted) - factor * hard
        tl.debug_barrier()  # what other threads wrote of the line comes first
        tl.store(at(dx, line, label, o, dx_far, dx_outer, AXIS), d.to(dx.dtype.element_ty), counted)

    log_total = tl.log(total)
    loss = hard * (log_total - (of_label - top))
    if SMOOTH:
        loss += soft * (w_sum * log_total - of_all)
    loss = tl.where(counted, loss, 0.0)
    if REDUCTION == 0:
        tl.store(out + position, loss.to(out.dtype.element_ty), inside)
    else:
        loss_sum = tl.sum(tl.sum(loss, 1), 0)
        if ALONE and REDUCTION == 1:
            loss_sum = divide(loss_sum, count.to(C))
        tl.store(out + tl.program_id(0), loss_sum.to(out.dtype.element_ty))


# ---- planners -----------------------------------------------------------------------------------------------------
def cross_entropy(call: Call, tile: Tile | None = None) -> Program:
    """The operation: logits, class indices and weights to loss and dlogits."""
    logits, target, weight = call.inputs
    dlogits = call.outputs[1]
    assert logits is not None and target is not None
    mean, none, held = int(call.params[0]) == MEAN, int(call.params[0]) == NONE, accumulator(logits.dtype)
    lines = lines_of([logits], int(len(logits.shape) > 1), outputs=int(dlogits is not None))
    if lines.lines * lines.outer == 0:
        return Program(()) if none else to_loss(mean, 0, held, 0, 0)
    tile = tile or choose(lines, logits.dtype, call)
    programs = tile.programs(lines)
    alone = programs == 1
    copied = lines.copied + tuple(k for k, v in ((1, target), (2, weight)) if v and not (v.contiguous and v.aligned))
    counts = Temp(1, int32 if weight is None else held)
    counter, parts = counted(call, In(1), weight and In(2), lines.lines * lines.outer, lines.n, counts)
    counting = mean and not alone
    main = over_lines(
        call, lines, tile, held, x=In(0), target=In(1), weight=weight and In(2), counts=counts if counting else None,
        parts=parts if counting else 1, dx=dlogits and Out(1), out=Out(0) if alone or none else Temp(0, held),
        ALONE=alone,
    )  # fmt: skip
    if alone or none:
        return Program((main,), contiguous=copied)
    end = to_loss(mean, programs, held, (counts, parts) if counting else 0, 2)
    launches = ((counter,) if counting else ()) + (main, *end.launches)
    temps = Workspace(programs * held.itemsize), Workspace(parts * counts.dtype.itemsize)
    return Program(launches, (*temps, *end.temps), copied)


def counted(
    call: Call, target: Any, weight: Any, positions: int, classes: int, counts: Temp
) -> tuple[Launch, int]:  # fmt: skip
    """The launch that makes what a mean divides by, and in how many parts."""
    parts, chunk = parts_of(positions)
    args = {
        "target": target, "weight": weight, "counts": counts, "positions": positions, "n": classes,
        "ignore": int(call.params[1]), "chunk": chunk, "C": counts.dtype, "BLOCK": 1024,
    }  # fmt: skip
    return Launch(counts_kernel, (parts,), args), parts


def over_lines(call: Call, lines: Lines, tile: Tile, held: DType, **more: Any) -> Launch:
    """The launch over ``lines``; ``more``: its operands, and what is not as it is for most."""
    reduction, ignore, smoothing = int(call.params[0]), int(call.params[1]), float(call.params[2])
    args = {
        "errors": Errors(), "first": 0, "dx_far": 0, "dx_outer": 0,
        **lines.arguments("x", *(["dx"] if more["dx"] else [])),
        "ignore": ignore, "smoothing": F64(smoothing) if held is float64 else smoothing, "REDUCTION": reduction,
        "SMOOTH": smoothing > 0, "C": held, "BLOCK_L": tile.lines, "BLOCK_N": tile.n,
        "PARTS": power_of_2(more["parts"]), "WHOLE": tile.whole(lines), "ALONE": False, "SHARED": tile.ctas > 1,
        "IN_PLACE": False, **more,
    }  # fmt: skip
    # Without a limit ptxas aims at 64 registers where rows are no whole vectors, and spills 8 bytes.
    limit = {"maxnreg": 255} if lines.unit < 4 and not tile.whole(lines) and tile.warps <= 8 else {}
    return Launch(cross_entropy_kernel, (tile.programs(lines),), args, tile.warps, options={**tile.options, **limit})


def choose(lines: Lines, dtype: DType, call: Call) -> Tile:
    """One program for everything where that can be, else the tile for such lines."""
    n, count = power_of_2(lines.n), power_of_2(lines.lines)
    if lines.outer == 1 and n * count <= TOGETHER * 4 // accumulator(dtype).itemsize:
        return with_warps(n, count, LANES)
    if float(call.params[2]) > 0:  # smoothing holds more
        return tile_of(lines, dtype, LIMIT // 2, call.arch, "cross_entropy_smooth", LANES)
    return tile_of(lines, dtype, LIMIT, call.arch, "cross_entropy", LANES)


def candidates(call: Call) -> Iterator[tuple[dict[str, Any], Program]]:
    """For the tuner: the configurations worth timing."""
    logits = call.inputs[0]
    assert logits is not None
    lines = lines_of([logits], int(len(logits.shape) > 1))
    for tile in tiles(lines, logits.dtype, LIMIT, call.arch, LANES):
        if tile.ctas > 1 and tile.n > LIMIT // 2 * tile.ctas:
            continue  # spills
        yield tile._asdict(), cross_entropy(call, tile)
