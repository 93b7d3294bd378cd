"""`predict`: a model's outputs for new data."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from threading import RLock
from typing import Any

import numpy as np

from dlcore import _C
from dlcore._arguments import instance, integer
from dlcore._autograd import no_grad
from dlcore._capture import Captured
from dlcore._tensor import Tensor, from_numpy, tensor
from dlcore.data import DataLoader
from dlcore.data.sources import as_dataset
from dlcore.data.transforms import apply, steps_of
from dlcore.errors import ShapeError
from dlcore.nn.module import Module, device_of
from dlcore.ops.movement import concat
from dlcore.train.fitted import Transform, chosen_transform, floating
from dlcore.train.modes import kept_modes

__all__ = ["predict"]

_BATCH = 512
_QUICK = 64  # samples, up to which calls are recorded
_CALLS = 8  # of one shape, before they are
_MISSING = object()
_MAKING = RLock()


def predict(
    model: Module,
    inputs: Any,
    *,
    batch_size: int = _BATCH,
    transform: Transform | str | None = "fitted",
) -> Any:
    """The model's outputs for ``inputs`` (an array, a Tensor, or a data set, whose targets are ignored).

    A model of several inputs takes them side by side, as ``fit`` does: ``predict(model, (a, b))``, or a data set whose
    first parts they are; how many it takes is the number of arguments of its ``forward`` without a default. The model
    runs in evaluation mode, without gradients, in batches; the outputs are one Tensor (N, ...), or what the
    model returns, tuples and dicts of such tensors. transform: applied to each batch of inputs; "fitted" (the default)
    stands for ``model.preprocessing``. Small inputs of a shape that comes again and again are recorded and replayed, as
    by `dlcore.capture`. Threads may predict with one model at once: it takes them in turn.
    """
    instance(model, Module, "predict: model", "a Module")
    size = integer(batch_size, "predict: batch_size", 1)
    plain = type(inputs) in (np.ndarray, Tensor) and inputs.ndim > 1 and 0 < len(inputs) <= min(_QUICK, size)
    if plain and isinstance(transform, str) and transform == "fitted":
        outputs = _quick(model, inputs)
        if outputs is not NotImplemented:
            return outputs
    data, chosen = chosen_transform(model, as_dataset(inputs, "predict: inputs"), transform, "predict")
    count = _inputs_of(model)
    if count > 1 and (parts := getattr(data, "parts", count)) < count:
        raise ShapeError(f"predict: the model takes {count} inputs, and the data have {parts} parts: {data!r}")
    loader = DataLoader(data, size, transform=chosen, device=device_of(model), dtype=floating(model))
    with _predictor(model).turn, kept_modes(model), no_grad():
        model.eval()
        batches = [_outputs(model, parts[:count]) for parts in loader]
    if not batches:
        raise ValueError("predict: the data is empty")
    return batches[0] if len(batches) == 1 else _joined(batches)


def _inputs_of(model: Module) -> int:
    """How many inputs the model takes: the arguments of its ``forward`` that have no default, at least one."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    arguments = inspect.signature(model.forward).parameters.values()
    return max(sum(p.kind in kinds and p.default is inspect.Parameter.empty for p in arguments), 1)


def _outputs(model: Module, inputs: Sequence[Tensor]) -> Any:
    """The outputs for a batch, one for each sample, in memory of their own: who gave the inputs may write to them."""
    x, outputs = inputs[0], model(*inputs)
    for given in inputs:
        outputs = _apart(outputs, given)
    for part in _tensors(outputs):
        if part.shape[:1] != x.shape[:1]:
            raise ShapeError(
                f"predict: a batch {x.shape} gives outputs {part.shape}, not one for each sample; inputs are (N, ...)"
            )
    return outputs


def _apart(outputs: Any, x: Tensor) -> Any:
    """``outputs``, of which those that lie in the memory of ``x`` are copied."""
    if isinstance(outputs, Tensor):
        begin, end = x.data_ptr, x.data_ptr + x.size * x.dtype.itemsize
        return outputs.clone() if outputs.size and begin <= outputs.data_ptr < end else outputs
    if isinstance(outputs, Mapping):
        return {name: _apart(part, x) for name, part in outputs.items()}
    if type(outputs) in (tuple, list):
        return type(outputs)(_apart(part, x) for part in outputs)
    return outputs


