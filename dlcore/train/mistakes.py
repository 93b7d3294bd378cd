"""Common mistakes: what ``fit`` looks for before the first step and after the first epochs, and says once.

Everything here runs outside the recorded step. What leaves no doubt is an error; the rest is a RuntimeWarning at the
line of the program that called ``fit``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from dlcore._arguments import shown
from dlcore._autograd import no_grad
from dlcore._notes import note
from dlcore._tensor import Tensor, tensor
from dlcore.data import Batches
from dlcore.data.views import flatten
from dlcore.dtypes import float64
from dlcore.nn.calls import watched_calls
from dlcore.nn.module import Module
from dlcore.ops.elementwise import isfinite
from dlcore.optim import Optimizer
from dlcore.train.objective import Objective
from dlcore.train.passes import Evaluation, SupervisedTraining, Training
from dlcore.train.run import Run

__all__ = ["after_epoch", "before_training", "check_parameters", "damaged_data", "watched_first_step"]

_PROBED = 64  # so many of the samples that are not finite are looked at as the model gets them
_PICTURE = 64  # so many numbers a sample has where its scale is looked at
_FAR = 10.0  # a mean or deviation of this size is not that of normalised data
_STILL = 1e-6  # a loss that changes by less than this part of itself does not move


def check_parameters(model: Module, optimizers: Sequence[Optimizer], supervised: bool) -> None:
    """Raises ValueError where the optimizers train nothing of the model; says which of its parameters they lack.

    A parameter that is to stay as it is has ``requires_grad=False``, which also saves the work of its gradient. A step
    of the user's (not ``supervised``) may train other models too: there only an optimizer that holds what no model has
    any more is a reason to speak.
    """
    held = {id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    own = {id(p) for p in model.parameters()}
    if not held & own:
        raise ValueError("fit: the optimizer holds none of the model's parameters")
    missing = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in held]
    if not missing:
        return
    names = _listed(missing)
    if held - own:
        note(
            f"fit: the optimizer holds parameters that the model has not, and lacks {names}, which will not be "
            "trained; make the optimizer after the last change of the model"
        )
    elif supervised:
        note(
            f"fit: the optimizer lacks {names}, which will not be trained; make it of all of model.parameters() after "
            "the last change of the model, or set requires_grad=False for those that are to stay as they are"
        )


def before_training(training: Training) -> None:
    """Say before the first step where data are not finite; a loss of the user's may leave out such targets."""
    masking = isinstance(training, SupervisedTraining) and not training.objective.known
    for what, text in damaged_data(training.batches).items():
        if what == "inputs" or not masking:
            note(f"fit: {text}")


@contextmanager
def watched_first_step(training: Training, scoring: Evaluation | None) -> Iterator[None]:
    """Within it, the model is watched while it is called for the first time, in a step that is not recorded.

    Says where a softmax comes before cross_entropy, and where the first layer gets values far from normalised ones.
    Raises IndexError, before anything has changed, for a label of ``cross_entropy`` that is no class.
    """
    if not isinstance(training, SupervisedTraining):
        yield
        return
    model, watching = training.model, ExitStack()
    first: list[tuple[float, float] | None] = []

    def around(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any], call: Callable[[], Any]) -> Any:
        if not first and args and isinstance(args[0], Tensor) and any(True for _ in module.parameters(recurse=False)):
            first.append(None if "Norm" in type(module).__name__ else _scale(args[0]))
        outputs = call()
        if module is model:
            watching.close()
            if first and first[0] is not None:
                _check_scale(*first[0])
            _check_outputs(outputs, training, scoring)
        return outputs

    with watching:
        watching.enter_context(watched_calls(model, around))
        yield


