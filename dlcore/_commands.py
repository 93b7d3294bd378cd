"""What a recording consists of, as Python sees it: `commands`, its launches with their operations and arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dlcore import _C
from dlcore.op import Op, Spec

if TYPE_CHECKING:
    from dlcore.kernels.launch import View

__all__ = ["Array", "Command", "commands", "is_small", "work"]


class Array(NamedTuple):
    """An array that a command reads or writes; where ``region`` is -1, a number."""

    dtype: Any
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    region: int
    offset: int
    value: int
    number: int
    """Its place among all arrays of the recording."""

    @property
    def bytes(self) -> int:
        """The size of all elements."""
        return math.prod(self.shape) * int(self.dtype.itemsize)

    @property
    def spec(self) -> Spec:
        """What shape rules see of it."""
        return Spec(self.shape, self.dtype, self.region < 0)

    @property
    def contiguous(self) -> bool:
        """Whether the elements follow each other in row-major order."""
        step = 1
        for length, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if length not in (0, 1) and stride != step:
                return 0 in self.shape
            step *= length
        return True

    def view(self, address: int) -> View:
        """What planners of GPU kernels see of it, in a region that begins at ``address``."""
        from dlcore.kernels.launch import View

        return View(self.shape, self.dtype, self.strides, (address + self.offset) % 16 == 0, self.region < 0)

    def same_elements(self, other: Array) -> bool:
        """Whether both are the same elements of the same memory, in the same order."""
        return self[:5] == other[:5]

    def __str__(self) -> str:
        short = self.dtype.name.replace("float", "f").replace("uint", "u").replace("int", "i")
        return "number" if self.region < 0 else f"{short}[{','.join(map(str, self.shape))}]"


class Command(NamedTuple):
    """One launch of a kernel: the call of an operation, or (``op`` is None) a copy that dispatch made."""

    op: Op | None
    attrs: tuple[Any, ...]
    inputs: tuple[Array | None, ...]
    outputs: tuple[Array | None, ...]
    """Outputs and extras."""
    device: Any
    """Whose kernel it is."""
    lengths: tuple[int, ...] = ()
    kernel: str = ""
    line: int = -1
    """Where in the user's code, an index into the recording's ``lines``."""

    @property
    def name(self) -> str:
        """What it does."""
        return "copy" if self.op is None else self.op.name

    @property
    def reads(self) -> set[int]:
        """The regions it reads."""
        return _regions(self.inputs)

    @property
    def writes(self) -> set[int]:
        """The regions it writes: those of its outputs, and of operands that it changes in place."""
        changed = self.op.written(self.lengths) if self.op is not None else ()
        return _regions(self.outputs) | _regions([self.inputs[k] for k in changed])

    def values(self) -> dict[str, Any]:
        """Operands, as specs, and attributes by name: what the parts of an operation are called with."""
        assert self.op is not None
        specs = [None if a is None else a.spec for a in self.inputs]
        return self.op.values(specs, self.attrs, self.lengths)

    @property
    def work(self) -> tuple[float, float]:
        """(FLOPs, bytes that must move): what the operation says and the extras written, or the sizes of the arrays."""
        work = None if self.op is None else self.op.work(self.values())
        if self.op is None or work is None:
            return 0.0, float(sum(a.bytes for a in (*self.inputs, *self.outputs) if a is not None and a.region >= 0))
        extras = sum(a.bytes for a in self.outputs[len(self.op.output_names) :] if a is not None)
        return work[0], work[1] + extras


def _regions(arrays: Sequence[Array | None]) -> set[int]:
    return {a.region for a in arrays if a is not None and a.region >= 0}


def commands(recording: _C.Recording) -> Iterator[Command]:
    """The commands in their order."""
    number = 0
    for kernel, op, attrs, lengths, line, *arrays, _ in recording.commands:
        sides: list[tuple[Array | None, ...]] = []
        for side in arrays:
            sides.append(tuple(None if a is None else Array._make((*a, number + k)) for k, a in enumerate(side)))
            number += len(side)
        inputs, outputs = sides
        if op is not None:  # workspaces come last
            outputs = outputs[: len(op.output_names) + len(op.extra_names)]
        yield Command(op, attrs or (), inputs, outputs, recording.device, lengths or (), kernel, line)


def work(recording: _C.Recording) -> tuple[float, float]:
    """The FLOPs of a replay, and the bytes that its launches move."""
    flops = moves = 0.0
    for command in commands(recording):
        own = command.work
        flops, moves = flops + own[0], moves + own[1]
    return flops, moves


def is_small(recording: _C.Recording) -> bool:
    """Whether a second thread would cost more than it gains: it takes at most about 100 us on one core.

    A step of a 64-128-64-10 network, 66 us on one core of a Zen 4, takes 59 on two that share a cache, but 148 on two
    that do not, and 80 where it follows the last so late that the other thread sleeps.
    """
    flops, moves = work(recording)
    return flops / 1e11 + moves / 3e10 < 100e-6
