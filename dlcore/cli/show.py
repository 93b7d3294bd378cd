"""Figures as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["listing"]


def listing(values: Mapping[str, Any]) -> str:
    """Figures, one a line; a matrix with its rows below its name."""
    width = max(map(len, values), default=0)
    lines = []
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            lines += [f"{name}:", *("  " + " ".join(f"{x:>5}" for x in row) for row in np.atleast_2d(value).tolist())]
        else:
            lines.append(f"{name:<{width}}  {value if isinstance(value, int) else f'{value:.4f}'}")
    return "\n".join(lines)
