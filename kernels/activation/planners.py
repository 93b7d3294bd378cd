"""The planners of dlcore/ops/activation.py: `<name>` and `<name>_backward` for every activation in
kernels/common/activations.py."""

from __future__ import annotations

from dlcore.kernels.common.activations import ACTIVATIONS, gelu_tanh
from dlcore.kernels.common.pointwise import pointwise

for _name, _activation in ACTIVATIONS.items():
    globals()[_name] = pointwise(_activation.value, long=_activation.value is gelu_tanh)
    globals()[f"{_name}_backward"] = pointwise(_activation.gradient)  # (dout, out) or (dout, x)
