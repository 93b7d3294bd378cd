"""Names of NumPy and PyTorch for operations that dlcore has under another: each is the same function.

The array API's name is the one documented where that standard has one. Sorted by alias; an entry whose target is no
public function makes `import dlcore` fail, so that none is a promise.
"""

from __future__ import annotations

__all__ = ["ALIASES"]

ALIASES: dict[str, str] = {
    "absolute": "abs",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "argwhere": "nonzero",
    "around": "round",
    "bitwise_invert": "bitwise_not",
    "cat": "concat",
    "clamp": "clip",
    "concatenate": "concat",
    "conjugate": "conj",
    "degrees": "rad2deg",
    "divide": "div",
    "equal": "eq",
    "fabs": "abs",
    "fix": "trunc",
    "ger": "outer",
    "greater": "gt",
    "greater_equal": "ge",
    "invert": "bitwise_not",
    "left_shift": "bitwise_left_shift",
    "less": "lt",
    "less_equal": "le",
    "mod": "remainder",
    "movedim": "moveaxis",
    "multiply": "mul",
    "negative": "neg",
    "not_equal": "ne",
    "permute_dims": "permute",
    "power": "pow",
    "radians": "deg2rad",
    "right_shift": "bitwise_right_shift",
    "rint": "round",
    "row_stack": "vstack",
    "sgn": "sign",
    "subtract": "sub",
    "swapdims": "swapaxes",
    "take_along_dim": "take_along_axis",
    "tensor_split": "array_split",
    "trapz": "trapezoid",
    "true_divide": "div",
}
