"""Observing one call: every instruction of the Python code that runs is looked at before it runs."""

from __future__ import annotations

import dis
import gc
import inspect
import random
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from dlcore import _C
from dlcore._observe import known
from dlcore._observe.frames import VERSION, Instruction, Stack, each_instruction, instructions, readable
from dlcore._observe.guards import ABSENT, Guard, lookup
from dlcore._observe.judge import Judge
from dlcore._observe.kinds import Refused, named, of_python, runs_python
from dlcore._reasons import Failure, FailureKind
from dlcore._recordable import Recordable
from dlcore._tensor import Tensor
from dlcore.errors import CaptureError
from dlcore.op import Signature

__all__ = ["Observation", "Observer"]

_READS = Signature.of.__func__.__code__  # type: ignore[attr-defined]
_MOST = 300_000  # so many instructions are observed; a step that runs more is no small matter to Python
_IN_PLACE = next(k for k, (name, _) in enumerate(dis._nb_ops) if name.startswith("NB_INPLACE"))  # type: ignore[attr-defined]
_TESTS = ("POP_JUMP_IF_", "POP_JUMP_FORWARD_IF_", "POP_JUMP_BACKWARD_IF_", "JUMP_IF_", "TO_BOOL", "UNARY_NOT")


class Observation(NamedTuple):
    """What a step depends on: guards, and Recordable objects with the states that they had before it."""

    guards: list[Guard]
    objects: list[tuple[Recordable, Any]]

    def changed_object(self) -> str | None:
        """The class of an object whose state has changed since, by name, if there is one."""
        changed = (type(o).__name__ for o, then in self.objects if not _C.same_value(o.recorded_state(), then))
        return next(changed, None)


