"""The forward pass of a model as a list of calls of operations: what an exported file is written from.

The pass runs once, without a kernel, while dlcore's recorder notes every launch and every view: whatever Python there
is in ``forward`` has then been done. How lengths depend on the batch is found from passes with several batch sizes.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import dlcore
from dlcore import _C
from dlcore._arguments import instance, shown
from dlcore._autograd import no_grad
from dlcore._capture import Captured
from dlcore._commands import Array, Command, commands
from dlcore._from_data import asarray
from dlcore._tensor import Tensor
from dlcore.data.transforms import apply, steps_of
from dlcore.dtypes import bfloat16, float16
from dlcore.errors import CaptureError, ShapeError
from dlcore.nn.module import Module, device_of
from dlcore.op import REGISTRY, Op
from dlcore.train.fitted import floating
from dlcore.train.passes import kept_modes

__all__ = ["Affine", "Call", "Constant", "Prediction", "Recorded", "affine", "example_of"]

_copy = REGISTRY["contiguous"]


class Affine(NamedTuple):
    """``slope`` * batch + ``offset``: a length that depends on the size of the batch."""

    slope: int
    offset: int


def affine(values: Sequence[int], batches: Sequence[int]) -> int | Affine | None:
    """A number that was ``values`` for the sizes ``batches``: always the same, or linear in the size; None: neither."""
    if len(set(values)) == 1:
        return int(values[0])
    slope, rest = divmod(values[1] - values[0], batches[1] - batches[0])
    offset = values[0] - slope * batches[0]
    if rest or any(v != slope * b + offset for v, b in zip(values, batches, strict=True)):
        return None
    return Affine(int(slope), int(offset))


class Constant(NamedTuple):
    """Memory from before the pass: a parameter, a buffer, or another tensor. ``name``: its dotted name, or ""."""

    name: str
    values: np.ndarray


class Call(NamedTuple):
    """One call of an operation in the pass, or (``op`` is None) a copy into memory that was there."""

    op: Op | None
    attrs: tuple[Any, ...]
    inputs: tuple[Array | None, ...]
    outputs: tuple[Array | None, ...]
    lengths: tuple[int, ...]
    line: str
    """Where in the user's code: "model.py:12"."""

    @property
    def name(self) -> str:
        """Of the operation."""
        return "an assignment in place" if self.op is None else self.op.name

    @property
    def where(self) -> str:
        """The operation and its line, for errors."""
        return f"{self.name} ({self.line})" if self.line else self.name


class Prediction:
    """What `dlcore.predict` computes for a batch: the model with its preprocessing, in evaluation mode.

    Called with a tensor it gives its outputs as a flat list; ``names`` are theirs after the first call: "output" for
    one tensor, the keys of a dict, "output_0", "output_1", ... of a tuple.
    """

    def __init__(self, model: Module, function: str):
        self.model, self.function = instance(model, Module, f"{function}: model", "a Module"), function
        self.steps, self.dtype = steps_of(model.preprocessing), floating(model)
        self.names: list[str] = []
        if device_of(model).type != "cpu":
            raise ValueError(f"{function}: the model is on {device_of(model)}: export model.cpu()")
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.dtype in (float16, bfloat16):
                raise TypeError(
                    f"{function}: {name} is of dtype {value.dtype.name}, in which processors do not compute: export "
                    "model.to(dlcore.float32)"
                )

    def __call__(self, x: Tensor) -> list[Tensor]:
        """The outputs for a batch."""
        x = apply(self.steps, x)
        if self.dtype is not None and x.dtype.is_float and x.dtype is not self.dtype:
            x = x.astype(self.dtype)
        named = list(_flat(self.model(x), "", self.function))
        self.names = [name or "output" for name, _ in named]
        return [tensor for _, tensor in named]

    def eager(self, x: np.ndarray) -> list[np.ndarray]:
        """The outputs for ``x``."""
        with kept_modes(self.model), no_grad():
            self.model.eval()
            return [np.array(t.numpy()) for t in self(asarray(x))]

    def recorded(self, x: np.ndarray, planned: bool = False) -> Recorded:
        """The pass for a batch like ``x``: every call, or (planned) the launches of a replay and where memory lies.

        Raises ValueError where it cannot be recorded.
        """
        with kept_modes(self.model), no_grad():
            self.model.eval()
            captured = Captured(self._copied, depends=(self.model, *self.steps))
            try:
                record = captured.dry_run if planned else captured.written_down
                recording = record(asarray(np.ascontiguousarray(x)))
            except CaptureError as error:
                text = str(error).rpartition("cannot be recorded: ")[2] + _line_of(error)
                raise ValueError(f"{self.function}: the forward pass depends on more than its input: {text}") from None
        return Recorded(self, recording, len(self.names), planned)

    def _copied(self, x: Tensor) -> list[Tensor]:
        """The outputs in memory of their own: the last calls of a pass make them, in their order."""
        return [_copy.call(tensor) for tensor in self(x)]


