"""What definitions share that restrict the fuzzer's operands to values for which their bounds hold."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["limited", "near_one", "of_one_size", "without_subnormal_probabilities", "without_tiny"]


def limited(x: Any, limit: float) -> Any:
    """Finite values no larger than ``limit``."""
    return np.where(np.isfinite(x), np.clip(x, -limit, limit), x)


def near_one(x: Any, largest: float) -> Any:
    """Numbers so near to 1 or -1 that no product of them leaves the normal numbers; zeros as they are."""
    bound = np.log(float(largest)) / (2 * max(1, x.size))
    size = np.abs(np.where(np.isfinite(x) & (x != 0), x, 1.0))
    near = np.copysign(np.exp(np.clip(np.log(size), -bound, bound)), x)
    return np.where(np.isfinite(x) & (x != 0), near, x)


def without_tiny(x: Any, largest: float) -> Any:
    """Numbers whose products with each other are no subnormal ones: each of those is rounded to a multiple of the
    smallest number, and the bound of a sum allows one."""
    return np.where(np.abs(x) < (1e-18 if largest < 1e300 else 1e-150), 0.0, x)


def of_one_size(x: Any) -> Any:
    """Numbers of many sizes, some of them below a thousandth of the largest, with the small ones made a quarter of
    it; others as they are."""
    size = np.abs(np.where(np.isfinite(x), x, 0.0))
    largest, small = np.max(size, initial=0.0), size[size > 0]
    if not small.size or np.quantile(small, 0.05) * 1e3 > largest:
        return x
    return np.where((size > 0) & (size < largest / 4), np.copysign(largest / 4, x), x)


def without_subnormal_probabilities(x: Any, axis: int, largest: float) -> Any:
    """Logits of which no probability is a subnormal number: csrc/common/math.inl says that its exponential gives 0."""
    if not x.size or not -x.ndim <= axis < x.ndim:
        return x
    below = np.max(x, axis=axis, keepdims=True) - x
    low, high = (80.0, 120.0) if largest < 1e300 else (690.0, 800.0)
    return np.where((below > low) & (below < high), x + below - low / 2, x)
