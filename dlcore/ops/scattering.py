"""Elements moved to where indices or masks say: scatter, index_add, masked_fill and their kin; taking along axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np

from dlcore import _C
from dlcore._arguments import (
    axis_of,
    boolean,
    called,
    calling,
    choice,
    integer,
    integers,
    listed,
    names_errors,
    operand,
    quick,
    shown,
)
from dlcore.dtypes import FLOATS, bool_, float32, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import AxisOf, ErrorInput, Input, Sample, Shape, Spec, Workload
from dlcore.ops._constants import constant
from dlcore.ops._shape import broadcast_shapes
from dlcore.ops._workloads import RAGGED, bytes_of
from dlcore.ops.elementwise import (
    add,
    cast,
    div,
    eq,
    floor_divide,
    maximum,
    minimum,
    mul,
    remainder,
    where,
)
from dlcore.ops.gather import (
    GATHERED,
    Indexed,
    check_gather,
    gather,
    gather_backward,
    nonzero,
    ravel_index,
    take,
)
from dlcore.ops.limits import checked
from dlcore.ops.movement import expand, reshape
from dlcore.ops.scatter import put
from dlcore.ops.shaping import moveaxis, unbind
from dlcore.ops.slicing import assign
from dlcore.ops.slicing import slice as slice_view
from dlcore.ops.writing import coordinates, index_add_rows, scatter_onto

__all__ = [
    "index_add", "index_copy", "index_fill", "index_select", "masked_fill", "masked_scatter", "masked_select",
    "one_hot", "put_along_axis", "ravel_multi_index", "scatter", "scatter_add", "scatter_reduce", "take_along_axis",
    "unravel_index",
]  # fmt: skip

AxisOfShape = Annotated[int, AxisOf("shape")]

# ---- folding by index ---------------------------------------------------------------------------------------------

def _folded(src: Any, index: Any, shape: tuple[int, ...], axis: int, reduce: str) -> Any:
    fold, start = {"prod": (np.multiply, 1.0), "amax": (np.maximum, -np.inf), "amin": (np.minimum, np.inf)}[reduce]
    if src.dtype.kind in "iu" and reduce != "prod":
        start = np.iinfo(src.dtype).min if reduce == "amax" else np.iinfo(src.dtype).max
    out = np.full(shape, start, src.dtype)
    places = list(np.ogrid[tuple(slice(n) for n in index.shape)])
    places[axis] = index.astype(np.int64)
    with np.errstate(all="ignore"):
        fold.at(out, tuple(places), src)
    return out


@Indexed.definition(
    kernels={"cuda": "movement.accumulate:scatter_fold"}, kinds=("float", "int", "uint"), dtypes=FLOATS, ulp=8,
    reference=_folded,
    cost=lambda src, index, shape: (float(math.prod(src.shape)), bytes_of(src, index, Spec(shape, src.dtype))),
    samples=[
        *(s.but(s.inputs[1].shape, s.inputs[1], shape=s.inputs[0], reduce=r, grad=r == "prod")
          for s, r in zip(GATHERED, ("prod", "amax", "amin", "amax", "prod", "amin"), strict=True)),
        Sample((5, 3), np.array([[0, 1, 1], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]]), shape=(2, 3), axis=0,
               reduce="amax", why="something everywhere"),
        Sample(np.array([3, 5, -7, 2]), np.array([0, 1, 1, 0]), shape=(3,), axis=0, reduce="amin", why="integers"),
        Sample(np.array([1.0, np.nan, 2.0, 0.0]), np.array([0, 0, 0, -1]), shape=(3,), axis=0, reduce="amax",
               why="a NaN wins", grad=False),
        Sample(np.array([0.0, 2.0, 3.0, 0.0, 0.0]), np.array([0, 0, 1, 2, 2]), shape=(4,), axis=0, reduce="prod",
               why="products of one zero, none and two", grad=False),  # a kink of the second gradient
    ],
    error_inputs=[
        ErrorInput(ShapeError, "scatter_fold: src has shape (1, 3), not (1, 2)", np.zeros((1, 3)), np.array([[0, 1]]),
                   shape=(5, 2), axis=0, reduce="prod"),
        ErrorInput(IndexError, "scatter_fold: index 5 at position 1 is out of range for axis 0 of length 5",
                   np.zeros(2), np.array([0, 5]), shape=(5,), axis=0, reduce="amax"),
    ],
    workloads=[
        Workload(((1023, 517), Input((1023, 517), 0, 1025, int64)), (RAGGED, 1, "amax"), "ragged"),
    ],
    baselines={"torch": "src.new_empty(shape).scatter_reduce_(axis, index, src, reduce, include_self=False)"},
)  # fmt: skip
def scatter_fold(
    src: Spec, index: Spec, shape: Shape, axis: AxisOfShape, reduce: Literal["prod", "amax", "amin"]
) -> Spec:
    """The product, largest or smallest of the elements of `src` that `index` sends to each place of `shape`.

    Places to which none goes get 1, -inf or inf (of integers the smallest or largest one). Computed in float32 or
    wider, in the order of the indices.
    """
    check_gather("scatter_fold", shape, index, axis)
    if src.shape != index.shape:
        raise ShapeError(f"scatter_fold: src has shape {src.shape}, not {index.shape}")
    return Spec(shape, src.dtype)


@scatter_fold.gradient
def _(dout: Any, src: Any, index: Any, out: Any, shape: tuple[int, ...], axis: int, reduce: str) -> Any:
    here = gather(dout, index, axis)
    if reduce != "prod":  # shared out among those that are equal
        best = cast(eq(src, gather(out, index, axis)), dout.dtype)
        return mul(best, div(here, gather(gather_backward(best, index, shape, axis), index, axis)))
    zero = eq(src, 0)
    zeros = gather(gather_backward(cast(zero, dout.dtype), index, shape, axis), index, axis)
    rest = gather(scatter_fold(where(zero, 1.0, src), index, shape, axis, "prod"), index, axis)
    others = where(zero, rest, div(rest, where(zero, 1.0, src)))  # the product of the others that are not zero
    return mul(here, where(eq(zeros, cast(zero, dout.dtype)), others, 0.0))


# ---- scatter ------------------------------------------------------------------------------------------------------

_SETS = ("add", "sum", "multiply", "prod", "mean", "amax", "amin")


def _along(name: str, x: Any, axis: Any, index: Any) -> tuple[Any, int, Any]:
    """The operands of a scatter, checked; 0-d ones as vectors of one element."""
    x = operand(x, name)
    index = operand(index, name, "index", x)
    at = axis_of(axis, f"{name}: axis", x.shape)
    check_gather(name, x.shape, Spec(index.shape, index.dtype), at)
    return x, at, index


def _source(name: str, x: Any, index: Any, src: Any) -> Any:
    """What is scattered, of the index's shape and the dtype of x: of a larger tensor the first elements."""
    if not isinstance(src, _C.TensorBase):
        if isinstance(src, bool | int | float | np.generic):
            return expand(assign(_C.empty((), x.dtype, x.device.code), src), index.shape)
        src = operand(src, name, "src", x)
    if src.ndim != index.ndim or any(s < n for s, n in zip(src.shape, index.shape, strict=True)):
        raise ShapeError(f"{name}: src of shape {src.shape} does not cover an index of shape {index.shape}")
    if src.dtype is not x.dtype:
        raise DTypeError(f"{name}: src is of dtype {src.dtype.name}, x of {x.dtype.name}")
    return src if src.shape == index.shape else slice_view(src, tuple((0, n, 1) for n in index.shape))


