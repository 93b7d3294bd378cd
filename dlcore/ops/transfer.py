"""Tensors moved from one device to another."""

from __future__ import annotations

import math
from typing import Any

from dlcore import _C
from dlcore._device import CPU, Device
from dlcore.dtypes import DTYPES, float32
from dlcore.errors import DTypeError
from dlcore.op import REQUIRED, Op, Sample, Size, Spec, Wrong

__all__ = ["transfer"]


def _infer(x: Spec, device: Device) -> Spec:
    if x.weak:
        raise DTypeError("transfer: operand 'x' is a number, not a tensor")
    return Spec(x.shape, x.dtype)


def _move(x: Any, out: Any, device: Device) -> None:
    """One copy; reading back from a GPU waits for it, and raises what its kernels found wrong."""
    _C.copy_memory(x.contiguous(), out)
    if device is CPU and x.device is not CPU:
        x.device.backend.after_read_back()


TRANSFER = Op(
    name="transfer",
    doc="""A copy of `x` in the memory of `device` (a Device); gradients flow back to where `x` is.

    Copies between the host and a GPU run in the order of the GPU's other work; one to the CPU waits for it.""",
    inputs="x",
    attrs={"device": REQUIRED},
    infer=_infer,
    promote=None,
    place=lambda device: device,
    kernels={"cpu": _move, "cuda": _move},
    vjp=lambda ctx, dout: transfer(dout, ctx.devices[0]),
    ref=lambda x, device: x.copy(),
    samples=lambda rng: [
        Sample((rng.standard_normal((33, 65)),), (CPU,), "unaligned"),
        Sample((rng.standard_normal((0, 4)),), (CPU,), "empty"),
        Sample((rng.standard_normal(()),), (CPU,), "0-d"),
    ],
    errors=lambda: [Wrong((2.0,), (CPU,), DTypeError, "transfer: operand 'x' is a number, not a tensor")],
    sizes=(Size(((1 << 20,),), (CPU,), "1M, to the host", (float32,)),),
    peers={"torch": "x.to('cpu', copy=True)"},
    dtypes=DTYPES,
    cost=lambda x, device: (0.0, 2.0 * math.prod(x.shape) * x.dtype.itemsize),
)
transfer: Any = TRANSFER.call
