"""Integers and bools bit by bit: the operators & | ^ ~ << >>, and the functions behind them.

Operands broadcast and are promoted to a common dtype: of a bool and an integer to the integer. Negative integers are in
two's complement. Floats raise DTypeError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from dlcore.dtypes import INTEGERS, float32, int32, uint8
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Sample, Workload
from dlcore.ops._pointwise import Pointwise, ends
from dlcore.ops._workloads import MILLION, RAGGED, library

__all__ = [
    "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
]  # fmt: skip


class Bitwise(Pointwise):
    """A pointwise operation of integers, without a gradient; ``least`` and ``most``: of random second operands."""

    kinds: Sequence[str] = ("int", "uint", "bool")
    ulp = 0.0
    least, most = -100, 100

    def inputs(self, *shapes: tuple[int, ...], dtype: Any = int32) -> list[Input]:
        """Random operands of these shapes."""
        bounds = [(-100, 100), (self.least, self.most)]
        return [
            Input(shape, 0 if dtype.kind == "uint" else low, high, dtype)
            for shape, (low, high) in zip(shapes, bounds, strict=False)
        ]

    def family_samples(self) -> Iterator[Sample]:
        n = len(self.signature.operands)
        whole = partial(Sample, grad=False)
        for shapes, why in (
            (((33, 65), (33, 65)), "no multiple of a vector"), (((), ()), "0-d"), (((0, 3), (1, 3)), "empty"),
            (((4, 1, 5), (3, 1)), "broadcast both ways"), (((5, 700), (5, 1)), "broadcast columns"),
            ((self.large, self.large), "several threads"),
        ):  # fmt: skip
            yield whole(*self.inputs(*shapes[:n]), why=why)
        for dtype in INTEGERS:
            values = self.pairs(ends(dtype))
            yield whole(*(values if n == 2 else values[1:]), why=f"{dtype.name}, ends")
        if "bool" in self.kinds:
            both = np.array([False, True])
            yield whole(*([both[:, None], both] if n == 2 else [both]), why="bool")
        if n == 2:
            yield whole(Input((5, 7), 0, 100, uint8), 3, why="a Python number")

    def pairs(self, values: Any) -> list[Any]:
        """Each of ``values``, the ends of a dtype, with each."""
        return [values[:, None], values]

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        n, some = len(self.signature.operands), np.array([1.0, 2.0], np.float32)
        yield ErrorInput(DTypeError, f"{self.name}: does not take float32", *[some] * n)
        if n == 2:
            text = f"{self.name}: shapes do not broadcast: (3,) and (4,)"
            yield ErrorInput(ShapeError, text, np.ones(3, np.int32), np.ones(4, np.int32))
        if "bool" not in self.kinds:
            yield ErrorInput(DTypeError, f"{self.name}: does not take bool", *[np.array([True])] * n)

    def family_workloads(self) -> list[Workload]:
        n, once = len(self.signature.operands), (float32,)  # no operand is of a dtype that is timed
        return [
            Workload(tuple(self.inputs(MILLION, MILLION)[:n]), (), "1M", once),
            Workload(tuple(self.inputs(RAGGED, RAGGED)[:n]), (), "ragged", once),
            Workload(tuple(self.inputs((8,), (8,))[:n]), (), "the cost of a call", once),
        ]


bitwise_and = Bitwise.named(
    "bitwise_and", "a b", "The bits that are set in both a and b, a & b; of bools whether both hold.",
)  # fmt: skip
bitwise_or = Bitwise.named(
    "bitwise_or", "a b", "The bits that are set in a or in b, a | b; of bools whether either holds.",
)  # fmt: skip
bitwise_xor = Bitwise.named(
    "bitwise_xor", "a b", "The bits that are set in one of a and b, a ^ b; of bools whether they differ.",
)  # fmt: skip
bitwise_not = Bitwise.named(
    "bitwise_not", "x", "Every bit the other way, ~x: -x - 1 of signed integers; of bools whether x does not hold.",
    reference=np.invert, baselines=library("bitwise_not", numpy="np.invert"),
)  # fmt: skip


class Shift(Bitwise):
    """A shift: counts from 0 to beyond the bits that there are."""

    kinds = ("int", "uint")
    least, most = 0, 40

    def pairs(self, values: Any) -> list[Any]:
        """The ends with counts around the number of bits."""
        width = 8 * values.dtype.itemsize
        return [values[:, None], np.array([0, 1, width - 1, width, width + 1, 100], values.dtype)]


_NEGATIVE = [Sample(ends(int32)[:, None], np.array([-1, -(2**31)], np.int32), why="negative counts", grad=False)]

bitwise_left_shift = Shift.named(
    "bitwise_left_shift", "a b",
    """Integers a with their bits b places further up, a << b = a 2^b, which wraps.

    By as many places as there are bits, or more, it gives 0; a negative b counts as such a number. Raises DTypeError
    for bools and floats.""",
    reference=np.left_shift, samples=_NEGATIVE,
)  # fmt: skip
bitwise_right_shift = Shift.named(
    "bitwise_right_shift", "a b",
    """Integers a with their bits b places further down, a >> b = floor(a / 2^b).

    By as many places as there are bits, or more, it gives 0, of negative numbers -1; a negative b counts as such a
    number. Raises DTypeError for bools and floats.""",
    reference=np.right_shift, samples=_NEGATIVE,
)  # fmt: skip
