"""Whether a recorded call gives the bits of an eager one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore import _autograd
from dlcore._capture import capture
from dlcore._device import CPU, default_device
from dlcore._tensor import Tensor, from_numpy
from dlcore.dtypes import DType
from dlcore.errors import CaptureError
from dlcore.op import Op, Sample
from dlcore.testing.calls import call
from dlcore.testing.operands import attributes, drawn, lengths, rounded


def check_replay(op: Op, sample: Sample, dtype: DType, calls: int = 4) -> None:
    """A captured call, with its gradients of two orders, gives the bits of an eager one: results, and what it writes.

    Over several inputs of the same shapes; what is written, like the state of random numbers, goes on from call to
    call. An operation whose shapes depend on values, or that leaves the device, is refused with CaptureError.
    """
    captured = capture(_step_of(op, sample, dtype))
    if op.dynamic or (op.output_device and default_device() is not CPU):
        try:
            list(_outcomes(op, sample, dtype, captured, calls))
        except CaptureError:
            return
        raise AssertionError(f"{op.name}: it was recorded, and cannot be")
    eager = _outcomes(op, sample, dtype, captured.function, calls)
    for k, (want, got) in enumerate(zip(eager, _outcomes(op, sample, dtype, captured, calls), strict=True)):
        what = f"{op.name} {dtype.name} {sample.why or 'sample'}: call {k}"
        assert want == got, f"{what}: a replay gives other bits than an eager call"
    assert captured.recordings == 1, f"{op.name}: recorded {captured.recordings} times: {captured.reasons}"


def _step_of(op: Op, sample: Sample, dtype: DType) -> Any:
    """The operation as a function of its array operands: what it writes and returns, and gradients of two orders."""
    arrays, attrs, sizes = rounded(op, sample, dtype), attributes(op, sample), lengths(op, sample)
    places = [k for k, x in enumerate(arrays) if isinstance(x, np.ndarray)]

    def step(*values: Tensor) -> list[Any]:
        operands = list(arrays)
        for k, value in zip(places, values, strict=True):
            operands[k] = value
        outputs = call(op, operands, attrs, sizes)
        roots = [o for o in outputs if o is not None and o.requires_grad]
        leaves = [v for v in values if v.requires_grad]
        starts = [o.detach() for o in roots]
        if not roots:
            return outputs
        found = list(_autograd.grad(roots, leaves, starts, retain_graph=True, allow_unused=True))
        return [*outputs, *found, *_second_gradients(roots, leaves, starts)]

    return step


def _second_gradients(roots: Sequence[Tensor], leaves: Sequence[Tensor], starts: Sequence[Tensor]) -> tuple[Any, ...]:
    """Gradients of the gradients, each weighted with itself."""
    first = _autograd.grad(roots, leaves, starts, create_graph=True, allow_unused=True)
    found = [g for g in first if g is not None and g.requires_grad]
    return _autograd.grad(found, leaves, [g.detach() for g in found], allow_unused=True) if found else ()


def _outcomes(op: Op, sample: Sample, dtype: DType, function: Any, calls: int) -> Iterator[list[Any]]:
    """The bits of results and operands of some calls; those of floating operands move round in them, or grow."""
    arrays, changed = rounded(op, sample, dtype), op.written(lengths(op, sample))
    backward = sample.grad and op.differentiable and dtype.is_float and (op.random or not changed)
    state: dict[int, Tensor] = {}
    for shift in range(calls):
        values = []
        for k, x in enumerate(arrays):
            if not isinstance(x, np.ndarray):
                continue
            value = state[k] if k in state else from_numpy(_varied(op, x, shift))
            if k in changed:
                state[k] = value
            elif backward and drawn(op, sample)[k].dtype == np.float64:
                value.requires_grad = True
            values.append(value)
        yield [None if t is None else np.asarray(t.detach()).tobytes() for t in [*function(*values), *values]]


def _varied(op: Op, x: np.ndarray[Any, Any], shift: int) -> np.ndarray[Any, Any]:
    """Other values than those of the call before."""
    if x.dtype.kind in "iub":
        return x.copy()
    return np.roll(x, shift) if op.movable else x * x.dtype.type(1 + shift / 8)
