"""Nested state as arrays by name and one text: what a file of a training consists of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore import _json
from dlcore._json import short
from dlcore._tensor import Tensor

__all__ = ["decode", "encode"]

_KIND = "is"  # the key that tells an object that stands for something which JSON does not have


def encode(state: Any) -> tuple[str, dict[str, Any]]:
    """``state`` as a text and arrays by name.

    State is numbers, texts, bools, None, tensors and arrays, and lists, tuples and dicts of them. TypeError for others.
    """
    arrays: dict[str, Any] = {}
    return json.dumps(_encoded(state, "", arrays), separators=(",", ":")), arrays


def _encoded(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_KIND: "float", "value": repr(float(value))}
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return _encoded(value.item(), name, arrays)
    if isinstance(value, Tensor | np.ndarray):
        arrays[name] = value
        return {_KIND: "array" if isinstance(value, np.ndarray) else "tensor", "name": name}
    if isinstance(value, list | tuple):
        parts = [_encoded(part, f"{name}/{k}" if name else str(k), arrays) for k, part in enumerate(value)]
        return parts if isinstance(value, list) else {_KIND: "tuple", "parts": parts}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and _KIND not in value:
            return {key: _encoded(part, f"{name}/{key}" if name else key, arrays) for key, part in value.items()}
        pairs = [
            [_encoded(key, "", {}), _encoded(part, f"{name}/{key}" if name else str(key), arrays)]
            for key, part in value.items()
        ]
        return {_KIND: "dict", "pairs": pairs}
    raise TypeError(f"{name or 'the state'}: a {type(value).__name__} cannot be kept in a file")


def decode(text: str, arrays: Mapping[str, Any]) -> Any:
    """What `encode` has made ``text`` and ``arrays`` of, tensors as those in ``arrays``; ValueError for other texts."""
    return _decoded(_json.parse(text), arrays)


def _decoded(value: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_decoded(part, arrays) for part in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(_KIND)
    if kind is None:
        return {key: _decoded(part, arrays) for key, part in value.items()}
    try:
        if kind == "float":
            return float(value["value"])
        if kind in ("array", "tensor"):
            found = arrays[value["name"]]
            return np.asarray(found) if kind == "array" else found
        if kind == "tuple":
            return tuple(_decoded(part, arrays) for part in value["parts"])
        if kind == "dict":
            return {_decoded(key, arrays): _decoded(part, arrays) for key, part in value["pairs"]}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{short(repr(value))}: {error!r}") from None
    raise ValueError(f"{short(repr(kind))} is no kind of state")
