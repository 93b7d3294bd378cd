"""Elements in order: sort, argsort, topk, kthvalue, partitions.

NaN counts as the largest number, whatever its sign, and -0.0 equals 0.0: NaNs come last in ascending order and first in
descending order. Elements that are equal keep their order in both directions (every sort is stable). Values keep their
bits; gradients go back to where the values came from.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np

from dlcore._arguments import axis_of, boolean, integer, items, operand
from dlcore.dtypes import DTYPES, FLOATS, float32, float64, int32, int64
from dlcore.errors import ShapeError
from dlcore.op import Axis, AxisOf, ErrorInput, Input, Op, Sample, Spec, Workload
from dlcore.op import Shape as Lengths
from dlcore.ops._workloads import MILLION, RAGGED, bytes_of, on_gpu
from dlcore.ops.gather import gather
from dlcore.ops.movement import reshape

__all__ = [
    "argpartition", "argsort", "kthvalue", "msort", "partition", "sort", "topk",
]  # fmt: skip

Shape = tuple[int, ...]
AxisOfShape = Annotated[int, AxisOf("shape")]

# ---- the family -----------------------------------------------------------------------------------------------------


def _along(shape: Shape, axis: int | None) -> tuple[int, int]:
    """(number of lines, their length)."""
    n = math.prod(shape) if axis is None else shape[axis]
    return (math.prod(shape) // n if n else 0), n


def _work(x: Spec, axis: int | None) -> float:
    """Comparisons of a merge sort."""
    lines, n = _along(x.shape, axis)
    return float(lines * n * math.log2(max(n, 2)))


def _ties(shape: Shape) -> Input:
    return Input(shape, draw=lambda rng: rng.integers(-3, 4, shape).astype(np.float64))


def _specials(dtype: Any = np.float32) -> Any:
    """Rows with NaNs of both signs, infinities and zeros of both signs."""
    x = np.array([0.0, -0.0, 1.5, np.nan, -np.inf, -0.0, 0.0, -np.nan, np.inf, -2.0, np.nan, -0.0], dtype)
    return np.stack([x, np.roll(x, 5), np.abs(x), np.full(12, -0.0, dtype)])


def _ends(dtype: Any) -> Any:
    info = np.iinfo(dtype)
    return np.array([[3, info.max, info.min, 0, info.min, 1], [info.max, 2, info.max, 5, 0, info.min]], dtype)


class Ordered(Op):
    """An operation that orders the elements of `x` along an axis."""

    family = "order"
    dtypes = DTYPES
    methods = True
    ulp = 0.0
    grad = True
    """Whether there is a gradient."""

    def family_kernels(self) -> dict[str, str]:
        return {"cpu": f"order:{self.name}", "cuda": f"order.sort:{self.name}"}

    def params(self, axis: int | None, descending: bool) -> tuple[int, int]:
        """The axis, or -1 for the flat array, and the direction."""
        return (-1 if axis is None else axis), int(descending)

    def cost(self, x: Spec, axis: int | None) -> tuple[float, float]:
        """The comparisons of a merge sort; the operand read and the results written once."""
        return _work(x, axis), bytes_of(x, x if self.grad else Spec(x.shape, int64))

    def family_samples(self) -> list[Sample]:
        return [
            Sample((5, 9), why="rows"),
            Sample((33, 65), axis=0, why="columns, unaligned", grad=False),
            Sample((3, 21, 4), axis=1, descending=True, why="middle axis, descending"),
            Sample((4, 6), axis=None, why="flat"),
            Sample(_ties((7, 130)), axis=1, why="ties", grad=False),
            Sample(_ties((7, 130)), axis=1, descending=True, why="ties, descending", grad=False),
            Sample(_specials(), axis=1, why="NaN, infinities, zeros", grad=False),
            Sample(_specials(np.float16), axis=1, descending=True, why="NaN, infinities, zeros, float16", grad=False),
            *(Sample(_ends(d), descending=d != np.int16, why=f"ends of {d.__name__}", grad=False)
              for d in (np.uint8, np.int16, np.int64)),
            Sample((0, 3), axis=1, why="empty"), Sample((3, 0), axis=1, why="rows of nothing"),
            Sample((3, 1), axis=1, why="rows of one"),
            Sample((3, 3001), axis=1, why="rows of several digits", grad=False),
            Sample((200_003,), why="several chunks", grad=False),
            Sample(Input((150_001,), draw=lambda g: g.integers(-9, 9, 150_001) * 1.0), why="a few values", grad=False),
        ]  # fmt: skip

    def family_workloads(self) -> list[Workload]:
        return [
            Workload(((8,),), why="the cost of a call"),
            Workload((MILLION,), why="1M", quick="forward"),
            Workload((Input((1_000_000,), 0, 1000, int32),), why="1M, small integers", dtypes=(float32,)),
            Workload(((1000, 1000),), (-1,), why="rows", dtypes=(float32, float64)),
            Workload((RAGGED,), (0,), why="ragged, columns", dtypes=(float32,)),
            Workload(((100_000, 10),), (-1,), why="short rows", dtypes=(float32,)),
            on_gpu([(1 << 26,)], (-1,)),
        ]


ordered = Ordered.definition


def _numpy_order(x: Any, axis: int | None, descending: bool) -> Any:
    if axis is None:
        x, axis = x.reshape(-1), 0
    if not descending:
        return np.argsort(x, axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)


# ---- sort, argsort --------------------------------------------------------------------------------------------------


def _back(dvalues: Any, indices: Any, shape: Shape, axis: int | None) -> Any:
    """Zeros of ``shape``, and each element of ``dvalues`` where the value came from."""
    if axis is None:
        return reshape(sort_backward(dvalues, indices, (math.prod(shape),), 0), shape)
    return sort_backward(dvalues, indices, shape, axis)


@ordered(
    extras="indices", gradient=lambda dout, x_shape, indices, axis: _back(dout, indices, x_shape, axis),
    baselines={
        "numpy": "np.sort(x, axis)", "torch": "torch.sort(x, axis).values", "jax": "jnp.sort(x, axis)",
    },
)  # fmt: skip
def sort(x: Spec, axis: Axis | None = -1, descending: bool = False, stable: bool = True) -> list[Spec]:
    """The elements of `x` in order along `axis`, smallest first or, with `descending`, largest first.

    `axis`: an int, or None for all elements in one line. Any dtype. NaN counts as the largest: it comes last, with
    `descending` first, as in PyTorch. -0.0 equals 0.0; equal elements keep their order, whatever `stable` says. The
    gradient goes to where each element came from.

    Raises IndexError for an axis out of range.

    >>> dl.sort(dl.tensor([3, 1, 2]), descending=True).tolist()
    [3, 2, 1]
    """
    shape = (math.prod(x.shape),) if axis is None else x.shape
    return [Spec(shape, x.dtype), Spec(shape, int64)]


@sort.reference
def _(x: Any, axis: int | None, descending: bool) -> Any:
    flat = x.reshape(-1) if axis is None else x
    return np.take_along_axis(flat, _numpy_order(x, axis, descending), 0 if axis is None else axis)


@ordered(
    grad=False, reference=_numpy_order,
    baselines={
        "numpy": "np.argsort(x, axis, stable=True)", "torch": "torch.argsort(x, dim=axis, stable=True)",
        "jax": "jnp.argsort(x, axis)",
    },
)  # fmt: skip
def argsort(x: Spec, axis: Axis | None = -1, descending: bool = False, stable: bool = True) -> Spec:
    """Indices (int64) that put `x` in order along `axis`: gather(x, argsort(x, axis), axis) is sort(x, axis).

    Arguments, order and errors as in `sort`.

    >>> dl.argsort(dl.tensor([3.0, 1.0, 2.0])).tolist()
    [1, 2, 0]
    """
    return Spec((math.prod(x.shape),) if axis is None else x.shape, int64)


# ---- topk -----------------------------------------------------------------------------------------------------------


class _Top(Ordered):
    outputs = "values indices"

    def params(self, axis: int, largest: bool, k: int) -> tuple[int, ...]:  # type: ignore[override]
        """Axis, direction, and how many."""
        return axis, int(largest), k

    def cost(self, x: Spec, k: int, axis: int) -> tuple[float, float]:  # type: ignore[override]
        """A comparison an element, and the sort of those chosen."""
        n = math.prod(x.shape) // x.shape[axis] * k if x.shape[axis] else 0
        return math.prod(x.shape) + n * math.log2(max(k, 2)), bytes_of(x, Spec((n,), x.dtype), Spec((n,), int64))

    def family_samples(self) -> list[Sample]:
        return [
            Sample((5, 9), k=3, why="rows"), Sample((3, 21, 4), k=7, axis=1, largest=False, why="middle axis"),
            Sample((33, 65), k=65, axis=1, why="all", grad=False), Sample((4, 5), k=0, why="none"),
            Sample(_ties((7, 600)), k=40, axis=1, why="ties", grad=False),
            Sample(_ties((7, 1100)), k=3, axis=1, largest=False, sorted=False, why="ties, smallest", grad=False),
            Sample(_specials(), k=5, why="NaN, infinities, zeros", grad=False),
            Sample(_specials(np.float16), k=9, largest=False, why="NaN, infinities, zeros, smallest", grad=False),
            *(Sample(_ends(d), k=3, largest=d != np.int16, why=f"ends of {d.__name__}", grad=False)
              for d in (np.uint8, np.int16, np.int64)),
            Sample((0, 3), k=2, why="empty"), Sample((600,), k=2, axis=0, why="a few of many"),
            Sample((200_003,), k=77, why="several chunks", grad=False),
            Sample(Input((70_000,), draw=lambda g: np.arange(7e4)), k=100, why="ever larger", grad=False),
        ]  # fmt: skip

    def family_workloads(self) -> list[Workload]:
        return [
            Workload(((8,),), (2,), why="the cost of a call"),
            Workload((MILLION,), (10,), why="1M", quick="forward"), Workload((MILLION,), (1000,), "1M, 1000"),
            Workload(((4096, 1000),), (5,), why="rows", dtypes=(float32, float64)),
            Workload((RAGGED,), (20, 0), why="ragged, columns", dtypes=(float32,)), on_gpu([(1024, 32768)], (64,)),
        ]  # fmt: skip


@_Top.definition(
    gradient=lambda dvalues, x_shape, indices, axis: sort_backward(dvalues, indices, x_shape, axis),
    error_inputs=[
        ErrorInput(ShapeError, "topk: k is 4, but axis 1 of shape (2, 3) has length 3", np.zeros((2, 3)), k=4),
        ErrorInput(ShapeError, "topk: k is -1; it must be at least 0", np.zeros((2, 3)), k=-1),
    ],
    baselines={
        "torch": "torch.topk(x, k, axis, largest)", "jax": "jax.lax.top_k(x, k) if axis in (-1, x.ndim - 1) "
        "else [jnp.moveaxis(y, -1, axis) for y in jax.lax.top_k(jnp.moveaxis(x, axis, -1), k)]",
    },
)  # fmt: skip
def topk(x: Spec, k: int, axis: Axis = -1, largest: bool = True, sorted: bool = True) -> list[Spec]:
    """(values, indices): the `k` largest elements along `axis`, largest first, and where they stand (int64).

    With `largest` False the smallest, smallest first. Any dtype. They are in order whatever `sorted` says; of equal
    elements those that stand first are chosen, and come first. NaN counts as the largest. The gradient of the values
    goes to where they came from.

    Raises IndexError for an axis out of range, ShapeError where `k` is negative or more than the length of the axis.

    >>> values, indices = dl.topk(dl.tensor([1.0, 4.0, 2.0]), 2)
    >>> values.tolist(), indices.tolist()
    ([4.0, 2.0], [1, 2])
    """
    if k < 0:
        raise ShapeError(f"topk: k is {k}; it must be at least 0")
    if k > x.shape[axis]:
        raise ShapeError(f"topk: k is {k}, but axis {axis} of shape {x.shape} has length {x.shape[axis]}")
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    return [Spec(shape, x.dtype), Spec(shape, int64)]


@topk.reference
def _(x: Any, k: int, axis: int, largest: bool) -> Any:
    order = np.take(_numpy_order(x, axis, largest), np.arange(k), axis)
    return [np.take_along_axis(x, order, axis), order]


class _Back(Op):
    family, outputs, kinds, dtypes = "order", "dx", ("float",), FLOATS
    promote = staticmethod(lambda specs: [specs[0].dtype, int64])


def _chosen(shape: Shape, count: int, axis: int) -> Sample:
    """The first ``count`` indices of the order of some lines, as topk gives them."""

    def draw(rng: np.random.Generator) -> list[Any]:
        order = np.take(np.argsort(rng.random(shape), axis), np.arange(count), axis)
        return [rng.standard_normal(order.shape), order]

    return Sample(draw=draw, shape=shape, axis=axis, why=f"{count} of {shape[axis]}, axis {axis}")


@_Back.definition(
    kernels={"cuda": "order.sort:sort_backward"}, params=lambda axis: (axis,), ulp=0,
    gradient=lambda ddx, indices, axis: gather(ddx, indices, axis),
    cost=lambda dout, shape: (0.0, bytes_of(dout, Spec(shape, dout.dtype)) + 8.0 * math.prod(dout.shape)),
    samples=[
        _chosen((5, 7), 3, 1), _chosen((9, 4), 9, 0), _chosen((2, 6, 3), 4, 1),
        Sample((2, 0), np.zeros((2, 0), np.int64), shape=(2, 3), axis=1, why="none"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "sort_backward: dout (2, 3) and indices (2, 2) do not fit shape (2, 5) along axis 1",
                   np.zeros((2, 3)), np.zeros((2, 2), np.int64), shape=(2, 5), axis=1),
        ErrorInput(IndexError, "sort_backward: index 5 at position 1 is out of range for axis 0 of length 5",
                   np.zeros(2), np.array([0, 5]), shape=(5,), axis=0),
    ],
    workloads=[
        Workload(((64,), Input((64,), draw=lambda rng: rng.permutation(64))), ((64,), 0), "small"),
        Workload((MILLION, Input(MILLION, draw=lambda rng: rng.permutation(MILLION[0]))), (MILLION, 0), "1M"),
    ],
    baselines={
        "torch": "dout.new_zeros(shape).scatter_(axis, indices, dout)",
        "jax": "jnp.zeros(shape, dout.dtype).at[indices].set(dout)",
    },
)  # fmt: skip
def sort_backward(dout: Spec, indices: Spec, shape: Lengths, axis: AxisOfShape) -> Spec:
    """The gradient of `sort` and `topk`: zeros of `shape`, and each element of `dout` where it came from along `axis`.

    The `indices` of a line differ from each other.
    """
    n = dout.shape[axis] if axis < len(dout.shape) else 0
    if dout.shape != indices.shape or dout.shape != (*shape[:axis], n, *shape[axis + 1 :]) or n > shape[axis]:
        raise ShapeError(
            f"sort_backward: dout {dout.shape} and indices {indices.shape} do not fit shape {shape} along axis {axis}"
        )
    return Spec(shape, dout.dtype)


@sort_backward.reference
def _(dout: Any, indices: Any, shape: tuple[int, ...], axis: int) -> Any:
    dx = np.zeros(shape)
    np.put_along_axis(dx, indices, dout, axis)
    return dx


@sort_backward.restrict
def _(operands: list[Any], axis: int) -> None:
    """The indices of a line differ."""
    indices = operands[1]
    if -indices.ndim <= axis < indices.ndim and (np.diff(np.sort(indices, axis), axis=axis) == 0).any():
        operands[1] = np.argsort(np.argsort(indices, axis, kind="stable"), axis)


# ---- spelled with the operations above ------------------------------------------------------------------------------


def kthvalue(x: Any, k: int, axis: int = -1, keepdims: bool = False) -> tuple[Any, Any]:
    """(values, indices): the ``k``-th smallest element along ``axis``, counted from 1, and where it stands (int64).

    Of equal elements the first; NaN counts as the largest. The gradient goes to where the values came from. Raises
    IndexError for an axis out of range, ShapeError where ``k`` is less than 1 or more than the length of the axis.

    >>> [part.item() for part in dl.kthvalue(dl.tensor([4.0, 1.0, 3.0]), 2)]
    [3.0, 2]
    """
    x = operand(x, "kthvalue")
    at, k = axis_of(axis, "kthvalue: axis", x.shape), integer(k, "kthvalue: k")
    if not 1 <= k <= x.shape[at]:
        raise ShapeError(f"kthvalue: k is {k}, but axis {at} of shape {x.shape} has length {x.shape[at]}")
    place: list[Any] = [slice(None)] * x.ndim
    place[at] = slice(k - 1, k) if boolean(keepdims, "kthvalue: keepdims") else k - 1
    values, indices = topk(x, k, at, False)
    return values[tuple(place)], indices[tuple(place)]


def msort(x: Any) -> Any:
    """The elements of ``x`` in order along its first axis: sort(x, 0).

    >>> dl.msort(dl.tensor([[3, 1], [2, 5]])).tolist()
    [[2, 1], [3, 5]]
    """
    return sort(x, 0)


def _check_kth(name: str, x: Any, kth: Any, axis: int | None) -> None:
    n = x.size if axis is None else x.shape[axis_of(axis, f"{name}: axis", x.shape)]
    for k in items(kth) or [kth]:
        place = integer(k, f"{name}: kth")
        if not -n <= place < n:
            raise IndexError(f"{name}: kth {place} is out of range for {n} elements")


def partition(x: Any, kth: Any, axis: int | None = -1) -> Any:
    """`x` in an order in which element ``kth`` (an int or several) stands where sorting puts it.

    Smaller ones stand before it, larger ones behind. That is true of the sorted elements, which is what this gives.
    Raises IndexError where ``kth`` is out of range.

    >>> dl.partition(dl.tensor([4, 1, 3]), 1).tolist()
    [1, 3, 4]
    """
    x = operand(x, "partition")
    _check_kth("partition", x, kth, axis)
    return sort(x, axis)


def argpartition(x: Any, kth: Any, axis: int | None = -1) -> Any:
    """Indices (int64) that put `x` in the order of `partition`: those of `argsort`.

    >>> dl.argpartition(dl.tensor([4, 1, 3]), 1).tolist()
    [1, 2, 0]
    """
    x = operand(x, "argpartition")
    _check_kth("argpartition", x, kth, axis)
    return argsort(x, axis)
