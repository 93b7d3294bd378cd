"""Optimizers and schedules, under the names and meanings that PyTorch's users know."""

from dlcore.optim import schedules
from dlcore.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from dlcore.optim.adaptive import Adadelta, Adagrad, Lion, RMSprop
from dlcore.optim.clip import clip_grad_norm_
from dlcore.optim.optimizer import Group, Optimizer
from dlcore.optim.registry import get
from dlcore.optim.schedule_free import ScheduleFreeAdamW, ScheduleFreeSGD
from dlcore.optim.sgd import SGD

__all__ = [
    "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Group", "Lion", "NAdam", "Optimizer", "RAdam", "RMSprop",
    "ScheduleFreeAdamW", "ScheduleFreeSGD", "clip_grad_norm_", "get", "schedules",
]  # fmt: skip
