"""From settings to data, model and what fit needs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore import models, nn, optim
from dlcore.data import Normalize, Standardize, load_dataset, random_split
from dlcore.data.views import flatten, gather, targets
from dlcore.nn.module import Module
from dlcore.runs.config import Config

__all__ = ["Parts", "load", "make_model", "optimizer_of", "schedule_of", "transform_of", "whole"]


class Parts(NamedTuple):
    """The data of a run.

    ``classes``: the names of the classes, () where numbers are predicted. ``shape``, ``dtype``: of one input.
    ``outputs``: how many the model has. ``digest``: of which samples are in which part.
    """

    train: Any
    validation: Any
    test: Any
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    outputs: int
    columns: tuple[str, ...]
    digest: str
    dtype: str

    def summary(self) -> dict[str, Any]:
        """What `RunFolder` keeps."""
        sizes = {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}
        return {"samples": sizes, "classes": list(self.classes), "shape": list(self.shape), "outputs": self.outputs,
                "columns": list(self.columns), "digest": self.digest, "dtype": self.dtype}  # fmt: skip


def load(config: Config) -> Parts:
    """The data that ``config`` names, divided as it says. Raises ValueError, or what reading raises."""
    data = config.data
    samples, separate = whole(config)
    wanted = 2 if separate is not None else 3
    if len(data.split) != wanted and not (separate is not None and len(data.split) == 3):
        also = "" if wanted == 3 else " (its test set is a part of its own)"
        raise ValueError(f"data.split has {len(data.split)} parts; {wanted} are needed{also}")
    split: Sequence[float] = data.split
    if separate is not None and len(split) == 3:
        split = [split[0] / (split[0] + split[1]), split[1] / (split[0] + split[1])]
    grouped = True if data.groups else None
    parts = random_split(samples, list(split), seed=config.seed, stratify=data.stratify or None, groups=grouped)
    train, validation, test = (*parts, separate) if separate is not None else parts
    labels = targets(samples, "data")
    classes, outputs = _classes(samples, labels)
    base, _ = flatten(train)
    first, *_ = gather(base, slice(0, 1), "cpu", "data")
    columns = tuple(map(str, getattr(samples, "columns", ()) or ()))
    shape, dtype = first.shape[1:], first.dtype.name
    return Parts(train, validation, test, classes, shape, outputs, columns, _digest(parts, labels), dtype)


def whole(config: Config) -> tuple[Any, Any]:
    """All samples, and those of the test set where it is a data set of its own."""
    data = config.data
    given = [name for name in ("folder", "file", "name") if getattr(data, name)]
    if len(given) != 1:
        raise ValueError(f"data: one of folder, file and name is needed, not {' and '.join(given) or 'none'}")
    options: dict[str, Any] = {}
    if data.skip_bad:
        options["skip_bad"] = True
    if data.name:
        if options or data.size or data.target:
            raise ValueError("data: skip_bad, size and target are for files, not for public data sets")
        if data.name == "digits":
            return load_dataset("digits"), None
        return load_dataset(data.name, split="train"), load_dataset(data.name, split="test")
    if data.size:
        options["size"] = data.size
    if data.colour is not None:
        options["colour"] = data.colour
    if data.seconds is not None:
        options["seconds"] = data.seconds
    if data.target:
        options["target"] = data.target
    return load_dataset(Path(data.folder or data.file), **options), None


def _classes(whole: Any, labels: np.ndarray) -> tuple[tuple[str, ...], int]:
    names = getattr(whole, "classes", None)
    if labels.ndim == 1 and labels.dtype.kind in "iub":
        count = len(names) if names is not None else int(labels.max(initial=0)) + 1
        if labels.size and labels.min() < 0:
            raise ValueError(f"data: labels of classes count from 0, and one is {labels.min()}")
        return tuple(map(str, names if names is not None else range(count))), count
    return (), 1 if labels.ndim == 1 else int(np.prod(labels.shape[1:]))


def _digest(parts: Sequence[Any], labels: np.ndarray) -> str:
    """Of the samples' labels and of the part that each is in: another one where samples came, went or moved."""
    digest = hashlib.sha256(np.ascontiguousarray(labels).tobytes())
    for part in parts:
        _, rows = flatten(part)
        digest.update(b"|" + (b"" if rows is None else np.ascontiguousarray(rows, np.int64).tobytes()))
    return digest.hexdigest()


def transform_of(config: Config, parts: Parts) -> Any:
    """What is fitted on the training part, and done to all inputs."""
    if not config.data.normalize:
        return None
    return Standardize.of(parts.train) if config.data.file else Normalize.of(parts.train)


def make_model(config: Config, parts: Parts) -> Module:
    """A new model of the kind that ``config`` names, for these data."""
    settings = asdict(config.model)
    kind = models.kinds.get(settings.pop("kind"), "model.kind")
    made: Module
    made = kind(parts.shape, parts.outputs, **(settings if kind is models.MLP else {}))
    return made if parts.classes or parts.outputs > 1 else nn.Sequential(made, nn.Flatten(0, 1))  # (N,), as targets are


def optimizer_of(config: Config, model: Module) -> optim.Optimizer:
    """The optimizer of the model's parameters."""
    train = config.train
    settings = {name: getattr(train, name) for name in ("lr", "weight_decay") if getattr(train, name) is not None}
    return optim.get(train.optimizer)(model.parameters(), **settings)


def schedule_of(config: Config) -> Any:
    """The schedule of the learning rate, or None."""
    train = config.train
    if not train.schedule:
        if train.warmup:
            return optim.schedules.Constant(warmup=train.warmup)
        return None
    return optim.schedules.make(train.schedule, **({"warmup": train.warmup} if train.warmup else {}))
