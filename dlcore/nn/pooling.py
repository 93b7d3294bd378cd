"""Layers of poolings: maxima, means and powers of windows, adaptive ones, and the way back from maxima."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from dlcore import _operations as functions
from dlcore._arguments import boolean, integer, integers, items, number, shown
from dlcore._tensor import Tensor
from dlcore.nn.module import Module

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "LPPool1d", "LPPool2d", "LPPool3d", "MaxPool1d",
    "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d",
]  # fmt: skip

Ints = int | Sequence[int]


class _Pool(Module):
    """What all of them share: ``axes`` in space, and the layout that they run in."""

    axes: ClassVar[int]
    layout: str = "NCHW"

    def _numbers(self, value: Any, what: str, least: int = 1, each: bool = False) -> Any:
        """A number or several, one for each axis; as a tuple where ``each``."""
        where = f"{type(self).__name__}: {what}"
        found = integers(value, where)
        if len(found) not in (1, self.axes):
            raise ValueError(f"{where} {shown(value)} is not one number, nor one for each of {self.axes} axes")
        for n in found:
            integer(n, where, least)
        if each:
            return found * self.axes if len(found) == 1 else found
        return found if items(value) is not None else found[0]

    def _flag(self, value: Any, what: str) -> bool:
        return boolean(value, f"{type(self).__name__}: {what}")

    def _function(self, name: str) -> Callable[..., Any]:
        return getattr(functions, f"{name}{self.axes}d")


class _MaxPool(_Pool):
    def __init__(
        self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ):  # fmt: skip
        self.kernel_size = self._numbers(kernel_size, "kernel_size")
        self.stride = self.kernel_size if stride is None else self._numbers(stride, "stride")
        self.padding, self.dilation = self._numbers(padding, "padding", 0), self._numbers(dilation, "dilation")
        self.return_indices = self._flag(return_indices, "return_indices")
        self.ceil_mode = self._flag(ceil_mode, "ceil_mode")

    def forward(self, x: Tensor) -> Any:
        return self._function("max_pool")(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices,
            self.layout,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The maxima of windows along the last axis; see `dl.max_pool1d`."""

    axes = 1


class MaxPool2d(_MaxPool):
    """The maxima of windows of images; see `dl.max_pool2d`.

    >>> nn.MaxPool2d(2)(dl.ones(1, 3, 8, 8)).shape
    (1, 3, 4, 4)
    """

    axes = 2


class MaxPool3d(_MaxPool):
    """The maxima of windows of volumes; see `dl.max_pool3d`."""

    axes = 3


class _AvgPool(_Pool):
    def __init__(
        self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ):  # fmt: skip
        self.kernel_size = self._numbers(kernel_size, "kernel_size", each=self.axes == 1)
        self.stride = self.kernel_size if stride is None else self._numbers(stride, "stride", each=self.axes == 1)
        self.padding = self._numbers(padding, "padding", 0, each=self.axes == 1)
        self.ceil_mode = self._flag(ceil_mode, "ceil_mode")
        self.count_include_pad = self._flag(count_include_pad, "count_include_pad")
        where = f"{type(self).__name__}: divisor_override"
        self.divisor_override = None if divisor_override is None else integer(divisor_override, where)

    def forward(self, x: Tensor) -> Any:
        return self._function("avg_pool")(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
            self.divisor_override, self.layout,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """The means of windows along the last axis; see `dl.avg_pool1d`."""

    axes = 1

    def __init__(
        self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):  # fmt: skip
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)

    def forward(self, x: Tensor) -> Any:
        return functions.avg_pool1d(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.layout
        )


class AvgPool2d(_AvgPool):
    """The means of windows of images; see `dl.avg_pool2d`.

    >>> nn.AvgPool2d(2)(dl.ones(1, 3, 8, 8)).shape
    (1, 3, 4, 4)
    """

    axes = 2


class AvgPool3d(_AvgPool):
    """The means of windows of volumes; see `dl.avg_pool3d`."""

    axes = 3


class _Adaptive(_Pool):
    def __init__(self, output_size: Any):
        where = f"{type(self).__name__}: output_size"
        several = items(output_size)
        for n in [output_size] if several is None else several:
            if n is not None:
                integer(n, where, 0)
        if several is not None and len(several) != self.axes:
            raise ValueError(f"{where} {shown(output_size)} is not one number, nor one for each of {self.axes} axes")
        self.output_size = output_size if several is None else tuple(several)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class _AdaptiveAvgPool(_Adaptive):
    def forward(self, x: Tensor) -> Any:
        return self._function("adaptive_avg_pool")(x, self.output_size, self.layout)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The means of ``output_size`` windows that share out the last axis; see `dl.adaptive_avg_pool1d`."""

    axes = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The means of ``output_size`` windows that share out an image; see `dl.adaptive_avg_pool2d`.

    >>> nn.AdaptiveAvgPool2d((1, None))(dl.ones(1, 3, 8, 8)).shape
    (1, 3, 1, 8)
    """

    axes = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The means of ``output_size`` windows that share out a volume; see `dl.adaptive_avg_pool3d`."""

    axes = 3


class _AdaptiveMaxPool(_Adaptive):
    def __init__(self, output_size: Any, return_indices: bool = False):
        super().__init__(output_size)
        self.return_indices = self._flag(return_indices, "return_indices")

    def forward(self, x: Tensor) -> Any:
        return self._function("adaptive_max_pool")(x, self.output_size, self.return_indices, self.layout)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The maxima of ``output_size`` windows that share out the last axis; see `dl.adaptive_max_pool1d`."""

    axes = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The maxima of ``output_size`` windows that share out an image; see `dl.adaptive_max_pool2d`."""

    axes = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The maxima of ``output_size`` windows that share out a volume; see `dl.adaptive_max_pool3d`."""

    axes = 3


class _LPPool(_Pool):
    def __init__(self, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False):
        number(norm_type, f"{type(self).__name__}: norm_type")
        self.norm_type = norm_type
        self.kernel_size = self._numbers(kernel_size, "kernel_size")
        self.stride = None if stride is None else self._numbers(stride, "stride")
        self.ceil_mode = self._flag(ceil_mode, "ceil_mode")

    def forward(self, x: Tensor) -> Any:
        return self._function("lp_pool")(
            x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode, self.layout
        )

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """The roots of sums of powers in windows along the last axis; see `dl.lp_pool1d`."""

    axes = 1


class LPPool2d(_LPPool):
    """The roots of sums of powers in windows of images; see `dl.lp_pool2d`."""

    axes = 2


class LPPool3d(_LPPool):
    """The roots of sums of powers in windows of volumes; see `dl.lp_pool3d`."""

    axes = 3


class _MaxUnpool(_Pool):
    def __init__(self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0):
        self.kernel_size = self._numbers(kernel_size, "kernel_size", each=True)
        self.stride = self.kernel_size if stride is None else self._numbers(stride, "stride", each=True)
        self.padding = self._numbers(padding, "padding", 0, each=True)

    def forward(self, x: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Any:
        return self._function("max_unpool")(
            x, indices, self.kernel_size, self.stride, self.padding, output_size, self.layout
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Zeros with the maxima where they were in signals; see `dl.max_unpool1d`."""

    axes = 1


class MaxUnpool2d(_MaxUnpool):
    """Zeros with the maxima where they were in images; see `dl.max_unpool2d`."""

    axes = 2


class MaxUnpool3d(_MaxUnpool):
    """Zeros with the maxima where they were in volumes; see `dl.max_unpool3d`."""

    axes = 3