def _counts(x: Any, axis: int, index: Any) -> Any:
    """How many indices go to each place, as floats."""
    ones = _C.full(index.shape, 1, float32 if not x.dtype.is_float else x.dtype, x.device.code)
    return gather_backward(ones, index, x.shape, axis)


def _reduced(x: Any, axis: int, index: Any, src: Any, reduce: str, include_self: bool) -> Any:
    if reduce in ("prod", "multiply", "amax", "amin"):
        kind: Any = "prod" if reduce == "multiply" else reduce
        found = scatter_fold(src, index, x.shape, axis, kind)
        combine = {"prod": mul, "amax": maximum, "amin": minimum}[kind]
        return combine(x, found) if include_self else where(eq(_counts(x, axis, index), 0), x, found)
    if include_self and reduce != "mean":
        return scatter_onto(x, index, src, axis, "add")
    found = gather_backward(src, index, x.shape, axis)
    counts = _counts(x, axis, index)
    touched = eq(eq(counts, 0), False)
    if not include_self:
        x, x_alone = where(touched, _C.full((), 0, x.dtype, x.device.code), x), x
    total = add(x, found)
    if reduce != "mean":
        return total
    divisor = add(counts, 1) if include_self else maximum(counts, 1)
    if not x.dtype.is_float:
        return floor_divide(total, cast(divisor, x.dtype))
    return div(total, divisor) if include_self else where(touched, div(total, divisor), x_alone)


