"""`vmap`: a function of one example, run once for all examples of a batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from dlcore import _C
from dlcore._arguments import axis_of, choice, function, integer, shown
from dlcore._batching import Level, entered, stripped, wrapped
from dlcore._spelling import spelled
from dlcore._tensor import Tensor
from dlcore.errors import ShapeError
from dlcore.func._tree import leaves, replaced, spread
from dlcore.ops.movement import concat, permute
from dlcore.ops.slicing import slice as slice_view

__all__ = ["vmap"]


@spelled
def vmap(
    f: Callable[..., Any],
    in_axes: Any = 0,
    out_axes: Any = 0,
    chunk_size: int | None = None,
    randomness: Literal["error", "different", "same"] = "error",
) -> Callable[..., Any]:
    """``f``, a function of one example, as a function of batches: every operation in it runs once for all examples.

    ``in_axes``: the axis of examples of each argument, None for one that all examples share: an int for all arguments,
    or a tuple with an entry for each, which may be a structure like the argument (dicts, tuples). Arguments given by
    name have their examples along axis 0. ``out_axes``: where the results have them. ``chunk_size``: so many examples
    at a time, which bounds the memory. ``randomness``: what random operations do: "different" numbers for each example,
    the "same" for all, or an "error".

    Within ``f`` tensors have the shape of one example; methods, operators, indexing (by tensors, too), gradients
    (`grad`, `jacrev`, ...) and another vmap work on them. Reading a value (``item``, ``if``) is an error, for there is
    one for each example. Results that do not depend on an example are repeated.

    Raises ShapeError where arguments have different numbers of examples, ValueError where axes do not fit.

    >>> rows = dl.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> dl.func.vmap(lambda row, w: (row * w).sum(), in_axes=(0, None))(rows, dl.tensor([1.0, 10.0]))
    tensor([21., 43.])
    """
    function(f, "vmap: f")
    choice(randomness, ("error", "different", "same"), "vmap: randomness")
    chunk = None if chunk_size is None else integer(chunk_size, "vmap: chunk_size", 1)

    @functools.wraps(f)
    def batched(*args: Any, **kwargs: Any) -> Any:
        given = (args, kwargs)
        axes = _in_axes(in_axes, args, kwargs)
        values = [_moved(v, a) for v, a in zip(leaves(given), axes, strict=True)]
        size = _size(values, axes)
        if chunk is None or size <= chunk:
            return _run(f, given, values, axes, size, out_axes, randomness)
        parts = []
        for start in range(0, size, chunk):
            n = min(chunk, size - start)
            some = [v if a is None else slice_view(v, ((start, n, 1),)) for v, a in zip(values, axes, strict=True)]
            parts.append(_run(f, given, some, axes, n, out_axes, randomness))
        return _joined(parts, out_axes)

    return batched


def _in_axes(in_axes: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[int | None]:
    """The axis of each leaf of the arguments; None: it is shared."""
    if isinstance(in_axes, list):
        in_axes = tuple(in_axes)
    if isinstance(in_axes, tuple) and len(in_axes) != len(args):
        raise ValueError(f"vmap: in_axes {shown(in_axes)} has {len(in_axes)} entries for {len(args)} arguments")
    found: list[int | None] = []
    own = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(args)
    for k, (arg, axes) in enumerate(zip(args, own, strict=True)):
        for leaf, axis in zip(leaves(arg), spread(axes, arg, f"vmap: in_axes of argument {k}"), strict=True):
            found.append(_in_axis(leaf, axis, f"vmap: argument {k}", asked=True))
    for name, arg in kwargs.items():
        found += [_in_axis(leaf, 0, f"vmap: argument {name!r}", asked=False) for leaf in leaves(arg)]
    return found


def _in_axis(leaf: Any, axis: Any, where: str, asked: bool) -> int | None:
    if axis is None:
        return None
    if not isinstance(leaf, Tensor):
        if not asked:
            return None
        raise TypeError(f"{where} has a {type(leaf).__name__}, which has no axis of examples: its in_axes must be None")
    return axis_of(axis, f"{where}: in_axes", leaf.shape)


def _moved(value: Any, axis: int | None) -> Any:
    """``value`` with the examples along axis 0."""
    return permute(value, (axis, *(d for d in range(value.ndim) if d != axis))) if axis else value


def _size(values: Sequence[Any], axes: Sequence[int | None]) -> int:
    sizes = [v.shape[0] for v, a in zip(values, axes, strict=True) if a is not None]
    if not sizes:
        raise ValueError("vmap: no argument has an axis of examples: in_axes are all None")
    if len(set(sizes)) > 1:
        raise ShapeError(f"vmap: arguments have different numbers of examples: {', '.join(map(str, sizes))}")
    return int(sizes[0])


def _run(
    f: Callable[..., Any], given: Any, values: Sequence[Any], axes: Sequence[int | None], size: int, out_axes: Any,
    randomness: str,
) -> Any:  # fmt: skip
    level = Level(size, randomness)
    with entered(level):
        new = [v if a is None else wrapped(v, level) for v, a in zip(values, axes, strict=True)]
        args, kwargs = replaced(given, iter(new))
        result = f(*args, **kwargs)
        found = leaves(result)
        places = spread(out_axes, result, "vmap: out_axes")
        return replaced(result, iter([_out(r, a, level) for r, a in zip(found, places, strict=True)]))


def _out(result: Any, axis: Any, level: Level) -> Any:
    """All examples of a result, along ``axis``."""
    if result is None:
        return None
    if not isinstance(result, Tensor):
        raise TypeError(f"vmap: the function returned a {type(result).__name__}; results are tensors")
    if axis is None:
        if _is_of(result, level):
            raise ValueError("vmap: out_axes is None for a result that differs from example to example")
        return result
    whole = stripped(result, level)
    at = axis_of(axis, "vmap: out_axes", whole.shape)
    order = list(range(1, whole.ndim))
    order.insert(at, 0)
    return permute(whole, tuple(order)) if at else whole


def _is_of(t: Any, level: Level) -> bool:
    batch = _C.batch_of(t)
    return batch is not None and (batch[0] is level or _is_of(batch[1], level))


def _joined(parts: Sequence[Any], out_axes: Any) -> Any:
    """The results of chunks, one behind the other."""
    places = spread(out_axes, parts[0], "vmap: out_axes")
    several = zip(*(leaves(part) for part in parts), strict=True)
    joined: Iterator[Any] = (
        some[0] if axis is None or some[0] is None else concat(list(some), axis)
        for some, axis in zip(several, places, strict=True)
    )
    return replaced(parts[0], joined)
