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
import inspect
import sys
import types
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dlcore import _C
from dlcore._commands import is_small
from dlcore._device import CPU
from dlcore._explain import Explanation, MemoryPlan
from dlcore._fusion import fuse
from dlcore._notes import note
from dlcore._reasons import Failure, FailureKind, Reason, ReasonKind
from dlcore._recordable import CAPTURED_METHODS
from dlcore._recorded_gradient import RecordedGradient
from dlcore._structure import Arguments, Results, Structure
from dlcore._tensor import Tensor
from dlcore.dtypes import DType
from dlcore.errors import CaptureError

if TYPE_CHECKING:
    from dlcore._observe import Observation

__all__ = ["Captured", "capture"]

_KEPT = 16  # how many recordings of one function are kept: those that were used last
_REPLAYS = 64  # so many replays earn another recording, when as many as are kept have been made
_ATTEMPTS = 3  # a step that makes or replaces lasting state in so many calls in a row is taken to do so in every call
_CHANGING = 8  # so many recordings in a row that were never replayed, as a number or variable had changed, are the last


def capture(function: Callable[..., Any] | None = None, *, check: int = 0) -> Any:
    """``function``, recorded once and replayed at every later call: a :class:`Captured`. Also a decorator.

    The first call runs as usual and warms the function up. The second runs as well, and is recorded. Later calls replay
    the recording: the same kernels on the same memory, which gives the same bits, without any Python. A call with
    arguments of other shapes or dtypes makes another recording.

    A call runs the step exactly once, whatever happens. The step is recorded again when something has changed that the
    recording depends on: shapes, dtypes and ``requires_grad`` of the arguments and parameters, training flags, which
    parameters and modules there are, gradient mode, autocast, an optimizer's state tensors and parameters, and whatever
    its Python code reads: variables, attributes, entries of containers, small arrays, the code of functions and classes
    (numbers are compared by value, other things by identity). Learning rates and dlcore's random numbers are read from
    memory: setting ``optimizer.lr`` takes effect at once. Nothing is frozen: the recorded call is observed instruction
    by instruction, and what can neither be watched nor is known to be constant is a reason not to record.

    The tensors returned keep their values, for memory in use is not written again. They have the gradient history that
    those of an eager call have, unless a backward pass within the step has used it up: ``backward()`` then replays as
    well. Within another captured step the function is a part of that step. At most 16 recordings are kept; calls for
    which there is no room run eagerly, with one warning.

    check: every ``check``-th call runs eagerly and is compared with the recording; CaptureError names the first
    operation or constant that differs.

    Raises CaptureError, after the step has run, where the step cannot be recorded: it reads a value back to the host,
    makes tensors from NumPy arrays, has results whose shape depends on values, keeps tensors that it has made, draws
    random numbers of Python or NumPy, reads clocks, files or iterators that go on, calls C functions that are not known
    to be pure, changes Python objects that were there before (appends, counts, prints), or returns a generator or
    another object that a replay could not make anew. The message names the line.

    >>> scale = dl.capture(lambda x: (x * 2).sum())
    >>> [float(scale(dl.tensor([1.0, i]))) for i in range(3)]
    [2.0, 4.0, 6.0]
    >>> scale.recordings
    1
    """
    if function is None:
        return functools.partial(capture, check=check)
    kind = type(function)
    if issubclass(kind, classmethod | staticmethod):
        return kind(Captured(function.__func__, check=check))  # type: ignore[attr-defined]
    if not callable(function):
        advice = ": write @property above @dl.capture" if issubclass(kind, property) else ""
        raise TypeError(f"capture: a function is wanted, not a {kind.__name__}{advice}")
    return Captured(function, check=check)


class _Entry(NamedTuple):
    """A recording and the calls for which it stands."""

    recording: _C.Recording
    structure: Structure
    positional: bool
    specs: tuple[Any, ...]
    build: Callable[[tuple[Tensor, ...], Sequence[Tensor]], Any]
    observed: Observation
    mode: tuple[bool, DType | None]
    """Whether gradients are tracked, and the dtype of autocast."""
    aligned: tuple[bool, ...]
    """Of each argument whether its address is a multiple of 16 bytes, which kernels of a GPU are specialised for."""

    def stands(self) -> bool:
        """Whether all that the step has read from Python's state is as it was."""
        return self.recording.broken_guard() is None and _unchanged(self.observed)


