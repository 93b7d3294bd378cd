"""What the three forms of a convolution share: shapes, errors, and the products that they are without a kernel.

Letters: N images, C channels of the input and D of the output, S lengths of the input, K of the kernel, L of the output
(each several axes, 1 to 3), G groups. Padding is flat, (before, after) of the first axis of space, then of the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from dlcore.errors import ShapeError
from dlcore.op import Spec, check_floating, widest
from dlcore.ops.matmul import matmul
from dlcore.ops.movement import contiguous, permute, reshape
from dlcore.ops.rearranging import pad_constant
from dlcore.ops.slicing import slice as slice_view
from dlcore.ops.strided import unfold

__all__ = ["Geometry", "check", "checked_sizes", "columns", "form_of_input", "form_of_output", "form_of_weight",
           "promoted", "space"]  # fmt: skip

Lengths = tuple[int, ...]


class Geometry(NamedTuple):
    """How a convolution walks: everything about it but its shapes."""

    stride: Lengths
    padding: Lengths
    dilation: Lengths
    groups: int
    layout: str

    def reach(self, kernel: Sequence[int]) -> Lengths:
        """The lengths that a kernel spans."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, kernel, strict=True))

    def padded(self, size: Sequence[int]) -> Lengths:
        """Lengths of space with the padding on both sides."""
        pairs = zip(self.padding[::2], self.padding[1::2], strict=True)
        return tuple(n + before + after for n, (before, after) in zip(size, pairs, strict=True))

    def output(self, size: Sequence[int], kernel: Sequence[int]) -> Lengths:
        """Lengths of the output: floor((S + before + after - reach) / stride) + 1; below 1 where there is none."""
        spans = zip(self.padded(size), self.reach(kernel), self.stride, strict=True)
        return tuple((n - r) // s + 1 for n, r, s in spans)


def space(shape: Sequence[int], layout: str) -> Lengths:
    """The axes of an image that are neither the batch nor the channels."""
    return tuple(shape[2:] if layout == "NCHW" else shape[1:-1])


def channels(shape: Sequence[int], layout: str) -> int:
    """The channels of an image."""
    return shape[1 if layout == "NCHW" else -1]


def image(batch: int, channels: int, size: Sequence[int], layout: str) -> Lengths:
    """The shape of an image."""
    return (batch, channels, *size) if layout == "NCHW" else (batch, *size, channels)


# ---- what is refused -------------------------------------------------------------------------------------------------


def promoted(name: str, specs: Sequence[Spec | None], operands: Sequence[str]) -> Sequence[Any]:
    """The widest dtype of all operands; raises DTypeError for integers."""
    for spec, operand in zip(specs, operands, strict=True):
        if spec is not None:
            check_floating(name, operand, spec)
    return widest(specs)


def check(name: str, ndim: int, walk: Geometry) -> None:
    """Raises ValueError unless the numbers of a walk make sense for images of ``ndim`` axes."""
    axes = ndim - 2
    for what, given, wanted in (
        ("stride", walk.stride, axes), ("padding", walk.padding, 2 * axes), ("dilation", walk.dilation, axes),
    ):  # fmt: skip
        least = 0 if what == "padding" else 1
        if len(given) != wanted:
            raise ShapeError(f"{name}: {what} {given} is not {wanted} numbers, for {axes} axes of space")
        if min(given) < least:
            raise ValueError(f"{name}: {what} {given} has a number below {least}")
    if walk.groups < 1:
        raise ValueError(f"{name}: groups is {walk.groups}; it must be at least 1")


def checked_sizes(name: str, shapes: dict[str, Lengths], size: Lengths, kernel: Lengths, walk: Geometry) -> Lengths:
    """Lengths of the output; raises ShapeError where the kernel does not fit into the padded input."""
    out = walk.output(size, kernel)
    padded, reach = walk.padded(size), walk.reach(kernel)
    if min(kernel) < 1 or any(n < r for n, r in zip(padded, reach, strict=True)):
        dilated = f", dilated {reach}," if reach != kernel else ""
        raise ShapeError(
            f"{name}: the kernel {kernel}{dilated} does not fit into the padded input {padded}: the output would have "
            f"size {out}; {listed(shapes)}"
        )
    return out


def listed(shapes: dict[str, Lengths]) -> str:
    """Shapes by name, in an error."""
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


# ---- as products -----------------------------------------------------------------------------------------------------


def channels_first(x: Any, layout: str) -> Any:
    """An image as (N, C, S): a view."""
    return x if layout == "NCHW" else permute(x, (0, x.ndim - 1, *range(1, x.ndim - 1)))


def as_layout(x: Any, layout: str) -> Any:
    """(N, C, S) in the layout wanted."""
    return x if layout == "NCHW" else contiguous(permute(x, (0, *range(2, x.ndim), 1)))


def columns(x: Any, kernel: Lengths, walk: Geometry) -> Any:
    """What each output reads, (N, G, C / G * K, L), of images (N, C, S)."""
    widths = ((0, 0), (0, 0), *zip(walk.padding[::2], walk.padding[1::2], strict=True))
    x = pad_constant(x, 0, widths) if any(walk.padding) else x
    for axis, (reach, stride) in enumerate(zip(walk.reach(kernel), walk.stride, strict=True)):
        x = unfold(x, 2 + axis, reach, stride)
    axes = len(kernel)
    out = x.shape[2 : 2 + axes]
    if max(walk.dilation) > 1:
        steps = ((0, k, d) for k, d in zip(kernel, walk.dilation, strict=True))
        x = slice_view(x, (*((0, n, 1) for n in x.shape[: 2 + axes]), *steps))
    x = permute(x, (0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes)))
    return reshape(x, (x.shape[0], walk.groups, x.shape[1] // walk.groups * math.prod(kernel), math.prod(out)))


def form_of_output(x: Any, weight: Any, walk: Geometry) -> Any:
    """The output, by a product with columns."""
    kernel, outputs = weight.shape[2:], weight.shape[0]
    x = channels_first(x, walk.layout)
    found = columns(x, kernel, walk)
    matrices = reshape(weight, (walk.groups, outputs // walk.groups, found.shape[2]))
    out = reshape(matmul(matrices, found), (x.shape[0], outputs, *walk.output(x.shape[2:], kernel)))
    return as_layout(out, walk.layout)


def form_of_input(y: Any, weight: Any, size: Lengths, walk: Geometry) -> Any:
    """The input's gradient: a convolution of ``y``, its elements ``stride`` apart, with the kernel turned around."""
    outputs, inputs, *kernel = weight.shape
    groups, points = walk.groups, math.prod(kernel)
    back = Geometry((1,) * len(size), (0,) * (2 * len(size)), walk.dilation, groups, "NCHW")
    spread = _spread(channels_first(y, walk.layout), size, walk.reach(kernel), walk)
    turned = reshape(weight, (groups, outputs // groups, inputs, points))
    turned = slice_view(turned, (*((0, n, 1) for n in turned.shape[:3]), (points - 1, points, -1)))
    matrices = reshape(permute(turned, (0, 2, 1, 3)), (groups, inputs, outputs // groups * points))
    out = matmul(matrices, columns(spread, tuple(kernel), back))
    return as_layout(reshape(out, (spread.shape[0], inputs * groups, *size)), walk.layout)


def _spread(y: Any, size: Lengths, reach: Lengths, walk: Geometry) -> Any:
    """``y`` (N, D, L) with its elements ``stride`` apart and zeros around, (N, D, size + reach - 1)."""
    batch, outputs, *lengths = y.shape
    if max(walk.stride) > 1:
        apart = reshape(y, (batch, outputs, *(n for length in lengths for n in (length, 1))))
        gaps = ((0, 0), (0, 0), *(w for s in walk.stride for w in ((0, 0), (0, s - 1))))
        y = reshape(pad_constant(apart, 0, gaps),
                    (batch, outputs, *(n * s for n, s in zip(lengths, walk.stride, strict=True))))  # fmt: skip
    kept, around = [], []
    for have, want, r, before in zip(y.shape[2:], size, reach, walk.padding[::2], strict=True):
        first, total = r - 1 - before, want + r - 1  # where y begins, which may be in front of all that is wanted
        start = min(max(-first, 0), have)
        zeros = min(max(first, 0), total)
        count = max(0, min(have - start, total - zeros))
        kept.append((start, count, 1))
        around.append((zeros, total - zeros - count))
    y = slice_view(y, ((0, batch, 1), (0, outputs, 1), *kept))
    return pad_constant(y, 0, ((0, 0), (0, 0), *around))


def form_of_weight(x: Any, y: Any, kernel: Lengths, walk: Geometry) -> Any:
    """The weight's gradient: one product over all images and places."""
    x, y = channels_first(x, walk.layout), channels_first(y, walk.layout)
    batch, outputs, *lengths = y.shape
    places, groups = batch * math.prod(lengths), walk.groups
    found = columns(x, kernel, walk)
    right = reshape(permute(found, (1, 0, 3, 2)), (groups, places, found.shape[2]))
    left = reshape(y, (batch, groups, outputs // groups, math.prod(lengths)))
    left = reshape(permute(left, (1, 2, 0, 3)), (groups, outputs // groups, places))
    return reshape(matmul(left, right), (outputs, x.shape[1] // groups, *kernel))
