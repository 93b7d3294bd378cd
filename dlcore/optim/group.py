"""Group: the settings of some of an optimizer's parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any

from dlcore import _C
from dlcore._tensor import Tensor

__all__ = ["Group"]


class Group(MutableMapping[str, Any]):
    """The settings of some parameters: ``group["lr"] = 1e-4``, or ``group.lr = 1e-4``, takes effect at the next step.

    ``group["params"]`` is the tuple of its parameters, which cannot be replaced.
    """

    _optimizer: Any
    _index: int
    _params: tuple[Tensor, ...]
    _names: tuple[str, ...]
    _settings: dict[str, Any]
    _spared: bool
    """Whether ``no_decay`` leaves its parameters out of weight decay."""

    def __init__(
        self,
        optimizer: Any,
        index: int,
        params: Iterable[Tensor],
        settings: dict[str, Any],
        names: Iterable[str] = (),
        spared: bool = False,
    ):
        self._optimizer, self._index = optimizer, index
        self._params, self._settings = tuple(params), settings
        self._names, self._spared = tuple(names), spared

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self:
            raise AttributeError(f"{type(self).__name__}: no setting is called {name!r}")
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in Group.__annotations__:
            object.__setattr__(self, name, value)
        elif name in self:
            self[name] = value
        else:
            raise AttributeError(self._optimizer._unknown(name))

    def __getitem__(self, name: str) -> Any:
        if name == "params":
            return self._params
        if _C.is_recording():
            _C.not_recordable(f"it reads the setting {name} of an optimizer, which may change; keep it in a tensor")
        return self._settings[name]

    def __setitem__(self, name: str, value: Any) -> None:
        owner = type(self._optimizer).__name__
        if name not in self:
            raise KeyError(self._optimizer._unknown(name))
        if name == "params":
            raise TypeError(f"{owner}: the parameters of a group cannot be changed; use add_param_group")
        if _C.is_recording():
            _C.not_recordable(f"it changes the setting {name} of an optimizer; do that outside")
        self._optimizer._check({**self._settings, name: value})
        value = tuple(value) if name in self._optimizer._several else value
        if name in self._optimizer._constant and value != self._settings[name]:
            raise ValueError(f"{owner}: {name} of a group is {self._settings[name]!r}, and stays so")
        if name == "lr" and self._optimizer._schedule is not None:
            self._optimizer._schedule._table([float(value)])  # raises before anything changes
        slots = self._optimizer._slots()
        self._settings[name] = value
        self._optimizer._upload(self)
        if name in self._optimizer._recorded or self._optimizer._slots() != slots:
            _C.note_change()

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"{type(self._optimizer).__name__}: the setting {name!r} cannot be removed")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name == "params" or name in self._settings)  # reads no setting

    def __iter__(self) -> Iterator[str]:
        return iter(("params", *self._settings))

    def __len__(self) -> int:
        return 1 + len(self._settings)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self._settings.items())
        return f"Group({len(self._params)} parameters, {settings})"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its parameters, where the optimizer was given names with them; else nothing."""
        return self._names

    @property
    def settings(self) -> dict[str, Any]:
        """A copy of everything but the parameters."""
        return dict(self._settings)
