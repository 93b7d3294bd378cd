"""Modules: layers, losses and initialisers, under the names that PyTorch's users know."""

from dlcore._tensor import Parameter
from dlcore.nn import init
from dlcore.nn.layers import (
    GELU,
    Dropout,
    Flatten,
    Identity,
    Linear,
    LogSoftmax,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)
from dlcore.nn.losses import CrossEntropyLoss, MSELoss
from dlcore.nn.module import Module, ModuleList

__all__ = [
    "GELU",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Identity",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "ModuleList",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "init",
]
