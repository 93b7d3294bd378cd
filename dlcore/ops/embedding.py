"""Rows of a table by tokens: `embedding`, its gradient, and rows that are made shorter where they are too long.

Tokens are integers of any dtype from 0 to the size of the vocabulary; none counts from the end. Kernels check them all
before they write: one outside of the vocabulary raises IndexError with its value and position.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlcore import _C
from dlcore._arguments import boolean, called, integer, number, operand
from dlcore.dtypes import DTYPES, FLOATS, DType, float32, int16, int32, int64, uint8
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Op, Sample, Shape, Spec, Workload, as_given
from dlcore.ops._domains import limited
from dlcore.ops._workloads import bytes_of, on_gpu
from dlcore.ops.elementwise import cast, div, mul, ne
from dlcore.ops.movement import expand, permute, reshape, unsqueeze

__all__ = ["embedding"]


def tokens(shape: tuple[int, ...], size: int, dtype: DType = int64) -> Input:
    """Random tokens of a vocabulary."""
    return Input(shape, 0, size, dtype)


def skewed(n: int, size: int) -> Input:
    """Tokens as text has them: the k-th most frequent about 1 / k as often as the first."""

    def draw(rng: np.random.Generator) -> Any:
        return np.minimum(rng.zipf(1.1, n) - 1, size - 1)

    return Input((n,), dtype=int64, draw=draw)


class Table(Op):
    """An operation on rows of a table that tokens choose."""

    family = "embedding"
    promote = staticmethod(as_given)

    def family_kernels(self) -> dict[str, str]:
        """Those of both devices."""
        return {"cpu": f"embedding:{self.name}", "cuda": f"embedding.embedding:{self.name}"}


table = Table.definition


def check_tokens(name: str, input: Spec, operand: str = "input") -> None:
    """Raises DTypeError unless tokens are integers."""
    if input.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"{name}: {operand} is of dtype {input.dtype.name}, not integers")


def check_table(name: str, weight: Spec) -> tuple[int, int]:
    """The size of the vocabulary and the length of a row; raises ShapeError unless the table is a matrix."""
    if len(weight.shape) != 2:
        raise ShapeError(f"{name}: weight has shape {weight.shape}, not (vocabulary, width)")
    return weight.shape[0], weight.shape[1]


# ---- forward --------------------------------------------------------------------------------------------------------


def _forward_examples(call: Any) -> Any:
    """Of all examples: tables of the same tokens side by side are one wide table."""
    (weight, input), attrs = call.values, call.attrs
    if not call.is_batched[0]:
        return embedding_forward(weight, input, *attrs)
    if call.is_batched[1]:
        return NotImplemented
    examples, size, width = weight.shape
    rows = embedding_forward(reshape(permute(weight, (1, 0, 2)), (size, examples * width)), input, *attrs)
    rows = reshape(rows, (*input.shape, examples, width))
    return permute(rows, (input.ndim, *range(input.ndim), input.ndim + 1))


_LOOKED_UP = [
    Sample((10, 33), tokens((20,), 10), why="rows, some twice"),
    Sample((65, 16), tokens((3, 8), 65, uint8), why="batches of uint8"),
    Sample((7, 5), tokens((2, 3, 4), 7, int16), why="short rows, int16"),
    Sample((4, 3), np.array(2, np.int32), why="0-d"),
    Sample((4, 3), np.zeros((0, 2), np.int64), why="no tokens"),
]


@table(
    dtypes=DTYPES, batch=_forward_examples,
    gradient={
        "weight": lambda dout, input, weight_shape, padding_idx, scale_grad_by_freq: embedding_backward(
            dout, input, weight_shape, padding_idx, scale_grad_by_freq
        )
    },
    reference=lambda weight, input: weight[input.astype(np.int64)],
    cost=lambda weight, input: (
        0.0, bytes_of(input) + 2.0 * math.prod(input.shape) * weight.shape[1] * weight.dtype.itemsize
    ),
    samples=[
        *_LOOKED_UP,
        Sample((3, 0), tokens((4,), 3), why="empty rows", grad=False),
        Sample((5000, 260), tokens((300,), 5000), why="wide rows of a vocabulary", grad=False),
    ],
    error_inputs=[
        ErrorInput(IndexError, "embedding_forward: token 5 at position (1, 0) is outside of the vocabulary of 5",
                   np.zeros((5, 2)), np.array([[0, 4], [5, 7]])),
        ErrorInput(IndexError, "embedding_forward: token -1 at position 1 is outside of the vocabulary of 5",
                   np.zeros((5, 2)), np.array([0, -1])),
        ErrorInput(DTypeError, "embedding_forward: input is of dtype float64, not integers",
                   np.zeros((5, 2)), np.array([0.0])),
        ErrorInput(ShapeError, "embedding_forward: weight has shape (5,), not (vocabulary, width)",
                   np.zeros(5), np.array([0])),
    ],
    workloads=[
        Workload(((65, 128), tokens((16, 64), 65)), (), "characters"),
        Workload(((50257, 768), tokens((8, 128), 50257)), (), "a vocabulary", (float32,)),
        on_gpu([(50257, 768), tokens((32, 1024), 50257)]),
    ],
    baselines={
        "numpy": "weight[input]", "torch": "F.embedding(input, weight)",
        "jax": "jnp.take(weight, input, 0, mode='clip')",
    },
)  # fmt: skip
def embedding_forward(
    weight: Spec, input: Spec, padding_idx: int = -1, scale_grad_by_freq: bool = False
) -> Spec:  # fmt: skip
    """The row of `weight` (vocabulary, width) for each token of `input`: out[..., :] = weight[input[...]].

    `padding_idx`: the token whose row gets no gradient, -1 for none; `scale_grad_by_freq`: gradients are divided by how
    often their token is there.
    """
    check_tokens("embedding_forward", input)
    _, width = check_table("embedding_forward", weight)
    return Spec((*input.shape, width), weight.dtype)


# ---- gradient -------------------------------------------------------------------------------------------------------


def _backward_examples(call: Any) -> Any:
    """Of all examples: gradients for the same tokens side by side are those of wide rows."""
    if call.is_batched[1]:
        return NotImplemented
    input, (shape, *rest) = call.values[1], call.attrs
    dout, examples = call.full(0), call.size
    n = input.ndim
    rows = reshape(permute(dout, (*range(1, n + 1), 0, n + 1)), (*input.shape, examples * shape[1]))
    found = embedding_backward(rows, input, (shape[0], examples * shape[1]), *rest)
    return permute(reshape(found, (shape[0], examples, shape[1])), (1, 0, 2))


def _numpy_backward(dout: Any, input: Any, shape: tuple[int, int], padding_idx: int, scale_grad_by_freq: bool) -> Any:
    found, places = np.zeros(shape), input.astype(np.int64).ravel()
    rows = dout.reshape(places.size, shape[1])
    kept = places != padding_idx
    np.add.at(found, places[kept], rows[kept])
    counts = np.maximum(np.bincount(places, minlength=shape[0]), 1) if scale_grad_by_freq else np.ones(shape[0])
    return found / counts[:, None]


def _learned() -> Iterator[Sample]:
    for s in _LOOKED_UP:
        (size, width), input = s.inputs
        yield Sample((*input.shape, width), input, shape=(size, width), why=s.why)
    twice = np.array([1, 1, 0, 3, 1])
    yield Sample((5, 4), twice, shape=(4, 4), padding_idx=1, why="padding")
    yield Sample((5, 40), twice, shape=(4, 40), scale_grad_by_freq=True, why="by frequency")
    yield Sample((5, 4), twice, shape=(4, 4), padding_idx=0, scale_grad_by_freq=True, why="padding, by frequency")
    yield Sample((2000, 130), tokens((2000,), 65), shape=(65, 130), why="many of each", grad=False)
    yield Sample((1500, 300), Input((1500,), draw=lambda rng: np.zeros(1500, np.int64)), shape=(3, 300),
                 why="one token", grad=False)  # fmt: skip
    yield Sample((40, 64), tokens((40,), 40000, int32), shape=(40000, 64), why="rows of zeros", grad=False)


@table(
    outputs="dweight", batch=_backward_examples, kinds=("float",), samples=_learned, ulp=16,  # of sums one by one
    reference=_numpy_backward,
    magnitude=lambda dout, input, shape, padding_idx, scale_grad_by_freq: _numpy_backward(
        np.abs(dout), input, shape, padding_idx, scale_grad_by_freq
    ),
    params=lambda padding_idx, scale_grad_by_freq: (padding_idx, int(scale_grad_by_freq)),
    cost=lambda dout, input, shape: (
        float(math.prod(dout.shape)), bytes_of(dout, input, Spec(shape, dout.dtype))
    ),
    error_inputs=[
        ErrorInput(IndexError, "embedding_backward: token 5 at position 1 is outside of the vocabulary of 5",
                   np.zeros((2, 3)), np.array([0, 5]), shape=(5, 3)),
        ErrorInput(ShapeError, "embedding_backward: dout has shape (2, 3), not (1, 3)", np.zeros((2, 3)),
                   np.array([0]), shape=(5, 3)),
        ErrorInput(ShapeError, "embedding_backward: a table of shape (5,) is not (vocabulary, width)",
                   np.zeros((1, 3)), np.array([0]), shape=(5,)),
    ],
    workloads=[
        Workload(((1024, 128), tokens((1024,), 65)), ((65, 128),), "characters"),
        Workload(((1024, 128), tokens((1024,), 50257)), ((50257, 128),), "a vocabulary", (float32,)),
        Workload(((8192, 768), skewed(8192, 50257)), ((50257, 768),), "a vocabulary, skewed", (float32,)),
        on_gpu([(32768, 768), tokens((32768,), 50257)], ((50257, 768),)),
    ],
    baselines={
        "torch": "torch.ops.aten.embedding_dense_backward(dout, input, shape[0], padding_idx, scale_grad_by_freq)",
        "jax": "jnp.zeros(shape, dout.dtype).at[input].add(dout)",
    },
)  # fmt: skip
def embedding_backward(
    dout: Spec, input: Spec, shape: Shape, padding_idx: int = -1, scale_grad_by_freq: bool = False
) -> Spec:  # fmt: skip
    """The gradient of `embedding_forward` for a table of `shape`: each row the sum of `dout` where its token is.

    Sums are in float32 or wider and in the order of the tokens; rows of tokens that are nowhere are zeros.
    """
    check_tokens("embedding_backward", input)
    if len(shape) != 2:
        raise ShapeError(f"embedding_backward: a table of shape {shape} is not (vocabulary, width)")
    if dout.shape != (want := (*input.shape, shape[1])):
        raise ShapeError(f"embedding_backward: dout has shape {dout.shape}, not {want}")
    return Spec(shape, dout.dtype)


@embedding_backward.restrict
def _(operands: list[Any], largest: float) -> None:
    """Sums must be numbers, also those that are divided afterwards."""
    operands[0] = limited(operands[0], largest / 1e4)


@embedding_backward.gradient("dout")
def _(ddweight: Any, input: Any, shape: tuple[int, int], padding_idx: int, scale_grad_by_freq: bool) -> Any:
    found = embedding_forward(ddweight, input)
    if scale_grad_by_freq:
        ones = expand(_C.full((), 1, float32, input.device.code), (*input.shape, 1))
        counts = embedding_forward(embedding_backward(ones, input, (shape[0], 1)), input)
        found = div(found, cast(counts, found.dtype))
    if padding_idx >= 0:
        found = mul(found, cast(unsqueeze(ne(input, padding_idx), -1), found.dtype))
    return found


# ---- max_norm -------------------------------------------------------------------------------------------------------


def _numpy_renorm(weight: Any, input: Any, max_norm: float, norm_type: float) -> Any:
    out = np.array(weight)
    for k in np.unique(input.astype(np.int64)):
        norm = np.linalg.norm(weight[k], norm_type)
        if norm > max_norm:
            out[k] = weight[k] * (max_norm / (norm + 1e-7))
    return out


@table(
    writes="weight", outputs="", dtypes=FLOATS, kinds=("float",), reference=_numpy_renorm, ulp=4,
    params=lambda max_norm, norm_type: (float(max_norm), float(norm_type)),
    cost=lambda weight, input: (
        3.0 * math.prod(input.shape) * weight.shape[1],
        bytes_of(input) + 2.0 * math.prod(input.shape) * weight.shape[1] * weight.dtype.itemsize,
    ),
    samples=[
        Sample((10, 33), tokens((20,), 10), max_norm=4.0, why="some rows twice"),
        Sample((10, 33), tokens((4, 2), 10, int32), max_norm=20.0, norm_type=1.0, why="sums"),
        Sample((6, 7), tokens((4,), 6), max_norm=1.0, norm_type=math.inf, why="maxima"),
        Sample((6, 7), tokens((4,), 6), max_norm=2.0, norm_type=3.0, why="cubes"),
        Sample((6, 7), tokens((4,), 6), max_norm=2.0, norm_type=0.0, why="elements that are not 0"),
        Sample((4, 3), np.zeros(0, np.int64), max_norm=1.0, why="no tokens"),
    ],
    error_inputs=[
        ErrorInput(IndexError, "embedding_renorm_: token 5 at position 0 is outside of the vocabulary of 5",
                   np.ones((5, 2)), np.array([5]), max_norm=1.0),
        ErrorInput(ValueError, "embedding_renorm_: norm_type -1.0 is not a number from 0 on", np.ones((5, 2)),
                   np.array([0]), max_norm=1.0, norm_type=-1.0),
        ErrorInput(ValueError, "embedding_renorm_: max_norm nan is not a number from 0 on", np.ones((5, 2)),
                   np.array([0]), max_norm=math.nan),
    ],
    workloads=[Workload(((50257, 128), tokens((1024,), 50257)), (1.0,), "a vocabulary", (float32,))],
    baselines={"torch": "torch.embedding_renorm_(weight, input, max_norm, norm_type)"},
)  # fmt: skip
def embedding_renorm_(weight: Spec, input: Spec, max_norm: float, norm_type: float = 2.0) -> None:
    """Makes the rows of `weight` for the tokens of `input` shorter, in place, where their norm is beyond `max_norm`.

    They are multiplied by max_norm / (norm + 1e-7), each once however often its token is there. The norm is that of
    order `norm_type`: (sum |x|^p)^(1/p), the largest element for infinity, how many are not 0 for 0. Returns None.
    """
    check_tokens("embedding_renorm_", input)
    check_table("embedding_renorm_", weight)
    for what, value in (("max_norm", max_norm), ("norm_type", norm_type)):
        if not value >= 0:
            raise ValueError(f"embedding_renorm_: {what} {value} is not a number from 0 on")


# ---- the public function --------------------------------------------------------------------------------------------


def padding_of(name: str, padding_idx: Any, size: int) -> int:
    """The token without a gradient, counted from the front, -1 for None; raises ValueError where there is no such."""
    if padding_idx is None:
        return -1
    given = integer(padding_idx, f"{name}: padding_idx")
    if not -size <= given < size:
        raise ValueError(f"{name}: padding_idx {given} is outside of the vocabulary of {size}")
    return given % size


def refuse_sparse(name: str, sparse: Any) -> None:
    """Raises ValueError where sparse gradients are asked for."""
    if boolean(sparse, f"{name}: sparse"):
        raise ValueError(
            f"{name}: sparse=True: gradients are dense here; optimizers step over all parameters in one launch"
        )


def shortened(name: str, weight: Any, input: Any, max_norm: Any, norm_type: Any) -> None:
    """Writes the rows of ``weight`` for the tokens of ``input`` anew where their norm is beyond ``max_norm``."""
    if max_norm is not None:
        most, order = number(max_norm, f"{name}: max_norm"), number(norm_type, f"{name}: norm_type")
        called(name, embedding_renorm_, weight.detach(), input, most, order)


def embedding(
    input: Any, weight: Any, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Any:  # fmt: skip
    """The row of `weight` for each token of `input`: out[..., :] = weight[input[...], :].

    `input`: integers of any dtype and shape (...), from 0 to V - 1; `weight`: (V, C); the output has shape (..., C).
    ``padding_idx``: this token's row gets no gradient (-1 is the last). ``max_norm``: rows that are looked up and whose
    norm of order ``norm_type`` is larger are first made that short, in place. ``scale_grad_by_freq``: gradients are
    divided by how often their token is in `input`. ``sparse=True`` is refused: gradients are dense.

    The gradient adds up rows in the order of the tokens, in float32 or wider: the same bits for any number of threads.
    Raises IndexError with value and position, before anything is written, for a token outside of the vocabulary;
    DTypeError, ShapeError, ValueError.

    >>> dl.embedding(dl.tensor([2, 0]), dl.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    tensor([[5., 6.],
            [1., 2.]])
    """
    refuse_sparse("embedding", sparse)
    rows = operand(weight, "embedding", "weight")
    chosen = operand(input, "embedding", "input", rows)
    size, _ = check_table("embedding", rows)
    padding = padding_of("embedding", padding_idx, size)
    by_frequency = boolean(scale_grad_by_freq, "embedding: scale_grad_by_freq")
    shortened("embedding", rows, chosen, max_norm, norm_type)
    return called("embedding", embedding_forward, rows, chosen, padding, by_frequency)
