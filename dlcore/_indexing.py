"""`x[index]` and `x[index] = value` with NumPy's meaning, in terms of the operations of slicing, gather and scatter.

Ints, slices, Ellipsis and None give a view. With integer tensors, arrays, lists or boolean masks among them the
elements are copied: their axes come first in the gathered tensor, or stay in place where they are neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dlcore import _C
from dlcore._arguments import boolean, calling, integer, operand, shown
from dlcore.dtypes import bool_, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Spec
from dlcore.ops.elementwise import add, cast, where
from dlcore.ops.gather import count_nonzero, nonzero, ravel_index, take, take_backward
from dlcore.ops.masked import masked_take
from dlcore.ops.movement import contiguous, expand, permute, reshape
from dlcore.ops.scatter import put, put_
from dlcore.ops.slicing import assign, check_value, slice_assign
from dlcore.ops.slicing import slice as slice_view
from dlcore.ops.transfer import transfer

__all__ = ["basic_index", "getitem", "index_put", "setitem"]

Shape = tuple[int, ...]


class _Advanced(NamedTuple):
    """One index that gathers: over ``span`` axes of the basic view from ``axis`` on, at ``positions``."""

    axis: int
    span: int
    positions: Any
    mask: Any = None
    """Boolean indices: the mask; positions are found from it when they are needed."""


class _Index(NamedTuple):
    """A parsed index: the basic part (an index of the operation `slice`), then what gathers from that view."""

    basic: tuple[Any, ...]
    advanced: tuple[_Advanced, ...]
    together: bool
    """Whether the gathering indices stood next to each other."""


# ---- parsing ------------------------------------------------------------------------------------------------------


_NUMBERS = (bool, int, float)
_ARRAYS = (_C.TensorBase, np.ndarray, list, tuple, range, bool, np.bool_)


class _Listed(np.ndarray):
    """An index given as Python numbers, which a recording keeps; a NumPy array may be another one at the next call."""


def _is_array(item: Any) -> bool:
    return isinstance(item, _ARRAYS)


def _as_array(name: str, item: Any) -> Any:
    array: Any = item
    if not isinstance(item, _C.TensorBase | np.ndarray):
        try:
            array = np.asarray(item).view(_Listed)
        except (TypeError, ValueError):
            raise IndexError(f"{name}: the index {shown(item)} is not an array of integers or booleans") from None
    if array.size == 0 and isinstance(item, list | tuple):
        array = array.astype(np.int64)  # NumPy makes [] a float
    kind = array.dtype.kind if isinstance(array, np.ndarray) else array.dtype.kind[0]
    if kind not in "iub":
        raise DTypeError(f"{name}: an index of dtype {array.dtype} is not supported; use integers or booleans")
    return array


def _is_mask(array: Any) -> bool:
    return bool(array.dtype.kind in ("b", "bool"))


def _expand_ellipsis(name: str, shape: Shape, index: tuple[Any, ...]) -> list[Any]:
    """The index with slices for its Ellipsis and for axes not mentioned, and arrays for what is one."""
    items = [_as_array(name, item) if _is_array(item) else item for item in index]
    used = sum(0 if i is None or i is ... else i.ndim if _is_array(i) and _is_mask(i) else 1 for i in items)
    if used > len(shape):
        raise IndexError(f"{name}: {used} indices for shape {shape}")
    at = [k for k, item in enumerate(items) if item is ...]
    if len(at) > 1:
        raise IndexError(f"{name}: more than one Ellipsis in an index")
    rest: list[Any] = [slice(None)] * (len(shape) - used) or [...] * len(at)  # even an empty one parts its neighbours
    k = at[0] if at else len(items)
    return [*items[:k], *rest, *items[k + 1 :]]


def _position(name: str, shape: Shape, axis: int, item: Any) -> int:
    try:
        i = integer(item, f"{name}: index")
    except TypeError:
        raise IndexError(f"{name}: an index of type {type(item).__name__} is not supported") from None
    except OverflowError as error:
        raise IndexError(str(error)) from None
    if not -shape[axis] <= i < shape[axis]:
        raise IndexError(f"{name}: index {shown(i)} is out of range for axis {axis} of shape {shape}")
    return i % shape[axis]


def _walk(name: str, item: slice, length: int) -> tuple[int, int, int]:
    """(start, length, step) of a slice of an axis; a step that is never taken, which may be of any size, is 1."""
    try:
        start, stop, step = item.indices(length)
    except (TypeError, ValueError):
        parts = ", ".join(map(shown, (item.start, item.stop, item.step)))
        raise IndexError(f"{name}: slice({parts}) is not made of integers, or its step is 0") from None
    count = len(range(start, stop, step))
    return (start if count else 0), count, (step if count > 1 else 1)


def _plain(name: str, shape: Shape, index: Any) -> tuple[Any, ...] | None:
    """The basic index of ints, slices and None, without more ado; None where there is anything else."""
    items = index if type(index) is tuple else (index,)
    entries: list[Any] = []
    axis, ndim = 0, len(shape)
    for item in items:
        kind = type(item)
        if item is None:
            entries.append(None)
            continue
        if axis == ndim or not (kind is int or kind is slice):
            return None
        entries.append(_walk(name, item, shape[axis]) if kind is slice else _position(name, shape, axis, item))
        axis += 1
    return tuple(entries)


def _check_mask(name: str, shape: Shape, axis: int, mask: Any) -> bool:
    """Whether a mask is of the shape that it indexes; else it has axes of length 0 and selects nothing, as in NumPy."""
    own, wanted = tuple(mask.shape), shape[axis : axis + mask.ndim]
    if any(m not in (0, n) for m, n in zip(own, wanted, strict=True)):
        raise IndexError(f"{name}: a mask of shape {own} does not fit shape {shape} from axis {axis} on")
    return own == wanted


def _parse(name: str, shape: Shape, index: Any) -> _Index:
    items = _expand_ellipsis(name, shape, index if isinstance(index, tuple) else (index,))
    gathers = any(_is_array(item) for item in items)
    basic: list[Any] = []
    advanced: list[_Advanced] = []
    places: list[int] = []
    axis = 0
    for place, item in enumerate(items):
        if item is ...:
            continue
        if item is None:
            basic.append(None)
            continue
        if isinstance(item, slice):
            basic.append(_walk(name, item, shape[axis]))
            axis += 1
            continue
        at, span, mask = len(basic), 1, None
        if _is_array(item):
            if _is_mask(item):
                span, mask = item.ndim, item
                if not _check_mask(name, shape, axis, item):
                    item, mask = np.zeros(0, np.int64).view(_Listed), None
                if not span:  # a new axis of length 1, of which all is taken or nothing
                    advanced.append(_Advanced(at, 1, np.zeros(int(item.item()), np.int64).view(_Listed)))
                    places.append(place)
                    basic.append(None)
                    continue
        else:
            item = _position(name, shape, axis, item)
            if not gathers:
                basic.append(item)
                axis += 1
                continue
        advanced.append(_Advanced(at, span, item, mask))
        places.append(place)
        basic += [(0, n, 1) for n in shape[axis : axis + span]]
        axis += span
    together = not places or places[-1] - places[0] == len(places) - 1
    return _Index(tuple(basic), tuple(advanced), together)


def basic_index(shape: Shape, index: Any) -> tuple[Any, ...]:
    """What the operation `slice` takes for ``x[index]`` on ``shape``, ``index`` of ints, slices, Ellipsis and None.

    Raises IndexError, e.g. ``getitem: index 5 is out of range for axis 0 of shape (2, 2)``.
    """
    parsed = _parse("getitem", shape, index)
    if parsed.advanced:
        raise IndexError("getitem: an index array among basic indices")
    return parsed.basic


# ---- gathering ----------------------------------------------------------------------------------------------------


def _positions(item: _Advanced, like: Any) -> Any:
    if item.mask is None:
        return _tensor(item.positions, like)
    return reshape(nonzero(reshape(_tensor(item.mask, like), (-1,))), (-1,))


def _tensor(value: Any, like: Any) -> Any:
    """``value`` as a tensor; what is no tensor yet goes to the device of ``like``."""
    if isinstance(value, _C.TensorBase):
        return value
    if isinstance(value, _Listed) and _C.is_recording():
        dtype = bool_ if value.dtype.kind == "b" else int64
        return _C.as_tensor(value.tolist(), "getitem", "index", like, dtype)
    return _C.as_tensor(np.asarray(value) if isinstance(value, _NUMBERS) else value, "setitem", "value", like)


class _Gathered(NamedTuple):
    """A view whose gathered axes come first, and the positions in them."""

    front: Any
    lead: int
    flat: Any
    order: Shape
    """Axes of the basic view in the order of ``front``'s."""
    place: int
    """Where the axes of ``flat`` go among the others."""


