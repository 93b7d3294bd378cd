"""The planners of dlcore/ops/activation.py: the scalar functions of this family under the rows' names."""

from __future__ import annotations

from dlcore.kernels.activation import functions as f
from dlcore.kernels.elementwise.pointwise import pointwise

relu = pointwise(f.relu)
sigmoid = pointwise(f.sigmoid)
tanh = pointwise(f.tanh)
gelu_erf = pointwise(f.gelu)
gelu_tanh = pointwise(f.gelu_tanh)

relu_backward = pointwise(f.relu_grad)  # (dout, out); the gelus': (dout, x)
sigmoid_backward = pointwise(f.sigmoid_grad)
tanh_backward = pointwise(f.tanh_grad)
gelu_erf_backward = pointwise(f.gelu_grad)
gelu_tanh_backward = pointwise(f.gelu_tanh_grad)
