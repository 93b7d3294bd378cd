"""Means of windows: avg_pool1d, avg_pool2d, avg_pool3d, and the operations behind them and behind the adaptive ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore._arguments import boolean, integer, names_errors, operand
from dlcore.dtypes import FLOATS, float32, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Sample, Shape, Spec, Workload
from dlcore.ops._windows import (
    Ints,
    Layout,
    Pooled,
    check_windows,
    pooled_cost,
    positions,
    spatial,
    volume,
    window_numbers,
    windows_on,
    with_space,
)
from dlcore.ops.movement import reshape
from dlcore.ops.reduce import mean

__all__ = ["avg_pool1d", "avg_pool2d", "avg_pool3d"]

# ---- the operations -------------------------------------------------------------------------------------------------


def _mean_window(size: int | Ints, kernel: int | Ints, stride: Any = None, padding: Any = 0, counts: bool = True,
            divisor: int = 0, layout: str = "NCHW", *, rank: int = 2) -> dict[str, Any]:  # fmt: skip
    """The attributes of a sample; one number stands for all axes."""
    def each(v: Any) -> Ints:
        return (v,) * rank if isinstance(v, int) else v

    return {"size": each(size), "kernel": each(kernel), "stride": each(kernel if stride is None else stride),
            "padding": each(padding), "count_include_pad": counts, "divisor": divisor, "layout": layout}  # fmt: skip


def _shares(size: Ints, layout: str = "NCHW") -> dict[str, Any]:
    return {"size": size, "kernel": (), "stride": (), "padding": (), "layout": layout}


_CASES: list[tuple[Ints, dict[str, Any], str]] = [
    ((2, 3, 6, 8), _mean_window((3, 4), 2), "2 by 2"), ((2, 3, 7, 9), _mean_window((3, 4), 2), "2 by 2, odd lengths"),
    ((2, 2, 9, 35), _mean_window((5, 18), 3, 2, 1), "3 by 3, stride 2, overlapping"),
    ((2, 3, 7, 5), _mean_window((4, 3), 3, 2, 1, counts=False), "padding does not count"),
    ((1, 2, 6, 8), _mean_window((4, 5), 3, 2, 1), "ceil mode"),
    ((2, 5, 7, 37), _mean_window((3, 3), (3, 4), (2, 3), (1, 2), layout="NHWC"), "NHWC"),
    ((1, 70, 4, 3), _mean_window((70, 2), (3, 2), (1, 2), (1, 0), counts=False, layout="NHWC"), "NHWC, few channels"),
    ((2, 3, 11), _mean_window(4, 3, 3, 1, divisor=-2, rank=1), "1-d, a divisor"),
    ((1, 2, 5, 4, 6), _mean_window((2, 2, 3), (2, 3, 2), (2, 1, 2), rank=3), "3-d"),
    ((2, 2, 5, 5, 37), _mean_window((2, 2, 18), 2, rank=3), "3-d, 2 by 2 by 2, odd lengths"),
    ((1, 2, 20, 18), _mean_window((2, 3), (17, 16), (3, 2), 1), "large windows"),
    ((2, 2, 7, 5), _shares((3, 4)), "adaptive"),
    ((1, 5, 4, 3), _shares((7, 2), "NHWC"), "adaptive, NHWC, more windows than elements"),
    ((5, 7, 5, 7), _mean_window(1, (5, 7)), "whole planes"), ((2, 5, 9, 13), _mean_window((3, 4), 3), "stride 3, rows"),
    ((0, 2, 4, 4), _mean_window(2, 2), "no images"),
]  # fmt: skip
Windows = tuple[Ints, Ints, Ints, Ints]


def _windows(kernel: Ints, stride: Ints, padding: Ints) -> Windows:
    return kernel, stride, padding, (1,) * len(kernel)


_TORCH_BACK = """
backward = torch.ops.aten.avg_pool2d_backward
if layout == "NHWC":
    dout = dout.movedim(-1, 1)
x = torch.empty((*dout.shape[:2], *size), dtype=dout.dtype, device=dout.device)
if layout == "NHWC":
    x = x.to(memory_format=torch.channels_last)
