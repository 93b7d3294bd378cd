"""The language in which operations are defined: see `dlcore.op.operation`."""

from dlcore.op.cases import ErrorInput, Input, Sample, Workload, flat, lengths_of, shape_of
from dlcore.op.operation import REGISTRY, Op, as_given, check_floating, floating, function, operation, widest
from dlcore.op.signature import (
    EVERYWHERE,
    REQUIRED,
    Attribute,
    Axes,
    Axis,
    AxisOf,
    Choice,
    Domain,
    Dtype,
    Kind,
    Operand,
    OutputMask,
    Shape,
    Signature,
    Spec,
    accepted,
    named,
)

__all__ = [
    "EVERYWHERE", "REGISTRY", "REQUIRED", "Attribute", "Axes", "Axis", "AxisOf", "Choice", "Domain", "Dtype",
    "ErrorInput", "Input", "Kind", "Op", "Operand", "OutputMask", "Sample", "Shape", "Signature", "Spec", "Workload",
    "accepted", "as_given", "check_floating", "flat", "floating", "function", "lengths_of", "named", "operation",
    "shape_of", "widest",
]  # fmt: skip
