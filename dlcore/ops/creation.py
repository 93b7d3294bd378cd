"""Tensors filled with what their positions say: what `arange` and `linspace` are made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlcore.dtypes import float32, float64, int32, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Sample, Spec, Workload, as_given, operation

__all__ = ["ramp"]

DTYPES = (float32, float64, int32, int64)


def _numpy_ramp(x: Any, first: float, step: float, last: float) -> Any:
    filled = np.array([first + i * step for i in range(len(x) - 1)] + [last] * (len(x) > 0), np.float64)
    return filled if x.dtype.kind == "f" else np.trunc(filled)


@operation(
    family="creation", kernels={"cuda": "creation.ramp:ramp"}, promote=as_given, outputs="", writes="x",
    dtypes=DTYPES, reference=_numpy_ramp,
    cost=lambda x: (2.0 * x.shape[0], 1.0 * x.shape[0] * x.dtype.itemsize),
    samples=[
        Sample((n,), first=first, step=step, last=first + (n - 1) * step, why=why, grad=False)
        for n, first, step, why in ((33, -4.0, 3.0, "ragged"), (1, 5.0, 2.0, "one"), (0, 0.0, 1.0, "empty"))
    ],
    error_inputs=[
        ErrorInput(ShapeError, "ramp: x has shape (2, 3), not one axis",
                   np.zeros((2, 3)), first=0.0, step=1.0, last=5.0),
        ErrorInput(DTypeError, "ramp: x is of dtype int8, not float32, float64, int32 or int64",
                   np.zeros(3, np.int8), first=0.0, step=1.0, last=2.0),
    ],
    workloads=[Workload(((n,),), (0.0, 1.0, n - 1.0), why) for n, why in ((1 << 20, "1M"), (8, "small"))],
    baselines={"torch": "torch.arange(len(x), out=x)"},
)  # fmt: skip
def ramp(x: Spec, first: float, step: float, last: float) -> None:
    """Writes first + i step into element i of `x`, which has one axis, and `last` into the last one.

    Computed in float64, then rounded, or cut towards 0 where `x` is of integers. `x`: float32, float64, int32 or int64.
    """
    if len(x.shape) != 1:
        raise ShapeError(f"ramp: x has shape {x.shape}, not one axis")
    if x.dtype not in DTYPES:
        raise DTypeError(f"ramp: x is of dtype {x.dtype.name}, not float32, float64, int32 or int64")
