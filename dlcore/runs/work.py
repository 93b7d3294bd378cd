"""What is done with a run: train it, go on with it, evaluate and test it, predict with it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import dlcore as dl
from dlcore import export
from dlcore._checkpoint import save
from dlcore.bench.machine import describe
from dlcore.data import read_csv, read_numpy
from dlcore.data.images import SUFFIXES, read_image
from dlcore.runs import parts as _parts
from dlcore.runs.config import Config, check_name
from dlcore.runs.folder import RunFolder
from dlcore.train.callbacks import EarlyStopping
from dlcore.train.evaluation import evaluate
from dlcore.train.fitting import fit
from dlcore.train.history import History
from dlcore.train.logs import Log, Plot
from dlcore.train.prediction import predict
from dlcore.train.resume import Resume
from dlcore.train.run import Callback, Run

__all__ = ["evaluated", "exported", "predicted", "read_inputs", "tested", "train"]

_CHANGEABLE = ("train.epochs", "train.save_every", "runs", "device")  # of a run that is gone on with


def train(config: Config, resume: bool = False, overwrite: bool = False, progress: bool | None = None) -> History:
    """Train as ``config`` says, in the folder ``config.runs``/``config.name``; returns the History.

    A run that is there is refused, unless it is gone on with (``resume``) or removed first (``overwrite``).
    """
    check_name(config.name)
    folder = RunFolder(Path(config.runs) / config.name)
    if resume and overwrite:
        raise ValueError("resume and overwrite exclude each other")
    if folder.path.exists() and not resume and not overwrite:
        raise ValueError(f"{folder.path} is there already: --resume goes on with it, --overwrite begins it anew")
    if resume and folder.exists and (changed := folder.differences(config, _CHANGEABLE)):
        raise ValueError(f"{folder.path} was begun with other settings: {', '.join(changed)}")
    data = _parts.load(config)
    if resume and folder.exists and folder.data["digest"] != data.digest:
        raise ValueError(f"{folder.path} was begun with other data: samples came, went or have other labels")
    settings = _settings(config, bool(data.classes))
    dl.manual_seed(config.seed)
    device = dl.device(config.device) if config.device else dl.default_device()
    model = _parts.make_model(config, data).to(device)
    environment = {**describe(), "command": sys.argv, "device": str(device)}
    held = ExitStack()
    begin = _Begin(folder, (config, data.summary(), environment), resume, overwrite, held)
    callbacks: list[Any] = [begin, Log(folder.log_path), Resume(folder.checkpoints, every=config.train.save_every)]
    if config.train.patience is not None:
        callbacks.append(EarlyStopping(config.train.patience, restore_best=True))
    if _has_matplotlib():
        callbacks.append(Plot(folder.path / "curves.png"))
    optimizer, schedule = _parts.optimizer_of(config, model), _parts.schedule_of(config)
    if overwrite:  # a loss that does not fit the model and the data must fail while the earlier run is still there
        transform, size = _parts.transform_of(config, data), config.train.batch_size
        evaluate(model, data.train, steps=1, batch_size=size, transform=transform, **settings)
    with held:
        history = fit(
            model, data.train, data.validation, optimizer=optimizer, schedule=schedule, epochs=config.train.epochs,
            batch_size=config.train.batch_size, transform=_parts.transform_of(config, data), callbacks=callbacks,
            clip_norm=config.train.clip_norm, accumulate=config.train.accumulate, ema=config.train.ema,
            class_weight=config.train.class_weight or None, seed=config.seed, progress=progress, **settings,
        )  # fmt: skip
        save(model, folder.model_path, metadata={"classes": json.dumps(data.classes)})
    return history


class _Begin(Callback):
    """Begins the folder of a run, when all settings have been found right, and holds it until ``held`` is closed."""

    def __init__(
        self, folder: RunFolder, content: tuple[Config, Any, Any], resume: bool, overwrite: bool, held: ExitStack
    ):
        self.folder, self.content, self.resume, self.overwrite, self.held = folder, content, resume, overwrite, held

    def on_train_begin(self, run: Run) -> None:
        """Before the first step."""
        self.held.enter_context(self.folder.held())
        if self.overwrite:
            self.folder.remove()
        elif not self.resume and self.folder.exists:
            raise ValueError(f"{self.folder.path}: another process has begun a run there")
        self.folder.begin(*self.content)


def _settings(config: Config, classes: bool) -> dict[str, Any]:
    loss = config.train.loss or ("cross_entropy" if classes else "mse")
    return {"loss": loss, "metrics": config.train.metrics or (("accuracy",) if classes else ("r2",))}


def _has_matplotlib() -> bool:
    import importlib.util

    return importlib.util.find_spec("matplotlib") is not None


def evaluated(folder: RunFolder, part: str) -> dict[str, Any]:
    """Loss and metrics of the run's model on its "validation" or "test" part."""
    config, model = folder.config, folder.model()
    data = _parts.load(config)
    if folder.data["digest"] != data.digest:
        raise ValueError(
            f"{folder.path}: the data have changed since the training: samples came, went or have other labels, so "
            f"that the {part} part is no longer what the model has not seen"
        )
    figures = evaluate(model, getattr(data, part), **_settings(config, bool(data.classes)))
    return {"samples": len(getattr(data, part)), **figures}


