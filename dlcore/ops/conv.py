"""Convolutions, in the three forms that are each other's gradients: of output, input and weight.

    conv         out[n, d, l] = sum over c and k of  x[n, c, l stride + k dilation - before]  weight[d, c, k]
    conv_input   its gradient to x for y in the place of out's gradient: the transposed convolution
    conv_weight  its gradient to weight

Each is linear in two operands, and its gradients are the other two: that closes at every order. The rank of the images
says whether there are 1, 2 or 3 axes of space; zeros stand where padding is read. Weights are (D, C / groups, *kernel)
in both layouts. `padding` has two numbers, before and after, for each axis of space. The public functions, which take
PyTorch's arguments, are in convolution.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from dlcore.errors import ShapeError
from dlcore.op import Op, Shape, Spec
from dlcore.ops import _convolution_batching as batching
from dlcore.ops import _convolution_cases as cases
from dlcore.ops import _convolution_kernels as kernels
from dlcore.ops import reduce
from dlcore.ops._activations import ACTIVATIONS, Activation, name_of
from dlcore.ops._convolution import (
    Geometry,
    channels,
    check,
    checked_sizes,
    form_of_input,
    form_of_output,
    form_of_weight,
    image,
    listed,
    promoted,
    space,
)
from dlcore.ops._convolution_reference import finite, input_of, output_of, plus_bias, weight_of
from dlcore.ops._domains import limited, of_one_size, without_tiny
from dlcore.ops._workloads import bytes_of
from dlcore.ops.elementwise import add
from dlcore.ops.movement import reshape

if TYPE_CHECKING:
    from dlcore._commands import Command

__all__ = ["conv", "conv_input", "conv_weight", "output_spec", "with_bias"]

Lengths = tuple[int, ...]
Layout = Literal["NCHW", "NHWC"]


class Convolution(Op):
    """A form of a convolution."""

    family = "conv"
    cast = "low"
    kinds = ("float",)

    def promote(self, specs: Sequence[Spec | None]) -> Sequence[Any]:
        """The widest of floating dtypes; others are refused."""
        return promoted(self.name, specs, self.signature.operand_names)

    def family_kernels(self) -> dict[str, str]:
        """The planners of conv.direct choose among those for a GPU."""
        return {"cpu": f"conv:{self.name}", "cuda": f"conv.direct:{self.name}"}

    def restrict(self, operands: list[Any], largest: float) -> None:
        """As for matmul, and no sum overflows on the way. Operand 1 is finite, for whether it meets the zeros of
        padding is left open; so is a bias, which may meet an infinity of the other sign. Where Winograd's algorithm may
        be at work, numbers are of one size: a result has the errors of its tile's largest products."""
        operands[:2] = [limited(without_tiny(x, largest), largest**0.5 / 1e6) for x in operands[:2]]
        if largest < 1e300 and operands[0].ndim == 4 and max(operands[0].shape[1::2]) >= 16:
            operands[:2] = [of_one_size(x) for x in operands[:2]]
        operands[1:] = [finite(x) for x in operands[1:]]

    def params(
        self, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int, layout: str
    ) -> list[int]:  # fmt: skip
        """Layout, groups, no activation, then for each axis of space: strides, before, after, dilations."""
        return _params(stride, padding, dilation, groups, layout, 0)


convolution = Convolution.definition


def _params(
    stride: Lengths, padding: Lengths, dilation: Lengths, groups: int, layout: str, activation: int
) -> list[int]:  # fmt: skip
    layouts = ("NCHW", "NHWC")
    return [layouts.index(layout), groups, activation, *stride, *padding[::2], *padding[1::2], *dilation]


def _check_ranks(name: str, shapes: dict[str, Lengths], takes: str) -> None:
    (_, first), (_, second) = list(shapes.items())[:2]
    if len(first) not in (3, 4, 5) or len(second) != len(first):
        raise ShapeError(f"{name}: takes {takes} with 1 to 3 axes of space each, not {listed(shapes)}")