class Observer:
    """Runs a step and finds what it depends on, or why it cannot be recorded: ``failure``.

    given: what the step uses besides, where no Python code runs that would be observed. arguments: what is compared at
    every call anyway. on_object: called with each Recordable before it is used; then the step ends, with CaptureError,
    where it cannot be recorded.
    """

    def __init__(
        self,
        function: Any,
        given: Iterable[Any] = (),
        arguments: Iterable[Any] = (),
        on_object: Callable[[Recordable], Any] | None = None,
    ):
        self.failure: Failure | None = None
        self._ends = on_object is not None
        self._judge = Judge(on_object)
        self._place = ""
        self._root: types.FrameType | None = None
        self._count = 0
        self._readable = readable()  # tried out now, for nothing is traced within the trace function
        for value in arguments:
            self._as_fresh(value)
        try:
            self._judge.call(function, [], {}, by_engine=True)
            for value in given:
                self._judge.given(value)
        except Refused as reason:
            self.refuse(str(reason), reason.kind)

    def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """``function(*args, **kwargs)``, observed."""
        if self.failure is not None:
            return function(*args, **kwargs)
        chance, collects = _random_states(), gc.isenabled()
        self._root, outer = sys._getframe(), sys.gettrace()
        gc.disable()  # it would call what others have registered, in the middle of the step
        try:
            with each_instruction(_before_instruction, known.LIBRARY) as possible:
                self._readable = self._readable and possible
                sys.settrace(self._enter)
                try:
                    result = function(*args, **kwargs)
                finally:
                    sys.settrace(outer)
        finally:
            if collects:
                gc.enable()
            self._root = None
        try:
            self._judge.deep(result)
        except Refused as reason:
            self.refuse(str(reason), reason.kind)
        if chance != _random_states():
            self.refuse("it draws random numbers of Python or NumPy")
        return result

    def finish(self) -> Observation:
        """What was found; lets go of all that the step has made."""
        self._judge.forget()
        return Observation(list(self._judge.guards), self._judge.objects)

    # -- failing -----------------------------------------------------------------------------------------------------

    def refuse(self, text: str, kind: FailureKind = FailureKind.PERMANENT) -> None:
        if self.failure is None:
            self.failure = Failure(kind, text, self._place)
        if self._ends:
            raise CaptureError(text)

    def _as_fresh(self, value: Any) -> None:
        """Containers among the arguments, whose contents are compared at every call."""
        kind = type(value)
        if kind in (list, dict):
            self._judge.made(value)
        if issubclass(kind, list | tuple | dict):  # a foreign object may lie about its class, or fail
            for part in dict.values(value) if issubclass(kind, dict) else value:
                self._as_fresh(part)

    # -- tracing -----------------------------------------------------------------------------------------------------

    def _enter(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        """A Python function begins, or a generator goes on."""
        code = frame.f_code
        if self.failure is not None or event != "call" or self._is_hidden(frame):
            return None
        if not self._readable:
            version = ".".join(map(str, sys.version_info[:2]))
            self._place = f"{code.co_filename}:{frame.f_lineno}"
            self.refuse(f"it runs Python code, which cannot be observed on this Python ({version})")
            return None
        self.at(frame)
        try:
            self._begin(frame, Stack(frame))
        except Refused as reason:
            self.refuse(str(reason), reason.kind)
            return None
        direct = self._judge.calls is code
        self._judge.building = self._judge.calls = None
        frame.f_trace_opcodes, frame.f_trace_lines = VERSION < (3, 12), False
        return _Tracer(self, instructions(code), direct)

    def _is_hidden(self, frame: types.FrameType) -> bool:
        """dlcore and NumPy are judged from outside, and the standard library and imports where these call them."""
        file, back = frame.f_code.co_filename, frame.f_back
        if file.startswith(known.LIBRARY):
            return True
        if file == "<string>" and str(frame.f_globals.get("__name__")).partition(".")[0] in known.PACKAGES:
            return True
        if not self._of_engine(back) or back is self._root:
            return False
        return file.startswith((known.STANDARD, "<frozen")) or self._prepares(back)

    def _of_engine(self, frame: types.FrameType | None) -> bool:
        tracer = None if frame is None else frame.f_trace
        return not isinstance(tracer, _Tracer) or tracer.in_engine

    def _prepares(self, frame: types.FrameType | None) -> bool:
        """Whether the engine imports something, or reads the definition of an operation that is new to it.

        That calls finders that packages have put into sys.meta_path, or what they have put into the module typing.
        """
        while frame is not None and frame is not self._root and self._of_engine(frame):
            if frame.f_code.co_filename.startswith("<frozen importlib") or frame.f_code is _READS:
                return True
            frame = frame.f_back
        return False

    def _begin(self, frame: types.FrameType, stack: Stack) -> None:
        code, judge = frame.f_code, self._judge
        for cell in stack.cells():
            judge.made(cell)
        function = stack.function
        if isinstance(function, types.FunctionType) and not judge.is_fresh(function):
            judge.guards.code(function)
            if function.__kwdefaults__:
                judge.shallow(function.__kwdefaults__)
        if code.co_flags & inspect.CO_VARKEYWORDS:
            judge.made(stack.slot(code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARARGS)))
        if code.co_argcount:
            self._begin_method(code, function, stack)

    def _begin_method(self, code: types.CodeType, function: Any, stack: Stack) -> None:
        """If this is a method, it was found on the class of its first argument: maybe by C code, unseen."""
        judge, first = self._judge, stack.slot(0)
        if isinstance(first, types.CellType):
            first = first.cell_contents
        cls = type(first)
        found = lookup(cls, code.co_name)
        of_class = found is function or (isinstance(found, property) and found.fget is function)
        if of_class and of_python(cls):
            judge.guards.lookup(cls, code.co_name)
        if judge.building == (cls, code):
            judge.made(first)

    def at(self, frame: types.FrameType | None) -> None:
        """Notes where the step is; in the standard library, where that was called."""
        while frame is not None and frame.f_code.co_filename.startswith((known.STANDARD, "<frozen")):
            frame = frame.f_back
        self._place = "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"

    def count(self) -> None:
        """Counts an instruction. Raises `Refused` where these are too many."""
        self._count += 1
        if self._count > _MOST:
            raise Refused(f"it runs more Python than can be observed ({_MOST:,} instructions)")

    # -- instructions ------------------------------------------------------------------------------------------------

    def step(self, frame: types.FrameType, stack: Stack, i: Instruction, names: tuple[str, ...]) -> Any:
        """Judges an instruction that is about to run. Returns what to do with its result, if anything."""
        name = i.name
        if name in _DIRECT:
            return _DIRECT[name](self, frame, stack, i)
        if name in ("CALL", "CALL_KW", "CALL_FUNCTION_EX"):
            return self._call(stack, i, names)
        if name.startswith(_TESTS) and not name.endswith("NONE"):
            value = stack.peek()
            if isinstance(value, (*known.CONTAINERS, np.ndarray)):
                return self._judge.shallow(value)
            return self._judge.deep(value)
        if name.startswith("BUILD_") or name in ("MAKE_FUNCTION", "LIST_TO_TUPLE"):
            return self._judge.made if name not in ("BUILD_STRING", "BUILD_SLICE") else None
        if name not in known.HARMLESS:
            raise Refused(f"the instruction {name} is not known to be harmless")
        return None

    def _global(self, frame: types.FrameType, stack: Stack, i: Instruction) -> None:
        guards = self._judge.guards
        if guards.entry(frame.f_globals, i.value, i.value) is ABSENT:
            guards.entry(frame.f_builtins, i.value, i.value)

    def _free(self, frame: types.FrameType, stack: Stack, i: Instruction) -> None:
        cell = stack.named(i.value)
        if not self._judge.is_fresh(cell):
            self._judge.guards.cell(cell, i.value)

    def _attribute(self, frame: types.FrameType, stack: Stack, i: Instruction) -> None:
        self._judge.attribute(stack.peek(), i.value)

    def _super_attribute(self, frame: types.FrameType, stack: Stack, i: Instruction) -> None:
        kind, cls, value = stack.peek(3), stack.peek(2), stack.peek()
        if kind is not super:
            raise Refused("it calls something else by the name of super")
        self._judge.attribute(super(cls, value), i.value)

    def _subscript(self, frame: types.FrameType, stack: Stack, i: Instruction) -> None:
        self._judge.subscript(stack.peek(2), stack.peek())

    def _slice(self, frame: types.FrameType, stack: Stack, i: Instruction) -> Any:
        value = stack.peek(3)
        self._judge.subscript(value, slice(stack.peek(2), stack.peek()))
        return self._judge.made if isinstance(value, list | bytearray) else None

    def _all_of(self, frame: types.FrameType, stack: Stack, i: Instruction) -> None:
        self._judge.shallow(stack.peek())

    def _iterator(self, frame: types.FrameType, stack: Stack, i: Instruction) -> Any:
        source = stack.peek()
        self._judge.shallow(source)
        return lambda result: self._judge.new_iterator(source, result)

    def _match(self, frame: types.FrameType, stack: Stack, i: Instruction) -> None:
        value = stack.peek(2 if i.name == "MATCH_KEYS" else 1)
        if isinstance(value, (*known.CONTAINERS, np.ndarray)):
            self._judge.shallow(value)
        else:
            self._judge.deep(value)

    def _operator(self, frame: types.FrameType, stack: Stack, i: Instruction) -> Any:
        judge, left, right = self._judge, stack.peek(2), stack.peek()
        judge.deep(left)
        judge.deep(right)
        if i.name != "BINARY_OP":
            return None
        if isinstance(left, np.ndarray | np.generic) or isinstance(right, np.ndarray | np.generic):
            judge.numpy_errors()
        if isinstance(left, str):
            judge.text(right)  # of %
        if i.arg >= _IN_PLACE and type(left) not in known.SCALARS and not isinstance(left, tuple | np.generic):
            judge.owned(left, "changes")
        plain = (*known.CONTAINERS, int, float, str, np.ndarray, np.generic)
        return judge.made if isinstance(left, plain) and isinstance(right, plain) else None

    def _operand(self, frame: types.FrameType, stack: Stack, i: Instruction) -> None:
        self._judge.deep(stack.peek())

    def _text(self, frame: types.FrameType, stack: Stack, i: Instruction) -> None:
        self._judge.text(stack.peek())

    def _format(self, frame: types.FrameType, stack: Stack, i: Instruction) -> None:
        with_spec = i.name == "FORMAT_WITH_SPEC" or (i.name == "FORMAT_VALUE" and i.arg & 4)
        self._judge.text(stack.peek(2 if with_spec else 1))
        if with_spec and str(stack.peek()).endswith("n"):
            raise Refused("it formats numbers by the locale")

    def _intrinsic(self, frame: types.FrameType, stack: Stack, i: Instruction) -> Any:
        what = dis._intrinsic_1_descs[i.arg] if i.name == "CALL_INTRINSIC_1" else ""  # type: ignore[attr-defined]
        if what == "INTRINSIC_UNARY_POSITIVE":
            self._judge.deep(stack.peek())
        elif what == "INTRINSIC_LIST_TO_TUPLE":
            return self._judge.made
        elif what not in ("INTRINSIC_STOPITERATION_ERROR", "INTRINSIC_ASYNC_GEN_WRAP"):
            raise Refused(f"the instruction {what or i.name} is not known to be harmless")
        return None

    def _set_attribute(self, frame: types.FrameType, stack: Stack, i: Instruction) -> None:
        value = stack.peek(2) if i.name == "STORE_ATTR" else None
        self._judge.set_attribute(stack.peek(), i.value, value)

    def _set_entry(self, frame: types.FrameType, stack: Stack, i: Instruction) -> None:
        value = stack.peek(3) if i.name == "STORE_SUBSCR" else None
        self._judge.set_entry(stack.peek(2), stack.peek(), value)

    def _set_slice(self, frame: types.FrameType, stack: Stack, i: Instruction) -> None:
        owner = stack.peek(3)
        self._judge.set_entry(owner, slice(stack.peek(2), stack.peek()), stack.peek(4))

    def _set_variable(self, frame: types.FrameType, stack: Stack, i: Instruction) -> None:
        judge, name = self._judge, i.value
        value = stack.peek() if i.name.startswith("STORE") else None
        if i.name in ("STORE_DEREF", "DELETE_DEREF"):
            cell = stack.named(name)
            if judge.is_fresh(cell):
                return
            if isinstance(value, Tensor) and cell.cell_contents is value:  # changed in place
                judge.guards.cell(cell, name)
                return
        elif isinstance(value, Tensor) and i.name == "STORE_GLOBAL" and frame.f_globals.get(name) is value:
            judge.guards.entry(frame.f_globals, name, name)
            return
        text = f"it sets the variable {name}, which was there before the step; a replay would not"
        raise Refused(text, FailureKind.REBINDS)

    def _import(self, frame: types.FrameType, stack: Stack, i: Instruction) -> None:
        if not known.imported(i.value):
            raise Refused(f"it imports {i.value}", FailureKind.REBINDS)
        self._judge.guards.entry(sys.modules, i.value, f"the module {i.value}")

    def _raise(self, frame: types.FrameType, stack: Stack, i: Instruction) -> None:
        for k in range(1, i.arg + 1):
            error = stack.peek(k)  # or its cause
            if isinstance(error, BaseException):
                self._judge.deep(error)

    def _with(self, frame: types.FrameType, stack: Stack, i: Instruction) -> None:
        value = stack.peek()
        own = any(known.is_own(owner.__module__) for owner in type(value).__mro__)
        if not own and not runs_python(value, "__enter__"):
            raise Refused(f"it enters a {named(value)}")

    def _call(self, stack: Stack, i: Instruction, names: tuple[str, ...]) -> Any:
        judge = self._judge
        if i.name == "CALL_FUNCTION_EX":
            keywords, given = (stack.peek(), stack.peek(2)) if i.arg & 1 else ({}, stack.peek())
            below = 3 if sys.version_info >= (3, 13) else 2  # NULL lies above the function, or below it
            f = stack.peek(below + (i.arg & 1))
            if not isinstance(given, list | tuple):
                raise Refused("it unpacks an iterator into a call")
            judge.shallow(given)
            judge.shallow(keywords)
            return judge.call(f, list(given), dict(keywords))
        skipped = 0
        if i.name == "CALL_KW":  # since 3.13 the names lie on the stack
            names, skipped = stack.peek(), 1
        values = [stack.peek(k + skipped) for k in range(i.arg, 0, -1)]
        f, args = self._callee(stack, i.arg + skipped, values)
        keywords = dict(zip(names, args[len(args) - len(names) :], strict=True)) if names else {}
        return judge.call(f, args[: len(args) - len(keywords)], keywords)

    @staticmethod
    def _callee(stack: Stack, below: int, values: list[Any]) -> tuple[Any, list[Any]]:
        """What is called: below the arguments lie a function and NULL, or a method and the object it belongs to."""
        lower, upper = stack.peek(below + 2), stack.peek(below + 1)
        if sys.version_info >= (3, 13):  # function, then NULL or the object
            return (lower, values) if upper is None else (lower, [upper, *values])
        return (upper, values) if lower is None else (lower, [upper, *values])


