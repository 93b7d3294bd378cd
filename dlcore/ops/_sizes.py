"""What rows share of their sizes and peers: lengths, layers of two networks, and functions that libraries have too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dlcore.dtypes import DType, bfloat16, float32
from dlcore.op import Operand, Size

__all__ = ["MILLION", "MODELS", "RAGGED", "Model", "library", "on_gpu", "pointwise"]

Shape = tuple[int, ...]

MILLION: Shape = (1 << 20,)
RAGGED: Shape = (1023, 1025)  # no multiple of a vector, a tile or a page


class Model(NamedTuple):
    """A multilayer perceptron: rows of a batch, and widths from the input to the classes."""

    batch: int
    widths: Shape

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each linear layer."""
        return list(zip(self.widths[:-1], self.widths[1:], strict=True))

    @property
    def parameters(self) -> list[Shape]:
        """Shapes of weights and biases."""
        return [shape for k, n in self.layers for shape in ((n, k), (n,))]


MODELS = {"a": Model(64, (64, 128, 64, 10)), "b": Model(128, (784, 256, 128, 10))}  # those of the README


def on_gpu(operands: Sequence[Any], attrs: tuple[Any, ...] = (), dtypes: tuple[DType, ...] = (bfloat16,)) -> Size:
    """What matters on a GPU and takes too long elsewhere."""
    return Size(tuple(operands), attrs, "large", dtypes, ("cuda",))


def pointwise(
    operands: int = 1,
    low: float | None = None,
    high: float | None = None,
    dtype: DType | None = None,
    attrs: tuple[Any, ...] = (),
    large: bool = False,
    quick: str = "",
) -> tuple[Size, ...]:
    """A million elements and a ragged matrix, of operands in [low, high); ``large``: 16 million too, beyond any cache.

    ``quick``: of the million.
    """

    own: tuple[DType, ...] = (float32,) if dtype else ()  # where no operand is of the dtype timed, once is enough

    def size(shape: Shape, why: str, dtypes: tuple[DType, ...] = own, **rest: Any) -> Size:
        return Size((Operand(shape, low, high, dtype),) * operands, attrs, why, dtypes, **rest)

    both = size(MILLION, "1M", quick=quick), size(RAGGED, "ragged")
    return (*both, size((1 << 24,), "16M", dtypes=(float32,))) if large else both


def library(
    name: str, operands: str = "x", *, symbol: str = "", out: Sequence[str] = ("numpy", "torch"), **other: str
) -> dict[str, str]:
    """How libraries compute a function of ``operands`` ("a b"): called by ``name``, or written with ``symbol``.

    ``out``: the libraries that can write it into an array that is there; ``other``: the function where a library calls
    it differently (numpy="np.negative"), or "" where it has none.
    """
    found = {}
    names = operands.split()
    for which, module in (("numpy", "np"), ("torch", "torch"), ("jax", "jnp")):
        function = other.get(which, f"{module}.{name}")
        if function:
            found[which] = f" {symbol} ".join(names) if symbol else f"{function}({', '.join(names)})"
            if which in out:
                found[f"{which} out"] = f"{function}({', '.join(names)}, out=out)"
    return found
