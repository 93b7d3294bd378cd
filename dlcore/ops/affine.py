"""Products of matrices added to a tensor: addmm, addmv, baddbmm, addbmm; and bilinear forms.

Each is `beta x + alpha (a @ b)`. They are made of matmul and pointwise operations, or of `linear` where x is a row that
a product adds as it writes: that costs nothing. With ``beta`` 0, x is not read: NaN in it does not matter.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Op, Sample, Spec, Workload, floating
from dlcore.ops._domains import limited, without_tiny
from dlcore.ops._pointwise import NUMBER, check_dtype
from dlcore.ops._workloads import bytes_of
from dlcore.ops.contraction import contract
from dlcore.ops.elementwise import add, mul
from dlcore.ops.matmul import linear, matmul
from dlcore.ops.movement import transpose

__all__ = ["addbmm", "addmm", "addmv", "baddbmm", "bilinear"]

Lengths = tuple[int, ...]


class _Affine(Op):
    """beta x + alpha (a @ b). ``letters``: of the axes of a, b and the result."""

    cast = "low"
    ulp = 6  # matmul's, and the roundings of both factors and of the sum
    methods = True
    letters: tuple[str, str, str] = ("", "", "")

    def made(self, a: Spec, b: Spec) -> Lengths:
        """The product's shape."""
        of_a, of_b, out = self.letters
        takes = f"{self.name}: takes a ({', '.join(of_a)}) and b ({', '.join(of_b)}), not {a.shape} and {b.shape}"
        if len(a.shape) != len(of_a) or len(b.shape) != len(of_b):
            raise ShapeError(takes)
        sizes = dict(zip(of_a, a.shape, strict=True))
        if any(sizes.setdefault(k, n) != n for k, n in zip(of_b, b.shape, strict=True)):
            raise ShapeError(takes)
        return tuple(sizes[k] for k in out)

    def infer(self, x: Spec, a: Spec, b: Spec, beta: float, alpha: float) -> Spec:
        """That of the product, to which x broadcasts."""
        check_dtype(self.name, NUMBER, x, a, b)
        for name, factor in (("beta", beta), ("alpha", alpha)):
            if not a.dtype.is_float and not float(factor).is_integer():
                raise DTypeError(f"{self.name}: {name} {factor} is no integer, but the operands are of {a.dtype.name}")
        shape = self.made(a, b)
        extra = len(shape) - len(x.shape)
        if extra < 0 or any(n not in (1, m) for n, m in zip(x.shape, shape[extra:], strict=True)):
            raise ShapeError(f"{self.name}: x {x.shape} does not broadcast to the product's shape {shape}")
        return Spec(shape, a.dtype)

    def product(self, a: Any, b: Any) -> Any:
        """a @ b, of tensors or arrays."""
        return matmul(a, b) if self.name != "addbmm" else contract((a, b), _BATCH[:2], _BATCH[2])

    def composite(self, x: Any, a: Any, b: Any, beta: float, alpha: float) -> Any:
        """The product, scaled, and x, scaled, added."""
        plain = beta == alpha == 1 and a.dtype.is_float
        if plain and a.ndim == b.ndim == 2 and x.shape == b.shape[1:]:
            return linear(a, transpose(b), x)
        out = _scaled(self.product(a, b), alpha)
        return add(_scaled(x, beta), out) if beta else out

    def reference(self, x: Any, a: Any, b: Any, beta: float, alpha: float) -> Any:
        """The same in NumPy."""
        product = np.matmul(a, b).sum(0) if self.name == "addbmm" else np.matmul(a, b)
        beta, alpha = (int(k) if product.dtype.kind in "iu" else k for k in (beta, alpha))
        made = product if alpha == 1 else (alpha * product).astype(product.dtype)
        return made if beta == 0 else (x * beta + made).astype(product.dtype)

    def magnitude(self, x: Any, a: Any, b: Any, beta: float, alpha: float) -> Any:
        """The sums of absolute terms."""
        return self.reference(np.abs(x), np.abs(a), np.abs(b), abs(beta), abs(alpha))

    def restrict(self, operands: list[Any], largest: float) -> None:
        """As for matmul; and where a product overflows, an infinity of the other sign makes NaN."""
        operands[:] = [limited(without_tiny(x, largest), largest**0.5 / 1e6) for x in operands]
        operands[0] = np.where(np.isinf(operands[0]), 1.0, operands[0])

    def cost(self, x: Spec, a: Spec, b: Spec, beta: float) -> tuple[float, float]:
        """Those of the product, and one more of each for x."""
        of_a, of_b, _ = self.letters
        terms = math.prod(dict(zip(of_a + of_b, (*a.shape, *b.shape), strict=True)).values())
        size = math.prod(self.made(a, b))
        read = bytes_of(a, b) + (bytes_of(x) if beta else 0)
        return 2.0 * terms + 2 * size, read + size * a.dtype.itemsize


