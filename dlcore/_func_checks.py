"""Checks of what `dlcore.func` does with an operation: `check_batching`, a part of `dlcore.testing`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dlcore._tensor import Tensor, from_numpy
from dlcore.dtypes import DType, float32
from dlcore.func import vmap
from dlcore.op import Op, Sample, lengths_of

__all__ = ["check_batching"]

EXAMPLES = 3


def check_batching(op: Op, sample: Sample, dtype: DType | None = None) -> None:
    """`dlcore.func.vmap` of the operation gives what a loop over the examples gives.

    The examples are the sample with the elements of each array moved round. Once all operands have examples, and where
    there are several tensors, once all but the first, and once only the first.
    """
    chosen = dtype or (float32 if float32 in op.dtypes else op.dtypes[0])
    with np.errstate(over="ignore"):
        arrays = [
            x.astype(chosen.numpy) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x
            for x in sample.arrays(op.name, op.signature.operands)
        ]
    places = [k for k, x in enumerate(arrays) if isinstance(x, np.ndarray)]
    if not places or op.random or op.dynamic:
        return
    sizes, attrs = lengths_of(sample.inputs, op.signature.operands), op.named_attributes(sample.attrs)
    written = set(op.written(sizes))
    several = [places, places[1:], places[:1]] if len(places) > 1 else [places]
    for chosen_places in several:
        if written <= set(chosen_places):
            _compare(op, sample, arrays, attrs, sizes, chosen_places)


def _examples(x: Any) -> Any:
    return np.stack([np.roll(x, k) if x.dtype.kind == "f" or x.ndim < 2 else x for k in range(EXAMPLES)])


def _compare(
    op: Op, sample: Sample, arrays: Sequence[Any], attrs: Sequence[Any], sizes: tuple[int, ...], places: Sequence[int]
) -> None:
    stacked = [_examples(x) if k in places else x for k, x in enumerate(arrays)]

    def function(*values: Any) -> tuple[Any, ...]:
        result = op.call(*op.nested(values, sizes), *attrs)
        outputs = result if isinstance(result, tuple) else (result,)
        return (*outputs, *(values[k] for k in op.written(sizes)))

    what = f"vmap of {op.name}, {sample.why or 'a sample'}, examples of operands {tuple(places)}"
    looped = []
    for i in range(EXAMPLES):
        one = [np.array(x[i]) if k in places else x for k, x in enumerate(stacked)]
        found, error = _attempt(function, _tensors(one))
        if error is not None:
            return  # no example of its own: a label that was moved to where it is none
        looped.append(found)
    axes = tuple(0 if k in places else None for k in range(len(arrays)))
    found, error = _attempt(vmap(function, in_axes=axes), _tensors([_copied(x) for x in stacked]))
    assert error is None, f"{what}: {error!r}"
    for k, (got, *want) in enumerate(zip(found, *looped, strict=True)):
        if got is None:
            assert all(w is None for w in want), f"{what} [{k}]: None"
            continue
        _check_close(f"{what} [{k}]", np.asarray(got), np.stack([np.asarray(w) for w in want]), op.ulp)


def _copied(x: Any) -> Any:
    return x.copy() if isinstance(x, np.ndarray) else x


def _tensors(values: Sequence[Any]) -> list[Any]:
    return [from_numpy(np.array(x)) if isinstance(x, np.ndarray) else x for x in values]


def _attempt(function: Callable[..., Any], values: Sequence[Any]) -> tuple[Any, Exception | None]:
    try:
        return [r.detach() if isinstance(r, Tensor) else r for r in function(*values)], None
    except (TypeError, ValueError, IndexError, ArithmeticError, RuntimeError) as error:
        return None, error


def _check_close(what: str, got: Any, want: Any, ulp: float) -> None:
    alike = got.shape == want.shape and got.dtype == want.dtype
    assert alike, f"{what}: {got.dtype}{got.shape}, not {want.dtype}{want.shape}"
    if want.dtype.kind not in "fV":
        assert np.array_equal(got, want), f"{what}: other values"
        return
    exact, other = want.astype(np.float64), got.astype(np.float64)
    size = np.max(np.abs(exact[np.isfinite(exact)]), initial=0.0)
    bound = 8 * max(ulp, 1.0) * float(np.finfo(np.float32).eps) * size if want.dtype.itemsize >= 4 else 0.05 * size
    same = np.isclose(other, exact, rtol=0, atol=bound, equal_nan=True)
    assert same.all(), f"{what}: {other[~same][:3]} for {exact[~same][:3]}"
