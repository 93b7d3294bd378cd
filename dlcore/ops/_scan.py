"""What scans along an axis share: their shapes, samples and workloads, and lines moved on by one place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlcore.dtypes import DTYPES, DType, float32, total_dtype
from dlcore.op import ErrorInput, Op, Sample, Spec, Workload
from dlcore.ops._workloads import MILLION, RAGGED
from dlcore.ops.movement import reshape
from dlcore.ops.slicing import slice, slice_backward

__all__ = ["Scan", "line_of", "moved", "place_of", "scanned_shape", "shaped"]

Shape = tuple[int, ...]


def scanned_shape(shape: Shape, axis: int | None) -> Shape:
    """That of what a scan gives: the operand's, or one axis for all elements where ``axis`` is None."""
    return shape if axis is not None else (math.prod(shape),)


def line_of(x: Any, axis: int | None) -> tuple[Any, int]:
    """An array as the reference scans it, and along which axis."""
    return (np.ravel(x), 0) if axis is None else (x, axis)


def shaped(dout: Any, shape: Shape, axis: int | None) -> Any:
    """The gradient of what a scan of an operand of ``shape`` gave, in that shape; a view."""
    return reshape(dout, shape) if axis is None else dout


class Scan(Op):
    """A scan of the operands along `axis`. The shape rule may be empty."""

    family = "scan"
    dtypes = DTYPES
    cast = "float32"
    flops: float = 1
    """Arithmetic operations an element."""
    result: DType | None = None
    methods = True
    ulp = 8  # 64 additions in a row of a column, whose roundings add up like a random walk

    def infer(self, x: Spec, axis: int | None) -> Any:
        """The operand's shape and dtype, or the widest integer for sums and products of integers."""
        return Spec(scanned_shape(x.shape, axis), total_dtype(x.dtype))

    def params(self, axis: int | None, reverse: bool) -> tuple[int, ...]:
        """The axis, or -1, and the attributes after it."""
        return (-1 if axis is None else axis, int(reverse))

    def cost(self, x: Spec) -> tuple[float, float]:
        """``flops`` an element; each read and written once."""
        n = math.prod(x.shape)
        return float(self.flops * n), float(n * (x.dtype.itemsize + (x.dtype.itemsize if x.dtype.is_float else 8)))

    def family_samples(self) -> Iterator[Sample]:
        yield Sample((33, 65), axis=-1, why="rows, unaligned")
        yield Sample((33, 65), axis=0, why="columns, unaligned")
        yield Sample((2, 40, 3), axis=1, why="an axis in the middle")
        yield Sample((3, 5), axis=None, why="all elements")
        yield Sample((), axis=None, why="0-d")
        yield Sample((4, 1), axis=1, why="an axis of length 1")
        yield Sample((3, 0), axis=1, why="an empty axis")
        yield Sample((0, 3), axis=1, why="no lines")
        yield Sample((2, 1500), axis=1, why="several blocks", grad=False)
        yield Sample((140_001,), axis=0, why="several chunks", grad=False)
        if self._has("reverse"):
            yield Sample((5, 67), axis=1, reverse=True, why="rows from the end")
            yield Sample((67, 5), axis=0, reverse=True, why="columns from the end")
            yield Sample((70_001,), axis=0, reverse=True, why="chunks from the end", grad=False)
        if self._has("exclusive"):
            yield Sample((5, 67), axis=1, exclusive=True, why="rows, exclusive")
            yield Sample((67, 5), axis=0, exclusive=True, why="columns, exclusive")
            yield Sample((3, 20), axis=1, reverse=True, exclusive=True, why="from the end, exclusive")
            yield Sample((70_001,), axis=0, exclusive=True, why="chunks, exclusive", grad=False)

    def _has(self, name: str) -> bool:
        return name in self.attribute_names

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        yield ErrorInput(IndexError, f"{self.name}: axis -1 is out of range for shape ()", np.zeros(()), axis=-1)

    def family_workloads(self) -> list[Workload]:
        return [
            Workload((MILLION,), (0,), "1M"), Workload(((4096, 1000),), (1,), "rows"),
            Workload((RAGGED,), (0,), "ragged, columns"), Workload(((8,),), (0,), "the cost of a call"),
            Workload(((1 << 24,),), (0,), "16M", (float32,)),
        ]  # fmt: skip

    def family_baselines(self) -> dict[str, str]:
        return {
            "numpy": f"np.{self.name}(x, axis)", "torch": f"torch.{self.name}(x, axis)",
            "jax": f"jnp.{self.name}(x, axis)",
        }  # fmt: skip


def place_of(shape: Shape, axis: int, start: int) -> tuple[Any, ...]:
    """All but one element of each line, from ``start`` on."""
    return (*((0, n, 1) for n in shape[:axis]), (start, max(shape[axis] - 1, 0), 1))


def moved(x: Any, axis: int, to_front: bool) -> Any:
    """x one place along ``axis``, to its front or to its end, with 0 in the place that is left."""
    kept = slice(x, place_of(x.shape, axis, int(to_front and x.shape[axis] > 0)))
    return slice_backward(kept, x.shape, place_of(x.shape, axis, int(not to_front and x.shape[axis] > 0)))
