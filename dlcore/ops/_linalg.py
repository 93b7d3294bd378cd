"""What operations of linear algebra share: the family, samples, and references in plain NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dlcore.dtypes import float32, float64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Op, Spec, floating
from dlcore.op.host import Host
from dlcore.ops._workloads import bytes_of

__all__ = [
    "LARGEST", "MatrixOp", "conditioned", "determinant", "inverse", "is_small", "logarithm", "matrices", "matrix_op",
    "positive", "refused", "root", "solved", "ways",
]  # fmt: skip

Lengths = tuple[int, ...]
LARGEST = 64  # rows of a matrix that the kernels here take


class MatrixOp(Op):
    """An operation on the last two axes of its operands."""

    family = "linalg"
    batching = "leading"
    cast = "float32"
    promote = staticmethod(floating)
    dtypes = (float32, float64)
    ulp = 16
    host: Callable[..., None] | None = None
    """The kernel on the CPU, where there is none for small matrices: of inputs, outputs and attributes, see `Host`."""
    square: bool = True
    """Whether the first operand must be square matrices."""
    small: bool = False
    """Whether there are kernels for small matrices."""
    flops: float = 1.0
    """Arithmetic operations, in units of M N min(M, N)."""

    @property
    def elsewhere(self) -> str:
        """What the error says where a device has no kernel."""
        rows = f" for more than {LARGEST} rows" if self.small else ""
        return f"{rows}; call it on the CPU: x.cpu()"

    def family_kernels(self) -> Mapping[str, Any]:
        large = [(Host(self.host), None)] if self.host else []
        if not self.small:
            return {"cpu": large}
        return {
            "cpu": [(f"linalg:{self.name}", is_small), *large],
            "cuda": [(f"linalg.small:{self.name}", is_small)],
        }

    def infer(self, a: Spec, *rest: Any) -> Any:
        """The rule, of matrices that the family takes."""
        for x in (a, *rest):
            if isinstance(x, Spec) and x.dtype not in self.dtypes:
                raise DTypeError(f"{self.name}: does not take {x.dtype.name}; cast to float32")
        if len(a.shape) < 2 or (self.square and a.shape[-1] != a.shape[-2]):
            what = "(..., N, N)" if self.square else "(..., M, N)"
            raise ShapeError(f"{self.name}: takes {self.input_names[0]} {what}, not {a.shape}")
        return self.rule(a, *rest)

    def cost(self, *given: Any) -> tuple[float, float]:
        """``flops``, and operands and results once."""
        specs = [x for x in given if isinstance(x, Spec)]
        m, n = specs[0].shape[-2:]
        found = self.infer(*given)
        outs = [found] if isinstance(found, Spec) else found
        return self.flops * math.prod(specs[0].shape[:-2]) * m * n * min(m, n), bytes_of(*specs, *outs)

    def restrict(self, operands: list[Any], largest: float) -> None:
        """Matrices that are far from singular, for which alone a bound of the error is known: of small numbers, with
        large ones on the diagonal."""
        operands[0] = conditioned(operands[0])
        operands[1:] = [np.clip(np.nan_to_num(x), -1, 1) if isinstance(x, np.ndarray) else x for x in operands[1:]]


matrix_op = MatrixOp.definition


def conditioned(x: Any) -> Any:
    """Small numbers, and large ones that differ on the diagonal."""
    if not isinstance(x, np.ndarray) or x.ndim < 2:
        return x
    n = min(x.shape[-2:])
    places = np.arange(n)
    x = np.clip(np.nan_to_num(x), -1, 1)
    x[..., places, places] = 4.0 * n + places
    return x


def is_small(*operands: Any) -> bool:
    """Whether kernels of dlcore's own take matrices of this size."""
    return bool(operands[0].shape[-1] <= LARGEST)


def matrices(shape: Lengths, shift: float = 2.0) -> Input:
    """Random matrices, far from singular: ``shift`` sqrt(N) is added to the diagonal."""

    def draw(rng: np.random.Generator) -> Any:
        x = rng.standard_normal(shape)
        places = np.arange(min(shape[-2:]))
        x[..., places, places] += shift * math.sqrt(max(shape[-2:]))
        return x

    return Input(shape, draw=draw)