"""


class MeanPooled(Pooled):
    """Means of windows, or their gradient."""

    dtypes = FLOATS
    ulp = 4
    back = False
    """Whether it is the gradient: samples, errors and workloads then are those of the outputs."""

    params: Any = staticmethod(lambda size, kernel, stride, padding, count_include_pad, divisor, layout: (
        *window_numbers(size, kernel, stride, padding, (1,) * len(kernel), layout), int(count_include_pad), divisor
    ))  # fmt: skip

    def _turned(self, shape: Ints, attrs: dict[str, Any]) -> tuple[Ints, dict[str, Any]]:
        """Of a case the shape and attributes: with the gradient, of the output, and the input's lengths."""
        if not self.back:
            return shape, attrs
        out = with_space(shape, attrs["size"], attrs["layout"])
        return out, {**attrs, "size": spatial(shape, attrs["layout"])}

    def family_samples(self) -> Iterator[Sample]:
        for shape, attrs, why in _CASES:
            shape, attrs = self._turned(shape, attrs)
            yield Sample(shape, **attrs, why=why)
        shape, attrs = self._turned((3, 2, 41, 90), _mean_window((21, 45), 3, 2, 1))
        yield Sample(shape, **attrs, why="several tiles", grad=False)

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        out = (1, 1, 3, 2) if self.back else (1, 1, 4, 4)
        given = _mean_window((4, 4) if self.back else (3, 2), 2)
        text = "windows on shape (1, 1, 4, 4) give (2, 2) in space, not (3, 2)"
        yield ErrorInput(ShapeError, f"{self.name}: {text}", np.zeros(out), **given)
        text = "padding (2, 0) is more than half of windows of (2, 2)"
        yield ErrorInput(ShapeError, f"{self.name}: {text}", np.zeros(out), **{**given, "padding": (2, 0)})

    def family_workloads(self) -> list[Workload]:
        def given(shape: Ints, *rest: Any, why: str, **kw: Any) -> Workload:
            shape, attrs = self._turned(shape, _mean_window(*rest, rank=len(shape) - 2))
            return Workload((shape,), tuple(attrs.values()), why, **kw)

        return [
            given((64, 8, 28, 28), (14, 14), 2, why="2 by 2"),
            given((16, 64, 56, 56), (56, 56), 3, 1, 1, why="3 by 3, stride 1", dtypes=(float32,)),
            given((16, 56, 56, 64), (28, 28), 2, 2, 0, True, 0, "NHWC", why="NHWC", dtypes=(float32,)),
            given((64, 64, 8, 8), (1, 1), 8, why="whole planes", dtypes=(float32,)),
            *([] if self.back else [given((8, 32, 4096), (2048,), 2, why="1-d", dtypes=(float32,))]),
        ]

    def family_baselines(self) -> dict[str, Any]:
        if self.back:
            call = "backward(dout, x, kernel, stride, padding, False, count_include_pad, None)"
            return {"torch": (_TORCH_BACK, call)}
        pool = "(F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[x.ndim - 3]"
        order = "x if layout == 'NCHW' else x.movedim(-1, 1)"
        return {"torch": f"{pool}({order}, kernel, stride, padding, False, count_include_pad)"}


def _numpy_divisor(place: Ints, count: int, space: Ints, windows: Windows, counts: bool, divisor: int) -> int:
    kernel, stride, padding, _ = windows
    if divisor:
        return divisor
    if not counts or not kernel:
        return count
    starts = [o * s - p for o, s, p in zip(place, stride, padding, strict=True)]
    return math.prod(min(b + k, n + p) - b for b, k, n, p in zip(starts, kernel, space, padding, strict=True))


def _numpy_means(
    x: Any, size: Ints, kernel: Ints, stride: Ints, padding: Ints, count_include_pad: bool, divisor: int, layout: str
) -> Any:
    x = x if layout == "NCHW" else np.moveaxis(x, -1, 1)
    space, windows = x.shape[2:], _windows(kernel, stride, padding)
    flat = x.reshape(*x.shape[:2], math.prod(space))
    out = np.empty((*x.shape[:2], *size), x.dtype)
    for place, _, elements in positions(space, size, windows):
        by = _numpy_divisor(place, len(elements), space, windows, count_include_pad, divisor)
        sums = np.sum(flat[..., elements], -1)
        out[(slice(None), slice(None), *place)] = np.trunc(sums / by) if x.dtype.kind == "i" else sums / by
    return out if layout == "NCHW" else np.moveaxis(out, 1, -1)


