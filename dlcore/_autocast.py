"""`autocast`: products in 16-bit floats, everything that needs the range or the precision in float32."""

from __future__ import annotations

from typing import Any

from dlcore import _C
from dlcore._arguments import boolean
from dlcore._modes import Mode
from dlcore.dtypes import DType, as_dtype, bfloat16, float16
from dlcore.errors import DTypeError

__all__ = ["autocast", "autocast_dtype"]


class autocast(Mode):
    """Operations compute in ``dtype`` where they gain by it: ``with dl.autocast(dl.bfloat16): loss = ...``.

    Also a decorator, ``@dl.autocast(dl.bfloat16)``. Parameters stay in float32, and so do their gradients. What happens
    to the operands of an operation is said by its definition, ``Op.cast``:

    - "low" (matmul, linear): operands in float32 and in the other 16-bit float are cast to ``dtype``, and the result
      has it. Sums within a product are in float32 all the same.
    - "float32" (softmax, losses, exp, log, pow, sums, means): operands of 16 bits are cast to float32, and so the
      result is float32.
    - "widest" (everything else): operands are promoted as always, float32 and bfloat16 to float32.

    A call with an operand in float64, writes in place (``x += y``), backward passes and the updates of optimizers are
    left alone; integers are never cast. Gradients have the dtype of what they are gradients of: those of parameters are
    added up in float32. An operation in terms of others is computed in the dtypes that it was called with.

    A parameter is cast once, and the cast is used again until the parameter is written or the block ends. A step that
    is recorded (`dlcore.capture`) inside a block, or that has one inside, is replayed as it ran; recordings are made
    for each mode.

    dtype: bfloat16, which has the range of float32, or float16, whose gradients may underflow below 6e-8: multiply the
    loss by a large number, and divide the gradients by it. None, or enabled=False, switches autocast off for a block
    inside.

    Raises DTypeError for other dtypes.

    >>> w = dl.Parameter(dl.ones((2, 2)))
    >>> with dl.autocast(dl.bfloat16):
    ...     y = dl.ones((1, 2)) @ w
    ...     loss = y.sum()
    >>> loss.backward()
    >>> y.dtype.name, loss.dtype.name, w.grad.dtype.name
    ('bfloat16', 'float32', 'float32')
    """

    def __init__(self, dtype: Any = bfloat16, enabled: bool = True):
        super().__init__()
        chosen = None if dtype is None else as_dtype(dtype, "autocast: dtype")
        if chosen not in (None, float16, bfloat16):
            raise DTypeError(f"autocast: dtype is bfloat16 or float16, not {chosen.name}")
        self.state: DType | None = chosen if boolean(enabled, "autocast: enabled") else None

    switch = staticmethod(_C.set_autocast)


def autocast_dtype() -> DType | None:
    """The dtype of `autocast` in this thread; None where it is off."""
    return _C.autocast_dtype()
