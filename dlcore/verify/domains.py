"""Where a row's bound holds, for rows that are not meant for every number: what the fuzzer may draw for them.

Each entry says why. No row is left out: its values are mapped into the domain. NaN stays where it is, nearly always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dlcore.dtypes import as_dtype
from dlcore.op import Op

__all__ = ["restricted"]

Change = Callable[[list[Any], tuple[Any, ...], float], None]
"""Changes the operands, floating ones in float64, in place; given the attributes and the largest number of sums."""


def restricted(op: Op, operands: Sequence[Any], attrs: tuple[Any, ...]) -> list[Any]:
    """The operands with their values mapped into the row's domain."""
    change, changed = DOMAINS.get(op.name), [_wide(x) for x in operands]
    if change is None:
        return list(operands)
    doubles = any(isinstance(x, np.ndarray) and x.dtype == np.float64 for x in operands)
    with np.errstate(all="ignore"):
        change(changed, attrs, float(np.finfo(np.float64 if doubles else np.float32).max))
        return [
            np.asarray(y).reshape(x.shape).astype(x.dtype) if isinstance(x, np.ndarray) else x
            for x, y in zip(operands, changed, strict=True)
        ]


def _wide(x: Any) -> Any:
    return x.astype(np.float64) if isinstance(x, np.ndarray) and as_dtype(x.dtype).is_float else x


def _limited(x: Any, limit: float) -> Any:
    """Finite values no larger than ``limit``."""
    return np.where(np.isfinite(x), np.clip(x, -limit, limit), x)


def _output(low: float, high: float) -> Change:
    """Operand 1 is a result of the forward pass, which lies between ``low`` and ``high``."""

    def change(operands: list[Any], attrs: tuple[Any, ...], largest: float) -> None:
        operands[1] = np.clip(operands[1], low, high)

    return change


def _tail(position: int) -> Change:
    """gelu and its slope are 0 where they would be subnormal numbers, which csrc/common/math.inl says."""

    def change(operands: list[Any], attrs: tuple[Any, ...], largest: float) -> None:
        x = operands[position]
        operands[position] = np.where((x > -42) & (x < -9.9), x / 4.5, x)

    return change


def _mean(operands: list[Any], attrs: tuple[Any, ...], largest: float) -> None:
    """The sum behind a mean overflows where the mean would not."""
    operands[0] = _limited(operands[0], largest / max(1, operands[0].size))


def _softmax_backward(operands: list[Any], attrs: tuple[Any, ...], largest: float) -> None:
    """dout less its mean must be a number: it is multiplied by probabilities that may be 0."""
    _output(0.0, 1.0)(operands, attrs, largest)
    operands[0] = _limited(operands[0], largest / (4 * max(1, operands[0].size)))


def _log_softmax_backward(operands: list[Any], attrs: tuple[Any, ...], largest: float) -> None:
    """A probability below e^-87 is 0 in float32 (csrc/common/math.inl), and what it is multiplied by may be large."""
    out = np.clip(operands[1], -np.inf, 0.0)
    _softmax_backward(operands, attrs, largest)
    operands[1] = np.where(np.isfinite(out), np.clip(out, -80.0, 0.0), out)


def _softmax(operands: list[Any], attrs: tuple[Any, ...], largest: float) -> None:
    """Probabilities that would be subnormal numbers are 0, which csrc/common/math.inl says of its exponential."""
    x, axis = operands[0], attrs[0] if attrs else -1
    if not x.size or not -x.ndim <= axis < x.ndim:
        return
    below = np.max(x, axis=axis, keepdims=True) - x
    low, high = (80.0, 120.0) if largest < 1e300 else (690.0, 800.0)
    operands[0] = np.where((below > low) & (below < high), x + below - low / 2, x)


def _clip(operands: list[Any], attrs: tuple[Any, ...], largest: float) -> None:
    """The powers are summed in float64, where they must be numbers, and the factor has the gradients' dtype: for a norm
    of 1e38 it would be a subnormal number."""
    operands[:] = [_limited(x, 1e30) for x in operands]


