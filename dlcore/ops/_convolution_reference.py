"""Convolutions in NumPy, one place of the kernel after the other: what tests hold the kernels against."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["finite", "input_of", "output_of", "plus_bias", "weight_of"]

Lengths = tuple[int, ...]
Part = tuple[Any, ...]


def _first(x: Any, layout: str) -> Any:
    return x if layout == "NCHW" else np.moveaxis(x, -1, 1)


def _last(x: Any, layout: str) -> Any:
    return x if layout == "NCHW" else np.moveaxis(x, 1, -1)


def _grouped(x: Any, groups: int) -> Any:
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])


def _sizes(size: Lengths, kernel: Lengths, stride: Lengths, padding: Lengths, dilation: Lengths) -> Lengths:
    return tuple(
        len(range(0, n + padding[2 * d] + padding[2 * d + 1] - (kernel[d] - 1) * dilation[d], stride[d]))
        for d, n in enumerate(size)
    )


def _places(kernel: Lengths, out: Lengths, stride: Lengths, dilation: Lengths) -> Iterator[tuple[Part, Part]]:
    """Each place of the kernel, and the slice of the padded input that meets it."""
    for at in np.ndindex(*kernel):
        meets = [slice(k * d, k * d + (n - 1) * s + 1, s)
                 for k, d, n, s in zip(at, dilation, out, stride, strict=True)]  # fmt: skip
        yield at, (..., *meets)


def _widths(padding: Lengths) -> list[tuple[int, int]]:
    return [(0, 0), (0, 0), *zip(padding[::2], padding[1::2], strict=True)]


def output_of(
    x: Any, weight: Any, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int, layout: str
) -> Any:  # fmt: skip
    """The output of a convolution."""
    x = _first(x, layout)
    kernel = weight.shape[2:]
    out = _sizes(x.shape[2:], kernel, stride, padding, dilation)
    padded = _grouped(np.pad(x, _widths(padding)), groups)
    filters = weight.reshape(groups, -1, *weight.shape[1:])
    found = np.zeros((x.shape[0], groups, filters.shape[1], *out))
    for at, meets in _places(kernel, out, stride, dilation):
        found += np.einsum("ngc...,gdc->ngd...", padded[meets], filters[(..., *at)])
    return _last(found.reshape(x.shape[0], weight.shape[0], *out), layout)


def input_of(
    y: Any, weight: Any, size: Lengths, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int, layout: str
) -> Any:  # fmt: skip
    """The gradient to the input, where ``y`` is that of the output."""
    y = _first(y, layout)
    out, kernel = y.shape[2:], weight.shape[2:]
    filters = weight.reshape(groups, -1, *weight.shape[1:])
    padded = [n + b + a for n, (b, a) in zip(size, _widths(padding)[2:], strict=True)]
    found: Any = np.zeros((y.shape[0], groups, weight.shape[1], *padded))
    given = _grouped(y, groups)
    for at, meets in _places(kernel, out, stride, dilation):
        found[meets] += np.einsum("ngd...,gdc->ngc...", given, filters[(..., *at)])
    inside = [slice(b, b + n) for n, (b, _) in zip(size, _widths(padding)[2:], strict=True)]
    whole = found[(..., *inside)].reshape(y.shape[0], groups * weight.shape[1], *size)
    return _last(whole, layout)


def weight_of(
    x: Any, y: Any, kernel: Lengths, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int, layout: str
) -> Any:  # fmt: skip
    """The gradient to the weight, where ``y`` is that of the output."""
    x, y = _first(x, layout), _first(y, layout)
    padded, given = _grouped(np.pad(x, _widths(padding)), groups), _grouped(y, groups)
    found, points = np.zeros((groups, given.shape[2], padded.shape[2], *kernel)), math.prod(y.shape[2:])
    for at, meets in _places(kernel, y.shape[2:], stride, dilation):
        read = padded[meets].reshape(*padded.shape[:3], points)
        found[(..., *at)] = np.einsum("ngdl,ngcl->gdc", given.reshape(*given.shape[:3], points), read)
    return found.reshape(y.shape[1], -1, *kernel)


def plus_bias(out: Any, bias: Any, layout: str) -> Any:
    """The output with a number for each channel added."""
    if bias is None:
        return out
    return out + (bias.reshape(-1, *[1] * (out.ndim - 2)) if layout == "NCHW" else bias)


def finite(x: Any) -> Any:
    """The array with 1 in the place of infinities and NaN; what is no array as it is."""
    return np.where(np.isfinite(x), x, 1.0) if isinstance(x, np.ndarray) else x