def tested(folder: RunFolder) -> tuple[dict[str, Any], int]:
    """The figures on the test part, and how many times it has been used, this time included; that is recorded."""
    figures = evaluated(folder, "test")
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in figures.items()}
    return figures, folder.note_test({k: v for k, v in plain.items() if isinstance(v, int | float)})


def read_inputs(folder: RunFolder, files: Sequence[str]) -> tuple[list[str], Any]:
    """A name for each sample, and the samples in ``files``: pictures, .npy and .npz arrays, .csv tables, or "-".

    "-" is standard input: the numbers of a sample on each line.
    """
    config, known = folder.config, folder.data
    shape = tuple(known["shape"])
    names: list[str] = []
    samples: list[np.ndarray] = []
    for file in files:
        path = Path(file)
        if file == "-":
            found = [(f"line {k}", _row(line, k)) for k, line in enumerate(sys.stdin, 1) if line.strip()]
        elif path.suffix.lower() in SUFFIXES:
            found = [(file, read_image(path, config.data.size or None, len(shape) == 3))]
        elif path.suffix in (".npy", ".npz"):
            arrays = read_numpy(path)
            array = next(iter(arrays.values())) if isinstance(arrays, dict) else arrays
            found = [(f"{file}[{k}]", row) for k, row in enumerate(array)]
        elif path.suffix in (".csv", ".tsv"):
            whole = _parts.whole(config)[0]  # whose categories get the same numbers
            table = read_csv(path, features=known["columns"], like=whole)
            found = [(f"{file}:{k}", row) for k, row in enumerate(np.asarray(table.arrays[0]), 2)]
        else:
            raise ValueError(f"{file}: pictures, .npy, .npz, .csv and - (standard input) can be predicted")
        for name, sample in found:
            if sample.size != np.prod(shape, dtype=int):
                raise ValueError(f"{name} has shape {sample.shape}; the model takes {shape}")
            if sample.dtype.kind == "f" and not (finite := np.isfinite(sample)).all():
                where = int(np.ravel(~finite).argmax())
                column = known["columns"][where] if known.get("columns") else f"value {where + 1}"
                raise ValueError(f"{name}: {column} is missing or not finite, and nothing can be predicted without it")
            names.append(name)
            samples.append(sample.reshape(shape))
    kinds = {sample.dtype for sample in samples}
    if len(kinds) > 1:
        samples = [s / np.float32(255) if s.dtype == np.uint8 else s.astype(np.float32) for s in samples]
    if not samples:
        raise ValueError("no samples to predict")
    return names, np.stack(samples)


def _row(line: str, number: int) -> np.ndarray:
    """The numbers in a line of standard input."""
    try:
        return np.array(line.split(), np.float32)
    except ValueError as error:
        raise ValueError(f"standard input: line {number}: numbers with spaces between them expected: {error}") from None


def predicted(folder: RunFolder, samples: Any) -> tuple[np.ndarray, list[str] | None]:
    """The outputs for samples: probabilities of the classes and the names of the likeliest, or numbers and None."""
    outputs = predict(folder.model(), samples)
    classes = folder.data["classes"]
    if not classes:
        return np.asarray(outputs), None
    shares = np.asarray(dl.softmax(outputs, axis=-1))
    return shares, [classes[k] for k in shares.argmax(-1)]


def exported(folder: RunFolder, onnx: Path | None, c: Path | None) -> float | None:
    """Write the run's model as ONNX, or as one C file, or both; returns how far onnxruntime's outputs lie apart.

    None where there is no onnxruntime, or no ONNX file is wanted. The files take samples as the training's were: bytes
    of pictures, floats of tables.
    """
    known, model = folder.data, folder.model().cpu()
    dtype = np.dtype(known["dtype"] if "dtype" in known else _parts.load(folder.config).dtype)
    shape, rng = (2, *known["shape"]), np.random.default_rng(0)
    if dtype.kind == "f":
        example = rng.standard_normal(shape).astype(dtype)
    else:
        example = rng.integers(0, 2 if dtype.kind == "b" else 128, shape).astype(dtype)
    difference = None if onnx is None else export.onnx(model, onnx, example)
    if c is not None:
        export.c(model, c, example)
    return difference


def resumed(path: str | os.PathLike[str], config: Config) -> Config:
    """The settings of the run in ``path`` to go on with, where ``config`` are its own with some changed."""
    where = Path(path)
    return replace(config, runs=str(where.parent), name=where.name)
