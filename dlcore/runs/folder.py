"""The folder of a run: its settings, data, log, states and model, each in one file."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dlcore import _json, _toml
from dlcore._checkpoint import load
from dlcore._files import write
from dlcore.nn.module import Module
from dlcore.runs.config import Config, read_config
from dlcore.train.logs import read_log

__all__ = ["RunFolder", "runs_in"]

_FORMAT = 1  # of data.json


class RunFolder:
    """A run in the folder ``path``.

    =======================  ===========================================================================================
    config.toml              all settings
    data.json                how many samples are in which part, and the names of the classes
    environment.json         versions and machine
    log.jsonl, curves.png    the figures of each epoch
    checkpoints/             states from which an interrupted training goes on
    model.safetensors        the model, with its architecture and preprocessing, when the training has ended
    tests.jsonl              each time that the test set was used
    =======================  ===========================================================================================
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config_path, self.data_path = self.path / "config.toml", self.path / "data.json"
        self.log_path, self.model_path = self.path / "log.jsonl", self.path / "model.safetensors"
        self.checkpoints, self.tests_path = self.path / "checkpoints", self.path / "tests.jsonl"

    @property
    def exists(self) -> bool:
        """Whether there is a run."""
        return self.config_path.is_file()

    def check(self) -> None:
        """Raises ValueError where there is no run."""
        if not self.exists:
            raise ValueError(f"{self.path} is no folder of a run: it has no config.toml")

    def begin(self, config: Config, data: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        """Write what is known before the first step."""
        write(self.data_path, json.dumps({"format": _FORMAT, **data}, indent=1))
        write(self.path / "environment.json", json.dumps(environment, indent=1))
        write(self.config_path, _toml.document(config))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it no other process trains in the folder (ValueError where one does); beside it lies a lock file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (self.path.parent / f".{self.path.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"{self.path}: another process is training there") from None
            yield

    def remove(self) -> None:
        """Remove the run. Raises ValueError for a folder that is none, and is not empty."""
        if self.path.exists():
            if not self.exists and any(self.path.iterdir()):
                raise ValueError(f"{self.path} is not empty, and no folder of a run: it is not overwritten")
            shutil.rmtree(self.path)

    @property
    def config(self) -> Config:
        """The settings."""
        self.check()
        return read_config(self.config_path)

    @property
    def data(self) -> dict[str, Any]:
        """What is known of the data."""
        self.check()
        try:
            return _json.read(self.data_path, _FORMAT)
        except ValueError as error:
            raise ValueError(f"{self.data_path}: {error}") from None

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The figures of the epochs so far."""
        return list(read_log(self.log_path)) if self.log_path.exists() else []

    def model(self) -> Module:
        """The trained model. Raises ValueError while there is none."""
        self.check()
        if not self.model_path.exists():
            raise ValueError(f"{self.path} has no model yet: its training has not ended (dlcore resume {self.path})")
        return load(self.model_path)

    def note_test(self, figures: Mapping[str, Any]) -> int:
        """Record that the test set was used; returns how many times it has been."""
        line = json.dumps({"at": datetime.now(UTC).isoformat(timespec="seconds"), **figures})
        with self.tests_path.open("a") as file:
            file.write(line + "\n")
        return len(self.tests_path.read_text().splitlines())

    @property
    def tests(self) -> int:
        """How many times the test set has been used."""
        return len(self.tests_path.read_text().splitlines()) if self.tests_path.exists() else 0

    def differences(self, config: Config, allowed: tuple[str, ...]) -> list[str]:
        """The settings, by dotted names, in which ``config`` differs from the run's, but for those ``allowed``."""
        own, other = _flat(asdict(self.config)), _flat(asdict(config))
        return [name for name, value in own.items() if other[name] != value and name not in allowed]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = tuple(value) if isinstance(value, list) else value
    return found


def runs_in(folder: str | Path) -> Iterator[RunFolder]:
    """The runs in a folder, the oldest first."""
    path = Path(folder)
    found = [RunFolder(p) for p in path.iterdir()] if path.is_dir() else []
    return iter(sorted((r for r in found if r.exists), key=lambda r: (r.config_path.stat().st_mtime, r.path.name)))
