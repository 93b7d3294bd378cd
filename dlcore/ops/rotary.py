"""Rotary position embedding: pairs of features turned by an angle that grows with the position.

The gradient is the same rotation the other way round, `inverse`, so that there is one operation for both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, NoReturn, get_args

import numpy as np

from dlcore.dtypes import DType, bfloat16, float32, float64, int32, int64
from dlcore.errors import AutogradError, DTypeError, ShapeError
from dlcore.op import Domain, ErrorInput, Input, Sample, Spec, Workload, operation
from dlcore.ops._domains import limited, without_tiny
from dlcore.ops._workloads import bytes_of, on_gpu
from dlcore.ops.elementwise import add, cast, mul, neg, sub
from dlcore.ops.gather import take
from dlcore.ops.movement import concat, reshape, stack, unsqueeze

__all__ = ["rotary_embedding"]

HeadLayout = Literal["BHTD", "BTHD"]
LAYOUTS = get_args(HeadLayout)
TURN = Domain(-1.0, 1.0)


def _axes(ndim: int, layout: str) -> tuple[int, int]:
    """The axes of positions and of heads, -1 where there is none."""
    if layout == "BTHD":
        return ndim - 3, ndim - 2
    return ndim - 2, ndim - 3 if ndim > 2 else -1


def _promoted(specs: Sequence[Spec | None]) -> Sequence[DType | None]:
    """Tables in float32 or wider: rounding them would lose the positions of long texts."""
    x, _, _, positions = specs
    assert x is not None
    table = float64 if x.dtype is float64 else float32
    return [x.dtype, table, table, positions and positions.dtype]


def _constant_tables() -> NoReturn:
    raise AutogradError("rotary_embedding: cos and sin are constants, which have no gradient; detach() them")


def _params(
    x: Spec, layout: str, interleaved: bool, heads: int | None, inverse: bool
) -> tuple[int, ...]:  # fmt: skip
    time, head = _axes(len(x.shape), layout)
    most = x.shape[head] if head >= 0 else 1
    return time, head, int(interleaved), most if heads is None else heads, int(inverse)


@operation(
    family="rotary", kinds=("float",), promote=_promoted, batching="leading", params=_params,
    gradient={"x": lambda dout, cos, sin, positions, interleaved, layout, heads, inverse: rotary_embedding(
        dout, cos, sin, positions, interleaved, layout, heads, not inverse
    ), "cos": _constant_tables, "sin": _constant_tables},
    cost=lambda x, cos: (3.0 * math.prod(x.shape), bytes_of(x, x, cos, cos)),
    baselines={
        "torch": "(lambda a, b, c, s: torch.cat((a * c - b * s, b * c + a * s), -1))(*x.chunk(2, -1), cos, sin)",
        "jax": "(lambda a, b, c, s: jnp.concatenate((a * c - b * s, b * c + a * s), -1))(*jnp.split(x, 2, -1), "
        "cos, sin)",
    },
)  # fmt: skip
def rotary_embedding(
    x: Spec, cos: Annotated[Spec, TURN], sin: Annotated[Spec, TURN], positions: Spec | None = None,
    interleaved: bool = False, layout: HeadLayout = "BHTD", heads: int | None = None, inverse: bool = False,
) -> Spec:  # fmt: skip
    """`x` with pairs of features turned by the angle of their position (rotary embedding, RoPE).

    A pair (a, b) at position p becomes (a c - b s, b c + a s), c = cos[p, i] and s = sin[p, i] for its i-th pair.

    `x`: (..., H, T, D), or (..., T, H, D) with ``layout="BTHD"``; heads may be left out of the first: (T, D). Of any
    strides: the output is contiguous. `cos`, `sin`: (P, R / 2), a row for each position, constants, in float32 or
    wider; of D features the first R turn, the others stay. `positions`: integers in device memory: None for
    0 .. T - 1; 0-d, the position of the first; or (T,) to (..., T), one for each (the axes of heads left out).
    `interleaved`: pairs are neighbours (2 i, 2 i + 1), as in GPT-J, else (i, i + R / 2), as in GPT-NeoX and Llama.
    `heads`: how many of the heads turn, the others stay, as the values of a packed (q, k, v) do. `inverse`: by
    the negative angle, which is the gradient.

    Computed in float32 or wider and rounded once. Raises ShapeError where shapes do not fit, DTypeError for positions
    that are no integers, IndexError, before anything is written, for a position without a row in the tables.
    Su et al. 2021 (https://arxiv.org/abs/2104.09864).

    >>> dl.rotary_embedding(dl.ones(2, 2), dl.tensor([[1.0], [0.0]]), dl.tensor([[0.0], [1.0]]))
    tensor([[ 1.,  1.],
            [-1.,  1.]])
    """
    axes = 3 if layout == "BTHD" else 2
    if len(x.shape) < axes:
        raise ShapeError(f"rotary_embedding: x of shape {x.shape} has no {axes} axes, as layout {layout!r} needs")
    if len(cos.shape) != 2 or cos.shape != sin.shape:
        raise ShapeError(f"rotary_embedding: cos has shape {cos.shape}, sin {sin.shape}: both are to be (P, R / 2)")
    if 2 * cos.shape[1] > x.shape[-1]:
        raise ShapeError(
            f"rotary_embedding: tables for {2 * cos.shape[1]} features, x of shape {x.shape} has {x.shape[-1]}"
        )
    time, head = _axes(len(x.shape), layout)
    length = x.shape[time]
    if positions is None:
        if length > cos.shape[0]:
            raise ShapeError(f"rotary_embedding: {length} positions, the tables have {cos.shape[0]} rows")
    else:
        if positions.dtype.kind not in ("int", "uint"):
            raise DTypeError(f"rotary_embedding: positions are of dtype {positions.dtype.name}, not integers")
        every = (*(n for d, n in enumerate(x.shape[:time]) if d != head), length)
        if positions.shape != every[len(every) - len(positions.shape) :] and positions.shape:
            raise ShapeError(
                f"rotary_embedding: positions have shape {positions.shape}, for x of shape {x.shape} and layout "
                f"{layout!r} they end in {every}"
            )
    if heads is not None and not 0 <= heads <= (x.shape[head] if head >= 0 else 1):
        raise ShapeError(f"rotary_embedding: {heads} heads of x of shape {x.shape} and layout {layout!r}")
    return x._replace(strides=())


def _angles(table: Any, positions: Any, length: int, layout: str) -> Any:
    """Rows of a table for each position, beside the heads."""
    if positions is None:
        rows = table[:length]
    elif positions.ndim == 0:
        rows = take(table, add(cast(positions, int64), np.arange(length)), 0)
    else:
        rows = take(table, positions, 0)
    return unsqueeze(rows, -2 if layout == "BTHD" else -3)


@rotary_embedding.composite
def _(
    x: Any, cos: Any, sin: Any, positions: Any, interleaved: bool, layout: str, heads: int | None, inverse: bool
) -> Any:  # fmt: skip
    time, head = _axes(x.ndim, layout)
    if heads is not None and head >= 0 and heads < x.shape[head]:
        before = (slice(None),) * head
        turned = rotary_embedding(
            x[(*before, slice(heads))], cos, sin, positions, interleaved, layout, None, inverse
        )  # fmt: skip
        return concat([turned, x[(*before, slice(heads, None))]], head)
    half, dtype = cos.shape[1], x.dtype
    c, s = (_angles(t.detach(), positions, x.shape[time], layout) for t in (cos, sin))
    s = neg(s) if inverse else s
    wide = cast(x[..., : 2 * half], cos.dtype)
    pairs = reshape(wide, (*x.shape[:-1], half, 2) if interleaved else (*x.shape[:-1], 2, half))
    a, b = (pairs[..., 0], pairs[..., 1]) if interleaved else (pairs[..., 0, :], pairs[..., 1, :])
    if head < 0:
        c, s = (reshape(t, t.shape[-2:]) for t in (c, s))
    found = [sub(mul(a, c), mul(b, s)), add(mul(b, c), mul(a, s))]
    turned = cast(reshape(stack(found, -1 if interleaved else -2), wide.shape), dtype)
    return concat([turned, x[..., 2 * half :]], x.ndim - 1)


@rotary_embedding.reference
def _(
    x: Any, cos: Any, sin: Any, positions: Any, interleaved: bool, layout: str, heads: int | None, inverse: bool
) -> Any:  # fmt: skip
    whole = x if layout == "BTHD" else np.swapaxes(x, -2, -3) if x.ndim > 2 else x[..., None, :]  # (..., T, H, D)
    places = np.arange(whole.shape[-3]) + (0 if positions is None else positions)
    places = places if positions is None or positions.ndim == 0 else positions.astype(np.int64)
    turn = (cos + 1j * sin)[places][..., None, :]
    turn = np.conj(turn) if inverse else turn
    half, out = cos.shape[1], np.array(whole)
    first = slice(0, 2 * half, 2) if interleaved else slice(half)
    second = slice(1, 2 * half, 2) if interleaved else slice(half, 2 * half)
    found = (whole[..., :heads, first] + 1j * whole[..., :heads, second]) * turn
    out[..., :heads, first], out[..., :heads, second] = found.real, found.imag
    return out if layout == "BTHD" else np.swapaxes(out, -2, -3) if x.ndim > 2 else out[..., 0, :]


@rotary_embedding.magnitude
def _(x: Any, cos: Any, interleaved: bool) -> Any:
    """The sum of both sizes of a pair: no entry of the tables is above 1."""
    half, size = cos.shape[1], np.abs(x)
    turned = size[..., : 2 * half]
    pairs = turned.reshape(*x.shape[:-1], *((half, 2) if interleaved else (2, half)))
    both = np.broadcast_to(pairs.sum(-1 if interleaved else -2, keepdims=True), pairs.shape).reshape(turned.shape)
    return np.concatenate([both, size[..., 2 * half :]], -1)


@rotary_embedding.restrict
def _(operands: list[Any], largest: float) -> None:
    """No product of an element is infinite or a subnormal number."""
    operands[0] = without_tiny(limited(operands[0], largest**0.5), largest)
    for k in (1, 2):
        operands[k] = without_tiny(np.clip(operands[k], -1, 1), largest)


def _tables(rows: int, half: int) -> tuple[Input, Input]:
    """In float32 whatever the dtype of x: no gradient goes to them."""
    table = Input((rows, half), -1.0, 1.0, float32)
    return table, table


@rotary_embedding.samples
def _() -> Iterator[Sample]:
    yield Sample((2, 3, 5, 8), *_tables(5, 4), None, why="halves")
    yield Sample((2, 5, 3, 8), *_tables(7, 4), None, interleaved=True, layout="BTHD", why="pairs, heads behind")
    yield Sample((3, 5, 11), *_tables(9, 3), np.array(4), why="from a position on, 5 features stay")
    yield Sample((2, 3, 4, 7), *_tables(6, 3), Input((2, 4), 0, 6, int32), interleaved=True, why="positions of each")
    yield Sample((2, 2, 4, 3, 6), *_tables(6, 3), Input((4,), 0, 6, int64), layout="BTHD", why="positions of all")
    yield Sample((2, 3, 6, 10), *_tables(4, 4), None, layout="BTHD", heads=4, why="a packed q, k, v")
    yield Sample((2, 5, 3, 8), *_tables(3, 4), None, heads=3, inverse=True, why="some heads, the other way round")
    yield Sample((6, 4), *_tables(6, 2), None, why="no heads")
    yield Sample((4, 8, 66, 64), *_tables(70, 32), np.array(3, np.int32), why="several threads", grad=False)
    yield Sample((2, 0, 5, 8), *_tables(5, 4), None, why="no rows")
    yield Sample((2, 3, 0, 8), *_tables(5, 4), Input((2, 0), 0, 5, int64), why="no positions")
    yield Sample((2, 3, 4), *_tables(5, 0), None, why="nothing turns")


@rotary_embedding.error_inputs
def _() -> Iterator[ErrorInput]:
    x, table, name = np.zeros((2, 3, 4, 6)), np.zeros((4, 3)), "rotary_embedding"
    text = f"{name}: x of shape (6,) has no 2 axes, as layout 'BHTD' needs"
    yield ErrorInput(ShapeError, text, np.zeros(6), table, table)
    text = f"{name}: cos has shape (4, 3), sin (4, 2): both are to be (P, R / 2)"
    yield ErrorInput(ShapeError, text, x, table, np.zeros((4, 2)))
    text = f"{name}: tables for 8 features, x of shape (2, 3, 4, 6) has 6"
    yield ErrorInput(ShapeError, text, x, np.zeros((4, 4)), np.zeros((4, 4)))
    text = f"{name}: 4 positions, the tables have 3 rows"
    yield ErrorInput(ShapeError, text, x, np.zeros((3, 3)), np.zeros((3, 3)))
    text = f"{name}: positions have shape (3,), for x of shape (2, 3, 4, 6) and layout 'BHTD' they end in (2, 4)"
    yield ErrorInput(ShapeError, text, x, table, table, np.zeros(3, np.int64))
    text = f"{name}: positions are of dtype float64, not integers"
    yield ErrorInput(DTypeError, text, x, table, table, np.zeros(4))
    text = f"{name}: x (4, 6) is of int64; it must be of a floating dtype: x.float()"
    yield ErrorInput(DTypeError, text, np.zeros((4, 6), np.int64), table, table)
    text = f"{name}: 4 heads of x of shape (2, 3, 4, 6) and layout 'BHTD'"
    yield ErrorInput(ShapeError, text, x, table, table, heads=4)
    text = f"{name}: index 5 at position 6 is out of range for tables of 4 rows"
    places = np.array([[0, 1, 2, 3], [3, 2, 5, -1]])
    yield ErrorInput(IndexError, text, x, table, table, places)
    text = f"{name}: index 4 is out of range for tables of 4 rows"
    yield ErrorInput(IndexError, text, x, table, table, np.array(1))


@rotary_embedding.workloads
def _() -> Iterator[Workload]:
    yield Workload(((16, 4, 64, 32), *_tables(64, 16), None), (), "a small transformer")
    yield Workload(((4, 8, 512, 64), *_tables(512, 32), None), (), "512 positions")
    yield on_gpu(((8, 32, 4096, 128), *_tables(4096, 64), None), (), (bfloat16,))
