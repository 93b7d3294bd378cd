"""Why a step cannot be recorded, and why it was recorded again: a kind to decide by, and a text to read."""

from __future__ import annotations

import linecache
from enum import Enum, IntEnum, auto
from typing import NamedTuple

__all__ = ["Failure", "FailureKind", "Reason", "ReasonKind"]


class FailureKind(IntEnum):
    """What a failure to record means for the calls that follow; as in csrc/core/record.h."""

    PERMANENT = 0
    """Every call would fail like this one: the step reads a value on the host, for instance."""
    KEEPS_TENSOR = 1
    """The step keeps a tensor that it has made, as an optimizer's first step keeps its state."""
    REBINDS = 2
    """The step changes what a recording of it depends on, as a first call that sets an attribute does."""
    NO_MEMORY = 3
    """There was no memory to note it; the step itself has run."""


class Failure(NamedTuple):
    """Why a call could not be recorded."""

    kind: FailureKind
    text: str
    line: str = ""
    """Where in the user's code it happened ("file.py:12"); empty where no one line is to be named."""

    @classmethod
    def found(cls, recorded: tuple[int, str, str] | None) -> Failure | None:
        """What ``_C.end_recording`` has found, if it found any."""
        return None if recorded is None else cls(FailureKind(recorded[0]), *recorded[1:])

    @property
    def may_pass(self) -> bool:
        """Whether a later call may be recorded all the same, for state that lasts is made and set only once."""
        return self.kind is not FailureKind.PERMANENT

    def message(self, function: str) -> str:
        """The failure of ``function`` in one sentence, with the code at fault."""
        message = f"capture: {function} cannot be recorded: {self.text}"
        if self.line:
            file, _, number = self.line.rpartition(":")
            source = linecache.getline(file, int(number)).strip()
            message += f" (at {self.line}{f': {source}' if source else ''})"
        return message


class ReasonKind(Enum):
    """What was not as the last recording needs it."""

    FIRST = auto()
    """There was no recording yet."""
    STRUCTURE = auto()
    """How the arguments are nested, or a number among them."""
    ARGUMENT = auto()
    """The shape, dtype, device, strides or requires_grad of an argument."""
    GRAD_MODE = auto()
    """Whether operations are tracked for gradients."""
    AUTOCAST = auto()
    """The dtype of autocast."""
    VARIABLE = auto()
    """A Python variable that the function reads."""
    STATE = auto()
    """The state of a module, an optimizer or another `Recordable`."""
    GRADIENT = auto()
    """Which tensors require a gradient, or whether there are gradients to start from."""


class Reason(NamedTuple):
    """Why a recording was made."""

    kind: ReasonKind
    text: str
