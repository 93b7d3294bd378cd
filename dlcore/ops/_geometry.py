"""What a shape and plain arguments mean, worked out once: indices of parts, orders of axes, new shapes.

Functions in Python that are a view or two spend most of their time on that. `remembered` keeps each answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from dlcore._arguments import axis_of, check_lengths, integer, integers, items, remembered, shown
from dlcore.errors import DTypeError, ShapeError
from dlcore.ops._shape import broadcast_shapes

__all__ = [
    "axes_of", "but_one", "chunks", "common", "flattened", "flipped", "moved", "narrowed", "parts", "places",
    "repeated", "selected", "squeezed", "stacked", "swapped", "target", "tiled", "turned", "unsqueezed", "windows",
    "with_axes",
]  # fmt: skip

Lengths = tuple[int, ...]
Index = tuple[Any, ...]  # of `slice`; of `x[index]` where several parts are told


def axes_of(axis: Any, where: str, shape: Lengths) -> list[int]:
    """One axis or several (None: all) counted from the front, in the order given; raises ShapeError for one twice."""
    if axis is None:
        return list(range(len(shape)))
    several = items(axis)
    found = [axis_of(a, where, shape) for a in ([axis] if several is None else several)]
    if len(set(found)) != len(found):
        raise ShapeError(f"{where.partition(':')[0]}: an axis is given twice: {tuple(several or ())} for shape {shape}")
    return found


def _whole(shape: Sequence[int]) -> Index:
    return tuple((0, n, 1) for n in shape)


# ---- parts --------------------------------------------------------------------------------------------------------


def _between(shape: Lengths, axis: int, cuts: Sequence[int]) -> tuple[Index, ...]:
    """The parts between ``cuts``, which Python's slices take."""
    n, edges = shape[axis], [0, *cuts]
    if cuts and cuts[0] >= 0 and cuts[-1] <= n and all(a <= b for a, b in pairwise(cuts)):
        bounds = list(pairwise([*edges, n]))
    else:
        bounds = [slice(a, b).indices(n)[:2] for a, b in zip(edges, [*cuts, None], strict=True)]
    before = (slice(None),) * axis
    return tuple((*before, slice(a, max(a, b))) for a, b in bounds)


@remembered
def parts(name: str, shape: Lengths, indices_or_sections: Any, axis: Any) -> tuple[Index, ...]:
    """What array_split and split give."""
    along = axis_of(axis, f"{name}: axis", shape)
    if items(indices_or_sections) is not None:
        return _between(shape, along, integers(indices_or_sections, f"{name}: indices_or_sections"))
    sections, n = integer(indices_or_sections, f"{name}: indices_or_sections"), shape[along]
    if name == "split" and sections > 0 and n % sections:
        raise ShapeError(
            f"split: axis {along} of shape {shape} has no {sections} equal parts; array_split gives unequal ones"
        )
    if sections < 1:
        raise ValueError(f"{name}: the number of parts is {sections}; it must be at least 1")
    each, more = divmod(n, sections)
    filled = [k * each + min(k, more) for k in range(1, min(sections, n + 1))]
    return _between(shape, along, filled + [n] * (sections - 1 - len(filled)))