def _check_filled(name: str, shapes: dict[str, Lengths], filled: Sequence[Sequence[int]]) -> None:
    if any(n < 1 for part in filled for n in part):
        raise ShapeError(f"{name}: only the batch may be empty, not channels, space or kernel: {listed(shapes)}")


def output_spec(name: str, x: Spec, weight: Spec, bias: Spec | None, walk: Geometry) -> Spec:
    """What a convolution makes; errors are in the name of an operation."""
    groups, layout, shapes = walk.groups, walk.layout, {"x": x.shape, "weight": weight.shape}
    _check_ranks(name, shapes, "x (N, C, *space) and weight (D, C / groups, *kernel)")
    check(name, len(x.shape), walk)
    inputs, outputs = channels(x.shape, layout), weight.shape[0]
    size = checked_sizes(name, shapes, space(x.shape, layout), weight.shape[2:], walk)
    made = image(x.shape[0], outputs, size, layout)
    would = f"{listed(shapes)}; the output would be {made}"
    if inputs % groups or outputs % groups:
        raise ShapeError(
            f"{name}: groups {groups} does not divide both {inputs} channels of the input and {outputs} of the output: "
            f"{would}"
        )
    if inputs // groups != weight.shape[1]:
        of_groups = f" times {groups} groups" if groups > 1 else ""
        raise ShapeError(f"{name}: {inputs} channels, but weight takes {weight.shape[1]}{of_groups}: {would}")
    if bias is not None and bias.shape != (outputs,):
        raise ShapeError(f"{name}: bias {bias.shape} does not fit {outputs} channels of the output: {would}")
    _check_filled(name, shapes, (x.shape[1:], weight.shape))
    return Spec(made, x.dtype)


# ---- conv ------------------------------------------------------------------------------------------------------------


@convolution(
    kernels=kernels.OF_OUTPUT, batch=batching.of_output, extras="pre",
    ulp=8,  # as linear, and a sum that begins with the bias is rounded at its size
    samples=cases.conv_samples, error_inputs=cases.conv_errors, workloads=cases.conv_workloads,
    baselines={"torch": cases.TORCH_CONV, "jax": cases.JAX_CONV},
)  # fmt: skip
def conv(
    x: Spec, weight: Spec, bias: Spec | None, stride: Shape, padding: Shape, dilation: Shape,
    groups: int = 1, activation: Activation = None, layout: Layout = "NCHW",
) -> tuple[Spec, Spec | None]:  # fmt: skip
    """A convolution: activation(the products of `weight` with each window of `x`, summed, + bias).

    `x` (N, C, *S), or (N, *S, C) with layout "NHWC"; `weight` (D, C / groups, *K) in both; `bias` (D,) or None: the
    output is (N, D, *L) or (N, *L, D), L = floor((S + before + after - dilation (K - 1) - 1) / stride) + 1. `padding`:
    before and after of the first axis of space, then of the next. Sums run in float32 or wider, in an order that
    depends on shapes alone; whether a weight that is not finite meets the zeros of padding is left open. Raises
    ShapeError where shapes do not fit, DTypeError for integers, ValueError for a stride, dilation or groups below 1.

    Results are off by some eps times the sum of their products' sizes. On a CPU in float32, with kernels of 3 x 3, no
    stride and dilation and 16 channels or more on both sides, that sum may be one of the largest numbers among the
    4 x 4 places around a result, and not of its own alone (csrc/conv/winograd.inl).
    """
    out = output_spec("conv", x, weight, bias, Geometry(stride, padding, dilation, groups, layout))
    return out, out if activation and ACTIVATIONS[activation].kept == "pre" else None


def with_bias(out: Any, bias: Any, layout: str) -> Any:
    """Images with a number for each channel added; as they are where it is None."""
    if bias is None:
        return out
    return add(out, reshape(bias, (-1, *[1] * (out.ndim - 2))) if layout == "NCHW" else bias)


