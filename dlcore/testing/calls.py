"""A call of an operation, and what its reference gives for the same operands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore._tensor import Tensor
from dlcore.dtypes import as_dtype
from dlcore.op import Op, Spec
from dlcore.testing.operands import Arrays


def specs(op: Op, operands: Sequence[Any]) -> list[Spec | None]:
    """What shape rules and costs see of the operands, promoted."""
    return op.promoted([_spec(x) for x in operands])


def _spec(x: Any) -> Spec | None:
    if x is None:
        return None
    if isinstance(x, Tensor):
        return Spec(x.shape, x.dtype, x.weak, x.strides)
    if isinstance(x, np.ndarray):
        return Spec(x.shape, as_dtype(x.dtype))
    return Spec((), as_dtype(type(x)), True)


def values(op: Op, operands: Sequence[Any], attrs: Sequence[Any], lengths: Sequence[int] = ()) -> dict[str, Any]:
    """Operands and converted attributes by name: what an operation's functions are called with."""
    bound = op.bind(attrs, [_spec(x) for x in operands], lengths)
    return op.values(operands, bound, lengths)


def call(op: Op, operands: Sequence[Any], attrs: Sequence[Any] = (), lengths: Sequence[int] = ()) -> list[Any]:
    """Outputs of the operation; of one that writes in place, the operands it wrote, then its outputs."""
    result = op.call(*op.nested(operands, lengths), *attrs)
    outputs = [] if result is None else list(result) if isinstance(result, tuple) else [result]
    return [operands[k] for k in op.written(lengths)] + [o for o in outputs if o is not None]


def promoted(op: Op, operands: Sequence[Any]) -> Arrays:
    """Copies of the operands' values, cast by NumPy as the operation promotes them; numbers and None as they are."""
    with np.errstate(all="ignore"):  # what the dtype cannot hold is infinite
        return [
            np.array(x, copy=True).astype(s.dtype.numpy) if isinstance(x, Tensor) and s is not None else x
            for x, s in zip(operands, specs(op, operands), strict=True)
        ]


def reference(
    op: Op, arrays: Sequence[Any], attrs: Sequence[Any] = (), lengths: Sequence[int] = ()
) -> list[np.ndarray[Any, Any]]:
    """What the operation's reference gives for these values, in float64."""
    given = _widened(op, arrays, attrs, lengths, np.float64)
    with np.errstate(all="ignore"):
        return [np.asarray(r) for r in op.expected(given) if r is not None]


def long_reference(
    op: Op, arrays: Sequence[Any], attrs: Sequence[Any] = (), lengths: Sequence[int] = ()
) -> list[np.ndarray[Any, Any]]:
    """What the reference gives in long double: for float64 operands, on which it is in float64 no better than a kernel.

    Empty where it does not take long doubles.
    """
    given = _widened(op, arrays, attrs, lengths, np.longdouble)
    try:
        with np.errstate(all="ignore"):
            return [np.asarray(r) for r in op.expected(given) if r is not None]
    except (TypeError, ValueError):
        return []


def magnitude(
    op: Op, arrays: Sequence[Any], attrs: Sequence[Any], k: int, n: int, lengths: Sequence[int] = ()
) -> Any:
    """What errors of output ``k`` of ``n`` are measured against; None means the reference's own size."""
    given = _widened(op, arrays, attrs, lengths, np.float64)
    with np.errstate(all="ignore"):
        scale = op.magnitudes(given)
    return scale[k] if isinstance(scale, tuple | list) else scale


def _widened(op: Op, arrays: Sequence[Any], attrs: Sequence[Any], lengths: Sequence[int], dtype: Any) -> dict[str, Any]:
    """As `values`, with copies of the arrays, floating ones in ``dtype``."""
    wide = [
        x.astype(dtype if as_dtype(x.dtype).is_float else x.dtype) if isinstance(x, np.ndarray) else x for x in arrays
    ]
    return values(op, arrays, attrs, lengths) | dict(zip(op.input_names, op.nested(wide, lengths), strict=True))
