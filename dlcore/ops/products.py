"""Products of vectors, matrices and more: dot, inner, outer, tensordot and the like, all of them matmul or mul.

Those that are one product of matrices have matmul's kernels; the others are contractions (see `contraction`): views,
one batched product, a view. Sums run in float32 or wider, as matmul's do, and integers wrap around.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any

import numpy as np

from dlcore._arguments import MAX_AXES, axis_of, integer, integers, items, shown
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Op, Sample, Spec, Workload
from dlcore.op.signature import Kind
from dlcore.ops._domains import without_tiny
from dlcore.ops._pointwise import NUMBER, check_dtype
from dlcore.ops._workloads import MILLION, bytes_of, library
from dlcore.ops.contraction import contract
from dlcore.ops.elementwise import add, mul
from dlcore.ops.matmul import matmul
from dlcore.ops.movement import concat, expand, flatten, reshape, stack, transpose
from dlcore.ops.reduce import sum as total
from dlcore.ops.slicing import slice as slice_of
from dlcore.ops.vectors import vecdot

__all__ = ["bmm", "dot", "inner", "kron", "mm", "mv", "outer", "tensordot", "vdot"]

Lengths = tuple[int, ...]
Labels = tuple[str, ...]

# ---- the family -----------------------------------------------------------------------------------------------------


def _names(letter: str, n: int) -> Labels:
    return tuple(f"{letter}{k}" for k in range(n))


class Contraction(Op):
    """The sums of the products of two operands over axes that they share.

    ``names`` says, of their numbers of axes and the attributes, which axes those are: names for the axes of both
    operands and of the result, as in an equation of einsum.
    """

    cast = "low"
    batching = "composite"
    ulp = 8  # a chain of roundings, which of equal terms all go the same way
    names: Callable[..., tuple[Labels, Labels, Labels]] = staticmethod(lambda a, b: ((), (), ()))

    def result(self, a: Spec, b: Spec, *attrs: Any) -> Spec:
        """The result's shape; raises ShapeError where lengths differ."""
        check_dtype(self.name, NUMBER, a, b)
        of_a, of_b, out = self.names(len(a.shape), len(b.shape), *attrs)
        sizes = dict(zip(of_a, a.shape, strict=True))
        for label, n in zip(of_b, b.shape, strict=True):
            if sizes.setdefault(label, n) != n:
                raise ShapeError(f"{self.name}: lengths differ: {sizes[label]} and {n} in {a.shape} and {b.shape}")
        return Spec(tuple(sizes[k] for k in out), a.dtype)

    def infer(self, a: Spec, b: Spec, *attrs: Any) -> Spec:
        """What the rule says, or else that of the family."""
        found: Spec | None = self.rule(a, b, *attrs)
        return found or self.result(a, b, *attrs)

    def composite(self, *given: Any) -> Any:
        """The contraction."""
        a, b, *attrs = given
        return contract((a, b), *_labels(self.names, a.ndim, b.ndim, *attrs))

    def cost(self, a: Spec, b: Spec, *attrs: Any) -> tuple[float, float]:
        """A multiplication and an addition for each pair of elements that meet."""
        of_a, of_b, out = self.names(len(a.shape), len(b.shape), *attrs)
        sizes = dict(zip((*of_a, *of_b), (*a.shape, *b.shape), strict=True))
        made = math.prod(sizes[k] for k in out) * a.dtype.itemsize
        return 2.0 * math.prod(sizes.values()), bytes_of(a, b) + made

    def magnitude(self, *given: Any) -> Any:
        """The sums of absolute products."""
        a, b, *attrs = given
        return self.reference(np.abs(a), np.abs(b), *attrs)  # type: ignore[misc]

    def restrict(self, operands: list[Any], largest: float) -> None:
        """As for matmul; and terms are not all equal, for then all roundings of a chain go the same way."""
        operands[:2] = [_varied(without_tiny(x, largest)) for x in operands[:2]]


def _varied(x: Any) -> Any:
    """Factors from 1 to 1.1 in turn."""
    if np.asarray(x).dtype.kind != "f":
        return x
    return x / (1 + np.arange(np.size(x)).reshape(np.shape(x)) % 7 / 64)


