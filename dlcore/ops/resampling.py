"""Resampling along one axis by a table: each output is a weighted sum of elements that lie side by side.

What resizes images is linear and separable: an axis at a time, each output of it the sum of a few neighbouring inputs.
A table says which ones and with which weights, so that every way of resizing is the same kernel. The adjoint, which
gives the gradient, is a sum over neighbouring outputs: another table, and the same kernel again. So no gradient adds
up by atomics, and the gradients of gradients need nothing more.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from dlcore import _C
from dlcore.dtypes import FLOATS, DType, float32, float64, int32
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Axis, ErrorInput, Input, Op, Sample, Spec, Workload, as_given
from dlcore.ops._constants import constant
from dlcore.ops._workloads import bytes_of

__all__ = ["Band", "band", "resample", "resampled"]

Array = Any  # of NumPy


class Band(NamedTuple):
    """A table: output k is the sum of ``weights[k, t] * x[first + t]`` for t < count, (first, count) = ``spans[k]``.

    ``spans``: (M, 2); ``weights``: (M, most), None where all are 1.
    """

    spans: Array
    weights: Array | None

    def transposed(self, length: int) -> Band:
        """The adjoint's table, of ``length`` outputs; ``spans`` must begin and end no earlier from row to row."""
        first, count = self.spans[:, 0], self.spans[:, 1]
        rows = np.repeat(np.arange(len(first)), count)
        taps = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
        places = np.repeat(first, count) + taps
        most = np.bincount(places, minlength=length)
        begin = np.zeros(length, np.int64)
        begin[places[::-1]] = rows[::-1]  # the first row of each place is written last
        weights = None
        if self.weights is not None:
            weights = np.zeros((length, max(int(most.max(initial=0)), 1)))
            weights[places, rows - begin[places]] = self.weights[rows, taps]
        return Band(np.stack([begin, most], 1).astype(np.int32), weights)


def _from_places(places: Array, weights: Array) -> Band:
    """The table of sums over ``places`` (M, T), which ascend; equal ones, at a border, are one."""
    first = places[:, :1]
    merged = np.zeros(weights.shape)
    np.add.at(merged, (np.arange(len(places))[:, None], places - first), weights)
    return Band(np.concatenate([first, places[:, -1:] - first + 1], 1).astype(np.int32), merged)


# ---- tables of the ways to resize -----------------------------------------------------------------------------------


def _source(n: int, m: int, scale: float, align_corners: bool) -> Array:
    """Where the outputs lie among the inputs."""
    at = np.arange(m)
    if align_corners:
        return at * ((n - 1) / (m - 1)) if m > 1 else at * 0.0
    return (at + 0.5) * scale - 0.5


def _nearest(n: int, m: int, scale: float, exact: bool) -> Band:
    """In float32, as PyTorch has it: which of two inputs is the nearer one may depend on the last bit."""
    step, at = np.float32(scale), np.arange(m).astype(np.float32)
    if exact:
        at = np.maximum(step * (at + np.float32(0.5)) - np.float32(0.5), np.float32(0)) + np.float32(0.5)
    else:
        at = at * step
    first = np.minimum(np.floor(at).astype(np.int64), n - 1)
    return Band(np.stack([first, np.ones_like(first)], 1).astype(np.int32), None)


def _linear(n: int, m: int, scale: float, align_corners: bool) -> Band:
    at = np.maximum(_source(n, m, scale, align_corners), 0.0)
    low = np.minimum(np.floor(at).astype(np.int64), n - 1)
    part = np.clip(at - low, 0.0, 1.0)
    return _from_places(np.stack([low, np.minimum(low + 1, n - 1)], 1), np.stack([1 - part, part], 1))