@names_errors
def scatter(x: Any, axis: int, index: Any, src: Any, reduce: str | None = None) -> Any:
    """A copy of ``x`` with elements of ``src`` where ``index`` says along ``axis`` (torch.scatter).

    For axis 0 of a matrix: out[index[i, j], j] = src[i, j]. ``index`` has as many axes as x and is no longer along the
    others; ``src``, a number or a tensor, covers it. Of equal indices the last wins. ``reduce``: None, or how elements
    are put together with x and each other, see `scatter_reduce`.

    >>> dl.scatter(dl.zeros(3), 0, dl.tensor([2, 0]), dl.tensor([5.0, 7.0]))
    tensor([7., 0., 5.])
    """
    x, at, index = _along("scatter", x, axis, index)
    source = _source("scatter", x, index, src)
    if reduce is None:
        return scatter_onto(x, index, source, at, "set")
    return _reduced(x, at, index, source, choice(reduce, _SETS, "scatter: reduce"), True)


@names_errors
def scatter_add(x: Any, axis: int, index: Any, src: Any) -> Any:
    """A copy of ``x`` to which elements of ``src`` are added where ``index`` says along ``axis``; see `scatter`.

    Sums are in float32 or wider and in the order of the indices: the same bits at every call.

    >>> dl.scatter_add(dl.zeros(2), 0, dl.tensor([0, 0, 1]), dl.tensor([1.0, 2.0, 3.0]))
    tensor([3., 3.])
    """
    x, at, index = _along("scatter_add", x, axis, index)
    return scatter_onto(x, index, _source("scatter_add", x, index, src), at, "add")


def scatter_reduce(x: Any, axis: int, index: Any, src: Any, reduce: str, include_self: bool = True) -> Any:
    """A copy of ``x`` with elements of ``src`` put together where ``index`` says along ``axis``; see `scatter`.

    ``reduce``: "sum", "prod", "mean" (of integers rounded down), "amax" or "amin". ``include_self``: whether x's own
    elements count; those to which no index points stay in any case. Equal extrema share the gradient.

    >>> dl.scatter_reduce(dl.zeros(2), 0, dl.tensor([0, 0, 1]), dl.tensor([1.0, 2.0, 3.0]), "amax")
    tensor([2., 3.])
    """
    x, at, index = _along("scatter_reduce", x, axis, index)
    kind = choice(reduce, _SETS, "scatter_reduce: reduce")
    own = boolean(include_self, "scatter_reduce: include_self")
    source = _source("scatter_reduce", x, index, src)
    return called("scatter_reduce", _reduced, x, at, index, source, kind, own)


# ---- rows by index ------------------------------------------------------------------------------------------------


def _rows(name: str, x: Any, axis: Any, index: Any) -> tuple[Any, int, Any]:
    x = operand(x, name)
    index = operand(index, name, "index", x)
    at = axis_of(axis, f"{name}: axis", x.shape)
    if index.ndim > 1:
        raise ShapeError(f"{name}: an index of shape {index.shape} is no vector")
    if index.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"{name}: indices are of dtype {index.dtype.name}, not integers")
    return x, at, index if index.ndim else reshape(index, (-1,))


def _row_source(name: str, x: Any, axis: int, index: Any, source: Any) -> Any:
    source = operand(source, name, "source", x)
    want = (*x.shape[:axis], index.shape[0], *x.shape[axis + 1 :])
    if source.dtype is not x.dtype:
        raise DTypeError(f"{name}: source is of dtype {source.dtype.name}, x of {x.dtype.name}")
    if broadcast_shapes(name, want, source.shape) != want:
        raise ShapeError(f"{name}: a source of shape {source.shape} does not fit {want}")
    return source if source.shape == want else expand(source, want)


