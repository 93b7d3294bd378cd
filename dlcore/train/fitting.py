"""`fit`: what a run is given, checked and put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from dlcore import optim
from dlcore._arguments import boolean, choice, function, instance, integer, listed, number, shown
from dlcore._tensor import Tensor, tensor
from dlcore.data import Batches
from dlcore.data.views import flatten
from dlcore.dtypes import DType, as_dtype, bfloat16, float16
from dlcore.errors import ShapeError
from dlcore.nn.module import Module, device_of
from dlcore.optim import GradScaler, Optimizer, schedules
from dlcore.optim.schedules import Schedule
from dlcore.random import drawn_seed
from dlcore.train import mistakes
from dlcore.train.average import Average, as_average
from dlcore.train.callbacks import Each
from dlcore.train.evaluation import EVALUATION_BATCH, samples
from dlcore.train.fitted import Transform, as_fitted, as_transform, floating
from dlcore.train.gate import Gate
from dlcore.train.history import History
from dlcore.train.interrupt import Interrupt
from dlcore.train.loop import Loop
from dlcore.train.modes import kept_modes
from dlcore.train.objective import Objective, loss_function, numbers, weights_of_classes
from dlcore.train.passes import CustomTraining, Evaluation, SupervisedTraining, Training
from dlcore.train.progress import display
from dlcore.train.run import Callback, Run
from dlcore.train.sentinel import Sentinel

__all__ = ["fit"]


def fit(
    model: Module,
    train: Any,
    validation: Any = None,
    *,
    loss: Callable[..., Tensor] | str | None = None,
    optimizer: Optimizer | Sequence[Optimizer] | str,
    epochs: int = 10,
    batch_size: int = 32,
    steps_per_epoch: int | None = None,
    start_epoch: int = 0,
    transform: Transform | None = None,
    augment: Iterable[Transform] | None = (),
    metrics: Iterable[Any] | None = (),
    callbacks: Iterable[Callback | Callable[[Run], Any]] | None = (),
    schedule: Schedule | str | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    accumulate: int = 1,
    ema: Average | float | None = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    autocast: Any = None,
    step: Callable[..., Any] | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    seed: int | None = None,
    progress: bool | None = None,
    record: bool | str = True,
    non_finite: str = "warn",
) -> History:
    """Train ``model`` and return the :class:`History`.

    train, validation: data sets, tuples of arrays (inputs, targets), or whatever else `dlcore.data.as_dataset` takes;
    floats of another dtype than the model's are cast to it. loss: a function or module of (outputs, targets), where
    outputs are whatever the model returns, that gives the mean over a batch; or the name of one of dlcore's
    ("cross_entropy", "mse"). One that is the mean over something else than the samples tells how much that is
    by a method ``counted(outputs, targets)``; dlcore's own leave out ignored labels and count class weights. Without
    ``loss`` (or with "own") the model is called with all parts of a batch and returns its loss, (loss, outputs) or a
    dict with "loss". optimizer: one of the model's parameters, or the name of one ("adamw"), with its defaults.

    step: a function of the parts of a batch that does all the work instead, gradients and steps of any number of
    optimizers, and returns the loss or a dict of figures, each one number: their means over an epoch are logged.
    ``optimizer`` is then one, or a list of those that it uses.

    transform: applied to each batch of inputs, after what the data set does itself (bytes of image data sets become
    0..1); both are kept as ``model.preprocessing``, and are done to the validation too. augment: functions that act on
    batches of training alone, between the two; one with an attribute ``targets`` that is true takes and gives (inputs,
    targets). metrics: names, Metrics or functions, measured in training and validation.

    steps_per_epoch: so many steps make an epoch (default: one pass over the data); the next epoch goes on with the data
    where the last one ended. start_epoch: so many epochs of these ``epochs`` have been made before; their numbers and
    their orders of samples are passed over. shuffle: the samples come in a new order each pass, from ``seed``. An
    explicit seed gives the same orders again; None draws one from dlcore's generator, so that a further ``fit`` goes on
    with other orders, and all is the same after the same ``manual_seed``. drop_last: of each pass, the samples that do
    not fill the last batch are left out.

    schedule: the learning rate of each step, one of ``optim.schedules`` or its name ("one_cycle"); the optimizer goes
    back to its own rate in the end. clip_norm: the largest norm that all gradients together may have; clip_value: the
    largest absolute value of each. accumulate: the gradients of so many batches are added up for one step, with the
    result of one batch as large. ema: the decay of an exponential moving average of the weights, or ``dl.train.EMA`` or
    ``dl.train.SWA``: validation uses the averages, and the model ends with them. class_weight: the factor of each class
    in training, an array (C,), a dict, or "balanced"; sample_weight: that of each sample, (N,). autocast: dl.bfloat16
    for model and loss in 16 bits where they gain by it (see `dlcore.autocast`), in training and validation, or
    dl.float16, with a loss that is scaled as by `dlcore.optim.GradScaler`; parameters, gradients and the optimizer stay
    in float32. The model itself is not changed: `evaluate` and `predict` compute in float32, or as the
    ``with dl.autocast(...)`` says that they are called in.

    non_finite: what happens at a loss, or norm of the gradients, that is not finite, besides one RuntimeWarning and
    ``history.diverged``. "warn": training goes on. "skip": the optimizer leaves that step out, its loss does not count,
    and ``history.skipped`` tells how many there were; nothing is read back for it. "stop": it ends, and callbacks end
    properly, with the weights and the optimizer as they were before the first bad step, which is made again operation
    by operation, so that the warning names the one that made the first NaN or infinity. That takes a second copy of the
    weights and of the optimizer's state, which is why it is not the default; steps themselves cost no more.

    progress: whether the run is shown: by a bar on a terminal, by a table in a notebook, else by plain lines on stderr
    (default: yes, but plain lines only every few seconds, and none in a run that is over by then).

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
    epochs, start_epoch = integer(epochs, "fit: epochs", 0), integer(start_epoch, "fit: start_epoch", 0)
    batch_size, accumulate = integer(batch_size, "fit: batch_size", 1), integer(accumulate, "fit: accumulate", 1)
    steps = None if steps_per_epoch is None else integer(steps_per_epoch, "fit: steps_per_epoch", 1)
    shuffle, seed = boolean(shuffle, "fit: shuffle"), None if seed is None else integer(seed, "fit: seed")
    loss, transform = loss_function(loss, "fit: loss"), as_transform(transform, "fit")
    optimizers = _optimizers(optimizer, model, step)
    schedule = _schedule(schedule, optimizers)
    clip_norm, clip_value = _positive(clip_norm, "fit: clip_norm"), _positive(clip_value, "fit: clip_value")
    average, low = as_average(ema, "fit: ema"), _autocast_dtype(autocast)
    watching = _callbacks(callbacks)
    metrics = listed(metrics, "fit: metrics", "names, Metrics or functions", optional=True)
    _check_record(record)
    non_finite = choice(non_finite, ("warn", "skip", "stop"), "fit: non_finite")
    mistakes.check_parameters(model, optimizers, step is None)
    data, device = samples(train, "fit: train", loss is not None), device_of(model)
    given_seed, seed = seed, (drawn_seed() if shuffle else 0) if seed is None else seed
    drop_last = boolean(drop_last, "fit: drop_last")
    batches = Batches(data, transform, shuffle, seed, device, augment, floating(model), drop_last)
    if drop_last and len(data) and not batches.count(batch_size * accumulate):
        of = batch_size if accumulate == 1 else f"batch_size {batch_size} * accumulate {accumulate}"
        raise ValueError(f"fit: with drop_last there is no batch of {of} in {len(data)} samples")
    training: Training
    if step is not None:
        _check_beside_step(non_finite, loss=loss, accumulate=accumulate > 1, clip_norm=clip_norm,
                           clip_value=clip_value, metrics=metrics, class_weight=class_weight,
                           sample_weight=sample_weight, autocast=low)  # fmt: skip
        training = CustomTraining(model, batches, batch_size, function(step, "fit: step"), optimizers, steps, average)
    else:
        factors = _weights_of_classes(class_weight, sample_weight, loss, model, batches)
        training = SupervisedTraining(
            model, batches, batch_size, Objective(loss, batches, "fit", factors, dtype=low), optimizers[0], metrics,
            steps, accumulate, clip_norm, clip_value, _weights_of_samples(sample_weight, batches), average,
            _gate(device, low, non_finite),
        )  # fmt: skip
    if not record:
        training.step.run_eagerly("fit was called with record=False")
    settings = {
        "seed": given_seed, "shuffle": shuffle, "drop_last": drop_last, "clip_norm": clip_norm,
        "clip_value": clip_value, "autocast": low and low.name, "optimizer": [repr(one) for one in optimizers],
    }  # fmt: skip
    run = Run(model, optimizers, training, epochs, start_epoch + 1, average, schedule, settings)
    scoring = None
    if validation is not None:
        scoring = _scoring(validation, model, batches, batch_size, loss, metrics, low)
        run.names += tuple(f"val_{name}" for name in scoring.meter.names)
    run.callbacks = sorted(watching, key=lambda c: c.after_others)
    view = display(None if progress is None else boolean(progress, "fit: progress"))
    if view is not None:
        run.callbacks.append(view)  # as the last one: others may find an error before a bar is drawn
    _carry_out(run, scoring, start_epoch, record == "check", Sentinel(run) if non_finite == "stop" else None)
    return run.history


