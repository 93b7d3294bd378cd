"""Tensors moved from one device to another."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from dlcore import _C
from dlcore._device import CPU, Device
from dlcore._device import device as as_device
from dlcore.dtypes import DTYPES, float32
from dlcore.errors import DTypeError
from dlcore.op import ErrorInput, Kind, Sample, Spec, Workload, as_given, operation
from dlcore.ops._workloads import MILLION, bytes_of

__all__ = ["transfer"]


class DeviceKind(Kind):
    """A device, by its name too."""

    def accept(self, value: Any, where: str) -> Device:
        return as_device(value)


def _move(x: Any, out: Any, device: Device) -> None:
    """One copy; reading back from a GPU waits for it, and raises what its kernels found wrong."""
    _C.copy_memory(x.contiguous(), out)
    if device is CPU and x.device is not CPU:
        x.device.backend.after_read_back()


def _stays(device: Device) -> bool:
    """Whether a tensor of the CPU is copied within its memory."""
    return device is CPU


@operation(
    batching="pointwise", kernels={"cpu": [("movement:copy", _stays), (_move, None)], "cuda": _move}, promote=as_given,
    params=lambda: (),
    output_device=lambda device: device, dtypes=DTYPES,
    gradient=lambda dout, x_device: transfer(dout, x_device),
    reference=lambda x: np.copy(x), cost=lambda x: (0.0, 2 * bytes_of(x)),
    samples=[
        Sample((33, 65), device=CPU, why="unaligned"), Sample((0, 4), device=CPU, why="empty"),
        Sample((), device=CPU, why="0-d"),
    ],
    error_inputs=[ErrorInput(DTypeError, "transfer: operand 'x' is a number, not a tensor", 2.0, device=CPU)],
    workloads=[Workload((MILLION,), (CPU,), "1M, to the host", (float32,))],
    baselines={"torch": "x.to('cpu', copy=True)"},
)  # fmt: skip
def transfer(x: Spec, device: Annotated[Device, DeviceKind()]) -> Spec:
    """A copy of `x` in the memory of `device` (a Device); gradients flow back to where `x` is.

    Copies between the host and a GPU run in the order of the GPU's other work; one to the CPU waits for it.
    """
    if x.weak:
        raise DTypeError("transfer: operand 'x' is a number, not a tensor")
    return Spec(x.shape, x.dtype)
