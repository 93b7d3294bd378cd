"""`Meter`: metrics over many batches, on the device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dlcore._arguments import listed
from dlcore._autograd import no_grad
from dlcore._recordable import Recordable
from dlcore._tensor import Tensor, arange, tensor, zeros
from dlcore.dtypes import float64, int64
from dlcore.errors import ShapeError
from dlcore.metrics.base import FunctionMetric, Metric, rows_of
from dlcore.metrics.classes import OfLabels
from dlcore.metrics.names import get
from dlcore.metrics.ranks import Kept
from dlcore.ops.elementwise import where

__all__ = ["Meter"]

Shape = tuple[int, ...]
_OWN: list[Shape] = [(), (), ()]  # what a Meter adds up besides: batches, loss * counted, what the losses counted


class Meter(Recordable):
    """Adds up metrics over batches, without reading anything back before ``compute``.

    The ``loss`` given to ``update`` is averaged over what it counts, so that a smaller last batch, or one with ignored
    labels, counts for what it holds. ``ignore_index``: the label that metrics of labels given by name leave out.
    All sums lie side by side in one float64 tensor, made at the first ``update`` and kept for the Meter's life, so that
    a recorded step that updates the meter goes on doing so after ``reset``. What metrics keep of each sample lies in
    tensors for ``samples`` of them; without that number it is read back batch by batch.
    """

    def __init__(
        self, metrics: Iterable[Any] | None = (), ignore_index: int | None = -100, samples: int | None = None
    ):
        given = listed(metrics, "metrics:", "names, Metrics or functions", optional=True)
        self.metrics = [get(m, ignore_index) for m in given]
        names = [m.name for m in self.metrics]
        if len(set(names)) != len(names) or "loss" in names:
            raise ValueError(f"metrics: names must differ from each other and from 'loss': {', '.join(names)}")
        self.sample: tuple[Any, ...] = ()
        """Of the first batch: the shapes of one sample's outputs and targets, and the targets' dtype; () where the
        outputs are several tensors."""
        self._sums: Tensor | None = None
        self._shapes: list[list[Shape]] = []  # of each metric's sums
        self._parts: list[list[Tensor]] = []  # views of that tensor: _OWN, then the sums of each metric
        self._kept = [_Rows(samples) if isinstance(metric, Kept) else None for metric in self.metrics]

    @property
    def names(self) -> tuple[str, ...]:
        """Those of what ``compute`` gives where losses are given to ``update``."""
        return "loss", *(m.name for m in self.metrics)

    def reset(self) -> None:
        """Forget all batches."""
        if self._sums is not None:
            self._sums.zero_()
        for rows in filter(None, self._kept):
            rows.reset()

    def update(
        self, outputs: Any, targets: Tensor, loss: Tensor | None = None, counted: Tensor | float | None = None,
        probabilities: bool = False,
    ) -> None:  # fmt: skip
        """Add a batch. Raises ShapeError where a metric's sums have other shapes than in earlier batches.

        ``counted``: how much the ``loss`` is the mean of, the sum of its weights (default: the number of samples). A
        loss of nothing, which is NaN, adds nothing. ``probabilities``: whether ``targets`` are those of classes, (N, C,
        ...), as `cross_entropy` takes them; metrics of labels then get the likeliest class of each.
        """
        with no_grad():
            outputs = detached(outputs)
            if not isinstance(outputs, Tensor):
                _check_takes(self.metrics, outputs)
            found: list[list[Any]] = []
            of_labels = probabilities and any(isinstance(metric, OfLabels) for metric in self.metrics)
            labels = targets.argmax(axis=1) if of_labels else targets
            for metric, rows in zip(self.metrics, self._kept, strict=True):
                wanted = labels if isinstance(metric, OfLabels) else targets
                if rows is not None:
                    rows.add(metric.keep(outputs, wanted))  # type: ignore[attr-defined]
                found.append([] if rows is not None else [_as_sum(s) for s in metric.sums(outputs, wanted)])
            shapes = [[s.shape if isinstance(s, Tensor) else () for s in sums] for sums in found]
            if self._sums is None or shapes != self._shapes:
                self._prepare(shapes, targets.device)
                if isinstance(outputs, Tensor):
                    self.sample = outputs.shape[1:], targets.shape[1:], targets.dtype
            (batches, total, samples), *parts = self._parts
            batches += 1
            if loss is not None:
                weight = rows_of(outputs) if counted is None else counted
                weighted = loss.detach().astype(float64) * weight
                if isinstance(weight, Tensor):
                    weighted = where(weight > 0, weighted, 0.0)
                total += weighted.reshape(()) if weighted.ndim else weighted
                samples += weight
            for metric, part, sums in zip(self.metrics, parts, found, strict=True):
                if sums:
                    metric.merge(part, sums)

    def _prepare(self, shapes: list[list[Shape]], device: Any) -> None:
        """Makes the tensor for sums of these shapes; raises ShapeError where it is there already, for other ones."""
        if self._sums is not None:
            changed = zip(self.metrics, self._shapes, shapes, strict=True)
            name, before, now = next((m.name, a, b) for m, a, b in changed if a != b)
            raise ShapeError(f"{name}: a batch gives sums of shapes {now}, earlier ones gave {before}")
        size = sum(math.prod(shape) for group in (_OWN, *shapes) for shape in group)
        self._sums = zeros(size, dtype=float64, device=device)
        self._shapes, self._parts = shapes, _split(self._sums, (_OWN, *shapes))

    def compute(self) -> dict[str, Any]:
        """Name -> value over all batches so far, "loss" first where one was given. Waits for the device."""
        if self._sums is None:
            return {}
        (batches, total, samples), *sums = _split(self._sums.numpy().copy(), (_OWN, *self._shapes))
        if not batches:
            return {}
        result = {"loss": float(total / samples)} if samples else {}
        for metric, values, rows in zip(self.metrics, sums, self._kept, strict=True):
            result[metric.name] = metric.value(*((v[()] for v in values) if rows is None else (rows.read(),)))
        return result

    def state_dict(self) -> dict[str, Any]:
        """The sums so far, for a run that goes on."""
        shapes = [[list(shape) for shape in group] for group in self._shapes]
        kept = [None if rows is None else rows.read() for rows in self._kept]
        return {"sums": self._sums, "shapes": shapes, "kept": kept, "names": list(self.names)}

    def load_state_dict(self, state: Mapping[str, Any], device: Any = None) -> None:
        """Go on from what ``state_dict`` gave, on ``device``. Raises ShapeError where it is of other metrics."""
        if state["sums"] is None:
            self.reset()
            return
        shapes = [[tuple(shape) for shape in group] for group in state["shapes"]]
        if len(shapes) != len(self.metrics):
            raise ShapeError(f"metrics: {len(shapes)} in the state, {len(self.metrics)} here")
        if self._sums is None or shapes != self._shapes:
            self._prepare(shapes, device)
        assert self._sums is not None
        self._sums.copy_(state["sums"])
        for rows, kept in zip(self._kept, state["kept"], strict=True):
            if rows is not None:
                rows.reset()
                rows.add(tensor(kept, device=device))

    def recorded_state(self) -> Any:
        """The tensors of all sums and rows; recorded steps go on adding to them."""
        return self._sums, tuple(rows.tensors for rows in self._kept if rows is not None)

    def recorded_parts(self) -> list[Metric]:
        """The metrics, which may read variables of their own."""
        return self.metrics


class _Rows:
    """What a metric keeps of each sample: rows of a tensor for ``room`` samples, or arrays, one for each batch."""

    def __init__(self, room: int | None):
        self.room = room
        self.tensors: tuple[Tensor, Tensor] | None = None  # the rows, and how many of them are used
        self.arrays: list[np.ndarray] = []

    def add(self, rows: Tensor) -> None:
        if self.room is None:
            self.arrays.append(np.array(rows.numpy()))
            return
        if self.tensors is None:
            every = zeros((self.room, rows.shape[1]), dtype=float64, device=rows.device)
            self.tensors = every, zeros((1,), dtype=int64, device=rows.device)
        every, used = self.tensors
        every[used + arange(rows.shape[0], device=rows.device)] = rows
        used += rows.shape[0]

    def read(self) -> np.ndarray:
        if self.tensors is not None:
            every, used = self.tensors
            return np.array(every[: int(used.item())].numpy())
        return np.concatenate(self.arrays) if self.arrays else np.zeros((0, 2))

    def reset(self) -> None:
        self.arrays.clear()
        if self.tensors is not None:
            self.tensors[1].zero_()


def _as_sum(x: Any) -> Any:
    """``x`` as a Tensor, or as a number, which needs no memory on the device."""
    if isinstance(x, Tensor):
        return x
    if isinstance(x, int | float):
        return float(x)
    array = np.asarray(x)
    return tensor(array) if array.ndim else float(array)


def _split(vector: Any, shapes: Sequence[Sequence[Shape]]) -> list[list[Any]]:
    """Views of ``vector`` in these shapes, one after the other."""
    parts: list[list[Any]] = []
    start = 0
    for group in shapes:
        parts.append([])
        for shape in group:
            end = start + math.prod(shape)
            parts[-1].append(vector[start:end].reshape(shape))
            start = end
    return parts


def detached(outputs: Any) -> Any:
    """The same values without their history; anything but tuples, lists and dicts of tensors stays as it is."""
    if isinstance(outputs, Tensor):
        return outputs.detach()
    if isinstance(outputs, Mapping):
        return {name: detached(part) for name, part in outputs.items()}
    if isinstance(outputs, tuple | list):
        return tuple(detached(part) for part in outputs)
    return outputs


def _check_takes(metrics: Iterable[Metric], outputs: Any) -> None:
    """Raises TypeError where one of dlcore's own metrics would get outputs that are several tensors."""
    for metric in metrics:
        if type(metric).__module__.startswith(__package__) and not isinstance(metric, FunctionMetric):
            raise TypeError(
                f"{metric.name}: the model returns a {type(outputs).__name__}, not one tensor; give a function that "
                f"chooses, such as lambda outputs, targets: dl.metrics.{metric.name}(outputs[0], targets)"
            )
