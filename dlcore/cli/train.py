"""``dlcore train CONFIG.toml``: train a model as a file of settings says."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from dlcore.cli import ArgumentError
from dlcore.cli.options import changed
from dlcore.runs import Config, RunFolder, read_config, train
from dlcore.train.progress import figures

__all__ = ["main"]


@dataclass(frozen=True)
class Options(Config):
    """Train a model as CONFIG.toml says; every setting in it is an option, too."""

    resume: bool = False
    """Go on with a run that is there, or begin it."""
    overwrite: bool = False
    """Remove a run of this name that is there."""


def main(arguments: list[str]) -> int:
    """Train a model as a file of settings says."""
    if not arguments or arguments[0].startswith("-"):
        if {"-h", "--help"} & set(arguments):
            changed(Options(name="NAME"), ["--help"], "dlcore train CONFIG.toml")
        raise ArgumentError("train: the file with the settings comes first: dlcore train CONFIG.toml [OPTIONS]")
    path, *rest = arguments
    base = read_config(Path(path))
    known = {f.name: getattr(base, f.name) for f in fields(Config)}
    options = changed(Options(**known), rest, f"dlcore train {path}")
    config = Config(**{f.name: getattr(options, f.name) for f in fields(Config)})
    history = train(config, options.resume, options.overwrite)
    folder = RunFolder(Path(config.runs) / config.name)
    end = f"stopped early after {len(history.epochs)} epochs" if history.stopped_early else f"{len(history)} epochs"
    print(f"{folder.path}: {end}")
    if history.epochs:
        print(figures(history.epochs[-1]))
    print(f"the model is in {folder.model_path}")
    return 0