@conv.composite
def _(
    x: Any, weight: Any, bias: Any, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int,
    activation: str | None, layout: str,
) -> Any:  # fmt: skip
    out = form_of_output(x, weight, Geometry(stride, padding, dilation, groups, layout))
    out = with_bias(out, bias, layout)
    return ACTIVATIONS[activation](out) if activation else out


@conv.params
def _(
    stride: Lengths, padding: Lengths, dilation: Lengths, groups: int, activation: str | None, layout: str
) -> list[int]:  # fmt: skip
    code = [None, *ACTIVATIONS].index(activation)
    return _params(stride, padding, dilation, groups, layout, code)


@conv.merge
def _(first: Command, second: Command) -> Command | None:
    """conv, then an activation: conv with that activation, and the value before it where it is still read."""
    activation, place = name_of(second), conv.op.attribute_names.index("activation")
    if activation is None or first.op is not conv.op or first.attrs[place] is not None:
        return None
    attrs = (*first.attrs[:place], activation, *first.attrs[place + 1 :])
    return first._replace(attrs=attrs, outputs=(second.outputs[0], first.outputs[0]))


@conv.residuals
def _(
    stride: Lengths, padding: Lengths, dilation: Lengths, groups: int, activation: str | None, layout: str
) -> tuple[str, ...]:  # fmt: skip
    return ("x", "weight", "bias", *([ACTIVATIONS[activation].kept] if activation else []))


@conv.gradient("x", "weight", "bias")
def _(
    dout: Any, x: Any, weight: Any, bias: Any, out: Any, pre: Any, stride: Lengths, padding: Lengths,
    dilation: Lengths, groups: int, activation: str | None, layout: str, needs_input_grad: tuple[bool, bool, bool],
    create_graph: bool,
) -> Any:  # fmt: skip
    walk = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "layout": layout}
    if activation:
        kept = out if pre is None else pre
        if create_graph and pre is not None:  # as a function of the operands, for a second gradient to go through
            kept = conv(x, weight, bias, **walk)
        dout = ACTIVATIONS[activation].backward(dout, kept)
    to_x, to_weight, to_bias = needs_input_grad
    others = tuple(d for d in range(dout.ndim) if d != (1 if layout == "NCHW" else dout.ndim - 1))
    return (
        conv_input(dout, weight, size=space(x.shape, layout), **walk) if to_x else None,
        conv_weight(x, dout, kernel=weight.shape[2:], **walk) if to_weight else None,
        reduce.sum(dout, others) if to_bias else None,
    )


@conv.reference
def _(
    x: Any, weight: Any, bias: Any, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int,
    activation: str | None, layout: str,
) -> Any:  # fmt: skip
    out = output_of(x, weight, stride, padding, dilation, groups, layout)
    out = plus_bias(out, bias, layout)
    return ACTIVATIONS[activation].reference(out) if activation else out


@conv.magnitude
def _(
    x: Any, weight: Any, bias: Any, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int,
    activation: str | None, layout: str,
) -> Any:  # fmt: skip
    pre = output_of(abs(x), abs(weight), stride, padding, dilation, groups, layout)
    pre = plus_bias(pre, None if bias is None else abs(bias), layout)
    return pre * ACTIVATIONS[activation].slope + ACTIVATIONS[activation].bound if activation else pre


@conv.cost
def _(
    x: Spec, weight: Spec, bias: Spec | None, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int,
    activation: str | None, layout: str,
) -> tuple[float, float]:  # fmt: skip
    walk, outputs = Geometry(stride, padding, dilation, groups, layout), weight.shape[0]
    size = x.shape[0] * outputs * math.prod(walk.output(space(x.shape, layout), weight.shape[2:]))
    flops = 2.0 * size * math.prod(weight.shape[1:]) + size * (bool(bias) + bool(activation))
    return flops, bytes_of(x, weight, bias) + size * x.dtype.itemsize