@names_errors
def index_select(x: Any, axis: int, index: Any) -> Any:
    """The elements (rows) of ``x`` at ``index``, a vector, along ``axis``: `take` under PyTorch's name.

    >>> dl.index_select(dl.tensor([[1, 2], [3, 4]]), 1, dl.tensor([1]))
    tensor([[2],
            [4]])
    """
    x, at, index = _rows("index_select", x, axis, index)
    return take(x, index, at)


@names_errors
def index_add(x: Any, axis: int, index: Any, source: Any, alpha: float = 1) -> Any:
    """A copy of ``x`` to which ``alpha`` times each row of ``source`` is added where ``index`` says along ``axis``.

    ``index``: a vector; ``source``: of the shape of x with the index's length along ``axis``. Equal indices add up, in
    float32 or wider and in their order.

    >>> dl.index_add(dl.zeros(4), 0, dl.tensor([1, 1, 3]), dl.tensor([1.0, 2.0, 5.0])).tolist()
    [0.0, 3.0, 0.0, 5.0]
    """
    x, at, index = _rows("index_add", x, axis, index)
    source = _row_source("index_add", x, at, index, source)
    scaled = source if type(alpha) in (int, float) and alpha == 1 else called("index_add", mul, source, alpha)
    source = scaled if scaled.dtype is x.dtype else cast(scaled, x.dtype)
    return index_add_rows(x, index, source, at)


def _put_rows(name: str, x: Any, axis: int, index: Any, source: Any) -> Any:
    value = moveaxis(source, axis, 0) if isinstance(source, _C.TensorBase) and source.ndim else source
    found = called(name, put, moveaxis(x, axis, 0), index, value, 1)
    return moveaxis(found, 0, axis)


def index_copy(x: Any, axis: int, index: Any, source: Any) -> Any:
    """A copy of ``x`` whose rows at ``index`` along ``axis`` are those of ``source``; of equal ones the last wins.

    >>> dl.index_copy(dl.zeros(3), 0, dl.tensor([2, 0]), dl.tensor([5.0, 7.0]))
    tensor([7., 0., 5.])
    """
    x, at, index = _rows("index_copy", x, axis, index)
    return _put_rows("index_copy", x, at, index, _row_source("index_copy", x, at, index, source))


def index_fill(x: Any, axis: int, index: Any, value: Any) -> Any:
    """A copy of ``x`` whose rows at ``index`` along ``axis`` are filled with ``value``, a number or 0-d tensor.

    >>> dl.index_fill(dl.zeros(3), 0, dl.tensor([1]), 4.0)
    tensor([0., 4., 0.])
    """
    x, at, index = _rows("index_fill", x, axis, index)
    return _put_rows("index_fill", x, at, index, _one("index_fill", x, value))


def _one(name: str, x: Any, value: Any) -> Any:
    """One value in the dtype of ``x``, which must hold it."""
    if isinstance(value, _C.TensorBase | np.ndarray) and value.ndim:
        raise ShapeError(f"{name}: value has shape {tuple(value.shape)}; it is one number")
    return called(name, assign, _C.empty((), x.dtype, x.device.code), value)


# ---- along an axis ------------------------------------------------------------------------------------------------


def _broadcast_along(name: str, x: Any, index: Any, axis: Any) -> tuple[Any, Any, int]:
    """x and index broadcast to each other but for ``axis``, and that axis."""
    x = operand(x, name)
    index = operand(index, name, "indices", x)
    if axis is None:
        if index.ndim != 1:
            raise ShapeError(f"{name}: with axis=None indices of shape {index.shape} are no vector")
        return reshape(x, (-1,)), index, 0
    at = axis_of(axis, f"{name}: axis", x.shape)
    if index.ndim != x.ndim:
        raise ShapeError(f"{name}: indices have {index.ndim} axes, x of shape {x.shape} has {x.ndim}")
    shapes = [(*t.shape[:at], 1, *t.shape[at + 1 :]) for t in (x, index)]
    common = broadcast_shapes(name, *shapes)
    wide = [(*common[:at], t.shape[at], *common[at + 1 :]) for t in (x, index)]
    x, index = (t if t.shape == shape else expand(t, shape) for t, shape in zip((x, index), wide, strict=True))
    return x, index, at


