"""Optimizer: parameter groups, state, and the one launch of a step.

All that changes from step to step lies in device memory: the state of each parameter, its step count, and a float64
matrix of settings with one row for each group. Setting ``group["lr"]`` writes to it; a step only passes the tensors on.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from dlcore import _C
from dlcore._arguments import boolean, function, instance, listed, shown
from dlcore._autograd import enable_grad
from dlcore._notes import note
from dlcore._recordable import Recordable
from dlcore._tensor import Tensor, tensor, zeros
from dlcore.ops.training import scheduled_rates
from dlcore.optim.group import Group
from dlcore.optim.saved import saved_settings, saved_tensors, state_dtype

__all__ = ["Group", "Optimizer"]

class Rates(Protocol):
    """What an optimizer asks of a schedule."""

    def _table(self, bases: Sequence[float]) -> np.ndarray[Any, Any]:
        """Row by row, step by step, the rates of groups with these learning rates; the last row stays: float64."""


class _Arguments(NamedTuple):
    """What a step hands to the operation, besides the gradients, when these parameters have one."""

    parameters: list[Tensor]
    state: list[list[Tensor]]
    """Slot by slot the tensors of all these parameters, then their step counts; empty for a slot that is not used."""
    n: int
    groups: tuple[int, ...]
    """The index of each parameter's group."""
    numbers: tuple[int, ...]
    """The numbers of the parameters."""


