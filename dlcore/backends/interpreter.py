"""The device "cuda:0" without a GPU: memory of the host, Programs run by Triton's interpreter. For tests.

Chosen by DLCORE_CUDA=interpreter. Triton must be told before it is imported (TRITON_INTERPRET=1), so a process either
interprets or compiles.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from typing import Any

import numpy as np

from dlcore import _C
from dlcore.backends import Bound, Faults, clear
from dlcore.dtypes import int64
from dlcore.errors import DeviceError
from dlcore.kernels.launch import ARCHES, Arch, Call, Program, View

__all__ = ["Backend"]


class Backend:
    """See `dlcore.backends`."""

    name = "Triton's interpreter"

    def __init__(self, code: int, index: int):
        _require_interpreter()
        self.code = code
        self.arch: Arch = ARCHES[os.environ.get("DLCORE_ARCH", "sm_90")]
        self.faults = Faults()
        _C.set_memory(code, True, _no_allocator, _no_allocator)
        self._words = np.empty((Faults.ROOM, 2), np.int64)
        clear(_C.wrap(self._words, int64))

    def bind(self, row: str, call: Call, program: Program) -> Bound:
        """A callable that interprets the program on the operands' memory."""
        from dlcore.kernels.interpret import execute

        words = self._words.ctypes.data
        errors = words + self.faults.place(row) if any(launch.reports for launch in program.launches) else 0
        count, end = len(call.inputs), len(call.inputs) + len(call.outputs)

        def interpreted(*addresses: int | None) -> None:
            inputs = [_operand(v, a) for v, a in zip(call.inputs, addresses[:count], strict=True)]
            execute(program, call, inputs, list(addresses[count:end]), errors, words)

        return Bound(_C.python_kernel(row, interpreted))

    def memory_stats(self) -> dict[str, int]:
        """The host's: see `Device.memory_stats`."""
        return _C.memory_stats()

    def order_before(self, stream: int | None) -> int:
        """Raises BufferError: nobody else knows this memory as a GPU's."""
        raise BufferError("the memory of Triton's interpreter is not a GPU's: copy the tensor to the CPU")

    def after_read_back(self) -> None:
        """What a read-back from a GPU does by itself."""
        self.synchronize()

    def synchronize(self) -> None:
        """Raises what the kernels found wrong; they have all run."""
        self.raise_faults(self._words.tobytes())

    def raise_faults(self, words: bytes) -> None:
        """Raises what ``words`` tell and starts anew."""
        error = self.faults.error(words)
        if error is not None:
            clear(_C.wrap(self._words, int64))
            raise error


def _require_interpreter() -> None:
    if importlib.util.find_spec("triton") is None:
        raise DeviceError("DLCORE_CUDA=interpreter needs Triton: pip install triton==3.9.0")
    if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
        raise DeviceError("DLCORE_CUDA=interpreter: Triton is already imported; set TRITON_INTERPRET=1 before it is")
    os.environ["TRITON_INTERPRET"] = "1"


def _no_allocator(_: int) -> int:
    raise AssertionError("memory of the host is allocated in C++")


def _operand(view: View | None, address: int | None) -> Any:
    """A weak scalar's value, or the address itself."""
    if view is None or address is None or not view.weak:
        return address
    stored = (ctypes.c_uint8 * view.dtype.itemsize).from_address(address)
    return np.frombuffer(bytes(stored), view.dtype.numpy)[0].item()
