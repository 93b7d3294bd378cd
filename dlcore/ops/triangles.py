"""Triangles and diagonals of matrices."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlcore._arguments import integer, names_errors, operand
from dlcore.dtypes import DTYPES
from dlcore.errors import ShapeError
from dlcore.op import ErrorInput, Op, Sample, Spec, Workload, as_given
from dlcore.ops._constants import constant
from dlcore.ops._workloads import RAGGED, bytes_of
from dlcore.ops.reduce import sum as sum_
from dlcore.ops.strided import diag_embed, diagonal, placed

__all__ = ["diag", "diagflat", "trace", "tril", "tril_indices", "triu", "triu_indices"]


class Triangle(Op):
    """A matrix of which one triangle is kept."""

    family = "movement"
    promote = staticmethod(as_given)
    dtypes = DTYPES
    methods = True
    batching = "axis"

    def family_kernels(self) -> dict[str, str]:
        """One file for both."""
        return {"cpu": f"movement:{self.name}", "cuda": f"movement.triangle:{self.name}"}

    def cost(self, x: Spec) -> tuple[float, float]:
        """Half is read, all is written."""
        return 0.0, 1.5 * bytes_of(x)

    def family_samples(self) -> Iterator[Sample]:
        yield Sample((5, 7), why="wide")
        yield Sample((6, 3), k=-2, why="tall, below")
        yield Sample((2, 3, 33, 31), k=2, why="matrices, above")
        yield Sample((3, 4), k=-7, why="beyond one corner")
        yield Sample((3, 4), k=9, why="beyond the other")
        yield Sample(np.array([[np.nan, -np.inf], [np.inf, np.nan]], np.float32), why="NaN and infinity", grad=False)
        yield Sample((0, 3), why="empty")

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        yield ErrorInput(ShapeError, f"{self.name}: x has shape (3,); it needs at least 2 axes", np.zeros(3))

    def family_workloads(self) -> list[Workload]:
        return [Workload(((1024, 1024),), (0,), "1M"), Workload((RAGGED,), (1,), "ragged")]

    def family_baselines(self) -> dict[str, str]:
        name = self.name
        return {
            "numpy": f"np.{name}(x, k)", "torch": f"torch.{name}(x, k)", "torch out": f"torch.{name}(x, k, out=out)",
            "jax": f"jnp.{name}(x, k)",
        }  # fmt: skip

    def infer(self, x: Spec, k: int) -> Spec:
        """The shape of x. Raises ShapeError for a vector."""
        if len(x.shape) < 2:
            raise ShapeError(f"{self.name}: x has shape {x.shape}; it needs at least 2 axes")
        return Spec(x.shape, x.dtype)


def _numpy_triangle(x: Any, keep: Any) -> Any:
    return np.where(keep, x, np.zeros((), x.dtype))


@Triangle.definition(
    gradient=lambda dout, k: tril(dout, k),
    reference=lambda x, k: _numpy_triangle(
        x, np.arange(x.shape[-1])[None, :] - np.arange(x.shape[-2])[:, None] <= k
    ),
)  # fmt: skip
def tril(x: Spec, k: int = 0) -> Spec:
    """The lower triangles of the matrices in `x`, zeros above: what lies at most `k` places right of the diagonal.

    >>> dl.tril(dl.tensor([[1, 2], [3, 4]]))
    tensor([[1, 0],
            [3, 4]])
    """
    return Spec(x.shape, x.dtype)


@Triangle.definition(
    gradient=lambda dout, k: triu(dout, k),
    reference=lambda x, k: _numpy_triangle(
        x, np.arange(x.shape[-1])[None, :] - np.arange(x.shape[-2])[:, None] >= k
    ),
)  # fmt: skip
def triu(x: Spec, k: int = 0) -> Spec:
    """The upper triangles of the matrices in `x`, zeros below: what lies at least `k` places right of the diagonal.

    >>> dl.triu(dl.tensor([[1, 2], [3, 4]]))
    tensor([[1, 2],
            [0, 4]])
    """
    return Spec(x.shape, x.dtype)


def _corner(name: str, n: Any, k: Any, m: Any) -> tuple[int, int, int]:
    rows = integer(n, f"{name}: n", 0)
    columns = rows if m is None else integer(m, f"{name}: m", 0)
    return rows, max(-rows, min(integer(k, f"{name}: k"), columns)), columns


@names_errors
def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Any, ...]:
    """(rows, columns) of the lower triangle of a matrix (n, m), in row-major order; see `tril`. As an index: x[...].

    >>> dl.tril_indices(2)
    (tensor([0, 1, 1]), tensor([0, 0, 1]))
    """
    rows, offset, columns = _corner("tril_indices", n, k, m)
    return tuple(constant(i) for i in np.tril_indices(rows, offset, columns))


@names_errors
def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Any, ...]:
    """(rows, columns) of the upper triangle of a matrix (n, m), in row-major order; see `triu`. As an index: x[...].

    >>> dl.triu_indices(2)
    (tensor([0, 0, 1]), tensor([0, 1, 1]))
    """
    rows, offset, columns = _corner("triu_indices", n, k, m)
    return tuple(constant(i) for i in np.triu_indices(rows, offset, columns))


@names_errors
def diag(x: Any, k: int = 0) -> Any:
    """The diagonal of a matrix, as a view, or of a vector the matrix that has it on a diagonal, and zeros.

    ``k``: how far right of the main diagonal. Raises ShapeError for other numbers of axes.

    >>> dl.diag(dl.tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """
    x, offset = operand(x, "diag"), integer(k, "diag: k")
    if x.ndim == 1:
        n = x.shape[0] + abs(offset)
        return placed(x, (n, n), (n + 1,), max(offset, -offset * n))
    if x.ndim != 2:
        raise ShapeError(f"diag: x has shape {x.shape}; it takes a vector or a matrix")
    return diagonal(x, offset)


@names_errors
def diagflat(x: Any, k: int = 0) -> Any:
    """The matrix that has the elements of ``x``, in row-major order, on a diagonal, and zeros.

    >>> dl.diagflat(dl.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    x = operand(x, "diagflat")
    return diag_embed(x.reshape(math.prod(x.shape)), integer(k, "diagflat: k"))


@names_errors
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The sum of a diagonal: of the elements whose place along ``axis2`` is that along ``axis1`` plus ``offset``.

    >>> dl.trace(dl.tensor([[1, 2], [3, 4]]))
    tensor(5)
    """
    return sum_(diagonal(operand(x, "trace"), offset, axis1, axis2), -1)
