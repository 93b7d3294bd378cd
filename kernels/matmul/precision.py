"""How float32 is multiplied on tensor cores: one switch for the process.

"tf32x3" (the default): three products of tf32 parts, close to IEEE float32. "tf32": operands rounded to 11 significant
bits, three times the speed. "ieee": no tensor cores, one rounding a multiply-add.
"""

from __future__ import annotations

from dlcore.op import REGISTRY

__all__ = ["MODES", "float32_precision", "set_float32_precision"]

MODES = ("tf32x3", "tf32", "ieee")
_mode = MODES[0]


def float32_precision() -> str:
    """The mode that new plans take."""
    return _mode


def set_float32_precision(mode: str) -> None:
    """Chooses the mode from here on. Raises ValueError for another name.

    Plans made before are forgotten; steps recorded before keep the mode they were recorded with."""
    global _mode
    if mode not in MODES:
        raise ValueError(f"set_float32_precision: {mode!r} is not one of {', '.join(map(repr, MODES))}")
    _mode = mode
    for op in REGISTRY.values():
        op.call.clear_plans()
