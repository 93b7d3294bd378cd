"""Checks of what an operation gives, refuses and leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from dlcore import _C, _autograd
from dlcore._device import CPU, Device, synchronize
from dlcore._device import device as as_device
from dlcore._tensor import Tensor, from_numpy, tensor
from dlcore.dtypes import DType, bool_, float16, float32, float64, int8, int32
from dlcore.op import Op, Sample, flat, lengths_of
from dlcore.testing.calls import call, long_reference, magnitude, promoted, reference
from dlcore.testing.differences import difference, guarded
from dlcore.testing.operands import attributes, drawn, floating_places, lengths, rounded, tensors


def check_forward(op: Op, sample: Sample, dtype: DType, layout: str = "contiguous", device: Any = CPU) -> float:
    """The outputs against the reference on inputs rounded to ``dtype``; inputs not written stay as they were.

    Returns the largest error in units of eps * magnitude.
    """
    arrays = rounded(op, sample, dtype)
    what = f"{op.name} {dtype.name} {sample.why or 'sample'} {layout}"
    make = lambda: tensors(arrays, layout, device)  # noqa: E731
    return check_call(op, make, attributes(op, sample), arrays, what, lengths=lengths(op, sample))


def check_call(
    op: Op,
    make: Callable[[], list[Any]],
    attrs: tuple[Any, ...] = (),
    arrays: Sequence[Any] | None = None,
    what: str = "",
    *,
    lengths: Sequence[int] = (),
    precise: bool = False,
    overflows: bool = False,
) -> float:
    """One call on the operands that ``make`` makes, against the reference; what it does not write stays as it was.

    ``arrays``: the operands as the reference takes them (default: their values, cast as the operation promotes them).
    ``lengths``: of groups. ``precise``: a result may also agree with `long_reference`. ``overflows``: see `difference`.
    Returns the largest error in units of eps * magnitude.
    """
    with guarded(), _autograd.no_grad():
        operands = make()
        given = [np.asarray(x).tobytes() if isinstance(x, Tensor) else None for x in operands]
        arrays = promoted(op, operands) if arrays is None else arrays
        got = call(op, operands, attrs, lengths)
        want, what = reference(op, arrays, attrs, lengths), what or op.name
        better = long_reference(op, arrays, attrs, lengths) if precise else []
        assert len(got) == len(want), f"{what}: {len(got)} results, the reference has {len(want)}"
        worst = 0.0
        for k, (g, w) in enumerate(zip(got, want, strict=True)):
            scale = magnitude(op, arrays, attrs, k, len(want), lengths)
            found = difference(g, w, op.ulp, scale, overflows=overflows, signs=op.signed_zeros)
            if found.text and better:
                again = difference(g, better[k], op.ulp, scale, overflows=overflows, signs=op.signed_zeros)
                found = found if again.text else again
            assert not found.text, f"{what} [{k}]: {found.text}"
            worst = max(worst, found.ulps)
        for k in set(range(len(operands))) - set(op.written(lengths)):
            if isinstance(operands[k], Tensor):
                assert np.asarray(operands[k]).tobytes() == given[k], f"{what}: operand {k} was changed"
        del operands, got
    return worst


def check_errors(op: Op, device: Any = CPU) -> None:
    """Every error input of the operation raises the error and the text it lists.

    A GPU's kernels report bad values by their position alone, at the next wait.
    """
    for wrong in op.error_cases():
        inputs = [*wrong.inputs, *[None] * (len(op.input_names) - len(wrong.inputs))]
        operands = tensors(list(flat(inputs)), device=device)
        try:
            call(op, operands, op.named_attributes(wrong.attrs), lengths_of(inputs, op.signature.operands))
            synchronize()
        except wrong.error as error:
            reported = as_device(device) is not CPU and f"{error}".startswith(f"{op.name}: the ")
            assert reported or str(error) == wrong.text, f"{op.name}: the text is {str(error)!r}, not {wrong.text!r}"
        else:
            raise AssertionError(f"{op.name}: accepted what should raise {wrong.error.__name__}: {wrong.text}")


def check_other_dtypes(op: Op, sample: Sample) -> None:
    """Operands whose dtypes do not go together: the operation converts them or raises, and keeps within its memory.

    Each array of floats in turn is one of other numbers. What is made of dtypes that a kernel does not expect may be
    smaller than what it writes.
    """
    for dtype in (float32, float64):
        arrays = rounded(op, sample, dtype)
        for k in floating_places(drawn(op, sample)):
            for other in (bool_, int8, int32, float16, float32, float64):
                with np.errstate(all="ignore"):
                    odd = [*arrays[:k], arrays[k].astype(other.numpy), *arrays[k + 1 :]]
                with guarded(), suppress(TypeError, ValueError, IndexError, OverflowError, RuntimeError):
                    call(op, tensors(odd), attributes(op, sample), lengths(op, sample))


def check_repeatable(op: Op, sample: Sample, dtype: DType, device: Any = CPU) -> None:
    """The same bits again, for any number of threads and at any address."""
    arrays, attrs, sizes = rounded(op, sample, dtype), attributes(op, sample), lengths(op, sample)
    shifted = [_shifted(x) if isinstance(x, np.ndarray) else x for x in arrays]
    threads = _C.thread_count()
    try:
        with _autograd.no_grad():
            first = [np.asarray(g).tobytes() for g in call(op, tensors(arrays, device=device), attrs, sizes)]
            for n in (1, 2, 3):
                _C.set_thread_count(n)
                moved = [_moved_by_one(x, as_device(device)) if isinstance(x, np.ndarray) else x for x in shifted]
                again = [np.asarray(g).tobytes() for g in call(op, moved, attrs, sizes)]
                assert first == again, (
                    f"{op.name} {dtype.name} {sample.why}: other bits with {n} threads and another address"
                )
    finally:
        _C.set_thread_count(threads)


def _moved_by_one(array: np.ndarray[Any, Any], place: Device) -> Tensor:
    if place is CPU:
        return from_numpy(_shifted(array))
    room = tensor(np.concatenate([np.ravel(array)[:1], np.ravel(array)]), device=place)
    return room[-array.size :].reshape(array.shape) if array.size else tensor(array, device=place)


def _shifted(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A contiguous copy that starts one element after an aligned address."""
    room = np.empty(array.size + 1, array.dtype)
    view = room[1:].reshape(array.shape)
    view[...] = array
    return view