def _check_record(given: Any) -> None:
    if not isinstance(given, bool) and not (isinstance(given, str) and given == "check"):
        raise ValueError(f'fit: record is True, False or "check", not {shown(given)}')


def _optimizers(given: Any, model: Module, step: Any) -> list[Optimizer]:
    """The optimizers meant: one, several for a step of the user's, or the name of one."""
    if isinstance(given, str):
        return [optim.get(given)(model.parameters())]
    several = step is not None and isinstance(given, list | tuple)
    for one in given if several else [given]:
        instance(one, Optimizer, "fit: optimizer", "an optimizer")
    found = list(given) if several else [given]
    if not found:
        raise ValueError("fit: optimizer: an empty list")
    return found


def _schedule(given: Schedule | str | None, optimizers: Sequence[Optimizer]) -> Schedule | None:
    """The schedule meant, for the only optimizer."""
    if given is None:
        return None
    schedule = schedules.make(given) if isinstance(given, str) else given
    instance(schedule, Schedule, "fit: schedule", "one of optim.schedules")
    if len(optimizers) > 1:
        raise ValueError("fit: schedule is for one optimizer; of several, prepare one for each (Schedule.prepare)")
    return schedule


def _positive(value: Any, where: str) -> float | None:
    """A number above 0, or None."""
    if value is None:
        return None
    value = number(value, where)
    if not value > 0:
        raise ValueError(f"{where} must be above 0, not {value}")
    return value


