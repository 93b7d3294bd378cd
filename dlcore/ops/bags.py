"""Sums, means and maxima of the rows of bags of tokens: `embedding_bag`, and its gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np

from dlcore import _C
from dlcore._arguments import boolean, called, choice, operand
from dlcore._gradients import recomputed
from dlcore.dtypes import float32, int32, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Op, Sample, Shape, Spec, Workload, as_given
from dlcore.ops._constants import positions
from dlcore.ops._domains import limited
from dlcore.ops._workloads import bytes_of
from dlcore.ops.elementwise import cast, div, floor_divide, logical_and, lt, maximum, mul, ne, sub, where
from dlcore.ops.embedding import (
    check_table,
    check_tokens,
    embedding_backward,
    embedding_forward,
    padding_of,
    refuse_sparse,
    shortened,
    tokens,
)
from dlcore.ops.movement import expand, reshape, unsqueeze
from dlcore.ops.scattering import scatter_fold
from dlcore.ops.search import searchsorted

__all__ = ["embedding_bag"]

Mode = Literal["sum", "mean", "max"]
MODES = get_args(Mode)  # enum Mode in csrc/embedding/bags.inl


class OfBags(Op):
    """An operation on bags: rows of `input` (B, L), or what lies between `offsets` (B,) in `input` (n,)."""

    family = "embedding"
    promote = staticmethod(as_given)
    batching = "loop"

    def family_kernels(self) -> dict[str, Any]:
        """Those of both devices."""
        return {"cpu": f"embedding:{self.name}", "cuda": f"embedding.bags:{self.name}"}


of_bags = OfBags.definition


def _params(mode: str, padding_idx: int, include_last_offset: bool, scale_grad_by_freq: bool) -> tuple[int, ...]:
    return MODES.index(mode), padding_idx, int(include_last_offset), int(scale_grad_by_freq)


def _count(name: str, input: Spec, offsets: Spec | None, include_last_offset: bool) -> int:
    """The number of bags; raises where tokens and offsets do not say it."""
    check_tokens(name, input)
    if offsets is None:
        if len(input.shape) != 2:
            raise ShapeError(f"{name}: input has shape {input.shape}: without offsets it is (bags, tokens of a bag)")
        return input.shape[0]
    check_tokens(name, offsets, "offsets")
    if len(input.shape) != 1 or len(offsets.shape) != 1:
        raise ShapeError(f"{name}: input has shape {input.shape} and offsets {offsets.shape}, not one axis each")
    if include_last_offset and not offsets.shape[0]:
        raise ShapeError(f"{name}: include_last_offset=True: offsets need an end at least, and are empty")
    return offsets.shape[0] - int(include_last_offset)


def _check_weights(name: str, weights: Spec | None, input: Spec, weight: Spec, mode: str) -> None:
    if weights is None:
        return
    if mode != "sum":
        raise ValueError(f"{name}: per_sample_weights are for mode 'sum', not {mode!r}")
    if weights.shape != input.shape:
        raise ShapeError(f"{name}: per_sample_weights has shape {weights.shape}, input {input.shape}")
    if weights.dtype is not weight.dtype:
        raise DTypeError(
            f"{name}: per_sample_weights is of dtype {weights.dtype.name}, weight of {weight.dtype.name}"
        )


# ---- by other operations --------------------------------------------------------------------------------------------


def _bags_of(input: Any, offsets: Any, count: int, include_last_offset: bool) -> tuple[Any, Any]:
    """The bag of each token, and whether it is in one (None: all are)."""
    at = positions(input.size, input)
    if offsets is None:
        return floor_divide(at, max(input.shape[1], 1)), None
    bags = sub(searchsorted(cast(offsets[:count], int64), at, "right"), 1)
    return bags, lt(at, offsets[count]) if include_last_offset else None


def _composed(
    weight: Any, input: Any, offsets: Any, per_sample_weights: Any, mode: str, padding_idx: int,
    include_last_offset: bool, scale_grad_by_freq: bool,
) -> Any:  # fmt: skip
    """Of rows looked up, put together by their bags."""
    count = input.shape[0] if offsets is None else offsets.shape[0] - int(include_last_offset)
    shape, flat = (count, weight.shape[1]), reshape(input, (input.size,))
    nothing = expand(_C.full((), 0, weight.dtype, weight.device.code), shape)
    if not count or not input.size:
        return mul(nothing, 1)
    bags, inside = _bags_of(input, offsets, count, include_last_offset)
    rows = embedding_forward(weight, flat, padding_idx, scale_grad_by_freq)
    counted = ne(flat, padding_idx) if padding_idx >= 0 else None
    kept = counted if inside is None else inside if counted is None else logical_and(inside, counted)
    sizes = None
    if mode != "sum":
        ones = expand(_C.full((), 1, float32, weight.device.code), flat.shape) if kept is None else cast(kept, float32)
        sizes = embedding_backward(unsqueeze(ones, 1), bags, (count, 1))
    if mode == "max":
        if kept is not None:
            rows = where(unsqueeze(kept, 1), rows, -math.inf)
        largest = scatter_fold(rows, expand(unsqueeze(bags, 1), rows.shape), shape, 0, "amax")
        return where(ne(sizes, 0), largest, nothing)
    if per_sample_weights is not None:
        rows = mul(rows, unsqueeze(reshape(per_sample_weights, flat.shape), 1))
    if kept is not None:
        rows = where(unsqueeze(kept, 1), rows, 0)
    total = embedding_backward(rows, bags, shape)
    return total if sizes is None else div(total, cast(maximum(sizes, 1), total.dtype))


# ---- in NumPy -------------------------------------------------------------------------------------------------------


def _numpy_bags(input: Any, offsets: Any, include_last_offset: bool, padding_idx: int) -> list[Any]:
    """The numbers of the tokens of each bag, without padding."""
    flat = input.reshape(-1).astype(np.int64)
    if offsets is None:
        found = np.split(np.arange(flat.size), input.shape[0]) if len(input) else []
    else:
        starts = [int(k) for k in offsets]
        ends = starts[1:] if include_last_offset else [*starts[1:], flat.size]
        found = [np.arange(a, b) for a, b in zip(starts, ends, strict=False)]
    return [k[flat[k] != padding_idx] for k in found]


def _numpy_forward(
    weight: Any, input: Any, offsets: Any, per_sample_weights: Any, mode: str, padding_idx: int,
    include_last_offset: bool,
) -> Any:  # fmt: skip
    bags = _numpy_bags(input, offsets, include_last_offset, padding_idx)
    out, flat = np.zeros((len(bags), weight.shape[1])), input.reshape(-1).astype(np.int64)
    factors = np.ones(flat.size) if per_sample_weights is None else per_sample_weights.reshape(-1)
    for b, numbers in enumerate(bags):
        rows = weight[flat[numbers]] * factors[numbers, None]
        if len(numbers):
            out[b] = {"sum": rows.sum(0), "mean": rows.mean(0), "max": rows.max(0)}[mode]
    return out


def _numpy_backward(
    dout: Any, input: Any, offsets: Any, per_sample_weights: Any, chosen: Any, shape: tuple[int, int], mode: str,
    padding_idx: int, include_last_offset: bool, scale_grad_by_freq: bool,
) -> Any:  # fmt: skip
    found, flat = np.zeros(shape), input.reshape(-1).astype(np.int64)
    if mode == "max":
        for b, j in np.argwhere(chosen >= 0):
            found[chosen[b, j], j] += dout[b, j]
        return found
    factors = np.ones(flat.size) if per_sample_weights is None else per_sample_weights.reshape(-1)
    counts = np.zeros(shape[0])
    for b, numbers in enumerate(_numpy_bags(input, offsets, include_last_offset, padding_idx)):
        for e in numbers:
            found[flat[e]] += dout[b] * factors[e] / (len(numbers) if mode == "mean" else 1)
            counts[flat[e]] += 1
    return found / np.maximum(counts, 1)[:, None] if scale_grad_by_freq else found


# ---- forward --------------------------------------------------------------------------------------------------------

_OFFSETS = np.array([0, 0, 4, 5, 9, 9])
_LIST = np.array([1, 3, 3, 0, 6, 2, 1, 5, 2, 4, 4])


def _given(mode: str) -> Iterator[tuple[Sample, tuple[int, int]]]:
    """Samples of the forward operation, and the shape of what they give."""
    table, weights = (7, 33), (11,) if mode == "sum" else None
    yield Sample(table, tokens((4, 5), 7), None, None, mode=mode, why=f"{mode} of rows"), (4, 33)
    yield Sample(table, _LIST, _OFFSETS, weights, mode=mode, why=f"{mode}, some bags empty"), (6, 33)
    more: dict[str, Any] = {"mode": mode, "padding_idx": 2, "include_last_offset": True}
    yield Sample((7, 4), _LIST, _OFFSETS.astype(np.int32), None, **more, why=f"{mode}, padding, ends"), (5, 4)
    if mode != "max":
        frequent: dict[str, Any] = {"mode": mode, "scale_grad_by_freq": True}
        yield Sample((7, 4), _LIST, _OFFSETS, None, **frequent, why=f"{mode}, by frequency", grad=False), (6, 4)
        padded = (4, 5) if mode == "sum" else None
        yield Sample((7, 16), tokens((4, 5), 7, int32), None, padded, mode=mode, why=f"{mode} of int32"), (4, 16)
    nothing = np.zeros((3, 0), np.int64)
    yield Sample((7, 4), nothing, None, None, mode=mode, why=f"{mode} of nothing", grad=False), (3, 4)


def _forward_samples() -> Iterator[Sample]:
    for mode in MODES:
        yield from (sample for sample, _ in _given(mode))
    yield Sample((500, 200), tokens((60, 40), 500), None, None, mode="mean", why="wide rows", grad=False)


def _wrong() -> Iterator[ErrorInput]:
    table, rows, name = np.zeros((5, 3)), np.array([[0, 1], [2, 4]]), "embedding_bag_forward"
    flat = np.array([0, 1, 2, 4])
    yield ErrorInput(ShapeError, f"{name}: input has shape (4,): without offsets it is (bags, tokens of a bag)", table,
                     flat)  # fmt: skip
    yield ErrorInput(ShapeError, f"{name}: input has shape (2, 2) and offsets (1,), not one axis each", table, rows,
                     np.array([0]))  # fmt: skip
    yield ErrorInput(DTypeError, f"{name}: offsets is of dtype float64, not integers", table, flat, np.zeros(1))
    yield ErrorInput(ValueError, f"{name}: per_sample_weights are for mode 'sum', not 'max'", table, rows, None,
                     np.ones((2, 2)), mode="max")  # fmt: skip
    yield ErrorInput(ShapeError, f"{name}: per_sample_weights has shape (2,), input (2, 2)", table, rows, None,
                     np.ones(2), mode="sum")  # fmt: skip
    yield ErrorInput(ValueError, f"{name}: scale_grad_by_freq=True is not for mode 'max'", table, rows, mode="max",
                     scale_grad_by_freq=True)  # fmt: skip


@of_bags(
    composite=_composed, extras="chosen", kinds=("float",), samples=_forward_samples, error_inputs=_wrong,
    ulp=64,  # of sums one by one, of about 100 terms
    params=_params, reference=_numpy_forward,
    magnitude=lambda weight, input, offsets, per_sample_weights, mode, padding_idx, include_last_offset: (
        _numpy_forward(
            np.abs(weight), input, offsets, None if per_sample_weights is None else np.abs(per_sample_weights), mode,
            padding_idx, include_last_offset,
        )
    ),
    cost=lambda weight, input: (
        float(math.prod(input.shape) * weight.shape[1]),
        bytes_of(input) + math.prod(input.shape) * weight.shape[1] * weight.dtype.itemsize,
    ),
    workloads=[
        Workload(((50257, 128), tokens((64, 100), 50257), None, None), ("mean",), "texts of 100 words", (float32,)),
        Workload(((10000, 64), tokens((256, 20), 10000), None, (256, 20)), ("sum",), "weighted", (float32,)),
    ],
    baselines={
        "torch": "F.embedding_bag(input, weight, offsets, mode=mode, per_sample_weights=per_sample_weights)",
    },
)  # fmt: skip
def embedding_bag_forward(
    weight: Spec, input: Spec, offsets: Spec | None, per_sample_weights: Spec | None, mode: Mode = "mean",
    padding_idx: int = -1, include_last_offset: bool = False, scale_grad_by_freq: bool = False,
) -> tuple[Spec, Spec | None]:  # fmt: skip
    """The sum, mean or maximum of the rows of `weight` for the tokens of each bag; see `embedding_bag`."""
    name = "embedding_bag_forward"
    _, width = check_table(name, weight)
    count = _count(name, input, offsets, include_last_offset)
    _check_weights(name, per_sample_weights, input, weight, mode)
    if scale_grad_by_freq and mode == "max":
        raise ValueError(f"{name}: scale_grad_by_freq=True is not for mode 'max'")
    return Spec((count, width), weight.dtype), Spec((count, width), int64) if mode == "max" else None


@embedding_bag_forward.restrict
def _(operands: list[Any], largest: float) -> None:
    _keep_sums_finite(operands, largest)


def _keep_sums_finite(operands: list[Any], largest: float) -> None:
    """Sums of products of two of the operands must be numbers, also those that are divided afterwards."""
    limit = math.sqrt(largest) / 1e3
    operands[:] = [limited(x, limit) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x for x in operands]


@embedding_bag_forward.gradient("weight", "per_sample_weights")
def _(
    dout: Any, weight: Any, input: Any, offsets: Any, per_sample_weights: Any, chosen: Any, mode: str,
    padding_idx: int, include_last_offset: bool, scale_grad_by_freq: bool, create_graph: bool,
    needs_input_grad: tuple[bool, bool],
) -> Any:  # fmt: skip
    attrs = mode, padding_idx, include_last_offset, scale_grad_by_freq
    if create_graph:
        composed = lambda table, weights: _composed(table, input, offsets, weights, *attrs)  # noqa: E731
        return recomputed(composed, [dout], [weight, per_sample_weights], needs_input_grad, True)
    dweight = dweights = None
    if needs_input_grad[0]:
        dweight = embedding_bag_backward(dout, input, offsets, per_sample_weights, chosen, weight.shape, *attrs)
    if needs_input_grad[1]:
        dweights = embedding_bag_weights_backward(dout, weight, input, offsets, padding_idx, include_last_offset)
    return dweight, dweights


# ---- gradients ------------------------------------------------------------------------------------------------------


def _backward_samples() -> Iterator[Sample]:
    for mode in MODES:
        for s, shape in _given(mode):
            table, input, offsets, weights = s.inputs
            chosen = Input(shape, -1, table[0], int64) if mode == "max" else None
            yield s.but(shape, input, offsets, weights, chosen, shape=table, grad=False)


@of_bags(
    outputs="dweight", kinds=("float",), samples=_backward_samples, reference=_numpy_backward, ulp=64,
    params=lambda mode, padding_idx, include_last_offset, scale_grad_by_freq: _params(
        mode, padding_idx, include_last_offset, scale_grad_by_freq
    ),
    magnitude=lambda dout, input, offsets, per_sample_weights, chosen, shape, mode, padding_idx, include_last_offset,
    scale_grad_by_freq: _numpy_backward(
        np.abs(dout), input, offsets, None if per_sample_weights is None else np.abs(per_sample_weights), chosen, shape,
        mode, padding_idx, include_last_offset, scale_grad_by_freq,
    ),
    cost=lambda dout, input, shape: (
        float(math.prod(input.shape) * shape[1]), bytes_of(dout, input, Spec(shape, dout.dtype))
    ),
    error_inputs=[
        ErrorInput(ShapeError, "embedding_bag_backward: dout has shape (3, 3), not (2, 3)", np.zeros((3, 3)),
                   np.array([[0, 1], [2, 4]]), shape=(5, 3)),
        ErrorInput(IndexError, "embedding_bag_backward: token 5 at position (0, 1) of chosen is outside of the "
                   "vocabulary of 5", np.zeros((1, 2)), np.array([[0, 1]]), None, None, np.array([[1, 5]]),
                   shape=(5, 2), mode="max"),
    ],
    workloads=[
        Workload(((64, 128), tokens((64, 100), 50257), None, None, None), ((50257, 128), "mean"), "texts of 100 words",
                 (float32,)),
    ],
    baselines={
        "torch": "torch.ops.aten.embedding_dense_backward((dout / input.shape[1]).unsqueeze(1).expand(*input.shape, -1)"
        ".contiguous(), input, shape[0], padding_idx, False)",  # of the means of rows of tokens
    },
)  # fmt: skip
def embedding_bag_backward(
    dout: Spec, input: Spec, offsets: Spec | None, per_sample_weights: Spec | None, chosen: Spec | None, shape: Shape,
    mode: Mode = "mean", padding_idx: int = -1, include_last_offset: bool = False, scale_grad_by_freq: bool = False,
) -> Spec:  # fmt: skip
    """The gradient of `embedding_bag_forward` for a table of `shape`.

    `chosen`: of maxima, the tokens they came from, -1 where there were none. Sums are in float32 or wider and in the
    order of the tokens; rows of tokens that are nowhere are zeros.
    """
    name = "embedding_bag_backward"
    count = _count(name, input, offsets, include_last_offset)
    if len(shape) != 2:
        raise ShapeError(f"{name}: a table of shape {shape} is not (vocabulary, width)")
    if dout.shape != (want := (count, shape[1])):
        raise ShapeError(f"{name}: dout has shape {dout.shape}, not {want}")
    _check_weights(name, per_sample_weights, input, dout, mode)
    if mode == "max" and (chosen is None or chosen.shape != want or chosen.dtype is not int64):
        raise ShapeError(f"{name}: the gradient of maxima needs the tokens they came from, int64 of shape {want}")
    return Spec(shape, dout.dtype)


@embedding_bag_backward.restrict
def _(operands: list[Any], largest: float) -> None:
    _keep_sums_finite(operands, largest)


def _numpy_weights(
    dout: Any, weight: Any, input: Any, offsets: Any, padding_idx: int, include_last_offset: bool
) -> Any:  # fmt: skip
    flat = input.reshape(-1).astype(np.int64)
    found = np.zeros(flat.size)
    for b, numbers in enumerate(_numpy_bags(input, offsets, include_last_offset, padding_idx)):
        found[numbers] = weight[flat[numbers]] @ dout[b]
    return found.reshape(input.shape)


@of_bags(
    outputs="dweights", kinds=("float",), ulp=8, reference=_numpy_weights,
    params=lambda padding_idx, include_last_offset: (0, padding_idx, int(include_last_offset)),
    magnitude=lambda dout, weight, input, offsets, padding_idx, include_last_offset: _numpy_weights(
        np.abs(dout), np.abs(weight), input, offsets, padding_idx, include_last_offset
    ),
    cost=lambda weight, input: (
        2.0 * math.prod(input.shape) * weight.shape[1],
        bytes_of(input) + math.prod(input.shape) * weight.shape[1] * weight.dtype.itemsize,
    ),
    samples=[
        Sample((4, 33), (7, 33), tokens((4, 5), 7), None, why="rows", grad=False),
        Sample((6, 4), (7, 4), _LIST, _OFFSETS, padding_idx=2, why="padding", grad=False),
        Sample((5, 4), (7, 4), _LIST, _OFFSETS, include_last_offset=True, why="ends", grad=False),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "embedding_bag_weights_backward: dout has shape (3, 3), not (2, 3)", np.zeros((3, 3)),
                   np.zeros((5, 3)), np.array([[0, 1], [2, 4]])),
    ],
    workloads=[
        Workload(((256, 64), (10000, 64), tokens((256, 20), 10000), None), (), "weighted", (float32,)),
    ],
    baselines={"torch": "(F.embedding(input, weight) * dout.unsqueeze(1)).sum(-1)"},  # of rows of tokens
)  # fmt: skip
def embedding_bag_weights_backward(
    dout: Spec, weight: Spec, input: Spec, offsets: Spec | None, padding_idx: int = -1,
    include_last_offset: bool = False,
) -> Spec:  # fmt: skip
    """The gradient of `embedding_bag_forward` for the weights of its tokens: the product of each row with its bag's."""
    name = "embedding_bag_weights_backward"
    _, width = check_table(name, weight)
    count = _count(name, input, offsets, include_last_offset)
    if dout.shape != (count, width) or dout.dtype is not weight.dtype:
        raise ShapeError(f"{name}: dout has shape {dout.shape}, not {(count, width)}")
    return Spec(input.shape, weight.dtype)