def _keys(x: Array, a: float) -> Array:
    """The cubic of Keys 1981, of distances."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _cubic(n: int, m: int, scale: float, align_corners: bool) -> Band:
    at = _source(n, m, scale, align_corners)
    low = np.minimum(np.floor(at), n - 1)
    part, offsets = np.clip(at - low, 0.0, 1.0), np.arange(-1, 3)
    places = np.clip(low[:, None].astype(np.int64) + offsets, 0, n - 1)
    return _from_places(places, _keys(part[:, None] - offsets, -0.75))


def _filtered(n: int, m: int, scale: float, align_corners: bool, cubic: bool) -> Band:
    """With a filter as wide as an output, where outputs are wider than inputs (antialias); as Pillow's.

    Aligned corners change the width of an output alone, as in PyTorch.
    """
    if align_corners:
        scale = (n - 1) / (m - 1) if m > 1 else 0.0
    wide = max(scale, 1.0)
    support, center = (2.0 if cubic else 1.0) * wide, scale * (np.arange(m) + 0.5)
    first = np.maximum((center - support + 0.5).astype(np.int64), 0)
    count = np.maximum(np.minimum((center + support + 0.5).astype(np.int64), n) - first, 0)
    taps = np.arange(max(int(count.max(initial=1)), 1))
    distance = (taps + first[:, None] - center[:, None] + 0.5) / wide
    weights = _keys(distance, -0.5) if cubic else np.maximum(1 - np.abs(distance), 0.0)
    weights = np.where(taps < count[:, None], weights, 0.0)
    total = weights.sum(1, keepdims=True)
    return Band(np.stack([first, count], 1).astype(np.int32), weights / np.where(total == 0, 1.0, total))


def _area(n: int, m: int) -> Band:
    at = np.arange(m)
    first, end = at * n // m, -(-(at + 1) * n // m)
    count = end - first
    taps = np.arange(int(count.max(initial=1)))
    weights = np.where(taps < count[:, None], 1.0 / count[:, None], 0.0)
    return Band(np.stack([first, count], 1).astype(np.int32), weights)


def band(n: int, m: int, mode: str, scale: float = 0.0, align_corners: bool = False, antialias: bool = False) -> Band:
    """The table that resizes an axis from ``n`` to ``m``. ``scale``: inputs an output is wide; 0: n / m."""
    scale = scale or n / m
    if mode.startswith("nearest"):
        return _nearest(n, m, scale, mode == "nearest-exact")
    if mode == "area":
        return _area(n, m)
    if antialias:
        return _filtered(n, m, scale, align_corners, mode == "cubic")
    return (_cubic if mode == "cubic" else _linear)(n, m, scale, align_corners)


@lru_cache(64)
def _tables(dtype: DType, device: Any, n: int, m: int, *how: Any) -> tuple[Any, Any, Any, Any]:
    """The table and its adjoint's as tensors on a device: spans, spans, weights, weights."""
    there = band(n, m, *how)
    back = there.transposed(n)
    like = _C.empty((), dtype, device.code)

    def held(array: Array | None) -> Any:
        if array is None:
            return None
        return constant(array if array.dtype == np.int32 else array.astype(dtype.numpy), like)

    return held(there.spans), held(back.spans), held(there.weights), held(back.weights)


def resampled(x: Any, axis: int, m: int, *how: Any) -> Any:
    """The floating tensor ``x`` with its axis resized to ``m``; ``how``: as of `band`."""
    dtype = float64 if x.dtype is float64 else float32
    tables = _C.suspended(lambda: _tables(dtype, x.device, x.shape[axis], m, *how))
    return resample(x, *tables, axis)


# ---- the operation --------------------------------------------------------------------------------------------------


def _dense(spans: Array, weights: Array | None, n: int) -> Array:
    """The matrix of a table."""
    made = np.zeros((len(spans), n))
    for k, (first, count) in enumerate(spans):
        made[k, first : first + count] += 1.0 if weights is None else weights[k, :count]
    return made


def _numpy_resample(x: Array, spans: Array, weights: Array | None, axis: int) -> Array:
    if 0 in x.shape:
        return np.zeros((*x.shape[:axis], len(spans), *x.shape[axis + 1 :]))
    lines = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
    out = np.zeros((len(spans), lines.shape[1]), x.dtype)
    for k, (first, count) in enumerate(spans):  # by row: what has no weight is not read, whatever it is
        factors = np.ones(count) if weights is None else np.asarray(weights[k, :count], np.float64)
        out[k] = (factors[:, None] * lines[first : first + count]).sum(0)
    rest = (*x.shape[:axis], *x.shape[axis + 1 :])
    return np.moveaxis(out.reshape(len(spans), *rest), 0, axis)


def _sample(shape: tuple[int, ...], axis: int, m: int, *how: Any, **more: Any) -> Sample:
    there = band(shape[axis], m, *how)
    back = there.transposed(shape[axis])
    weights = [None if w is None else w.astype(np.float32) for w in (there.weights, back.weights)]
    return Sample(shape, there.spans, back.spans, *weights, axis=axis, **more)


def _samples() -> list[Sample]:
    return [
        _sample((3, 7), 1, 12, "linear", why="rows"),
        _sample((2, 9, 5), 1, 4, "cubic", 0.0, False, True, why="an axis in the middle, narrower"),
        _sample((19, 6), 1, 11, "cubic", why="many rows"),
        _sample((6, 37), 0, 9, "nearest", why="columns, chosen"),
        _sample((40, 5), 1, 3, "area", why="means of rows"),
        _sample((5, 23), 1, 41, "nearest", why="rows, chosen by permutations"),
        _sample((4, 90), 1, 33, "nearest-exact", why="rows, chosen from far apart", grad=False),
        _sample((0, 5), 1, 3, "linear", why="no rows"),
        _sample((2, 33, 70), 1, 15, "linear", 0.0, True, True, why="several vectors", grad=False),
        _sample((33, 70), 1, 140, "linear", 0.0, True, why="several tiles of rows", grad=False),
        Sample(np.array([[1.0, np.inf, 2.0, np.nan]]), np.array([[0, 1], [2, 1], [1, 0], [0, 2]], np.int32),
               np.array([[0, 4], [3, 1], [1, 1], [0, 0]], np.int32), axis=1, grad=False,
               why="what is in no span is not read"),
    ]  # fmt: skip


