"""Checks made from a definition: what the tests of dlcore run for every operation, and what one of your own gets too.

    from dlcore import testing
    testing.check(my_op)          # every sample, dtype and memory layout; gradients; errors; repeatability
    testing.check(my_op, "cuda")  # a choice of them on a GPU, gradients against the CPU's in float64

Each check raises AssertionError with the operation, the sample, the worst element and the error in units of the bound.
"""

from __future__ import annotations

from typing import Any

from dlcore._device import CPU
from dlcore._device import device as as_device
from dlcore._func_checks import check_batching, gradcheck, gradgradcheck
from dlcore.op import Op
from dlcore.testing.calls import call, magnitude, promoted, reference, specs, values
from dlcore.testing.differences import Difference, compare, difference, guarded
from dlcore.testing.gradients import check_gradient, check_second_order
from dlcore.testing.operands import (
    LAYOUTS,
    Combination,
    attributes,
    combinations,
    drawn,
    laid_out,
    lengths,
    rounded,
    samples,
    tensors,
)
from dlcore.testing.replays import check_replay
from dlcore.testing.results import check_call, check_errors, check_forward, check_other_dtypes, check_repeatable

__all__ = [
    "LAYOUTS",
    "Combination",
    "Difference",
    "attributes",
    "call",
    "check",
    "check_batching",
    "check_call",
    "check_errors",
    "check_forward",
    "check_gradient",
    "check_other_dtypes",
    "check_repeatable",
    "check_replay",
    "check_second_order",
    "combinations",
    "compare",
    "difference",
    "drawn",
    "gradcheck",
    "gradgradcheck",
    "guarded",
    "laid_out",
    "lengths",
    "magnitude",
    "promoted",
    "reference",
    "rounded",
    "samples",
    "specs",
    "tensors",
    "values",
]


def check(op: Op, device: Any = CPU) -> None:
    """All checks of one operation: forward in every dtype and layout, gradients, errors, repeatability.

    On a GPU those of `combinations`.
    """
    if as_device(device) is not CPU:
        for sample, dtype, layout, thorough in combinations(op):
            check_forward(op, sample, dtype, layout, device)
            if thorough:
                check_repeatable(op, sample, dtype, device)
            if thorough and sample.grad and op.differentiable and dtype.is_float:
                check_gradient(op, sample, dtype, device)
    else:
        for sample in samples(op):
            for dtype in op.dtypes:
                for layout in LAYOUTS:
                    check_forward(op, sample, dtype, layout)
                check_repeatable(op, sample, dtype)
            if sample.grad and op.differentiable:
                check_gradient(op, sample)
                check_second_order(op, sample)
    check_errors(op, device)