class Optimizer(Recordable):
    """Base of optimizers.

    params: an iterable of parameters, of pairs (name, parameter), as ``model.named_parameters()`` gives them, or of
    dicts with "params" and settings of their own. no_decay: which parameters weight decay leaves alone: those whose
    name holds one of these words, or True for those of at most one axis (biases, and the weights of norms); they become
    groups of their own, with a weight decay of 0. maximize: ascend instead of descending.

    A subclass gives ``_operation`` (which does the step), ``_columns`` (a group's settings as numbers, in the order in
    which the operation takes them, the learning rate first) and ``_slots_for`` (the names of its state tensors).

    Parameters whose ``grad`` is None are skipped: they, their state and their step count stay as they are.

    >>> w = nn.Parameter(dl.tensor([1.0, 2.0]))
    >>> optimizer = optim.SGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.5, 1.0]
    """

    recorded_methods = frozenset(("step", "zero_grad"))
    _operation: Any
    _moments: tuple[str, ...] = ()
    """The slots with tensors of the parameter's shape, in the order in which the operation takes them."""
    _numbers: tuple[str, ...] = ()
    """The slots with one number each, which the operation takes behind the moments."""
    _exact: tuple[str, ...] = ("step",)
    """The slots whose dtype is not that of the parameter's state."""
    _fixed: tuple[str, ...] = ()
    """The settings that are the same in all groups and cannot be changed later."""
    _constant: tuple[str, ...] = ()
    """The settings of a group that cannot be changed later."""
    _recorded: tuple[str, ...] = ()
    """The settings that a recording depends on: those that steps do not read from memory."""
    _later: tuple[str, ...] = ()
    """The settings that older files do not have."""
    _implied: Mapping[str, Any] = {}
    """The settings that PyTorch's optimizer has in its state, with the value that they have here."""
    _several: tuple[str, ...] = ()
    """The settings that are several numbers."""
    _defaults: dict[str, Any]
    if TYPE_CHECKING:
        lr: float
        """The learning rate of all groups; setting it, as any setting, changes it in all. ValueError if they differ."""

    def __init__(self, params: Iterable[Any], *, no_decay: bool | Sequence[str] = (), **defaults: Any):
        name = type(self).__name__
        if isinstance(params, Tensor):
            raise TypeError(f"{name}: a list of parameters is needed, not one tensor")
        self._defaults = defaults
        self._check(defaults)
        self._no_decay = self._checked_words(no_decay)
        self._schedule: Rates | None = None
        self._rates: Tensor | None = None
        self._idle = False  # whether it was said that no parameter has a gradient
        self._position: Tensor | None = None
        self._groups: list[Group] = []
        self._changes_seen = _C.changes()
        self._parameters: list[Tensor] = []
        self._group_of: list[int] = []
        self._state: dict[int, dict[str, Tensor]] = {}  # by position in _parameters
        self._arguments: dict[tuple[bool, ...], _Arguments] = {}  # by which parameters have a gradient
        groups = listed(params, f"{name}: params", "parameters")
        if not groups:
            raise ValueError(f"{name}: no parameters given")
        for group in groups if isinstance(groups[0], Mapping) else [{"params": groups}]:
            self.add_param_group(group)

    # -- what a subclass gives ---------------------------------------------------------------------------------------

    def _columns(self, settings: Mapping[str, Any]) -> Sequence[float]:
        raise NotImplementedError(f"{type(self).__name__}: _columns is not written")

    def _slots_for(self, groups: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """The names of the moments kept for each parameter where groups have these settings."""
        return self._moments

    def _lists(self) -> Sequence[str]:
        """The slots of all moments that the operation takes; one that `_slots_for` leaves out is empty."""
        return self._moments

    def _kept(self, p: Tensor, settings: Mapping[str, Any], slots: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """The shapes of all that is kept for ``p`` besides its step count, by slot."""
        return {**dict.fromkeys(slots, p.shape), **dict.fromkeys(self._numbers, ())}

    def _first_value(self, slot: str, settings: Mapping[str, Any]) -> float:
        """What the elements of a slot are before the first step."""
        return 0.0

    def _copied_at_first(self, slot: str) -> bool:
        """Whether a slot begins as a copy of its parameter."""
        return False

    def _check_betas(self, betas: Any) -> None:
        if not isinstance(betas, tuple | list) or len(betas) != 2 or not all(b < 1 for b in betas):
            raise ValueError(f"{type(self).__name__}: betas must be two numbers in [0, 1), not {betas}")

    def _check_part(self, settings: Mapping[str, Any], name: str, most: float) -> None:
        if not settings[name] <= most:
            raise ValueError(f"{type(self).__name__}: {name} is {settings[name]}; it must be at most {most:g}")

    def _slots(self) -> Sequence[str]:
        return self._slots_for([group._settings for group in self._groups])

    def _unknown(self, name: Any) -> str:
        """Says that there is no setting ``name``, and which there are."""
        return f"{type(self).__name__}: no setting is called {shown(name)} ({', '.join(self._defaults)})"

    def _check(self, settings: Mapping[str, Any]) -> None:
        """Raises ValueError or TypeError where a setting is wrong; a subclass adds its own rules."""
        for name, value in settings.items():
            for number in value if name in self._several and isinstance(value, tuple | list) else (value,):
                flag = type(self._defaults.get(name)) is bool
                refused = isinstance(number, np.timedelta64) or (isinstance(number, bool) and not flag)
                if refused or not isinstance(number, numbers.Real):
                    raise TypeError(f"{type(self).__name__}: {name} is {shown(value)}; it must be a number")
                if not 0 <= _as_float(number) < math.inf:
                    raise ValueError(
                        f"{type(self).__name__}: {name} is {shown(value)}; it must be a number of at least 0"
                    )
        for name in self._fixed:
            if settings[name] != self._defaults[name]:
                raise ValueError(
                    f"{type(self).__name__}: {name} is {shown(self._defaults[name])} in all groups, and stays so"
                )

    # -- recorded steps ----------------------------------------------------------------------------------------------

    def recorded_state(self) -> Any:
        """Which tensors there are; settings are no part of it, for steps read them from memory."""
        state = tuple(t for i in sorted(self._state) for t in self._state[i].values())
        rates = self._rates, self._position
        frozen = tuple(group._settings[name] for group in self._groups for name in self._recorded)
        held = tuple(self._parameters), tuple(self._group_of), tuple(self._slots())
        return *held, self._settings, rates, frozen, state

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

    @property
    def param_groups(self) -> tuple[Group, ...]:
        """The groups of parameters, each with settings of its own; `add_param_group` adds one."""
        return tuple(self._groups)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._defaults:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        values = [group[name] for group in self._commanded(name)]
        if any(value != values[0] for value in values):
            raise ValueError(f"{type(self).__name__}: {name} differs between groups; read param_groups[i][{name!r}]")
        return values[0]

    def __setattr__(self, name: str, value: Any) -> None:
        """A setting is set in all groups: ``optimizer.weight_decay = 0.1``. Raises AttributeError for unknown names."""
        if not name.startswith("_") and name in self._defaults:
            for group in self._commanded(name):
                group[name] = value
        elif name.startswith("_") or hasattr(type(self), name) or not type(self).__module__.startswith("dlcore."):
            super().__setattr__(name, value)  # a class of the user's may have attributes of its own
        else:
            raise AttributeError(self._unknown(name))

    def _commanded(self, name: str) -> Sequence[Group]:
        """The groups that ``optimizer.name = ...`` sets: weight decay is left at 0 where ``no_decay`` spares them."""
        decayed = [group for group in self._groups if not group._spared]
        return decayed if name == "weight_decay" and decayed else self._groups

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters with settings of their own: ``{"params": [...], "lr": 1e-4}``; ``no_decay`` holds for them."""
        name = type(self).__name__
        if not isinstance(group, Mapping) or "params" not in group:
            raise ValueError(f"{name}: a group needs 'params'")
        given = group["params"]
        params = [given] if isinstance(given, Tensor) else listed(given, f"{name}: params", "parameters")
        names, params = self._named(params)
        settings = {key: value for key, value in group.items() if key != "params"}
        for key in settings:
            if key not in self._defaults:
                raise ValueError(self._unknown(key))
        settings = {**self._defaults, **settings}
        self._check(settings)
        settings = {n: tuple(v) if n in self._several else v for n, v in settings.items()}
        seen = {id(p) for p in self._parameters}
        for i, p in enumerate(params):
            self._check_parameter(i, p)
            if id(p) in seen:
                raise ValueError(f"{name}: a parameter of shape {p.shape} is given twice")
            seen.add(id(p))
        changes = [self._changes(i, names, p, settings) for i, p in enumerate(params)]
        kinds = [c for i, c in enumerate(changes) if c not in changes[:i]] or [{}]
        for kind in sorted(kinds, key=len):
            chosen = [i for i, c in enumerate(changes) if c == kind]
            its = [names[i] for i in chosen] if names else []
            self._add_group([params[i] for i in chosen], its, {**settings, **kind}, "weight_decay" in kind)
        device = self._parameters[0].device if self._parameters else None
        self._settings = zeros((len(self._groups), len(self._columns(settings))), dtype="float64", device=device)
        for each in self._groups:
            self._upload(each)
        self._use_schedule(self._schedule, None)

    def _add_group(self, params: list[Tensor], names: Sequence[str], settings: dict[str, Any], spared: bool) -> None:
        index = len(self._groups)
        self._groups.append(Group(self, index, params, dict(settings), names, spared))
        self._parameters += params
        self._group_of += [index] * len(params)

    def _named(self, given: list[Any]) -> tuple[list[str], list[Any]]:
        """Names, if there are, and parameters of a list of either parameters or pairs (name, parameter)."""
        pairs = [isinstance(x, tuple | list) and len(x) == 2 and isinstance(x[0], str) for x in given]
        if not any(pairs):
            return [], given
        if not all(pairs):
            raise TypeError(f"{type(self).__name__}: parameter {pairs.index(False)} has no name, and others have")
        return [x[0] for x in given], [x[1] for x in given]

    def _checked_words(self, given: Any) -> bool | tuple[str, ...]:
        where = f"{type(self).__name__}: no_decay"
        if isinstance(given, bool):
            words: bool | tuple[str, ...] = given
        else:
            found = [given] if isinstance(given, str) else listed(given, where, "words")
            for i, word in enumerate(found):
                if not instance(word, str, f"{where}[{i}]", "a text"):
                    raise ValueError(f"{where}[{i}] is empty, which every name holds")
            words = tuple(found)
        if words and "weight_decay" not in self._defaults:
            raise ValueError(f"{where}: {type(self).__name__} has no weight decay")
        return words

    def _changes(
        self, i: int, names: Sequence[str], p: Tensor, settings: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The settings in which parameter ``i`` differs from those of its group: it goes to one of its own."""
        return {"weight_decay": 0.0} if self._is_spared(i, names, p) else {}

    def _is_spared(self, i: int, names: Sequence[str], p: Tensor) -> bool:
        """Whether ``no_decay`` leaves out parameter ``i``."""
        if isinstance(self._no_decay, bool):
            return self._no_decay and p.ndim <= 1
        if not self._no_decay:
            return False
        if not names:
            raise ValueError(
                f"{type(self).__name__}: no_decay={shown(self._no_decay)} needs names: give model.named_parameters(), "
                "or no_decay=True for all parameters of at most one axis"
            )
        return any(word in names[i] for word in self._no_decay)

    def _check_parameter(self, i: int, p: Any) -> None:
        name = type(self).__name__
        if not isinstance(p, Tensor):
            hint = "; give its parameters()" if hasattr(p, "parameters") else ""
            raise TypeError(f"{name}: parameter {i} is a {type(p).__name__}, not a Tensor{hint}")
        if not p.is_leaf:
            raise ValueError(f"{name}: parameter {i} is the result of an operation, not a parameter")
        if not p.dtype.is_float or not (p.requires_grad or type(p) is not Tensor):
            raise ValueError(f"{name}: parameter {i} does not require a gradient")

    def _upload(self, group: Group) -> None:
        """Write the settings of a group where the steps read them."""
        columns = self._columns(group._settings)
        self._settings[group._index] = tensor(columns, dtype="float64", device=self._settings.device)
        self._write_rates()
        self._arguments.clear()  # which state there is may depend on the settings

    # -- schedules ---------------------------------------------------------------------------------------------------

    def _use_schedule(self, schedule: Rates | None, position: int | None = 0) -> None:
        """Take the rates of ``schedule`` from step ``position`` on (None: from where it is), or those of the groups."""
        if schedule is None:
            if self._schedule is not None:
                self._schedule = self._rates = self._position = None
                for group in self._groups:
                    self._upload(group)
            return
        table = schedule._table([group._settings["lr"] for group in self._groups])
        device = self._settings.device
        self._schedule, self._rates = schedule, tensor(table, device=device)
        if position is not None:
            self._position = tensor(np.array(position), device=device)

    def _write_rates(self) -> None:
        """Write the rates of the schedule, if there is one, where the steps read them."""
        if self._schedule is not None and self._rates is not None and self._rates.shape[1] == len(self._groups):
            table = self._schedule._table([group._settings["lr"] for group in self._groups])
            self._rates[...] = tensor(table, device=self._rates.device)

    # -- a step ------------------------------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None, *, active: Tensor | None = None) -> Any:
        """Change every parameter that has a gradient.

        closure: a function that computes the gradients and returns the loss; it is called first, and the loss returned.
        active: a bool on the parameters' device (0-d) at whose False parameters and state stay as they are, step counts
        too: whether a recorded step is taken is decided anew in every replay, and nothing is read back. A schedule goes
        on by one step either way, but where no parameter has a gradient.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = function(closure, f"{type(self).__name__}.step: closure")()
        if self._changes_seen != _C.changes():
            self._follow_parameters()
        grads = [p.grad for p in self._parameters]
        present = tuple([g is not None for g in grads])
        given = self._arguments.get(present) or self._arguments_for(present)
        if given.n < len(grads):
            if not given.n:
                self._note_no_gradient()
                return loss
            grads = [g for g in grads if g is not None]
        tracked, autocast = _C.set_grad_enabled(False), _C.set_autocast(None)
        try:
            if self._rates is not None:
                scheduled_rates(self._settings, self._position, self._rates)
            self._update(given, grads, active)
        finally:
            _C.set_autocast(autocast)
            _C.set_grad_enabled(tracked)
        return loss

    def _note_no_gradient(self) -> None:
        """Says once that a step changes nothing; a recorded step has said so in its first call."""
        if not self._idle and not _C.is_recording():
            self._idle = True
            note(
                f"{type(self).__name__}.step: no parameter has a gradient, and nothing changes: call loss.backward() "
                "after zero_grad() and before step(), with a loss that depends on the parameters of this optimizer"
            )

    def _update(self, given: _Arguments, grads: list[Tensor], active: Tensor | None) -> None:
        """Change the parameters ``given``, which have these gradients; nothing where ``active`` is false."""
        self._operation(given.parameters, grads, *given.state, self._settings, active, given.groups)

    def _follow_parameters(self) -> None:
        """Brings the state to where the parameters are, in their dtype, if a model was moved or cast meanwhile."""
        for i, state in self._state.items():
            p, dtype = self._parameters[i], state_dtype(self._parameters[i])
            for slot, t in state.items():
                moved = (t if slot in self._exact else t.astype(dtype)).to(p.device)
                if moved is not t:
                    state[slot] = moved
                    self._arguments.clear()
        if self._parameters and self._settings.device is not self._parameters[0].device:
            device = self._parameters[0].device
            self._settings = self._settings.to(device)
            if self._rates is not None and self._position is not None:
                self._rates, self._position = self._rates.to(device), self._position.to(device)
            self._arguments.clear()
        self.__dict__["_changes_seen"] = _C.changes()  # without noting a change again

    def _arguments_for(self, present: tuple[bool, ...]) -> _Arguments:
        active = [i for i, has_gradient in enumerate(present) if has_gradient]
        states = [self._state_of(i) for i in active]
        used, slots = {*self._slots(), *self._numbers, "step"}, (*self._lists(), *self._numbers, "step")
        state = [[each[slot] for each in states if slot in each] if slot in used else [] for slot in slots]
        groups = tuple(self._group_of[i] for i in active)
        given = _Arguments([self._parameters[i] for i in active], state, len(active), groups, tuple(active))
        self._arguments[present] = given
        return given

    def _state_of(self, i: int) -> dict[str, Tensor]:
        """The state of parameter ``i``, made when first needed."""
        p = self._parameters[i]
        state = self._state.setdefault(i, {"step": zeros((), dtype="int64", device=p.device)})
        settings = self._groups[self._group_of[i]]._settings
        for slot, shape in self._kept(p, settings, self._slots()).items():
            if slot in state:
                continue
            state[slot] = made = zeros(shape, dtype=state_dtype(p), device=p.device)
            if self._copied_at_first(slot):
                made.copy_(p.detach().astype(made.dtype))
            elif first := self._first_value(slot, settings):
                made.fill_(first)
        return state

    def train(self) -> None:
        """Prepare to train on; does nothing but for schedule-free optimizers."""

    def eval(self) -> None:
        """Prepare to evaluate, predict or save the model; does nothing but for schedule-free optimizers."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Remove the gradients, or set them to zero."""
        removed = boolean(set_to_none, f"{type(self).__name__}.zero_grad: set_to_none")
        for p in self._parameters:
            if removed:
                p.grad = None
            elif p.grad is not None:
                p.grad.zero_()

    # -- state -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state of each parameter by its number and the settings of each group, as in PyTorch; memory is shared."""
        groups, first = [], 0
        for group in self._groups:
            n = len(group["params"])
            groups.append({**group.settings, "params": list(range(first, first + n))})
            first += n
        self._follow_parameters()
        return {"state": {i: dict(self._state_of(i)) for i in sorted(self._state)}, "param_groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the state and settings of another optimizer of this kind for parameters of the same shapes.

        Raises ValueError, before anything changes, where something does not fit.
        """
        try:
            take_over = self._prepared(state)
        except ValueError as error:
            raise ValueError(f"{type(self).__name__}.load_state_dict: {error}") from None
        take_over()

    def _prepared(self, state: Mapping[str, Any]) -> Callable[[], None]:
        """Checks all of ``state`` and makes what it needs; what is returned takes it over, and cannot fail."""
        if not isinstance(state, Mapping) or not {"state", "param_groups"} <= set(state):
            raise ValueError("a dict with 'state' and 'param_groups' is needed")
        settings = saved_settings(self, state["param_groups"])
        slots = self._prepared_state(state["state"], settings)
        columns = tensor([self._columns(s) for s in settings], dtype="float64", device=self._settings.device)

        def take_over() -> None:
            for group, values in zip(self._groups, settings, strict=True):
                group._settings = values
            self._settings, self._state = columns, slots
            self._write_rates()
            self._arguments.clear()
            _C.note_change()

        return take_over

    def _prepared_state(self, saved: Any, settings: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Tensor]]:
        """Copies of the tensors in ``saved``, each where its parameter is; ``settings``: of the groups."""
        return saved_tensors(self, saved, settings)

    def _completed(self, entry: dict[str, Any]) -> dict[str, Any]:
        """The state of one parameter, with what PyTorch's leaves out."""
        return entry

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._groups))})"


def _as_float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf
