"""Optimizer: parameter groups, state, and the one launch of a step.

All that changes from step to step lies in device memory: the state of each parameter, its step count, and a float64
matrix of settings with one row for each group. Setting ``group["lr"]`` writes to it; a step only passes the tensors on.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

from dlcore import _C
from dlcore._recordable import Recordable
from dlcore._tensor import Tensor, tensor, zeros, zeros_like

__all__ = ["Group", "Optimizer"]


class Group(MutableMapping[str, Any]):
    """The settings of some parameters: ``group["lr"] = 1e-4`` takes effect at the next step.

    ``group["params"]`` is the list of its parameters, which cannot be replaced.
    """

    def __init__(self, optimizer: Optimizer, index: int, params: list[Tensor], settings: dict[str, Any]):
        self._optimizer, self._index = optimizer, index
        self._params, self._settings = params, settings

    def __getitem__(self, name: str) -> Any:
        if name == "params":
            return self._params
        if _C.is_recording():
            _C.not_recordable(f"it reads the setting {name} of an optimizer, which may change; keep it in a tensor")
        return self._settings[name]

    def __setitem__(self, name: str, value: Any) -> None:
        owner = type(self._optimizer).__name__
        if name == "params":
            raise TypeError(f"{owner}: the parameters of a group cannot be changed; use add_param_group")
        if name not in self._settings:
            raise KeyError(f"{owner}: no setting is called {name!r} ({', '.join(self._settings)})")
        if _C.is_recording():
            _C.not_recordable(f"it changes the setting {name} of an optimizer; do that outside")
        self._optimizer._check({**self._settings, name: value})
        slots = self._optimizer._slots()
        self._settings[name] = value
        self._optimizer._upload(self)
        if self._optimizer._slots() != slots:
            _C.note_change()

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"{type(self._optimizer).__name__}: the setting {name!r} cannot be removed")

    def __iter__(self) -> Iterator[str]:
        return iter(("params", *self._settings))

    def __len__(self) -> int:
        return 1 + len(self._settings)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self._settings.items())
        return f"Group({len(self._params)} parameters, {settings})"

    @property
    def settings(self) -> dict[str, Any]:
        """A copy of everything but the parameters."""
        return dict(self._settings)


class _Arguments(NamedTuple):
    """What a step hands to the operation, besides the gradients, when these parameters have one."""

    parameters: list[Tensor]
    state: list[list[Tensor]]
    """Slot by slot the tensors of all these parameters, then their step counts; empty for a slot that is not used."""
    n: int
    groups: tuple[int, ...]
    """The index of each parameter's group."""