def _gathered(view: Any, index: _Index) -> _Gathered:
    axes = [a for item in index.advanced for a in range(item.axis, item.axis + item.span)]
    order = (*axes, *(a for a in range(view.ndim) if a not in axes))
    front = view if order == tuple(range(view.ndim)) else permute(view, order)
    if len(index.advanced) == 1:
        flat = _positions(index.advanced[0], view)
    else:
        sizes = tuple(math.prod(view.shape[item.axis : item.axis + item.span]) for item in index.advanced)
        flat = ravel_index([_positions(item, view) for item in index.advanced], sizes)
    place = index.advanced[0].axis if index.together else 0
    return _Gathered(front, len(axes), flat, order, place)


def _settled(g: _Gathered) -> Shape:
    """The order that brings (axes of flat, other axes) to where NumPy has them."""
    n, rest = g.flat.ndim, g.front.ndim - g.lead
    return (*range(n, n + g.place), *range(n), *range(n + g.place, n + rest))


def _view(x: Any, basic: tuple[Any, ...]) -> Any:
    if all(isinstance(e, tuple) and e[0] == 0 and e[2] == 1 for e in basic) and tuple(e[1] for e in basic) == x.shape:
        return x
    return slice_view(x, basic)


def getitem(x: Any, index: Any) -> Any:
    """``x[index]`` where the core does not know it by itself, as it does ints, slices and None that are in range.

    A view for these and Ellipsis; a copy where arrays or masks gather.
    """
    plain = _plain("getitem", x.shape, index)
    with calling("getitem"):
        return _gather(x, index) if plain is None else slice_view(x, plain)


