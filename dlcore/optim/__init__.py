"""Optimizers and schedules, under the names and meanings that PyTorch's users know."""

from dlcore.optim import schedules
from dlcore.optim.adam import Adam, AdamW
from dlcore.optim.clip import clip_grad_norm_
from dlcore.optim.optimizer import Group, Optimizer
from dlcore.optim.registry import get
from dlcore.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Group", "Optimizer", "clip_grad_norm_", "get", "schedules"]
