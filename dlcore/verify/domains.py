"""Where a row's bound holds, for rows that are not meant for every number: what the fuzzer may draw for them.

Each entry says why. The row is not left out: its values are mapped into the domain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dlcore.op import Op

__all__ = ["restricted"]

DOMAINS: dict[str, Callable[..., list[Any]]] = {}


def restricted(op: Op, operands: Sequence[Any], attrs: tuple[Any, ...]) -> list[Any]:
    """The operands with their values mapped into the row's domain."""
    found = DOMAINS.get(op.name)
    with np.errstate(all="ignore"):
        return found(list(operands), attrs) if found else list(operands)
