"""Operations by name, by family of their kernels, or from a file of yours."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path

from dlcore.op import REGISTRY, Op
from dlcore.ops import operations

__all__ = ["load", "missing", "selected"]


def load(path: str) -> list[Op]:
    """The operations that a Python file defines: benchmarked and verified like ours."""
    file = Path(path).resolve()
    if not file.is_file():
        raise ValueError(f"there is no file {path}")
    operations()
    before = set(REGISTRY)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(file.stem, module)
    spec.loader.exec_module(module)
    made = [op for name, op in REGISTRY.items() if name not in before]
    if not made:
        raise ValueError(f"{path} defines no operation: `@operation(...)` before a def at its top level does")
    return made


def missing(what: str, unknown: Sequence[str], known: Collection[str]) -> str:
    """Says that there is no ``what`` of these names, and which one of the ``known`` is near, or else all of them."""
    near = [match for name in unknown for match in get_close_matches(name, sorted(known), n=1)]
    told = f"did you mean {' and '.join(near)}?" if len(near) == len(unknown) else ""
    return f"no {what} {', '.join(unknown)} ({told or 'there are ' + ', '.join(sorted(known))})"


def selected(ops: Sequence[str] = (), family: Sequence[str] = ()) -> list[Op]:
    """The operations called so, or with kernels of these families; all where neither is given."""
    every = operations()
    known = {f for op in every for f in op.kernel_families}
    for what, asked, there in (("operation", ops, {op.name for op in every}), ("family", family, known)):
        if unknown := [name for name in asked if name not in there]:
            raise ValueError(missing(what, unknown, there))
    if not ops and not family:
        return every
    return [op for op in every if op.name in ops or op.kernel_families & set(family)]