# ---- conv_input ------------------------------------------------------------------------------------------------------


@convolution(
    kernels=kernels.OF_INPUT, batch=batching.of_input, ulp=4, samples=cases.input_samples,
    error_inputs=cases.input_errors, workloads=cases.input_workloads,
    baselines={"torch": cases.TORCH_INPUT, "jax": cases.JAX_INPUT},
)  # fmt: skip
def conv_input(
    y: Spec, weight: Spec, size: Shape, stride: Shape, padding: Shape, dilation: Shape, groups: int = 1,
    layout: Layout = "NCHW",
) -> Spec:  # fmt: skip
    """The gradient of `conv` to its input, of lengths `size`, where `y` arrives: a transposed convolution.

    `y` (N, D, *L) or (N, *L, D), `weight` (D, C / groups, *K): (N, C, *size) or (N, *size, C). `stride`, `padding`,
    `dilation`, `groups` and `layout` are those of the convolution, which must make L of `size`.
    """
    shapes = {"y": y.shape, "weight": weight.shape}
    _check_ranks("conv_input", shapes, "y (N, D, *space) and weight (D, C / groups, *kernel)")
    walk = Geometry(stride, padding, dilation, groups, layout)
    check("conv_input", len(y.shape), walk)
    _check_filled("conv_input", shapes, (y.shape[1:], weight.shape))
    outputs = channels(y.shape, layout)
    would = f"{listed(shapes)}; the output would be {image(y.shape[0], weight.shape[1] * groups, size, layout)}"
    if outputs != weight.shape[0]:
        raise ShapeError(f"conv_input: {outputs} channels, but weight takes {weight.shape[0]}: {would}")
    if outputs % groups:
        raise ShapeError(f"conv_input: groups {groups} does not divide {outputs} channels: {would}")
    if len(size) != len(y.shape) - 2 or min(size) < 1:
        raise ShapeError(f"conv_input: size {size} is not {len(y.shape) - 2} lengths of at least 1: {listed(shapes)}")
    found = checked_sizes("conv_input", shapes, size, weight.shape[2:], walk)
    if found != space(y.shape, layout):
        raise ShapeError(f"conv_input: an input of size {size} has an output of size {found}, not that of y "
                         f"{y.shape}: {listed(shapes)}")  # fmt: skip
    return Spec(image(y.shape[0], weight.shape[1] * groups, size, layout), y.dtype)


@conv_input.composite
def _(
    y: Any, weight: Any, size: Lengths, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int, layout: str
) -> Any:  # fmt: skip
    return form_of_input(y, weight, size, Geometry(stride, padding, dilation, groups, layout))


conv_input.gradient(
    y=lambda dout, weight, stride, padding, dilation, groups, layout: conv(
        dout, weight, stride=stride, padding=padding, dilation=dilation, groups=groups, layout=layout
    ),
    weight=lambda dout, y, weight_shape, stride, padding, dilation, groups, layout: conv_weight(
        dout, y, kernel=weight_shape[2:], stride=stride, padding=padding, dilation=dilation, groups=groups,
        layout=layout
    ),
)  # fmt: skip


@conv_input.reference
def _(
    y: Any, weight: Any, size: Lengths, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int, layout: str
) -> Any:  # fmt: skip
    return input_of(y, weight, size, stride, padding, dilation, groups, layout)


@conv_input.magnitude
def _(
    y: Any, weight: Any, size: Lengths, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int, layout: str
) -> Any:  # fmt: skip
    return input_of(abs(y), abs(weight), size, stride, padding, dilation, groups, layout)


@conv_input.cost
def _(y: Spec, weight: Spec, size: Lengths, groups: int) -> tuple[float, float]:
    made = y.shape[0] * weight.shape[1] * groups * math.prod(size)
    return 2.0 * math.prod(y.shape) * math.prod(weight.shape[1:]), bytes_of(y, weight) + made * y.dtype.itemsize


