"""Reading the operands of a running Python frame.

CPython keeps them on the frame's value stack, at the depth that the instruction's position in the code determines. The
layout of a frame (csrc/core/frames.cpp) and the instructions differ between minor versions; `readable` tries both out
on a small function, once, so that a version that is not understood is noticed and not misread.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import itertools
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from dlcore import _C

__all__ = ["Instruction", "Stack", "each_instruction", "instructions", "readable"]

VERSION = sys.version_info[:2]
_NO_FALL_THROUGH = {
    "RETURN_VALUE", "RETURN_CONST", "RERAISE", "RAISE_VARARGS", "JUMP_FORWARD", "JUMP_BACKWARD",
    "JUMP_BACKWARD_NO_INTERRUPT", "INTERPRETER_EXIT",
}  # fmt: skip


class Instruction(NamedTuple):
    """An instruction: its name, its argument as a number, and what that stands for."""

    name: str
    arg: int
    value: Any
    depth: int
    """How many operands are on the stack before it runs; -1 where it cannot be reached."""


@functools.lru_cache(2048)
def instructions(code: types.CodeType) -> dict[int, Instruction]:
    """The instructions of a code object by offset; an EXTENDED_ARG stands for what follows it."""
    listed = list(dis.get_instructions(code))
    depths = _depths(code, listed)
    found: dict[int, Instruction] = {}
    waiting: list[int] = []
    for i in listed:
        waiting.append(i.offset)
        if i.opname != "EXTENDED_ARG":
            seen = Instruction(i.opname, i.arg or 0, i.argval, depths.get(i.offset, -1))
            found.update(dict.fromkeys(waiting, seen))
            waiting = []
    return found


def _depths(code: types.CodeType, listed: list[dis.Instruction]) -> dict[int, int]:
    """Offset -> depth of the value stack, by following every path through the code."""
    following = {a.offset: b.offset for a, b in itertools.pairwise(listed)}
    by_offset = {i.offset: i for i in listed}
    handlers = dis._parse_exception_table(code)  # type: ignore[attr-defined]
    depths = {listed[0].offset: 0}
    todo = [listed[0].offset]

    def reach(offset: int, depth: int) -> None:
        if offset not in depths and offset in by_offset:
            depths[offset] = depth
            todo.append(offset)

    while todo:
        offset = todo.pop()
        i, depth = by_offset[offset], depths[offset]
        for entry in handlers:
            if entry.start <= offset < entry.end:
                reach(entry.target, entry.depth + entry.lasti + 1)
        arg = i.arg if i.opcode >= dis.HAVE_ARGUMENT else None
        if i.opname == "EXTENDED_ARG":
            reach(following[offset], depth)
            continue
        if i.opcode in dis.hasjrel or i.opcode in dis.hasjabs:
            reach(i.argval, depth + _effect(i, arg, True))
        if i.opname not in _NO_FALL_THROUGH and offset in following:
            reach(following[offset], depth + _effect(i, arg, False))
    return depths


def _effect(i: dis.Instruction, arg: int | None, jump: bool) -> int:
    """How an instruction changes the depth of the stack."""
    if VERSION == (3, 11) and i.opname in ("PRECALL", "CALL"):  # counted for the first, popped by the second
        return 0 if i.opname == "PRECALL" else -1 - (arg or 0)
    if i.opname == "RETURN_GENERATOR":  # what is sent to the generator first, None, is there when it goes on
        return 1
    return dis.stack_effect(i.opcode, arg, jump=jump)


@contextlib.contextmanager
def each_instruction(look: Callable[[types.FrameType, int], bool], unseen: tuple[str, ...] = ()) -> Iterator[bool]:
    """Within it ``look(frame, offset)`` is called before each instruction, until it returns False.

    Not for files whose names start with ``unseen``.

    Before 3.12 the trace function of a frame has to do that, on the event "opcode"; since then such events are missing
    in the first call of a function. Gives whether it can be done: not if there are six monitoring tools already.
    """
    if VERSION < (3, 12):
        yield True
        return
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined, unused-ignore]
    tool = next((k for k in range(5, -1, -1) if monitoring.get_tool(k) is None), None)
    if tool is None:
        yield False
        return

    def instruction(code: types.CodeType, offset: int) -> Any:
        if code.co_filename.startswith(unseen):
            return monitoring.DISABLE
        if not look(sys._getframe(1), offset):
            monitoring.set_events(tool, 0)
        return None

    event = monitoring.events.INSTRUCTION
    monitoring.use_tool_id(tool, "dlcore")
    try:
        monitoring.register_callback(tool, event, instruction)
        monitoring.restart_events()
        monitoring.set_events(tool, event)
        yield True
    finally:
        monitoring.set_events(tool, 0)
        monitoring.register_callback(tool, event, None)
        monitoring.free_tool_id(tool)


class Stack:
    """The slots of a running frame: local variables, cells, free variables, and the value stack.

    Made anew for each instruction: a frame that is kept would keep its variables.
    """

    __slots__ = ("_frame", "depth")

    def __init__(self, frame: types.FrameType, depth: int = 0):
        self._frame = frame
        self.depth = depth
        """How many operands there are, as the instruction that is about to run says."""

    def peek(self, n: int = 1) -> Any:
        """The ``n``-th operand from the top; None where there is none (CPython's NULL)."""
        if not 0 < n <= self.depth:
            raise IndexError(f"operand {n} of {self.depth}")
        return _C.frame_slot(self._frame, len(_slot_names(self._frame.f_code)) + self.depth - n)

    def slot(self, k: int) -> Any:
        """Local variable, cell or free variable ``k``."""
        return _C.frame_slot(self._frame, k)

    def named(self, name: str) -> Any:
        """The local variable, or its cell."""
        return self.slot(_slot_names(self._frame.f_code)[name])

    def cells(self) -> Iterator[types.CellType]:
        """The cells that this call has made for its own variables."""
        names = _slot_names(self._frame.f_code)
        for name in self._frame.f_code.co_cellvars:
            cell = self.slot(names[name])
            if isinstance(cell, types.CellType):
                yield cell

    @property
    def function(self) -> Any:
        """The function that the frame runs; None for the code of a module or class."""
        return _C.frame_function(self._frame)


@functools.lru_cache(2048)
def _slot_names(code: types.CodeType) -> dict[str, int]:
    names = dict.fromkeys((*code.co_varnames, *code.co_cellvars))  # an argument that is a cell keeps its place
    free = {name: len(names) + k for k, name in enumerate(code.co_freevars)}
    return {**{name: k for k, name in enumerate(names)}, **free}


@functools.cache
def readable() -> bool:
    """Whether this Python's frames are understood: operands, variables and function of a test function are right."""
    if VERSION not in ((3, 11), (3, 12), (3, 13)) or sys.implementation.name != "cpython":
        return False
    left, right = object(), [object()]
    seen: list[bool] = []

    def sample(a: Any, b: Any) -> Any:
        cell = b
        try:
            for entry in b:
                (lambda: cell)()
                _ = a is entry
                raise KeyError
        except KeyError:
            return b[0]

    def trace(frame: types.FrameType, event: str, arg: Any) -> Any:
        if frame.f_code is not sample.__code__:
            return None
        frame.f_trace_opcodes = VERSION < (3, 12)
        if event == "opcode":
            look(frame, frame.f_lasti)
        return trace

    def look(frame: types.FrameType, offset: int) -> bool:
        if frame.f_code is sample.__code__:
            i = instructions(frame.f_code)[offset]
            stack = Stack(frame, i.depth)
            if i.name == "IS_OP":
                seen.append(stack.peek(2) is left and stack.peek() is right[0])
            elif i.name == "BINARY_SUBSCR":
                seen.append(stack.peek(2) is right and stack.peek() == 0 and stack.named("a") is left)
            elif i.name in ("MAKE_FUNCTION", "SET_FUNCTION_ATTRIBUTE"):
                seen.append(stack.function is sample and next(stack.cells()).cell_contents is right)
        return True

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with each_instruction(look):
            sample(left, right)
    finally:
        sys.settrace(before)
    return len(seen) >= 3 and all(seen)