_BATCH = (("b", "m", "k"), ("b", "k", "n"), ("m", "n"))
_affine = _Affine.definition


def _scaled(x: Any, factor: float) -> Any:
    if factor == 1:
        return x
    return mul(x, int(factor) if not x.dtype.is_float and factor.is_integer() else factor)


def _errors(name: str, letters: str, a: Lengths, b: Lengths, out: Lengths) -> list[ErrorInput]:
    arrays = np.zeros(a), np.zeros(b)
    ints = [np.zeros(s, np.int32) for s in (out, a, b)]
    wide = (2, *out)
    return [
        ErrorInput(ShapeError, f"{name}: takes {letters}, not (3,) and {b}", np.zeros(out), np.zeros(3), arrays[1]),
        ErrorInput(ShapeError, f"{name}: x {wide} does not broadcast to the product's shape {out}",
                   np.zeros(wide), *arrays),
        ErrorInput(DTypeError, f"{name}: beta 0.5 is no integer, but the operands are of int32", *ints, beta=0.5),
    ]  # fmt: skip


def _samples(a: Lengths, b: Lengths, out: Lengths) -> list[Sample]:
    small = [np.arange(math.prod(s), dtype=np.int32).reshape(s) for s in (out, a, b)]
    return [
        Sample(out, a, b, why="as they are"), Sample(out, a, b, beta=0.5, alpha=-2.0, why="both scaled"),
        Sample(out[-1:], a, b, why="x broadcast"), Sample((), a, b, beta=3.0, why="x 0-d"),
        Sample(np.full(out, np.nan), a, b, beta=0.0, why="x not read", grad=False),
        Sample(*small, beta=2, alpha=3, why="integers", grad=False),
    ]  # fmt: skip


def _ways(name: str, numpy: str) -> dict[str, str]:
    way = numpy if name != "addbmm" else f"{numpy}.sum(0)"
    return {"numpy": f"beta * x + alpha * {way}", "torch": f"torch.{name}(x, a, b, beta=beta, alpha=alpha)",
            "jax": f"beta * x + alpha * {way}"}  # fmt: skip


@_affine(
    letters=("MK", "KN", "MN"), samples=_samples((9, 17), (17, 5), (9, 5)), baselines=_ways("addmm", "(a @ b)"),
    error_inputs=_errors("addmm", "a (M, K) and b (K, N)", (2, 3), (3, 4), (2, 4)),
    workloads=[Workload(((8, 8), (8, 8), (8, 8)), (), "dispatch"),
               Workload(((256,), (128, 784), (784, 256)), (), "a layer"), Workload(((512, 512),) * 3, (), "square")],
)  # fmt: skip
def addmm(x: Spec, a: Spec, b: Spec, beta: float = 1.0, alpha: float = 1.0) -> None:
    """beta x + alpha (a @ b) of matrices `a` (M, K) and `b` (K, N): (M, N), to which `x` broadcasts.

    With `beta` 0, `x` is not read. Raises ShapeError where shapes do not fit, DTypeError for bool and for factors that
    are no integers where the operands are.

    >>> dl.addmm(dl.tensor([1.0]), dl.tensor([[1.0, 2.0]]), dl.tensor([[3.0], [4.0]]))
    tensor([[12.]])
    """