def _flat(outputs: Any, name: str, function: str) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of all tensors in nested tuples, lists and dicts."""
    if isinstance(outputs, Tensor):
        yield name, outputs
    elif isinstance(outputs, Mapping):
        for key, part in outputs.items():
            yield from _flat(part, f"{name}_{key}" if name else str(key), function)
    elif isinstance(outputs, tuple | list):
        for k, part in enumerate(outputs):
            yield from _flat(part, f"{name or 'output'}_{k}", function)
    else:
        raise TypeError(f"{function}: the model returns {shown(outputs)}, not tensors")


class Recorded:
    """The calls of one pass and the memory that they work on.

    ``calls``: launches and views in their order. ``results``: the arrays of the outputs. ``recording``: what it was
    written down from, which keeps the memory alive.
    """

    def __init__(self, prediction: Prediction, recording: _C.Recording, outputs: int, planned: bool):
        self.function, self.recording = prediction.function, recording
        self.kinds = [kind for kind, *_ in recording.regions]
        self.offsets = [offset for *_, offset, _, _ in recording.regions]
        self.sizes = [size for _, size, *_ in recording.regions]
        self.addresses = [address for *_, address in recording.regions]
        model = prediction.model
        self.names = {t.data_ptr: (name, t.shape) for name, t in [*model.named_parameters(), *model.named_buffers()]}
        self.calls = list(self._launches() if planned else self._calls())
        last = self.calls[len(self.calls) - outputs :]
        self.results = [a for call in last if (a := call.outputs[0]) is not None]
        for call in self.calls:
            self._check(call)

    def _calls(self) -> Iterator[Call]:
        lines = [_short(line) for line in self.recording.lines]
        views = [(before, Call(op, attrs or (), (_array(base),), (_array(view),), (), lines[line]))
                 for op, attrs, line, before, base, view in self.recording.views]  # fmt: skip
        at = 0
        for k, command in enumerate(commands(self.recording)):
            while at < len(views) and views[at][0] <= k:
                yield views[at][1]
                at += 1
            yield self._call(command, lines)
        yield from (call for _, call in views[at:])

    def _launches(self) -> Iterator[Call]:
        lines = [_short(line) for line in self.recording.lines]
        return (self._call(command, lines) for command in commands(self.recording))

    def _call(self, c: Command, lines: Sequence[str]) -> Call:
        return Call(c.op, c.attrs, c.inputs, c.outputs, c.lengths, lines[c.line])

    def written(self, call: Call) -> list[Array]:
        """The arrays that a call writes: its outputs, and operands that it changes."""
        changed = call.op.written(call.lengths) if call.op is not None else []
        return [a for a in (*call.outputs, *(call.inputs[k] for k in changed)) if a is not None and a.region >= 0]

    def _check(self, call: Call) -> None:
        """Raises ValueError where memory from before the pass is written."""
        if call.op is not None and (call.op.view is not None or call.op.family == "random"):
            return  # the state of the generator: that is refused as what it is
        for array in self.written(call):
            if self.kinds[array.region] in ("outside", "input"):
                what = "its input" if self.kinds[array.region] == "input" else "a tensor from before the pass"
                raise ValueError(f"{self.function}: {call.where} changes {what}, which an exported model cannot keep")

    def constant(self, array: Array) -> Constant:
        """What an array in memory from before the pass holds."""
        address, dtype = self.addresses[array.region] + array.offset, array.dtype.numpy
        name, shape = self.names.get(address, ("", None))
        return Constant(name if shape == array.shape else "", strided(address, array.shape, array.strides, dtype))

    def number(self, array: Array) -> np.ndarray:
        """The value of a number among the operands, as a 0-d array."""
        bits = array.value.to_bytes(8, "little", signed=True)
        return np.frombuffer(bits[: array.dtype.itemsize], array.dtype.numpy)[0].reshape(())


def strided(address: int, shape: Sequence[int], strides: Sequence[int], dtype: Any) -> np.ndarray:
    """A copy of the elements that lie at ``address``; strides are in elements."""
    if 0 in shape:
        return np.zeros(shape, dtype)
    item = np.dtype(dtype).itemsize
    low = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if s < 0)
    high = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if s > 0)
    count = high - low + 1
    memory = np.frombuffer((ctypes.c_char * (count * item)).from_address(address + low * item), dtype)
    view = np.lib.stride_tricks.as_strided(memory[-low:], shape, [s * item for s in strides], writeable=False)
    return np.array(view, order="C")


def _line_of(error: BaseException) -> str:
    """The innermost line of the user's code that an exception comes from: " (model.py:12)"."""
    own, found, at = os.path.dirname(dlcore.__file__) + os.sep, "", error.__traceback__
    while at is not None:
        file = at.tb_frame.f_code.co_filename
        if not file.startswith(own):
            found = f" ({os.path.basename(file)}:{at.tb_lineno})"
        at = at.tb_next
    return found


def _array(described: tuple[Any, ...]) -> Array:
    return Array._make((*described, -1))


def _short(line: str) -> str:
    """A line of code without the folder of its file."""
    return line.rpartition("/")[2]


def example_of(example: Any, function: str) -> np.ndarray:
    """The example as an array of at least one sample; raises TypeError or ShapeError."""
    if isinstance(example, Tensor):
        example = example.detach().cpu().numpy()
    try:
        array = np.asarray(example)
        asarray(array)
    except (TypeError, ValueError):
        raise TypeError(f"{function}: example {shown(example)} is not an array of samples, (N, ...)") from None
    if array.ndim < 1 or len(array) < 1 or math.prod(array.shape) == 0:
        raise ShapeError(f"{function}: example has shape {array.shape}; at least one sample is needed, (N, ...)")
    return array
