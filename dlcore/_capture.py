"""`capture`: a step is recorded while it runs once, and replayed after that.

    step = dl.capture(step)
    for x, y in batches:
        loss = step(x, y)

A recording is a list of the kernel launches that the step made: csrc/core/recorder.cpp notes them, and
csrc/core/replay.cpp runs them again. Here it is decided for which calls a recording stands, by looking at everything
that it reads while it is recorded (dlcore/_observe).
"""

from __future__ import annotations

import functools
import gc
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dlcore import _C
from dlcore._commands import work
from dlcore._explain import Explanation, MemoryPlan
from dlcore._fusion import fuse
from dlcore._reasons import Failure, FailureKind, Reason, ReasonKind
from dlcore._recordable import CAPTURED_METHODS
from dlcore._tensor import Tensor, tensor
from dlcore.errors import CaptureError

if TYPE_CHECKING:
    from dlcore._observe import Observation

__all__ = ["Captured", "capture"]

_KEPT = 16  # how many recordings of one function are kept: those that were used last
_ATTEMPTS = 3  # a step that makes or replaces lasting state in so many calls in a row is taken to do so in every call
_CHANGING = 8  # so many recordings in a row that were never replayed, as a number or variable had changed, are an error

Structure = Any


def capture(function: Callable[..., Any] | None = None, *, check: int = 0) -> Any:
    """``function``, recorded once and replayed at every later call: a :class:`Captured`. Also a decorator.

    The first call runs as usual and warms the function up. The second runs as well, and is recorded. Later calls replay
    the recording: the same kernels on the same memory, which gives the same bits, without any Python. A call with
    arguments of other shapes or dtypes makes another recording.

    A call runs the step exactly once, whatever happens. The step is recorded again when something has changed that the
    recording depends on: shapes, dtypes and ``requires_grad`` of the arguments and parameters, training flags, which
    parameters and modules there are, gradient mode, an optimizer's state tensors and parameters, and Python variables
    that the function reads (closed over, global, attributes of ``self``; numbers are compared by value, other things by
    identity). Learning rates and random numbers are read from memory: setting ``optimizer.lr`` takes effect at once.
    Other Python state is frozen as it was in the recorded call, and Python side effects (printing, appending to a list)
    do not happen in replays.

    The tensors returned have no gradient history. They keep their values, for memory in use is not written again.

    check: every ``check``-th call runs eagerly and is compared with the recording; CaptureError names the first
    operation or constant that differs.

    Raises CaptureError, after the step has run, where the step cannot be recorded: it reads a value back to the host,
    makes tensors from NumPy arrays, has results whose shape depends on values, keeps tensors that it has made, or
    changes Python variables that it reads. The message names the line.

    >>> scale = dl.capture(lambda x: (x * 2).sum())
    >>> [float(scale(dl.tensor([1.0, i]))) for i in range(3)]
    [2.0, 4.0, 6.0]
    >>> scale.recordings
    1
    """
    if function is None:
        return functools.partial(capture, check=check)
    return Captured(function, check=check)


class _Entry(NamedTuple):
    """A recording and the calls for which it stands."""

    recording: _C.Recording
    structure: Structure
    specs: tuple[Any, ...]
    rebuild: Callable[[tuple[Tensor, ...]], Any]
    observed: Observation
    grad_mode: bool