def _check_outputs(outputs: Any, training: SupervisedTraining, scoring: Evaluation | None) -> None:
    """Look at the outputs (N, C, ...) for the first batch, where they are logits for cross_entropy."""
    if not training.objective.classifies or not isinstance(outputs, Tensor) or outputs.ndim < 2:
        return
    classes = outputs.shape[1]
    _check_labels(training.batches, training.objective, classes, "train")
    if scoring is not None:
        _check_labels(scoring.batches, scoring.objective, classes, "validation")
    if _are_probabilities(outputs):
        note(
            "fit: the model's outputs are probabilities (a softmax comes last), and cross_entropy takes logits: it "
            "does the softmax itself, and a model with two learns slowly and worse; leave the softmax out of the "
            "model, and apply it to predictions"
        )


def after_epoch(run: Run) -> None:
    """Look at how the first epochs of a run went."""
    epochs = [*run.history.epochs, run.logs]
    if len(epochs) == 1:
        _check_broadcasting(run.training)
        _check_unreached(run)
    if len(epochs) == 2:
        _check_movement(run, [e.get("loss") for e in epochs])


def damaged_data(batches: Batches) -> dict[str, str]:
    """Which of "inputs" and "targets" are not finite as the model gets them, in words: how many, and the first."""
    if batches.host:
        return {}
    base, rows = flatten(batches.dataset)
    arrays = base.on(batches.device)
    found: dict[str, str] = {}
    for k, array in enumerate(arrays):
        if not array.dtype.is_float or not array.size or bool(isfinite(array).all()):
            continue
        wrong = ~np.isfinite(array.detach().astype(float64).numpy().reshape((array.shape[0], -1))).all(1)
        places = np.flatnonzero(wrong if rows is None or len(wrong) != len(base) else wrong[np.asarray(rows)])
        if not places.size or (k == 0 and not _stays_wrong(batches, places, rows)):
            continue
        what = "targets" if k == len(arrays) - 1 and k else "inputs"
        found[what] = (
            f"the {what} hold NaN or infinities in {places.size} of {len(batches.dataset)} samples, the first in "
            f"sample {places[0]}"
        )
    return found


def _stays_wrong(batches: Batches, places: np.ndarray, rows: Any) -> bool:
    """Whether inputs that are not finite are so when the model gets them: a transform may fill them in."""
    at = places[:_PROBED] if rows is None else np.asarray(rows)[places[:_PROBED]]
    x, *_ = _plain(batches).fetch(tensor(at.astype(np.int64), device=batches.device))
    return not bool(isfinite(x).all())


def _plain(batches: Batches) -> Batches:
    """The same batches, in the order of the data set and without ``augment``, which may count its calls."""
    return Batches(batches.dataset, batches.transform, device=batches.device, dtype=batches.dtype)


def _scale(x: Tensor) -> tuple[float, float] | None:
    """Mean and deviation of a batch as large as pictures are; None for another."""
    if not x.dtype.is_float or x.ndim < 2 or x.size < _PICTURE * x.shape[0] or not x.size:
        return None
    values = x.detach().astype(float64)
    mean = values.mean()
    return mean.item(), ((values - mean) ** 2).mean().item() ** 0.5


def _check_scale(mean: float, deviation: float) -> None:
    if np.isfinite(mean) and (abs(mean) > _FAR or deviation > _FAR):
        note(
            f"fit: inputs have mean {mean:.4g} and deviation {deviation:.4g}; layers learn well from about 0 and 1: "
            "give transform=dl.data.Normalize.of(train), which is also applied to the validation and at prediction"
        )


def _are_probabilities(outputs: Tensor) -> bool:
    """Whether the outputs (N, C, ...) of every sample are probabilities of C > 1 classes."""
    if not outputs.dtype.is_float or outputs.shape[1] < 2 or not outputs.size:
        return False
    values = outputs.detach().astype(float64).numpy()
    return bool((values >= 0).all() and (abs(values.sum(1) - 1) < 1e-3).all())