def _before_instruction(frame: types.FrameType, offset: int) -> bool:
    """Looks at an instruction of a traced frame. Returns whether to go on."""
    tracer = frame.f_trace
    return not isinstance(tracer, _Tracer) or tracer.before(frame, offset)


class _Tracer:
    """The trace function of one frame; ``direct``: its result goes to observed code, and not to C code."""

    __slots__ = ("_direct", "_judge", "_names", "_observer", "_table", "_then", "in_engine")

    def __init__(self, observer: Observer, table: dict[int, Instruction], direct: bool):
        self._observer, self._judge, self._table, self._direct = observer, observer._judge, table, direct
        self._then: Any = None
        """What to do with the result of the instruction before."""
        self._names: tuple[str, ...] = ()
        """The names of the keywords of the next call."""
        self.in_engine = False
        """Whether the engine, in C, may work on the instruction."""

    def __call__(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        observer = self._observer
        if observer.failure is not None:
            frame.f_trace_opcodes = False
            return None
        if event == "exception":
            self._then = None
            self._judge.made(arg[1])
        if event == "opcode":
            self.before(frame, frame.f_lasti)
        return self

    def before(self, frame: types.FrameType, offset: int) -> bool:
        """The instruction at an offset is about to run. Returns whether to go on."""
        i, observer = self._table[offset], self._observer
        if observer.failure is not None:
            return False
        if i.name in known.FALLS_THROUGH and self._then is None:
            return True
        try:
            observer.count()
            self._look(frame, i)
        except Refused as reason:
            observer.refuse(str(reason), reason.kind)
        except Exception as error:  # the judge itself has failed, so that nothing is known
            observer.refuse(f"it cannot be observed ({type(error).__name__}: {error})")
        return observer.failure is None

    def _look(self, frame: types.FrameType, i: Instruction) -> None:
        judge, stack = self._judge, Stack(frame, i.depth)
        if self._then is not None:
            then, self._then = self._then, None
            then(stack.peek())
        if i.name == "KW_NAMES":
            self._names = frame.f_code.co_consts[i.arg]
        elif i.name not in known.FALLS_THROUGH:
            self._observer.at(frame)
            judge.building = judge.calls = None
            judge.asks_engine = False
            if i.name == "YIELD_VALUE" or (i.name == "RETURN_VALUE" and not self._direct):
                judge.deep(stack.peek())  # C code may look into it
            self._then = self._observer.step(frame, stack, i, self._names)
            self.in_engine = judge.asks_engine
            if i.name.startswith("CALL"):
                self._names = ()


_DIRECT: dict[str, Any] = {
    **dict.fromkeys(("LOAD_GLOBAL", "LOAD_NAME"), Observer._global),
    **dict.fromkeys(("LOAD_DEREF", "LOAD_CLASSDEREF"), Observer._free),
    **dict.fromkeys(("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"), Observer._attribute),
    "LOAD_SUPER_ATTR": Observer._super_attribute,
    "BINARY_SUBSCR": Observer._subscript,
    "BINARY_SLICE": Observer._slice,
    **dict.fromkeys(
        ("UNPACK_SEQUENCE", "UNPACK_EX", "LIST_EXTEND", "SET_UPDATE", "DICT_UPDATE", "DICT_MERGE"), Observer._all_of
    ),
    **dict.fromkeys(("GET_ITER", "GET_YIELD_FROM_ITER"), Observer._iterator),
    **dict.fromkeys(("MATCH_MAPPING", "MATCH_SEQUENCE", "GET_LEN", "MATCH_KEYS"), Observer._match),
    **dict.fromkeys(("BINARY_OP", "COMPARE_OP", "CONTAINS_OP"), Observer._operator),
    **dict.fromkeys(("UNARY_NEGATIVE", "UNARY_INVERT", "UNARY_POSITIVE"), Observer._operand),
    "CONVERT_VALUE": Observer._text,
    **dict.fromkeys(("FORMAT_VALUE", "FORMAT_SIMPLE", "FORMAT_WITH_SPEC"), Observer._format),
    **dict.fromkeys(("CALL_INTRINSIC_1", "CALL_INTRINSIC_2"), Observer._intrinsic),
    **dict.fromkeys(("STORE_ATTR", "DELETE_ATTR"), Observer._set_attribute),
    **dict.fromkeys(("STORE_SUBSCR", "DELETE_SUBSCR"), Observer._set_entry),
    "STORE_SLICE": Observer._set_slice,
    **dict.fromkeys(
        ("STORE_DEREF", "DELETE_DEREF", "STORE_GLOBAL", "DELETE_GLOBAL", "STORE_NAME", "DELETE_NAME"),
        Observer._set_variable,
    ),
    "IMPORT_NAME": Observer._import,
    "BEFORE_WITH": Observer._with,
    "RAISE_VARARGS": Observer._raise,
    "LOAD_CLOSURE": lambda *_: None,
    "SET_FUNCTION_ATTRIBUTE": lambda *_: None,
}


def _random_states() -> tuple[Any, ...]:
    state: Any = np.random.get_state()  # noqa: NPY002 - whether user code draws from it
    kind, keys, *rest = state
    return random.getstate(), kind, keys.tobytes(), *rest
