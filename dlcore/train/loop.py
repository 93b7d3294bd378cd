"""`fit`, `evaluate` and `predict`."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from dlcore._arguments import boolean, function, instance, integer, listed, number, shown
from dlcore._autograd import no_grad
from dlcore._tensor import Tensor, tensor
from dlcore.data import Batches, DataLoader
from dlcore.data.sources import as_dataset, inputs_and_targets
from dlcore.data.views import Prepared, flatten
from dlcore.dtypes import DType
from dlcore.errors import ShapeError
from dlcore.nn.module import Module, device_of
from dlcore.ops.elementwise import isfinite
from dlcore.ops.movement import concat
from dlcore.optim import Optimizer
from dlcore.random import drawn_seed
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
    seed: int | None = None,
    progress: bool | None = None,
    record: bool | str = True,
) -> History:
    """Train ``model`` and return the :class:`History`.

    train, validation: data sets, tuples of arrays (inputs, targets), or whatever else `dlcore.data.as_dataset` takes;
    floats of another dtype than the model's are cast to it. loss: a function or module of (outputs, targets) that gives
    the mean over a batch. One that is the mean over something else than the samples tells how much that is by a method
    ``counted(outputs, targets)``; dlcore's own leave out ignored labels and count class weights. transform: applied to
    each batch of inputs, after what the data set does itself (bytes of image data sets become 0..1); both are kept as
    ``model.preprocessing``, and are done to the validation too. metrics: names, Metrics or functions, measured in
    training and validation. clip_norm: the largest norm that all gradients together may have.
    shuffle: the samples come in a new order each epoch, from ``seed``. An explicit seed gives the same orders again;
    None draws one from dlcore's generator, so that a further ``fit`` goes on with other orders, and all is the same
    after the same ``manual_seed``. progress: whether to show a bar (default: on a terminal).

    A loss that is not finite is said once, with its epoch (RuntimeWarning, ``history.diverged``).

    record: whether the step is recorded and replayed (`dlcore.capture`), which is many times faster for small models. A
    step that depends on what a replay would not see runs eagerly all the same; ``history.reason`` tells why. "check":
    the first step of each epoch, and each after a callback's ``on_batch_end``, runs eagerly and is compared with the
    recording; where they differ, a warning is given and training goes on eagerly.

    Ctrl-C takes effect when the current step or file is finished: callbacks end properly (``Checkpoint`` saves,
    ``EarlyStopping`` restores), then KeyboardInterrupt is raised, with the History as its attribute ``history``. A
    second Ctrl-C acts at once, as one does before the first step. SIGTERM does the same, and ends with SystemExit.

    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    >>> model = nn.Linear(1, 1)
    >>> optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> history = dl.fit(model, (x, 3 * x + 1), loss=dl.mse_loss, optimizer=optimizer, epochs=100)
    >>> [round(p.item(), 2) for p in model.parameters()]
    [3.0, 1.0]
    """
    instance(model, Module, "fit: model", "a Module")
    instance(optimizer, Optimizer, "fit: optimizer", "an optimizer")
    data = inputs_and_targets(train, "fit: train")
    loss, transform = function(loss, "fit: loss"), _transform(transform, "fit")
    epochs, batch_size = integer(epochs, "fit: epochs", 0), integer(batch_size, "fit: batch_size", 1)
    shuffle, seed = boolean(shuffle, "fit: shuffle"), None if seed is None else integer(seed, "fit: seed")
    clip_norm = None if clip_norm is None else number(clip_norm, "fit: clip_norm")
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"fit: clip_norm must be above 0, not {clip_norm}")
    watching = [_callback(k, c) for k, c in enumerate(listed(callbacks, "fit: callbacks", "callbacks or functions"))]
    _check_parameters(model, optimizer)
    if not isinstance(record, bool) and not (isinstance(record, str) and record == "check"):
        raise ValueError(f'fit: record is True, False or "check", not {shown(record)}')
    metrics = listed(metrics, "fit: metrics", "names, Metrics or functions")
    device = device_of(model)
    order = (drawn_seed() if shuffle else 0) if seed is None else seed
    batches = Batches(data, transform, shuffle, order, device, dtype=_floating(model))
    training = Training(model, batches, batch_size, loss, optimizer, clip_norm, metrics)
    if not record:
        training.step.run_eagerly("fit was called with record=False")
    run = Run(model, optimizer, len(training), epochs, training.meter)
    scoring = None
    if validation is not None:
        given = inputs_and_targets(validation, "fit: validation")
        held_out = Batches(*_as_fitted(given, batches.preprocessing), device=device, dtype=batches.dtype)
        size = max(batch_size, _EVALUATION_BATCH)  # there is memory for more samples where no gradients are kept
        scoring = Evaluation(model, held_out, size, loss, metrics)
        run.names += tuple(f"val_{name}" for name in run.names)
    run.callbacks = watching
    if sys.stdout.isatty() if progress is None else progress:
        from dlcore.train.progress import ProgressBar

        run.callbacks.append(ProgressBar())  # as the last one: others may find an error before a bar is drawn
    with kept_modes(model), Interrupt(run.history) as interrupt:
        model.train()
        training.check_memory()
        interrupt.hold()  # so that what on_train_begin begins, a bar for one, is always ended by on_train_end
        run.call("on_train_begin")
        model.preprocessing = batches.preprocessing
        _run_epochs(run, training, scoring, interrupt, record == "check")
    return run.history


def _check_parameters(model: Module, optimizer: Optimizer) -> None:
    """Raises ValueError where the optimizer trains nothing of the model; warns where it holds what was replaced."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    own = {id(p) for p in model.parameters()}
    if not held & own:
        raise ValueError("fit: the optimizer holds none of the model's parameters")
    missing = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in held]
    if missing and held - own:
        warnings.warn(
            f"fit: the optimizer holds parameters that the model has not, and lacks {', '.join(missing[:4])}, which "
            "will not be trained; make the optimizer after the last change of the model",
            RuntimeWarning,
            stacklevel=3,
        )