class _Run(NamedTuple):
    """What a call that is recorded has given."""

    results: Results
    returned: Any
    """What the function has returned, where it is no result that can be made anew; else None."""
    gradient: RecordedGradient | None
    outputs: tuple[Tensor, ...]
    """What the recording has to give: the tensors among the results, and what their gradient needs."""
    observed: Observation
    unsound: Failure | None
    """Why what it has read or done cannot be recorded."""
    changed: bool
    """Whether it has changed objects among its arguments."""


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
        self._warm = self._warned = self._compares = False
        self._calls = self._attempts = self._idle = 0
        self._earlier = 0  # replays of recordings that are no longer kept
        self.__wrapped__, self.__module__ = function, type(function).__module__
        self.__name__ = self.__qualname__ = _name(function)
        if _has_name(function):
            functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not kwargs and not self._check and not self._compares:
            for entry in self._plain:
                results = entry.recording.run(*args)
                if results is not NotImplemented:
                    return entry.build(results, args)
        return self._call(args, kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        if isinstance(instance, type):  # the method of a class: one more argument
            return types.MethodType(self, instance)
        return _method(self, instance)

    # -- one call ----------------------------------------------------------------------------------------------------

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if _C.is_recording() or _C.is_examining() or _C.batch_depth():  # part of another captured step, or of a vmap
            return self.function(*args, **kwargs)
        call = Arguments(args, kwargs)
        if any(map(_C.leaf_hooks, call.tensors)):  # a replay knows arguments by their values alone
            return self.function(*args, **kwargs)
        self._calls += 1
        specs, mode = _specs(call.tensors), _mode()
        for entry in self._matching(call, specs, mode):
            due = self._compares or (self._check and self._calls % self._check == 0)
            if due and entry.recording.stands(*call.tensors):
                self._compares = False
                return self._record(call, compare=entry)
            results = entry.recording.run(*call.tensors)
            if results is not NotImplemented:
                self._set_entries([entry, *(e for e in self._entries if e is not entry)])
                return entry.build(results, call.tensors)
        if not self._warm or (self.failure is not None and not self._strict) or not self._has_room():
            return self._run(call)
        return self._record(call)

    def _run(self, call: Arguments) -> Any:
        """A call that is not recorded."""
        start = _C.newest_node()
        args, kwargs = call.with_tensors(call.tensors)
        result = self.function(*args, **kwargs)
        if not self._warm:
            self._warm = True
            problem = Results(result, call.tensors, start, self._known(call)).problem
            if problem is not None:
                self._fail(Failure(FailureKind.PERMANENT, problem))
        return result

    def _known(self, call: Arguments) -> list[Any]:
        """The objects that may be returned as they are: arguments, and the owner of a method."""
        owner = [self.function.__self__] if type(self.function) is types.MethodType else []
        return [*call.objects, *owner]

    def _matching(self, call: Arguments, specs: tuple[Any, ...], mode: tuple[bool, DType | None]) -> list[_Entry]:
        """The recordings that may stand for a call with these arguments."""
        return [
            entry
            for entry in self._entries
            if entry.mode == mode and entry.specs == specs and entry.structure == call.structure and entry.stands()
        ]

    def _has_room(self) -> bool:
        """Whether another recording may be made: none that may be needed again is given up for it.

        Recordings cost many times an eager call. So there are never more than `_KEPT`, those whose Python variables
        have changed since are given up first, and beyond `_KEPT` each has to be earned by replays.
        """
        replays = self._earlier + sum(e.recording.replays for e in self._entries)
        if self.recordings < _KEPT + replays // _REPLAYS:
            if len(self._entries) < _KEPT:
                return True
            outdated = next((e for e in reversed(self._entries) if not e.stands()), None)
            if outdated is not None:
                self._earlier += outdated.recording.replays
                self._set_entries([e for e in self._entries if e is not outdated])
                return True
        if not self._warned:
            self._warned = True
            note(
                f"capture: {_name(self.function)} was recorded for {len(self._entries)} kinds of calls (the last: "
                f"{self.reasons[-1]}); calls of other kinds run eagerly from now on. Pad arguments to few shapes, and "
                "keep numbers that change in tensors"
            )
        return False

    def _record(self, call: Arguments, compare: _Entry | None = None) -> Any:
        """A call that is recorded; one that ``compare`` stands for is held against it instead of being kept."""
        tensors, mode = call.tensors, _mode()
        aliases = _C.begin_recording(tuple(tensors), False)
        try:
            run = self._observed(call, aliases)
        except BaseException:
            _C.abort_recording()
            _hand_over(aliases, tensors)
            raise
        recording, found = _C.end_recording(aliases, run.outputs)
        _hand_over(aliases, tensors)
        results, observed = run.results, run.observed
        if run.gradient is not None:
            run.gradient.attach(recording, len(results.tensors))
        flags = [(t, t.requires_grad, t.data_ptr, _C.leaf_hooks(t)) for t in recording.operands]
        recording.watch([guard[:4] for guard in observed.guards], functools.partial(_unchanged, observed, flags))
        failure = Failure.found(found) or run.unsound or _rebound(recording, observed)
        if results.problem is not None:
            failure, answer = Failure(FailureKind.PERMANENT, results.problem), run.returned
        else:
            answer = results.build(recording.outcome(*tensors), tensors)
        if run.changed or _writes_arrays(recording, call):
            failure = Failure(FailureKind.PERMANENT, "it changes a list, dict, object or array among its arguments")
        if failure is not None:
            self._fail(failure)
            return answer
        self._attempts = 0
        fuse(recording)
        recording.lay_out(True)
        if compare is not None:
            self._compare(compare.recording, recording)
            return answer
        aligned = tuple(t.data_ptr % 16 == 0 for t in tensors)
        entry = _Entry(
            recording, call.structure, call.positional, _specs(tensors), results.build, observed, mode, aligned
        )
        recording.serial = is_small(recording)
        self._keep(entry)
        return answer

    def _observed(self, call: Arguments, aliases: tuple[Tensor, ...]) -> _Run:
        """The call while it is recorded, with ``aliases`` for its tensors; of what it makes only results are held."""
        from dlcore._observe import Observer

        start = _C.newest_node()
        args, kwargs = call.with_tensors(aliases)
        before = Arguments(args, kwargs)
        observer = Observer(self.function, self.depends, (args, kwargs))
        result = observer.run(self.function, args, kwargs)
        changed = not Arguments(args, kwargs).same_as(before)
        del args, kwargs, before
        results = Results(result, aliases, start, self._known(call))
        gradient = self._gradient(results, aliases, start)
        if results.problem is None:
            result = None  # it is made anew from what the recording gives
            results.detach()
        outputs = (*results.tensors, *(() if gradient is None else gradient.kept))
        observed, unsound = observer.finish(), observer.failure
        del observer  # it holds what the step has made
        if _C.something_kept(outputs):
            gc.collect()  # a tensor that only garbage refers to is not kept
        return _Run(results, result, gradient, outputs, observed, unsound, changed)

    def _compare(self, standing: _C.Recording, recording: _C.Recording) -> None:
        """Records nothing any more where the two differ; raises CaptureError then, or warns."""
        if difference := _difference(standing, recording):
            self._set_entries([])
            self.failure = f"capture: check: {_name(self.function)}: {difference}"
            if self._strict:
                raise CaptureError(self.failure)
            note(f"{self.failure}; it is no longer recorded")

    def _gradient(self, results: Results, aliases: tuple[Tensor, ...], start: int) -> RecordedGradient | None:
        """The gradient of the results; None where no gradient history leads out of the step."""
        return RecordedGradient(_name(self.function), results.tracked, aliases, start) if results.tracked else None

    def _keep(self, entry: _Entry) -> None:
        last = self._entries[0] if self._entries else None
        reason = self._reason(entry)
        self.reasons.append(reason.text)
        self.recordings += 1
        self.failure = None
        self._set_entries([entry, *self._entries])
        idle = last is None or last.recording.replays == 0
        by_value = reason.kind in (ReasonKind.VARIABLE, ReasonKind.STRUCTURE)
        self._idle = self._idle + 1 if idle and by_value else 0
        if self._idle >= _CHANGING:
            what = reason.text if reason.kind is ReasonKind.VARIABLE else "a number among the arguments changed"
            text = f"{what} at every call, so that each would be recorded anew; keep it in a tensor"
            self.failure = Failure(FailureKind.PERMANENT, text).message(_name(self.function))
            if self._strict:  # the step is right, only slow: it goes on eagerly
                self._strict = False
                note(f"{self.failure}; it runs eagerly from now on")

    def _set_entries(self, entries: list[_Entry]) -> None:
        self._entries = entries
        self._plain = [e for e in entries if e.positional]

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
        kind = entry.structure, entry.specs, entry.mode  # one for calls of this kind tells more than the last one
        alike = (e for e in self._entries if (e.structure, e.specs, e.mode) == kind)
        last = next(alike, self._entries[0])
        if entry.structure != last.structure:
            text = "the arguments are of another structure, or a number among them changed"
            return Reason(ReasonKind.STRUCTURE, text)
        for number, (now, then) in enumerate(zip(entry.specs, last.specs, strict=True)):
            if now != then:
                return Reason(ReasonKind.ARGUMENT, f"argument {number} is {_spec_text(now)}, not {_spec_text(then)}")
        (tracked, dtype), before = entry.mode, last.mode
        if tracked != before[0]:
            return Reason(ReasonKind.GRAD_MODE, f"gradients are {'' if tracked else 'not '}tracked")
        if dtype is not before[1]:
            return Reason(ReasonKind.AUTOCAST, f"autocast is {'off' if dtype is None else f'to {dtype.name}'}")
        if (k := last.recording.broken_guard()) is not None:
            return Reason(ReasonKind.VARIABLE, f"variable {last.observed.guards[k].name} changed")
        if name := last.observed.changed_object():
            return Reason(ReasonKind.STATE, f"{name} changed")
        for number, aligned in enumerate(last.aligned):
            moved = aligned != entry.aligned[number] and last.specs[number][2] is not CPU
            if moved and not last.recording.copies_arguments:
                where = "at no" if aligned else "at a"
                text = f"argument {number} lies {where} multiple of 16 bytes, unlike before"
                return Reason(ReasonKind.ARGUMENT, text)
        return Reason(ReasonKind.GRADIENT, "requires_grad or a gradient that the step starts from changed")

    def replayed(self, *args: Tensor) -> Any:
        """The result of this call where a recording stands for it; else NotImplemented, and nothing has been done."""
        for entry in self._plain:
            results = entry.recording.run(*args)
            if results is not NotImplemented:
                return entry.build(results, args)
        return NotImplemented

    def compare_next(self) -> None:
        """The next call that a recording stands for runs eagerly and is compared with it, as with ``check``."""
        self._compares = True

    def run_eagerly(self, reason: str) -> None:
        """From now on nothing is recorded or replayed; ``failure`` is the reason."""
        self._set_entries([])
        self._strict, self.failure = False, reason

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
            for entry in [] if self._check or self._compares else self._plain:
                results = entry.recording.sweep(rest, n - done)
                if results is not NotImplemented:
                    return entry.build(results, [t[-1] for t in rest])
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
        recording = self.written_down(*args, **kwargs)
        fuse(recording)
        recording.lay_out(False)
        return recording

    def written_down(self, *args: Any, **kwargs: Any) -> _C.Recording:
        """The same, launch by launch and view by view as the function calls operations, its memory not laid out."""
        from dlcore._observe import Observer

        call = Arguments(args, kwargs)
        undo: list[Callable[[], None]] = []
        aliases = _C.begin_recording(tuple(call.tensors), True)
        try:
            start = _C.newest_node()
            args, kwargs = call.with_tensors(aliases)
            before = lambda value: undo.append(value.before_dry_run())  # noqa: E731
            observer = Observer(self.function, self.depends, (args, kwargs), on_object=before)
            results = Results(observer.run(self.function, args, kwargs), aliases, start, self._known(call))
            observer.finish()
            gradient = self._gradient(results, aliases, start)
            results.detach()
            outputs = (*results.tensors, *(() if gradient is None else gradient.kept))
            recording, found = _C.end_recording(aliases, outputs)
        finally:
            _C.abort_recording()
            for restore in reversed(undo):  # the first to have looked saw what was there before
                restore()
        failure = Failure.found(found)
        if failure is not None and failure.kind is not FailureKind.KEEPS_TENSOR:
            raise CaptureError(failure.message(_name(self.function)))
        return recording

    def __reduce__(self) -> Any:
        if _found(self.__module__, self.__qualname__) is self:
            return self.__qualname__  # as of any function of a module, there is only one
        return _again, (self.function, self._check, self._strict, self.depends)

    def __repr__(self) -> str:
        return f"<captured {_name(self.function)}, {self.recordings} recordings>"


def _found(module: str, name: str) -> Any:
    """What a module has under a dotted name; None if there is nothing."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = inspect.getattr_static(found, part, None)
    return found


def _again(function: Any, check: int, strict: bool, depends: Sequence[Any]) -> Captured:
    return Captured(function, check=check, strict=strict, depends=depends)


class _Methods:
    """The captured methods of one instance, kept in an attribute of it. A copy of the instance starts without any."""

    def __init__(self, owner: Any):
        self.owner = weakref.ref(owner)
        self.made: dict[Captured, Captured] = {}

    def __reduce__(self) -> Any:
        return _no_methods, ()


def _no_methods() -> None:
    """What a copied or pickled instance has in the place of its captured methods."""
    return None


def _method(captured: Captured, instance: Any) -> Captured:
    """A captured function as a method: each instance keeps a Captured of its own."""
    try:
        attributes = object.__getattribute__(instance, "__dict__")
    except AttributeError:
        raise TypeError(
            f"capture: {type(instance).__name__} has no __dict__, in which the recordings of its method "
            f"{captured.__name__} could be kept; capture a function instead"
        ) from None
    methods = attributes.get(CAPTURED_METHODS)
    if methods is None or methods.owner() is not instance:
        methods = attributes[CAPTURED_METHODS] = _Methods(instance)
    if captured not in methods.made:
        function = captured.function.__get__(instance, type(instance))
        methods.made[captured] = Captured(function, check=captured._check)
    return methods.made[captured]


def _hand_over(aliases: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
    """Gradients and flags that the step has set on what stood for its arguments go to the arguments."""
    for given, alias in zip(tensors, aliases, strict=True):
        if alias.grad is not given.grad:
            given.grad = alias.grad
        if given.is_leaf and alias.is_leaf and alias.requires_grad != given.requires_grad:
            given.requires_grad = alias.requires_grad


def _mode() -> tuple[bool, DType | None]:
    return _C.is_grad_enabled(), _C.autocast_dtype()


def _specs(tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    return tuple((t.shape, t.dtype, t.device, t.strides, t.requires_grad, t.is_leaf) for t in tensors)


def _spec_text(spec: Any) -> str:
    shape, dtype, device, strides, requires_grad, is_leaf = spec
    gradient = ", requires_grad" if requires_grad else ""
    history = "" if is_leaf else ", with a gradient history"
    return f"{dtype.name} {shape} on {device} with strides {strides}{gradient}{history}"


def _writes_arrays(recording: _C.Recording, call: Arguments) -> bool:
    """Whether the step writes into what was made of NumPy arrays among its arguments."""
    arrays = {id(t) for t in call.arrays}
    written = (region[4] for region in recording.regions)
    return any(id(t) in arrays and changed for t, changed in zip(call.tensors, written, strict=False))


# ---- what a recording depends on ----------------------------------------------------------------------------------


def _unchanged(observed: Observation, flags: Sequence[tuple[Tensor, bool, int, tuple[Any, ...]]] = ()) -> bool:
    """Whether the objects are as they were; ``flags``: of the leaves used, whether they need a gradient, where they
    lie, and the hooks of their gradients."""
    return observed.changed_object() is None and all(
        t.requires_grad == flag and t.data_ptr == place and _C.leaf_hooks(t) == hooks for t, flag, place, hooks in flags
    )


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
    """What messages call a function. Other callable objects are not asked for attributes: that may run their code."""
    return function.__qualname__ if _has_name(function) else type(function).__qualname__


def _has_name(function: Any) -> bool:
    kinds = types.FunctionType | types.MethodType | types.BuiltinFunctionType | type | Captured
    return issubclass(type(function), kinds)


def _difference(then: _C.Recording, now: _C.Recording) -> str | None:
    """In which operation or constant the recordings differ, if they do."""
    old, new = _signature(then), _signature(now)
    for k in range(max(len(old), len(new))):
        before, after = (s[k] if k < len(s) else ("nothing", ()) for s in (old, new))
        if before != after:
            if before[0] != after[0]:
                what = f"{after[0]}, was {before[0]}"
            else:
                what = "its attributes" if before[1] != after[1] else "a constant or the memory it works on"
            return f"operation {k} of the step has changed ({before[0]}): {what}"
    return None


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
