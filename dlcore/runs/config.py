"""The settings of a training. The same names are used in TOML files, as options of the command line, and in Python."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dlcore import _json
from dlcore._files import naming

__all__ = ["Config", "Data", "Model", "Train", "read_config"]


@dataclass(frozen=True)
class Data:
    """Which samples, and how they are divided. One of folder, file and name is given."""

    folder: str = ""
    """A folder of pictures or of WAV files, with one subfolder for each class."""
    file: str = ""
    """A table (.csv, .tsv, .parquet) or arrays (.npz)."""
    name: str = ""
    """A public data set: digits, mnist, fashion-mnist."""
    target: str = ""
    """The column of a table that is to be predicted."""
    size: tuple[int, ...] = ()
    """Height and width that pictures are resized to, or one number for both."""
    colour: bool | None = None
    """Whether pictures have colours (default: if any has)."""
    seconds: float | None = None
    """The length that sounds are cut or prolonged to."""
    split: tuple[float, ...] = (0.8, 0.1, 0.1)
    """The parts for training, validation and test. Sets that have a test set of their own need two."""
    stratify: bool = False
    """Whether every class has its share in every part."""
    groups: bool = False
    """Whether samples of one group stay in one part, where the data has groups."""
    skip_bad: bool = False
    """Whether files and rows that cannot be read are left out and counted."""
    normalize: bool = True
    """Whether inputs get mean 0 and deviation 1, as in the training part."""


@dataclass(frozen=True)
class Model:
    """What is trained."""

    kind: str = "mlp"
    """linear or mlp; for pictures cnn, lenet5, resnet8, resnet20, resnet32, resnet18, mobilenet or convnext."""
    hidden: tuple[int, ...] = (128, 64)
    """The widths of the hidden layers of an mlp."""
    activation: str = "relu"
    """relu, gelu, tanh or sigmoid, of an mlp."""
    dropout: float = 0.0
    """The probability with which hidden units of an mlp are dropped in training."""


@dataclass(frozen=True)
class Train:
    """How it is trained."""

    epochs: int = 10
    batch_size: int = 32
    optimizer: str = "adamw"
    lr: float | None = None
    """The learning rate (default: the optimizer's)."""
    weight_decay: float | None = None
    schedule: str = ""
    """The learning rate of each step: cosine, one_cycle, linear, polynomial, plateau or warmup_stable_decay."""
    warmup: float = 0.0
    """Steps in which the rate rises, or below 1 a part of all steps."""
    loss: str = ""
    """cross_entropy or mse (default: what the targets are for)."""
    metrics: tuple[str, ...] = ()
    """What is measured (default: accuracy of classes, r2 of numbers)."""
    clip_norm: float | None = None
    """The largest norm of all gradients together."""
    accumulate: int = 1
    """The gradients of so many batches are added up for one step."""
    ema: float | None = None
    """The decay of an average of the weights, which is what is validated and kept."""
    class_weight: str = ""
    """balanced: every class weighs the same."""
    patience: int | None = None
    """Training ends when the validation has not improved for so many epochs, and the best weights are kept."""
    save_every: int = 1000
    """So many steps lie between the states that a training which was interrupted goes on from."""


@dataclass(frozen=True)
class Config:
    """A training."""

    name: str = ""
    """The folder of the run, in ``runs`` (default: the name of the configuration's file)."""
    seed: int = 0
    """What all chance is drawn from."""
    device: str = ""
    """cpu or cuda (default: a GPU where there is one)."""
    runs: str = "runs"
    """Where the folders of runs are."""
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    train: Train = field(default_factory=Train)


def read_config(path: Path) -> Config:
    """The settings in a TOML file. ValueError names what is unknown, with the nearest name, or of a wrong kind."""
    try:
        with naming(path):
            values: dict[str, Any] = tomllib.loads(path.read_bytes().decode())
        config = _json.typed(Config, values)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no text in UTF-8: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    config = config if config.name else replace(config, name=path.stem)
    check_name(config.name)
    return config


def check_name(name: str) -> None:
    """Raises ValueError where ``name`` is none for a folder."""
    if not re.fullmatch(r"[\w][\w.+-]*", name):
        raise ValueError(f"name {name!r} is none for a folder: letters, digits, '.', '_', '-' and '+' are")