@names_errors
def take_along_axis(x: Any, indices: Any, axis: int | None = -1) -> Any:
    """The elements of ``x`` at ``indices`` along ``axis``, whose other axes go together and broadcast.

    For axis 1 of a matrix: out[i, j] = x[i, indices[i, j]]: what `argsort` and `argmax` (with keepdims) answer. With
    axis=None x is flattened. Raises IndexError for an index out of range.

    >>> dl.take_along_axis(dl.tensor([[1, 2], [3, 4]]), dl.tensor([[1], [0]]), 1)
    tensor([[2],
            [3]])
    """
    x, index, at = _broadcast_along("take_along_axis", x, indices, axis)
    return gather(x, index, at)


def put_along_axis(x: Any, indices: Any, values: Any, axis: int | None) -> None:
    """Writes ``values`` into ``x`` at ``indices`` along ``axis``: x[i, indices[i, j]] = values[i, j] for axis 1.

    The other axes go together and broadcast, ``values`` too. Of equal indices the last wins.

    >>> x = dl.tensor([[1, 2], [3, 4]])
    >>> dl.put_along_axis(x, dl.tensor([[1], [0]]), 0, 1)
    >>> x
    tensor([[1, 0],
            [0, 4]])
    """
    if not isinstance(x, _C.TensorBase):
        raise TypeError(f"put_along_axis: x {shown(x)} is not a tensor, and is written in place")
    target, index, at = _broadcast_along("put_along_axis", x, indices, axis)
    if axis is not None and target.shape != x.shape:
        raise ShapeError(f"put_along_axis: indices of shape {index.shape} do not fit shape {x.shape} along axis {at}")
    if isinstance(values, _C.TensorBase | np.ndarray | list):
        values = operand(values, "put_along_axis", "values", x)
        if broadcast_shapes("put_along_axis", index.shape, values.shape) != index.shape:
            raise ShapeError(f"put_along_axis: values of shape {values.shape} do not fit indices {index.shape}")
        values = expand(cast(values, x.dtype) if values.dtype is not x.dtype else values, index.shape)
    source = _source("put_along_axis", target, index, values)
    changed = called("put_along_axis", scatter_onto, target, index, source, at, "set")
    assign.inplace(x, reshape(changed, x.shape))


# ---- masks --------------------------------------------------------------------------------------------------------


def _mask(name: str, mask: Any, x: Any) -> Any:
    mask = operand([mask] if isinstance(mask, bool) else mask, name, "mask", x)
    if mask.dtype is not bool_:
        raise DTypeError(f"{name}: mask is of dtype {mask.dtype.name}, not bool")
    return mask


@names_errors
def masked_fill(x: Any, mask: Any, value: Any) -> Any:
    """``x`` with ``value``, a number or 0-d tensor, where ``mask`` (broadcast) is true; in the dtype of x.

    >>> dl.masked_fill(dl.tensor([1.0, 2.0]), dl.tensor([False, True]), 0.0)
    tensor([1., 0.])
    """
    x = operand(x, "masked_fill")
    mask = _mask("masked_fill", mask, x)
    filling = value if type(value) in (int, float) and x.dtype.is_float else _one("masked_fill", x, value)
    return where(mask, filling, x)


@quick("masked_select")
def masked_select(x: Any, mask: Any) -> Any:
    """The elements of ``x`` where ``mask`` is true, both broadcast, as a vector in row-major order.

    Its length depends on values, so a step that calls it cannot be recorded.

    >>> dl.masked_select(dl.tensor([1, 2, 3]), dl.tensor([True, False, True]))
    tensor([1, 3])
    """
    x = operand(x, "masked_select")
    mask = _mask("masked_select", mask, x)
    if mask.shape == x.shape and x.ndim:
        return x[mask]
    shape = broadcast_shapes("masked_select", x.shape, mask.shape)
    return reshape(expand(x, shape), (-1,))[reshape(expand(mask, shape), (-1,))]


