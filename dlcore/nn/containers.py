"""Lists and dicts of modules and of parameters under PyTorch's names; plain ones do the same in a Module."""

from __future__ import annotations

from dlcore._tensor import Parameter
from dlcore.nn.module import Module

__all__ = ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList"]


class ModuleList(list[Module]):
    """A list of modules, for code that was written for PyTorch; a plain list does the same in a Module."""


class ModuleDict(dict[str, Module]):
    """Modules by name, for code that was written for PyTorch; a plain dict does the same in a Module.

    >>> heads = nn.ModuleDict({"mean": nn.Linear(4, 1), "spread": nn.Linear(4, 1)})
    >>> [name for name in heads]
    ['mean', 'spread']
    """


class ParameterList(list[Parameter]):
    """A list of parameters, for code that was written for PyTorch; a plain list does the same in a Module."""


class ParameterDict(dict[str, Parameter]):
    """Parameters by name, for code that was written for PyTorch; a plain dict does the same in a Module."""
