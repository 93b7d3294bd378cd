"""Builders of elementwise rows: what `unary` and `binary` fill in is the same for all of them.

The kernel is ``<family>:<name>``, operands are promoted to a common dtype and broadcast, and the samples cover sizes
that are no multiple of a vector, broadcasting, 0-d and empty operands, more than one thread's share, special values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from dlcore.dtypes import INTEGERS, DType
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Op, Promotion, Sample, Spec, Wrong, widest
from dlcore.ops._shape import broadcast_shapes
from dlcore.ops._sizes import library, pointwise

__all__ = ["ANY", "FLOAT", "NUMBER", "binary", "broadcast_cost", "broadcast_infer", "specials", "unary"]

FLOAT: tuple[str, ...] = ("float",)
NUMBER: tuple[str, ...] = ("float", "int", "uint")
ANY: tuple[str, ...] = (*NUMBER, "bool")

Draw = Callable[[Any, tuple[int, ...]], np.ndarray[Any, Any]]

SHAPES = (
    ((33, 65), "no multiple of a vector"),
    ((), "0-d"),
    ((0, 3), "empty"),
)
PAIRS = (
    ((4, 1, 5), (3, 1), "broadcast both ways"),
    ((33, 65), (65,), "broadcast rows"),
    ((5, 700), (5, 1), "broadcast columns, more than a block"),
    ((), (7,), "0-d with a vector"),
    ((0, 3), (1, 3), "empty"),
)
LARGE = (2, 33001)  # more than one thread's share


def specials(*more: float) -> np.ndarray[Any, Any]:
    """NaN, infinities, zeros of both signs, and ``more``."""
    return np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, *more])


def normal(rng: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Standard normal numbers."""
    return np.asarray(rng.standard_normal(shape))


