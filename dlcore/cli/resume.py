"""``dlcore resume RUN``: go on with a training that was interrupted, or train longer."""

from __future__ import annotations

from pathlib import Path

from dlcore.cli import ArgumentError
from dlcore.cli.options import changed
from dlcore.runs import Config, RunFolder, train
from dlcore.runs.work import resumed
from dlcore.train.progress import figures

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Go on with a training that was interrupted, or train longer."""
    if not arguments or arguments[0].startswith("-"):
        raise ArgumentError("resume: the folder of the run comes first: dlcore resume runs/NAME [--train.epochs N]")
    path, *rest = arguments
    folder = RunFolder(Path(path))
    config: Config = changed(resumed(path, folder.config), rest, f"dlcore resume {path}")
    history = train(config, resume=True)
    print(f"{path}: {len(history)} epochs" + (", stopped early" if history.stopped_early else ""))
    if history.epochs:
        print(figures(history.epochs[-1]))
    return 0
