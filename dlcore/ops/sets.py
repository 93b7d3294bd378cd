"""Distinct elements and sets: unique and its relatives, isin, union1d, intersect1d, setdiff1d, setxor1d.

How many elements come out depends on their values, so that a step that calls them cannot be recorded (but `isin`).
-0.0 equals 0.0; whether NaNs equal each other is said where it matters. There are no gradients.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dlcore import _C
from dlcore._arguments import axis_of, boolean, booleans, called, names_errors, operand, renamed
from dlcore.dtypes import DTYPES, DType, bool_, float32, float64, int32, int64, result_type
from dlcore.errors import ShapeError
from dlcore.op import ErrorInput, Input, Op, Sample, Spec, Workload, as_given
from dlcore.ops._workloads import MILLION, bytes_of
from dlcore.ops.elementwise import cast, eq, logical_not, lt, minimum, ne, sub
from dlcore.ops.gather import nonzero, take
from dlcore.ops.movement import concat, permute, reshape
from dlcore.ops.order import argsort, sort
from dlcore.ops.reduce import any as any_of
from dlcore.ops.scan import cumsum
from dlcore.ops.search import searchsorted

__all__ = [
    "intersect1d", "isin", "setdiff1d", "setxor1d", "union1d", "unique", "unique_all", "unique_counts",
    "unique_inverse", "unique_values",
]  # fmt: skip

# ---- runs of equal elements -----------------------------------------------------------------------------------------


class Runs(Op):
    """An operation on runs of equal elements in a line."""

    family = "order"
    promote = staticmethod(as_given)
    dtypes = DTYPES

    def family_kernels(self) -> dict[str, str]:
        return {"cpu": f"order:{self.name}", "cuda": f"order.search:{self.name}"}


runs = Runs.definition


def _line(name: str, x: Spec) -> None:
    if len(x.shape) != 1:
        raise ShapeError(f"{name}: takes one axis, not shape {x.shape}")


_SORTED = np.array([-np.inf, -1.0, -1.0, -0.0, 0.0, 0.0, 2.0, np.inf, np.nan, np.nan], np.float32)


_RUNS = [
    Sample(_SORTED, why="NaN alone", grad=False), Sample(_SORTED, equal_nan=True, why="NaN equal", grad=False),
    Sample(Input((4001,), 0, 3, int32), why="in no order", grad=False), Sample(np.zeros(0), why="empty", grad=False),
    Sample(np.array([True, True, False]), why="bools", grad=False),
    Sample(Input((200_003,), 0, 3, int32), why="several chunks", grad=False),
]  # fmt: skip
_TIMED = [
    Workload((Input((n,), 0, 99, int32),), (), why, (float32,)) for n, why in ((64, "small"), (1 << 20, "1M"))
]


def _numpy_starts(x: Any, equal_nan: bool) -> Any:
    changed = x[1:] != x[:-1]
    if equal_nan:
        changed &= ~((x[1:] != x[1:]) & (x[:-1] != x[:-1]))
    return np.concatenate([np.ones(min(len(x), 1), bool), changed])


@runs(
    cost=lambda x: (float(x.shape[0]), bytes_of(x)), samples=_RUNS, workloads=_TIMED,
    reference=lambda x, equal_nan: np.int64(np.count_nonzero(_numpy_starts(x, equal_nan))),
    error_inputs=[ErrorInput(ShapeError, "count_runs: takes one axis, not shape (2, 3)", np.zeros((2, 3)))],
    baselines={
        "numpy": "np.count_nonzero(x[1:] != x[:-1]) + 1", "torch": "torch.count_nonzero(x[1:] != x[:-1]) + 1",
    },
)  # fmt: skip
def count_runs(x: Spec, equal_nan: bool = False) -> Spec:
    """The number of runs of equal elements in a line, as a 0-d int64 tensor. NaNs are equal only with `equal_nan`."""
    _line("count_runs", x)
    return Spec((), int64)


@runs(
    outputs="values places", cost=lambda x, size: (float(x.shape[0]), bytes_of(x) + (8.0 + x.dtype.itemsize) * size),
    samples=[s.but(size=900) for s in _RUNS], workloads=[w._replace(attrs=(100,)) for w in _TIMED],
    error_inputs=[ErrorInput(ShapeError, "run_heads: takes one axis, not shape (2, 3)", np.zeros((2, 3)), size=1)],
    baselines={"torch": "torch.nonzero_static(x[1:] != x[:-1], size=size, fill_value=0)"},
)  # fmt: skip
def run_heads(x: Spec, size: int, equal_nan: bool = False) -> list[Spec]:
    """(values, places): the first elements of the first `size` runs of equal elements, and where they stand (int64).

    Zeros behind the last. What `unique` runs once it knows the number.
    """
    _line("run_heads", x)
    return [Spec((size,), x.dtype), Spec((size,), int64)]


@run_heads.reference
def _(x: Any, size: int, equal_nan: bool) -> Any:
    places = np.flatnonzero(_numpy_starts(x, equal_nan))[:size]
    rest = np.zeros(size - len(places), np.int64)
    return [np.concatenate([x[places], rest.astype(x.dtype)]), np.concatenate([places, rest])]


def _permutation(n: int, rng: np.random.Generator) -> Any:
    return rng.permutation(n)


def _line_and_order(n: int, rng: np.random.Generator) -> list[Any]:
    return [np.arange(n) // 3 % 7 * 1.0, rng.permutation(n)]


@runs(
    promote=lambda specs: [specs[0].dtype, int64],
    cost=lambda x: (float(x.shape[0]), bytes_of(x) + 16.0 * x.shape[0]),
    samples=[
        *(Sample(draw=partial(_line_and_order, n), why=f"{n} elements", grad=False) for n in (7, 3000, 70_000)),
        Sample(np.zeros(0), np.zeros(0, np.int64), why="empty", grad=False),
        Sample(_SORTED, np.arange(10)[::-1], equal_nan=True, why="NaN equal", grad=False),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "run_numbers: a line of shape (3,) and an order of shape (2,)", np.zeros(3),
                   np.zeros(2, np.int64)),
        ErrorInput(IndexError, "run_numbers: index 2 at position 1 is out of range for axis 0 of length 2",
                   np.zeros(2), np.array([0, 2])),
    ],
    workloads=[
        Workload((Input((n,), 0, 99, int32), Input((n,), draw=partial(_permutation, n))), (), why, (float32,))
        for n, why in ((64, "small"), (1 << 20, "1M"))
    ],
    baselines={"numpy": "np.cumsum(np.concatenate([x[:1] != x[:1], x[1:] != x[:-1]]))[np.argsort(order)]"},
)  # fmt: skip
def run_numbers(x: Spec, order: Spec, equal_nan: bool = False) -> Spec:
    """Which run of equal elements each element of a line is in: out[order[i]] = the number of that of x[i].

    x (N,), `order` (N,) a permutation; the output is (N,) int64. NaNs are equal only with `equal_nan`.
    """
    if x.shape != order.shape or len(x.shape) != 1:
        raise ShapeError(f"run_numbers: a line of shape {x.shape} and an order of shape {order.shape}")
    return Spec(order.shape, int64)


@run_numbers.reference
def _(x: Any, order: Any, equal_nan: bool) -> Any:
    out = np.empty(len(order), np.int64)
    out[order] = np.cumsum(_numpy_starts(x, equal_nan)) - 1
    return out


@run_numbers.restrict
def _(operands: list[Any]) -> None:
    """The order is one."""
    places = operands[1].reshape(-1)
    if (np.sort(places) != np.arange(len(places))).any():
        operands[1] = np.argsort(np.argsort(places, kind="stable")).reshape(operands[1].shape)


# ---- unique ---------------------------------------------------------------------------------------------------------


class UniqueAll(NamedTuple):
    """What `unique_all` gives."""

    values: Any
    indices: Any
    inverse_indices: Any
    counts: Any


class UniqueCounts(NamedTuple):
    """What `unique_counts` gives."""

    values: Any
    counts: Any


class UniqueInverse(NamedTuple):
    """What `unique_inverse` gives."""

    values: Any
    inverse_indices: Any


def _places(starts: Any) -> Any:
    return reshape(nonzero(starts), (-1,))


def _distinct(x: Any, index: bool, inverse: bool, counts: bool, equal_nan: bool) -> UniqueAll:
    """Distinct elements in order, and what was asked for besides (else None)."""
    flat = reshape(x.detach(), (-1,))
    order = argsort(flat) if index or inverse else None
    ordered = _in_order(flat) if order is None else take(flat, order)
    values, places = _heads(ordered, equal_nan)
    return UniqueAll(
        values,
        take(order, places) if index else None,
        reshape(run_numbers(ordered, order, equal_nan), x.shape) if inverse else None,
        _lengths(places, flat.shape[0]) if counts else None,
    )


@names_errors
def _in_order(x: Any) -> Any:
    """The elements in one line."""
    return sort(reshape(x.detach() if x.requires_grad else x, (-1,)))


def _heads(line: Any, equal_nan: bool) -> tuple[Any, Any]:
    """The first elements of all runs of equal elements of a line, and their places."""
    found = _C.run_heads_of(line, equal_nan)
    return found or run_heads(line, int(count_runs(line, equal_nan).item()), equal_nan)


def _lengths(places: Any, n: int) -> Any:
    """Of runs that begin at ``places`` in a line of ``n``."""
    return concat([sub(places[1:], places[:-1]), sub(n, places[-1:])])


def _distinct_parts(x: Any, axis: int, index: bool, inverse: bool, counts: bool) -> UniqueAll:
    """The same of parts along an axis: they are sorted by their last elements first, and so on to their first."""
    moved = permute(x.detach(), (axis, *(d for d in range(x.ndim) if d != axis)))
    rows = reshape(moved, (moved.shape[0], -1)) if x.size else moved
    if not x.size:
        raise ShapeError(f"unique: the parts along axis {axis} of shape {x.shape} are empty")
    order = argsort(rows[:, -1])
    for j in reversed(range(rows.shape[1] - 1)):
        order = take(order, argsort(take(rows[:, j], order)))
    ordered = take(rows, order)
    changed = any_of(ne(ordered[1:], ordered[:-1]), 1)
    numbers = cumsum(concat([lt(order[:1], 0), changed]), 0)
    _, places = _heads(numbers, False)
    first = take(order, places)
    return UniqueAll(
        take(x.detach(), first, axis),
        first if index else None,
        run_numbers(numbers, order) if inverse else None,
        _lengths(places, rows.shape[0]) if counts else None,
    )


@runs(
    family="", dynamic=True, methods=True, composite=lambda x: _heads(_in_order(x), False)[0],
    kernels={"cpu": [], "cuda": []}, reference=lambda x: np.unique(x, equal_nan=False),
    cost=lambda x: (math.prod(x.shape) * math.log2(math.prod(x.shape) + 2), bytes_of(x)),
    samples=[
        Sample(_SORTED[::-1], why="zeros and NaN", grad=False),
        Sample(Input((33, 65), 0, 40, int32), why="matrix", grad=False),
        Sample((), why="0-d", grad=False), Sample(np.zeros((0, 3)), why="empty", grad=False),
        Sample((100,), why="all different", grad=False), Sample(np.ones(5, bool), why="bools", grad=False),
    ],
    workloads=[
        Workload(((8,),), (), "the cost of a call"), Workload((MILLION,), (), "1M", (float32, float64)),
        Workload((Input((1_000_000,), 0, 1000, int64),), (), "1M, small integers", (float32,)),
    ],
    baselines={"numpy": "np.unique(x, equal_nan=False)", "torch": "torch.unique(x)"},
)  # fmt: skip
def unique_values(x: Spec) -> Spec:
    """The distinct elements of `x` in order, in one axis; each NaN is distinct (array API standard).

    >>> dl.unique_values(dl.tensor([3, 1, 3])).tolist()
    [1, 3]
    """
    return Spec((0,), x.dtype)


def unique(
    x: Any, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False,
    axis: int | None = None, *, equal_nan: bool = True,
) -> Any:  # fmt: skip
    """The distinct elements of ``x`` in order, in one axis; with what is asked for besides, a tuple in this order:

    ``return_index``: where each stands first in the flattened ``x``; ``return_inverse``: which of them each element
    of ``x`` is, in its shape; ``return_counts``: how often each is there; all int64. NaNs are one element, or
    (``equal_nan`` False) distinct, as numpy.unique has it; PyTorch's are distinct.

    With an ``axis`` the distinct parts along it (rows for 0), ordered by their first elements that differ; NaNs are
    distinct then, and the inverse has one axis. A part of m elements takes m sorts.

    Raises IndexError for an axis out of range, ShapeError where the parts along it are empty.

    >>> values, counts = dl.unique(dl.tensor([3, 1, 3]), return_counts=True)
    >>> values.tolist(), counts.tolist()
    ([1, 3], [1, 2])
    """
    x = operand(x, "unique")
    if axis is None and return_index is return_inverse is return_counts is False and equal_nan is True:
        return _heads(_in_order(x), True)[0]
    asked = booleans(
        "unique", return_index=return_index, return_inverse=return_inverse, return_counts=return_counts,
        equal_nan=equal_nan,
    )  # fmt: skip
    if axis is None:
        distinct = _called("unique", x, *asked)
    else:
        distinct = _distinct_parts(x, axis_of(axis, "unique: axis", x.shape), *asked[:3])
    found = [part for part in distinct if part is not None]
    return tuple(found) if len(found) > 1 else found[0]


def _called(name: str, x: Any, index: bool, inverse: bool, counts: bool, equal_nan: bool) -> UniqueAll:
    try:
        return _distinct(x, index, inverse, counts, equal_nan)
    except (TypeError, ValueError, IndexError) as error:
        raise renamed(error, name) from error


def unique_all(x: Any) -> tuple[Any, Any, Any, Any]:
    """(values, indices, inverse_indices, counts) of the distinct elements of ``x``; see `unique`. NaNs are distinct.

    >>> dl.unique_all(dl.tensor([3, 1, 3])).inverse_indices.tolist()
    [1, 0, 1]
    """
    return _called("unique_all", operand(x, "unique_all"), True, True, True, False)


def unique_counts(x: Any) -> tuple[Any, Any]:
    """(values, counts) of the distinct elements of ``x``; see `unique`. NaNs are distinct.

    >>> dl.unique_counts(dl.tensor([3, 1, 3])).counts.tolist()
    [1, 2]
    """
    found = _called("unique_counts", operand(x, "unique_counts"), False, False, True, False)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: Any) -> tuple[Any, Any]:
    """(values, inverse_indices) of the distinct elements of ``x``; see `unique`. NaNs are distinct.

    >>> dl.unique_inverse(dl.tensor([3, 1, 3])).inverse_indices.tolist()
    [1, 0, 1]
    """
    found = _called("unique_inverse", operand(x, "unique_inverse"), False, True, False, False)
    return UniqueInverse(found.values, found.inverse_indices)


# ---- sets -----------------------------------------------------------------------------------------------------------


_EXTREMES = np.array([np.iinfo(np.int64).min, -1, 0, np.iinfo(np.int64).max])


def _numbers(n: int, high: int, dtype: DType = int64) -> Input:
    return Input((n,), -high, high, dtype)


@Op.definition(
    name="is_among", family="order", dtypes=DTYPES, kernels={"cpu": "order:is_among", "cuda": None},
    promote=lambda specs: [result_type((s.dtype, s.weak) for s in specs)] * 2,
    composite=lambda x, tests: _found(x, sort(tests)),
    reference=lambda x, tests: np.isin(x, tests, kind="sort"),
    cost=lambda x, tests: (float(math.prod(x.shape)), bytes_of(x, tests) + math.prod(x.shape)),
    samples=[
        Sample(Input((3, 50), -40, 40, int32), _numbers(30, 20, int32), why="a small range", grad=False),
        Sample(_numbers(40_000, 10**6), _numbers(2000, 10**6), why="a large range", grad=False),
        Sample(_SORTED, _SORTED[3:], why="zeros and NaN", grad=False),
        Sample(_SORTED, _SORTED[-2:], why="among NaN", grad=False),
        Sample(_EXTREMES, _EXTREMES[:3], why="extremes", grad=False),
        Sample(_EXTREMES, _EXTREMES[1:], why="not the least", grad=False),
        Sample((), np.zeros(0), why="among nothing", grad=False),
        Sample(np.zeros((0, 2)), np.zeros(3), why="empty", grad=False),
        Sample(np.array([True, False]), np.array([1.0, 2.0]), why="two dtypes", grad=False),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "is_among: tests have shape (1, 2), not one axis", np.zeros(3), np.zeros((1, 2))),
    ],
    workloads=[
        Workload((_numbers(8, 8), _numbers(8, 8)), (), "the cost of a call", (float32,)),
        Workload((_numbers(10**6, 10**6), _numbers(10**6, 10**6)), (), "1M, integers", (float32,)),
        Workload((MILLION, MILLION), (), "1M", (float32,)),
    ],
    baselines={"numpy": "np.isin(x, tests)", "torch": "torch.isin(x, tests)", "jax": "jnp.isin(x, tests)"},
)  # fmt: skip
def is_among(x: Spec, tests: Spec) -> Spec:
    """Whether each element of `x` is among `tests` (N,), as bools: what `isin` is once both have one dtype."""
    if len(tests.shape) != 1:
        raise ShapeError(f"is_among: tests have shape {tests.shape}, not one axis")
    return Spec(x.shape, bool_)


def _found(x: Any, tests: Any) -> Any:
    """Whether each element of ``x`` is among ``tests``, which are sorted."""
    last = tests.shape[0] - 1
    return lt(x, x) if last < 0 else eq(take(tests, minimum(searchsorted(tests, x), last)), x)


def isin(x: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False) -> Any:
    """Whether each element of ``x`` is among ``test_elements`` (or, ``invert``, is not), as bools of its shape.

    ``test_elements`` may be a number. NaN is among nothing. ``assume_unique`` changes nothing.

    >>> dl.isin(dl.tensor([1, 2, 3]), dl.tensor([3, 5])).tolist()
    [False, False, True]
    """
    x = operand(x, "isin").detach()
    boolean(assume_unique, "isin: assume_unique")
    if isinstance(test_elements, int | float | np.generic):
        found = eq(x, test_elements)
    else:
        tests = operand(test_elements, "isin", "test_elements").detach()
        found = called("isin", is_among, x, reshape(tests, (-1,)))
    return logical_not(found) if boolean(invert, "isin: invert") else found


@names_errors
def _pair(name: str, x: Any, y: Any) -> tuple[Any, Any]:
    """Both flat and of their common dtype."""
    x, y = operand(x, name), operand(y, name, "y")
    common = result_type((t.dtype, t.weak) for t in (x, y))
    x, y = (t.detach() if t.requires_grad else t for t in (x, y))
    return cast(reshape(x, (-1,)), common), cast(reshape(y, (-1,)), common)


def union1d(x: Any, y: Any) -> Any:
    """The distinct elements of ``x`` and ``y`` in order, in one axis.

    >>> dl.union1d(dl.tensor([3, 1]), dl.tensor([1, 2])).tolist()
    [1, 2, 3]
    """
    return unique(concat(_pair("union1d", x, y)))


def intersect1d(x: Any, y: Any, assume_unique: bool = False, return_indices: bool = False) -> Any:
    """The distinct elements that are in both ``x`` and ``y``, in order, in one axis.

    With ``return_indices`` a tuple: the elements, and where each stands first in the flattened ``x`` and ``y``.
    ``assume_unique`` changes nothing. NaN is in no intersection.

    >>> dl.intersect1d(dl.tensor([3, 1, 3]), dl.tensor([3, 4])).tolist()
    [3]
    """
    x, y = _pair("intersect1d", x, y)
    boolean(assume_unique, "intersect1d: assume_unique")
    if not boolean(return_indices, "intersect1d: return_indices"):
        a = unique(x)
        return take(a, _places(isin(a, y)))
    a, in_x = unique(x, return_index=True)
    b, in_y = unique(y, return_index=True)
    places = _places(isin(a, b))
    both = take(a, places)
    return both, take(in_x, places), take(in_y, searchsorted(b, both))


def setdiff1d(x: Any, y: Any, assume_unique: bool = False) -> Any:
    """The distinct elements of ``x`` that are not in ``y``, in order, in one axis.

    With ``assume_unique`` the elements of ``x`` keep their order, and those that are there twice stay so.

    >>> dl.setdiff1d(dl.tensor([3, 1, 2]), dl.tensor([1])).tolist()
    [2, 3]
    """
    x, y = _pair("setdiff1d", x, y)
    a = x if boolean(assume_unique, "setdiff1d: assume_unique") else unique(x)
    return take(a, _places(isin(a, y, invert=True)))


def setxor1d(x: Any, y: Any, assume_unique: bool = False) -> Any:
    """The distinct elements that are in one of ``x`` and ``y`` alone, in order, in one axis.

    >>> dl.setxor1d(dl.tensor([3, 1]), dl.tensor([1, 2])).tolist()
    [2, 3]
    """
    x, y = _pair("setxor1d", x, y)
    boolean(assume_unique, "setxor1d: assume_unique")
    return sort(concat([setdiff1d(x, y), setdiff1d(y, x)]))