def _ends(dtype: DType) -> np.ndarray[Any, Any]:
    limits = np.iinfo(dtype.numpy)
    return np.array([limits.min, limits.max, 0, 1, 2, 3, limits.max // 2], dtype.numpy)


def check_dtype(name: str, kinds: Sequence[str], *specs: Spec) -> None:
    """Raises DTypeError, e.g. ``sub: does not take bool``, unless every kind is among ``kinds``."""
    for spec in specs:
        if spec.dtype.kind not in kinds:
            raise DTypeError(f"{name}: does not take {spec.dtype.name}")


def broadcast_infer(name: str, kinds: Sequence[str], result: DType | None) -> Callable[..., Spec]:
    """An `infer` for operands of one dtype: the broadcast shape, in ``result`` or in their dtype."""

    def infer(*specs_and_attrs: Any) -> Spec:
        specs = [s for s in specs_and_attrs if isinstance(s, Spec)]
        check_dtype(name, kinds, *specs)
        return Spec(broadcast_shapes(name, *(s.shape for s in specs)), result or specs[0].dtype)

    return infer


def broadcast_cost(flops: float, result: DType | None) -> Callable[..., tuple[float, float]]:
    """A `cost`: ``flops`` an element of the result; every operand read and the result written once."""

    def cost(*specs_and_attrs: Any) -> tuple[float, float]:
        specs = [s for s in specs_and_attrs if isinstance(s, Spec)]
        size = math.prod(broadcast_shapes("cost", *(s.shape for s in specs)))
        moved = sum(math.prod(s.shape) * s.dtype.itemsize for s in specs)
        return flops * size, moved + size * (result or specs[0].dtype).itemsize

    return cost


def _common(name: str, family: str, kinds: Sequence[str], result: DType | None, flops: float) -> dict[str, Any]:
    """The fields that a row may have otherwise, as they mostly are."""
    return {
        "kernels": {"cpu": f"{family}:{name}", "cuda": f"{family}.rows:{name}"},
        "infer": broadcast_infer(name, kinds, result),
        "cost": broadcast_cost(flops, result),
    }


def unary(
    name: str,
    doc: str,
    *,
    ref: Callable[..., Any],
    family: str = "elementwise",
    kinds: Sequence[str] = FLOAT,
    promote: Promotion | None = widest,
    result: DType | None = None,
    flops: float = 1,
    draw: Draw = normal,
    special: Sequence[float] = (),
    large: tuple[int, ...] = LARGE,
    domain: tuple[float, float] | None = None,
    more: Callable[[Any], Iterator[Sample]] | None = None,
    wrong: Sequence[Wrong] = (),
    **fields: Any,
) -> Op:
    """A row of one operand `x`.

    ``kinds``: the kinds of dtype it takes. ``result``: the output's dtype where it is not the operand's. ``draw``:
    random arguments at which it is differentiable. ``special``: values to test beside NaN, infinities and zeros.
    ``large``: a shape for several threads. ``domain``: where timed operands are drawn from; default: standard normal.
    ``more``, ``wrong``: further samples and wrong inputs. The other fields are those of `Op`.
    """

    def samples(rng: Any) -> Iterator[Sample]:
        for shape, why in SHAPES:
            yield Sample((np.asarray(draw(rng, shape)),), why=why)
        yield Sample((draw(rng, large),), why="several threads", grad=False)
        if "float" in kinds:
            yield Sample((specials(*special),), why="special values", grad=False)
        if "int" in kinds:
            for dtype in INTEGERS:
                yield Sample((_ends(dtype),), why=f"{dtype.name}, wrapping", grad=False)
        if more:
            yield from more(rng)

    def errors() -> Iterator[Wrong]:
        if "bool" not in kinds and promote is widest:
            yield Wrong((np.array([True]),), (), DTypeError, f"{name}: does not take bool")
        yield from wrong

    common = _common(name, family, kinds, result, flops)
    common |= {"sizes": pointwise(1, *(domain or ())), "peers": library(name)}
    return Op(
        name=name, doc=doc, inputs="x", promote=promote, ref=ref, samples=samples, errors=errors,
        **(common | fields),
    )  # fmt: skip


def binary(
    name: str,
    doc: str,
    *,
    ref: Callable[..., Any],
    family: str = "elementwise",
    inputs: str = "a b",
    kinds: Sequence[str] = NUMBER,
    promote: Promotion | None = widest,
    result: DType | None = None,
    flops: float = 1,
    draw: Draw = normal,
    special: Sequence[float] = (),
    grad: bool = True,
    large: tuple[int, ...] = LARGE,
    domain: tuple[float, float] | None = None,
    more: Callable[[Any], Iterator[Sample]] | None = None,
    wrong: Sequence[Wrong] = (),
    **fields: Any,
) -> Op:
    """A row of two operands that broadcast. Arguments as in `unary`; ``grad``: whether to check gradients."""

    def samples(rng: Any) -> Iterator[Sample]:
        pairs = (*((shape, shape, why) for shape, why in SHAPES), *PAIRS)
        for first, second, why in pairs:
            yield Sample((np.asarray(draw(rng, first)), np.asarray(draw(rng, second))), why=why, grad=grad)
        yield Sample((draw(rng, large), draw(rng, large)), why="several threads", grad=False)
        if "float" in kinds:
            values = specials(1.0, -1.5, *special)
            yield Sample((values[:, None], values), why="special values", grad=False)
        if "int" in kinds:
            for dtype in INTEGERS:
                yield Sample((_ends(dtype)[:, None], _ends(dtype)), why=f"{dtype.name}, wrapping", grad=False)
        if "bool" in kinds:
            truth = np.array([False, True])
            yield Sample((truth[:, None], truth), why="bool", grad=False)
        if more:
            yield from more(rng)

    def errors() -> Iterator[Wrong]:
        for first, second in (((3,), (4,)), ((2, 1, 3), (2, 2))):
            dtype = np.float32 if "float" in kinds else np.bool_
            text = f"{name}: shapes do not broadcast: {first} and {second}"
            yield Wrong((np.ones(first, dtype), np.ones(second, dtype)), (), ShapeError, text)
        if "bool" not in kinds and promote is widest:
            yield Wrong((np.array([True]), np.array([True])), (), DTypeError, f"{name}: does not take bool")
        yield from wrong

    common = _common(name, family, kinds, result, flops)
    common |= {"sizes": pointwise(2, *(domain or ())), "peers": library(name, inputs)}
    return Op(
        name=name, doc=doc, inputs=inputs, promote=promote, ref=ref, samples=samples, errors=errors,
        **(common | fields),
    )  # fmt: skip
