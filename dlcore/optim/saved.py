"""What `Optimizer.load_state_dict` is given, checked before anything changes: settings of groups and state tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlcore._json import short
from dlcore._tensor import Tensor, tensor

__all__ = ["saved_settings", "saved_tensors", "state_dtype"]

# What PyTorch keeps with the settings of a group and here means nothing.
_IMPLEMENTATION = {"capturable", "differentiable", "foreach", "fused", "initial_lr", "param_names"}


def saved_settings(optimizer: Any, saved: Any) -> list[dict[str, Any]]:
    """The settings of each group in ``saved``, in the order of the optimizer's."""
    if not isinstance(saved, list | tuple) or not all(isinstance(g, Mapping) for g in saved):
        raise ValueError(f"'param_groups' is a list of dicts, not {short(saved)}")
    params = [g.get("params") for g in saved]
    if not all(isinstance(p, list | tuple) for p in params):
        raise ValueError("each group needs 'params', a list")
    sizes, own = [len(p) for p in params], [len(g["params"]) for g in optimizer._groups]
    if sum(sizes) != sum(own):
        raise ValueError(f"{sum(sizes)} parameters in the state, {sum(own)} here")
    if sizes != own:
        raise ValueError(f"groups of {short(sizes)} parameters in the state, of {short(own)} here")
    found = []
    for group in saved:
        names = set(group) - {"params"} - _IMPLEMENTATION
        for name, value in optimizer._implied.items():
            if group.get(name, value) != value:
                raise ValueError(f"{name} is {short(group[name])} in the state, {value} here")
        names -= set(optimizer._implied)
        if names | set(optimizer._later) != set(optimizer._defaults):
            shown = short(", ".join(sorted(map(str, names)))), ", ".join(sorted(optimizer._defaults))
            raise ValueError(f"settings {shown[0]} in the state, {shown[1]} here")
        settings = {name: group.get(name, default) for name, default in optimizer._defaults.items()}
        try:
            optimizer._check(settings)
        except TypeError as error:
            raise ValueError(str(error)) from None
        found.append({n: tuple(v) if n in optimizer._several else v for n, v in settings.items()})
    return found


def saved_tensors(
    optimizer: Any, saved: Any, settings: Sequence[Mapping[str, Any]]
) -> dict[int, dict[str, Tensor]]:
    """Copies of the tensors in ``saved``, each where its parameter is; ``settings``: of the groups."""
    slots = optimizer._slots_for(settings)
    if not isinstance(saved, Mapping) or not all(isinstance(entry, Mapping) for entry in saved.values()):
        raise ValueError("'state' is a dict of dicts")
    found: dict[int, dict[str, Tensor]] = {}
    for i, entry in saved.items():
        if not isinstance(i, int) or not 0 <= i < len(optimizer._parameters):
            raise ValueError(f"there is no parameter {short(i)}")
        entry = optimizer._completed({slot: value for slot, value in entry.items() if value is not None})
        p = optimizer._parameters[i]
        needed = optimizer._kept(p, settings[optimizer._group_of[i]], slots)
        if missing := {"step", *needed} - set(entry):
            raise ValueError(f"parameter {i}: there is no {', '.join(sorted(missing))}")
        shapes = {**dict.fromkeys(optimizer._lists(), p.shape), **needed, "step": ()}
        if foreign := set(entry) - set(shapes):
            raise ValueError(f"parameter {i}: {short(min(map(str, foreign)))} is not of this optimizer")
        found[i] = {slot: _copied(i, slot, value, p, shapes[slot]) for slot, value in entry.items()}
    return found


def state_dtype(p: Tensor) -> str:
    """The state of 16-bit parameters is kept in float32."""
    return "float64" if p.dtype.name == "float64" else "float32"


def _copied(i: int, slot: str, value: Any, p: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A copy of the state tensor ``value`` of parameter ``i``, where ``p`` is."""
    shape, dtype = ((), "int64") if slot == "step" else (shape, state_dtype(p))
    value = value if isinstance(value, Tensor) else np.asarray(value)
    if slot == "step" and value.dtype.name in ("float32", "float64") and value.shape == () and value.item() % 1 == 0:
        value = value.astype("int64")  # as PyTorch keeps it
    if tuple(value.shape) != shape or value.dtype.name != dtype:
        raise ValueError(
            f"parameter {i}: {slot} has shape {tuple(value.shape)} {value.dtype.name}, not {shape} {dtype}"
        )
    if slot == "step" and value.item() < 0:
        raise ValueError(f"parameter {i}: step is {value.item()}")
    return tensor(value, device=p.device)