@_affine(
    letters=("MK", "K", "M"), samples=_samples((9, 17), (17,), (9,)), baselines=_ways("addmv", "(a @ b)"),
    error_inputs=_errors("addmv", "a (M, K) and b (K)", (2, 3), (3,), (2,)),
    workloads=[Workload(((8,), (8, 8), (8,)), (), "dispatch"), Workload(((1024,), (1024, 1024), (1024,)), (), "1M")],
)  # fmt: skip
def addmv(x: Spec, a: Spec, b: Spec, beta: float = 1.0, alpha: float = 1.0) -> None:
    """beta x + alpha (a @ b) of a matrix `a` (M, K) and a vector `b` (K,): (M,), to which `x` broadcasts.

    With `beta` 0, `x` is not read. Raises as `addmm` does.

    >>> dl.addmv(dl.tensor([1.0]), dl.tensor([[1.0, 2.0]]), dl.tensor([3.0, 4.0]))
    tensor([12.])
    """


@_affine(
    letters=("BMK", "BKN", "BMN"), samples=_samples((3, 4, 7), (3, 7, 5), (3, 4, 5)),
    error_inputs=_errors("baddbmm", "a (B, M, K) and b (B, K, N)", (2, 2, 3), (2, 3, 4), (2, 2, 4)),
    baselines=_ways("baddbmm", "(a @ b)"),
    workloads=[Workload(((8, 8, 8),) * 3, (), "small"), Workload(((32, 128, 128),) * 3, (), "a batch")],
)  # fmt: skip
def baddbmm(x: Spec, a: Spec, b: Spec, beta: float = 1.0, alpha: float = 1.0) -> None:
    """beta x + alpha (a @ b) of batches `a` (B, M, K) and `b` (B, K, N): (B, M, N), to which `x` broadcasts.

    With `beta` 0, `x` is not read. Raises as `addmm` does.

    >>> dl.baddbmm(dl.zeros(2, 1, 1), dl.ones(2, 1, 3), dl.ones(2, 3, 1)).shape
    (2, 1, 1)
    """


@_affine(
    letters=("BMK", "BKN", "MN"), samples=_samples((3, 4, 7), (3, 7, 5), (4, 5)),
    error_inputs=_errors("addbmm", "a (B, M, K) and b (B, K, N)", (2, 2, 3), (2, 3, 4), (2, 4)),
    baselines=_ways("addbmm", "(a @ b)"),
    workloads=[Workload(((8, 8), (8, 8, 8), (8, 8, 8)), (), "small"),
               Workload(((128, 128), (32, 128, 128), (32, 128, 128)), (), "a batch")],
)  # fmt: skip
def addbmm(x: Spec, a: Spec, b: Spec, beta: float = 1.0, alpha: float = 1.0) -> None:
    """beta x + alpha times the sum over the batch of a @ b, `a` (B, M, K) and `b` (B, K, N): (M, N).

    `x` broadcasts to that; with `beta` 0 it is not read. Raises as `addmm` does.

    >>> dl.addbmm(dl.zeros(1, 1), dl.ones(2, 1, 3), dl.ones(2, 3, 1))
    tensor([[6.]])
    """


# ---- bilinear -------------------------------------------------------------------------------------------------------


class _Bilinear(Op):
    """A form of two vectors: two products, one after the other."""

    cast = "low"
    promote = staticmethod(floating)
    ulp = 12

    def restrict(self, operands: list[Any], largest: float) -> None:
        """As for matmul, of three factors, which are multiplied in any order: 0 may meet an infinity, or not."""
        root = largest ** (1 / 3) / 1000
        operands[:3] = [np.where(np.abs(x) < 1 / root, 0.0, np.clip(x, -root, root)) for x in operands[:3]]
        if isinstance(operands[3], np.ndarray):
            operands[3] = np.where(np.isinf(operands[3]), 1.0, operands[3])


