"""What the planners of convolutions speak of: a convolution of three axes of space, absent ones being of length 1.

Letters: N images, G groups, and of one group C channels of the input and D of the output; S, K, L: lengths of the
input, the kernel and the output. Kernels get lengths alone: strides in memory follow from them and from the layout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from dlcore.dtypes import DType, float32, float64
from dlcore.kernels.launch import Call, View, index_dtype
from dlcore.kernels.matmul.precision import float32_precision
from dlcore.kernels.matmul.product import unit_of

__all__ = ["AXES", "Walk", "precision_of", "walk_of"]

AXES = "zyx"
Lengths = tuple[int, ...]


class Walk(NamedTuple):
    """A convolution."""

    images: int
    groups: int
    inputs: int
    outputs: int
    size: Lengths
    made: Lengths
    kernel: Lengths
    stride: Lengths
    before: Lengths
    dilation: Lengths
    channels_last: bool
    dtype: DType

    @property
    def points(self) -> int:
        """Places of the kernel."""
        return math.prod(self.kernel)

    @property
    def places(self) -> int:
        """Places of the output of one image."""
        return math.prod(self.made)

    @property
    def index(self) -> DType:
        """What addresses of images are counted in."""
        read = self.images * self.groups * self.inputs * math.prod(self.size)
        return index_dtype(max(read, self.images * self.groups * self.outputs * self.places))

    @property
    def depthwise(self) -> bool:
        """Whether each output sees one channel."""
        return self.inputs == 1 and self.groups > 1

    def arguments(self) -> dict[str, Any]:
        """Lengths by the names that Triton kernels give them; channels in units that loads can take at once."""
        found: dict[str, Any] = {"images": self.images}
        for name, values in (
            ("size", self.size), ("made", self.made), ("kernel", self.kernel), ("stride", self.stride),
            ("before", self.before), ("dilation", self.dilation),
        ):  # fmt: skip
            found |= {f"{name}_{axis}": n for axis, n in zip(AXES, values, strict=True)}
        for name, n in (("inputs", self.inputs), ("outputs", self.outputs)):
            unit = unit_of(self.dtype.itemsize, n)
            found |= {f"{name}_units": n // unit, f"UNIT_{name.upper()}": unit}
        return found


def walk_of(call: Call, x: View | Sequence[int], weight: Sequence[int], y: Sequence[int]) -> Walk:
    """The convolution of an input, a weight and an output of these shapes, as the parameters of a call say it."""
    shape = tuple(x.shape if isinstance(x, View) else x)
    numbers = [int(n) for n in call.params]
    (layout, groups, _), axes = numbers[:3], len(shape) - 2
    stride, before, _, dilation = (numbers[3 + k * axes : 3 + (k + 1) * axes] for k in range(4))
    ones, zeros = (1,) * (3 - axes), (0,) * (3 - axes)
    last = layout == 1
    size, made = (tuple(s[1:-1]) if last else tuple(s[2:]) for s in (shape, tuple(y)))
    first = call.inputs[0]
    assert first is not None
    return Walk(
        shape[0], groups, weight[1], weight[0] // groups, (*ones, *size), (*ones, *made), (*ones, *weight[2:]),
        (*ones, *stride), (*zeros, *before), (*ones, *dilation), last, first.dtype,
    )  # fmt: skip


def precision_of(dtype: DType) -> str:
    """How tensor cores multiply; see `matmul.precision`."""
    return float32_precision() if dtype is float32 else "ieee"


def kind(dtype: DType) -> str:
    """"The line of the tables: "half", "double", or how float32 is multiplied: what tiles depend on."""
    return "double" if dtype is float64 else float32_precision() if dtype is float32 else "half"