def _autocast_dtype(given: Any) -> DType | None:
    """The dtype that is to be computed in, or None."""
    if given is None:
        return None
    if (dtype := as_dtype(given, "fit: autocast")) not in (bfloat16, float16):
        raise ValueError(f"fit: autocast: {dtype.name} is not of 16 bits; it is bfloat16, float16 or None")
    return dtype


def _gate(device: Any, low: DType | None, non_finite: str) -> Gate | None:
    """What leaves steps out: those of float16 whose gradients overflow, or all that are not finite."""
    if low is float16:
        return Gate(device, GradScaler())
    return Gate(device) if non_finite == "skip" else None


def _check_beside_step(non_finite: str, **given: Any) -> None:
    """Raises ValueError where arguments are given that have no effect beside a step of the user's own."""
    if non_finite == "skip":
        raise ValueError('fit: non_finite="skip" is for steps of fit; in your own: optimizer.step(active=...)')
    idle = [name for name, value in given.items() if value is not None and value is not False and value != []]
    if idle:
        raise ValueError(f"fit: {', '.join(idle)}: step does all the work of a batch, that too")


def _weights_of_classes(
    class_weight: Any, sample_weight: Any, loss: Any, model: Module, batches: Batches
) -> np.ndarray | None:
    """The weight of each class; raises ValueError where a loss of the model's own would leave weights out."""
    if loss is None and (class_weight is not None or sample_weight is not None):
        given = "class_weight" if class_weight is not None else "sample_weight"
        raise ValueError(f"fit: {given}: the loss is the model's own, which has to weight by itself")
    return None if class_weight is None else weights_of_classes(class_weight, model, batches, "fit: class_weight")