@lru_cache(1024)
def _labels(names: Callable[..., Any], *given: Any) -> tuple[tuple[Labels, Labels], Labels]:
    of_a, of_b, out = names(*given)
    return (of_a, of_b), out


contraction = Contraction.definition
_PLAIN: Mapping[str, Any] = {"cpu": "matmul:matmul", "cuda": "matmul.plan:matmul"}


def _strict(a: str, b: str, out: str) -> Callable[..., tuple[Labels, Labels, Labels]]:
    """``names`` of operands with as many axes as there are letters."""
    return lambda a_axes, b_axes: (tuple(a), tuple(b), tuple(out))


def _check_axes(name: str, shapes: str, a: Spec, b: Spec, a_axes: int, b_axes: int) -> None:
    if len(a.shape) != a_axes or len(b.shape) != b_axes:
        raise ShapeError(f"{name}: takes {shapes}, not {a.shape} and {b.shape}")


# ---- matrices and vectors -------------------------------------------------------------------------------------------


@contraction(
    kernels=_PLAIN, names=_strict("mk", "k", "m"), reference=np.matmul, methods=True,
    baselines=library("mv", "a b", numpy="np.matmul", jax="jnp.matmul"),
    gradient={"a": lambda dout, b: outer(dout, b), "b": lambda dout, a: mv(transpose(a), dout)},
    samples=[Sample((33, 17), (17,), why="a matrix, a vector"), Sample((0, 3), (3,), why="no rows"),
             Sample((4, 0), (0,), why="empty sum")],
    error_inputs=[
        ErrorInput(ShapeError, "mv: takes a (M, K) and b (K,), not (3,) and (3,)", np.zeros(3), np.zeros(3)),
        ErrorInput(ShapeError, "mv: lengths differ: 3 and 4 in (2, 3) and (4,)", np.zeros((2, 3)), np.zeros(4)),
    ],
    workloads=[Workload(((8, 8), (8,)), (), "dispatch"), Workload(((1024, 1024), (1024,)), (), "1M")],
)  # fmt: skip
def mv(a: Spec, b: Spec) -> None:
    """The product of a matrix `a` (M, K) and a vector `b` (K,): (M,). `matmul` without its rules for other shapes.

    Raises ShapeError for other numbers of axes, or where inner lengths differ.

    >>> dl.mv(dl.tensor([[1.0, 2.0], [3.0, 4.0]]), dl.tensor([1.0, 1.0]))
    tensor([3., 7.])
    """
    _check_axes("mv", "a (M, K) and b (K,)", a, b, 2, 1)


@contraction(
    kernels=_PLAIN, names=_strict("mk", "kn", "mn"), reference=np.matmul, methods=True,
    baselines=library("mm", "a b", numpy="np.matmul", jax="jnp.matmul"),
    gradient={"a": lambda dout, b: mm(dout, transpose(b)), "b": lambda dout, a: mm(transpose(a), dout)},
    samples=[Sample((33, 17), (17, 9), why="no multiple of a tile"), Sample((0, 3), (3, 2), why="no rows")],
    error_inputs=[
        ErrorInput(ShapeError, "mm: takes a (M, K) and b (K, N), not (2, 3) and (3,)", np.zeros((2, 3)), np.zeros(3)),
        ErrorInput(ShapeError, "mm: lengths differ: 3 and 4 in (2, 3) and (4, 2)", np.zeros((2, 3)), np.zeros((4, 2))),
    ],
    workloads=[Workload(((8, 8), (8, 8)), (), "dispatch"), Workload(((512, 512), (512, 512)), (), "square")],
)  # fmt: skip
def mm(a: Spec, b: Spec) -> None:
    """The product of two matrices, `a` (M, K) and `b` (K, N): (M, N). `matmul` without its rules for other shapes.

    Raises ShapeError for other numbers of axes, or where inner lengths differ.

    >>> dl.mm(dl.tensor([[1.0, 2.0]]), dl.tensor([[3.0], [4.0]]))
    tensor([[11.]])
    """
    _check_axes("mm", "a (M, K) and b (K, N)", a, b, 2, 2)