def _product(operands: list[Any], attrs: tuple[Any, ...], largest: float) -> None:
    """Each product that is a subnormal number is rounded to a multiple of the smallest, and the bound allows one."""
    tiny = 1e-18 if largest < 1e300 else 1e-150
    operands[:2] = [np.where(np.abs(x) < tiny, 0.0, x) for x in operands[:2]]


def _linear(operands: list[Any], attrs: tuple[Any, ...], largest: float) -> None:
    """The product is rounded to its dtype before the bias is added, as the separate operations do it: where that
    overflows, an infinite bias of the other sign makes NaN."""
    _product(operands, attrs, largest)
    if len(operands) > 2 and isinstance(operands[2], np.ndarray):
        operands[2] = np.where(np.isinf(operands[2]), 1.0, operands[2])


def _cross_entropy(operands: list[Any], attrs: tuple[Any, ...], largest: float) -> None:
    """Smoothing sums the logits of all classes, which must be a number: a weight of 0 may follow. Of probabilities the
    logarithms are rounded to their dtype, where a probability of 0 may follow: float16 ends at 65504. Weights of
    classes are summed and divided by, and none is negative; they multiply what may be a subnormal number."""
    probabilities = isinstance(operands[1], np.ndarray) and operands[1].dtype == np.float64
    operands[0] = _limited(operands[0], 16000.0 if probabilities else 1e30)
    _softmax(operands, (1,), largest)
    if probabilities:
        operands[1] = np.where(np.abs(operands[1]) < 1e-30, 0.0, operands[1])
    if len(operands) > 2 and isinstance(operands[2], np.ndarray):
        operands[2] = np.minimum(np.abs(operands[2]), 1e6)


def _linear_backward(operands: list[Any], attrs: tuple[Any, ...], largest: float) -> None:
    """`saved` is the output of sigmoid and tanh. A subnormal number times a slope may be 0, and times infinity NaN."""
    _product(operands, attrs, largest)
    low = {"sigmoid": 0.0, "tanh": -1.0}.get(str(attrs[0]) if attrs else "")
    if low is not None and isinstance(operands[3], np.ndarray):
        operands[3] = np.clip(operands[3], low, 1.0)


def _optimizer(settings: list[list[float]]) -> Change:
    """Settings mean something. The bound is one for values of a few units: (1 - beta2) g^2 would overflow with others.

    All are finite, but that a gradient may be NaN: kernels multiply by a weight of 0, and (1 - beta1) (g - m) is taken
    from g where beta1 is small, as PyTorch does, which makes NaN of infinity.
    """

    def change(operands: list[Any], attrs: tuple[Any, ...], largest: float) -> None:
        n = attrs[0]
        for k, x in enumerate(operands[:-1]):
            if isinstance(x, np.ndarray) and x.dtype == np.float64:
                nan = np.nan if n <= k < 2 * n else 0.0
                operands[k] = np.nan_to_num(_limited(x, 4.0), nan=nan, posinf=4.0, neginf=-4.0)
                operands[k] = np.abs(operands[k]) if 3 * n <= k < 4 * n else operands[k]
        if operands[-1].ndim == 2 and operands[-1].shape[1] == len(settings[0]):
            operands[-1] = np.resize(np.array(settings), operands[-1].shape)

    return change


DOMAINS: dict[str, Change] = {
    "sigmoid_backward": _output(0.0, 1.0),
    "tanh_backward": _output(-1.0, 1.0),
    "softmax_backward": _softmax_backward,
    "log_softmax_backward": _log_softmax_backward,
    "gelu": _tail(0),
    "gelu_backward": _tail(1),
    "softmax": _softmax,
    "mean": _mean,
    "clip_grad_norm": _clip,
    "matmul": _product,
    "linear": _linear,
    "cross_entropy": _cross_entropy,
    "linear_backward": _linear_backward,
    "sgd": _optimizer([[0.1, 0.9, 0.25, 0.5, 0, 0], [0.1, 0.5, 0, 0.25, 1, 1], [0.5, 0, 0, 0, 0, 0]]),
    "adam": _optimizer(
        [[0.1, 0.9, 0.99, 1e-8, 0.25, 0, 0], [0.1, 0.25, 0.875, 2**-20, 0.25, 1, 1], [0.1, 0.9, 0.999, 1e-8, 0, 0, 0]]
    ),
}
