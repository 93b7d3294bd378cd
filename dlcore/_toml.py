"""Values as TOML, which Python reads and does not write."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from typing import Any

__all__ = ["document", "key", "value"]


def key(name: str) -> str:
    """A key: bare where it may be, else quoted."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def value(x: Any) -> str:
    """A bool, number, text, path, list or tuple. ValueError for anything else."""
    if isinstance(x, bool):
        return str(x).lower()
    if isinstance(x, int | float):
        return repr(x)
    if isinstance(x, str | os.PathLike):
        return json.dumps(os.fspath(x), ensure_ascii=False)
    if isinstance(x, tuple | list):
        return f"[{', '.join(map(value, x))}]"
    raise ValueError(f"TOML cannot hold {x!r}")


def document(settings: Any) -> str:
    """The fields of a dataclass, those that are dataclasses as sections; fields that are None are left out."""
    lines, sections = [], []
    for field in dataclasses.fields(settings):
        x = getattr(settings, field.name)
        if dataclasses.is_dataclass(x):
            sections.append(f"\n[{key(field.name)}]\n{document(x)}")
        elif x is not None:
            lines.append(f"{key(field.name)} = {value(x)}\n")
    return "".join(lines + sections)