@contraction(
    kernels=_PLAIN, names=_strict("bmk", "bkn", "bmn"), reference=np.matmul, methods=True,
    baselines=library("bmm", "a b", numpy="np.matmul", jax="jnp.matmul"),
    gradient={"a": lambda dout, b: bmm(dout, transpose(b)), "b": lambda dout, a: bmm(transpose(a), dout)},
    samples=[Sample((3, 9, 17), (3, 17, 5), why="a batch"), Sample((0, 2, 3), (0, 3, 2), why="empty batch"),
             Sample((2, 3, 0), (2, 0, 2), why="empty sum")],
    error_inputs=[
        ErrorInput(ShapeError, "bmm: takes a (B, M, K) and b (B, K, N), not (2, 3) and (2, 3, 1)",
                   np.zeros((2, 3)), np.zeros((2, 3, 1))),
        ErrorInput(ShapeError, "bmm: lengths differ: 2 and 3 in (2, 3, 4) and (3, 4, 2)",
                   np.zeros((2, 3, 4)), np.zeros((3, 4, 2))),
    ],
    workloads=[Workload(((8, 8, 8), (8, 8, 8)), (), "small"), Workload(((64, 128, 64), (64, 64, 128)), (), "a batch")],
)  # fmt: skip
def bmm(a: Spec, b: Spec) -> None:
    """The products of matrices of two batches, `a` (B, M, K) and `b` (B, K, N): (B, M, N); nothing broadcasts.

    Raises ShapeError for other numbers of axes, or where batches or inner lengths differ.

    >>> dl.bmm(dl.ones(2, 1, 3), dl.ones(2, 3, 1)).shape
    (2, 1, 1)
    """
    _check_axes("bmm", "a (B, M, K) and b (B, K, N)", a, b, 3, 3)


def _dot_names(a_axes: int, b_axes: int) -> tuple[Labels, Labels, Labels]:
    a, b = _names("a", a_axes), _names("b", b_axes)
    if not (a and b):
        return a, b, (*a, *b)
    inner = max(b_axes - 2, 0)
    b = (*b[:inner], a[-1], *b[inner + 1 :])
    return a, b, (*a[:-1], *(k for k in b if k != a[-1]))


def _as_product(a: Any, b: Any) -> bool:
    """Whether it is what matmul computes."""
    return len(a.shape) > 0 < len(b.shape) <= 2


def _multiplied(function: Any, a: Any, b: Any) -> Any:
    """NumPy's function; of an operand without axes it does not see 0 times infinity."""
    return function(a, b) if np.ndim(a) and np.ndim(b) else np.multiply(a, b)


def _of_vectors(a: Any, b: Any) -> bool:
    """Whether vecdot computes it."""
    return len(a.shape) == 1 == len(b.shape)


def _dot_to_a(dout: Any, b: Any, a_shape: Lengths) -> Any:
    (of_a, of_b), out = _labels(_dot_names, len(a_shape), b.ndim)
    return contract((dout, b), (out, of_b), of_a)


def _dot_to_b(dout: Any, a: Any, b_shape: Lengths) -> Any:
    (of_a, of_b), out = _labels(_dot_names, a.ndim, len(b_shape))
    return contract((dout, a), (out, of_a), of_b)


@contraction(
    kernels={"cpu": [("products:vecdot", _of_vectors), ("matmul:matmul", _as_product)],
             "cuda": [("matmul.plan:matmul", _as_product)]},
    params=lambda: (-1,), names=_dot_names, reference=lambda a, b: _multiplied(np.dot, a, b), methods=True,
    gradient={"a": _dot_to_a, "b": _dot_to_b},
    baselines={"numpy": "np.dot(a, b)", "torch": "torch.matmul(a, b)", "jax": "jnp.dot(a, b)"},
    samples=[
        Sample((17,), (17,), why="vectors"), Sample((9, 17), (17, 5), why="matrices"), Sample((), (3, 4), why="0-d"),
        Sample((2, 3, 5), (5,), why="more axes on the left"), Sample((4, 5), (2, 5, 3), why="more axes on the right"),
        Sample((2, 3), np.float64(2.5), why="a number"), Sample((0,), (0,), why="empty sum"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "dot: lengths differ: 3 and 2 in (3,) and (2,)", np.zeros(3), np.zeros(2)),
        ErrorInput(ShapeError, "dot: lengths differ: 3 and 2 in (2, 3) and (2, 3)", np.zeros((2, 3)), np.zeros((2, 3))),
    ],
    workloads=[Workload(((8,), (8,)), (), "dispatch"), Workload((MILLION, MILLION), (), "1M")],
)  # fmt: skip
def dot(a: Spec, b: Spec) -> None:
    """The dot product as NumPy defines it: of two vectors the sum of a[k] b[k], of matrices their product.

    In general the sum over the last axis of `a` and the last but one of `b` (the only one of a vector); `a` or `b`
    without axes is multiplied. Raises ShapeError where these lengths differ, DTypeError for bool.

    >>> dl.dot(dl.tensor([1.0, 2.0]), dl.tensor([3.0, 4.0]))
    tensor(11.)
    """


