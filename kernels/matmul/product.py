"""What the planners of this family speak of: matrices in memory, products of them, and the program being built.

Pure arithmetic on shapes and strides. Letters: M, N, K as in (M, K) @ (K, N).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from dlcore.dtypes import DType
from dlcore.kernels.common.activations import Activation
from dlcore.kernels.language import Kernel
from dlcore.kernels.launch import Arch, In, Launch, Program, Temp, View, Workspace, contiguous_strides

__all__ = ["Builder", "Matrix", "Product", "product", "unit_of"]


def unit_of(itemsize: int, *numbers: int) -> int:
    """The most elements, at most 16 bytes of them, that divide every number.

    Kernels get strides and sizes in this unit, so that the compiler knows how far loads can be vectors: of an integer
    argument itself it knows only whether 16 divides it.
    """
    return math.gcd(16 // itemsize, *numbers)


class Matrix(NamedTuple):
    """One matrix for each entry of a batch: where it lies, and its strides in elements (0: repeated)."""

    pointer: Any
    dtype: DType
    rows: int
    columns: int
    row: int
    column: int
    batch: tuple[int, ...] = ()
    """Strides of the batch's axes."""
    aligned: bool = True

    @property
    def transposed(self) -> Matrix:
        """The same memory with rows and columns exchanged."""
        return self._replace(rows=self.columns, columns=self.rows, row=self.column, column=self.row)

    @property
    def by_rows(self) -> bool:
        """Whether neighbours in a row are neighbours in memory."""
        return self.column == 1

    @property
    def pitch(self) -> int:
        """The stride of the axis that is not adjacent in memory."""
        return self.row if self.by_rows else self.column

    @property
    def dense(self) -> bool:
        """Whether one of its axes is adjacent in memory, so that kernels need one stride only."""
        return self.column == 1 or self.row == 1

    @property
    def unit(self) -> int:
        """Elements that can be loaded at once, as far as address and strides tell."""
        return unit_of(self.dtype.itemsize, self.pitch, *self.batch) if self.aligned else 1

    def at(self, offset: int) -> Matrix:
        """The same matrix ``offset`` elements further."""
        step = offset * self.dtype.itemsize
        return self._replace(pointer=shifted(self.pointer, step), aligned=self.aligned and step % 16 == 0)


class Product(NamedTuple):
    """out = activation(before + a @ b + bias) for each entry of a batch; ``out`` is row-major, one after the other."""

    a: Matrix
    b: Matrix
    out: Any
    batch: tuple[int, ...] = ()
    bias: Any = None
    pre: Any = None
    """Where the values before the activation go, if wanted."""
    before: Any = None
    """Sums so far, of the accumulator's dtype, to which those of this product are added."""
    activation: Activation | None = None
    swapped: bool = False
    """``a`` and ``b`` are those of the transposed product: results and bias still go where they belong."""

    @property
    def m(self) -> int:
        """Rows."""
        return self.a.rows

    @property
    def n(self) -> int:
        """Columns."""
        return self.b.columns

    @property
    def k(self) -> int:
        """Terms of each sum."""
        return self.a.columns

    @property
    def entries(self) -> int:
        """Matrices in the batch."""
        return math.prod(self.batch)

    @property
    def dtype(self) -> DType:
        """Of operands and result."""
        return self.a.dtype

    @property
    def epilogue(self) -> Kernel | None:
        """What kernels apply to the results."""
        return self.activation and self.activation.value

    @property
    def heavy(self) -> bool:
        """Whether that takes many registers."""
        return self.activation is not None and self.activation.heavy

    @property
    def swap(self) -> Product:
        """The transposed product, which writes the same result."""
        return self._replace(a=self.b.transposed, b=self.a.transposed, swapped=not self.swapped)


