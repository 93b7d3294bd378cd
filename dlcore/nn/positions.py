"""Positions for models of sequences: rotations of queries and keys, and sines added to embeddings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore import _C
from dlcore._arguments import boolean, choice, integer, number
from dlcore._tensor import Tensor, arange, tensor
from dlcore.dtypes import float32, float64
from dlcore.errors import ShapeError
from dlcore.nn.module import Module
from dlcore.ops._constants import constant
from dlcore.ops.elementwise import cast
from dlcore.ops.gather import take
from dlcore.ops.rotary import LAYOUTS, rotary_embedding

__all__ = ["RotaryEmbedding", "SinusoidalPositionalEncoding"]

_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def _llama3(frequencies: Any, given: Mapping[str, Any]) -> Any:
    """Low frequencies divided by ``factor``, high ones as they are, those between by what lies between."""
    if missing := [name for name in _LLAMA3 if name not in given]:
        raise ValueError(f"RotaryEmbedding: scaling 'llama3' needs {', '.join(missing)}")
    factor, low, high, length = (number(given[name], f"RotaryEmbedding: scaling {name}") for name in _LLAMA3)
    turns = length * frequencies / (2 * math.pi)
    share = np.clip((turns - low) / (high - low), 0, 1)
    return frequencies * (share + (1 - share) / factor)


def _frequencies(dim: int, base: float, scaling: Any) -> Any:
    """The angle that each pair turns by from one position to the next."""
    given = scaling if isinstance(scaling, Mapping) else {"rope_type": "linear", "factor": scaling}
    kind = choice(given.get("rope_type", given.get("type")), ("default", "linear", "ntk", "llama3"),
                  "RotaryEmbedding: scaling rope_type")  # fmt: skip
    factor = number(given.get("factor", 1.0), "RotaryEmbedding: scaling factor")
    if factor <= 0:
        raise ValueError(f"RotaryEmbedding: scaling factor {factor} is not above 0")
    if kind == "ntk" and dim > 2:
        base *= factor ** (dim / (dim - 2))
    frequencies = base ** -(np.arange(0, dim, 2) / dim)
    if kind == "llama3":
        return _llama3(frequencies, given)
    return frequencies / factor if kind == "linear" else frequencies


class _Tabled(Module):
    """A module with tables of sines and cosines, buffers in float32; beside an x in float64 they are in float64, too,
    which `to(float64)` cannot make of them: they are computed anew, once for each device."""

    _excluded = Module._excluded | {"_wide"}

    def __init__(self, device: Any):
        self._wide: dict[Any, tuple[Tensor, ...]] = {}
        for name, table in self._computed().items():
            self.register_buffer(name, tensor(table, float32, device=device), persistent=False)

    def _computed(self) -> dict[str, np.ndarray[Any, Any]]:
        """Name -> table in float64."""
        raise NotImplementedError(f"{type(self).__name__}: _computed is not written")

    def _tables(self, x: Tensor) -> tuple[Tensor, ...]:
        """In their order, for ``x``."""
        if x.dtype is not float64:
            return tuple(getattr(self, name) for name in self._buffers)
        if (found := self._wide.get(x.device)) is None:
            found = tuple(constant(table, x) for table in self._computed().values())
            if not _C.is_recording():
                self._wide[x.device] = found
        return found


class RotaryEmbedding(_Tabled):
    """Queries or keys with pairs of features turned by the angle of their position: `dl.rotary_embedding`.

    ``dim``: how many features of each head turn, an even number. ``max_positions``: rows of the tables. The i-th pair
    turns by base^(-2 i / dim) a position. ``scaling``: a factor by which positions are divided (Chen et al. 2023), or
    what Hugging Face's configurations have: ``{"rope_type": "linear" | "ntk" | "llama3", "factor": ..., ...}``, of
    which "ntk" enlarges the base instead. ``layout``: "BHTD" for (batch, heads, positions, features), or "BTHD".

    The tables, ``cos`` and ``sin``, are buffers in float32 and not saved; `to(dtype)` casts them as it does all else.
    For ``x`` in float64 there are others, computed in float64.
    ``positions`` and ``heads`` of a call as of `dl.rotary_embedding`: a 0-d tensor that grows from step to step makes
    no new recording.

    >>> rotary = nn.RotaryEmbedding(8, 16)
    >>> rotary(dl.ones(2, 4, 5, 8), positions=dl.tensor(3)).shape
    (2, 4, 5, 8)
    """

    cos: Tensor
    sin: Tensor

    def __init__(
        self, dim: int, max_positions: int = 2048, base: float = 10000.0,
        scaling: float | Mapping[str, Any] = 1.0, interleaved: bool = False, layout: str = "BHTD", device: Any = None,
    ):  # fmt: skip
        self.dim = integer(dim, "RotaryEmbedding: dim", 0)
        if self.dim % 2:
            raise ValueError(f"RotaryEmbedding: dim is {self.dim}; pairs need an even number")
        self.max_positions = integer(max_positions, "RotaryEmbedding: max_positions", 0)
        self.base = number(base, "RotaryEmbedding: base")
        if not self.base > 0:
            raise ValueError(f"RotaryEmbedding: base {self.base} is not above 0")
        self.interleaved = boolean(interleaved, "RotaryEmbedding: interleaved")
        self.layout = choice(layout, LAYOUTS, "RotaryEmbedding: layout")
        self.frequencies = tuple(_frequencies(self.dim, self.base, scaling).tolist())
        super().__init__(device)

    def _computed(self) -> dict[str, np.ndarray[Any, Any]]:
        angles = np.outer(np.arange(self.max_positions), self.frequencies)
        return {"cos": np.cos(angles), "sin": np.sin(angles)}

    def forward(self, x: Tensor, positions: Tensor | None = None, heads: int | None = None) -> Tensor:
        cos, sin = self._tables(x)
        found: Tensor = rotary_embedding(x, cos, sin, positions, self.interleaved, self.layout, heads)
        return found

    def extra_repr(self) -> str:
        return (
            f"{self.dim}, max_positions={self.max_positions}, base={self.base}, interleaved={self.interleaved}, "
            f"layout={self.layout!r}"
        )


class SinusoidalPositionalEncoding(_Tabled):
    """Embeddings (..., T, dim) with sines and cosines of their positions added (Vaswani et al. 2017).

    Feature 2 i of position p gets sin(p base^(-2 i / dim)), feature 2 i + 1 the cosine. The table, ``encoding``, is a
    buffer in float32 and not saved; for ``x`` in float64 there is another. ``positions`` of a call: (T,) to (..., T)
    integers, or 0-d for that of the first.

    >>> nn.SinusoidalPositionalEncoding(6, max_positions=16)(dl.zeros(1, 2, 6))[0, 0]
    tensor([0., 1., 0., 1., 0., 1.])
    """

    encoding: Tensor

    def __init__(self, dim: int, max_positions: int = 5000, base: float = 10000.0, device: Any = None):
        name = type(self).__name__
        self.dim = integer(dim, f"{name}: dim", 1)
        self.max_positions = integer(max_positions, f"{name}: max_positions", 0)
        self.base = number(base, f"{name}: base")
        super().__init__(device)

    def _computed(self) -> dict[str, np.ndarray[Any, Any]]:
        pairs = np.arange(self.dim) // 2 * 2
        angles = np.outer(np.arange(self.max_positions), self.base ** -(pairs / self.dim))
        return {"encoding": np.where(np.arange(self.dim) % 2 == 0, np.sin(angles), np.cos(angles))}

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        name, (table,) = type(self).__name__, self._tables(x)
        if x.ndim < 2 or x.shape[-1] != self.dim:
            raise ShapeError(f"{name}: x of shape {x.shape} does not end in (T, {self.dim})")
        length = x.shape[-2]
        if positions is None:
            if length > self.max_positions:
                raise ShapeError(f"{name}: {length} positions, the table has {self.max_positions}")
            rows = table[:length]
        else:
            rows = take(table, positions + arange(length, device=x.device) if positions.ndim == 0 else positions, 0)
        found: Tensor = x + (rows if rows.dtype is x.dtype else cast(rows, x.dtype))
        return found

    def extra_repr(self) -> str:
        return f"{self.dim}, max_positions={self.max_positions}, base={self.base}"
