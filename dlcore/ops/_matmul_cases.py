"""What `matmul` is tested with, refuses and is timed with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dlcore.dtypes import INTEGERS, DType, bfloat16, bool_, float16, float32, float64, int8, int16, int32, uint8
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Sample, Workload
from dlcore.ops._workloads import on_gpu

__all__ = ["WIDE", "error_inputs", "samples", "workloads"]

# What is timed as (M, N, K): squares, and skinny ones of small networks.
_SQUARE = [(n, n, n) for n in (64, 128, 256, 512, 1024, 2048)]
_SKINNY = [(64, 128, 64), (128, 256, 784), (128, 10, 128), (8, 1024, 1024), (4096, 64, 64), (2048, 2048, 32)]
_SKINNY += [(64, 64, 4096)]
_SKINNY_TOO = {  # in other dtypes than float32
    (128, 256, 784): (bfloat16,), (8, 1024, 1024): (float64, bfloat16, float16), (4096, 64, 64): (float64, bfloat16),
    (2048, 2048, 32): (float64, bfloat16),
}  # fmt: skip
# Batches, as (entries, M, N, K): squares, and attention's scores and their product with the values.
_BATCHES = [(8192, 4, 4, 4), (2048, 8, 8, 8), (512, 16, 16, 16), (256, 32, 32, 32), (64, 64, 64, 64)]
_BATCHES += [(32, 100, 100, 100)]
_BATCHES_TOO = {8: (float64, bfloat16), 32: (float64,), 64: (bfloat16,)}
_ATTENTION = [((64, 64, 64, 32), "NT"), ((64, 64, 32, 64), "NN")]
WIDE = (4096, 4096)


def _sized(m: int, n: int, k: int, layout: str = "NN", **rest: Any) -> Workload:
    """``layout``: T where an operand is stored transposed."""
    a, b = (Input(s, transposed=c == "T") for s, c in zip(((m, k), (k, n)), layout, strict=True))
    return Workload((a, b), **rest)


def _batch(sizes: tuple[int, int, int, int], layout: str = "NN", dtypes: tuple[DType, ...] = ()) -> Workload:
    """Many small products, of which each has its own operands."""
    entries, m, n, k = sizes
    shapes = zip(((entries, m, k), (entries, k, n)), layout, strict=True)
    operands = tuple(Input(s, transposed=c == "T") for s, c in shapes)
    return Workload(operands, why="batch", dtypes=(float32, *dtypes), devices=("cpu",))


def _of_bytes(workload: Workload) -> Workload:
    """The same in int8 with sums in int32."""
    described = [x if isinstance(x, Input) else Input(x) for x in workload.operands]
    operands = tuple(x._replace(low=-128, high=128, dtype=int8) for x in described)
    return workload._replace(operands=operands, attrs=(int32,))


def samples() -> Iterator[Sample]:
    """What `matmul` is tested with."""
    yield Sample((33, 17), (17, 65), why="no multiple of a tile")
    yield Sample((28, 9), (9, 64), why="whole tiles")
    yield Sample((15, 70), (70, 33), why="one more than a tile")
    yield Sample((3, 1), (1, 5), why="one product an element")
    yield Sample((20, 9), (9, 7), why="half a vector")
    yield Sample((60, 9), (9, 21), why="half a vector behind a whole one")
    yield Sample((4, 40), (40, 4), why="few rows and columns")
    yield Sample((2, 3, 4, 5), (2, 3, 5, 6), why="two axes of batch")
    yield Sample((1, 40), (40, 200), why="row, wide")
    yield Sample((130, 40), (40, 1), why="column")
    yield Sample((5,), (5,), why="vectors")
    yield Sample((5,), (2, 5, 3), why="vector with a batch")
    yield Sample((2, 3, 5), (5,), why="batch with a vector")
    yield Sample((2, 1, 3, 5), (4, 5, 2), why="broadcast both ways")
    yield Sample((4, 3, 5), (5, 6), why="one matrix for a batch")
    yield Sample((3, 5), (4, 5, 6), why="a batch for one matrix")
    yield Sample((3, 0), (0, 4), why="empty sum")
    yield Sample((0, 3), (3, 4), why="empty")
    yield Sample((2, 0, 3), (3, 4), why="empty, batch")
    yield Sample((5, 1100), (1100, 7), why="several slices of k", grad=False)
    yield Sample((150, 128), (128, 160), why="several threads", grad=False)
    a, b = np.linspace(-1.5, 2, 24).reshape(4, 6), np.linspace(2, -1, 30).reshape(6, 5)
    a[0, 1], a[1, 2], b[3, 4] = np.nan, np.inf, -np.inf
    yield Sample(a, b, why="special values", grad=False)
    for dtype in INTEGERS:
        i = np.iinfo(dtype.numpy)
        pair = (Input(s, i.min, i.max, dtype) for s in ((5, 9), (9, 33)))
        yield Sample(*pair, why=f"{dtype.name}, wrapping", grad=False)
    for n in (128, 512):
        yield Sample((n, n), (n, n), why=f"square {n}", grad=False)
    yield from _bytes()
    yield Sample((3, 40), (40, 5), dtype=float32, why="in float32", grad=False)
    yield Sample((4, 6), (6, 3), dtype=float64, why="in float64")
    yield Sample(Input((2, 4, 6), -9, 9, int16), Input((6, 3), -9, 9, int16), dtype=float64, why="integers in float64",
                 grad=False)  # fmt: skip


def _bytes() -> Iterator[Sample]:
    """Products of bytes with sums of 32 bits; all of them at their limits reach what a lane may hold at most."""

    def sample(a: tuple[int, ...], b: tuple[int, ...], left: Any, right: Any, why: str, dtype: Any = int32) -> Sample:
        drawn = [Input(shape, *_RANGES[d], d) for shape, d in ((a, left), (b, right))]
        return Sample(*drawn, dtype=dtype, why=f"{left.name} x {right.name}, {why}", grad=False)

    for left in (int8, uint8):
        for right in (int8, uint8):
            yield sample((31, 70), (70, 65), left, right, "no multiple of a tile")
            full = [np.full(s, i, d.numpy) for s, d in (((3, 67), left), ((67, 5), right))
                    for i in (np.iinfo(d.numpy).min or np.iinfo(d.numpy).max,)]  # fmt: skip
            yield Sample(*full, dtype=int32, why=f"{left.name} x {right.name}, limits", grad=False)
    yield sample((5, 2100), (2100, 40), int8, int8, "few rows")
    yield sample((17, 2100), (2100, 40), int8, int8, "several slices of k")
    yield sample((18, 4), (4, 33), int8, int8, "one step of k")
    yield sample((2, 1, 3, 5), (4, 5, 2), uint8, int8, "broadcast both ways")
    yield sample((4, 3, 5), (5, 6), int8, int8, "one matrix for a batch")
    yield sample((5,), (2, 5, 3), int8, int8, "vector with a batch")
    yield sample((1, 200), (200, 70), int8, uint8, "row")
    yield sample((130, 40), (40, 1), int8, int8, "column")
    yield sample((3, 0), (0, 4), int8, int8, "empty sum")
    yield sample((0, 3), (3, 4), int8, int8, "empty")
    yield sample((150, 260), (260, 320), int8, int8, "several threads")
    yield sample((5, 9), (9, 33), uint8, int8, "of the common dtype", None)


_RANGES = {int8: (-128, 128), uint8: (0, 256)}


def workloads() -> Iterator[Workload]:
    """What `matmul` is timed with."""
    for shape in _SQUARE:
        yield _sized(*shape, why="square", quick="forward" if shape[0] in (64, 512) else "")
    for shape in _SKINNY:
        yield _sized(*shape, why="skinny", dtypes=(float32, *_SKINNY_TOO.get(shape, ())))
    for layout in ("NT", "TN"):
        for shape in (*_SQUARE[1:5], _SKINNY[1], _SKINNY[3]):
            yield _sized(*shape, layout, why=layout, dtypes=(float32,))
    yield _sized(1023, 1025, 1021, why="ragged", dtypes=(float32,))
    for layout in ("NN", "NT"):
        yield _sized(1, 1024, 1024, layout, why="row", dtypes=(bfloat16,))
    for sizes in _BATCHES:
        yield _batch(sizes, dtypes=_BATCHES_TOO.get(sizes[-1], ()))
    for sizes in _BATCHES[:3:2]:
        yield _batch(sizes, "NT")
    for sizes, layout in _ATTENTION:
        yield _batch(sizes, layout, (bfloat16,))
    for m, n, k in (*_SQUARE[2:5], (128, 256, 784), (8, 1024, 1024)):
        for layout in ("NN", "NT"):
            yield _of_bytes(_sized(m, n, k, layout, why="bytes"))
    yield _of_bytes(on_gpu([WIDE, WIDE]))
    yield on_gpu([WIDE, WIDE], dtypes=(bfloat16, float32))
    for m, n, k in ((8192, 8192, 256), (16, 4096, 4096), (1, 4096, 4096), (256, 256, 16384), (1000, 1000, 1000)):
        yield on_gpu([(m, k), (k, n)])
    for batch, n in ((4096, 32), (64, 512)):
        yield on_gpu([(batch, n, n)] * 2)


def error_inputs() -> Iterator[ErrorInput]:
    """What `matmul` refuses, and how."""
    yield ErrorInput(ShapeError, "matmul: inner sizes differ: (2, 3) @ (4, 2)", np.zeros((2, 3)), np.zeros((4, 2)))
    yield ErrorInput(ShapeError, "matmul: inner sizes differ: (2, 3) @ (2,)", np.zeros((2, 3)), np.zeros(2))
    yield ErrorInput(ShapeError, "matmul: operands need at least one axis: () @ (3,)", np.zeros(()), np.zeros(3))
    yield ErrorInput(ShapeError, "matmul: leading axes do not broadcast: (2, 3, 4) @ (5, 4, 3)",
                     np.zeros((2, 3, 4)), np.zeros((5, 4, 3)))
    yield ErrorInput(DTypeError, "matmul: does not take bool", *[np.ones((2, 2), bool)] * 2)
    yield ErrorInput(DTypeError, "matmul: does not take bool", *[np.ones((2, 2))] * 2, dtype=bool_)
