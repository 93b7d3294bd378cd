"""Helpers for models under PyTorch's names: gradients clipped, sequences of different lengths, weights normalised.

`weight_norm` and `spectral_norm` are the parametrisations of `dlcore.nn.parametrize`, which PyTorch has in
``torch.nn.utils.parametrizations``; their names in `state_dict` are those there.
"""

from dlcore.nn import parametrize
from dlcore.nn.parametrize import spectral_norm, weight_norm
from dlcore.nn.utils import parametrizations, rnn
from dlcore.nn.utils.vectors import parameters_to_vector, vector_to_parameters
from dlcore.optim.clip import clip_grad_norm_, clip_grad_value_

__all__ = [
    "clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "parametrizations", "parametrize", "rnn",
    "spectral_norm", "vector_to_parameters", "weight_norm",
]  # fmt: skip
