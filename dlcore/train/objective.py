"""What a batch is judged by: the outputs of the model, their loss, and how much the loss is the mean of."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dlcore._arguments import function, instance, number, shown
from dlcore._autocast import autocast
from dlcore._autograd import no_grad
from dlcore._names import Names
from dlcore._recordable import Recordable
from dlcore._tensor import Tensor, tensor
from dlcore.data import Batches
from dlcore.data.views import flatten
from dlcore.data.views import targets as all_targets
from dlcore.dtypes import DType
from dlcore.errors import ShapeError
from dlcore.nn.losses import CrossEntropyLoss, Loss, as_cross_entropy, holds
from dlcore.nn.module import Module
from dlcore.ops import likelihood, losses
from dlcore.ops.elementwise import where
from dlcore.ops.loss import cross_entropy, mse_loss
from dlcore.ops.pairs import huber_loss, l1_loss, smooth_l1_loss
from dlcore.train.modes import kept_modes

__all__ = ["LOSSES", "Judged", "Objective", "loss_function", "numbers", "weights_of_classes"]

OWN = "own"  # the name of the loss that the model itself returns
_FUNCTIONS = {
    "cross_entropy": cross_entropy, "mse": mse_loss, "l1": l1_loss, "smooth_l1": smooth_l1_loss, "huber": huber_loss,
    "binary_cross_entropy": losses.binary_cross_entropy, "bce": losses.binary_cross_entropy,
    "binary_cross_entropy_with_logits": losses.binary_cross_entropy_with_logits,
    "bce_with_logits": losses.binary_cross_entropy_with_logits, "focal": losses.focal_loss, "nll": likelihood.nll_loss,
    "kl_div": losses.kl_div, "hinge": losses.hinge_loss, "soft_margin": losses.soft_margin_loss,
    "multi_margin": losses.multi_margin_loss, "hinge_embedding": losses.hinge_embedding_loss,
    "poisson_nll": losses.poisson_nll_loss, "quantile": losses.quantile_loss, "pinball": losses.quantile_loss,
}  # fmt: skip
LOSSES = Names("a loss", [(n, f) for name, f in _FUNCTIONS.items() for n in (name, f"{name}_loss")])
_OF_CLASSES = (cross_entropy, likelihood.nll_loss)
_KNOWN = (cross_entropy, *dict.fromkeys(f for f in _FUNCTIONS.values() if f not in _OF_CLASSES))


def loss_function(loss: Any, where: str) -> Any:
    """The loss meant: a function of (outputs, targets), the name of one of dlcore's; None for the model's ("own")."""
    if isinstance(loss, str):
        return None if loss == OWN else LOSSES.get(loss, where)
    if isinstance(loss, type):
        raise TypeError(f"{where} {shown(loss)} is not a function; call it to make one: {loss.__name__}()")
    return None if loss is None else function(loss, where)


class Judged(NamedTuple):
    """The outputs for a batch, their targets, the loss (None: not wanted) and how much it is the mean of.

    ``counted``: None for the number of samples.
    """

    outputs: Any
    targets: Tensor
    loss: Tensor | None
    counted: Tensor | float | None


class Objective(Recordable):
    """Judges batches by ``loss``, for the function called ``name``.

    loss: a function of (outputs, targets), where outputs are whatever the model returns. It is the mean over the
    samples; one that is the mean over something else tells how much by a method ``counted(outputs, targets)``. None:
    the model is called with all parts of a batch, and returns the loss, (loss, outputs), or a dict with "loss" and, if
    metrics are to be taken, "outputs". ``wanted``: False where no loss is to be computed.

    class_weight: the factor of each class, an array (C,), for cross_entropy. Samples that have weights of their own
    need the loss of each: what takes ``reduction`` is called with "none", of others (N, ...) must come back.

    ``ignored``: the label that the loss leaves out, or None where no target of ``batches`` is that label: nothing is
    then spent on it. ``dtype``: of `dlcore.autocast`, for the model and the loss; None: as it is where they are called.
    """

    def __init__(
        self, loss: Any, batches: Batches, name: str, class_weight: np.ndarray | None = None, wanted: bool = True,
        dtype: DType | None = None,
    ):  # fmt: skip
        self.loss, self.name, self.wanted, self.dtype = loss, name, wanted, dtype
        self.counted = getattr(type(loss), "counted", None) and loss.counted
        self.ignored: int | None = -100
        known = self._known = as_cross_entropy(loss)
        if class_weight is not None:
            if known is None:
                raise ValueError(f"{name}: class_weight is for cross_entropy; another loss has to weight by itself")
            if known.weight is not None:
                raise ValueError(f"{name}: class_weight is given, but the loss has weights of classes already")
            weight = tensor(class_weight, "float32", device=batches.device)
            known = self._known = self.loss = CrossEntropyLoss(
                weight, known.ignore_index, known.reduction, known.label_smoothing
            )
        if known is not None:
            self.ignored = known.ignore_index if _has_label(batches, known.ignore_index) else None
            self.counted = None if known.weight is None and self.ignored is None else known.counted

    @property
    def classifies(self) -> bool:
        """Whether the loss is dlcore's cross_entropy: the model's outputs are logits."""
        return self._known is not None

    @property
    def known(self) -> bool:
        """Whether the loss is one of dlcore's, which use every target but the ignored labels."""
        return self.classifies or isinstance(self.loss, Loss) or _is_one_of(self.loss, _KNOWN)

    def __call__(self, model: Module, parts: list[Tensor], weights: Tensor | None = None) -> Judged:
        """The batch ``parts`` (inputs, ..., targets) judged; ``weights``: of its samples."""
        if self.dtype is None:
            return self._judged(model, parts, weights)
        with autocast(self.dtype):
            return self._judged(model, parts, weights)

    def _judged(self, model: Module, parts: list[Tensor], weights: Tensor | None) -> Judged:
        *inputs, targets = parts
        if self.loss is None and self.wanted:
            loss, outputs = self._own(model(*parts))
            return Judged(outputs, targets, loss, None)
        outputs = model(*inputs)
        if not self.wanted:
            return Judged(outputs, targets, None, None)
        if weights is not None or self._by_class(targets):
            return self._weighted(outputs, targets, weights)
        loss = self._single(self.loss(outputs, targets))
        return Judged(outputs, targets, loss, None if self.counted is None else self.counted(outputs, targets))

    def takes_probabilities(self, one: Judged) -> bool:
        """Whether the targets of a batch are probabilities of classes: what `cross_entropy` takes floats for."""
        return self.classifies and one.targets.dtype.is_float

    def _own(self, returned: Any) -> tuple[Tensor, Any]:
        """(loss, outputs) from what a model with a loss of its own returned."""
        if isinstance(returned, Mapping):
            if "loss" not in returned:
                raise ValueError(
                    f"{self.name}: without loss= the model returns its loss; in what it returned, a dict of "
                    f"{shown(list(returned))}, there is none"
                )
            return self._single(returned["loss"]), returned.get("outputs", returned)
        if isinstance(returned, tuple) and len(returned) == 2:
            return self._single(returned[0]), returned[1]
        return self._single(returned), returned

    def _single(self, value: Any) -> Tensor:
        """The loss of a batch, which must be a tensor of one number."""
        what = "what the model returned as its loss" if self.loss is None else "what the loss returned"
        loss: Tensor = instance(value, Tensor, f"{self.name}: {what},", "a tensor")
        if loss.size != 1:
            raise ShapeError(f"{self.name}: the loss must be one number for a batch, not of shape {loss.shape}")
        return loss

    def _by_class(self, targets: Tensor) -> bool:
        """Whether labels have the weights of their classes."""
        known = self._known
        if known is None or known.weight is None or known.reduction != "mean":
            return False
        return not targets.dtype.is_float

    def _weighted(self, outputs: Any, targets: Tensor, weights: Tensor | None) -> Judged:
        """sum w l / sum w over the samples, or over the labels that count.

        Where all of these weigh 0 that is NaN, as a mean of nothing is, but the gradient along it is 0.
        """
        total = self._each(outputs, targets)
        dtype = total.dtype
        counts = None if self._known is None else self._known.weights_of(targets)
        if weights is not None:
            rows = weights.shape[0]
            if total.ndim < 1 or total.shape[0] != rows:
                raise ShapeError(
                    f"{self.name}: with sample_weight the loss must be one number for each of {rows} samples, "
                    f"(N, ...), not of shape {total.shape}; let it take reduction='none'"
                )
            each = weights.reshape((rows, *[1] * (total.ndim - 1))).astype(dtype)
            total, each = each * total, each.astype("float64")
            counts = each * (total.size // max(rows, 1)) if counts is None else each * counts
        assert counts is not None
        number = counts.sum().astype("float64")
        there = number > 0
        mean = total.astype("float64").sum() / where(there, number, 1.0)
        return Judged(outputs, targets, where(there, mean, float("nan")).astype(dtype), number)

    def _each(self, outputs: Any, targets: Tensor) -> Tensor:
        loss = self.loss
        if isinstance(loss, CrossEntropyLoss):
            return cross_entropy(
                outputs, targets, loss.weight, ignore_index=loss.ignore_index, label_smoothing=loss.label_smoothing,
                reduction="none",
            )  # fmt: skip
        if isinstance(loss, Loss):
            return loss.each(outputs, targets)
        value = loss(outputs, targets, reduction="none") if _takes_reduction(loss) else loss(outputs, targets)
        return instance(value, Tensor, f"{self.name}: what the loss returned,", "a tensor")

    def recorded_state(self) -> Any:
        """The loss, and what was found out about it."""
        return self.loss, self.counted, self.ignored, self.wanted, self.dtype

    def recorded_parts(self) -> tuple[Any, ...]:
        """The loss, which may read variables of its own."""
        return (self.loss,)


def _is_one_of(loss: Any, functions: tuple[Any, ...]) -> bool:
    return any(loss is f for f in functions)


def _takes_reduction(loss: Any) -> bool:
    called = loss.func if isinstance(loss, functools.partial) else loss
    if _is_one_of(called, _KNOWN):
        return True
    try:
        return "reduction" in inspect.signature(called.forward if isinstance(called, Module) else called).parameters
    except (TypeError, ValueError):
        return False


def _has_label(batches: Batches, label: int) -> bool:
    """Whether a target may be ``label``: what Python code assembles is not looked through."""
    if batches.host:
        return True
    base, _ = flatten(batches.dataset)
    targets = base.on(batches.device)[-1]
    return holds(targets, label) and bool((targets == label).any())


def numbers(given: Any, where: str, dtype: Any = np.float32) -> np.ndarray:
    """What a caller gave as an array; TypeError where it holds no numbers."""
    try:
        return np.asarray(given, dtype)
    except (TypeError, ValueError):
        raise TypeError(f"{where} {shown(given)} is not an array of numbers") from None


def weights_of_classes(given: Any, model: Module, batches: Batches, where: str) -> np.ndarray:
    """The factor of each class, (C,), from what a caller gave.

    given: an array (C,); a dict from classes to factors, 1 for the others; or "balanced": N / (C n_c) for the n_c
    samples of class c among the N of ``batches``, so that each class weighs the same. C is the length of the model's
    outputs along axis 1, found by calling it with one sample.
    """
    classes = _classes(model, batches, where)
    if isinstance(given, str):
        if given != "balanced":
            raise ValueError(f'{where} {shown(given)} is neither "balanced" nor a factor for each class')
        counts = np.bincount(_labels(batches, classes, where), minlength=classes).astype(np.float64)
        return np.where(counts > 0, counts.sum() / (classes * np.maximum(counts, 1)), 0.0)
    factors = np.ones(classes)
    if isinstance(given, Mapping):
        for label, factor in given.items():
            if not isinstance(label, int | np.integer) or not 0 <= label < classes:
                raise ValueError(f"{where}: {shown(label)} is not a class; there are {classes}, from 0 on")
            factors[label] = number(factor, f"{where}[{label}]")
    else:
        given = numbers(given, where, np.float64)
        if given.shape != (classes,):
            raise ShapeError(f"{where} has shape {given.shape}; the model tells {classes} classes apart")
        factors = given
    if not (np.isfinite(factors).all() and (factors >= 0).all() and factors.any()):
        raise ValueError(f"{where}: factors must be finite, not negative, and not all 0")
    return factors


def _classes(model: Module, batches: Batches, where: str) -> int:
    with kept_modes(model), no_grad():
        model.eval()
        *inputs, _ = batches.fetch(slice(0, 1))
        outputs = model(*inputs)
    if not isinstance(outputs, Tensor) or outputs.ndim < 2:
        found = f"of shape {outputs.shape}" if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
        raise ShapeError(f"{where}: the model's outputs must be logits (N, C, ...), not {found}")
    return int(outputs.shape[1])


def _labels(batches: Batches, classes: int, where: str) -> np.ndarray:
    """The labels of all samples that are classes."""
    labels = all_targets(batches.dataset, where).reshape(-1)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{where}: labels must be integers, not {labels.dtype}")
    return labels[(labels >= 0) & (labels < classes)].astype(np.int64)
