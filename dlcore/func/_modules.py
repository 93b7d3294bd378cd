"""Modules as functions of their parameters: `functional_call`, `stack_module_state`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlcore._arguments import instance, listed
from dlcore._tensor import Tensor
from dlcore.errors import ShapeError
from dlcore.nn import Module
from dlcore.ops.movement import stack

__all__ = ["functional_call", "stack_module_state"]


def functional_call(
    module: Module, parameters: Mapping[str, Any], args: Any = (), kwargs: Mapping[str, Any] | None = None
) -> Any:  # fmt: skip
    """``module(*args, **kwargs)`` with other tensors in the place of its parameters and buffers.

    ``parameters``: name -> tensor, names as in ``module.named_parameters()``; those not named are the module's own. A
    parameter that the module has under several names is replaced under all of them. ``args``: a tuple, or one argument
    alone. The module is as it was afterwards.

    Raises ValueError for a name that the module does not have, ShapeError for another shape.

    >>> model = nn.Linear(2, 1)
    >>> params = {name: p * 0 for name, p in model.named_parameters()}
    >>> dl.func.functional_call(model, params, dl.ones(2)).item()
    0.0
    """
    instance(module, Module, "functional_call: module", "a module")
    instance(parameters, Mapping, "functional_call: parameters", "a mapping of names to tensors")
    slots = _slots(module)
    new: dict[int, Any] = {}
    for name, value in parameters.items():
        if name not in slots:
            raise ValueError(f"functional_call: {type(module).__name__} has no {name!r}; its names: {', '.join(slots)}")
        own = slots[name].value
        instance(value, Tensor, f"functional_call: {name}", "a tensor")
        if value.shape != own.shape:
            raise ShapeError(f"functional_call: {name} has shape {value.shape}, the module's {own.shape}")
        new[id(own)] = value
    changed = [slot for slot in slots.values() if id(slot.value) in new]
    try:
        for slot in changed:
            slot.container[slot.key] = new[id(slot.value)]
        return module(*(args if isinstance(args, tuple) else (args,)), **(kwargs or {}))
    finally:
        for slot in changed:
            slot.container[slot.key] = slot.value


def _slots(module: Module) -> dict[str, Any]:
    """Where each parameter and buffer lies, by its dotted name."""
    found = {}
    for path, inner in module.named_modules():
        for slot in inner._members():
            if isinstance(slot.value, Tensor):
                found[f"{path}.{slot.name}" if path else slot.name] = slot
    return found


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(parameters, buffers) of modules of one kind, each stacked along a new axis 0: an ensemble for `vmap`.

    The stacked tensors are new; parameters require a gradient where all of them do.

    >>> models = [nn.Linear(3, 2) for _ in range(5)]
    >>> params, buffers = dl.func.stack_module_state(models)
    >>> call = lambda p, x: dl.func.functional_call(models[0], p, x)
    >>> dl.func.vmap(call, in_axes=(0, None))(params, dl.ones(4, 3)).shape
    (5, 4, 2)
    """
    several = listed(models, "stack_module_state: models", "modules")
    if not several:
        raise ValueError("stack_module_state: no models are given")
    for model in several:
        instance(model, Module, "stack_module_state: a model", "a module")
        if type(model) is not type(several[0]):
            kinds = f"{type(several[0]).__name__} and {type(model).__name__}"
            raise TypeError(f"stack_module_state: models of different kinds: {kinds}")
    parameters = _stacked([dict(m.named_parameters()) for m in several])
    return parameters, _stacked([dict(m.named_buffers()) for m in several])


def _stacked(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if any(state.keys() != states[0].keys() for state in states):
        raise ValueError("stack_module_state: the models have parameters or buffers of different names")
    found = {}
    for name in states[0]:
        parts = [state[name] for state in states]
        found[name] = stack([p.detach() for p in parts])
        if all(p.requires_grad for p in parts):
            found[name].requires_grad = True
    return found
