"""Models of one operation each, for the tests of exported files.

As a program it writes each of them as a C file into a folder, with its input and outputs: run with ``DLCORE_ISA=v1``
these are what the plain kernels compute.
"""

import json
import sys
from pathlib import Path

import numpy as np

import dlcore as dl
from dlcore import nn
from dlcore.export.c_forms import C_FORMS, ROUNDED
from dlcore.op import REGISTRY, lengths_of


class OneOperation(nn.Module):
    """An operation of its first operand; the others are constants. ``single``: the operand is the one sample."""

    def __init__(self, op, operands, lengths, attrs, single=False):
        self.op, self.operands, self.lengths, self.attrs, self.single = op, operands, lengths, attrs, single

    def forward(self, x):
        first = x[0] if self.single else x
        if not self.op.output_names:  # it fills its operand
            first = first.clone()
        out = self.op.call(*self.op.nested([first, *self.operands], self.lengths), **self.attrs)
        out = first if out is None else out
        return out[None] if self.single else out


def samples(names, largest=4096):
    """(number, operation, sample, dtype) of the samples of the operations called ``names``."""
    for name in names:
        for k, sample in enumerate(REGISTRY[name].sample_inputs()):
            if 0 < sample.size <= largest:
                for dtype in ("float32", "float64") if sample.in_any_dtype else ("",):
                    yield f"{name}-{k}-{dtype or 'own'}", REGISTRY[name], sample, dtype


def drawn(op, sample, dtype, single=False):
    """The model and its input; None where the first operand is no array that can be a batch."""
    arrays = sample.arrays(op.name, op.signature.operands)
    with np.errstate(over="ignore"):  # what the dtype cannot hold is infinite
        arrays = [a.astype(dtype) if dtype and isinstance(a, np.ndarray) and a.dtype == float else a for a in arrays]
    first, *rest = arrays
    if not isinstance(first, np.ndarray) or first.size == 0 or not (first.ndim or single):
        return None
    constants = [dl.tensor(a) if isinstance(a, np.ndarray) else a for a in rest]
    lengths = lengths_of(sample.inputs, op.signature.operands)
    return OneOperation(op, constants, lengths, sample.attrs, single), first


def main(folder):
    """Write everything into ``folder``, with a list of it: what was refused, and why."""
    refused = {}
    for label, op, sample, dtype in samples(sorted({*C_FORMS, *ROUNDED} - {"copy"})):
        number = int(label.split("-")[1])
        if dtype == ("float64" if number % 2 else "float32") and number > 1:
            continue  # of most samples one dtype will do: each is a file to compile
        made = drawn(op, sample, dtype, single=True)
        if made is None:
            continue
        model, x = made
        stem = label.replace("-", "_")
        try:
            dl.export.c(model, folder / f"{stem}.c", example=x[None])
        except (ValueError, TypeError) as error:
            refused[stem] = str(error)
            continue
        with dl.no_grad():
            y = np.asarray(model(dl.tensor(x[None])))
        np.savez(folder / f"{stem}.npz", x=x, y=y)
    (folder / "refused.json").write_text(json.dumps({"isa": dl._C.isa(), "refused": refused}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
