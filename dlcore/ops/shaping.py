"""Views spelled with slice, permute, reshape and expand: parts, axes in other places, elements in reverse order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dlcore import _C
from dlcore._arguments import axis_of, check_lengths, integers, lengths, names_errors, operand, shaped
from dlcore.errors import ShapeError
from dlcore.ops import _geometry as geometry
from dlcore.ops._shape import broadcast_shapes as common_shape
from dlcore.ops.movement import expand, permute, reshape
from dlcore.ops.slicing import slice as slice_view

__all__ = [
    "array_split", "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays", "broadcast_shapes",
    "broadcast_tensors", "broadcast_to", "chunk", "dsplit", "expand_as", "expand_dims", "flip", "fliplr", "flipud",
    "hsplit", "moveaxis", "narrow", "ravel", "reshape_as", "rot90", "select", "split", "swapaxes", "unbind",
    "unflatten", "unstack", "view_as", "vsplit",
]  # fmt: skip

Lengths = tuple[int, ...]
_NUMBERS = (bool, int, float)
_TENSOR = _C.TensorBase


def part(x: Any, axis: int, start: int, length: int, step: int = 1) -> Any:
    """``length`` places along ``axis`` from ``start`` on, every ``step`` one: a view."""
    if start == 0 and length == x.shape[axis] and step == 1:
        return x
    if axis == 0 and step == 1:
        return x[start : start + length]
    return slice_view(x, (*((0, n, 1) for n in x.shape[:axis]), (start if length else 0, length, step)))


# ---- parts --------------------------------------------------------------------------------------------------------


def array_split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """The parts of ``x`` along ``axis``, a list of views; the first ones are longer by 1 where it does not divide.

    ``indices_or_sections``: the number of parts, or the places before which x is cut.

    >>> [t.tolist() for t in dl.array_split(dl.arange(5), 2)]
    [[0, 1, 2], [3, 4]]
    """
    x = operand(x, "array_split")
    return [x[index] for index in geometry.parts("array_split", x.shape, indices_or_sections, axis)]


def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """The parts of ``x`` along ``axis``, a list of views.

    ``indices_or_sections``: the number of equal parts (NumPy's meaning; PyTorch's is their length: see `chunk`), or the
    places before which x is cut. Raises ShapeError where equal parts are impossible.

    >>> [part.tolist() for part in dl.split(dl.arange(5), [1, 3])]
    [[0], [1, 2], [3, 4]]
    """
    x = operand(x, "split")
    return [x[index] for index in geometry.parts("split", x.shape, indices_or_sections, axis)]


def _split_along(name: str, x: Any, indices_or_sections: Any, axis: int, least: int) -> list[Any]:
    x = operand(x, name)
    if x.ndim < least:
        raise ShapeError(f"{name}: x has shape {x.shape}; it needs at least {least} axes")
    return split(x, indices_or_sections, axis)


@names_errors
def hsplit(x: Any, indices_or_sections: int | Sequence[int]) -> list[Any]:
    """The parts of ``x`` along axis 1 (axis 0 of a vector); see `split`.

    >>> [t.tolist() for t in dl.hsplit(dl.tensor([[1, 2], [3, 4]]), 2)]
    [[[1], [3]], [[2], [4]]]
    """
    return _split_along("hsplit", x, indices_or_sections, 0 if getattr(x, "ndim", 1) == 1 else 1, 1)


@names_errors
def vsplit(x: Any, indices_or_sections: int | Sequence[int]) -> list[Any]:
    """The parts of ``x`` along axis 0; see `split`.

    >>> [t.tolist() for t in dl.vsplit(dl.tensor([[1, 2], [3, 4]]), 2)]
    [[[1, 2]], [[3, 4]]]
    """
    return _split_along("vsplit", x, indices_or_sections, 0, 2)


@names_errors
def dsplit(x: Any, indices_or_sections: int | Sequence[int]) -> list[Any]:
    """The parts of ``x`` along axis 2; see `split`.

    >>> [t.shape for t in dl.dsplit(dl.zeros(1, 2, 4), 2)]
    [(1, 2, 2), (1, 2, 2)]
    """
    return _split_along("dsplit", x, indices_or_sections, 2, 3)


def chunk(x: Any, chunks: int, axis: int = 0) -> tuple[Any, ...]:
    """At most ``chunks`` parts of ``x`` along ``axis``, all of one length but the last, as views (torch.chunk).

    >>> [t.tolist() for t in dl.chunk(dl.arange(5), 2)]
    [[0, 1, 2], [3, 4]]
    """
    x = operand(x, "chunk")
    return tuple([x[index] for index in geometry.chunks(x.shape, chunks, axis)])


def unbind(x: Any, axis: int = 0) -> tuple[Any, ...]:
    """The views of ``x`` at each place along ``axis``, which they have no more.

    >>> [t.tolist() for t in dl.unbind(dl.tensor([[1, 2], [3, 4]]))]
    [[1, 2], [3, 4]]
    """
    x = operand(x, "unbind")
    return tuple([x[index] for index in geometry.places(x.shape, axis)])


@names_errors
def unstack(x: Any, axis: int = 0) -> tuple[Any, ...]:
    """The views of ``x`` at each place along ``axis``: `unbind` under the array API's name.

    >>> [t.tolist() for t in dl.unstack(dl.tensor([[1, 2], [3, 4]]), axis=1)]
    [[1, 3], [2, 4]]
    """
    return unbind(x, axis)


@shaped(slice_view)
def narrow(x: Any, axis: int, start: int, length: int) -> Any:
    """A view of ``length`` places along ``axis`` from ``start`` on. Raises IndexError where they leave x.

    >>> dl.narrow(dl.tensor([10, 20, 30, 40]), 0, 1, 2)
    tensor([20, 30])
    """
    return geometry.narrowed(x.shape, axis, start, length)


@shaped(slice_view)
def select(x: Any, axis: int, index: int) -> Any:
    """A view at one place along ``axis``, without that axis. Raises IndexError for an index out of range.

    >>> dl.select(dl.tensor([[1, 2], [3, 4]]), 1, 0)
    tensor([1, 3])
    """
    return geometry.selected(x.shape, axis, index)


# ---- axes ---------------------------------------------------------------------------------------------------------


@shaped(permute)
def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Any:
    """A view with the axes ``source`` at the places ``destination``, the others in their order.

    >>> dl.moveaxis(dl.zeros(2, 3, 4), 0, -1).shape
    (3, 4, 2)
    """
    return geometry.moved(x.shape, source, destination)


@shaped(permute)
def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """A view with two axes exchanged.

    >>> dl.swapaxes(dl.zeros(2, 3, 4), 0, 2).shape
    (4, 3, 2)
    """
    return geometry.swapped("swapaxes: axis1", "swapaxes: axis2", x.shape, axis1, axis2)


@shaped(reshape)
def expand_dims(x: Any, axis: int | Sequence[int] = 0) -> Any:
    """A view with new axes of length 1, which stand at ``axis`` (one place or several) of the result.

    >>> dl.expand_dims(dl.tensor([1, 2]), 1).shape
    (2, 1)
    """
    return geometry.with_axes(x.shape, axis)


@shaped(reshape)
def ravel(x: Any) -> Any:
    """The elements in row-major order along one axis; a view where strides allow, else a copy.

    >>> dl.ravel(dl.tensor([[1, 2], [3, 4]]))
    tensor([1, 2, 3, 4])
    """
    return (math.prod(x.shape),)


@shaped(reshape)
def unflatten(x: Any, axis: int, sizes: Sequence[int]) -> Any:
    """A view with one axis made several of lengths ``sizes``, of which one may be -1: the inverse of `flatten`.

    >>> dl.unflatten(dl.zeros(2, 12), 1, (3, 4)).shape
    (2, 3, 4)
    """
    along, new = axis_of(axis, "unflatten: axis", x.shape), integers(sizes, "unflatten: sizes")
    known = math.prod(n for n in new if n != -1)
    fits = x.shape[along] == known if -1 not in new else known > 0 and x.shape[along] % known == 0
    if new.count(-1) > 1 or min(new, default=0) < -1 or not fits:
        raise ShapeError(f"unflatten: axis {along} of shape {x.shape} does not become {new}")
    full = tuple(x.shape[along] // known if n == -1 else n for n in new)
    shape = (*x.shape[:along], *full, *x.shape[along + 1 :])
    check_lengths("unflatten", shape)
    return shape


@names_errors
def reshape_as(x: Any, other: Any) -> Any:
    """The elements of ``x`` in the shape of ``other``.

    >>> dl.reshape_as(dl.arange(4), dl.zeros(2, 2))
    tensor([[0, 1],
            [2, 3]])
    """
    return reshape(operand(x, "reshape_as"), operand(other, "reshape_as", "other").shape)


@names_errors
def view_as(x: Any, other: Any) -> Any:
    """The elements of ``x`` in the shape of ``other``; a view where strides allow, else a copy.

    >>> dl.view_as(dl.arange(4), dl.zeros(2, 2))
    tensor([[0, 1],
            [2, 3]])
    """
    return reshape(operand(x, "view_as"), operand(other, "view_as", "other").shape)


@shaped(reshape)
def one_axis(x: Any) -> Any:
    """A tensor, a 0-d one with an axis of length 1: what `atleast_1d` and `hstack` make of each."""
    return None if x.ndim else (1,)


@shaped(reshape)
def two_axes(x: Any) -> Any:
    """A tensor with axes of length 1 in front up to two."""
    return None if x.ndim > 1 else (*[1] * (2 - x.ndim), *x.shape)


@shaped(reshape)
def three_axes(x: Any) -> Any:
    """A tensor with axes of length 1 up to three."""
    return None if x.ndim > 2 else (1, *x.shape, *[1] * (2 - x.ndim)) if x.ndim < 2 else (*x.shape, 1)


def each(name: str, tensors: Sequence[Any], view: Any) -> list[Any]:
    """``view`` of all ``tensors`` of the function ``name``, of which numbers have an axis."""
    return [view(t if isinstance(t, _TENSOR) else operand([t] if isinstance(t, _NUMBERS) else t, name, "tensors"))
            for t in tensors]  # fmt: skip


def _alone(found: list[Any]) -> Any:
    return found[0] if len(found) == 1 else tuple(found)


def atleast_1d(*tensors: Any) -> Any:
    """The tensors, 0-d ones with an axis of length 1; a tuple for several.

    >>> dl.atleast_1d(dl.tensor(3)).shape
    (1,)
    """
    return _alone(each("atleast_1d", tensors, one_axis))


def atleast_2d(*tensors: Any) -> Any:
    """The tensors with axes of length 1 in front up to two; a tuple for several.

    >>> dl.atleast_2d(dl.tensor([1, 2])).shape
    (1, 2)
    """
    return _alone(each("atleast_2d", tensors, two_axes))


def atleast_3d(*tensors: Any) -> Any:
    """The tensors with axes of length 1 up to three: (N,) becomes (1, N, 1), (M, N) becomes (M, N, 1).

    >>> dl.atleast_3d(dl.tensor([1, 2])).shape
    (1, 2, 1)
    """
    return _alone(each("atleast_3d", tensors, three_axes))


# ---- reverse order ------------------------------------------------------------------------------------------------


@shaped(slice_view)
def flip(x: Any, axis: int | Sequence[int] | None = None, *more: int) -> Any:
    """A view with the elements in reverse order along ``axis`` (one or several; None: all), as ``flip(x, 0, 1)`` too.

    >>> dl.flip(dl.tensor([[1, 2], [3, 4]]), 0)
    tensor([[3, 4],
            [1, 2]])
    """
    return geometry.flipped(x.shape, (axis, *more) if more else axis)


@shaped(slice_view)
def fliplr(x: Any) -> Any:
    """A view with the columns (axis 1) in reverse order.

    >>> dl.fliplr(dl.tensor([[1, 2], [3, 4]]))
    tensor([[2, 1],
            [4, 3]])
    """
    if x.ndim < 2:
        raise ShapeError(f"fliplr: x has shape {x.shape}; it needs at least 2 axes")
    return geometry.flipped(x.shape, 1)


@shaped(slice_view)
def flipud(x: Any) -> Any:
    """A view with the rows (axis 0) in reverse order.

    >>> dl.flipud(dl.tensor([[1, 2], [3, 4]]))
    tensor([[3, 4],
            [1, 2]])
    """
    if x.ndim < 1:
        raise ShapeError(f"flipud: x has shape {x.shape}; it needs at least 1 axis")
    return geometry.flipped(x.shape, 0)


def rot90(x: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Any:
    """A view turned by ``k`` quarters in the plane of two ``axes``, from the first towards the second.

    >>> dl.rot90(dl.tensor([[1, 2], [3, 4]]))
    tensor([[2, 4],
            [1, 3]])
    """
    x = operand(x, "rot90")
    index, order = geometry.turned(x.shape, k, axes)
    turned = x if index is None else slice_view(x, index)
    return turned if order is None else permute(turned, order)


# ---- broadcasting -------------------------------------------------------------------------------------------------


def broadcast_shapes(*shapes: int | Sequence[int]) -> tuple[int, ...]:
    """The shape that ``shapes`` broadcast to: aligned at the right, lengths of 1 are stretched. Raises ShapeError.

    >>> dl.broadcast_shapes((3, 1), (4,))
    (3, 4)
    """
    return common_shape("broadcast_shapes", *(lengths(s, "broadcast_shapes: shape") for s in shapes)) if shapes else ()


@shaped(expand)
def broadcast_to(x: Any, shape: int | Sequence[int]) -> Any:
    """A view of ``x`` broadcast to ``shape``: new axes in front, axes of length 1 repeated, without using memory.

    >>> dl.broadcast_to(dl.tensor([1, 2]), (2, 2))
    tensor([[1, 2],
            [1, 2]])
    """
    return geometry.target(shape)


@names_errors
def expand_as(x: Any, other: Any) -> Any:
    """A view of ``x`` broadcast to the shape of ``other``.

    >>> dl.expand_as(dl.tensor([1, 2]), dl.zeros(2, 2))
    tensor([[1, 2],
            [1, 2]])
    """
    return expand(operand(x, "expand_as"), operand(other, "expand_as", "other").shape)


def _broadcast(name: str, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    given = [operand(t, name, "tensors") for t in tensors]
    shape = geometry.common(name, *[t.shape for t in given]) if given else ()
    return tuple([t if t.shape == shape else expand(t, shape) for t in given])


def broadcast_arrays(*tensors: Any) -> list[Any]:
    """Views of all ``tensors`` in the shape that they broadcast to, a list. Raises ShapeError where they do not.

    >>> [t.shape for t in dl.broadcast_arrays(dl.zeros(3, 1), dl.zeros(4))]
    [(3, 4), (3, 4)]
    """
    return list(_broadcast("broadcast_arrays", tensors))


def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """Views of all ``tensors`` in the shape that they broadcast to. Raises ShapeError where they do not.

    >>> [t.shape for t in dl.broadcast_tensors(dl.zeros(3, 1), dl.zeros(4))]
    [(3, 4), (3, 4)]
    """
    return _broadcast("broadcast_tensors", tensors)