def _run_epochs(run: Run, training: Training, scoring: Evaluation | None, interrupt: Interrupt, check: bool) -> None:
    """Run all epochs, and call ``on_train_end`` whatever happens."""
    interrupted = False
    try:
        interrupt.check()
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
            _note_divergence(run, training.batches)
            if epoch == 1:
                _note_broadcasting(training)
            run.history.epochs.append(run.logs)
            run.call("on_epoch_end")
            interrupt.check()
            if run.stop:
                run.history.stopped_early = run.epoch < run.epochs
                break
    except (KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, SystemExit) and not interrupt.terminated:
            raise  # of a callback
        interrupted = run.history.interrupted = True
    finally:
        run.history.recorded, run.history.reason = training.step.recorded, training.step.failure
        run.call("on_train_end")
    if interrupted:
        _raise_interrupt(run, interrupt)


def _note_divergence(run: Run, batches: Batches) -> None:
    """Says once that a loss is not finite, and whether the data are not."""
    names = [name for name in ("loss", "val_loss") if not math.isfinite(run.logs.get(name, 0.0))]
    if not names or run.history.diverged is not None:
        return
    run.history.diverged = run.epoch
    base, _ = flatten(batches.dataset)
    arrays = [] if batches.host else list(zip(("inputs", "targets"), base.on(batches.device), strict=False))
    bad = [name for name, t in arrays if t.dtype.is_float and not bool(isfinite(t).all())]
    cause = f"the {' and the '.join(bad)} hold NaN or infinities" if bad else "the training has diverged"
    text = f"fit: {names[0]} is {run.logs[names[0]]} in epoch {run.epoch}: {cause}"
    warnings.warn(text, RuntimeWarning, stacklevel=4)


