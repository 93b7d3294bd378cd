"""Checks of gradients, first and second, along a random direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore import _autograd
from dlcore._device import CPU
from dlcore._device import device as as_device
from dlcore._tensor import tensor
from dlcore.dtypes import DType, float64
from dlcore.op import Op, Sample
from dlcore.testing.calls import reference
from dlcore.testing.operands import Arrays, attributes, floating_places, lengths, rounded, tensors


def check_gradient(op: Op, sample: Sample, dtype: DType = float64, device: Any = CPU) -> None:
    """The gradient along a random direction against central differences of the reference.

    Of other dtypes and devices: the gradient against the CPU's in float64, which is checked so.
    """
    arrays, rng = rounded(op, sample, float64), np.random.default_rng(1)
    keys = floating_places(arrays)
    outputs = _outputs(op, arrays, sample)
    weights = [rng.standard_normal(o.shape) if o.dtype.kind == "f" else None for o in outputs]
    direction, step = _directions(arrays, keys, rng), 1e-6
    what = f"{op.name} {sample.why or 'sample'}"
    if as_device(device) is not CPU:
        return _check_narrow_gradient(op, sample, dtype, keys, weights, f"{what} on {device}", device)
    operands, grads = _gradients(op, arrays, sample, keys, weights, False)
    for k, g in zip(keys, grads, strict=True):
        assert g is None or (g.shape == operands[k].shape and g.dtype is operands[k].dtype), (
            f"{what}: gradient {k} has shape {g.shape}"
        )
    analytic = [float(np.vdot(np.asarray(g), direction[k])) for k, g in zip(keys, grads, strict=True) if g is not None]

    def value(step: float) -> float:
        found = _outputs(op, _moved(arrays, direction, step), sample)
        return sum(float(np.vdot(w, o)) for w, o in zip(weights, found, strict=True) if w is not None)

    _close(what, sum(analytic), (value(step) - value(-step)) / (2 * step), sum(map(abs, analytic)))
    if dtype is not float64:
        _check_narrow_gradient(op, sample, dtype, keys, weights, what)


def _check_narrow_gradient(
    op: Op, sample: Sample, dtype: DType, keys: Sequence[int], weights: Sequence[Any], what: str, device: Any = CPU
) -> None:
    """The gradient in ``dtype`` on ``device`` against the CPU's float64 gradient at the same rounded point."""
    narrow = rounded(op, sample, dtype)
    wide = [x.astype(np.float64) if k in keys else x for k, x in enumerate(narrow)]
    coarse = [None if w is None else w.astype(dtype.numpy).astype(np.float64) for w in weights]
    _, exact = _gradients(op, wide, sample, keys, coarse, False)
    _, grads = _gradients(op, narrow, sample, keys, coarse, False, device)
    for k, g, e in zip(keys, grads, exact, strict=True):
        if e is None or g is None:
            assert g is e, f"{what}: gradient {k} is there in one dtype only"
            continue
        want = np.asarray(e)
        terms = max(1, wide[k].size, *(w.size for w in weights if w is not None)) ** 0.5  # broadcast: a sum over all
        worst = float(np.max(np.abs(np.asarray(g).astype(np.float64) - want), initial=0.0))
        bound = 4 * max(op.ulp, 1.0) * terms * dtype.eps * float(np.max(np.abs(want), initial=0.0))
        assert worst <= bound, f"{what} {dtype.name}: gradient {k} is off by {worst:.3g}, the bound is {bound:.3g}"


def check_second_order(op: Op, sample: Sample) -> None:
    """The gradient of the gradient along a random direction against central differences of the first."""
    arrays, rng = rounded(op, sample, float64), np.random.default_rng(2)
    keys = floating_places(arrays)
    outputs = _outputs(op, arrays, sample)
    weights = [rng.standard_normal(o.shape) if o.dtype.kind == "f" else None for o in outputs]
    direction, inner, step = _directions(arrays, keys, rng), _directions(arrays, keys, rng), 1e-5

    def slope(step: float) -> float:
        _, grads = _gradients(op, _moved(arrays, direction, step), sample, keys, weights, False)
        return sum(float(np.vdot(np.asarray(g), inner[k])) for k, g in zip(keys, grads, strict=True) if g is not None)

    operands, grads = _gradients(op, arrays, sample, keys, weights, True)
    roots = [(g, inner[k]) for k, g in zip(keys, grads, strict=True) if g is not None and g.requires_grad]
    numeric = (slope(step) - slope(-step)) / (2 * step)
    if not roots:
        return _close(f"{op.name} second order (none recorded)", 0.0, numeric, 1.0)
    second = _autograd.grad(
        [g for g, _ in roots], [operands[k] for k in keys], [tensor(w, g.dtype) for g, w in roots], allow_unused=True
    )
    parts = [float(np.vdot(np.asarray(s), direction[k])) for k, s in zip(keys, second, strict=True) if s is not None]
    _close(f"{op.name} {sample.why or 'sample'} second order", sum(parts), numeric, 10 * sum(map(abs, parts)))


def _moved(arrays: Sequence[Any], direction: dict[int, Any], step: float) -> Arrays:
    return [np.asarray(x + step * direction[k]) if k in direction else x for k, x in enumerate(arrays)]


def _directions(arrays: Sequence[Any], keys: Sequence[int], rng: np.random.Generator) -> dict[int, Any]:
    return {k: rng.standard_normal(arrays[k].shape) for k in keys}


def _gradients(
    op: Op,
    arrays: Sequence[Any],
    sample: Sample,
    keys: Sequence[int],
    weights: Sequence[Any],
    create_graph: bool,
    device: Any = CPU,
) -> tuple[list[Any], list[Any]]:
    """Operands, and the gradients of sum(weights * outputs) with respect to those in ``keys`` (None: independent)."""
    operands = tensors(arrays, device=device)
    for k in keys:
        operands[k].requires_grad = True
    result = op.call(*op.nested(operands, lengths(op, sample)), *attributes(op, sample))
    outputs = [o for o in (result if isinstance(result, tuple) else (result,)) if o is not None]
    roots = [(o, w) for o, w in zip(outputs, weights, strict=True) if w is not None and o.requires_grad]
    if not roots:
        return operands, [None] * len(keys)
    grads = _autograd.grad(
        [o for o, _ in roots], [operands[k] for k in keys],
        [tensor(w, o.dtype, device=o.device) for o, w in roots], create_graph=create_graph, allow_unused=True,
    )  # fmt: skip
    return operands, list(grads)


def _outputs(op: Op, arrays: Sequence[Any], sample: Sample) -> list[np.ndarray[Any, Any]]:
    """What the reference gives of the outputs alone."""
    sizes = lengths(op, sample)
    return reference(op, arrays, attributes(op, sample), sizes)[len(op.written(sizes)) :]


def _close(what: str, analytic: float, numeric: float, scale: float) -> None:
    error = abs(analytic - numeric)
    assert error <= 2e-6 * max(scale, 1.0), f"{what}: along a random direction {analytic!r}, by differences {numeric!r}"
