"""``dlcore export RUN``: a run's model as a file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from dlcore.cli import ArgumentError
from dlcore.runs import RunFolder
from dlcore.runs.work import exported

__all__ = ["run"]


def run(folder: Annotated[Path, tyro.conf.Positional], onnx: Path | None = None, c: Path | None = None) -> int:
    """Write a trained model as ONNX, or as one C file.

    Both contain the preprocessing and take samples as they were in the training: bytes of pictures, floats of tables.

    Args:
        folder: The folder of the run.
        onnx: The ONNX file. It takes batches of any size, and is compared with dlcore if onnxruntime is installed.
        c: The C file: one sample a call; with -DDLCORE_MAIN a program that reads numbers and prints outputs.
    """
    if onnx is None and c is None:
        raise ArgumentError("--onnx FILE, --c FILE or both say what is to be written")
    difference = exported(RunFolder(folder), onnx, c)
    if onnx is not None:
        checked = "not checked, for onnxruntime is not installed"
        if difference is not None:
            checked = f"onnxruntime's outputs differ by {difference:.2g} at most"
        print(f"{onnx}: {onnx.stat().st_size} bytes, {checked}")
    if c is not None:
        print(f"{c}: {c.stat().st_size} bytes, cc -O2 -DDLCORE_MAIN -o {c.stem} {c} -lm")
    return 0
