"""How a device other than the CPU keeps memory and runs the Programs of GPU kernels. Loaded when first asked for.

A backend has

- ``name``, and ``arch``: what planners may ask about the machine;
- ``bind(row, call, program)``: a `Bound`, what the plan of a call runs;
- ``synchronize()``: waits, and raises what the kernels found wrong; ``after_read_back()``: what a read-back adds;
- ``memory_stats()``: see `Device.memory_stats`;
- ``raise_faults(words)``: that error, from the fault words;
- ``order_before(stream)``: lets another stream wait for the device's work, before memory is shared; its number.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from numpy.linalg import LinAlgError

from dlcore import _C
from dlcore.kernels.launch import (
    BAD_INDEX,
    BAD_LABEL,
    BAD_LENGTH,
    BAD_OFFSET,
    BAD_PARAMETER,
    BAD_TOKEN,
    FAULT_ROOM,
    NEGATIVE_POWER,
    NO_PROBABILITY,
    NOT_FINITE,
    NOT_POSITIVE_DEFINITE,
    SINGULAR,
)

__all__ = ["NO_FAULT", "Bound", "Faults"]

NO_FAULT = (0, 2**63 - 1)  # (code, position)
_TEXTS = {
    BAD_LABEL: "the label at position {} is no class",
    BAD_LENGTH: "the length at position {} is not allowed",
    BAD_OFFSET: "the offset at position {} is not between the one before (0 for the first) and the number of tokens",
    BAD_TOKEN: "the token at position {} is outside of the vocabulary",
    BAD_INDEX: "the index at position {} is out of range",
    NOT_FINITE: "the value at position {} is not finite",
    NO_PROBABILITY: "the input at position {} is no probability, between 0 and 1",
    NEGATIVE_POWER: "the exponent at position {} is negative, and integers have no such powers",
    BAD_PARAMETER: "the parameter at position {} is outside of the distribution's range",
    SINGULAR: "the matrix at position {} is singular",
    NOT_POSITIVE_DEFINITE: "the matrix at position {} is not positive definite",
}
_KINDS: dict[int, Any] = {  # others: IndexError
    NOT_FINITE: FloatingPointError,
    NEGATIVE_POWER: ValueError,
    BAD_LENGTH: ValueError,
    BAD_OFFSET: ValueError,
    BAD_PARAMETER: ValueError,
    NO_PROBABILITY: ValueError,
    SINGULAR: LinAlgError,
    NOT_POSITIVE_DEFINITE: LinAlgError,
}


class Bound(NamedTuple):
    """What a plan runs: a capsule of a native kernel."""

    target: Any
    temps: tuple[int, ...] = ()
    """Bytes of the workspaces that a native kernel finds behind the outputs."""
    copies: tuple[int, ...] = ()
    """Inputs to be made contiguous and aligned for a native kernel first."""


class Faults:
    """Where rows report bad data: two int64 words each, (code, position), in the order in which rows first ran."""

    ROOM = FAULT_ROOM

    def __init__(self) -> None:
        self.rows: list[str] = []

    def place(self, row: str) -> int:
        """The byte offset of the operation's words."""
        if row not in self.rows:
            if len(self.rows) == self.ROOM:
                raise RuntimeError(f"{row}: more than {self.ROOM} operations report bad data")
            self.rows.append(row)
        return 16 * self.rows.index(row)

    def error(self, words: bytes) -> IndexError | FloatingPointError | ValueError | None:
        """The error of the first row that reports one."""
        pairs = struct.iter_unpack("<2q", words[: 16 * len(self.rows)])
        for row, (code, position) in zip(self.rows, pairs, strict=False):
            if code:
                kind: type[IndexError | FloatingPointError | ValueError] = _KINDS.get(code, IndexError)
                return kind(f"{row}: {_TEXTS.get(code, 'bad data at position {}').format(position)}")
        return None


def clear(words: Any) -> None:
    """Sets fault words, an int64 tensor (n, 2) on any device, to nothing reported."""
    import numpy as np

    from dlcore.dtypes import int64

    _C.copy_memory(_C.wrap(np.full(words.shape, NO_FAULT, np.int64), int64), words)