@dataclass
class Builder:
    """A Program in the making."""

    arch: Arch
    launches: list[Launch] = field(default_factory=list)
    temps: list[Workspace] = field(default_factory=list)
    contiguous: set[int] = field(default_factory=set)
    free: set[int] = field(default_factory=set)
    """Workspaces that nothing reads any more."""
    taken: set[int] = field(default_factory=set)

    def temp(self, elements: int, dtype: DType) -> Temp:
        """A workspace, one that is free where it is large enough."""
        size = elements * dtype.itemsize
        index = min((k for k in self.free if self.temps[k].bytes >= size), key=lambda k: (self.temps[k].bytes, k),
                    default=len(self.temps))  # fmt: skip
        if index == len(self.temps):
            self.temps.append(Workspace(size))
        self.free.discard(index)
        self.taken.add(index)
        return Temp(index, dtype)

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Workspaces taken within are free afterwards: launches run one after the other."""
        outside, self.taken = self.taken, set()
        yield
        self.free |= self.taken
        self.taken = outside

    def program(self) -> Program:
        """The finished Program."""
        return Program(tuple(self.launches), tuple(self.temps), tuple(sorted(self.contiguous)))


# ---- from views to products ---------------------------------------------------------------------------------------


def matrix(pointer: Any, view: View, batch: Sequence[int]) -> Matrix:
    """The last two axes of ``view``, its leading axes broadcast to ``batch``."""
    leading = view.shape[:-2]
    missing = len(batch) - len(leading)
    strides = [0 if size == 1 else stride for size, stride in zip(leading, view.strides, strict=False)]
    rows, columns = view.shape[-2:]
    row, column = view.strides[-2:]
    if rows == 1 and column == 1:
        row = columns
    elif columns == 1 and row == 1:
        column = rows
    elif columns == 1:  # its stride is never used
        column = 1
    elif rows == 1:
        row = 1
    return Matrix(pointer, view.dtype, rows, columns, row, column, (0,) * missing + tuple(strides), view.aligned)


def product(a: Matrix, b: Matrix, batch: Sequence[int], **epilogue: Any) -> Product:
    """The product with as few axes of batch as strides allow; those that only ``a`` has become rows."""
    axes = [(s, x, y) for s, x, y in zip(batch, a.batch, b.batch, strict=True) if s != 1]
    if all(y == 0 for _, _, y in axes):
        rows = math.prod(s for s, _, _ in axes) * a.rows
        return Product(a._replace(rows=rows, batch=()), b._replace(batch=()), **epilogue)
    merged: list[tuple[int, int, int]] = []
    for size, x, y in reversed(axes):
        if merged and x == merged[-1][0] * merged[-1][1] and y == merged[-1][0] * merged[-1][2]:
            merged[-1] = (size * merged[-1][0], *merged[-1][1:])
        else:
            merged.append((size, x, y))
    sizes, strides_a, strides_b = zip(*reversed(merged), strict=True)
    return Product(a._replace(batch=strides_a), b._replace(batch=strides_b), batch=sizes, **epilogue)


def foldable(view: View) -> bool:
    """Whether leading axes and rows are one axis with one stride."""
    sizes, strides = view.shape[:-1], view.strides[:-1]
    axes = [(size, stride) for size, stride in zip(sizes, strides, strict=True) if size != 1]
    return all(x[1] == y[0] * y[1] for x, y in itertools.pairwise(axes))


def as_contiguous(view: View) -> View:
    """The view after Program.contiguous has had its way."""
    return view._replace(strides=contiguous_strides(view.shape), aligned=True)


def flat(builder: Builder, index: int, view: View) -> Matrix:
    """Input ``index`` as a matrix of rows, made contiguous."""
    builder.contiguous.add(index)
    return row_major(In(index), view.dtype, math.prod(view.shape[:-1]), view.shape[-1])


def row_major(pointer: Any, dtype: DType, rows: int, columns: int) -> Matrix:
    """A dense matrix, such as a workspace or an output."""
    return Matrix(pointer, dtype, rows, columns, columns, 1)


def shifted(pointer: Any, offset: int) -> Any:
    """``pointer`` (In, Out or Temp), ``offset`` bytes further."""
    return replace(pointer, offset=pointer.offset + offset)
