"""Which kernel of the CPU computes a convolution, by shapes alone.

The general kernels (csrc/conv/conv.inl) fill the lanes of vectors with channels, the direct ones (csrc/conv/direct.inl)
with positions: these where channels are few, or each is for itself. Bounds were measured with AVX-512 on a Zen 5, on
layers of LeNet, ResNet and MobileNet: at 16 channels both take about as long.
"""

from __future__ import annotations

from dlcore.op import Spec

__all__ = ["OF_INPUT", "OF_OUTPUT", "OF_WEIGHT"]

_LANES = 16
"""Channels that fill the lanes of a vector."""
_FEW = 4
"""Channels of the input, so few that transposing them costs more than lanes of outputs gain."""


def _of_output(weight: Spec, groups: int) -> bool:
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    few = outputs < _LANES or inputs <= _FEW or inputs * outputs <= _LANES * _LANES // 2
    return len(weight.shape) < 5 and few


def _of_input(weight: Spec) -> bool:
    return len(weight.shape) < 5 and weight.shape[1] < _LANES


def _of_weight(x: Spec, y: Spec, kernel: tuple[int, ...], groups: int, layout: str) -> bool:
    axis = 1 if layout == "NCHW" else -1
    outputs, inputs = y.shape[axis] // groups, x.shape[axis] // groups
    return len(x.shape) < 5 and (outputs < _LANES or inputs * kernel[-1] < _LANES)


OF_OUTPUT = {"cpu": [("conv:direct", _of_output), ("conv:conv", None)]}
OF_INPUT = {"cpu": [("conv:direct_input", _of_input), ("conv:conv_input", None)]}
OF_WEIGHT = {"cpu": [("conv:direct_weight", _of_weight), ("conv:conv_weight", None)]}
