"""Maxima of a convolution's windows: what a recorded step makes of a convolution, its activation and a max_pool.

Images as lanes (csrc/conv/direct_images.inl) make of a maximum one of vectors, taken while results wait to be
transposed: of windows of 2 by 2 a quarter of the elements is transposed and written, and none is read again. What lies
beyond the last window is not computed. The bits are those of `conv` and `max_pool`, one after the other; its gradient
is that of these two. Nobody needs to call it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import ShapeError
from dlcore.op import ErrorInput, Sample, Shape, Spec, Workload
from dlcore.ops import _convolution_cases as cases
from dlcore.ops import _convolution_kernels as kernels
from dlcore.ops._activations import ACTIVATIONS, Activation
from dlcore.ops._convolution import Geometry, space
from dlcore.ops._convolution_reference import output_of, plus_bias
from dlcore.ops._windows import lengths_of_windows, with_space
from dlcore.ops.conv import Layout, Lengths, conv, convolution, output_spec
from dlcore.ops.max_pool import max_pool, numpy_max

if TYPE_CHECKING:
    from dlcore._commands import Command

__all__: list[str] = []  # only recorded steps call it


def _size(name: str, shape: Lengths, window: Lengths, step: Lengths, layout: str) -> Lengths:
    """The maxima along each axis of space of images of this shape."""
    axes = len(shape) - 2
    if len(window) != axes or len(step) != axes:
        text = f"{name}: window {window} and step {step} are not {axes} numbers each"
        raise ShapeError(f"{text}, for {axes} axes of space")
    zeros, ones = (0,) * axes, (1,) * axes
    return lengths_of_windows(name, shape, space(shape, layout), window, step, zeros, ones, False)


def _attributes(window: Lengths, step: Lengths) -> tuple[Lengths, Lengths, Lengths, Lengths]:
    """Kernel, stride, padding and dilation of the windows."""
    return window, step, (0,) * len(window), (1,) * len(window)


@convolution(
    kernels=kernels.OF_MAXIMA, batching="composite", extras="places", ulp=8,
    baselines={"torch": (
        cases.TORCH_CONV[0] + "\npool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]",
        "behind(pool(ahead(forward(x, weight, bias)), window, step))",
    )},
)  # fmt: skip
def conv_max_pool(
    x: Spec, weight: Spec, bias: Spec | None, stride: Shape, padding: Shape, dilation: Shape, window: Shape,
    step: Shape, groups: int = 1, activation: Activation = None, layout: Layout = "NCHW",
) -> tuple[Spec, Spec]:  # fmt: skip
    """The maxima of windows of a convolution: max_pool(conv(x, weight, bias)).

    `x`, `weight`, `bias`, `stride`, `padding`, `dilation`, `groups`, `activation` and `layout` are those of `conv`;
    `window` and `step` a number for each axis of space: lengths of the windows, and from one to the next. There are
    floor((L - window) / step) + 1 along an axis of L results. Raises what `conv` and `max_pool` raise.
    """
    made = output_spec("conv_max_pool", x, weight, bias, Geometry(stride, padding, dilation, groups, layout))
    size = _size("conv_max_pool", made.shape, window, step, layout)
    shape = with_space(made.shape, size, layout)
    return Spec(shape, x.dtype), Spec(shape, max_pool.op.infer(made, size, *_attributes(window, step), layout)[1].dtype)


@conv_max_pool.composite
def _(
    x: Any, weight: Any, bias: Any, stride: Lengths, padding: Lengths, dilation: Lengths, window: Lengths,
    step: Lengths, groups: int, activation: str | None, layout: str,
) -> Any:  # fmt: skip
    made = conv(x, weight, bias, stride, padding, dilation, groups, activation, layout)
    size = _size("conv_max_pool", made.shape, window, step, layout)
    return max_pool(made, size, *_attributes(window, step), layout)


@conv_max_pool.params
def _(
    stride: Lengths, padding: Lengths, dilation: Lengths, window: Lengths, step: Lengths, groups: int,
    activation: str | None, layout: str,
) -> list[int]:  # fmt: skip
    walk = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "layout": layout}
    return [*conv.op.kernel_params({**walk, "activation": activation}), *window, *step]


def _pooled(array: Any, window: Lengths, step: Lengths, layout: str) -> Any:
    size = _size("conv_max_pool", array.shape, window, step, layout)
    return numpy_max(array, size, _attributes(window, step), layout)[0]


@conv_max_pool.reference
def _(
    x: Any, weight: Any, bias: Any, stride: Lengths, padding: Lengths, dilation: Lengths, window: Lengths,
    step: Lengths, groups: int, activation: str | None, layout: str,
) -> Any:  # fmt: skip
    made = plus_bias(output_of(x, weight, stride, padding, dilation, groups, layout), bias, layout)
    return _pooled(ACTIVATIONS[activation].reference(made) if activation else made, window, step, layout)


@conv_max_pool.magnitude
def _(
    x: Any, weight: Any, bias: Any, stride: Lengths, padding: Lengths, dilation: Lengths, window: Lengths,
    step: Lengths, groups: int, activation: str | None, layout: str,
) -> Any:  # fmt: skip
    made = conv.op.magnitude(x, weight, bias, stride, padding, dilation, groups, activation, layout)
    return _pooled(made, window, step, layout)


@conv_max_pool.cost
def _(
    x: Spec, weight: Spec, bias: Spec | None, stride: Lengths, padding: Lengths, dilation: Lengths, window: Lengths,
    step: Lengths, groups: int, activation: str | None, layout: str,
) -> tuple[float, float]:  # fmt: skip
    made, _ = conv.op.infer(x, weight, bias, stride, padding, dilation, groups, activation, layout)
    flops, moved = conv.op.cost(x, weight, bias, stride, padding, dilation, groups, activation, layout)
    size = _size("conv_max_pool", made.shape, window, step, layout)
    maxima = math.prod(with_space(made.shape, size, layout))
    return flops + maxima * (math.prod(window) - 1), moved - (math.prod(made.shape) - maxima) * x.dtype.itemsize


@max_pool.merge
def _(first: Command, second: Command) -> Command | None:
    """conv, then max_pool of windows without padding: both in one, where the values between are not needed."""
    if first.op is not conv.op or second.op is not max_pool.op or first.outputs[1] is not None:
        return None
    stride, padding, dilation, groups, activation, layout = first.attrs
    _, window, step, ahead, apart, order = second.attrs
    if not window or any(ahead) or {*apart} != {1} or order != layout:
        return None
    attrs = (stride, padding, dilation, window, step, groups, activation, layout)
    return first._replace(op=conv_max_pool.op, attrs=attrs, outputs=second.outputs)


# ---- cases -----------------------------------------------------------------------------------------------------------

_CASES = [
    (cases.Case(2, 3, 4, (7, 6), (3, 2), padding=(1, 0, 2, 1), why="few images"), (2, 2), (2, 2)),
    (cases.Case(2, 2, 3, (4, 5, 3), (2, 2, 2), why="three axes"), (2, 2, 1), (1, 2, 1)),
    (cases.Case(2, 3, 2, (9,), (3,), (2,), layout="NHWC", why="NHWC, one axis, strided"), (2,), (1,)),
    (cases.Case(0, 3, 2, (4, 4), (3, 3), why="no images"), (2, 2), (2, 2)),
]
_LANES = [
    (cases.Case(30, 3, 13, (12, 9), (3, 2), padding=(1, 0, 2, 3), dilation=(1, 2), why="lanes, two without an image"),
     (2, 2), (2, 2)),
    (cases.Case(32, 10, 14, (7, 8), (2, 3), padding=(1,) * 4, groups=2, layout="NHWC", why="lanes, NHWC, groups"),
     (3, 2), (3, 4)),
    (cases.Case(16, 5, 8, (14,), (4,), padding=(2, 4), layout="NHWC", why="lanes, NHWC, one axis"), (3,), (3,)),
    (cases.Case(17, 2, 3, (40, 6), (3, 3), why="lanes, bands of rows"), (1, 2), (1, 2)),
    (cases.Case(48, 1, 4, (17, 16), (3, 3), why="lanes, windows apart"), (2, 3), (4, 3)),
]  # fmt: skip


@conv_max_pool.samples
def _() -> Iterator[Sample]:
    for k, (case, window, step) in enumerate((*_CASES, *_LANES)):
        bias = (case.outputs,) if k % 2 == 0 else None
        given = {**case.attrs, "window": window, "step": step, "activation": ("relu", None, "tanh")[k % 3]}
        yield Sample(case.x, case.filters, bias, **given, why=case.why, grad=k < len(_CASES))
    case, window, step = _LANES[0]
    x = np.linspace(-2, 2, math.prod(case.x)).reshape(case.x)
    x[0, 0, 1, 1], x[1, 1, 4, 4], x[20, 1, 0, 3] = np.nan, np.inf, -np.inf
    yield Sample(x, case.filters, None, **case.attrs, window=window, step=step, why="lanes, special values", grad=False)


@conv_max_pool.error_inputs
def _() -> Iterator[ErrorInput]:
    x, weight = np.zeros((2, 3, 8, 8)), np.zeros((4, 3, 3, 3))
    given: dict[str, Any] = {"stride": (1, 1), "padding": (0,) * 4, "dilation": (1, 1)}
    given |= {"window": (2, 2), "step": (2, 2)}

    def wrong(text: str, **changes: Any) -> ErrorInput:
        return ErrorInput(ShapeError, text, x, weight, **{**given, **changes})

    yield wrong("conv_max_pool: stride (1,) is not 2 numbers, for 2 axes of space", stride=(1,))
    yield wrong("conv_max_pool: window (2,) and step (2, 2) are not 2 numbers each, for 2 axes of space", window=(2,))
    yield wrong("conv_max_pool: windows of (2, 7) on shape (2, 4, 6, 6) with padding (0, 0): the output would be "
                "(3, 0) in space", window=(2, 7))  # fmt: skip
    yield wrong("conv_max_pool: stride (0, 2); each must be at least 1", step=(0, 2))


@conv_max_pool.workloads
def _() -> Iterator[Workload]:
    for inputs, outputs, length, why in ((1, 8, 28, "first layer of model c"), (8, 16, 13, "second layer of model c")):
        case = cases.Case(64, inputs, outputs, (length,) * 2, (3, 3))
        walk = (*case.walk[:3], (2, 2), (2, 2), 1, "relu", "NCHW")
        yield Workload((case.x, case.filters, (outputs,)), walk, why)
