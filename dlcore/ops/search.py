"""Places in sorted sequences: searchsorted, bucketize. NaN counts as the largest number, -0.0 equals 0.0."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from dlcore._arguments import boolean, called, calling, operand
from dlcore.dtypes import DTYPES, float32, float64, int64, result_type
from dlcore.errors import ShapeError
from dlcore.op import ErrorInput, Input, Op, Sample, Spec, Workload
from dlcore.ops._workloads import MILLION, bytes_of
from dlcore.ops.gather import gather

__all__ = ["bucketize", "digitize", "searchsorted"]

Shape = tuple[int, ...]

# ---- searchsorted ---------------------------------------------------------------------------------------------------


def _sequence(shape: Shape) -> Input:
    return Input(shape, draw=lambda rng: np.sort(rng.standard_normal(shape), -1))


def _both(specs: Any) -> list[Any]:
    return [result_type((s.dtype, s.weak) for s in specs)] * 2


def _values_of_examples(call: Any) -> Any:
    """Further values in the sequences of all examples (see dlcore/ops/_batching.py), or in one that they share."""
    rows = len(call.specs[0].shape) > 1
    if call.is_batched[0] and not rows:
        return NotImplemented
    return call.run([call.full(0) if rows else call.values[0], call.full(1)])


class _Search(Op):
    family, dtypes = "order", DTYPES
    batch = staticmethod(_values_of_examples)
    promote = staticmethod(_both)

    def family_samples(self) -> list[Sample]:
        ties = np.array([0.0, 1.0, 1.0, 1.0, 2.0, 2.0, 5.0, np.inf, np.nan, np.nan], np.float32)
        at = np.array([[-0.0, 1.0, 2.0, 3.0], [5.0, np.inf, np.nan, -np.inf]], np.float32)
        return [
            Sample(_sequence((17,)), (5, 3), why="a matrix of values", grad=False),
            Sample(_sequence((1000,)), (1001,), side="right", why="unaligned", grad=False),
            Sample(_sequence((0,)), (4,), why="nothing to find", grad=False),
            Sample(_sequence((9,)), (), why="0-d", grad=False),
            Sample(_sequence((9,)), (0, 2), why="empty", grad=False),
            *(Sample(ties, at, side=s, why=f"ties and NaN, {s}", grad=False) for s in ("left", "right")),
            *(Sample(_sequence((3, 4, 9)), (3, 4, 5), side=s, why=f"rows, {s}", grad=False) for s in ("left", "right")),
            Sample(np.arange(10), np.array([3, 0, 99, -1]), why="integers", grad=False),
            Sample(np.array([1.0, 2.0, 3.0]), 2, why="a number", grad=False),
        ]  # fmt: skip


@_Search.definition(
    name="searchsorted", kernels={"cuda": "order.search:searchsorted"}, params=lambda side: (int(side == "right"),),
    cost=lambda x, values: (
        math.prod(values.shape) * math.log2(x.shape[-1] + 2), bytes_of(x, values) + 8.0 * math.prod(values.shape)
    ),
    error_inputs=[
        ErrorInput(ShapeError, "searchsorted: a sequence of shape (2, 3) does not fit values of shape (3, 4)",
                   np.zeros((2, 3)), np.zeros((3, 4))),
        ErrorInput(ShapeError, "searchsorted: a sequence needs an axis, but its shape is ()",
                   np.zeros(()), np.zeros((3, 4))),
    ],
    workloads=[
        Workload((_sequence((64,)), (8,)), why="the cost of a call"),
        Workload((_sequence((1000,)), MILLION), why="1M in 1000", dtypes=(float32, float64)),
        Workload((_sequence(MILLION), MILLION), why="1M in 1M", dtypes=(float32, float64)),
    ],
    baselines={
        "numpy": "np.searchsorted(x, values, side)", "torch": "torch.searchsorted(x, values, side=side)",
        "jax": "jnp.searchsorted(x, values, side=side)",
    },
)  # fmt: skip
def _search(x: Spec, values: Spec, side: Literal["left", "right"] = "left") -> Spec:
    """Where `values` would be inserted into the sorted sequences `x`: what `searchsorted` is without a sorter."""
    if not x.shape:
        raise ShapeError("searchsorted: a sequence needs an axis, but its shape is ()")
    if len(x.shape) > 1 and (len(values.shape) != len(x.shape) or values.shape[:-1] != x.shape[:-1]):
        raise ShapeError(f"searchsorted: a sequence of shape {x.shape} does not fit values of shape {values.shape}")
    return Spec(values.shape, int64)


@_search.reference
def _(x: Any, values: Any, side: Any) -> Any:
    values = np.asarray(values)
    if x.ndim == 1:
        return np.searchsorted(x, values, side)
    if not x.size or not values.size:
        return np.zeros(values.shape, np.int64)
    rows = zip(x.reshape(-1, x.shape[-1]), values.reshape(-1, values.shape[-1]), strict=True)
    return np.stack([np.searchsorted(s, v, side) for s, v in rows]).reshape(values.shape)


@_search.restrict
def _(operands: list[Any]) -> None:
    """The sequence is sorted."""
    operands[0] = np.sort(operands[0], -1) if np.ndim(operands[0]) else operands[0]


def searchsorted(x: Any, values: Any, side: str = "left", sorter: Any = None, *, right: bool = False) -> Any:
    """Where ``values`` would be inserted into the sorted sequence ``x`` to keep it in order (int64, of their shape).

    ``x`` (N,) and values of any shape, or ``x`` (..., N) and values (..., M), row by row. ``side`` "left": the number
    of elements that are smaller; "right" (also ``right`` True): of those that are not larger. NaN counts as the
    largest. ``sorter``: integers that put ``x`` in order along its last axis, `argsort(x)`. Where ``x`` is in no
    order, so is the result.

    Raises ShapeError where shapes do not fit together, IndexError for an index of the sorter out of range.

    >>> dl.searchsorted(dl.tensor([1, 3, 3, 7]), dl.tensor([3, 8])).tolist()
    [1, 4]
    """
    side = "right" if right is not False and boolean(right, "searchsorted: right") else side
    if sorter is None:
        return _search(x, values, side)
    x, sorter = operand(x, "searchsorted"), operand(sorter, "searchsorted", "sorter")
    if sorter.shape != x.shape or not x.ndim:
        raise ShapeError(f"searchsorted: a sorter of shape {sorter.shape} does not fit a sequence of shape {x.shape}")
    with calling("searchsorted"):
        ordered_x = gather(x, sorter, -1)
    return _search(ordered_x, values, side)


def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """The number of the interval between ``bins`` (ascending, 1-D) that each element of ``x`` lies in, as NumPy's.

    i with bins[i - 1] <= x < bins[i], or (``right``) bins[i - 1] < x <= bins[i]; `bucketize` is the other way round.

    >>> dl.digitize(dl.tensor([0.5, 1.0, 9.0]), dl.tensor([1.0, 2.0])).tolist()
    [0, 1, 2]
    """
    return called("digitize", bucketize, x, bins, not boolean(right, "digitize: right"))


def bucketize(x: Any, boundaries: Any, right: bool = False) -> Any:
    """The number of the interval between ``boundaries`` (sorted, 1-D) that each element of ``x`` lies in (int64).

    i with boundaries[i - 1] < x <= boundaries[i], or (``right``) boundaries[i - 1] <= x < boundaries[i], as PyTorch's
    bucketize; `numpy.digitize` is the other way round. Raises ShapeError unless there is one axis of boundaries.

    >>> dl.bucketize(dl.tensor([0.5, 1.0, 9.0]), dl.tensor([1.0, 2.0])).tolist()
    [0, 0, 2]
    """
    boundaries = operand(boundaries, "bucketize", "boundaries")
    if boundaries.ndim != 1:
        raise ShapeError(f"bucketize: boundaries have shape {boundaries.shape}, not one axis")
    return _search(boundaries, x, "right" if boolean(right, "bucketize: right") else "left")
