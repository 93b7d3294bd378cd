"""`detect_anomaly`: the first operation that makes a NaN or an infinity is an error, where it happens."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from dlcore import _C
from dlcore._tensor import Tensor
from dlcore.errors import AnomalyError
from dlcore.ops.elementwise import isfinite, isnan

__all__ = ["detect_anomaly"]

_FOLDER = os.path.dirname(__file__) + os.sep


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """Within it, in this thread, the first operation that makes a NaN or an infinity raises :class:`AnomalyError`.

    The error is raised by that operation, of the forward or of the backward pass or of an optimizer, so that its
    traceback shows the line; the text names the operation, the shapes and the ranges of its operands, and in a backward
    pass the operation whose gradient it was computing, and where that was called within the block. An operation that
    is given a NaN has not made it, and masks of -inf that a program writes itself are none of its business. What
    operations write in place is looked at as well.

    Everything runs eagerly, recorded steps too, and every operation waits for its values: for finding a fault, not for
    training.

    >>> with dl.detect_anomaly():
    ...     dl.log(dl.tensor([1.0, 0.0]))
    Traceback (most recent call last):
    dlcore.errors.AnomalyError: log made an infinity: f32[2] in [0, 1] -> f32[2]
    """
    before = _C.set_examiner(_examiner)
    try:
        yield
    finally:
        _C.set_examiner(before)


def _examiner(name: str, operands: tuple[Any, ...]) -> Callable[[tuple[Any, ...]], None]:
    found = _C.gradient_of()
    called = "" if found is None or found[1] is None else f", called at {found[1]}"
    place = "" if found is None else f", in the gradient of {found[0]}{called}"
    given = [t for t in operands if isinstance(t, Tensor)]
    state, text = _state(given), " ".join(map(_described, given[:4])) + (" ..." if len(given) > 4 else "")
    written = [(t, t.version) for t in given if not t.weak and t.dtype.is_float]

    def check(outputs: tuple[Any, ...]) -> None:
        made = [*(t for t in outputs if isinstance(t, Tensor)), *(t for t, version in written if t.version != version)]
        after = _state(made)
        if after <= state:
            return
        shapes = " ".join(_shape(t) for t in made[:4])
        what = "a NaN" if after == 2 else "an infinity"
        raise AnomalyError(f"{name} made {what}{place}: {text or 'nothing'} -> {shapes}")

    check.where = _line()  # type: ignore[attr-defined]  # the tape keeps it for the backward pass
    return check


def _line() -> str:
    """File and line of the code outside of dlcore that runs now."""
    frame: Any = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_FOLDER):
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def _state(tensors: Iterable[Tensor]) -> int:
    """0 where all values are finite, 2 where there is a NaN, else 1."""
    wrong = [t.detach() for t in tensors if t.dtype.is_float and t.size and not bool(isfinite(t.detach()).all())]
    return 2 if any(bool(isnan(t).any()) for t in wrong) else int(bool(wrong))


def _shape(t: Tensor) -> str:
    short = t.dtype.name.replace("float", "f").replace("uint", "u").replace("int", "i")
    return f"{short}[{','.join(map(str, t.shape))}]"


def _described(t: Tensor) -> str:
    """Shape and range: ``f32[2] in [0, 1]``; of a number, its value."""
    if not t.ndim:
        return f"{t.item():g}"
    if not t.size or not t.dtype.is_float:
        return _shape(t)
    values = t.detach().astype("float64")
    return f"{_shape(t)} in [{values.min().item():.4g}, {values.max().item():.4g}]"
