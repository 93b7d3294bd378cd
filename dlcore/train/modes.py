"""The modes of modules, training or evaluation."""

from __future__ import annotations

from dlcore.nn.module import Module

__all__ = ["kept_modes"]


class kept_modes:
    """After the `with` block all modules are in the mode, training or evaluation, in which they were before."""

    def __init__(self, model: Module):
        self._modes = [(module, module.training) for module in model.modules()]

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        for module, training in self._modes:
            module.training = training