def masked_scatter(x: Any, mask: Any, source: Any) -> Any:
    """``x`` with the elements of ``source``, in row-major order, one after another where ``mask`` (broadcast) is true.

    Raises ShapeError where source has fewer elements than that. A step that calls it cannot be recorded.

    >>> dl.masked_scatter(dl.zeros(3), dl.tensor([True, False, True]), dl.tensor([5.0, 7.0]))
    tensor([5., 0., 7.])
    """
    x = operand(x, "masked_scatter")
    mask, source = _mask("masked_scatter", mask, x), operand(source, "masked_scatter", "source", x)
    shape = broadcast_shapes("masked_scatter", x.shape, mask.shape)
    if source.dtype is not x.dtype:
        raise DTypeError(f"masked_scatter: source is of dtype {source.dtype.name}, x of {x.dtype.name}")
    places = reshape(nonzero(reshape(expand(mask, shape), (-1,))), (-1,))
    if places.size > source.size:
        raise ShapeError(f"masked_scatter: source has {source.size} elements for {places.size} places")
    values = slice_view(reshape(source, (-1,)), ((0, places.size, 1),))
    return reshape(put(reshape(expand(x, shape), (-1,)), places, values, 1), shape)


# ---- classes and coordinates --------------------------------------------------------------------------------------


def one_hot(x: Any, num_classes: int = -1) -> Any:
    """Vectors of 0 with a 1 at the place that each element of ``x``, an integer, names: (*x.shape, classes) int64.

    ``num_classes``: -1: one more than the largest element, which is read back. Raises IndexError for one out of range,
    be it negative.

    >>> dl.one_hot(dl.tensor([0, 2]), 3).tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    x, classes = operand(x, "one_hot"), integer(num_classes, "one_hot: num_classes", -1)
    if x.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"one_hot: classes are of dtype {x.dtype.name}, not integers")
    if classes == -1:
        if not x.size:
            raise ShapeError(f"one_hot: shape {x.shape} has no elements to tell the number of classes")
        classes = int(x.max().item()) + 1
    # Elsewhere negative indices count from the end; a class of -1 is a mistake, or what a loss shall ignore.
    with calling("one_hot"):
        places = reshape(cast(checked(x, 0, classes - 1, "label"), int64), (*x.shape, 1))
    ones = expand(_C.full((), 1, int64, x.device.code), places.shape)
    return gather_backward(ones, places, (*x.shape, classes), x.ndim)


def unravel_index(indices: Any, shape: int | Sequence[int]) -> tuple[Any, ...]:
    """The coordinates, in an array of ``shape``, of elements given by their row-major number: one tensor an axis.

    Negative numbers count from the end. Raises IndexError for one out of range.

    >>> dl.unravel_index(dl.tensor([1, 5]), (2, 3))
    (tensor([0, 1]), tensor([1, 2]))
    """
    number = isinstance(indices, int) and not isinstance(indices, bool)
    found = constant(np.array(indices)) if number else operand(indices, "unravel_index", "indices")
    sizes = integers(shape, "unravel_index: shape")
    if found.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"unravel_index: indices are of dtype {found.dtype.name}, not integers")
    if not sizes:
        raise ShapeError("unravel_index: a shape of no axes has no coordinates")
    return unbind(called("unravel_index", coordinates, found, sizes), 0)


@names_errors
def ravel_multi_index(multi_index: Sequence[Any], dims: int | Sequence[int], mode: str = "raise") -> Any:
    """The row-major numbers, in an array of shape ``dims``, of elements given by coordinates: the inverse of
    `unravel_index`.

    ``mode``: what becomes of a coordinate out of range: "raise" IndexError (negative ones count from the end), "wrap"
    or "clip".

    >>> dl.ravel_multi_index((dl.tensor([0, 1]), dl.tensor([1, 2])), (2, 3))
    tensor([1, 5])
    """
    sizes = integers(dims, "ravel_multi_index: dims")
    several = listed(multi_index, "ravel_multi_index: multi_index", "coordinates")
    given = [operand(i, "ravel_multi_index", "multi_index") for i in several]
    if len(given) != len(sizes):
        raise ShapeError(f"ravel_multi_index: {len(given)} coordinates for shape {sizes}")
    for i in given:
        if i.dtype.kind not in ("int", "uint"):
            raise DTypeError(f"ravel_multi_index: coordinates are of dtype {i.dtype.name}, not integers")
    kind = choice(mode, ("raise", "wrap", "clip"), "ravel_multi_index: mode")
    if kind == "wrap":
        given = [remainder(i, n) for i, n in zip(given, sizes, strict=True)]
    elif kind == "clip":
        given = [minimum(maximum(i, 0), n - 1) for i, n in zip(given, sizes, strict=True)]
    return called("ravel_multi_index", ravel_index, given, sizes)
