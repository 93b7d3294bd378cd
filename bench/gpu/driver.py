"""The few calls of the CUDA driver that measuring needs and dlcore does not: memory, events, fills."""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

FLUSH = 256 << 20  # bytes written before each timed call: more than the largest L2
OUT_OF_MEMORY = 2


class Driver:
    """The driver, and the primary context of one GPU, which dlcore, torch and CuPy share."""

    def __init__(self, index: int = 0):
        self._library = ctypes.CDLL(os.environ.get("DLCORE_LIBCUDA", "libcuda.so.1"))
        self._context, ordinal = ctypes.c_void_p(), ctypes.c_int()
        self.call("cuInit", 0)
        self.call("cuDeviceGet", ctypes.byref(ordinal), index)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), ordinal)

    def status(self, name: str, *arguments: Any) -> int:
        """What a call of the driver returns."""
        return int(getattr(self._library, name)(*arguments))

    def call(self, name: str, *arguments: Any) -> None:
        """Raises RuntimeError where the driver refuses."""
        if status := self.status(name, *arguments):
            raise RuntimeError(f"{name}: CUDA error {status}")

    def version(self) -> int:
        """The newest CUDA that it supports: 13000 is 13.0."""
        found = ctypes.c_int()
        self.call("cuDriverGetVersion", ctypes.byref(found))
        return found.value

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The GPU's context is this thread's inside."""
        self.call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def allocate(self, size: int) -> int:
        """The address of a block; MemoryError where there is no room."""
        address = ctypes.c_uint64()
        with self.entered():
            status = self.status("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        if status == OUT_OF_MEMORY:
            raise MemoryError
        if status:
            raise RuntimeError(f"cuMemAlloc: CUDA error {status}")
        return address.value

    def free(self, address: int) -> None:
        """Takes a block back."""
        with self.entered():
            self.call("cuMemFree_v2", ctypes.c_uint64(address))


class Clock:
    """Seconds of GPU time of one call on ``stream`` (a CUstream; 0: torch's), after ``flush`` bytes were written."""

    def __init__(self, driver: Driver, stream: int, flush: int = FLUSH):
        self._driver, self._stream, self._size = driver, ctypes.c_void_p(stream), ctypes.c_size_t(flush)
        self._start, self._end = ctypes.c_void_p(), ctypes.c_void_p()
        self._room = ctypes.c_uint64(driver.allocate(flush))
        with driver.entered():
            for event in (self._start, self._end):
                driver.call("cuEventCreate", ctypes.byref(event), 0)

    def __call__(self, function: Callable[[], Any]) -> float:
        """How long the GPU took for what ``function`` asked of it."""
        call, found = self._driver.call, ctypes.c_float()
        with self._driver.entered():
            call("cuMemsetD8Async", self._room, ctypes.c_ubyte(0), self._size, self._stream)
            call("cuEventRecord", self._start, self._stream)
            function()
            call("cuEventRecord", self._end, self._stream)
            call("cuEventSynchronize", self._end)
            call("cuEventElapsedTime", ctypes.byref(found), self._start, self._end)
        return found.value / 1e3
