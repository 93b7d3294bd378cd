"""Convolutions of images, and transposed ones, with PyTorch's arguments: conv1d, conv2d, conv3d, conv_transpose1d, ...

Each is one operation, `conv` or `conv_input` of conv.py, after a padding that is not of zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlcore._arguments import choice, integer, integers, items, operand, remembered, renamed, shown
from dlcore.errors import ShapeError
from dlcore.op import Spec
from dlcore.ops._activations import ACTIVATIONS
from dlcore.ops.arranging import pad
from dlcore.ops.conv import conv, conv_input, with_bias
from dlcore.ops.movement import squeeze, unsqueeze
from dlcore.ops.rearranging import pad_constant

__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]

_MODES = ("zeros", "reflect", "replicate", "circular")
_LAYOUTS = ("NCHW", "NHWC")


# ---- arguments -------------------------------------------------------------------------------------------------------


def _numbers(value: Any, axes: int, where: str) -> tuple[int, ...]:
    """One number for each axis of space, from one for all."""
    found = integers(value, where)
    found = found * axes if len(found) == 1 else found
    if len(found) != axes:
        raise ShapeError(f"{where} {shown(value)} is not one number or {axes}, one for each axis of space")
    return found


def _padding(
    value: Any, kernel: Sequence[int], stride: tuple[int, ...], dilation: tuple[int, ...], name: str
) -> tuple[int, ...]:
    """(before, after) of each axis of space, one after the other."""
    axes = len(kernel)
    if isinstance(value, str):
        if choice(value, ("same", "valid"), f"{name}: padding") == "valid":
            return (0,) * (2 * axes)
        if max(stride) > 1:
            raise ValueError(f"{name}: padding 'same' takes stride 1, not {stride}")
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple(n for total in totals for n in (total // 2, total - total // 2))
    several = items(value)
    if several is None or all(items(n) is None for n in several):
        return tuple(n for n in _numbers(value, axes, f"{name}: padding") for _ in range(2))
    pairs = [integers(n, f"{name}: padding") for n in several]
    if len(pairs) != axes or any(len(pair) > 2 for pair in pairs):
        raise ShapeError(f"{name}: padding {shown(value)} is not {axes} pairs (before, after)")
    return tuple(n for pair in pairs for n in (pair[0], pair[-1]))


def _images(x: Any, axes: int, name: str) -> tuple[Any, bool]:
    """The images with an axis of the batch, and whether there was none."""
    x = operand(x, name, "input")
    if x.ndim not in (axes + 1, axes + 2):
        raise ShapeError(
            f"{name}: takes an input of {axes + 2} axes, or of {axes + 1} for one image, not of shape {x.shape}"
        )
    return (unsqueeze(x, 0), True) if x.ndim == axes + 1 else (x, False)


def _filters(weight: Any, axes: int, name: str) -> Any:
    weight = operand(weight, name, "weight")
    if weight.ndim != axes + 2:
        raise ShapeError(f"{name}: takes a weight of {axes + 2} axes, not of shape {weight.shape}")
    return weight


# ---- convolutions ----------------------------------------------------------------------------------------------------


@remembered
def _walk(
    name: str, kernel: tuple[int, ...], stride: Any, padding: Any, dilation: Any, padding_mode: str, layout: str
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], bool]:
    """Stride, padding and dilation as operations take them, and whether there is more than zeros around the images."""
    axes = len(kernel)
    choice(layout, _LAYOUTS, f"{name}: layout")
    step, apart = _numbers(stride, axes, f"{name}: stride"), _numbers(dilation, axes, f"{name}: dilation")
    around = _padding(padding, kernel, step, apart, name)
    return step, around, apart, choice(padding_mode, _MODES, f"{name}: padding_mode") != "zeros" and any(around)


def _conv(
    name: str, axes: int, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any,
    padding_mode: str, activation: str | None, layout: str,
) -> Any:  # fmt: skip
    x, alone = _images(x, axes, name)
    weight = _filters(weight, axes, name)
    step, around, apart, filled = _walk(name, weight.shape[2:], stride, padding, dilation, padding_mode, layout)
    try:
        if filled:
            x, around = _padded(x, weight, bias, (step, around, apart, groups, activation, layout), padding_mode)
        out = conv(x, weight, bias, stride=step, padding=around, dilation=apart, groups=groups,
                   activation=activation, layout=layout)  # fmt: skip
    except (TypeError, ValueError, OverflowError) as error:
        raise renamed(error, name) from None
    return squeeze(out, 0) if alone else out


def _padded(x: Any, weight: Any, bias: Any, attrs: tuple[Any, ...], mode: str) -> tuple[Any, tuple[int, ...]]:
    """The images with more than zeros around them, after everything about the convolution was checked."""
    op, around, layout = conv.op, attrs[1], attrs[-1]
    specs = op.promoted([v if v is None else Spec(v.shape, v.dtype) for v in (x, weight, bias)])
    op.inferred(op.values(specs, op.bind(attrs, specs)))
    pairs = list(zip(around[::2], around[1::2], strict=True))
    widths = [(0, 0), *([(0, 0), *pairs] if layout == "NCHW" else [*pairs, (0, 0)])]
    for n, pair in zip(x.shape, widths, strict=True):
        if any(pair) and mode != "replicate" and max(pair) > n - (mode == "reflect"):
            most = n - (mode == "reflect")
            raise ShapeError(f"{op.name}: padding {pair} with {mode!r} is more than {most} elements of {x.shape} allow")
    return pad(x, widths, mode), (0,) * len(around)


def conv1d(
    input: Any, weight: Any, bias: Any = None, stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int | Sequence[int]] = 0, dilation: int | Sequence[int] = 1, groups: int = 1, *,
    padding_mode: str = "zeros", activation: str | None = None, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """A convolution along one axis: ``input`` (N, C, S) or (C, S), ``weight`` (D, C / groups, K): (N, D, L) or (D, L).

    As `conv2d`; with ``layout="NHWC"`` the input is (N, S, C) and the output (N, L, D).

    >>> dl.conv1d(dl.tensor([[1.0, 2.0, 3.0]]), dl.tensor([[[1.0, -1.0]]])).tolist()
    [[-1.0, -1.0]]
    """
    return _conv("conv1d", 1, input, weight, bias, stride, padding, dilation, groups, padding_mode, activation, layout)


def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int | Sequence[int]] = 0, dilation: int | Sequence[int] = 1, groups: int = 1, *,
    padding_mode: str = "zeros", activation: str | None = None, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """A convolution of images: activation(the products of ``weight`` with each window of ``input``, summed, + bias).

    ``input`` (N, C, H, W), or (C, H, W) for one image; ``weight`` (D, C / groups, KH, KW); ``bias`` (D,) or None. The
    output is (N, D, OH, OW) with OH = floor((H + before + after - dilation (KH - 1) - 1) / stride) + 1. ``stride``,
    ``dilation``: one number or one for each axis. ``padding``: one number, one for each axis or a pair (before, after)
    for each, "valid" (none) or "same" (what keeps the size where the stride is 1; of an odd total one more after).
    ``padding_mode``: "zeros", "reflect", "replicate" or "circular". With ``groups`` the d-th part of the outputs sees
    the d-th part of the channels alone; as many groups as channels is a depthwise convolution. ``activation``: None,
    "relu", "sigmoid", "tanh", "gelu" or "gelu_tanh", applied in the same kernel. With ``layout="NHWC"`` the input is
    (N, H, W, C) and the output (N, OH, OW, D); the weight stays.

    Operands are floating, of their common dtype; sums run in float32 or wider, in an order that depends on shapes
    alone. Kernels of 3 x 3 without stride and dilation, of 16 channels and more, go by Winograd's algorithm in float32
    on a CPU: a result's error is then that of the largest numbers among the 4 x 4 places around it. Raises ShapeError
    where shapes do not fit, DTypeError for integers, ValueError for numbers below 1.

    >>> dl.conv2d(dl.ones((1, 1, 4, 4)), dl.ones((1, 1, 3, 3)), padding=1)[0, 0].tolist()[1]
    [6.0, 9.0, 9.0, 6.0]
    """
    return _conv("conv2d", 2, input, weight, bias, stride, padding, dilation, groups, padding_mode, activation, layout)


def conv3d(
    input: Any, weight: Any, bias: Any = None, stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int | Sequence[int]] = 0, dilation: int | Sequence[int] = 1, groups: int = 1, *,
    padding_mode: str = "zeros", activation: str | None = None, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """A convolution of volumes: ``input`` (N, C, Z, H, W) or without N, ``weight`` (D, C / groups, KZ, KH, KW).

    As `conv2d`; with ``layout="NHWC"`` the input is (N, Z, H, W, C), and so the output.

    >>> dl.conv3d(dl.ones((1, 2, 3, 3, 3)), dl.ones((4, 2, 3, 3, 3))).shape
    (1, 4, 1, 1, 1)
    """
    return _conv("conv3d", 3, input, weight, bias, stride, padding, dilation, groups, padding_mode, activation, layout)


# ---- transposed ------------------------------------------------------------------------------------------------------


@remembered
def _walk_back(
    name: str, shape: tuple[int, ...], form: tuple[int, ...], stride: Any, padding: Any, output_padding: Any,
    groups: Any, dilation: Any, activation: str | None, layout: str,
) -> tuple[tuple[int, ...], dict[str, Any], list[int]]:
    """The output's lengths in space, attributes of `conv_input` and the lengths of zeros behind what that gives, for
    images of ``shape`` and a weight of ``form``."""
    axes = len(form) - 2
    step, apart = _numbers(stride, axes, f"{name}: stride"), _numbers(dilation, axes, f"{name}: dilation")
    more = _numbers(output_padding, axes, f"{name}: output_padding")
    around, groups = _numbers(padding, axes, f"{name}: padding"), integer(groups, f"{name}: groups", 1)
    given = shape[2:] if choice(layout, _LAYOUTS, f"{name}: layout") == "NCHW" else shape[1:-1]
    for what, found, least in (("stride", step, 1), ("dilation", apart, 1), ("padding", around, 0)):
        if min(found) < least:
            raise ValueError(f"{name}: {what} {found} has a number below {least}")
    if any(not 0 <= m < max(s, d) for m, s, d in zip(more, step, apart, strict=True)):
        raise ValueError(f"{name}: output_padding {more} is not below stride {step} or dilation {apart}")
    sizes = tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 + m for n, s, p, d, k, m in
                  zip(given, step, around, apart, form[2:], more, strict=True))  # fmt: skip
    if min(sizes) < 1:
        raise ShapeError(
            f"{name}: the output would have size {sizes}: input {shape}, weight {form}, padding {around}"
        )
    choice(activation, (None, *ACTIVATIONS), f"{name}: activation")
    walk, beyond = _walk_of(around, more, step)
    size = tuple(n - b for n, b in zip(sizes, beyond, strict=True))
    attrs = {"size": size, "stride": step, "padding": walk, "dilation": apart, "groups": groups, "layout": layout}
    return sizes, attrs, beyond


def _transposed(
    name: str, axes: int, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any, groups: Any,
    dilation: Any, activation: str | None, layout: str,
) -> Any:  # fmt: skip
    x, alone = _images(x, axes, name)
    weight = _filters(weight, axes, name)
    sizes, attrs, beyond = _walk_back(name, x.shape, weight.shape, stride, padding, output_padding, groups, dilation,
                                      activation, layout)  # fmt: skip
    _check_bias(name, x, weight, bias, attrs["groups"], sizes)
    try:
        out = conv_input(x, weight, **attrs)
    except (TypeError, ValueError, OverflowError) as error:
        raise renamed(error, name) from None
    if any(beyond):  # no element of the input reaches there
        behind = [(0, n) for n in beyond]
        out = pad_constant(out, 0, ((0, 0), *([(0, 0), *behind] if layout == "NCHW" else [*behind, (0, 0)])))
    out = with_bias(out, bias, layout)
    out = ACTIVATIONS[activation](out) if activation else out
    return squeeze(out, 0) if alone else out


def _check_bias(name: str, x: Any, weight: Any, bias: Any, groups: int, sizes: Sequence[int]) -> None:
    made = weight.shape[1] * groups
    if bias is not None and operand(bias, name, "bias").shape != (made,):
        raise ShapeError(
            f"{name}: bias {bias.shape} does not fit {made} channels of the output: input {x.shape}, weight "
            f"{weight.shape}; the output would have size {tuple(sizes)}"
        )


def _walk_of(
    around: tuple[int, ...], more: tuple[int, ...], stride: tuple[int, ...]
) -> tuple[tuple[int, ...], list[int]]:
    """The padding of the convolution that this is the transposed one of, and lengths of zeros to put behind: each
    element of ``more`` is one less that is cut off after, then one that a stride leaves unread, then nothing at all."""
    padding, beyond = [], []
    for p, m, s in zip(around, more, stride, strict=True):
        padding += [p, max(p - m, 0)]
        beyond.append(max(m - p - (s - 1), 0))
    return tuple(padding), beyond


def conv_transpose1d(
    input: Any, weight: Any, bias: Any = None, stride: int | Sequence[int] = 1, padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0, groups: int = 1, dilation: int | Sequence[int] = 1, *,
    activation: str | None = None, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """A transposed convolution along one axis: ``input`` (N, D, L), ``weight`` (D, C / groups, K): (N, C, S).

    As `conv_transpose2d`.

    >>> dl.conv_transpose1d(dl.tensor([[1.0, 2.0]]), dl.tensor([[[1.0, 1.0]]]), stride=2).tolist()
    [[1.0, 1.0, 2.0, 2.0]]
    """
    return _transposed("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation,
                       activation, layout)  # fmt: skip


def conv_transpose2d(
    input: Any, weight: Any, bias: Any = None, stride: int | Sequence[int] = 1, padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0, groups: int = 1, dilation: int | Sequence[int] = 1, *,
    activation: str | None = None, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """A transposed convolution of images: the gradient of `conv2d` to its input, + bias.

    ``input`` (N, D, H, W), or (D, H, W) for one image; ``weight`` (D, C / groups, KH, KW); ``bias`` (C,) or None. The
    output is (N, C, OH, OW), OH = (H - 1) stride - 2 padding + dilation (KH - 1) + 1 + output_padding: each element
    adds itself times the kernel, ``stride`` places after its neighbour; ``padding`` is cut off on both sides.
    ``output_padding``, below stride or dilation, says which of the sizes that `conv2d` makes the same of is meant. With
    ``layout="NHWC"`` input and output have their channels behind.

    Raises ShapeError where shapes do not fit, DTypeError for integers, ValueError for numbers that make no sense.

    >>> dl.conv_transpose2d(dl.ones((1, 1, 2, 2)), dl.ones((1, 1, 2, 2)))[0, 0].tolist()
    [[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]
    """
    return _transposed("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation,
                       activation, layout)  # fmt: skip


def conv_transpose3d(
    input: Any, weight: Any, bias: Any = None, stride: int | Sequence[int] = 1, padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0, groups: int = 1, dilation: int | Sequence[int] = 1, *,
    activation: str | None = None, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """A transposed convolution of volumes: ``input`` (N, D, Z, H, W), ``weight`` (D, C / groups, KZ, KH, KW).

    As `conv_transpose2d`.

    >>> dl.conv_transpose3d(dl.ones((1, 2, 1, 1, 1)), dl.ones((2, 3, 2, 2, 2))).shape
    (1, 3, 2, 2, 2)
    """
    return _transposed("conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups, dilation,
                       activation, layout)  # fmt: skip