@embedding_bag_weights_backward.restrict
def _(operands: list[Any], largest: float) -> None:
    _keep_sums_finite(operands, largest)


# ---- the public function --------------------------------------------------------------------------------------------


def embedding_bag(
    input: Any, weight: Any, offsets: Any = None, max_norm: float | None = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Any = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Any:  # fmt: skip
    """The sum, mean or maximum (`mode`) of the rows of `weight` for the tokens of each bag: (B, C).

    `input`: (B, L), L tokens a bag; or (n,), all tokens, where bag b begins at `offsets[b]` and ends where the next
    begins: (B,), from 0 on; with ``include_last_offset`` (B + 1,), the last is the end. `weight`: (V, C).
    `per_sample_weights`: a factor for each token, of the shape of `input`, for mode "sum", with a gradient.
    ``padding_idx``: this token counts for nothing. A bag of no tokens gives zeros. ``max_norm``, ``norm_type``,
    ``scale_grad_by_freq``: see `embedding`; ``sparse=True`` is refused.

    Rows are added in the order of the tokens, in float32 or wider, and so are gradients, which are the same bits for
    any number of threads. Raises IndexError for a token outside of the vocabulary and ValueError for offsets that do
    not rise, before anything is written; ShapeError, DTypeError.

    >>> dl.embedding_bag(dl.tensor([[0, 1], [1, 1]]), dl.tensor([[1.0, 2.0], [3.0, 4.0]]), mode="sum")
    tensor([[4., 6.],
            [6., 8.]])
    """
    name = "embedding_bag"
    refuse_sparse(name, sparse)
    rows = operand(weight, name, "weight")
    chosen = operand(input, name, "input", rows)
    starts = None if offsets is None else operand(offsets, name, "offsets", rows)
    factors = None if per_sample_weights is None else operand(per_sample_weights, name, "per_sample_weights", rows)
    size, _ = check_table(name, rows)
    attrs = (
        choice(mode, MODES, f"{name}: mode"), padding_of(name, padding_idx, size),
        boolean(include_last_offset, f"{name}: include_last_offset"),
        boolean(scale_grad_by_freq, f"{name}: scale_grad_by_freq"),
    )  # fmt: skip
    shortened(name, rows, chosen, max_norm, norm_type)
    return called(name, embedding_bag_forward, rows, chosen, starts, factors, *attrs)
