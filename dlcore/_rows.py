"""Rows by name, by family of their kernels, or from a file of yours."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

import dlcore.ops
from dlcore.op import REGISTRY, Op

__all__ = ["families", "load", "rows"]

for _module in pkgutil.iter_modules(dlcore.ops.__path__):
    importlib.import_module(f"dlcore.ops.{_module.name}")  # rows that `import dlcore` leaves for later


def load(path: str) -> list[Op]:
    """The rows that a Python file makes: an operation of yours, benchmarked and verified like ours."""
    file = Path(path).resolve()
    if not file.is_file():
        raise ValueError(f"there is no file {path}")
    before = set(REGISTRY)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(file.stem, module)
    spec.loader.exec_module(module)
    made = [op for name, op in REGISTRY.items() if name not in before]
    if not made:
        raise ValueError(f"{path} makes no row: an Op(...) at its top level is one")
    return made


def families(op: Op) -> set[str]:
    """The families of the row's kernels: {"softmax"}."""
    found = set()
    for choices in op.kernels.values():
        for name in [choices] if not isinstance(choices, Sequence) or isinstance(choices, str) else choices:
            name = name if isinstance(name, str) or callable(name) else name[0]
            if isinstance(name, str):
                found.add(name.partition(":")[0].partition(".")[0])
    return found


def rows(ops: Sequence[str] = (), family: Sequence[str] = ()) -> list[Op]:
    """The rows called so, or with kernels of these families; all where neither is given."""
    known = {f for op in REGISTRY.values() for f in families(op)}
    for what, asked, there in (("operation", ops, set(REGISTRY)), ("family", family, known)):
        if unknown := [name for name in asked if name not in there]:
            raise ValueError(f"no {what} {', '.join(unknown)} (there are {', '.join(sorted(there))})")
    if not ops and not family:
        return list(REGISTRY.values())
    return [op for name, op in REGISTRY.items() if name in ops or families(op) & set(family)]