def positive(shape: Lengths) -> Input:
    """Random symmetric positive definite matrices, far from singular."""

    def draw(rng: np.random.Generator) -> Any:
        x = rng.standard_normal(shape)
        n = shape[-1]
        return x @ np.swapaxes(x, -1, -2) / max(n, 1) + np.eye(n)

    return Input(shape, draw=draw)


# ---- in NumPy -------------------------------------------------------------------------------------------------------


def _eliminated(a: Any, b: Any) -> tuple[Any, Any, Any]:
    """(a^-1 b, pivots, signs of the permutations) of batches of matrices, by Gauss and Jordan."""
    batch, n = np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-1]
    left, right = np.broadcast_to(a, (*batch, n, n)).copy(), np.broadcast_to(b, (*batch, n, b.shape[-1])).copy()
    pivots, sign = np.ones((*batch, n), a.dtype), np.ones(batch, a.dtype)
    for k in range(n):
        at = k + np.argmax(np.abs(left[..., k:, k]), -1)
        sign = np.where(at == k, sign, -sign)
        for x in (left, right):
            row = np.take_along_axis(x, at[..., None, None], -2)
            np.put_along_axis(x, at[..., None, None], x[..., k : k + 1, :], -2)
            x[..., k : k + 1, :] = row
        pivots[..., k] = left[..., k, k]
        factor = left[..., :, k : k + 1] / left[..., k : k + 1, k : k + 1]
        factor[..., k, :] = 0
        left, right = left - factor * left[..., k : k + 1, :], right - factor * right[..., k : k + 1, :]
    return right / left[..., range(n), range(n)][..., None], pivots, sign


def solved(a: Any, b: Any) -> Any:
    """x with a x = b, in NumPy."""
    column = b.ndim == 1
    out = _eliminated(a, b[:, None] if column else b)[0]
    return out[..., 0] if column else out


def inverse(a: Any) -> Any:
    """a^-1, in NumPy."""
    return _eliminated(a, np.eye(a.shape[-1], dtype=a.dtype))[0]


def determinant(a: Any) -> Any:
    """Determinants, in NumPy."""
    _, pivots, sign = _eliminated(a, a)
    return sign * np.prod(pivots, -1)


def logarithm(a: Any) -> tuple[Any, Any]:
    """(signs, logarithms of absolute values) of determinants, in NumPy."""
    _, pivots, sign = _eliminated(a, a)
    return sign * np.prod(np.sign(pivots), -1), np.sum(np.log(np.abs(pivots)), -1)


def root(a: Any, upper: bool) -> Any:
    """The Cholesky factor, in NumPy."""
    a, n, out = np.swapaxes(a, -1, -2) if upper else a, a.shape[-1], np.zeros_like(a)
    for k in range(n):
        below = a[..., k:, k] - np.sum(out[..., k:, :k] * out[..., k : k + 1, :k], -1)
        out[..., k:, k] = below / np.sqrt(below[..., :1])
    return np.swapaxes(out, -1, -2) if upper else out


# ---- cases -----------------------------------------------------------------------------------------------------------


def refused(name: str) -> list[ErrorInput]:
    """Wrong inputs of what takes square matrices."""
    return [
        ErrorInput(ShapeError, f"{name}: takes a (..., N, N), not (2, 3)", np.zeros((2, 3))),
        ErrorInput(ShapeError, f"{name}: takes a (..., N, N), not (3,)", np.zeros(3)),
        ErrorInput(DTypeError, f"{name}: does not take float16; cast to float32", np.eye(2, dtype=np.float16)),
    ]


def ways(expression: str) -> dict[str, str]:
    """How other libraries compute a function of numpy.linalg."""
    torch = f"torch.linalg.{expression}"
    return {"numpy": f"np.linalg.{expression}", "torch": torch, "jax": f"jnp.linalg.{expression}"}