def _bilinear(x1: Any, x2: Any, weight: Any, bias: Any) -> Any:
    batch = tuple(f"b{k}" for k in range(x1.ndim - 1))
    out = contract((x1, x2, weight), ((*batch, "i"), (*batch, "j"), ("o", "i", "j")), (*batch, "o"))
    return out if bias is None else add(out, bias)


def _numpy_bilinear(x1: Any, x2: Any, weight: Any, bias: Any) -> Any:
    out = np.einsum("...i,oij,...j->...o", x1, weight, x2)
    return out if bias is None else out + bias


def _wrong(shapes: str, *given: Any) -> ErrorInput:
    return ErrorInput(ShapeError, f"bilinear: shapes do not fit: {shapes}", *given)


@_Bilinear.definition(
    composite=_bilinear, reference=_numpy_bilinear,
    magnitude=lambda x1, x2, weight, bias: _numpy_bilinear(
        np.abs(x1), np.abs(x2), np.abs(weight), None if bias is None else np.abs(bias)),
    samples=[
        Sample((9, 5), (9, 7), (4, 5, 7), (4,), why="a batch"), Sample((5,), (7,), (4, 5, 7), None, why="no batch"),
        Sample((2, 3, 5), (2, 3, 7), (4, 5, 7), (4,), why="two axes of a batch"),
        Sample((0, 5), (0, 7), (4, 5, 7), None, why="empty"),
    ],
    error_inputs=[
        _wrong("x1 (2, 5), x2 (3, 7), weight (4, 5, 7)", np.zeros((2, 5)), np.zeros((3, 7)), np.zeros((4, 5, 7))),
        _wrong("x1 (2, 5), x2 (2, 6), weight (4, 5, 7)", np.zeros((2, 5)), np.zeros((2, 6)), np.zeros((4, 5, 7))),
        ErrorInput(ShapeError, "bilinear: bias (3,) does not fit weight (4, 5, 7)",
                   np.zeros((2, 5)), np.zeros((2, 7)), np.zeros((4, 5, 7)), np.zeros(3)),
    ],
    workloads=[Workload(((8, 8), (8, 8), (8, 8, 8), (8,)), (), "dispatch"),
               Workload(((128, 64), (128, 64), (64, 64, 64), (64,)), (), "a layer")],
    baselines={
        "numpy": "np.einsum('bi,oij,bj->bo', x1, weight, x2, optimize=True) + bias",
        "torch": "F.bilinear(x1, x2, weight, bias)", "jax": "jnp.einsum('bi,oij,bj->bo', x1, weight, x2) + bias",
    },
)  # fmt: skip
def bilinear(x1: Spec, x2: Spec, weight: Spec, bias: Spec | None = None) -> Spec:
    """Bilinear forms: out[..., o] = the sum over i and j of x1[..., i] weight[o, i, j] x2[..., j], plus bias[o].

    `x1` (..., I), `x2` (..., J) with the same leading axes, `weight` (O, I, J), `bias` (O,) or None: (..., O).
    Integers become the default float. Raises ShapeError where shapes do not fit.

    >>> dl.bilinear(dl.tensor([[1.0, 2.0]]), dl.tensor([[3.0]]), dl.tensor([[[1.0], [1.0]]]))
    tensor([[9.]])
    """
    fits = len(weight.shape) == 3 and x1.shape and x2.shape and x1.shape[:-1] == x2.shape[:-1]
    if not fits or (x1.shape[-1], x2.shape[-1]) != weight.shape[1:]:
        raise ShapeError(f"bilinear: shapes do not fit: x1 {x1.shape}, x2 {x2.shape}, weight {weight.shape}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"bilinear: bias {bias.shape} does not fit weight {weight.shape}")
    return Spec((*x1.shape[:-1], weight.shape[0]), x1.dtype)


@bilinear.cost
def _(x1: Spec, x2: Spec, weight: Spec, bias: Spec | None) -> tuple[float, float]:
    rows, (n, i, j) = math.prod(x1.shape[:-1]), weight.shape
    moved = bytes_of(x1, x2, weight, bias) + rows * n * x1.dtype.itemsize
    return 2.0 * rows * n * i * j + 2.0 * rows * n * min(i, j), moved
