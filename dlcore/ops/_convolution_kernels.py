"""Which kernel of the CPU computes a convolution, by shapes alone.

The general kernels (csrc/conv/conv.inl) fill the lanes of vectors with channels, the direct ones (csrc/conv/direct.inl)
with positions or images: these where channels are few, or each is for itself. With channels last (NHWC) the general
kernels have nothing to transpose, and the direct ones must pick each channel out of its neighbours. Bounds were
measured with AVX-512 on layers of LeNet, ResNet and MobileNet, on a Zen 5 and on a Zen 4; microseconds of the latter,
one core, 64 images, direct with lanes of positions / general (output, then gradient of the weight):
                                     NCHW                       NHWC
  3 -> 16 channels, 32 x 32, 3 x 3    762 /  929   973 /  788   1409 /  732  1409 /  636
  1 -> 16 channels, 28 x 28, 3 x 3    296 /  453   306 /  433    690 /  318   688 /  311
  6 -> 16 channels, 14 x 14, 5 x 5    417 /  335   624 /  321    504 /  294   675 /  280
  8 -> 16 channels, 13 x 13, 3 x 3    222 /  225   338 /  206    322 /  188   400 /  172
  8 ->  8 channels, 28 x 28, 3 x 3    691 / 1258   883 / 1178   1007 / 1200  1110 / 1092
"""

from __future__ import annotations

import math

from dlcore.op import Spec

__all__ = ["OF_INPUT", "OF_OUTPUT", "OF_WEIGHT"]

_LANES = 16
"""Channels that fill the lanes of a vector."""
_FEW = 4
"""Channels of the input, so few that transposing them costs more than lanes of outputs gain."""
_SHORT = 128
"""Products of an output in NCHW, so few that transposing it costs more than lanes of outputs gain."""
_ROW = 8
"""Channels times taps of a row of the kernel: with fewer, tiles of the weight's gradient are low."""


def _of_output(weight: Spec, groups: int, layout: str) -> bool:
    outputs, inputs, *kernel = weight.shape
    if len(kernel) > 2 or _is_product(kernel, groups, layout):
        return False
    short = inputs * outputs // groups <= _LANES * _LANES // 2 and inputs * math.prod(kernel) < _SHORT
    return outputs // groups < _LANES or (layout == "NCHW" and (inputs <= _FEW or short))


def _of_input(weight: Spec, groups: int, layout: str) -> bool:
    _, inputs, *kernel = weight.shape
    return len(kernel) < 3 and inputs < _LANES and not _is_product(kernel, groups, layout)


def _of_weight(x: Spec, y: Spec, kernel: tuple[int, ...], groups: int, layout: str) -> bool:
    if len(kernel) > 2 or _is_product(kernel, groups, layout):
        return False
    axis = 1 if layout == "NCHW" else -1
    outputs, inputs = y.shape[axis] // groups, x.shape[axis] // groups
    return outputs < _LANES or (layout == "NCHW" and inputs * kernel[-1] <= _ROW)


def _is_product(kernel: list[int] | tuple[int, ...], groups: int, layout: str) -> bool:
    """Whether it is one product of matrices that lie in memory."""
    return layout == "NHWC" and groups == 1 and math.prod(kernel) == 1


OF_OUTPUT = {"cpu": [("conv:direct", _of_output), ("conv:conv", None)]}
OF_INPUT = {"cpu": [("conv:direct_input", _of_input), ("conv:conv_input", None)]}
OF_WEIGHT = {"cpu": [("conv:direct_weight", _of_weight), ("conv:conv_weight", None)]}