def _errors() -> list[ErrorInput]:
    spans, back, weights = np.array([[0, 2]], np.int32), np.array([[0, 1], [0, 1]], np.int32), np.ones((1, 2))
    return [
        ErrorInput(IndexError, "resample: span 0 of 2 elements from 1 leaves the axis of length 2", np.zeros((3, 2)),
                   np.array([[1, 2]], np.int32), back),
        ErrorInput(ShapeError, "resample: spans have shape (2,), not (M, 2)", np.zeros(2), spans[0], back),
        ErrorInput(ShapeError, "resample: back has shape (2, 2), not (3, 2)", np.zeros(3), spans, back),
        ErrorInput(ShapeError, "resample: weights have shape (2,), not (1, most of a span)", np.zeros(2), spans, back,
                   weights[0], weights.T.copy()),
        ErrorInput(DTypeError, "resample: spans are of dtype int64, not int32", np.zeros(2), spans.astype(np.int64),
                   back),
        ErrorInput(IndexError, "resample: span 0 of 2 elements has 1 weights", np.zeros(2), spans, back,
                   np.ones((1, 1)), np.ones((2, 1))),
    ]  # fmt: skip


def _of_examples(call: Any) -> Any:
    """Of all examples: the same table along the next axis."""
    if any(call.is_batched[1:]):
        return NotImplemented
    return resample(call.values[0], *call.values[1:], call.attrs[0] + 1)


def _given(array: Array, dtype: DType) -> Input:
    return Input(array.shape, dtype=dtype, draw=lambda rng: array.astype(dtype.numpy))


def _timed(shape: tuple[int, ...], axis: int, m: int, mode: str, why: str) -> Workload:
    there = band(shape[axis], m, mode)
    back = there.transposed(shape[axis])
    tables = [_given(table, int32) for table in (there.spans, back.spans)]
    weights = [None if w is None else _given(w, float32) for w in (there.weights, back.weights)]
    return Workload((shape, *tables, *weights), (axis,), why)


@Op.definition(
    family="resize", promote=as_given, dtypes=FLOATS, kinds=("float",), batch=_of_examples, ulp=8,
    kernels={"cpu": "resize:resample", "cuda": "resize.resample:resample"},
    gradient={"x": lambda dout, spans, back, weights, back_weights, axis: resample(
        dout, back, spans, back_weights, weights, axis)},
    reference=_numpy_resample,
    magnitude=lambda x, spans, weights, axis: _numpy_resample(
        np.abs(x), spans, None if weights is None else np.abs(weights), axis),
    cost=lambda x, spans, weights, axis: (
        2.0 * math.prod(x.shape) // max(x.shape[axis], 1) * spans.shape[0] * (weights.shape[1] if weights else 1),
        bytes_of(x, spans, weights) + bytes_of(x) / max(x.shape[axis], 1) * spans.shape[0],
    ),
    samples=_samples, error_inputs=_errors,
    workloads=lambda: [
        _timed((16, 16, 56, 56), 2, 112, "linear", "columns twice as long"),
        _timed((16, 16, 56, 56), 3, 112, "linear", "rows twice as long"),
        _timed((16, 16, 56, 56), 3, 28, "area", "rows half as long"),
    ],
    baselines={"torch": (
        "size = list(x.shape[2:])\nsize[axis - 2] = spans.shape[0]\n"
        "mode = 'area' if size[axis - 2] < x.shape[axis] else 'bilinear'",
        "F.interpolate(x, size, mode=mode)",
    )},
)  # fmt: skip
def resample(
    x: Spec, spans: Spec, back: Spec, weights: Spec | None = None, back_weights: Spec | None = None, axis: Axis = -1
) -> Spec:
    """Weighted sums of neighbouring elements of `x` along `axis`: out[k] = sum of weights[k, t] x[first + t].

    (first, count) = spans[k] says which elements; `spans`: (M, 2) int32, `weights`: (M, most), None where all are 1:
    constants. `back` and `back_weights`: the table of the gradient, which is the same sum of outputs for each input.
    Sums are in float32 or wider, in the order of the elements. Raises IndexError where a span leaves the axis.
    """
    for name, table, rows in (("spans", spans, None), ("back", back, x.shape[axis])):
        if len(table.shape) != 2 or table.shape[1] != 2 or rows not in (None, table.shape[0]):
            verb = "have" if name == "spans" else "has"
            raise ShapeError(f"resample: {name} {verb} shape {table.shape}, not ({'M' if rows is None else rows}, 2)")
        if table.dtype is not int32:
            raise DTypeError(f"resample: {name} are of dtype {table.dtype.name}, not int32")
    for factors, table in ((weights, spans), (back_weights, back)):
        if factors is not None and (len(factors.shape) != 2 or factors.shape[0] != table.shape[0]):
            raise ShapeError(f"resample: weights have shape {factors.shape}, not ({table.shape[0]}, most of a span)")
    return Spec((*x.shape[:axis], spans.shape[0], *x.shape[axis + 1 :]), x.dtype)