@remembered
def chunks(shape: Lengths, count: Any, axis: Any) -> tuple[Index, ...]:
    """What `chunk` gives."""
    along, n = axis_of(axis, "chunk: axis", shape), integer(count, "chunk: chunks", 1)
    length = -(-shape[along] // n)
    return _between(shape, along, range(length, shape[along], length) if length else [0] * (n - 1))


@remembered
def places(shape: Lengths, axis: Any) -> tuple[Index, ...]:
    """What `unbind` gives."""
    along = axis_of(axis, "unbind: axis", shape)
    before = (slice(None),) * along
    return tuple((*before, k) for k in range(shape[along]))


@remembered
def narrowed(shape: Lengths, axis: Any, start: Any, length: Any) -> Index:
    """What `narrow` gives; raises IndexError where the places leave the axis."""
    along, n = axis_of(axis, "narrow: axis", shape), integer(length, "narrow: length", 0)
    first = integer(start, "narrow: start")
    at = first + shape[along] if first < 0 else first
    if at < 0 or at + n > shape[along]:
        raise IndexError(f"narrow: {n} places from {first} on leave axis {along} of shape {shape}")
    return (*_whole(shape[:along]), (at if n else 0, n, 1))


@remembered
def selected(shape: Lengths, axis: Any, index: Any) -> Index:
    """What `select` gives; raises IndexError for an index out of range."""
    along, k = axis_of(axis, "select: axis", shape), integer(index, "select: index")
    if not -shape[along] <= k < shape[along]:
        raise IndexError(f"select: index {k} is out of range for axis {along} of shape {shape}")
    return (*_whole(shape[:along]), k % shape[along])


@remembered
def flipped(shape: Lengths, axis: Any) -> Index | None:
    """What `flip` gives; None: x itself."""
    turned = axes_of(axis, "flip: axis", shape)
    return tuple((n - 1, n, -1) if d in turned and n else (0, n, 1) for d, n in enumerate(shape)) if turned else None


@remembered
def but_one(shape: Lengths, axis: int) -> tuple[Index, Index]:
    """All places along an axis but the first, and all but the last."""
    count = max(0, shape[axis] - 1)
    before = _whole(shape[:axis])
    return (*before, (1 if count else 0, count, 1)), (*before, (0, count, 1))


# ---- axes ---------------------------------------------------------------------------------------------------------


@remembered
def moved(shape: Lengths, source: Any, destination: Any) -> Lengths:
    """The order of axes that `moveaxis` makes."""
    old, new = axes_of(source, "moveaxis: source", shape), axes_of(destination, "moveaxis: destination", shape)
    if len(old) != len(new):
        raise ShapeError(f"moveaxis: {len(old)} axes to {len(new)} places")
    order = [d for d in range(len(shape)) if d not in old]
    for place, axis in sorted(zip(new, old, strict=True)):
        order.insert(place, axis)
    return tuple(order)


@remembered
def turned(shape: Lengths, k: Any, axes: Any) -> tuple[Index | None, Lengths | None]:
    """What `rot90` gives: the axes that it reverses, then the order of axes."""
    turns, plane = integer(k, "rot90: k") % 4, axes_of(axes, "rot90: axes", shape)
    if len(plane) != 2:
        raise ShapeError(f"rot90: {len(plane)} axes make no plane; it takes 2")
    reversed_ = {0: (), 1: plane[1:], 2: plane, 3: plane[:1]}[turns]
    order = swapped("rot90: axes", "rot90: axes", shape, *plane) if turns % 2 else None
    return flipped(shape, reversed_) if reversed_ else None, order


@remembered
def windows(shape: Lengths, window_shape: Any, axis: Any) -> tuple[tuple[int, int], ...]:
    """The axes that `sliding_window_view` unfolds, and the lengths of windows along them."""
    sizes = integers(window_shape, "sliding_window_view: window_shape")
    several = range(len(shape)) if axis is None else [axis] if items(axis) is None else items(axis)
    axes = [axis_of(a, "sliding_window_view: axis", shape) for a in several or ()]
    if len(sizes) != len(axes):
        raise ShapeError(f"sliding_window_view: windows of shape {sizes} along {len(axes)} axes of shape {shape}")
    left = list(shape)
    for a, size in zip(axes, sizes, strict=True):
        if not 0 <= size <= left[a]:
            raise ShapeError(f"sliding_window_view: windows of shape {sizes} do not fit shape {shape}")
        left[a] -= size - 1
    return tuple(zip(axes, sizes, strict=True))


@remembered
def swapped(first: str, second: str, shape: Lengths, axis0: Any, axis1: Any) -> Lengths:
    """The order of axes with two exchanged; ``first``, ``second``: what they are called in errors."""
    a, b = axis_of(axis0, first, shape), axis_of(axis1, second, shape)
    order = list(range(len(shape)))
    order[a], order[b] = order[b], order[a]
    return tuple(order)


# ---- shapes -------------------------------------------------------------------------------------------------------


@remembered
def unsqueezed(shape: Lengths, axis: Any) -> Lengths:
    """With an axis of length 1 at ``axis``."""
    at = axis_of(axis, "unsqueeze: axis", (*shape, 1))
    check_lengths("unsqueeze", (*shape, 1))
    return (*shape[:at], 1, *shape[at:])


@remembered
def with_axes(shape: Lengths, axis: Any) -> Lengths:
    """With axes of length 1 that stand at ``axis`` of the result."""
    more = 1 if items(axis) is None else len(items(axis) or ())
    check_lengths("expand_dims", (*shape, *[1] * more))
    new, old = axes_of(axis, "expand_dims: axis", (*shape, *[1] * more)), iter(shape)
    return tuple(1 if d in new else next(old) for d in range(len(shape) + more))


@remembered
def squeezed(shape: Lengths, axis: Any) -> Lengths:
    """Without the axes of length 1, or those named."""
    if axis is None:
        return tuple(n for n in shape if n != 1)
    several = items(axis)
    dropped = [axis_of(a, "squeeze: axis", shape) for a in ([axis] if several is None else several)]
    for a in dropped:
        if shape[a] != 1:
            raise ShapeError(f"squeeze: axis {a} of shape {shape} has length {shape[a]}, not 1")
    if len(set(dropped)) != len(dropped):
        raise ShapeError(f"squeeze: an axis is given twice: {tuple(several or ())} for shape {shape}")
    return tuple(n for d, n in enumerate(shape) if d not in dropped)


@remembered
def flattened(given: Lengths, start_axis: Any, end_axis: Any) -> Lengths:
    """With some axes made one."""
    shape = given or (1,)
    a, b = axis_of(start_axis, "flatten: start_axis", shape), axis_of(end_axis, "flatten: end_axis", shape)
    if a > b:
        raise ShapeError(f"flatten: axis {shown(start_axis)} lies behind axis {shown(end_axis)} for shape {given}")
    return (*shape[:a], math.prod(shape[a : b + 1]), *shape[b + 1 :])


@remembered
def target(shape: Any) -> Lengths:
    """The shape that `broadcast_to` is asked for."""
    new = integers(shape, "broadcast_to: shape")
    check_lengths("broadcast_to", new)
    return new


@remembered
def common(name: str, *shapes: Lengths) -> Lengths:
    """The shape that shapes broadcast to."""
    return broadcast_shapes(name, *shapes)


@remembered
def stacked(axis: Any, *tensors: Any) -> tuple[int, Lengths, Lengths | None]:
    """The axis along which a stack is joined, its shape, and what the tensors become before: None for nothing."""
    shape = tensors[0].shape
    for t in tensors:
        if t.shape != shape:
            raise ShapeError(f"stack: shapes differ: {shape} and {t.shape}")
        if t.weak:
            raise DTypeError("stack: operand 'tensors' is a number, not a tensor")
    at = axis_of(axis, "stack: axis", (*shape, 1))
    check_lengths("stack", (*shape, 1))
    return at, (*shape[:at], len(tensors), *shape[at:]), (*shape, 1) if at == len(shape) else None


@remembered
def repeated(shape: Lengths, axis: int, count: int, at: int) -> tuple[Lengths, Lengths, Lengths]:
    """With an axis of length 1 at ``at``, with that axis ``count`` long, and with it made one with ``axis``."""
    new, joined = (*shape[:at], 1, *shape[at:]), (*shape[:axis], shape[axis] * count, *shape[axis + 1 :])
    return new, (*shape[:at], count, *shape[at:]), joined


@remembered
def tiled(shape: Lengths, reps: Any) -> tuple[Lengths, Lengths | None]:
    """The shape and the repetitions of `tile`, both of all axes; None for none but 1."""
    counts = integers(reps, "tile: reps")
    if min(counts, default=0) < 0:
        raise ShapeError(f"tile: negative number of repetitions in {counts}")
    ndim = max(len(shape), len(counts))
    full = (*[1] * (ndim - len(shape)), *shape)
    check_lengths("tile", full)
    every = (*[1] * (ndim - len(counts)), *counts)
    return full, every if any(n != 1 for n in counts) else None
