"""What `Module.load_state_dict` asks of the values it is given, and what `Module.to` makes of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore._arguments import operand
from dlcore._autograd import no_grad
from dlcore._device import Device
from dlcore._json import short
from dlcore._tensor import Tensor
from dlcore.dtypes import DType, bool_

__all__ = ["moved", "values_for"]


def values_for(own: Mapping[str, Tensor], state: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """Of the tensors ``own``, the values that ``state`` has for them, and what is wrong with these."""
    values = {name: _as_tensor(name, state[name]) for name in own if name in state}
    problems = []
    for name, value in values.items():
        if value.shape != own[name].shape:
            problems.append(f"{short(name)}: shape {value.shape}, the model has {own[name].shape}")
        elif lost := _lost(value, own[name].dtype):
            problems.append(f"{short(name)}: {lost}")
        elif not _writable(own[name]):
            problems.append(f"{short(name)}: the model's tensor cannot be written to")
    return values, problems


def _as_tensor(name: str, value: Any) -> Tensor:
    """A value of a state dict; raises what `operand` raises."""
    if isinstance(value, bool | int | float):
        value = np.asarray(value)
    found: Tensor = operand(value, "load_state_dict", name)
    return found


def _lost(value: Tensor, dtype: DType) -> str:
    """Why ``value`` cannot be had in ``dtype``; nothing where it can, each number rounded at most."""
    if value.dtype is dtype:
        return ""
    if value.dtype.is_float != dtype.is_float or bool_ in (value.dtype, dtype):
        return f"dtype {value.dtype.name}, the model has {dtype.name}"
    with no_grad():
        there = value.astype(dtype)
        wrong = value.isfinite() & ~there.isfinite() if dtype.is_float else there.astype(value.dtype) != value
        count = int(wrong.sum().item())
    return f"{count} of its numbers in {value.dtype.name} are beyond {dtype.name}, the model's dtype" if count else ""


def _writable(t: Tensor) -> bool:
    """Whether the elements of ``t`` have memory of their own, which may be changed."""
    if t.device.type != "cpu":
        return True
    array = t.detach().numpy()
    return array.flags.writeable and all(stride or n < 2 for n, stride in zip(array.shape, array.strides, strict=True))


def moved(old: Tensor, dtype: DType | None, device: Device | None) -> Tensor:
    """``old`` on ``device`` in ``dtype``, without history: itself where nothing changes."""
    cast = dtype is not None and old.dtype.is_float and old.dtype is not dtype
    if not cast and (device is None or device is old.device):
        return old
    new = old.detach().astype(dtype) if cast else old.detach()
    return new if device is None else new.to(device)