# ---- any axes -------------------------------------------------------------------------------------------------------


def _inner_names(a_axes: int, b_axes: int) -> tuple[Labels, Labels, Labels]:
    a, b = _names("a", a_axes), _names("b", b_axes)
    if not (a and b):
        return a, b, (*a, *b)
    return a, (*b[:-1], a[-1]), (*a[:-1], *b[:-1])


def _inner_to_a(dout: Any, b: Any, a_shape: Lengths) -> Any:
    (of_a, of_b), out = _labels(_inner_names, len(a_shape), b.ndim)
    return contract((dout, b), (out, of_b), of_a)


def _inner_to_b(dout: Any, a: Any, b_shape: Lengths) -> Any:
    (of_a, of_b), out = _labels(_inner_names, a.ndim, len(b_shape))
    return contract((dout, a), (out, of_a), of_b)


def _inner(a: Any, b: Any) -> Any:
    if a.ndim and b.ndim == 2:
        return matmul(a, transpose(b))
    return contract((a, b), *_labels(_inner_names, a.ndim, b.ndim))


@contraction(
    kernels={"cpu": [("products:vecdot", _of_vectors)], "cuda": [("matmul.plan:matmul", _of_vectors)]},
    params=lambda: (-1,), composite=_inner, gradient={"a": _inner_to_a, "b": _inner_to_b},
    names=_inner_names, reference=lambda a, b: _multiplied(np.inner, a, b), methods=True,
    baselines=library("inner", "a b", out=("torch",)),
    samples=[
        Sample((17,), (17,), why="vectors"), Sample((9, 17), (5, 17), why="matrices"), Sample((2, 3), (), why="0-d"),
        Sample((2, 3, 5), (4, 5), why="more axes"), Sample((3, 0), (2, 0), why="empty sum"),
    ],
    error_inputs=[ErrorInput(ShapeError, "inner: lengths differ: 3 and 2 in (2, 3) and (3, 2)",
                             np.zeros((2, 3)), np.zeros((3, 2)))],
    workloads=[Workload(((8,), (8,)), (), "dispatch"), Workload(((512, 512), (512, 512)), (), "square")],
)  # fmt: skip
def inner(a: Spec, b: Spec) -> None:
    """The sums over the last axes of both: out[i..., j...] = the sum over k of a[i..., k] b[j..., k].

    `a` or `b` without axes is multiplied. Raises ShapeError where the last lengths differ, DTypeError for bool.

    >>> dl.inner(dl.tensor([1.0, 2.0]), dl.tensor([[3.0, 4.0], [5.0, 6.0]]))
    tensor([11., 17.])
    """


def _columns_given(a: Spec, b: Spec) -> bool:
    return len(b.shape) <= 1