class Optimizer(Recordable):
    """Base of optimizers.

    params: an iterable of parameters, or of dicts with "params" and settings of their own. A subclass gives
    ``_operation`` (which does the step), ``_columns`` (a group's settings as numbers, in the order in which the
    operation takes them) and ``_slots`` (the names of its state tensors).

    Parameters whose ``grad`` is None are skipped: they, their state and their step count stay as they are.

    >>> w = nn.Parameter(dl.tensor([1.0, 2.0]))
    >>> optimizer = optim.SGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.5, 1.0]
    """

    _operation: Any
    _moments: tuple[str, ...]
    """The slots in which the operation takes moments; one that `_slots` leaves out is empty."""
    _defaults: dict[str, Any]

    def __init__(self, params: Iterable[Any], **defaults: Any):
        name = type(self).__name__
        if isinstance(params, Tensor):
            raise TypeError(f"{name}: a list of parameters is needed, not one tensor")
        self._defaults = defaults
        self._check(defaults)
        self.param_groups: list[Group] = []
        self._parameters: list[Tensor] = []
        self._group_of: list[int] = []
        self._state: dict[int, dict[str, Tensor]] = {}  # by position in _parameters
        self._arguments: dict[tuple[bool, ...], _Arguments] = {}  # by which parameters have a gradient
        groups = list(params)
        if not groups:
            raise ValueError(f"{name}: no parameters given")
        for group in groups if isinstance(groups[0], Mapping) else [{"params": groups}]:
            self.add_param_group(group)

    # -- what a subclass gives ---------------------------------------------------------------------------------------

    def _columns(self, settings: Mapping[str, Any]) -> Sequence[float]:
        raise NotImplementedError

    def _slots(self) -> Sequence[str]:
        """The names of the tensors kept for each parameter besides its step count."""
        raise NotImplementedError

    def _check(self, settings: Mapping[str, Any]) -> None:
        """Raises ValueError or TypeError where a setting is wrong; a subclass adds its own rules."""
        for name, value in settings.items():
            for number in value if isinstance(value, tuple | list) else (value,):
                if not isinstance(number, numbers.Real):
                    raise TypeError(f"{type(self).__name__}: {name} is {value!r}; it must be a number")
                if not 0 <= float(number) < math.inf:
                    raise ValueError(f"{type(self).__name__}: {name} is {value}; it must be a number of at least 0")

    # -- recorded steps ----------------------------------------------------------------------------------------------

    def recorded_state(self) -> Any:
        """Which tensors there are; settings are no part of it, for steps read them from memory."""
        state = tuple(t for i in sorted(self._state) for t in self._state[i].values())
        return tuple(self._parameters), tuple(self._group_of), tuple(self._slots()), self._settings, state

    def recorded_parts(self) -> Sequence[Any]:
        """Nothing: the state is all that steps use."""
        return ()

    def before_dry_run(self) -> Callable[[], None]:
        """Returns a function that puts back the state tensors and the parameters' gradients."""
        state = {i: dict(slots) for i, slots in self._state.items()}
        grads = [(p, p.grad) for p in self._parameters]

        def restore() -> None:
            self._state = state
            self._arguments.clear()
            for p, grad in grads:
                p.grad = grad

        return restore

    # -- groups ------------------------------------------------------------------------------------------------------

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters with settings of their own: ``{"params": [...], "lr": 1e-4}``."""
        name = type(self).__name__
        if "params" not in group:
            raise ValueError(f"{name}: a group needs 'params'")
        given = group["params"]
        params = [given] if isinstance(given, Tensor) else list(given)
        settings = {key: value for key, value in group.items() if key != "params"}
        for key in settings:
            if key not in self._defaults:
                raise ValueError(f"{name}: no setting is called {key!r} ({', '.join(self._defaults)})")
        settings = {**self._defaults, **settings}
        self._check(settings)
        seen = {id(p) for p in self._parameters}
        for i, p in enumerate(params):
            self._check_parameter(i, p)
            if id(p) in seen:
                raise ValueError(f"{name}: a parameter of shape {p.shape} is given twice")
            seen.add(id(p))
        index = len(self.param_groups)
        self.param_groups.append(Group(self, index, params, settings))
        self._parameters += params
        self._group_of += [index] * len(params)
        self._arguments.clear()
        device = self._parameters[0].device if self._parameters else None
        self._settings = zeros((index + 1, len(self._columns(settings))), dtype="float64", device=device)
        for each in self.param_groups:
            self._upload(each)

    def _check_parameter(self, i: int, p: Any) -> None:
        name = type(self).__name__
        if not isinstance(p, Tensor):
            raise TypeError(f"{name}: parameter {i} is a {type(p).__name__}, not a Tensor")
        if not p.is_leaf:
            raise ValueError(f"{name}: parameter {i} is the result of an operation, not a parameter")
        if not p.dtype.is_float or not (p.requires_grad or type(p) is not Tensor):
            raise ValueError(f"{name}: parameter {i} does not require a gradient")

    def _upload(self, group: Group) -> None:
        """Write the settings of a group where the steps read them."""
        columns = self._columns(group._settings)
        self._settings[group._index] = tensor(columns, dtype="float64", device=self._settings.device)
        self._arguments.clear()  # which state there is may depend on the settings

    @property
    def lr(self) -> float:
        """The learning rate of all groups; setting it changes it in all. Raises ValueError where they differ."""
        rates = {group["lr"] for group in self.param_groups}
        if len(rates) > 1:
            raise ValueError(f"{type(self).__name__}: lr differs between groups; read param_groups[i]['lr']")
        return float(rates.pop())

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.param_groups:
            group["lr"] = value

    # -- a step ------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Change every parameter that has a gradient, in one launch."""
        grads = [p.grad for p in self._parameters]
        present = tuple([g is not None for g in grads])
        given = self._arguments.get(present) or self._arguments_for(present)
        if given.n < len(grads):
            if not given.n:
                return
            grads = [g for g in grads if g is not None]
        tracked = _C.set_grad_enabled(False)
        try:
            self._operation(given.parameters, grads, *given.state, self._settings, given.groups)
        finally:
            _C.set_grad_enabled(tracked)

    def _arguments_for(self, present: tuple[bool, ...]) -> _Arguments:
        active = [i for i, has_gradient in enumerate(present) if has_gradient]
        states = [self._state_of(i) for i in active]
        used = {*self._slots(), "step"}
        state = [[each[slot] for each in states] if slot in used else [] for slot in (*self._moments, "step")]
        groups = tuple(self._group_of[i] for i in active)
        given = _Arguments([self._parameters[i] for i in active], state, len(active), groups)
        self._arguments[present] = given
        return given

    def _state_of(self, i: int) -> dict[str, Tensor]:
        """The state of parameter ``i``, made when first needed."""
        p = self._parameters[i]
        state = self._state.setdefault(i, {"step": zeros((), dtype="int64", device=p.device)})
        for slot in self._slots():
            if slot not in state:
                state[slot] = zeros_like(p, dtype=_state_dtype(p))
        return state

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Remove the gradients, or set them to zero."""
        for p in self._parameters:
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad.zero_()

    # -- state -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state of each parameter by its number and the settings of each group, as in PyTorch; memory is shared."""
        groups, first = [], 0
        for group in self.param_groups:
            n = len(group["params"])
            groups.append({**group.settings, "params": list(range(first, first + n))})
            first += n
        return {"state": {i: dict(state) for i, state in sorted(self._state.items())}, "param_groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the state and settings of another optimizer of this kind for parameters of the same shapes.

        Raises ValueError, before anything changes, where something does not fit.
        """
        self._check_state(state)
        devices = [p.device for p in self._parameters]
        loaded = {
            int(i): {k: tensor(v, device=devices[int(i)]) for k, v in s.items()} for i, s in state["state"].items()
        }
        for group, saved in zip(self.param_groups, state["param_groups"], strict=True):
            group._settings.update({key: value for key, value in saved.items() if key != "params"})
            self._upload(group)
        self._state = loaded
        self._arguments.clear()

    def _check_state(self, state: Mapping[str, Any]) -> None:
        head = f"{type(self).__name__}.load_state_dict: "
        if not isinstance(state, Mapping) or not {"state", "param_groups"} <= set(state):
            raise ValueError(f"{head}a dict with 'state' and 'param_groups' is needed")
        saved = state["param_groups"]
        sizes, own = [len(g["params"]) for g in saved], [len(g["params"]) for g in self.param_groups]
        if sum(sizes) != sum(own):
            raise ValueError(f"{head}{sum(sizes)} parameters in the state, {sum(own)} here")
        if sizes != own:
            raise ValueError(f"{head}groups of {sizes} parameters in the state, of {own} here")
        for group in saved:
            settings = {key: value for key, value in group.items() if key != "params"}
            if set(settings) != set(self._defaults):
                names = ", ".join(sorted(settings)), ", ".join(sorted(self._defaults))
                raise ValueError(f"{head}settings {names[0]} in the state, {names[1]} here")
            self._check(settings)
        for i, entry in state["state"].items():
            if not 0 <= int(i) < len(self._parameters):
                raise ValueError(f"{head}there is no parameter {i}")
            p = self._parameters[int(i)]
            for slot, value in entry.items():
                if slot != "step" and (value.shape != p.shape or value.dtype.name != _state_dtype(p)):
                    found = f"{value.shape} {value.dtype.name}, not {p.shape} {_state_dtype(p)}"
                    raise ValueError(f"{head}parameter {i}: {slot} has shape {found}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.param_groups))})"


def _state_dtype(p: Tensor) -> str:
    """The state of 16-bit parameters is kept in float32."""
    return "float64" if p.dtype.name == "float64" else "float32"