def _check_labels(batches: Batches, objective: Objective, classes: int, where: str) -> None:
    """Raises IndexError where a label is no class of ``classes``, by its value and sample."""
    if batches.host:
        return  # what Python code assembles is not drawn twice
    base, rows = flatten(batches.dataset)
    labels = base.on(batches.device)[-1]
    if labels.dtype.is_float or labels.ndim < 1 or len(labels) != len(base):
        return
    values = labels.detach().numpy()
    values = values if rows is None else values[np.asarray(rows)]
    wrong = ((values < 0) | (values >= classes)) & (values != objective.ignored)
    if not wrong.any():
        return
    at = np.unravel_index(int(wrong.argmax()), wrong.shape)
    place = f"sample {at[0]}" + (f" at {shown(tuple(map(int, at[1:])))}" if len(at) > 1 else "")
    raise IndexError(
        f"fit: {where}: label {int(values[at])} of {place} is out of range for {classes} classes, which are 0 to "
        f"{classes - 1}; {int(wrong.sum())} labels are"
    )


def _check_broadcasting(training: Training) -> None:
    """Says that a loss of the user's subtracts outputs (N, 1) and targets (N,) as all pairs of samples."""
    if not training.meter.sample or not isinstance(training, SupervisedTraining):
        return
    loss = training.objective.loss
    outputs, targets, dtype = training.meter.sample
    if loss is None or not dtype.is_float or {outputs, targets} != {(1,), ()}:
        return
    x, y = tensor([1.0, 2.0, 4.0]), tensor([3.0, 5.0, 9.0], dtype)
    try:
        with no_grad():
            given = loss(x.reshape((3, *outputs)), y.reshape((3, *targets)))
            alike = loss(x, y)
    except (ValueError, TypeError, IndexError):
        return  # it wants outputs of just this shape
    if given.tolist() != alike.tolist():
        shapes = "outputs (N, 1) and targets (N,)" if outputs else "outputs (N,) and targets (N, 1)"
        note(f"fit: {shapes} differ, and the loss broadcasts them to all pairs of samples: reshape one of them")


def _check_unreached(run: Run) -> None:
    """Says that an optimizer holds parameters that the model has not, and that no gradient reaches."""
    if not isinstance(run.training, SupervisedTraining):
        return
    own = {id(p) for p in run.model.parameters()}
    held = [p for group in run.optimizer.param_groups for p in group["params"]]
    lost = [p for p in held if id(p) not in own and p.grad is None]
    if lost and not any(p.requires_grad and id(p) not in {id(h) for h in held} for p in run.model.parameters()):
        shapes = _listed([shown(p.shape) for p in lost])
        note(
            f"fit: the optimizer holds {len(lost)} parameters, of shapes {shapes}, that the model has not and that get "
            "no gradient: something else lies in their place, a plain tensor in a list or a new layer"
        )


def _check_movement(run: Run, losses: Sequence[Any]) -> None:
    """Says why a loss is the same after the first two epochs, where a reason can be seen."""
    first, last = losses
    if not isinstance(first, float) or not isinstance(last, float) or not abs(last - first) <= _STILL * abs(first):
        return
    rates = [group["lr"] for optimizer in run.optimizers for group in optimizer.param_groups if "lr" in group]
    if run.schedule is None and rates and not any(rates):
        note(f"fit: the loss does not move, it is {last:.6g} after each of 2 epochs: the learning rate is 0")
        return
    trained = [(name, p) for name, p in run.model.named_parameters() if p.requires_grad]
    still = [name for name, p in trained if p.grad is None or not bool((p.grad != 0).any())]
    if still and first != 0.0:
        which = "of all parameters" if len(still) == len(trained) else f"of {_listed(still)}"
        note(
            f"fit: the loss does not move, it is {last:.6g} after each of 2 epochs: the gradient {which} is 0, as with "
            "ReLUs that are 0 for every sample, saturated outputs, or a loss that does not depend on them"
        )


def _listed(names: Iterable[str], most: int = 4) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