@contraction(
    kernels={"cpu": [("products:kron", _columns_given)]},  # which takes `a`, of any shape, for a column
    names=lambda a, b: (_names("a", a), _names("b", b), (*_names("a", a), *_names("b", b))), ulp=0.5,
    reference=lambda a, b: np.outer(a, b), methods=True, composite=lambda a, b: _outer(a, b), cast="widest",
    baselines=library("outer", "a b", torch="torch.outer"),
    samples=[
        Sample((33,), (65,), why="vectors"), Sample((2, 3), (4,), why="a matrix is taken as a vector"),
        Sample((), (3,), why="0-d"), Sample((0,), (3,), why="empty"),
    ],
    workloads=[Workload(((8,), (8,)), (), "dispatch"), Workload(((1024,), (1024,)), (), "1M")],
)  # fmt: skip
def outer(a: Spec, b: Spec) -> Spec:
    """The products of each element of `a` with each of `b`: out[i, j] = a[i] b[j]. Other shapes are flattened first.

    >>> dl.outer(dl.tensor([1, 2]), dl.tensor([3, 4]))
    tensor([[3, 4],
            [6, 8]])
    """
    check_dtype("outer", NUMBER, a, b)
    return Spec((math.prod(a.shape), math.prod(b.shape)), a.dtype)


def _outer(a: Any, b: Any) -> Any:
    return mul(reshape(a, (math.prod(a.shape), 1)), reshape(b, (1, math.prod(b.shape))))


@contraction(
    kernels={"cpu": [("products:vecdot", _of_vectors)]}, params=lambda: (-1,),
    names=lambda a, b: (_names("a", a), _names("a", a), ()), reference=lambda a, b: np.vdot(a, b), methods=True,
    composite=lambda a, b: vecdot(flatten(a), flatten(b)),
    baselines={"numpy": "np.vdot(a, b)", "torch": "torch.vdot(a.ravel(), b.ravel())", "jax": "jnp.vdot(a, b)"},
    samples=[Sample((17,), (17,), why="vectors"), Sample((3, 4), (3, 4), why="matrices"), Sample((), (), why="0-d"),
             Sample((0,), (0,), why="empty sum")],
    error_inputs=[ErrorInput(ShapeError, "vdot: sizes differ: (2, 3) and (3,)", np.zeros((2, 3)), np.zeros(3))],
    workloads=[Workload(((8,), (8,)), (), "dispatch"), Workload((MILLION, MILLION), (), "1M")],
)  # fmt: skip
def vdot(a: Spec, b: Spec) -> Spec:
    """The sum of the products of all elements of `a` and `b`, taken as vectors in row-major order: 0-d.

    Raises ShapeError where they have not the same number of elements, DTypeError for bool.

    >>> dl.vdot(dl.tensor([1.0, 2.0]), dl.tensor([3.0, 4.0]))
    tensor(11.)
    """
    check_dtype("vdot", NUMBER, a, b)
    if math.prod(a.shape) != math.prod(b.shape):
        raise ShapeError(f"vdot: sizes differ: {a.shape} and {b.shape}")
    return Spec((), a.dtype)


# ---- tensordot and kron ---------------------------------------------------------------------------------------------


class _AxesOfBoth(Kind):
    """How many of the last axes of `a` and the first of `b`, or which of both: two sequences, or two axes."""

    hint = "int | Sequence[int] | Sequence[Sequence[int]]"

    def accept(self, value: Any, where: str) -> Any:
        several = items(value)
        if several is None:
            return integer(value, where, least=0)
        if len(several) != 2:
            raise ValueError(f"{where} {shown(value)} is neither a number of axes nor two sequences of them")
        pair = [integers(one, where) for one in several]
        if len(pair[0]) != len(pair[1]):
            raise ShapeError(f"{where}: {len(pair[0])} axes of a and {len(pair[1])} of b; there must be as many")
        return tuple(pair)

    def convert(self, value: Any, where: str, given: Mapping[str, Any]) -> Any:
        shapes = given["a"].shape, given["b"].shape
        if isinstance(value, int):
            if value > min(map(len, shapes)):
                raise ShapeError(f"tensordot: {value} axes are more than {shapes[0]} and {shapes[1]} have")
            value = tuple(range(len(shapes[0]) - value, len(shapes[0]))), tuple(range(value))
        found = tuple(tuple(axis_of(k, where, s) for k in one) for one, s in zip(value, shapes, strict=True))
        for one, shape in zip(found, shapes, strict=True):
            if len(set(one)) != len(one):
                raise ShapeError(f"tensordot: an axis is given twice: {one} for shape {shape}")
        return found

    def wrong(self, where: str, given: Mapping[str, Any]) -> tuple[Any, type[Exception], str] | None:
        return -1, ValueError, f"{where} is -1; it must be at least 0"


