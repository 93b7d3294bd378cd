"""`onnx`: a model as an ONNX file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

import dlcore
from dlcore._arguments import boolean
from dlcore._commands import Array
from dlcore._files import replacing
from dlcore._memory import readable
from dlcore.export import protobuf
from dlcore.export.onnx_forms import FORMS, Node, refusal
from dlcore.export.onnx_graph import Graph, Length, Value
from dlcore.export.trace import Affine, Call, Prediction, Recorded, affine, example_of
from dlcore.nn.module import Module

__all__ = ["OPSET", "onnx"]

OPSET = 20  # the first with Gelu; onnxruntime 1.17 and later run it
_LARGEST = (1 << 31) - (1 << 20)  # bytes of a file: the limit of protocol buffers
_BATCHES = 2, 3, 5  # sizes without a common divisor, so that no length of the model is mistaken for one of the batch's


def onnx(
    model: Module, path: str | os.PathLike[str], example: Any, dynamic_batch: bool = True, check: bool = True
) -> float | None:
    """Write ``model`` as an ONNX file; returns the largest difference of its outputs from dlcore's.

    The file does what `dlcore.predict` does: the preprocessing that ``fit`` has left, then the forward pass in
    evaluation mode. ``example``: samples (N, ...) of the shape and dtype that `predict` gets. dynamic_batch: the file
    takes batches of any size, which is proven by passes with several sizes; otherwise of that of ``example``. The input
    is called "input"; outputs "output", or by the keys of a dict, or "output_0", "output_1", ... of a tuple.

    check: the file is run by onnxruntime before it is written, if that is installed (``pip install 'dlcore[onnx]'``);
    None is returned if it is not. ValueError where outputs differ by more than 1e-4 of the largest (float64: 1e-9).

    Raises ValueError, naming the operation and the line, for what has no form in ONNX or depends on the values of the
    input; TypeError for 16-bit floats. The file is written whole or not at all, for opset 20.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    >>> difference = dl.export.onnx(model, "digits.onnx", example=np.zeros((1, 8, 8), np.float32))
    """
    name = "export.onnx"
    samples, dynamic = example_of(example, name), boolean(dynamic_batch, f"{name}: dynamic_batch")
    checked = boolean(check, f"{name}: check")
    prediction = Prediction(model, name)
    outputs = prediction.eager(samples)
    batches = _BATCHES if dynamic else (len(samples),)
    if dynamic:
        _check_batched(prediction, samples, outputs)
    passes = [prediction.recorded(np.resize(samples, (b, *samples.shape[1:]))) for b in batches]
    writer = _Writer(passes, batches, samples, prediction.names)
    data = writer.data(os.path.splitext(os.path.basename(os.fspath(path)))[0])
    if len(data) > _LARGEST:
        raise ValueError(f"{name}: the file would have {readable(len(data))}, and ONNX files have at most 2 GB")
    sizes = sorted({1, len(samples), *batches}) if dynamic else [len(samples)]
    difference = _difference(prediction, data, samples, sizes) if checked else None
    with replacing(path) as file:
        file.write(data)
    return difference


def _check_batched(prediction: Prediction, samples: np.ndarray, outputs: Sequence[np.ndarray]) -> None:
    """Raises ValueError where a batch of one is not treated as any other: ``x.squeeze()`` takes its axis away."""
    single = outputs if len(samples) == 1 else prediction.eager(samples[:1])
    several = prediction.eager(np.resize(samples, (_BATCHES[0], *samples.shape[1:])))
    if [one.ndim for one in single] != [two.ndim for two in several]:
        shapes = ", ".join(f"{one.shape} for one sample, {two.shape} for two"
                           for one, two in zip(single, several, strict=False))  # fmt: skip
        raise ValueError(
            f"{prediction.function}: the outputs have other axes for a batch of one ({shapes}); "
            "name the axis in squeeze, or export with dynamic_batch=False"
        )


class _Writer:
    """Writes the passes of one model for several sizes of the batch as one graph."""

    def __init__(self, passes: Sequence[Recorded], batches: Sequence[int], samples: np.ndarray, names: Sequence[str]):
        self.passes, self.batches, self.names, self.samples = passes, batches, names, samples
        self.function = passes[0].function
        size: Length = Affine(1, 0) if len(batches) > 1 else batches[0]
        if samples.dtype.name not in protobuf.DTYPES:
            raise TypeError(f"{self.function}: example is of dtype {samples.dtype.name}, which is not exported")
        self.graph = Graph(Value("input", samples.dtype.name, (size, *samples.shape[1:])))
        self.known: dict[tuple[Any, ...], Value] = {}  # what lies where
        steps = [(call.op and call.op.name) for call in passes[0].calls]
        for other in passes[1:]:
            theirs = [(call.op and call.op.name) for call in other.calls]
            if theirs != steps:
                at = next((k for k, (a, b) in enumerate(zip(steps, theirs, strict=False)) if a != b), len(steps) - 1)
                why = "the pass goes another way for another size of the batch; export with dynamic_batch=False"
                self._refuse(passes[0].calls[at], why)

    def _refuse(self, call: Call, why: str) -> Any:
        raise ValueError(f"{self.function}: {call.where} cannot be exported to ONNX: {why}")

    def data(self, name: str) -> bytes:
        """The file."""
        calls = zip(*(p.calls for p in self.passes), strict=True)
        for same in calls:
            self._write(same)
        outputs = []
        for name_of_output, arrays in zip(self.names, zip(*(p.results for p in self.passes), strict=True), strict=True):
            self.graph.prefix = "result"
            last = self.known[self._key(arrays)]
            renamed = self.graph.fresh(name_of_output)
            self.graph.nodes.append(protobuf.node("Identity", [last.name], [renamed], renamed, ""))
            outputs.append(protobuf.value(renamed, last.dtype, self._declared(last.shape)))
        source = self.graph.source
        inputs = [protobuf.value(source.name, source.dtype, self._declared(source.shape))]
        graph = self.graph
        return protobuf.model(graph.nodes, graph.constants, inputs, outputs, name, OPSET, dlcore.__version__)

    @staticmethod
    def _declared(shape: Sequence[Length]) -> list[int | str]:
        def text(n: Affine) -> str:
            scaled = "batch" if n.slope == 1 else f"{n.slope}*batch"
            return scaled if n.offset == 0 else f"{scaled}{n.offset:+d}"

        return [text(n) if isinstance(n, Affine) else n for n in shape]

    # -- lengths and values --------------------------------------------------------------------------------------------

    def _merged(self, call: Call, values: Sequence[Any], what: str) -> Any:
        """What attributes of the passes are together, whole numbers as lengths."""
        first = values[0]
        if isinstance(first, tuple):
            if len({len(v) for v in values}) == 1:
                return tuple(self._merged(call, part, what) for part in zip(*values, strict=True))
        elif type(first) is int:
            found = affine(values, self.batches)
            if found is not None:
                return found
        elif all(v == first for v in values):
            return first
        why = f"{what} depends on the size of the batch in another way than linearly"
        return self._refuse(call, f"{why}: {_listed(values)} for {_listed(self.batches)}")

    @staticmethod
    def _key(arrays: Sequence[Array]) -> tuple[Any, ...]:
        return tuple((a.region, a.offset, a.shape, a.strides, a.dtype) for a in arrays)

    def _value(self, call: Call, arrays: Sequence[Array]) -> Value:
        """The tensor that a call reads."""
        first = arrays[0]
        if first.region < 0:
            numbers = [p.number(a) for p, a in zip(self.passes, arrays, strict=True)]
            if all(n.tobytes() == numbers[0].tobytes() for n in numbers):
                return self.graph.constant(numbers[0])
            whole = [int(n) for n in numbers if np.isfinite(n) and n == np.floor(n)]
            found = affine(whole, self.batches) if len(whole) == len(numbers) else None
            if found is None:
                why = "a number among its operands depends on the size of the batch"
                return self._refuse(call, f"{why}: {_listed(numbers)} for {_listed(self.batches)}")
            return self.graph.number(found, first.dtype.name)
        key = self._key(arrays)
        if key in self.known:
            return self.known[key]
        kind = self.passes[0].kinds[first.region]
        if kind == "input":
            shape = self._merged(call, [a.shape for a in arrays], "a shape")
            if shape != self.graph.source.shape or not first.contiguous or first.offset:
                self._refuse(call, "it reads a part of the input that no operation has made")
            self.known[key] = self.graph.source
            return self.graph.source
        if kind != "outside":
            self._refuse(call, "it reads memory through a view made before that was written in place")
        constants = [p.constant(a) for p, a in zip(self.passes, arrays, strict=True)]
        if any(c.values.tobytes() != constants[0].values.tobytes() for c in constants):
            self._refuse(call, "a tensor from before the pass is another one for another size of the batch")
        if constants[0].values.dtype.name not in protobuf.DTYPES:
            self._refuse(call, f"it reads a tensor of dtype {constants[0].values.dtype.name}")
        self.known[key] = self.graph.constant(constants[0].values, constants[0].name)
        return self.known[key]

    # -- one call ------------------------------------------------------------------------------------------------------

    def _write(self, same: Sequence[Call]) -> None:
        call, graph = same[0], self.graph
        op = call.op
        graph.prefix, graph.line = "copy" if op is None else op.name, call.line
        if op is not None and op.name not in FORMS:
            self._refuse(call, refusal(op) or "the operation has no form there")
        outs = self._outputs(same)
        out = outs[0]
        shape = self._merged(call, [a.shape for a in out], "a shape")
        if out[0].dtype.name not in protobuf.DTYPES:
            self._refuse(call, f"its result is of dtype {out[0].dtype.name}; cast to float32")
        operands = [None if a[0] is None else self._value(call, a) for a in self._read(same)]
        if op is None:
            made = graph.add("Identity", operands[0])
        else:
            attrs = self._merged(call, [c.attrs for c in same], "an attribute")
            named = dict(zip(op.input_names, op.nested(operands, call.lengths), strict=True))
            given = {"name": op.name, **dict(zip(op.attribute_names, attrs, strict=True))}
            try:
                made = FORMS[op.name](Node(graph, named, given, out[0].dtype.name, shape))
            except ValueError as error:
                self._refuse(call, str(error))
        several = made if isinstance(made, tuple) else (made,)
        if len(outs) != len(several):
            self._refuse(call, f"it has {len(outs)} results")
        for arrays, value in zip(outs, several, strict=True):
            if op is None or op.view is None:
                self._forget(call, arrays)
            self.known[self._key(arrays)] = value

    def _outputs(self, same: Sequence[Call]) -> list[Any]:
        """The results; of a call that has none and fills an operand, as ``arange`` does, that operand."""
        results = [arrays for arrays in zip(*(c.outputs for c in same), strict=True) if arrays[0] is not None]
        return results or list(zip(*(p.written(c) for p, c in zip(self.passes, same, strict=True)), strict=True))

    @staticmethod
    def _read(same: Sequence[Call]) -> list[Any]:
        """The operands that are read."""
        inputs = list(zip(*(c.inputs for c in same), strict=True))
        unread = () if same[0].op is None else _UNREAD.get(same[0].op.name, ())
        return [(None,) if k in unread else arrays for k, arrays in enumerate(inputs)]

    def _forget(self, call: Call, out: Sequence[Array]) -> None:
        """Memory is written: what was read from it before is no longer there."""
        region = out[0].region
        stale = [key for key in self.known if key[0][0] == region]
        whole = out[0].contiguous and out[0].bytes == self.passes[0].sizes[region]
        if stale and not whole:
            self._refuse(call, "a part of a tensor is written in place; build the result with where or concat")
        for key in stale:
            del self.known[key]


_UNREAD = {"assign": (0,), "ramp": (0,), "resample": (2, 4)}  # what is written over, and the tables of gradients


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))


# ---- the check -------------------------------------------------------------------------------------------------------


def _difference(prediction: Prediction, data: bytes, samples: np.ndarray, sizes: Sequence[int]) -> float | None:
    """The largest difference of what onnxruntime computes; raises ValueError where it is too large."""
    name = prediction.function
    try:
        import onnxruntime
    except ImportError:
        return None
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what it has to say comes with the exception
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of its own types
        raise ValueError(
            f"{name}: onnxruntime does not load the file (check=False writes it all the same): {error}"
        ) from None
    largest = 0.0
    for size in sizes:
        batch = np.resize(samples, (size, *samples.shape[1:]))
        ours = prediction.eager(batch)
        try:
            theirs = session.run(None, {"input": batch})
        except Exception as error:  # of its own types
            raise ValueError(f"{name}: onnxruntime does not run the file for a batch of {size}: {error}") from None
        for label, a, b in zip(prediction.names, ours, theirs, strict=True):
            largest = max(largest, _compared(f"{name}: {label}, a batch of {size}", a, np.asarray(b)))
    return largest


def _compared(where: str, ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        raise ValueError(
            f"{where}: onnxruntime gives {theirs.dtype.name} {theirs.shape}, dlcore {ours.dtype.name} {ours.shape}"
        )
    if ours.dtype.kind != "f":
        if not np.array_equal(ours, theirs):
            raise ValueError(f"{where}: onnxruntime gives other values than dlcore")
        return 0.0
    if not np.isfinite(ours).all():
        warnings.warn(f"{where}: outputs for the example are not finite, so that they prove little", stacklevel=4)
    with np.errstate(invalid="ignore"):
        apart = np.where((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)), 0.0, np.abs(ours - theirs))
    worst = float(apart.max(initial=0.0))
    scale = float(np.abs(ours[np.isfinite(ours)]).max(initial=1.0))
    if not worst <= (1e-9 if ours.dtype == np.float64 else 1e-4) * max(1.0, scale):
        raise ValueError(f"{where}: onnxruntime's values differ from dlcore's by up to {worst:.3g}")
    return worst