def _numpy_back(
    dout: Any, size: Ints, kernel: Ints, stride: Ints, padding: Ints, count_include_pad: bool, divisor: int,
    layout: str,
) -> Any:  # fmt: skip
    dout, windows = dout if layout == "NCHW" else np.moveaxis(dout, -1, 1), _windows(kernel, stride, padding)
    dx = np.zeros((*dout.shape[:2], math.prod(size)), dout.dtype)
    for place, _, elements in positions(size, dout.shape[2:], windows):
        by = _numpy_divisor(place, len(elements), size, windows, count_include_pad, divisor)
        dx[..., elements] += dout[(slice(None), slice(None), *place)][..., None] / by
    dx = dx.reshape(*dout.shape[:2], *size)
    return dx if layout == "NCHW" else np.moveaxis(dx, 1, -1)


def _to_input(
    dout: Any, x_shape: Ints, kernel: Ints, stride: Ints, padding: Ints, count_include_pad: bool, divisor: int,
    layout: str,
) -> Any:  # fmt: skip
    size = spatial(x_shape, layout)
    return avg_pool_backward(dout, size, kernel, stride, padding, count_include_pad, divisor, layout)


def _mean_cost(x: Spec, size: Ints, kernel: Ints, layout: str) -> tuple[float, float]:
    out = Spec(with_space(x.shape, size, layout), x.dtype)
    return pooled_cost(x, out, volume(spatial(x.shape, layout), size, kernel))


@MeanPooled.definition(
    kinds=("float", "int"), reference=_numpy_means, gradient={"x": _to_input}, cost=_mean_cost,
    magnitude=lambda x, size, kernel, stride, padding, count_include_pad, divisor, layout: _numpy_means(
        np.abs(x), size, kernel, stride, padding, count_include_pad, abs(divisor), layout
    ),
    samples=[
        Sample(np.arange(-9, 7).reshape(1, 1, 4, 4), **_mean_window(2, 3, 2, 1), why="int64", grad=False),
        Sample(np.array([[[np.nan, 1, np.inf, -np.inf, np.inf, 2]]], np.float32), **_mean_window(3, 2, rank=1),
               why="NaN and infinities", grad=False),
    ],
    error_inputs=[
        ErrorInput(DTypeError, "avg_pool: does not take int32; of integers int64 alone", np.zeros((1, 1, 4), np.int32),
                   **_mean_window(2, 2, rank=1)),
    ],
)  # fmt: skip
def avg_pool(
    x: Spec, size: Shape, kernel: Shape, stride: Shape, padding: Shape, count_include_pad: bool = True,
    divisor: int = 0, layout: Layout = "NCHW",
) -> Spec:  # fmt: skip
    """The means of windows, `size` of them in space; with kernel () those of adaptive poolings.

    A sum is divided by `divisor`, or, where that is 0, by the elements of the window, with those of the padding where
    `count_include_pad` says so.
    """
    check_windows("avg_pool", x.shape, size, _windows(kernel, stride, padding), layout)
    if not x.dtype.is_float and x.dtype is not int64:
        raise DTypeError(f"avg_pool: does not take {x.dtype.name}; of integers int64 alone")
    return Spec(with_space(x.shape, size, layout), x.dtype)


@MeanPooled.definition(
    outputs="dx", back=True, reference=_numpy_back,
    magnitude=lambda dout, size, kernel, stride, padding, count_include_pad, divisor, layout: _numpy_back(
        np.abs(dout), size, kernel, stride, padding, count_include_pad, abs(divisor), layout
    ),
    gradient={
        "dout": lambda ddx, dout_shape, kernel, stride, padding, count_include_pad, divisor, layout: avg_pool(
            ddx, spatial(dout_shape, layout), kernel, stride, padding, count_include_pad, divisor, layout
        )
    },
    cost=lambda dout, size, kernel, layout: _back_cost(dout, size, kernel, layout),
)  # fmt: skip
def avg_pool_backward(
    dout: Spec, size: Shape, kernel: Shape, stride: Shape, padding: Shape, count_include_pad: bool = True,
    divisor: int = 0, layout: Layout = "NCHW",
) -> Spec:  # fmt: skip
    """The gradient of `avg_pool` for an input of lengths `size` in space: its adjoint.

    Gradients of windows that overlap are summed in float32 or wider, in the order of the positions.
    """
    shape = with_space(dout.shape, size, layout)
    windows = _windows(kernel, stride, padding)
    check_windows("avg_pool_backward", shape, spatial(dout.shape, layout), windows, layout)
    return Spec(shape, dout.dtype)


