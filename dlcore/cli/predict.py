"""``dlcore predict RUN FILES``: predictions for new samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from dlcore.runs import RunFolder
from dlcore.runs.work import predicted, read_inputs

__all__ = ["run"]


def run(
    folder: Annotated[Path, tyro.conf.Positional],
    files: Annotated[tuple[str, ...], tyro.conf.Positional] = ("-",),
    out: Path | None = None,
) -> int:
    """Predict for new pictures, tables and arrays.

    A line for each sample is printed: its name, the likeliest class and its probability, or the numbers predicted.

    Args:
        folder: The folder of the run.
        files: Pictures, .npy, .npz and .csv files, or - for standard input: the numbers of a sample on each line.
        out: A .npy file for the outputs: probabilities of all classes (N, C), or the numbers predicted.
    """
    where = RunFolder(folder)
    names, samples = read_inputs(where, files)
    outputs, classes = predicted(where, samples)
    for k, name in enumerate(names):
        if classes is not None:
            print(f"{name}\t{classes[k]}\t{outputs[k].max():.4f}")
        else:
            print(f"{name}\t{' '.join(f'{x:.6g}' for x in np.ravel(outputs[k]))}")
    if out is not None:
        np.save(out, outputs)
    return 0
