"""The CTC loss and its gradient on a GPU: the planner of ctc.cu."""

from __future__ import annotations

import math
from typing import Any

from dlcore.dtypes import float64, int64
from dlcore.kernels.common.convert import identity
from dlcore.kernels.common.pointwise import Operand, launch
from dlcore.kernels.launch import (
    BAD_LABEL,
    BAD_LENGTH,
    Call,
    Cuda,
    Errors,
    In,
    Launch,
    Out,
    Program,
    Temp,
    View,
    Workspace,
    accumulator,
)
from dlcore.kernels.movement.gather import CPP

__all__ = ["ctc_loss"]

THREADS = 128
_FLOATS = {"float32": "float", "float64": "double", "float16": "__half", "bfloat16": "__nv_bfloat16"}


def ctc_loss(call: Call) -> Program:
    """The losses of all samples, or their mean or sum; the gradient of it where the second output is wanted."""
    x, targets, steps, lengths = call.inputs
    out, dx = call.outputs
    blank, reduction, zero_infinity = (int(p) for p in call.params)
    assert x is not None and targets is not None and steps is not None and lengths is not None and out is not None
    batched = len(x.shape) == 3
    samples = x.shape[1] if batched else 1
    if samples == 0:
        value = math.nan if reduction == 1 else 0.0
        nothing = Operand(value, View((), accumulator(out.dtype), (), weak=True))
        return Program(launch(identity, False, Operand(Out(0), out), nothing) if out.size else ())
    wide, kept = accumulator(x.dtype), x.shape[0] if dx is not None else min(2, x.shape[0])
    states = 2 * targets.size + samples
    args: dict[str, Any] = {
        "x": In(0), "targets": In(1), "input_lengths": In(2), "target_lengths": In(3),
        "dx": None if dx is None else Out(1), "losses": Temp(0, float64), "alpha_rows": Temp(1, wide),
        "others": Temp(2, wide), "next": Temp(3, int64), "errors": Errors(), "bad_length": BAD_LENGTH,
        "bad_label": BAD_LABEL, "steps_most": x.shape[0], "classes": x.shape[-1], "step_stride": x.strides[0],
        "sample_stride": x.strides[1] if batched else 0, "class_stride": x.strides[-1],
        "count": targets.shape[-1], "padded": int(len(targets.shape) == 2), "blank": blank, "kept": max(kept, 1),
        "mean": int(reduction == 1), "zero_infinity": zero_infinity,
    }  # fmt: skip
    name = _FLOATS[x.dtype.name]
    types = ", ".join([name, *(CPP[v.dtype.name] for v in (targets, steps, lengths))])
    temps = (
        Workspace(8 * samples), Workspace(max(kept, 1) * states * wide.itemsize),
        Workspace(3 * states * wide.itemsize), Workspace(max(16 * targets.size, 16)),
    )  # fmt: skip
    finish = {"losses": Temp(0, float64), "out": Out(0), "samples": samples, "each": int(reduction == 0)}
    launches = (
        Launch(Cuda("ctc/ctc.cu", f"ctc<{types}>", THREADS), (samples,), args),
        Launch(Cuda("ctc/ctc.cu", f"finish<{name}>", THREADS), (1,), finish),
    )
    copied = tuple(k for k, v in enumerate(call.inputs) if k and v is not None and not v.contiguous)
    return Program(launches, temps, copied)
