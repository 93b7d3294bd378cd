"""Helpers for models under PyTorch's names: gradients clipped, sequences of different lengths, weights normalised."""

from dlcore.nn.utils import parametrizations, rnn
from dlcore.optim.clip import clip_grad_norm_, clip_grad_value_

__all__ = ["clip_grad_norm_", "clip_grad_value_", "parametrizations", "rnn"]