def _tensors(outputs: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, Mapping | tuple | list):
        for part in outputs.values() if isinstance(outputs, Mapping) else outputs:
            yield from _tensors(part)


def _joined(outputs: Sequence[Any]) -> Any:
    """The outputs of all batches as those of one."""
    first = outputs[0]
    if isinstance(first, Tensor):
        return concat(outputs, 0)
    if isinstance(first, Mapping):
        return {name: _joined([one[name] for one in outputs]) for name in first}
    if isinstance(first, tuple | list):
        return type(first)(_joined(parts) for parts in zip(*outputs, strict=True))
    raise TypeError(f"predict: the model returns a {type(first).__name__}, not tensors")


# ---- again and again ----------------------------------------------------------------------------------------------


class _Predictor:
    """The recorded predictions of a model, kept in an attribute of it. A copy of the model starts without any.

    ``turn``: a lock, by which threads predict with the model one after another: its mode is one for all of them.
    """

    def __init__(self, model: Module, turn: Any):
        self.turn = turn
        self.model, self.preprocessing = model, model.preprocessing
        self.device, self.dtype = device_of(model), floating(model)
        self.calls: dict[Any, int] = {}
        self.changes = -1
        self.states: list[dict[str, Any]] = []  # the attributes of all modules
        steps = steps_of(self.preprocessing)

        def prediction(x: Tensor) -> Any:
            x = apply(steps, x)
            if self.dtype is not None and x.dtype.is_float and x.dtype is not self.dtype:
                x = x.astype(self.dtype)
            return _outputs(model, (x,))

        self.captured = Captured(prediction, strict=False, depends=(model, *steps))

    def __reduce__(self) -> Any:
        return _no_predictor, ()

    def __call__(self, x: Tensor) -> Any:
        """The outputs for ``x`` by a recording, or NotImplemented where it is not yet worth one."""
        with self.turn:
            return self._called(x)

    def _called(self, x: Tensor) -> Any:
        if self.changes != _C.changes():
            self._look()
        with _Evaluation(self.states), no_grad():
            outputs = self.captured.replayed(x)
        if outputs is not NotImplemented:
            return outputs
        kind = x.shape, x.dtype
        self.calls[kind] = self.calls.get(kind, 0) + 1
        if self.calls[kind] < _CALLS or len(self.calls) > _CALLS or self.captured.failure is not None:
            return NotImplemented
        self._look()  # a plain list of modules may have changed, which only the recording has noticed
        with _Evaluation(self.states), no_grad():
            return self.captured(x)

    def _look(self) -> None:
        self.states = [vars(module) for module in self.model.modules()]
        self.device, self.dtype = device_of(self.model), floating(self.model)
        self.changes = _C.changes()


def _no_predictor() -> None:
    """What a copied or pickled model has in the place of its predictor."""
    return None


class _Evaluation:
    """Within the `with` block modules with these attributes are in evaluation mode.

    The attributes are set past `Recordable`, and put back: no recording has to look at the modules again for that.
    """

    def __init__(self, states: Sequence[dict[str, Any]]):
        self.states = states

    def __enter__(self) -> None:
        self.before = [state.get("training", _MISSING) for state in self.states]
        for state in self.states:
            state["training"] = False

    def __exit__(self, *_: object) -> None:
        for state, mode in zip(self.states, self.before, strict=True):
            if mode is _MISSING:
                del state["training"]
            else:
                state["training"] = mode


def _predictor(model: Module) -> _Predictor:
    """That of ``model`` as it is now."""
    kept = vars(model).get("_predictor")
    if kept is None or kept.model is not model or kept.preprocessing is not model.preprocessing:
        with _MAKING:
            before = vars(model).get("_predictor")
            turn = RLock() if before is None or before.model is not model else before.turn
            kept = vars(model)["_predictor"] = _Predictor(model, turn)
    return kept


def _quick(model: Module, inputs: Any) -> Any:
    """The outputs by a recording; NotImplemented where there is none for such inputs."""
    if _C.is_recording():
        return NotImplemented
    kept = _predictor(model)
    if isinstance(inputs, np.ndarray):
        plain = kept.device.type == "cpu" and inputs.flags.writeable and inputs.flags.c_contiguous
        try:
            x = from_numpy(inputs) if plain else tensor(inputs, device=kept.device)
        except (TypeError, ValueError):
            return NotImplemented
    else:
        x = inputs.detach()
        if x.device is not kept.device:
            return NotImplemented
    return kept(x)