def _weights_of_samples(given: Any, batches: Batches) -> Tensor | None:
    """The weight of each sample, by its index in the data set below all Subsets."""
    if given is None:
        return None
    base, rows = flatten(batches.dataset)
    weights = numbers(given, "fit: sample_weight")
    if weights.shape != (len(batches.dataset),):
        raise ShapeError(f"fit: sample_weight has shape {weights.shape}; there are {len(batches.dataset)} samples")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ValueError("fit: sample_weight: weights must be finite, not negative, and not all 0")
    whole = weights
    if rows is not None:
        whole = np.zeros(len(base), np.float32)
        whole[rows] = weights
        if (apart := np.flatnonzero(whole[rows] != weights)).size:
            raise ValueError(
                f"fit: sample_weight: sample {rows[apart[0]]} of the data set below is in the data more than once, "
                "with different weights; a sample has one"
            )
    return tensor(whole, device=batches.device)


def _scoring(
    validation: Any, model: Module, batches: Batches, size: int, loss: Any, metrics: list[Any], low: DType | None
) -> Evaluation:
    """The validation after each epoch, on data prepared as ``batches`` of training are."""
    given = samples(validation, "fit: validation", loss is not None)
    prepared = as_fitted(given, batches.preprocessing, "fit: validation")
    held_out = Batches(*prepared, device=batches.device, dtype=batches.dtype)
    size = max(size, EVALUATION_BATCH)  # there is memory for more samples where no gradients are kept
    return Evaluation(model, held_out, size, Objective(loss, held_out, "fit", dtype=low), metrics)


def _prepare(run: Run, start_epoch: int) -> None:
    """All that may fail for the model, the data or the memory before a callback hears of the run."""
    training, schedule = run.training, run.schedule
    run.model.train()
    training.check_memory()
    if run.epochs > start_epoch:
        mistakes.before_training(training)
    if run.average is not None:
        run.average.prepare(run.model)
    if schedule is not None and run.epochs:
        schedule.prepare(run.optimizer, run.epochs * training.steps)
        if start_epoch:
            schedule.load_state_dict({**schedule.state_dict(), "position": start_epoch * training.steps})


def _carry_out(
    run: Run, scoring: Evaluation | None, start_epoch: int, check: bool, sentinel: Sentinel | None
) -> None:
    """All epochs. Whatever ends them, modes are put back and callbacks that have begun are ended."""
    with kept_modes(run.model), Interrupt(run.history) as interrupt:
        _prepare(run, start_epoch)
        interrupt.hold()  # so that what on_train_begin begins, a bar for one, is always ended by on_train_end
        with mistakes.watched_first_step(run.training, scoring):
            Loop(run, scoring, interrupt, check, sentinel).go()


def _callbacks(given: Any) -> list[Callback]:
    several = listed(given, "fit: callbacks", "callbacks or functions", optional=True)
    return [c if isinstance(c, Callback) else Each(function(c, f"fit: callbacks[{k}]")) for k, c in enumerate(several)]
