"""`c`: a model as one C file."""

from __future__ import annotations

import os
import re
from typing import Any

from dlcore._files import replacing
from dlcore.export.c_forms import C_FORMS, ROUNDED
from dlcore.export.c_text import Program
from dlcore.export.trace import Prediction, example_of
from dlcore.nn.module import Module

__all__ = ["c"]


def c(model: Module, path: str | os.PathLike[str], example: Any) -> None:
    """Write ``model`` as one C file with its weights, which needs nothing but a C99 compiler and libm.

    The file defines ``void NAME_predict(const T *input, U *output)`` for one sample, NAME being that of the file:
    what `dlcore.predict` does with one row, the preprocessing that ``fit`` has left included. ``example``: samples
    (N, ...) of the shape and dtype that `predict` gets; T is that dtype, U that of the outputs, of which each has an
    argument. Compiled with ``-DDLCORE_MAIN`` it is a program that reads the numbers of samples from standard input and
    prints the outputs of each on a line: ``cc -O2 -DDLCORE_MAIN -o digits digits.c -lm``. Intermediate results lie in
    static memory, so that one call at a time may run.

    The outputs have the bits of dlcore's plain kernels (``DLCORE_ISA=v1``) for one row, except for float64 powers,
    sines and cosines and float32 ones beyond 2^20, which are libm's; sums of more than 65536 elements, and logsumexp of
    columns of more than 16, which run in another order; means of windows, `layer_norm`, `rms_norm`, `group_norm`, gated
    units and attention, which sum in double. The row of a token outside of the vocabulary is NaN.

    Raises ValueError, naming the operation and the line, for operations that have no form in C, for what depends on
    values of the input, and for models of more than 32 MB; TypeError for 16-bit floats.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    >>> dl.export.c(model, "digits.c", example=np.zeros((1, 8, 8), np.float32))
    """
    name = "export.c"
    samples = example_of(example, name)
    prediction = Prediction(model, name)
    one = samples[:1]
    prediction.eager(one)
    stem = re.sub(r"\W", "_", os.path.splitext(os.path.basename(os.fspath(path)))[0], flags=re.ASCII)
    stem = stem if re.match(r"[A-Za-z]", stem) else f"model_{stem}"
    text = Program(prediction.recorded(one, planned=True), one, stem, prediction.names, C_FORMS | ROUNDED).text()
    with replacing(path) as file:
        file.write(text.encode())
