"""Neighbouring launches of a recorded step become one, where the definition of an operation says that they can.

`linear` followed by `relu` is one launch of `linear` with an activation, whoever wrote it: a Sequential, or a module's
`relu(self.fc1(x))`. Which launches may be one, and what that one is, says the part `merge` of an operation; here it is
found out whether the step leaves room for it. Replays keep the bits of the eager step, for a kernel that applies a
function to its results rounds as often as two kernels would.

An optimizer's update stays apart from the gradients that it reads, for there is little to gain. On two cores of a
Zen 4, Adam takes 42 of the 700 us of a 784-256-128-10 network's step (235,146 parameters), and on one 71: 0.30 ns a
parameter, as where all lies in the second-level cache (17,226 parameters: 0.31), so that two cores cannot do it in less
than 35. Of a GPT of 810,000 parameters it takes 373 of 30,100 us, at 61 GB/s; but moments and weights come from beyond
that cache in any case, and a gradient is 4 of the 28 bytes of a parameter: 53 us at most.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple

from dlcore import _C
from dlcore._commands import Array, Command, commands
from dlcore._device import CPU
from dlcore._dispatch import bind
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import named

__all__ = ["fuse", "obstacles"]


def fuse(recording: _C.Recording) -> None:
    """Merges the commands of a recording whose memory is not laid out yet."""
    step = _Step(recording)
    if step.merge_all():
        recording.rewrite(step.entries())


def obstacles(recording: _C.Recording) -> dict[int, str]:
    """Command -> why it is not one with an earlier one, of those that operations say can be one."""
    step = _Step(recording)
    found: dict[int, str] = {}
    for second in range(len(step.commands)):
        for pair in step.pairs(second):
            why = step.obstacle(pair) or "no kernel does both"
            found.setdefault(second, f"not with {pair.first}: {why}")
    return found


class _Pair(NamedTuple):
    """Two commands by their numbers, and the one that could take the place of the second."""

    first: int
    second: int
    region: int
    """Where the result of the first lies that the second reads."""
    merged: Command


class _Step:
    """The commands of a recording while they are merged; a number keeps its meaning, and merged ones are None."""

    def __init__(self, recording: _C.Recording):
        self.device: Any = recording.device
        self.kinds = [kind for kind, *_ in recording.regions]
        self.sizes = [size for _, size, *_ in recording.regions]
        self.addresses = [address for *_, address in recording.regions]
        self.readers: dict[int, set[int]] = defaultdict(set)
        self.writers: dict[int, set[int]] = defaultdict(set)
        self.made: dict[int, tuple[Any, ...]] = {}  # number -> kernel, its numbers, bytes of its workspaces
        self.commands: list[Command | None] = []
        for number, command in enumerate(commands(recording)):
            self.commands.append(None)
            self._replace(number, command)

    def _replace(self, number: int, command: Command | None) -> None:
        """Puts a command in the place of another, or of none."""
        old, self.commands[number] = self.commands[number], command
        if old is not None:
            for region in old.reads:
                self.readers[region].discard(number)
            for region in old.writes:
                self.writers[region].discard(number)
        if command is not None:
            for region in command.reads:
                self.readers[region].add(number)
            for region in command.writes:
                self.writers[region].add(number)

    def merge_all(self) -> bool:
        """Merges what can be merged; whether anything could."""
        merged = True
        while merged:  # what is merged may go together with others, and leaves values that nobody needs any more
            merged = False
            for second in range(len(self.commands)):
                while any(self._merge(pair) for pair in self.pairs(second)):
                    merged = True
        return bool(self.made)

    def pairs(self, second: int) -> Iterator[_Pair]:
        """What a command could be one with, going by what the operations say."""
        reader = self.commands[second]
        if reader is None or reader.op is None:
            return
        for region in dict.fromkeys(a.region for a in reader.inputs if a is not None and a.region >= 0):
            first = max((number for number in self.writers[region] if number < second), default=-1)
            writer = self.commands[first] if first >= 0 else None
            if writer is None or writer.op is None:
                continue
            for op in dict.fromkeys((writer.op, reader.op)):
                given = {"first": writer, "second": reader, "maker": partial(self._maker, second)}
                merged = named(op.merge, given) if op.merge is not None else None
                if merged is not None:
                    yield _Pair(first, second, region, merged)
                    break

    def _maker(self, before: int, array: Array | None) -> Command | None:
        """The command before another that alone writes where an array lies, memory that nothing else reaches."""
        if array is None or array.region < 0 or self._before(array.region) or len(self.writers[array.region]) != 1:
            return None
        (number,) = self.writers[array.region]
        return self.commands[number] if number < before else None

    def obstacle(self, pair: _Pair) -> str | None:
        """Why the step needs the two commands apart; None if it does not."""
        first, second = self.commands[pair.first], self.commands[pair.second]
        assert first is not None and second is not None
        own = first.writes | second.writes
        made = next((a for a in first.outputs if a is not None and a.region == pair.region), None)
        others, writers = self.readers[pair.region] - {pair.second}, self.writers[pair.region]
        if made is not None and any(a is not None and a.same_elements(made) for a in second.outputs):
            others, writers = _until(pair.second, others), _until(pair.second, writers)  # `out += x`: out has its value
        elif self.kinds[pair.region] == "result":
            return "its value is a result"
        if made is None or writers != {pair.first}:
            return "its value is changed in place"
        if any(self._before(a.region) for a in (*first.outputs, *second.outputs) if a is not None and a.region >= 0):
            return "it is written into memory from before the step"
        changes = any(map(self._before, first.writes | second.writes))  # operands in place: running statistics
        if changes and any(map(self._before, second.reads)):
            return "it changes memory from before the step"
        if made.bytes != self.sizes[pair.region] or not all(a.same_elements(made) for a in _at(second, pair.region)):
            return "other shape"
        written = {a.region for a in pair.merged.outputs if a is not None}
        if others and (pair.region not in written or min(others) < pair.second):
            return f"{min(others)} needs its value too"
        if any(self._needed(region, pair) for region in own - pair.merged.writes):
            return "its other results are needed"
        if (written | {pair.region}) & pair.merged.reads:
            return "no kernel does both"
        for number in range(pair.first + 1, pair.second):
            between = self.commands[number]
            if between is None:
                continue
            if self._disturbs(between, first):
                return f"{number} changes memory in between"
            if changes and any(map(self._before, between.reads)):
                return f"{number} reads memory in between"
        return None

    def _disturbs(self, between: Command, first: Command) -> bool:
        """Whether a command cannot change places with an earlier one. Memory from before the step may overlap."""
        if between.writes & (first.reads | first.writes) or between.reads & first.writes:
            return True
        return any(map(self._before, between.writes))

    def _before(self, region: int) -> bool:
        """Whether a region is memory from before the step: one may overlap another."""
        return self.kinds[region] in ("outside", "input")

    def _needed(self, region: int, pair: _Pair) -> bool:
        """Whether others than the two commands need what lies in a region."""
        return self.kinds[region] == "result" or bool(self.readers[region] - {pair.first, pair.second})

    def _merge(self, pair: _Pair) -> bool:
        if self.obstacle(pair) is not None:
            return False
        command, n = pair.merged, len(pair.merged.op.output_names)  # type: ignore[union-attr]
        extras = (a if a is not None and self._needed(a.region, pair) else None for a in command.outputs[n:])
        command = command._replace(outputs=(*command.outputs[:n], *extras))
        made = self._kernel(command) if _fits(command) else None
        if made is None:
            return False
        self._replace(pair.first, None)
        self._replace(pair.second, command)
        self.made.pop(pair.first, None)
        self.made[pair.second] = made
        return True

    def _kernel(self, command: Command) -> tuple[Any, Sequence[int | float], tuple[int, ...]] | None:
        """A kernel that takes the operands as they lie, its numbers, and bytes of its workspaces."""
        op, values = command.op, command.values()
        assert op is not None
        kernel, params = op.kernel(self.device.type, values), op.kernel_params(values)
        if not isinstance(kernel, str):
            return None
        if self.device is CPU:
            wanted = _C.contiguous_inputs(kernel)
            gaps = [k for k, a in enumerate(command.inputs) if a is not None and not a.contiguous]
            return None if any(wanted >> min(k, 31) & 1 for k in gaps) else (kernel, params, ())
        inputs, outputs = (
            [None if a is None else a.view(self.addresses[a.region] if a.region >= 0 else 0) for a in side]
            for side in (command.inputs, command.outputs)
        )
        bound = bind(op.name, self.device, kernel, inputs, outputs, command.attrs, params)
        return None if bound.copies else (bound.target, params, bound.temps)

    def entries(self) -> list[Any]:
        """The commands as `Recording.rewrite` takes them."""
        found: list[Any] = []
        for number, command in enumerate(self.commands):
            if command is None:
                continue
            if number not in self.made:
                found.append(number)
                continue
            kernel, params, workspaces = self.made[number]
            inputs, outputs = (
                tuple(None if a is None else a.number for a in side) for side in (command.inputs, command.outputs)
            )
            what = (command.op.call, command.attrs, command.lengths, command.line)  # type: ignore[union-attr]
            found.append((number, *what, kernel, tuple(params), inputs, outputs, workspaces))
        return found


def _until(second: int, numbers: set[int]) -> set[int]:
    """The commands before the second."""
    return {number for number in numbers if number < second}


def _at(command: Command, region: int) -> Iterator[Array]:
    """The operands of a command that lie in a region."""
    return (a for a in command.inputs if a is not None and a.region == region)


def _fits(command: Command) -> bool:
    """Whether the shape rule gives the outputs that the command writes."""
    op = command.op
    assert op is not None
    try:
        specs = op.inferred(command.values())
    except (ShapeError, DTypeError, ValueError):
        return False
    pairs = zip_longest(specs[: len(op.output_names)], command.outputs[: len(op.output_names)])
    return all(
        spec is array if spec is None or array is None else (spec.shape, spec.dtype) == (array.shape, array.dtype)
        for spec, array in pairs
    )
