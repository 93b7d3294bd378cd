"""What the definitions of normalisations share: dtypes, layouts, checks of shapes, sums in references."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from dlcore.dtypes import DType, float32, float64, result_type
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Op, Spec
from dlcore.ops._domains import limited, without_tiny
from dlcore.ops.elementwise import add, cast, square, sub
from dlcore.ops.movement import reshape
from dlcore.ops.reduce import mean

__all__ = [
    "Layout", "Norm", "along", "along_axis", "centred", "channel_axis", "channels_of", "check_channels", "check_eps",
    "check_floats", "check_vectors", "common", "norm", "numpy_centred", "numpy_mean", "numpy_size", "of_gradient",
    "other_axes", "wide", "widened",
]  # fmt: skip

Layout = Literal["NCHW", "NHWC"]


def wide(dtype: DType) -> DType:
    """What statistics are kept in."""
    return float64 if dtype is float64 else float32


def common(specs: Sequence[Spec | None], vectors: int) -> list[DType | None]:
    """Floating dtypes of what is normalised, operand 0, and of the ``vectors`` behind it: one for all, but that
    those of 16-bit operands may have another. Where operand 0 is of integers they are as given, to be refused."""
    there = [s for s in specs[: 1 + vectors] if s is not None]
    found, x = result_type((s.dtype, s.weak) for s in there), there[0].dtype
    if not x.is_float:
        return [s and s.dtype for s in specs[: 1 + vectors]]
    if x.itemsize == 2 and found is not float64:
        return [None if s is None else s.dtype if s.dtype.is_float else x for s in specs[: 1 + vectors]]
    return [None if s is None else found for s in specs[: 1 + vectors]]


def of_gradient(specs: Sequence[Spec | None]) -> list[DType | None]:
    """Dtypes of a gradient's operands, dout, x, what was kept and weight: dout has that of x, for kernels read both as
    one, and what was kept is in float32 or wider."""
    _, x, *kept, weight = specs
    assert x is not None  # a required operand
    return [x.dtype, x.dtype, *[wide(x.dtype)] * len(kept), weight and weight.dtype]


class Norm(Op):
    """A normalisation or its gradient."""

    family = "norm"
    kinds = ("float",)
    ulp = 4

    def family_kernels(self) -> dict[str, str]:
        """Those of the CPU."""
        return {"cpu": f"norm:{self.name}"}

    def restrict(self, operands: list[Any], largest: float) -> None:
        """Squares must be numbers, and neither they nor products of three factors subnormal. What is multiplied by is
        finite (an infinite weight gives NaN, for it meets the mean too, which may be 0), and rstd is not negative."""
        for k, x in enumerate(operands):
            if isinstance(x, np.ndarray) and x.dtype == np.float64:
                x = without_tiny(limited(x, largest**0.2), largest)
                name = self.input_names[min(k, len(self.input_names) - 1)]  # the last may be a group
                x = x if name in ("dout", "x", "residual") else np.where(np.isinf(x), np.sign(x), x)
                operands[k] = np.abs(x) if name == "rstd" else x


norm = Norm.definition


# ---- channels -------------------------------------------------------------------------------------------------------


def channel_axis(shape: Sequence[int], layout: str) -> int:
    """The axis of channels."""
    return len(shape) - 1 if layout == "NHWC" else 1


def channels_of(name: str, x: Spec, layout: str) -> int:
    """The number of channels; raises where there is no axis of them."""
    if len(x.shape) < 2:
        raise ShapeError(f"{name}: x has shape {x.shape}, without an axis of channels")
    return x.shape[channel_axis(x.shape, layout)]


def other_axes(ndim: int, layout: str) -> tuple[int, ...]:
    """All axes but that of the channels."""
    return tuple(d for d in range(ndim) if d != channel_axis(range(ndim), layout))


def along_axis(shape: Sequence[int], layout: str) -> tuple[int, ...]:
    """The shape of one number a channel that runs along the channels of ``shape``."""
    axis = channel_axis(shape, layout)
    return tuple(n if d == axis else 1 for d, n in enumerate(shape))


def along(value: Any, shape: Sequence[int], layout: str) -> Any:
    """One number a channel, so shaped that it runs along the channels of ``shape``; None is None."""
    return None if value is None else reshape(value, along_axis(shape, layout))


def check_vectors(name: str, shape: tuple[int, ...], x: Spec, **vectors: Spec | None) -> None:
    """Raises where one of these has another shape than ``shape``, or it or x is not of floats."""
    for key, spec in vectors.items():
        if spec is not None and spec.shape != shape:
            raise ShapeError(f"{name}: {key} has shape {spec.shape}, not {shape}, for x of shape {x.shape}")
    check_floats(name, x=x, **vectors)


def check_channels(name: str, x: Spec, layout: str, **vectors: Spec | None) -> int:
    """The number of channels; raises where one of these has not a number for each."""
    channels = channels_of(name, x, layout)
    check_vectors(name, (channels,), x, **vectors)
    return channels


def check_eps(name: str, eps: float) -> None:
    """Raises for what would make roots of negative numbers."""
    if not (eps >= 0 and math.isfinite(eps)):
        raise ValueError(f"{name}: eps is {eps}, not a number from 0 on")


def check_floats(name: str, **operands: Spec | None) -> None:
    """Raises where one of these is not of floats."""
    for key, spec in operands.items():
        if spec is not None and not spec.dtype.is_float:
            raise DTypeError(f"{name}: {key} is of dtype {spec.dtype.name}, not a float")


def widened(x: Any) -> Any:
    """A tensor in the dtype of its statistics."""
    target = wide(x.dtype)
    return x if x.dtype is target else cast(x, target)


# ---- what composites and references are made of -------------------------------------------------------------------


def centred(x: Any, axes: Sequence[int] | int) -> tuple[Any, Any, Any]:
    """x in the dtype of its statistics without its mean; mean and variance, which keep the reduced axes.

    However far the mean is from 0: what rounding takes off it comes back in a second one.
    """
    first = mean(widened(x), axes, True)
    near = sub(widened(x), first)
    second = mean(near, axes, True)
    rest = sub(near, second)
    return rest, add(first, second), mean(square(rest), axes, True)


def numpy_mean(x: Any, axes: tuple[int, ...]) -> Any:
    """The mean, which keeps the reduced axes; of nothing 0."""
    return x.sum(axes, keepdims=True) / max(math.prod(x.shape[d] for d in axes), 1)


def numpy_centred(x: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
    """x without its mean, and its variance."""
    rest = x - numpy_mean(x, axes)
    rest = rest - numpy_mean(rest, axes)  # what rounding took off the mean
    return rest, numpy_mean(rest * rest, axes)


def numpy_size(x: Any, axes: tuple[int, ...], eps: float) -> Any:
    """What errors of a normalised array are measured against."""
    rest, var = numpy_centred(x, axes)
    return np.abs(rest) / np.sqrt(var + eps) + 1
