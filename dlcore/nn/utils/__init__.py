"""Helpers for models: sequences of different lengths in `dlcore.nn.utils.rnn`."""

from dlcore.nn.utils import rnn

__all__ = ["rnn"]