AxesOfBoth = Annotated[Any, _AxesOfBoth()]


def _tensordot_names(a_axes: int, b_axes: int, axes: Any) -> tuple[Labels, Labels, Labels]:
    a, b = _names("a", a_axes), list(_names("b", b_axes))
    for i, j in zip(*axes, strict=True):
        b[j] = a[i]
    left = [k for d, k in enumerate(a) if d not in axes[0]]
    return a, tuple(b), (*left, *(k for d, k in enumerate(b) if d not in axes[1]))


@contraction(
    names=_tensordot_names, reference=lambda a, b, axes: np.tensordot(a, b, axes), methods=True,
    baselines={"numpy": "np.tensordot(a, b, axes)", "torch": "torch.tensordot(a, b, axes)",
               "jax": "jnp.tensordot(a, b, axes)"},
    samples=[
        Sample((3, 4, 5), (4, 5, 6), why="the last and first two"),
        Sample((9, 17), (5, 17), axes=(1, 1), why="one pair"), Sample((2, 3), (4,), axes=0, why="none"),
        Sample((3, 4, 5), (5, 2, 3), axes=((0, -1), (2, 0)), why="pairs apart"),
        Sample((), (3,), axes=0, why="0-d"), Sample((2, 0), (0, 3), axes=1, why="empty sum"),
        Sample((2, 3), (2, 3), axes=2, why="all"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "tensordot: lengths differ: 3 and 2 in (2, 3) and (2, 3)",
                   np.zeros((2, 3)), np.zeros((2, 3)), axes=1),
        ErrorInput(ShapeError, "tensordot: axes: 2 axes of a and 1 of b; there must be as many",
                   np.zeros((2, 3)), np.zeros((2, 3)), axes=((0, 1), (0,))),
        ErrorInput(ShapeError, "tensordot: 2 axes are more than (3,) and (3,) have", np.zeros(3), np.zeros(3)),
        ErrorInput(IndexError, "tensordot: axes 2 is out of range for shape (2, 3)",
                   np.zeros((2, 3)), np.zeros((2, 3)), axes=((2,), (0,))),
    ],
    workloads=[Workload(((8, 8), (8, 8)), (1,), "dispatch"), Workload(((64, 8, 64), (8, 64, 512)), (2,), "three axes")],
)  # fmt: skip
def tensordot(a: Spec, b: Spec, axes: AxesOfBoth = 2) -> None:
    """The sums of products over pairs of axes; the others follow each other, those of `a` first.

    `axes`: a number n, for the last n of `a` and the first n of `b`; or two sequences, axes of `a` and of `b` that go
    together. Raises ShapeError where lengths of a pair differ, IndexError for an axis out of range.

    >>> dl.tensordot(dl.ones(2, 3, 4), dl.ones(3, 4, 5), axes=2).shape
    (2, 5)
    """


def _kron_shapes(a: Lengths, b: Lengths) -> tuple[Lengths, Lengths]:
    n = max(len(a), len(b))
    return (*[1] * (n - len(a)), *a), (*[1] * (n - len(b)), *b)


def _kron(a: Any, b: Any) -> Any:
    if a.weak or b.weak:  # a Python number
        return mul(a, b)
    of_a, of_b = _kron_shapes(a.shape, b.shape)
    apart = [tuple(n for pair in pairs for n in pair) for pairs in (
        [(n, 1) for n in of_a], [(1, n) for n in of_b])]  # fmt: skip
    if 2 * len(of_a) <= MAX_AXES:
        product = mul(reshape(a, apart[0]), reshape(b, apart[1]))
        return reshape(product, tuple(m * n for m, n in zip(of_a, of_b, strict=True)))
    # of more axes than a product has room for: the leading ones, one after the other
    head = [_kron(x, y) for x, y in itertools.product(_leading(reshape(a, of_a)), _leading(reshape(b, of_b)))]
    return reshape(concat(head, 0), tuple(m * n for m, n in zip(of_a, of_b, strict=True)))