class Captured:
    """A function that is recorded and replayed: what `capture` returns.

    ``recordings``: how many were made; ``reasons``: why each of them was, in one line; ``failure``: why the function
    cannot be recorded, or None. ``explain()`` shows the newest recording, ``plan()`` the memory that a call will take.
    """

    def __init__(
        self, function: Callable[..., Any], *, check: int = 0, strict: bool = True, depends: Sequence[Any] = ()
    ):
        self.function, self.depends = function, depends
        self.recordings = 0
        self.reasons: list[str] = []
        self.failure: str | None = None
        self._check, self._strict = check, strict
        self._entries: list[_Entry] = []
        self._plain: list[_Entry] = []  # those whose arguments are tensors, all given by position
        self._warm = False
        self._calls = self._attempts = self._idle = 0
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not kwargs and not self._check:
            for entry in self._plain:
                results = entry.recording.run(*args)
                if results is not NotImplemented:
                    return entry.rebuild(results)
        return self._call(args, kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else _method(self, instance)

    # -- one call ----------------------------------------------------------------------------------------------------

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensors: list[Tensor] = []
        structure = _flatten((args, kwargs), tensors)
        if _C.is_recording():  # this call is part of another captured step
            return _detached(self.function(*args, **kwargs))
        self._calls += 1
        for entry in self._matching(structure, tensors):
            if self._check and self._calls % self._check == 0 and entry.recording.stands(*tensors):
                return self._record(structure, tensors, compare=entry)
            results = entry.recording.run(*tensors)
            if results is not NotImplemented:
                self._entries.remove(entry)
                self._entries.insert(0, entry)
                return entry.rebuild(results)
        if not self._warm or (self.failure is not None and not self._strict):
            args, kwargs = _rebuild(structure, iter(tensors))
            result = self.function(*args, **kwargs)
            self._warm = True
            return _detached(result)
        return self._record(structure, tensors)

    def _matching(self, structure: Structure, tensors: list[Tensor]) -> list[_Entry]:
        """The recordings that may stand for a call with these arguments."""
        specs, mode = _specs(tensors), _C.is_grad_enabled()
        return [
            entry
            for entry in self._entries
            if entry.grad_mode == mode
            and entry.specs == specs
            and entry.structure == structure
            and entry.recording.broken_guard() is None
            and _unchanged(entry.observed)
        ]

    def _record(self, structure: Structure, tensors: list[Tensor], compare: _Entry | None = None) -> Any:
        from dlcore._observe import Observer

        aliases = _C.begin_recording(tuple(tensors), False)
        try:
            args, kwargs = _rebuild(structure, iter(aliases))
            observer = Observer(self.function, self.depends, (args, kwargs))
            result = observer.run(self.function, args, kwargs)
            del args, kwargs
            results: list[Tensor] = []
            template = _flatten(_detached(result), results, outputs=True)
            del result
            observed = observer.finish()
            if _C.something_kept(tuple(results)):
                gc.collect()  # a tensor that only garbage refers to is not kept
        except BaseException:
            _C.abort_recording()
            raise
        recording, found = _C.end_recording(aliases, tuple(results))
        for given, alias in zip(tensors, aliases, strict=True):
            if alias.grad is not given.grad:
                given.grad = alias.grad
            if alias.requires_grad != given.requires_grad:
                given.requires_grad = alias.requires_grad
        answer = _rebuild(template, iter(results))
        recording.watch([guard[:4] for guard in observed.guards], functools.partial(_unchanged, observed))
        failure = _failure(found) or observer.failure or _rebound(recording, observed)
        if failure is not None:
            self._fail(failure)
            return answer
        self._attempts = 0
        fuse(recording)
        recording.lay_out(True)
        mode = _C.is_grad_enabled()
        entry = _Entry(recording, structure, _specs(tensors), _rebuilder(template), observed, mode)
        if compare is not None:
            _compare(compare.recording, recording)
            return answer
        flags = [(t, t.requires_grad, t.data_ptr) for t in recording.operands]
        recording.serial = _is_small(recording)
        recording.watch([guard[:4] for guard in observed.guards], functools.partial(_unchanged, observed, flags))
        self._keep(entry)
        return answer

    def _keep(self, entry: _Entry) -> None:
        last = self._entries[0] if self._entries else None
        reason = self._reason(entry)
        self.reasons.append(reason.text)
        self.recordings += 1
        self.failure = None
        self._entries.insert(0, entry)
        del self._entries[_KEPT:]
        self._plain = [e for e in self._entries if _is_plain(e.structure)]
        idle = last is None or last.recording.replays == 0
        by_value = reason.kind in (ReasonKind.VARIABLE, ReasonKind.STRUCTURE)
        self._idle = self._idle + 1 if idle and by_value else 0
        if self._idle >= _CHANGING:
            what = reason.text if reason.kind is ReasonKind.VARIABLE else "a number among the arguments changed"
            text = f"{what} at every call, so that each is recorded anew; keep it in a tensor"
            self._fail(Failure(FailureKind.PERMANENT, text))

    def _fail(self, failure: Failure) -> None:
        self._attempts += 1
        if failure.may_pass and self._attempts < _ATTEMPTS:
            return  # the call made state, as an optimizer's first step does: the next call is recorded
        self.failure = failure.message(_name(self.function))
        if self._strict:
            raise CaptureError(self.failure)

    def _reason(self, entry: _Entry) -> Reason:
        """Why this recording was made."""
        if not self._entries:
            return Reason(ReasonKind.FIRST, "first recording")
        last = self._entries[0]
        if entry.structure != last.structure:
            text = "the arguments are of another structure, or a number among them changed"
            return Reason(ReasonKind.STRUCTURE, text)
        for k, (now, then) in enumerate(zip(entry.specs, last.specs, strict=True)):
            if now != then:
                return Reason(ReasonKind.ARGUMENT, f"argument {k} is {_spec_text(now)}, not {_spec_text(then)}")
        if entry.grad_mode != last.grad_mode:
            return Reason(ReasonKind.GRAD_MODE, f"gradients are {'' if entry.grad_mode else 'not '}tracked")
        if (k := last.recording.broken_guard()) is not None:
            return Reason(ReasonKind.VARIABLE, f"variable {last.observed.guards[k].name} changed")
        if name := last.observed.changed_object():
            return Reason(ReasonKind.STATE, f"{name} changed")
        return Reason(ReasonKind.GRADIENT, "requires_grad or a gradient that the step starts from changed")

    # -- many calls --------------------------------------------------------------------------------------------------

    def sweep(self, *stacked: Tensor) -> Any:
        """The result of the last of many calls: with element 0, 1, ... along the first axis of every argument.

        All replays happen in one loop, without Python in between. ``step.sweep(order.reshape((steps, batch)))`` is an
        epoch.
        """
        n = stacked[0].shape[0] if stacked and stacked[0].ndim else 0
        if n < 1 or any(t.ndim == 0 or t.shape[0] != n for t in stacked):
            shapes = ", ".join(str(t.shape) for t in stacked)
            raise ValueError(f"sweep: tensors with first axes of equal length are needed, not {shapes}")
        result, done = None, 0
        while done < n:
            rest = stacked if done == 0 else tuple(t[done:] for t in stacked)
            for entry in [] if self._check else self._plain:
                results = entry.recording.sweep(rest, n - done)
                if results is not NotImplemented:
                    return entry.rebuild(results)
            result = self(*(t[done] for t in stacked))
            done += 1
        return result

    # -- looking inside ----------------------------------------------------------------------------------------------

    @property
    def recorded(self) -> bool:
        """Whether there is a recording."""
        return bool(self._entries)

    def explain(self, repeats: int = 20) -> Any:
        """The newest recording, operation by operation, with shapes, bytes, FLOPs and times: an ``Explanation``.

        A time is the fastest of ``repeats`` replays with the arguments of the last call; all that they change is put
        back.
        """
        if not self._entries:
            raise CaptureError(f"explain: {_name(self.function)} has not been recorded; call it twice first")
        return Explanation(self._entries[0].recording, repeats)

    def plan(self, *args: Any, **kwargs: Any) -> Any:
        """The memory plan of a call with these arguments, made without running a kernel: a ``MemoryPlan``."""
        return MemoryPlan(self.dry_run(*args, **kwargs))

    def dry_run(self, *args: Any, **kwargs: Any) -> _C.Recording:
        """The recording of a call in which no kernel runs, and after which everything is as before.

        Raises CaptureError where a call would, and at once where the function reads a value, for there are none.
        """
        tensors: list[Tensor] = []
        structure = _flatten((args, kwargs), tensors)
        from dlcore._observe import Observer

        undo: list[Callable[[], None]] = []
        aliases = _C.begin_recording(tuple(tensors), True)
        try:
            args, kwargs = _rebuild(structure, iter(aliases))
            before = lambda value: undo.append(value.before_dry_run())  # noqa: E731
            observer = Observer(self.function, self.depends, (args, kwargs), on_object=before)
            results: list[Tensor] = []
            _flatten(_detached(observer.run(self.function, args, kwargs)), results, outputs=True)
            observer.finish()
            recording, found = _C.end_recording(aliases, tuple(results))
        finally:
            _C.abort_recording()
            for restore in reversed(undo):  # the first to have looked saw what was there before
                restore()
        failure = _failure(found)
        if failure is not None and failure.kind is not FailureKind.KEEPS_TENSOR:
            raise CaptureError(failure.message(_name(self.function)))
        fuse(recording)
        recording.lay_out(False)
        return recording

    def __reduce__(self) -> Any:  # a copy records for itself
        return _again, (self.function, self._check, self._strict, self.depends)

    def __repr__(self) -> str:
        return f"<captured {_name(self.function)}, {self.recordings} recordings>"


def _again(function: Any, check: int, strict: bool, depends: Sequence[Any]) -> Captured:
    return Captured(function, check=check, strict=strict, depends=depends)


def _method(captured: Captured, instance: Any) -> Any:
    """A captured function as a method: each instance keeps a Captured of its own."""
    kept = vars(instance).setdefault(CAPTURED_METHODS, {})
    if id(captured) not in kept:
        kept[id(captured)] = Captured(types.MethodType(captured.function, instance), check=captured._check)
    return kept[id(captured)]


# ---- arguments and results ----------------------------------------------------------------------------------------
# A structure is what is left of nested tuples, lists and dicts when the tensors are taken out. Calls with equal
# structures, and with tensors of equal specs, can share a recording.

_TENSOR = ("tensor",)


def _flatten(value: Any, tensors: list[Tensor], outputs: bool = False) -> Structure:
    if isinstance(value, Tensor):
        if value.node is not None:
            raise CaptureError(
                f"capture: an argument of shape {value.shape} has a gradient history, which ends at a captured step; "
                "detach() it, or capture the whole step"
            )
        tensors.append(value)
        return _TENSOR
    if isinstance(value, np.ndarray) and not outputs:
        tensors.append(tensor(value))
        return _TENSOR
    if isinstance(value, dict):
        return dict, tuple((k, _flatten(v, tensors, outputs)) for k, v in value.items())
    if _is_sequence(value):
        return type(value), tuple(_flatten(v, tensors, outputs) for v in value)
    if type(value) is float:
        return "float", value.hex()  # by its bits: -0.0 is not 0.0, and NaN is NaN
    if isinstance(value, _PLAIN):
        return "static", type(value), value
    return "object", id(value), _Held(value)


class _Held:
    """An object to compare by identity. It is kept alive, so that no other object gets its id."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and other.value is self.value

    __hash__ = None  # type: ignore[assignment]


_PLAIN = (int, str, bytes, complex, slice, range, frozenset, type(None), np.generic)


def _is_sequence(value: Any) -> bool:
    return type(value) in (tuple, list) or (isinstance(value, tuple) and hasattr(value, "_fields"))


def _made(kind: Any, parts: Iterable[Any]) -> Any:
    return kind._make(parts) if hasattr(kind, "_make") else kind(parts)


def _rebuild(structure: Structure, tensors: Iterator[Tensor]) -> Any:
    kind = structure[0]
    if kind == "tensor":
        return next(tensors)
    if kind == "float":
        return float.fromhex(structure[1])
    if kind == "static":
        return structure[2]
    if kind == "object":
        return structure[2].value
    if kind is dict:
        return {k: _rebuild(v, tensors) for k, v in structure[1]}
    return _made(kind, (_rebuild(v, tensors) for v in structure[1]))


def _rebuilder(template: Structure) -> Callable[[tuple[Tensor, ...]], Any]:
    if template == _TENSOR:
        return _first
    return lambda results: _rebuild(template, iter(results))


def _first(results: tuple[Tensor, ...]) -> Tensor:
    return results[0]


def _is_plain(structure: Structure) -> bool:
    (_, args), (_, kwargs) = structure[1]
    return not kwargs and all(a == _TENSOR for a in args)


def _specs(tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    return tuple((t.shape, t.dtype, t.device, t.strides, t.requires_grad) for t in tensors)


def _spec_text(spec: Any) -> str:
    shape, dtype, device, strides, requires_grad = spec
    return f"{dtype.name} {shape} on {device} with strides {strides}{', requires_grad' if requires_grad else ''}"


def _detached(value: Any) -> Any:
    """The same value with its tensors detached: without gradient history."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, dict):
        return {k: _detached(v) for k, v in value.items()}
    if _is_sequence(value):
        return _made(type(value), (_detached(v) for v in value))
    return value


def _is_small(recording: _C.Recording) -> bool:
    """Whether a second thread would cost more than it gains: it takes at most about 100 us on one core."""
    flops, moves = work(recording)
    return flops / 1e11 + moves / 3e10 < 100e-6


# ---- what a recording depends on ----------------------------------------------------------------------------------


def _unchanged(observed: Observation, flags: Sequence[tuple[Tensor, bool, int]] = ()) -> bool:
    """Whether the objects are as they were; ``flags``: of the leaves used, whether they need a gradient, and where."""
    return observed.changed_object() is None and all(
        t.requires_grad == flag and t.data_ptr == place for t, flag, place in flags
    )


def _failure(found: tuple[int, str, str] | None) -> Failure | None:
    """What the recorder found, as a `Failure`."""
    return None if found is None else Failure(FailureKind(found[0]), *found[1:])


def _rebound(recording: _C.Recording, observed: Observation) -> Failure | None:
    """Why a recording would not stand for the next call: the step has changed what it depends on."""
    if (k := recording.broken_guard()) is not None:
        what = f"the Python variable {observed.guards[k].name}"
    elif name := observed.changed_object():
        what = f"the modules, parameters or state of {name}"
    else:
        return None
    return Failure(FailureKind.REBINDS, f"the step changes {what}, which a replay would not")


# ---- messages -----------------------------------------------------------------------------------------------------


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


def _compare(then: _C.Recording, now: _C.Recording) -> None:
    """Raises CaptureError where the recordings differ in an operation or a constant."""
    old, new = _signature(then), _signature(now)
    for k in range(max(len(old), len(new))):
        before, after = (s[k] if k < len(s) else ("nothing",) for s in (old, new))
        if before != after:
            what = "a constant or the memory it works on" if before[:2] == after[:2] else f"{after[0]}, was {before[0]}"
            raise CaptureError(f"capture: check: operation {k} of the step has changed ({before[0]}): {what}")


def _signature(recording: _C.Recording) -> list[Any]:
    regions = recording.regions
    numbers: dict[int, int] = {}  # of the regions made inside, in the order of their first use

    def comparable(array: Any) -> Any:
        if array is None:
            return None
        dtype, shape, strides, region, offset, value = array
        if region < 0:
            return dtype, value
        kind, *_, address = regions[region]
        where = {"outside": address, "input": region}.get(kind, -1)
        return dtype, shape, strides, kind, where if where >= 0 else numbers.setdefault(region, len(numbers)), offset

    return [
        (kernel, attrs, [comparable(a) for a in inputs], [comparable(a) for a in outputs], params)
        for kernel, _, attrs, _, _, inputs, outputs, params in recording.commands
    ]
