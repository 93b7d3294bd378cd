"""What jobs share: the GPU, its memory, clocks, torch where it is installed, and whether values mean anything."""

import functools
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import dlcore as dl
from bench.gpu import cases, driver
from bench.gpu.driver import FLUSH, Clock, Driver
from dlcore import _C
from dlcore._observe import known
from dlcore.bench.cases import Case
from dlcore.dtypes import as_dtype


class Context:
    """One process's view of the GPU.

    ``dry``: no kernel runs, so that values mean nothing. ``exact``: memory comes from the driver in blocks of just the
    bytes asked for, so that compute-sanitizer sees the first byte past them, and not from CuPy's pool.
    """

    def __init__(self, dry: bool, exact: bool):
        self.dry, self.exact = dry, exact

    @functools.cached_property
    def driver(self) -> Driver:
        """The calls that dlcore does not need."""
        return Driver()

    @functools.cached_property
    def gpu(self) -> Any:
        """The device."""
        place = dl.device("cuda")
        if self.exact:
            known.LIBRARY = (*known.LIBRARY, driver.__file__)  # it runs on the engine's behalf, as CuPy does
            _C.set_memory(place.backend.code, False, self.driver.allocate, self.driver.free, True)
        return place

    def require(self, right: bool, text: str) -> None:
        """Raises AssertionError(text) unless ``right``; in a dry run nobody can say what is right."""
        if not right and not self.dry:
            raise AssertionError(text)

    def rounds(self, count: int) -> int:
        """How often to time something: in a dry run once."""
        return 1 if self.dry else count

    @property
    def flush(self) -> int:
        """Bytes to write before each timed call."""
        return 1 << 20 if self.dry else FLUSH

    @functools.cached_property
    def clock(self) -> Clock:
        """Of dlcore's stream."""
        return Clock(self.driver, self.gpu.backend.stream, self.flush)

    @functools.cached_property
    def torch_clock(self) -> Clock:
        """Of torch's stream."""
        return Clock(self.driver, 0, self.flush)

    @functools.cached_property
    def torch(self) -> Any:
        """torch, if it is installed and sees the GPU."""
        if importlib.util.find_spec("torch") is None:
            return None
        import torch

        return torch if torch.cuda.is_available() else None

    def operands(self, case: Case) -> list[Any]:
        """The operands of a case on the GPU; in a dry run large ones are memory that nobody has written."""
        found = []
        for value, shape in cases.drawn(case):
            if shape is not None and self.dry:
                value = dl.empty(shape, dtype=as_dtype(value.dtype), device=self.gpu)
            elif isinstance(value, np.ndarray):
                value = dl.tensor(value if shape is None else np.resize(value, shape), device=self.gpu)
            found.append(value)
        return found

    def in_torch(self, x: Any) -> Any:
        """A tensor of torch on the memory of one of dlcore's, everything that dlcore does with it done."""
        dl.synchronize()
        return self.torch.from_dlpack(x) if isinstance(x, dl.Tensor) else x

    def error(self, got: Any, want: Any) -> float:
        """The largest difference of results over the largest value; infinite where one is no number; 0 in a dry run."""
        if self.dry:
            return 0.0
        worst = 0.0
        for g, w in zip(each(got), each(want), strict=True):
            if self.torch is None:
                a, b = (np.asarray(x).astype(np.float64) for x in (g, w))
                off, scale = (float(np.max(np.abs(x), initial=0.0)) for x in (a - b, b))
            else:
                a, b = (self.in_torch(x).double() for x in (g, w))
                off, scale = (float(x.abs().max()) if x.numel() else 0.0 for x in (a - b, b))
            part = off / max(scale, 1e-30)
            worst = max(worst, part if part == part else float("inf"))
        return worst

    def same_bits(self, got: Any, want: Any) -> bool:
        """Whether results are equal bit by bit; in a dry run they are."""
        if self.dry:
            return True
        pairs = zip(each(got), each(want), strict=True)
        if self.torch is None:
            return all(np.asarray(g).tobytes() == np.asarray(w).tobytes() for g, w in pairs)
        bits = lambda x: self.in_torch(x).reshape(-1).view(self.torch.uint8)  # noqa: E731
        return all(self.torch.equal(bits(g), bits(w)) for g, w in pairs)

    @contextmanager
    def on_gpu(self) -> Iterator[None]:
        """New tensors are made on the GPU inside."""
        dl.set_default_device(self.gpu)
        try:
            yield
        finally:
            dl.set_default_device("cpu")


def each(results: Any) -> tuple[Any, ...]:
    """The results of an operation: it has one, or a tuple of them."""
    return results if isinstance(results, tuple) else (results,)
