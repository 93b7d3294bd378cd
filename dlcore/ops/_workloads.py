"""What operations share of their workloads and baselines: lengths, layers of two networks, functions of libraries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from dlcore.dtypes import DType, bfloat16, float32
from dlcore.op import Spec, Workload

__all__ = ["MILLION", "MODELS", "RAGGED", "Model", "bytes_of", "library", "million_and_ragged", "on_gpu"]

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


def bytes_of(*specs: Spec | None) -> float:
    """Bytes of the elements of ``specs``."""
    return float(sum(math.prod(s.shape) * s.dtype.itemsize for s in specs if s is not None))


def on_gpu(operands: Sequence[Any], attrs: tuple[Any, ...] = (), dtypes: tuple[DType, ...] = (bfloat16,)) -> Workload:
    """What matters on a GPU and takes too long elsewhere."""
    return Workload(tuple(operands), attrs, "large", dtypes, ("cuda",))


def million_and_ragged(
    operands: int = 1, attrs: tuple[Any, ...] = (), large: bool = False, quick: str = ""
) -> list[Workload]:
    """A million elements and a ragged matrix; ``large``: 16 million too, beyond any cache. ``quick``: the million's."""
    found = [
        Workload((MILLION,) * operands, attrs, "1M", quick=quick),
        Workload((RAGGED,) * operands, attrs, "ragged"),
    ]
    return [*found, Workload(((1 << 24,),) * operands, attrs, "16M", (float32,))] if large else found


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
        if not function:
            found[which] = ""
        else:
            found[which] = f" {symbol} ".join(names) if symbol else f"{function}({', '.join(names)})"
            if which in out:
                found[f"{which} out"] = f"{function}({', '.join(names)}, out=out)"
    return found