def _note_broadcasting(training: Training) -> None:
    """Says that a loss of the user's subtracts outputs (N, 1) and targets (N,) as all pairs of samples."""
    outputs, targets, dtype = training.meter.sample
    if not dtype.is_float or {outputs, targets} != {(1,), ()}:
        return
    x, y = tensor([1.0, 2.0, 4.0]), tensor([3.0, 5.0, 9.0], dtype)
    try:
        with no_grad():
            given = training.loss(x.reshape((3, *outputs)), y.reshape((3, *targets)))
            alike = training.loss(x, y)
    except (ValueError, TypeError, IndexError):
        return  # it wants outputs of just this shape
    if given.tolist() != alike.tolist():
        shapes = "outputs (N, 1) and targets (N,)" if outputs else "outputs (N,) and targets (N, 1)"
        text = f"fit: {shapes} differ, and the loss broadcasts them to all pairs of samples: reshape one of them"
        warnings.warn(text, RuntimeWarning, stacklevel=4)


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


def _raise_interrupt(run: Run, interrupt: Interrupt) -> None:
    saved = [str(c.path) for c in run.callbacks if isinstance(c, Checkpoint) and c.saved]
    error = interrupt.error(
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
    instance(model, Module, "evaluate: model", "a Module")
    data, size = inputs_and_targets(data, "evaluate: data"), integer(batch_size, "evaluate: batch_size", 1)
    measured = listed(metrics, "evaluate: metrics", "names, Metrics or functions")
    data, chosen = _chosen_transform(model, data, transform, "evaluate")
    batches = Batches(data, chosen, device=device_of(model), dtype=_floating(model))
    return Evaluation(
        model, batches, size, loss if loss is None else function(loss, "evaluate: loss"), measured
    ).scores()


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
    instance(model, Module, "predict: model", "a Module")
    size = integer(batch_size, "predict: batch_size", 1)
    data, chosen = _chosen_transform(model, as_dataset(inputs, "predict: inputs"), transform, "predict")
    loader = DataLoader(data, size, transform=chosen, device=device_of(model), dtype=_floating(model))
    with kept_modes(model), no_grad():
        model.eval()
        outputs = [_outputs(model, x) for x, *_ in loader]
    if not outputs:
        raise ValueError("predict: the data is empty")
    return outputs[0] if len(outputs) == 1 else concat(outputs, 0)


def _outputs(model: Module, x: Tensor) -> Tensor:
    """The outputs for the batch ``x``, one for each sample."""
    outputs = model(x)
    if isinstance(outputs, Tensor) and outputs.shape[:1] != x.shape[:1]:
        raise ShapeError(
            f"predict: a batch {x.shape} gives outputs {outputs.shape}, not one for each sample; inputs are (N, ...)"
        )
    return outputs


def _floating(model: Module) -> DType | None:
    """The floating-point dtype of the model, to which data are cast; None where it has no parameters of one."""
    return next((p.dtype for p in model.parameters() if p.dtype.is_float), None)


def _chosen_transform(model: Module, dataset: Any, transform: Any, name: str) -> tuple[Any, Any]:
    """The data set and the transform of its inputs: with "fitted", that of the model stands for the data set's own."""
    if not isinstance(transform, str):
        return dataset, _transform(transform, name)
    if transform != "fitted":
        raise ValueError(f'{name}: transform is a function, None or "fitted", not {shown(transform)}')
    return _as_fitted(dataset, model.preprocessing)


def _as_fitted(dataset: Any, preprocessing: Any) -> tuple[Any, Any]:
    """The data set and the transform of its inputs, which stands for what the data set does itself if there is one."""
    return (dataset, None) if preprocessing is None else (Prepared(dataset, None), preprocessing)


def _transform(value: Any, name: str) -> Any:
    return None if value is None else function(value, f"{name}: transform")


def _callback(k: int, value: Any) -> Callback:
    if isinstance(value, Callback):
        return value
    return Each(function(value, f"fit: callbacks[{k}]"))
