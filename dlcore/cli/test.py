"""``dlcore test RUN``: the figures of a run's model on its test part, which is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from dlcore.cli.eval import write_json
from dlcore.cli.show import listing
from dlcore.runs import RunFolder
from dlcore.runs.work import tested

__all__ = ["run"]


def run(folder: Annotated[Path, tyro.conf.Positional], json: Path | None = None) -> int:
    """Measure a trained model on its test part, which is recorded.

    The test part tells how good a model is that was chosen without it. Each further look makes it a second validation
    part, so that the looks are counted.

    Args:
        folder: The folder of the run.
        json: A file that the figures are written to.
    """
    figures, times = tested(RunFolder(folder))
    print(listing(figures))
    if times > 1:
        print(f"the test part has been used {times} times: its figures are no longer those of data never looked at")
    if json is not None:
        write_json(json, figures)
    return 0