def _gather(x: Any, index: Any) -> Any:
    if isinstance(index, _C.TensorBase) and x.ndim and index.dtype.kind in ("int", "uint"):
        return take(x, index, 0)
    parsed = _parse("getitem", x.shape, index)
    if not parsed.advanced:
        return slice_view(x, parsed.basic)
    view, first = _view(x, parsed.basic), parsed.advanced[0]
    if len(parsed.advanced) == 1 and first.mask is not None:
        mask = _tensor(first.mask, view)
        return masked_take(view, mask, int(count_nonzero(mask).item()), first.axis)
    if len(parsed.advanced) == 1 and first.span == 1:
        return take(view, _positions(first, view), first.axis)
    g = _gathered(view, parsed)
    rest = g.front.shape[g.lead :]
    out = take(reshape(g.front, (math.prod(g.front.shape[: g.lead]), *rest)), g.flat, 0)
    return permute(out, _settled(g)) if g.place else out


def index_put(x: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """A copy of ``x`` in which ``x[indices]`` is ``values``, broadcast and cast; of equal indices the last wins.

    ``accumulate``: the values are added to what is there, those of equal indices one after another, in float32 or
    wider: the same bits at every call.
    """
    x = operand(x, "index_put")
    index = tuple(indices) if isinstance(indices, list | tuple) else (indices,)
    with calling("index_put"):
        if boolean(accumulate, "index_put: accumulate"):
            return _accumulated(x, index, values)
        copied = contiguous(x)
        _setitem(copied, index, values)
    return copied


def _accumulated(x: Any, index: tuple[Any, ...], values: Any) -> Any:
    parsed = _parse("index_put", x.shape, index)
    view = _view(x, parsed.basic)
    if not parsed.advanced:
        values = _value(values, view.ndim, x)
        check_value("index_put", view.shape, Spec(getattr(values, "shape", ()), x.dtype))
        return slice_assign(x, cast(add(view, values), x.dtype), parsed.basic)
    g = _gathered(view, parsed)
    flat, rest = reshape(g.flat, (-1,)), g.front.shape[g.lead :]
    values = assign(_C.empty((*g.flat.shape, *rest), x.dtype, x.device.code), _arranged(g, values))
    places = math.prod(g.front.shape[: g.lead])
    found = take_backward(reshape(values, (*flat.shape, *rest)), flat, (places, *rest), 0)
    back = tuple(g.order.index(d) for d in range(view.ndim))
    changed = add(view, permute(reshape(found, g.front.shape), back))
    return changed if view is x else slice_assign(x, changed, parsed.basic)


# ---- assigning ----------------------------------------------------------------------------------------------------


def _value(value: Any, ndim: int, like: Any) -> Any:
    """``value`` as a tensor on the device of ``like`` or a number, without axes of length 1 before the target's."""
    if isinstance(value, _NUMBERS):
        return value
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return value.item()
    if isinstance(value, list | tuple | range):  # Python numbers, which must fit
        t = _C.as_tensor(value, "setitem", "value", like, like.dtype)
    else:
        t = _tensor(value, like)
    t = t if t.device is like.device else transfer(t, like.device)
    extra = t.ndim - ndim
    return reshape(t, t.shape[extra:]) if extra > 0 and set(t.shape[:extra]) == {1} else t


def _tracked(*tensors: Any) -> bool:
    return any(getattr(t, "requires_grad", False) for t in tensors) and bool(_C.is_grad_enabled())


def setitem(x: Any, index: Any, value: Any) -> None:
    """``x[index] = value``: ``value`` is broadcast and cast; of equal indices the last wins.

    On the tape where x or value requires a gradient: x then is what the assignment made of it.
    """
    with calling("setitem"):
        _setitem(x, index, value)


def _setitem(x: Any, index: Any, value: Any) -> None:
    basic = () if index is ... else _plain("setitem", x.shape, index)
    if basic is None:
        parsed = _parse("setitem", x.shape, index)
        if parsed.advanced:
            _set_gathered(x, parsed, _view(x, parsed.basic), value)
            return
        basic = parsed.basic
    view = slice_view(x, basic) if basic else x
    value = _value(value, view.ndim, x)
    if _is_there(view, value):
        return
    if basic and _tracked(x, value) and not (view.base is not None and view.base.is_contiguous):
        assign.inplace(x, slice_assign(x, value, basic))  # the view cannot reach what it is a view of
    else:
        assign.inplace(view, value)


def _is_there(view: Any, value: Any) -> bool:
    """Whether the view's memory holds ``value`` already, and its history: ``x[0] += 1`` assigns what was written."""
    if not isinstance(value, _C.TensorBase) or value.data_ptr != view.data_ptr or value.base is not view.base:
        return False
    same = value.shape == view.shape and value.strides == view.strides and value.dtype is view.dtype
    return same and value.base is not None and value.requires_grad == view.requires_grad and view.size > 0


def _set_gathered(x: Any, index: _Index, view: Any, value: Any) -> None:
    only = index.advanced[0]
    if only.mask is not None and len(index.advanced) == 1 and _is_one(value):
        behind = view.ndim - only.axis - only.span  # no positions are needed where all elements get the same
        changed = where(reshape(_tensor(only.mask, x), (*only.mask.shape, *[1] * behind)), _filling(value, x), view)
    else:
        g = _gathered(view, index)
        value = _arranged(g, value)
        if not _tracked(x, value):
            put_(g.front, g.flat, value, g.lead)
            return
        back = tuple(g.order.index(d) for d in range(view.ndim))
        changed = permute(put(g.front, g.flat, value, g.lead), back)
    if view is x:
        assign.inplace(x, changed)
    elif _tracked(x, changed):
        assign.inplace(x, slice_assign(x, changed, index.basic))
    else:
        assign.inplace(view, changed)


def _filling(value: Any, x: Any) -> Any:
    """One value as `where` must have it, so that its result is of the dtype of ``x``."""
    value = _value(value, 0, x)
    if isinstance(value, _NUMBERS) and x.dtype.is_float:
        return value
    return assign(_C.empty((), x.dtype, x.device.code), value)


def _is_one(value: Any) -> bool:
    return isinstance(value, (*_NUMBERS, np.generic)) or (hasattr(type(value), "ndim") and value.ndim == 0)


def _arranged(g: _Gathered, value: Any) -> Any:
    """``value`` with the axes of the positions in front, as `put` wants it."""
    rest = g.front.shape[g.lead :]
    shape: Sequence[int] = (*rest[: g.place], *g.flat.shape, *rest[g.place :])
    value = _value(value, len(shape), g.front)
    if isinstance(value, _NUMBERS) or value.ndim == 0:
        return value
    if value.ndim > len(shape):
        raise ShapeError(f"setitem: {value.shape} does not broadcast to {tuple(shape)}")
    if not g.place:
        return value
    order = _settled(g)
    return permute(expand(value, tuple(shape)), tuple(order.index(d) for d in range(len(order))))
