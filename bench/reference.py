"""Writes docs/operations.md, every public operation by family, from the definitions: `make stubs`; a test compares."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dlcore._aliases import ALIASES
from dlcore._files import write
from dlcore._stubs import operations

MODULES = ("linalg", "random")
"""Modules of dlcore whose functions are operations, too."""

PATH = Path(__file__).resolve().parents[1] / "docs" / "operations.md"
HEAD = """# Operations

<!-- Written by `make stubs` from the definitions in dlcore/ops: not to be edited. -->

Every function of `dlcore` that computes: `dl.exp(x)`, and `x.exp()` where *method* says so. `help(dl.exp)` has shapes,
dtypes, errors and papers. Arguments also go by the names that NumPy and PyTorch give them (`dim` for `axis`, `keepdim`
for `keepdims`, ...).

Gradients that are operations themselves, `relu_backward` and its kind, are left out here.

- **gradient**: of any order (by rules that are operations themselves, or through what it is composed of).
- **CPU**, **GPU**: a kernel of its own, *composed* of other operations, or a *view* that moves nothing.
"""


def _first_sentence(text: str | None) -> str:
    """Up to the first full stop or blank line, in one line, safe within a table."""
    paragraph = " ".join((text or "").strip().partition("\n\n")[0].split())
    sentence = paragraph.partition(". ")[0].rstrip(".")
    return sentence.replace("|", "\\|")


def _how(function: Any, device: str) -> str:
    if not hasattr(function, "op"):
        return "composed"
    op = function.op
    if op.view is not None:
        return "view"
    return "kernel" if op.kernel_choices(device) else "composed"


def _gradient(function: Any) -> str:
    if hasattr(function, "op"):
        return "yes" if function.op.differentiable else ""
    return "as composed"


def _signature(function: Any) -> str:
    """Names and defaults: types would fill the line."""
    found = inspect.signature(function)
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
    return str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty)).replace("|", "\\|")


def _table(functions: dict[str, Callable[..., Any]]) -> Iterator[str]:
    yield "| operation | returns | method | gradient | CPU | GPU |"
    yield "|---|---|---|---|---|---|"
    for name, function in sorted(functions.items()):
        method = "method" if operations.is_method(function) else ""
        columns = (_first_sentence(function.__doc__), method, _gradient(function), _how(function, "cpu"),
                   _how(function, "cuda"))  # fmt: skip
        yield f"| `{name}{_signature(function)}` | {' | '.join(columns)} |"


def _short_table(functions: dict[str, Callable[..., Any]]) -> Iterator[str]:
    yield "| function | returns |"
    yield "|---|---|"
    for name, function in sorted(functions.items()):
        yield f"| `{name}{_signature(function)}` | {_first_sentence(function.__doc__)} |"


def page() -> str:
    """The page's text."""
    lines = [HEAD]
    count = 0
    for module in operations.MODULES:
        found = importlib.import_module(f"dlcore.ops.{module}")
        functions = {n: getattr(operations, n) for n in found.__all__ if not n.endswith("_backward")}
        count += len(functions)
        if functions:
            lines += [f"## {_first_sentence(found.__doc__)}", "", *_table(functions), ""]
    for module in MODULES:
        found = importlib.import_module(f"dlcore.{module}")
        functions = {n: getattr(found, n) for n in found.__all__ if callable(getattr(found, n)) and n[0].islower()}
        count += len(functions)
        lines += [f"## dl.{module}: {_first_sentence(found.__doc__)}", "", *_short_table(functions), ""]
    lines += ["## Other names", ""]
    named: dict[str, list[str]] = {}
    for alias, target in ALIASES.items():
        named.setdefault(target, []).append(alias)
    lines += [f"- `{target}`: {', '.join(f'`{a}`' for a in sorted(found))}" for target, found in sorted(named.items())]
    lines += ["", f"{count} operations, {len(ALIASES)} other names."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write(PATH, page())
