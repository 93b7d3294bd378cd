"""`fit`, `evaluate` and `predict`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from dlcore._autograd import no_grad
from dlcore._tensor import Tensor
from dlcore.data import Batches, DataLoader, Dataset, Subset, TensorDataset
from dlcore.data.dataset import flatten
from dlcore.metrics import Meter
from dlcore.nn.module import Module, device_of
from dlcore.ops.movement import concat
from dlcore.optim import Optimizer
from dlcore.train.callbacks import Checkpoint, Each
from dlcore.train.history import History
from dlcore.train.interrupt import Interrupt
from dlcore.train.passes import Evaluation, Training, kept_modes
from dlcore.train.run import Callback, Run

__all__ = ["evaluate", "fit", "predict"]

Transform = Callable[[Any], Any]
_EVALUATION_BATCH = 512


def fit(
    model: Module,
    train: Any,
    validation: Any = None,
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: Optimizer,
    epochs: int = 10,
    batch_size: int = 32,
    transform: Transform | None = None,
    metrics: Iterable[Any] = (),
    callbacks: Iterable[Callback | Callable[[Run], Any]] = (),
    clip_norm: float | None = None,
    shuffle: bool = True,
    seed: int = 0,
    progress: bool | None = None,
    record: bool | str = True,
) -> History:
    """Train ``model`` and return the :class:`History`.

    train, validation: data sets, or tuples of arrays (inputs, targets). loss: a function or module of (outputs,
    targets) that gives the mean over a batch. transform: applied to each batch of inputs, and kept as
    ``model.preprocessing``. metrics: names, Metrics or functions, measured in training and validation. clip_norm: the
    largest norm that all gradients together may have. shuffle: the samples come in a new order each epoch, from
    ``seed``; the same seed gives the same run. progress: whether to show a bar (default: on a terminal).

    record: whether the step is recorded and replayed (`dlcore.capture`), which is many times faster for small models. A
    step that depends on what a replay would not see runs eagerly all the same; ``history.reason`` tells why. "check":
    the first step of each epoch, and each after a callback's ``on_batch_end``, runs eagerly and is compared with the
    recording; where they differ, a warning is given and training goes on eagerly.

    Ctrl-C takes effect when the current step or file is finished: callbacks end properly (``Checkpoint`` saves,
    ``EarlyStopping`` restores), then KeyboardInterrupt is raised, with the History as its attribute ``history``. A
    second Ctrl-C acts at once.

    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    >>> model = nn.Linear(1, 1)
    >>> optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> history = dl.fit(model, (x, 3 * x + 1), loss=dl.mse_loss, optimizer=optimizer, epochs=100)
    >>> [round(p.item(), 2) for p in model.parameters()]
    [3.0, 1.0]
    """
    data = _supervised(train, "fit")
    if epochs < 0:
        raise ValueError(f"fit: epochs is negative: {epochs}")
    trained = {id(p) for p in model.parameters()}
    if not any(id(p) in trained for group in optimizer.param_groups for p in group["params"]):
        raise ValueError("fit: the optimizer holds none of the model's parameters")
    if batch_size < 1:
        raise ValueError(f"fit: batch_size must be at least 1, not {batch_size}")
    if record not in (True, False, "check"):
        raise ValueError(f'fit: record is True, False or "check", not {record!r}')
    meter, device = Meter(metrics), device_of(model)
    batches = Batches(data, transform, shuffle, seed, device)
    training = Training(model, batches, batch_size, loss, optimizer, clip_norm, meter)
    if not record:
        training.step.run_eagerly("fit was called with record=False")
    run = Run(model, optimizer, len(training), epochs, meter)
    scoring = None
    if validation is not None:
        held_out = Batches(_supervised(validation, "fit"), transform, device=device)
        size = max(batch_size, _EVALUATION_BATCH)  # there is memory for more samples where no gradients are kept
        scoring = Evaluation(model, held_out, size, loss, metrics=meter.metrics)
        run.names += tuple(f"val_{name}" for name in run.names)
    run.callbacks = [c if isinstance(c, Callback) else Each(c) for c in callbacks]
    if sys.stdout.isatty() if progress is None else progress:
        from dlcore.train.progress import ProgressBar

        run.callbacks.append(ProgressBar())  # as the last one: others may find an error before a bar is drawn
    with kept_modes(model), Interrupt() as interrupt:
        model.train()
        training.check_memory()
        run.call("on_train_begin")
        model.preprocessing = transform
        _run_epochs(run, training, scoring, interrupt, record == "check")
    return run.history


def _run_epochs(
    run: Run, training: Training, scoring: Evaluation | None, interrupt: Interrupt, check: bool
) -> None:
    """Run all epochs, and call ``on_train_end`` whatever happens."""
    interrupted = False
    try:
        for epoch in range(1, run.epochs + 1):
            start = time.perf_counter()
            run.epoch = epoch
            run.call("on_epoch_begin")
            _train_epoch(run, training, interrupt, check)
            run.history.recorded, run.history.reason = training.step.recorded, training.step.failure
            run.logs = {"epoch": run.epoch, **run.meter.compute()}
            if scoring is not None:
                scores = scoring.scores(lambda done: interrupt.check())
                run.logs |= {f"val_{name}": value for name, value in scores.items()}
            run.logs["seconds"] = time.perf_counter() - start
            run.history.epochs.append(run.logs)
            run.call("on_epoch_end")
            interrupt.check()
            if run.stop:
                run.history.stopped_early = run.epoch < run.epochs
                break
    except KeyboardInterrupt:
        interrupted = run.history.interrupted = True
    finally:
        run.history.recorded, run.history.reason = training.step.recorded, training.step.failure
        run.call("on_train_end")
    if interrupted:
        _raise_interrupt(run)


def _train_epoch(run: Run, training: Training, interrupt: Interrupt, check: bool) -> None:
    watchers = [c for c in run.callbacks if type(c).on_batch_end is not Callback.on_batch_end]

    def after(done: int) -> None:
        run.batch = done
        for callback in watchers:
            callback.on_batch_end(run)
        if check and singly:
            training.step.compare_next()
        interrupt.check()

    run.model.train()
    run.meter.reset()
    singly = any(c.every_batch for c in watchers)
    if check:
        training.step.compare_next()
    training.run(run.epoch - 1, after, singly)


def _raise_interrupt(run: Run) -> None:
    saved = [str(c.path) for c in run.callbacks if isinstance(c, Checkpoint) and c.saved]
    error = KeyboardInterrupt(
        f"fit: stopped in epoch {run.epoch} of {run.epochs} after {run.batch} of {run.batches} batches"
        + (f"; the model is saved in {', '.join(saved)}" if saved else "")
    )
    error.history = run.history  # type: ignore[attr-defined]
    raise error


def evaluate(
    model: Module,
    data: Any,
    *,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    metrics: Iterable[Any] = (),
    batch_size: int = _EVALUATION_BATCH,
    transform: Transform | str | None = "fitted",
) -> dict[str, Any]:
    """Loss and metrics over ``data`` (a data set or a tuple of arrays) in evaluation mode: {"loss": ..., ...}.

    Every sample counts the same, also in a last batch that is not full. transform: applied to each batch of inputs;
    "fitted" (the default) stands for ``model.preprocessing``.
    """
    data = _supervised(data, "evaluate")
    if batch_size < 1:
        raise ValueError(f"evaluate: batch_size must be at least 1, not {batch_size}")
    batches = Batches(data, _chosen_transform(model, transform), device=device_of(model))
    return Evaluation(model, batches, batch_size, loss, metrics).scores()


def predict(
    model: Module,
    inputs: Any,
    *,
    batch_size: int = _EVALUATION_BATCH,
    transform: Transform | str | None = "fitted",
) -> Tensor:
    """The model's outputs for ``inputs`` (an array, a Tensor, or a data set, whose targets are ignored).

    The model runs in evaluation mode, without gradients, in batches; the outputs are one Tensor (N, ...). transform:
    applied to each batch of inputs; "fitted" (the default) stands for ``model.preprocessing``.
    """
    data = TensorDataset(inputs) if isinstance(inputs, Tensor | np.ndarray | list) else as_dataset(inputs)
    loader = DataLoader(data, batch_size, transform=_chosen_transform(model, transform), device=device_of(model))
    with kept_modes(model), no_grad():
        model.eval()
        outputs = [model(x) for x, *_ in loader]
    if not outputs:
        raise ValueError("predict: the data is empty")
    return outputs[0] if len(outputs) == 1 else concat(outputs, 0)


def as_dataset(data: Any) -> Any:
    """``data`` as a data set: one already, or a tuple of arrays."""
    if isinstance(data, tuple):
        return TensorDataset(*data)
    if isinstance(data, Subset | Dataset) and not isinstance(data, Tensor | np.ndarray):
        return data
    raise TypeError(f"a data set or a tuple (inputs, targets) expected, not {type(data).__name__}")


def _supervised(data: Any, name: str) -> Any:
    """``data`` as a data set of inputs and targets with at least one sample; raises where it is none."""
    data = as_dataset(data)
    if not len(data):
        raise ValueError(f"{name}: the data is empty")
    base, _ = flatten(data)
    if isinstance(base, TensorDataset) and len(base.arrays) < 2:
        raise ValueError(f"{name}: the data has inputs but no targets: {base!r}")
    return data


def _chosen_transform(model: Module, transform: Any) -> Any:
    if isinstance(transform, str):
        if transform != "fitted":
            raise ValueError(f'transform is a function, None or "fitted", not {transform!r}')
        return model.preprocessing
    return transform