# ---- conv_weight -----------------------------------------------------------------------------------------------------


@convolution(
    kernels=kernels.OF_WEIGHT, batch=batching.of_weight, ulp=4, samples=cases.weight_samples,
    error_inputs=cases.weight_errors, workloads=cases.weight_workloads,
    baselines={"torch": cases.TORCH_WEIGHT, "jax": cases.JAX_WEIGHT},
)  # fmt: skip
def conv_weight(
    x: Spec, y: Spec, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, groups: int = 1,
    layout: Layout = "NCHW",
) -> Spec:  # fmt: skip
    """The gradient of `conv` to its weight, of lengths `kernel`, where `y` arrives at the output.

    `x` (N, C, *S) and `y` (N, D, *L), or (N, *S, C) and (N, *L, D): (D, C / groups, *kernel). `stride`, `padding`,
    `dilation`, `groups` and `layout` are those of the convolution, which must make L of S.
    """
    shapes = {"x": x.shape, "y": y.shape}
    _check_ranks("conv_weight", shapes, "x (N, C, *space) and y (N, D, *space)")
    walk = Geometry(stride, padding, dilation, groups, layout)
    check("conv_weight", len(x.shape), walk)
    _check_filled("conv_weight", shapes, (x.shape[1:], y.shape[1:]))
    inputs, outputs = channels(x.shape, layout), channels(y.shape, layout)
    if inputs % groups or outputs % groups:
        raise ShapeError(f"conv_weight: groups {groups} does not divide both {inputs} and {outputs} channels: "
                         f"{listed(shapes)}")  # fmt: skip
    if len(kernel) != len(x.shape) - 2:
        raise ShapeError(f"conv_weight: kernel {kernel} is not {len(x.shape) - 2} lengths: {listed(shapes)}")
    found = checked_sizes("conv_weight", shapes, space(x.shape, layout), kernel, walk)
    if x.shape[0] != y.shape[0] or found != space(y.shape, layout):
        wanted = image(x.shape[0], outputs, found, layout)
        raise ShapeError(f"conv_weight: y must be {wanted}, the output for the kernel {kernel}: {listed(shapes)}")
    return Spec((outputs, inputs // groups, *kernel), x.dtype)


@conv_weight.composite
def _(
    x: Any, y: Any, kernel: Lengths, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int, layout: str
) -> Any:  # fmt: skip
    return form_of_weight(x, y, kernel, Geometry(stride, padding, dilation, groups, layout))


conv_weight.gradient(
    x=lambda dout, y, x_shape, stride, padding, dilation, groups, layout: conv_input(
        y, dout, size=space(x_shape, layout), stride=stride, padding=padding, dilation=dilation, groups=groups,
        layout=layout
    ),
    y=lambda dout, x, stride, padding, dilation, groups, layout: conv(
        x, dout, stride=stride, padding=padding, dilation=dilation, groups=groups, layout=layout
    ),
)  # fmt: skip


@conv_weight.reference
def _(
    x: Any, y: Any, kernel: Lengths, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int, layout: str
) -> Any:  # fmt: skip
    return weight_of(x, y, kernel, stride, padding, dilation, groups, layout)


@conv_weight.magnitude
def _(
    x: Any, y: Any, kernel: Lengths, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int, layout: str
) -> Any:  # fmt: skip
    return weight_of(abs(x), abs(y), kernel, stride, padding, dilation, groups, layout)


@conv_weight.cost
def _(x: Spec, y: Spec, kernel: Lengths, groups: int, layout: str) -> tuple[float, float]:
    taken = channels(x.shape, layout) // groups * math.prod(kernel)
    made = channels(y.shape, layout) * taken * x.dtype.itemsize
    return 2.0 * math.prod(y.shape) * taken, bytes_of(x, y) + made
