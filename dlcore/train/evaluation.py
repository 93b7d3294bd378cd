"""`evaluate`, and the data it and ``fit`` are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dlcore._arguments import instance, integer, listed
from dlcore._tensor import Tensor
from dlcore.data import Batches
from dlcore.data.sources import as_dataset, inputs_and_targets
from dlcore.nn.module import Module, device_of
from dlcore.train.fitted import Transform, chosen_transform, floating
from dlcore.train.objective import Objective, loss_function
from dlcore.train.passes import Evaluation

__all__ = ["EVALUATION_BATCH", "evaluate", "samples"]

EVALUATION_BATCH = 512


def evaluate(
    model: Module,
    data: Any,
    *,
    loss: Callable[..., Tensor] | str | None = None,
    metrics: Iterable[Any] | None = (),
    batch_size: int = EVALUATION_BATCH,
    steps: int | None = None,
    transform: Transform | str | None = "fitted",
) -> dict[str, Any]:
    """Loss and metrics over ``data`` (a data set or a tuple of arrays) in evaluation mode: {"loss": ..., ...}.

    Every sample counts the same, also in a last batch that is not full. loss: as in ``fit``, "own" for that of the
    model itself, or None where metrics alone are wanted. steps: only so many batches, the first ones. transform:
    applied to each batch of inputs; "fitted" (the default) stands for ``model.preprocessing``.
    """
    instance(model, Module, "evaluate: model", "a Module")
    size = integer(batch_size, "evaluate: batch_size", 1)
    steps = None if steps is None else integer(steps, "evaluate: steps", 1)
    measured = listed(metrics, "evaluate: metrics", "names, Metrics or functions", optional=True)
    wanted, chosen = loss is not None, loss_function(loss, "evaluate: loss")
    given = samples(data, "evaluate: data", not wanted or chosen is not None)
    given, preprocessing = chosen_transform(model, given, transform, "evaluate")
    batches = Batches(given, preprocessing, device=device_of(model), dtype=floating(model))
    objective = Objective(chosen, batches, "evaluate", wanted=wanted)
    return Evaluation(model, batches, size, objective, measured, steps).scores()


def samples(data: Any, where: str, targets: bool) -> Any:
    """``data`` as a data set with at least one sample, and with targets if ``targets``; raises where it is none."""
    if targets:
        return inputs_and_targets(data, where)
    dataset = as_dataset(data, where)
    if not len(dataset):
        raise ValueError(f"{where} is empty")
    return dataset
