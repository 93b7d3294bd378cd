"""The language in which operations are defined: see `dlcore.op.operation`."""

from dlcore.op.cases import ErrorInput, Input, Sample, Workload, flat, lengths_of, shape_of
from dlcore.op.operation import REGISTRY, Op, as_given, floating, function, operation, widest
from dlcore.op.signature import (
    REQUIRED,
    Attribute,
    Axes,
    Axis,
    AxisOf,
    Choice,
    Domain,
    Dtype,
    Kind,
    OutputMask,
    Shape,
    Spec,
    accepted,
    named,
)

__all__ = [
    "REGISTRY", "REQUIRED", "Attribute", "Axes", "Axis", "AxisOf", "Choice", "Domain", "Dtype", "ErrorInput", "Input",
    "Kind", "Op", "OutputMask", "Sample", "Shape", "Spec", "Workload", "accepted", "as_given", "flat", "floating", "function",
    "lengths_of", "named", "operation", "shape_of", "widest",
]  # fmt: skip
