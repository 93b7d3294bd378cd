"""Writes `_operations.pyi`: signatures and documentation of the operations as editors and type checkers read them.

    python -m dlcore._stubs            # what `make stubs` runs, after a definition has changed; a test compares
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dlcore._aliases import ALIASES
from dlcore._files import write

__all__ = ["main", "source"]

operations: Any = importlib.import_module("dlcore._operations")  # what the stub that it has does not tell

PATH = Path(__file__).with_name("_operations.pyi")
HEAD = '''"""Written by `make stubs` from the definitions in dlcore/ops: not to be edited."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, overload

import numpy as np

from dlcore._tensor import Tensor

Operand: TypeAlias = Tensor | float | np.ndarray[Any, Any] | np.generic | list[Any] | tuple[Any, ...]
"""What operations take: tensors, numbers, and what becomes a tensor: arrays and nested lists."""
'''


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    found = list(inspect.signature(function).parameters.values())
    if hasattr(function, "op"):
        return found
    return [p.replace(annotation=_hint(p)) for p in found]


def _hint(parameter: inspect.Parameter) -> str:
    """Of a function in Python, where operands are `Any`."""
    if parameter.annotation not in ("Any", "Sequence[Any]", "tuple[Any, ...]"):
        return str(parameter.annotation)
    hint = parameter.annotation.replace("Any", "Operand")
    return f"{hint} | None" if parameter.default is None else hint


def _text(parameters: list[inspect.Parameter]) -> str:
    parts, keyword = [], False
    for p in parameters:
        if p.kind is inspect.Parameter.KEYWORD_ONLY and not keyword:
            parts.append("*")
            keyword = True
        hint = "" if p.annotation is inspect.Parameter.empty else f": {p.annotation}"
        default = "" if p.default is inspect.Parameter.empty else f" = {_default(p.default)}"
        star = "*" if p.kind is inspect.Parameter.VAR_POSITIONAL else ""
        keyword = keyword or bool(star)
        parts.append(f"{star}{p.name}{hint}{default}")
    return ", ".join(parts)


def _default(value: Any) -> str:
    return repr(value) if isinstance(value, bool | int | float | str | tuple | None) else "..."


def _returns(function: Callable[..., Any]) -> str:
    """Of a function in Python, where tensors are `Any`."""
    found = str(inspect.signature(function).return_annotation)
    return found.replace("Any", "Tensor") if found != "<class 'inspect._empty'>" else "Tensor"


def _other_form(function: Any) -> tuple[list[inspect.Parameter], str] | None:
    """The parameters and the result of what an operation is in other libraries as well: its `otherwise`."""
    other = getattr(getattr(function, "op", None), "otherwise", None)
    if other is None:
        return None
    found = list(inspect.signature(other).parameters.values())
    if found[-1].kind is inspect.Parameter.VAR_KEYWORD:  # the operation's own, and more
        more = [p for p in found if p.kind is inspect.Parameter.KEYWORD_ONLY]
        return [*_parameters(function), *more], _returns(other)
    return [p.replace(annotation=_hint(p)) for p in found], _returns(other)


def _function(name: str, function: Any, method: bool) -> Iterator[str]:
    other = _other_form(function)
    returns = function.op.returns if hasattr(function, "op") else _returns(function)
    if other is not None:
        yield "@overload"
    yield f"def {name}({_text(_bound(_parameters(function), method))}) -> {returns}:"
    yield _documentation(function, method)
    if other is not None:
        yield "@overload"
        yield f"def {name}({_text(_bound(other[0], method))}) -> {other[1]}: ..."


def _bound(parameters: list[inspect.Parameter], method: bool) -> list[inspect.Parameter]:
    return [inspect.Parameter("self", parameters[0].kind), *parameters[1:]] if method else parameters


def _documentation(function: Any, method: bool) -> str:
    text = inspect.getdoc(function) or ""
    doc = text if not method else text.partition("\n")[0]
    quoted = doc.replace("\\", "\\\\")
    return textwrap.indent(f'"""{quoted}"""' if "\n" not in quoted else f'"""{quoted}\n"""', "    ")


def _in_place(name: str, function: Any) -> Iterator[str]:
    returns = function.op.returns if hasattr(function, "op") else _returns(function)
    yield f"def {name}_({_text(_bound(_parameters(function), True))}) -> {returns}:"
    yield f'    """{getattr(operations.TensorMethods, name + "_").__doc__}"""'


def source() -> str:
    """The stub's text."""
    public = [(n, getattr(operations, n)) for n in sorted(operations.__all__)]
    own = [(name, function) for name, function in public if name not in ALIASES]
    blocks = ["\n".join(_function(name, function, False)) for name, function in own]
    blocks.append("\n".join(f"{name} = {ALIASES[name]}" for name, _ in public if name in ALIASES))
    methods = ["\n".join(_function(name, function, True)) for name, function in own if operations.is_method(function)]
    methods += [f"{n} = {ALIASES[n]}" for n, f in public if n in ALIASES and operations.is_method(f)]
    methods += ["\n".join(_in_place(n, function)) for n, function in public if operations.is_in_place(n, function)]
    body = "\n".join(textwrap.indent(text, "    ") for text in methods)
    doc = operations.TensorMethods.__doc__
    names = textwrap.fill(", ".join(f'"{name}"' for name, _ in public), 116, break_long_words=False)
    exported = f"__all__ = [\n{textwrap.indent(names, '    ')},\n]"
    return f'{HEAD}\n{exported}\n\n' + "\n\n".join(blocks) + f'\n\nclass TensorMethods:\n    """{doc}"""\n\n{body}\n'


def main() -> None:
    """Writes the file."""
    write(PATH, source())


if __name__ == "__main__":
    main()
