"""Cases of an operation: sample inputs, error inputs and workloads, described where they stand and drawn when used.

An input is described by its shape alone, `(33, 65)`, or by `Input(...)`; small ones may stand as NumPy arrays, numbers
as numbers, a group as a list, an absent optional operand as None. Nothing large exists before a test or a benchmark
asks for it, and each sample is drawn from a seed of its own, so that it is the same whatever was drawn before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from dlcore.dtypes import DType
from dlcore.op.signature import EVERYWHERE, Domain, Operand

__all__ = ["ErrorInput", "Input", "Sample", "Workload", "flat", "lengths_of", "shape_of"]


class Input(NamedTuple):
    """An array described, not drawn: in the operand's domain (mostly standard normal), or uniform in [low, high).

    ``dtype``: None for the floating dtype that is tested or timed; integers need ``low`` and ``high``. ``draw``:
    draw(rng) -> the array, where it takes more words than these. ``transposed``: the last two axes lie in memory the
    other way round, as those of ``weight.T`` do (workloads only).
    """

    shape: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    dtype: DType | None = None
    transposed: bool = False
    draw: Callable[[np.random.Generator], Any] | None = None

    def array(self, rng: np.random.Generator, domain: Domain = EVERYWHERE) -> np.ndarray[Any, Any]:
        """The values; floating ones in float64."""
        if self.draw is not None:
            return np.asarray(self.draw(rng))
        if self.dtype is None or self.dtype.is_float:
            interval = domain if self.low is None or self.high is None else Domain(self.low, self.high)
            values = np.asarray(interval.draw(rng, self.shape))
            return values if self.dtype is None else values.astype(self.dtype.numpy)
        if self.dtype.kind == "bool":
            return np.asarray(rng.random(self.shape) < 0.5)
        low, high = int(self.low or 0), int(100 if self.high is None else self.high)
        drawn = rng.integers(low, high, self.shape, np.uint64 if high >= 2**63 else np.int64)
        return np.asarray(drawn).astype(self.dtype.numpy)


class Sample:
    """Inputs worth testing: `Sample((33, 65), axis=0, why="columns")`, one for each operand, attributes by name.

    Arrays described without a dtype and NumPy arrays of float64 are rounded to the dtype under test. ``why``: what this
    shape or value is for ("tile edge", "empty", "0-d", "broadcast"). ``grad``: whether the point is differentiable, and
    cheap enough for a gradient check. ``draw``: draw(rng) -> all inputs as arrays, where they depend on each other.
    """

    __slots__ = ("attrs", "draw", "grad", "inputs", "why")

    def __init__(
        self,
        *inputs: Any,
        why: str = "",
        grad: bool = True,
        draw: Callable[[np.random.Generator], Sequence[Any]] | None = None,
        **attrs: Any,
    ):
        self.inputs, self.why, self.grad, self.draw, self.attrs = inputs, why, grad, draw, attrs

    def but(self, *inputs: Any, **changes: Any) -> Sample:
        """The same with other inputs (if any are given), or another ``why``, ``grad`` or attribute."""
        own = {"why": self.why, "grad": self.grad, "draw": None if inputs else self.draw, **self.attrs}
        return Sample(*(inputs or self.inputs), **(own | changes))

    @property
    def size(self) -> int:
        """Elements of all inputs."""
        return sum(math.prod(shape) for shape in map(shape_of, flat(self.inputs)) if shape is not None)

    @property
    def in_any_dtype(self) -> bool:
        """Whether an input takes the dtype under test."""
        return any(
            x.dtype == np.float64 if isinstance(x, np.ndarray) else type(x) is tuple or _undecided(x)
            for x in flat(self.inputs)
        )

    def __repr__(self) -> str:
        return f"<sample {self.why or self.inputs}>"

    def arrays(self, name: str, operands: Sequence[Operand]) -> list[Any]:
        """The inputs of the operation called ``name``, drawn: arrays, numbers and None, those of groups one by one."""
        import zlib

        rng = np.random.default_rng([zlib.crc32(name.encode()), zlib.crc32(repr((self.why, self.attrs)).encode())])
        if self.draw is not None:
            return list(flat(self.draw(rng)))
        found: list[Any] = []
        for operand, given in zip_longest(operands, self.inputs):  # optional operands may be left out
            for one in given if isinstance(given, list) else [given]:
                one = Input(one) if type(one) is tuple else one
                found.append(one.array(rng, operand.domain) if isinstance(one, Input) else one)
        return found


class Workload(NamedTuple):
    """Operands worth timing: described as those of a `Sample`, so that they may be large.

    ``attrs``: by position, as they are called. ``why``: what it stands for ("dispatch", "1M", "ragged", "a layer of
    model b"). ``dtypes``: what it is timed in; default: the floating dtypes that the operation claims. ``devices``:
    where it is worth the time and fits. ``quick``: the mode ("forward", "both") in which `dlcore bench --quick` times
    it before others.
    """

    operands: tuple[Any, ...]
    attrs: tuple[Any, ...] = ()
    why: str = ""
    dtypes: tuple[DType, ...] = ()
    devices: tuple[str, ...] = ("cpu", "cuda")
    quick: str = ""


class ErrorInput:
    """One wrong call: `ErrorInput(ShapeError, "softmax: ...", np.zeros(3), axis=2)`, the error and its exact text."""

    __slots__ = ("attrs", "error", "inputs", "text")

    def __init__(self, error: type[Exception], text: str, *inputs: Any, **attrs: Any):
        self.error, self.text, self.inputs, self.attrs = error, text, inputs, attrs


def _undecided(x: Any) -> bool:
    return isinstance(x, Input) and x.dtype is None


def shape_of(x: Any) -> tuple[int, ...] | None:
    """The shape of an input, drawn or not; None for numbers and what is absent."""
    if isinstance(x, Input | np.ndarray):
        return x.shape
    return x if type(x) is tuple else None


def flat(inputs: Sequence[Any]) -> Iterator[Any]:
    """The inputs with those of groups one by one."""
    for given in inputs:
        if isinstance(given, list):
            yield from given
        else:
            yield given


def lengths_of(inputs: Sequence[Any], operands: Sequence[Operand]) -> tuple[int, ...]:
    """How many tensors each group has, in the order of the groups; empty for operations without groups."""
    return tuple(len(given) for given, o in zip(inputs, operands, strict=False) if o.group)
