"""JSON from files, which may hold anything: parsed strictly, and turned into values whose types are declared."""

from __future__ import annotations

import difflib
import inspect
import json
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from dlcore._files import naming

__all__ = ["parse", "read", "short", "typed"]

T = TypeVar("T")
_CALLED: dict[Any, str] = {
    dict: "an object", Mapping: "an object", list: "a list", Sequence: "a list", tuple: "a list of that length",
}  # fmt: skip
_INTEGERS = range(-(2**63), 2**64)
_LONE = re.compile(r"\\u[dD][89a-fA-F]")  # an escaped half of a surrogate pair, whose other half may be missing


def short(value: Any) -> str:
    """``value`` as it is shown in a message: printable, and no longer than a line."""
    text = value if isinstance(value, str) and value.isprintable() and value else repr(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text):,} characters)"


def parse(text: str | bytes) -> Any:
    """The value that ``text`` describes, or ValueError.

    Refused are, besides what is no JSON: a key that is there twice, NaN and Infinity, numbers that fit neither 64 bits
    nor a float64, texts that UTF-8 cannot hold, and nesting that is too deep for Python.
    """
    if isinstance(text, bytes):
        text = text.decode()
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_number
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _LONE.search(text):
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError, a ValueError, for a lone surrogate
    return value


def read(path: Path, version: int) -> dict[str, Any]:
    """The object in a file, whose ``format`` must be ``version``; ValueError where there is none."""
    with naming(path):
        raw = path.read_bytes()
    data = typed(dict[str, Any], parse(raw))
    if type(data.get("format")) is not int or data["format"] != version:
        raise ValueError(f"format {short(repr(data.get('format')))}, this dlcore reads {version}")
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, _ in pairs:
            if key not in found:
                raise ValueError(f"{short(key)} is there twice")
            del found[key]
    return found


def _integer(text: str) -> int:
    if len(text) > 18 and (len(text) > 20 or int(text) not in _INTEGERS):
        raise ValueError(f"{short(text)} does not fit 64 bits")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{short(text)} is no finite float64")
    return value


def typed(kind: type[T], value: Any, name: str = "") -> T:
    """``value``, as `parse` gives it, as a ``kind``; ValueError, with the ``name`` of what is wrong, where it is none.

    A kind is int, float (an int becomes one), str, bool, None, Any, list, tuple, dict with keys of str, or Mapping of
    kinds, a union of kinds, a dataclass or a NamedTuple: these are made from an object of their fields, or a NamedTuple
    from a list of them.
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    made: Any = value
    if kind is Any:
        return made
    if origin in (typing.Union, types.UnionType):
        return _first(parts, value, name)
    if kind is float and type(value) is int:
        made = float(value)
    elif origin in (list, Sequence) and isinstance(value, list | tuple):
        made = [typed(parts[0], v, f"{name}[{i}]") for i, v in enumerate(value)]
    elif origin is tuple and isinstance(value, list | tuple) and (parts[1:] == (...,) or len(parts) == len(value)):
        kinds = parts[:1] * len(value) if parts[1:] == (...,) else parts
        made = tuple(typed(k, v, f"{name}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    elif origin in (dict, Mapping) and isinstance(value, dict):
        made = {key: typed(parts[1], v, f"{name}[{short(key)}]") for key, v in value.items()}
    elif hasattr(kind, "_fields") or hasattr(kind, "__dataclass_fields__"):
        made = _made(kind, value, name)
    elif type(value) is not (type(None) if kind is None else kind):
        expected = _CALLED.get(origin) or getattr(kind, "__name__", str(kind))
        raise ValueError(f"{name or 'it'} is {short(repr(value))}, not {expected}")
    return made


@lru_cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _first(kinds: Sequence[Any], value: Any, name: str) -> Any:
    """``value`` as the first of ``kinds`` that it is."""
    for kind in kinds[:-1]:
        try:
            return typed(kind, value, name)
        except ValueError:
            continue
    return typed(kinds[-1], value, name)


def _made(kind: Any, value: Any, name: str) -> Any:
    """The dataclass or NamedTuple ``kind`` from its fields; those with a default may be missing."""
    names = getattr(kind, "_fields", None) or tuple(kind.__dataclass_fields__)
    if isinstance(value, list) and hasattr(kind, "_fields") and len(value) == len(names):
        value = dict(zip(names, value, strict=True))
    if not isinstance(value, dict):
        raise ValueError(f"{name or 'it'} is {short(repr(value))}, not an object")
    if foreign := value.keys() - set(names):
        strange = min(foreign)
        near = difflib.get_close_matches(strange, names, 1)
        raise ValueError(
            f"{name or kind.__name__} has no {short(strange)}" + (f"; did you mean {near[0]!r}?" if near else "")
        )
    hints = _hints(kind)
    made = {key: typed(hints[key], v, f"{name}.{key}" if name else key) for key, v in value.items()}
    defaults = inspect.signature(kind).parameters
    for key in names:
        if key not in made and defaults[key].default is inspect.Parameter.empty:
            raise ValueError(f"{name or kind.__name__} without {key!r}")
    return kind(**made)