def _back_cost(dout: Spec, size: Ints, kernel: Ints, layout: str) -> tuple[float, float]:
    dx = Spec(with_space(dout.shape, size, layout), dout.dtype)
    return pooled_cost(dx, dout, volume(size, spatial(dout.shape, layout), kernel))


# ---- public functions -----------------------------------------------------------------------------------------------


def sums_planes(x: Any, layout: str) -> bool:
    """Whether `mean` is the better way for whole planes: on a GPU, and along axes that are not the last."""
    return bool(x.dtype.is_float and (layout == "NHWC" or x.device.type != "cpu"))


def whole_mean(x: Any, rank: int, layout: str) -> Any:
    """The means of whole planes: lengths 1 in space."""
    first = 2 if layout == "NCHW" else 1
    return mean(x, tuple(range(first, first + rank)), True)


def means(
    input: Any, rank: int, name: str, windows: tuple[Any, Any, Any], ceil_mode: Any, counts: Any, divisor: Any,
    layout: str,
) -> Any:  # fmt: skip
    """`avg_pool1d` and the others. ``windows``: kernel, stride (None: the kernel) and padding as they were given."""
    x = operand(input, name, "input")
    rounds, include = boolean(ceil_mode, f"{name}: ceil_mode"), boolean(counts, f"{name}: count_include_pad")
    alone, (size, kernel, stride, padding, _) = windows_on(x.shape, rank, name, (*windows, 1), int(rounds), layout)
    x = reshape(x, (1, *x.shape)) if alone else x
    by = 0 if divisor is None else integer(divisor, f"{name}: divisor_override")
    if divisor is not None and by == 0:
        raise ValueError(f"{name}: divisor_override is 0")
    if sums_planes(x, layout) and kernel == spatial(x.shape, layout) and not any(padding) and not by:
        out = whole_mean(x, rank, layout)
    else:
        out = avg_pool(x, size, kernel, stride, padding, include, by, layout)
    return reshape(out, out.shape[1:]) if alone else out


@names_errors
def avg_pool1d(
    input: Any, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0, ceil_mode: bool = False, count_include_pad: bool = True, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """The means of windows along one axis: (N, C, L) or (C, L) gives (N, C, L_out) or (C, L_out).

    Arguments, values and errors as in `avg_pool2d`; with ``layout="NHWC"`` channels are the last axis.

    >>> dl.avg_pool1d(dl.tensor([[1.0, 3.0, 2.0, 0.0]]), 2).tolist()
    [[2.0, 1.0]]
    """
    windows = kernel_size, stride, padding
    return means(input, 1, "avg_pool1d", windows, ceil_mode, count_include_pad, None, layout)


@names_errors
def avg_pool2d(
    input: Any, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """The means of windows: (N, C, H, W) or (C, H, W) gives (N, C, H_out, W_out) or (C, H_out, W_out).

    ``kernel_size``, ``stride`` (default: the kernel's) and ``padding``: a number, or one for each axis.
    H_out = floor((H + 2 padding - kernel) / stride) + 1, with ``ceil_mode`` rounded up where the last window begins
    within the input or the padding before it. Padding counts as zeros, which ``count_include_pad`` False leaves out of
    the divisor; what a window has beyond the padding never counts. ``divisor_override`` takes the divisor's place.
    ``layout="NHWC"``: (N, H, W, C).

    Floats, and int64, of which quotients are truncated. Sums are in float32 or wider, in a fixed order.

    Raises ShapeError where windows are larger than the padded input, padding is more than half a window, or a number is
    too small; ValueError for a divisor of 0; DTypeError for other dtypes.

    >>> dl.avg_pool2d(dl.tensor([[[1.0, 5.0], [4.0, 2.0]]]), 2).tolist()
    [[[3.0]]]
    """
    windows = kernel_size, stride, padding
    return means(input, 2, "avg_pool2d", windows, ceil_mode, count_include_pad, divisor_override, layout)


@names_errors
def avg_pool3d(
    input: Any, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """The means of windows along three axes: (N, C, D, H, W) or (C, D, H, W).

    Arguments, values and errors as in `avg_pool2d`; with ``layout="NHWC"`` channels are the last axis.

    >>> dl.avg_pool3d(dl.arange(8.0).reshape(1, 2, 2, 2), 2).tolist()
    [[[[3.5]]]]
    """
    windows = kernel_size, stride, padding
    return means(input, 3, "avg_pool3d", windows, ceil_mode, count_include_pad, divisor_override, layout)
