"""``dlcore eval RUN``: the figures of a run's model on its validation part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from dlcore._files import write
from dlcore.cli.show import listing
from dlcore.runs import RunFolder
from dlcore.runs.work import evaluated

__all__ = ["run", "write_json"]


def run(folder: Annotated[Path, tyro.conf.Positional], json: Path | None = None) -> int:
    """Measure a trained model on its validation part.

    Args:
        folder: The folder of the run.
        json: A file that the figures are written to.
    """
    figures = evaluated(RunFolder(folder), "validation")
    print(listing(figures))
    if json is not None:
        write_json(json, figures)
    return 0


def write_json(path: Path, figures: dict[str, object]) -> None:
    """Write figures as one object."""
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in figures.items()}
    write(path, json.dumps(plain, indent=1))
