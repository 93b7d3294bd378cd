"""Arrays made of pieces of another along each axis, or with a number around it: what rolling and padding are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np

from dlcore import _C
from dlcore._arguments import integer, items, shown
from dlcore.dtypes import DTYPES
from dlcore.errors import ShapeError
from dlcore.op import ErrorInput, Kind, Op, Sample, Shape, Spec, Workload, as_given
from dlcore.ops._workloads import RAGGED, bytes_of
from dlcore.ops.elementwise import add
from dlcore.ops.movement import concat, expand
from dlcore.ops.reduce import sum as sum_
from dlcore.ops.slicing import assign, slice_assign, slice_backward, value_like_first
from dlcore.ops.slicing import slice as slice_view

__all__ = ["Piece", "pad_constant", "rearrange"]

Piece = tuple[int, int, int]
"""(start, length, step): places along an axis; step 0: one place again and again."""
Pieces = tuple[tuple[Piece, ...], ...]


class _Nested(Kind):
    """Integers in nested tuples; ``sizes``: how many each level has, None for any number."""

    hint = "Any"

    def __init__(self, what: str, *sizes: int | None):
        self.what, self.sizes = what, sizes

    def accept(self, value: Any, where: str) -> Any:
        def level(part: Any, sizes: Sequence[int | None]) -> Any:
            if not sizes:
                found = integer(part, where)
                if abs(found) >= 2**63:
                    raise OverflowError(f"{where} {shown(found)} does not fit in int64")
                return found
            several = items(part)
            if several is None or sizes[0] not in (None, len(several)):
                raise TypeError(f"{where} {shown(value)} is not {self.what}")
            return tuple([level(one, sizes[1:]) for one in several])

        return level(value, self.sizes)

    def wrong(self, where: str, given: Any) -> tuple[Any, type[Exception], str]:
        return 3, TypeError, f"{where} 3 is not {self.what}"


PiecesOfX = Annotated[Any, _Nested("a tuple of pieces (start, length, step) for each axis", None, None, 3)]
WidthsOfX = Annotated[Any, _Nested("a pair (before, after) for each axis", None, 2)]


def _check(name: str, shape: tuple[int, ...], pieces: Pieces) -> tuple[int, ...]:
    """The shape that the pieces make. Raises ShapeError where they leave an axis."""
    if len(pieces) != len(shape):
        raise ShapeError(f"{name}: pieces for {len(pieces)} axes of shape {shape}")
    for n, along in zip(shape, pieces, strict=True):
        for start, length, step in along:
            inside = 0 <= start < n and 0 <= start + (length - 1) * step < n
            if length < 0 or (length and not inside):
                raise ShapeError(f"{name}: the piece {(start, length, step)} leaves an axis of length {n}")
    return tuple(sum(length for _, length, _ in along) for along in pieces)


def _params(pieces: Pieces) -> list[int]:
    return [n for along in pieces for n in (len(along), *(v for piece in along for v in piece))]


def _maps(pieces: Pieces) -> list[Any]:
    return [np.concatenate([np.zeros(0, int), *(s + d * np.arange(n) for s, n, d in along)]) for along in pieces]


def _examples(call: Any) -> Any:
    """All examples at once (see dlcore/ops/_batching.py): nothing is moved along their axis."""
    if not call.is_batched[0] or any(call.is_batched[1:]):
        return NotImplemented
    whole = {"pieces": ((0, call.size, 1),), "widths": (0, 0), "shape": call.size}
    names = call.op.attribute_names
    return call.run(call.values, [(whole[name], *value) for name, value in zip(names, call.attrs, strict=True)])


class Rearranged(Op):
    """What is moved by pieces."""

    family = "movement"
    promote = staticmethod(as_given)
    batch = staticmethod(_examples)

    def family_kernels(self) -> dict[str, Any]:
        """On a GPU parts are joined."""
        return {"cpu": f"movement:{self.name}", "cuda": []}

    def family_workloads(self) -> Iterator[Workload]:
        n, m = RAGGED
        rolled = (((5, n - 5, 1), (0, 5, 1)), ((m - 2, 2, 1), (0, m - 2, 1)))
        first = self.name == "rearrange"
        yield Workload((RAGGED,), (rolled,) if first else (RAGGED, rolled), "rolled along two axes")


_PIECES: list[tuple[tuple[int, ...], Pieces, str]] = [
    ((5, 7), (((3, 2, 1), (0, 3, 1)), ((0, 7, 1),)), "rolled"),
    ((4, 9), (((0, 2, 0), (0, 4, 1), (3, 3, 0)), ((2, 2, -1), (0, 9, 1), (7, 3, -1))), "repeated and mirrored"),
    ((2, 3, 40), (((0, 2, 1),), ((1, 1, 1),), ((38, 2, 1), (0, 40, 1), (0, 17, 2))), "wrapped"),
    ((3, 4), (((0, 3, 1),), ((0, 0, 1),)), "nothing"),
    ((), (), "0-d"),
]


def _joined(x: Any, pieces: Pieces) -> Any:
    for axis, along in enumerate(pieces):
        if along != ((0, x.shape[axis], 1),):
            x = concat([_piece(x, axis, piece) for piece in along], axis)
    return x


def _piece(x: Any, axis: int, piece: Piece) -> Any:
    start, length, step = piece
    before = tuple((0, n, 1) for n in x.shape[:axis])
    if step or not length:
        return slice_view(x, (*before, (start if length else 0, length, step or 1)))
    return expand(slice_view(x, (*before, (start, 1, 1))), (*x.shape[:axis], length, *x.shape[axis + 1 :]))


@Rearranged.definition(
    composite=_joined, dtypes=DTYPES,
    gradient=lambda dout, x_shape, pieces: rearrange_backward(dout, x_shape, pieces),
    reference=lambda x, pieces: x[np.ix_(*_maps(pieces))] if x.ndim else x, params=_params,
    cost=lambda x, pieces: (0.0, 2 * bytes_of(Spec(_check("rearrange", x.shape, pieces), x.dtype))),
    samples=[Sample(shape, pieces=pieces, why=why) for shape, pieces, why in _PIECES],
    error_inputs=[
        ErrorInput(ShapeError, "rearrange: the piece (1, 3, 1) leaves an axis of length 3", np.zeros(3),
                   pieces=(((1, 3, 1),),)),
        ErrorInput(ShapeError, "rearrange: pieces for 1 axes of shape (2, 3)", np.zeros((2, 3)),
                   pieces=(((0, 2, 1),),)),
    ],
    baselines={"torch": "torch.roll(x, (-5, 2), (0, 1))", "numpy": "np.roll(x, (-5, 2), (0, 1))"},
)  # fmt: skip
def rearrange(x: Spec, pieces: PiecesOfX) -> Spec:
    """What is made of pieces of `x` along each axis, one after another.

    `pieces`: for each axis a tuple of (start, length, step): places along it; step 0 is one place again and again.
    Raises ShapeError where a piece leaves its axis.
    """
    return Spec(_check("rearrange", x.shape, pieces), x.dtype)


def _spread(dout: Any, shape: tuple[int, ...], pieces: Pieces) -> Any:
    for axis in range(len(shape) - 1, -1, -1):
        along, whole = pieces[axis], (*dout.shape[:axis], shape[axis], *dout.shape[axis + 1 :])
        if along == ((0, shape[axis], 1),):
            continue
        found, at, before = None, 0, tuple((0, n, 1) for n in dout.shape[:axis])
        for start, length, step in along:
            part = slice_view(dout, (*before, (at, length, 1)))
            at += length
            if not step:
                part, length, step = sum_(part, axis, True), 1, 1
            one = slice_backward(part, whole, (*before, (start if length else 0, length, step)))
            found = one if found is None else add(found, one)
        dout = assign.inplace(_C.empty(whole, dout.dtype, dout.device.code), 0) if found is None else found
    return dout


@Rearranged.definition(
    composite=_spread, outputs="dx", kinds=("float",), params=lambda pieces: _params(pieces), ulp=4,
    gradient=lambda ddx, pieces: rearrange(ddx, pieces),
    magnitude=lambda dout, shape, pieces: _numpy_spread(np.abs(dout), shape, pieces),
    reference=lambda dout, shape, pieces: _numpy_spread(dout, shape, pieces),
    cost=lambda dout, shape: (float(math.prod(dout.shape)), bytes_of(dout, Spec(shape, dout.dtype))),
    samples=[
        Sample(tuple(sum(p[1] for p in along) for along in pieces), shape=shape, pieces=pieces, why=why)
        for shape, pieces, why in _PIECES
    ],
    error_inputs=[
        ErrorInput(ShapeError, "rearrange_backward: dout has shape (3,), not (2,)", np.zeros(3), shape=(4,),
                   pieces=(((1, 2, 1),),)),
    ],
    baselines={"torch": "torch.roll(dout, (5, -2), (0, 1))", "numpy": "np.roll(dout, (5, -2), (0, 1))"},
)  # fmt: skip
def rearrange_backward(dout: Spec, shape: Shape, pieces: PiecesOfX) -> Spec:
    """The gradient of `rearrange`: zeros of `shape`, to which each element of `dout` is added where it was taken.

    Sums are in float32 or wider, in the order of the pieces.
    """
    if dout.shape != (made := _check("rearrange_backward", shape, pieces)):
        raise ShapeError(f"rearrange_backward: dout has shape {dout.shape}, not {made}")
    return Spec(shape, dout.dtype)


def _numpy_spread(dout: Any, shape: Shape, pieces: Pieces) -> Any:
    dx = np.zeros(shape)
    if shape:
        np.add.at(dx, np.ix_(*_maps(pieces)), dout)
    return dx if shape else dout


# ---- a number around ----------------------------------------------------------------------------------------------


def _around(x: Any, value: Any, widths: Sequence[tuple[int, int]]) -> Any:
    shape = tuple(n + b + a for n, (b, a) in zip(x.shape, widths, strict=True))
    filled = assign.inplace(_C.empty(shape, x.dtype, x.device.code), value)
    return slice_assign(filled, x, tuple((b, n, 1) for n, (b, _) in zip(x.shape, widths, strict=True)))


@Rearranged.definition(
    composite=_around, promote=value_like_first, dtypes=DTYPES, params=lambda widths: [b for b, _ in widths],
    gradient=lambda dout, x_shape, widths: slice_view(
        dout, tuple((b, n, 1) for n, (b, _) in zip(x_shape, widths, strict=True))
    ),
    reference=lambda x, value, widths: np.pad(x, widths, constant_values=value) if x.ndim else x,
    cost=lambda x, widths: (
        0.0, bytes_of(x) + x.dtype.itemsize * math.prod(n + b + a for n, (b, a) in zip(x.shape, widths, strict=True))
    ),
    samples=[
        Sample((5, 7), 0, widths=((1, 2), (0, 3)), why="zeros"), Sample((2, 3, 4), 1, widths=((0, 0), (2, 0), (1, 1))),
        Sample((0, 3), 1, widths=((2, 1), (1, 0)), why="around nothing"), Sample((), 0, widths=(), why="0-d"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "pad_constant: widths of 1 axes for shape (2, 3)", np.zeros((2, 3)), 0,
                   widths=((1, 1),)),
        ErrorInput(ShapeError, "pad_constant: widths ((1, -1),) are not all at least 0", np.zeros(3), 0,
                   widths=((1, -1),)),
        ErrorInput(ShapeError, "pad_constant: value has shape (1,); it is one number", np.zeros(3), np.zeros(1),
                   widths=((1, 1),)),
    ],
    workloads=[Workload((RAGGED, 0), (((3, 3), (3, 3)),), "ragged"), Workload(((8,), 0), (((2, 2),),), "8")],
    baselines={
        "numpy": "np.pad(x, widths, constant_values=value)",
        "torch": "F.pad(x, [n for pair in reversed(widths) for n in pair], value=float(value))",
    },
)  # fmt: skip
def pad_constant(x: Spec, value: Spec, widths: WidthsOfX) -> Spec:
    """`x` with `value`, a number or 0-d tensor, around it: `widths` has a pair (before, after) for each axis."""
    if len(widths) != len(x.shape):
        raise ShapeError(f"pad_constant: widths of {len(widths)} axes for shape {x.shape}")
    if any(w < 0 for pair in widths for w in pair):
        raise ShapeError(f"pad_constant: widths {widths} are not all at least 0")
    if value.shape:
        raise ShapeError(f"pad_constant: value has shape {value.shape}; it is one number")
    return Spec(tuple(n + b + a for n, (b, a) in zip(x.shape, widths, strict=True)), x.dtype)
