"""Optimizers and schedules, under the names and meanings that PyTorch's users know."""

from dlcore.optim import schedules
from dlcore.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from dlcore.optim.adaptive import LAMB, Adadelta, Adagrad, Lion, RMSprop
from dlcore.optim.clip import clip_grad_norm_, clip_grad_value_
from dlcore.optim.lbfgs import LBFGS
from dlcore.optim.loss_scale import GradScaler
from dlcore.optim.matrix import Adafactor, Muon
from dlcore.optim.optimizer import Group, Optimizer
from dlcore.optim.registry import get
from dlcore.optim.schedule_free import ScheduleFreeAdamW, ScheduleFreeSGD
from dlcore.optim.sgd import SGD

__all__ = [
    "LAMB", "LBFGS", "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "GradScaler", "Group",
    "Lion", "Muon", "NAdam", "Optimizer", "RAdam", "RMSprop", "ScheduleFreeAdamW", "ScheduleFreeSGD", "clip_grad_norm_",
    "clip_grad_value_", "get", "schedules",
]  # fmt: skip