def _interleaved(dout: Any, a: Lengths, b: Lengths) -> tuple[Any, Labels, Labels, Labels]:
    """The gradient with an axis of a and one of b for each axis; the names of all, and of those of a and of b."""
    of_a, of_b = _kron_shapes(a, b)
    n = len(of_a)
    names = tuple(k for pair in zip(_names("a", n), _names("b", n), strict=True) for k in pair)
    lengths = tuple(k for pair in zip(of_a, of_b, strict=True) for k in pair)
    return reshape(dout, lengths), names, _names("a", n), _names("b", n)


def _kron_to_a(dout: Any, b: Any, a_shape: Lengths) -> Any:
    if b.weak:
        return mul(dout, b)
    if 2 * dout.ndim > MAX_AXES:
        return _by_leading(dout, b, a_shape, True, _kron_to_a)
    whole, names, of_a, of_b = _interleaved(dout, a_shape, b.shape)
    full = reshape(b, _kron_shapes(a_shape, b.shape)[1])
    return reshape(contract((whole, full), (names, of_b), of_a), a_shape)


def _kron_to_b(dout: Any, a: Any, b_shape: Lengths) -> Any:
    if a.weak:
        return mul(dout, a)
    if 2 * dout.ndim > MAX_AXES:
        return _by_leading(dout, a, b_shape, False, _kron_to_b)
    whole, names, of_a, of_b = _interleaved(dout, a.shape, b_shape)
    full = reshape(a, _kron_shapes(a.shape, b_shape)[0])
    return reshape(contract((whole, full), (names, of_a), of_b), b_shape)


def _leading(x: Any) -> list[Any]:
    whole = tuple((0, n, 1) for n in x.shape[1:])
    return [slice_of(x, (k, *whole)) for k in range(x.shape[0])]


def _by_leading(dout: Any, other: Any, shape: Lengths, first: bool, gradient: Callable[..., Any]) -> Any:
    """The gradient of an operand, the ``first`` or not, where a contraction has no room for all axes: place by place
    along the leading axis of both."""
    own, full = _kron_shapes(shape, other.shape)
    if not math.prod(own) * math.prod(full):
        return expand(mul(total(dout), 0), shape)
    whole = reshape(dout, (*((own[0], full[0]) if first else (full[0], own[0])), *dout.shape[1:]))
    others, found = _leading(reshape(other, full)), []
    for part in _leading(whole if first else transpose(whole, 0, 1)):
        terms = [gradient(d, o, own[1:]) for d, o in zip(_leading(part), others, strict=True)]
        found.append(functools.reduce(add, terms))
    return reshape(stack(found), shape)


@contraction(
    kernels={"cpu": "products:kron"}, gradient={"a": _kron_to_a, "b": _kron_to_b},
    names=lambda a, b: (_names("a", a), _names("b", b), ()), ulp=0.5, reference=np.kron, methods=True, cast="widest",
    composite=lambda a, b: _kron(a, b), baselines=library("kron", "a b", out=()),
    samples=[
        Sample((3, 4), (5, 2), why="matrices"), Sample((3,), (2, 4), why="a vector and a matrix"),
        Sample((), (3,), why="0-d"), Sample((2, 3, 2), (1, 2, 2), why="three axes"),
        Sample((0, 2), (3, 1), why="empty"), Sample((2, 1, 1, 1, 2), (2, 1, 3), why="five axes"),
        Sample((2, 0, 1, 1, 2), (2, 1, 3), why="five axes, empty"),
    ],
    error_inputs=[ErrorInput(DTypeError, "kron: does not take bool", *[np.ones(2, bool)] * 2)],
    workloads=[Workload(((4, 4), (4, 4)), (), "dispatch"), Workload(((32, 32), (32, 32)), (), "1M")],
)  # fmt: skip
def kron(a: Spec, b: Spec) -> Spec:
    """The Kronecker product: each element of `a` replaced by itself times `b`; lengths multiply axis by axis.

    The operand with fewer axes gets axes of length 1 in front. Raises DTypeError for bool.

    >>> dl.kron(dl.tensor([1, 2]), dl.tensor([1, 10]))
    tensor([ 1, 10,  2, 20])
    """
    check_dtype("kron", NUMBER, a, b)
    return Spec(tuple(m * n for m, n in zip(*_kron_shapes(a.shape, b.shape), strict=True)), a.dtype)
