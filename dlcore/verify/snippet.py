"""A call as Python that runs by itself and shows the difference."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.dtypes import DType, as_dtype
from dlcore.verify.draws import PLAIN, Draw, Layout

__all__ = ["literal", "shown", "snippet"]


def snippet(
    given: Draw, device: Any = "cpu", files: Sequence[str] = (), bounds: Mapping[str, Any] | None = None
) -> str:
    """Python that makes the operands, calls the operation, prints result and reference, and raises what is wrong."""
    names, place = _names(given), "" if str(device) == "cpu" else f", device={str(device)!r}"
    told = "".join(f", {name}={value}" for name, value in (bounds or {}).items())
    made = [_made(n, x, w, place) for n, x, w in zip(names, given.operands, given.layouts, strict=True)]
    lines = [
        *_imports(given, files), "", f"op = REGISTRY[{given.op.name!r}]",
        *(f"{name} = {literal(x)}" for name, x in zip(names, given.operands, strict=True)),
        f"attrs, lengths = {_attrs(given.attrs)}, {given.lengths}", "",
        f"def operands():\n    return [{', '.join(made)}]", "",
        "with dl.no_grad():",
        "    first, again = ([np.asarray(x) for x in testing.call(op, operands(), attrs, lengths)] for _ in range(2))",
        'print("dlcore:   ", first)',
        'print("reference:", testing.reference(op, testing.promoted(op, operands()), attrs, lengths))',
        f"testing.check_call(op, operands, attrs, lengths=lengths{told})",
        'assert [x.tobytes() for x in first] == [x.tobytes() for x in again], "other bits the second time"',
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _imports(given: Draw, files: Sequence[str]) -> list[str]:
    arrays = [x for x in given.operands if isinstance(x, np.ndarray)]
    lines = ["import base64", "import zlib", ""] if any(map(_packed, arrays)) else []
    lines += ["import ml_dtypes"] if any(as_dtype(x.dtype).name == "bfloat16" for x in arrays) else []
    lines += ["import numpy as np", "", "import dlcore as dl"]
    lines += ["from dlcore import testing"] + (["from dlcore._selection import load"] if files else [])
    lines += ["from dlcore.op import REGISTRY", "from dlcore.ops import operations"]
    lines += ["from dlcore.verify.draws import Layout, place"] if any(w != PLAIN for w in given.layouts) else []
    return [*lines, "", "operations()", *(f"load({str(Path(file).resolve())!r})" for file in files)]


def _made(name: str, x: Any, layout: Layout, device: str) -> str:
    if not isinstance(x, np.ndarray):
        return name
    return f"dl.tensor({name}{device})" if layout == PLAIN else f"place({name}, {layout!r}{device})"


def _tuple(parts: Sequence[str]) -> str:
    return ", ".join(parts) + ("," if parts else "")


def _names(given: Draw) -> list[str]:
    positions, signature = given.op.signature.positions(given.lengths), given.op.signature
    return [f"{n}_{k}" if signature.is_group(n) else n for n, at in positions.items() for k in range(len(at))]


def _attrs(attrs: tuple[Any, ...]) -> str:
    return f"({_tuple([_value(a) for a in attrs])})"


def _value(a: Any) -> str:
    if isinstance(a, DType):
        return f"dl.{a.name}"
    if isinstance(a, tuple):
        return f"({_tuple([_value(x) for x in a])})"
    if isinstance(a, float) and not np.isfinite(a):
        return f"float({str(a)!r})"
    return f"dl.device({str(a)!r})" if type(a).__name__ == "Device" else repr(a)


def _packed(x: np.ndarray[Any, Any]) -> bool:
    return x.size > 100 and not _uniform(x)


def _uniform(x: np.ndarray[Any, Any]) -> bool:
    return x.size > 0 and len({e.tobytes() for e in np.ravel(x)}) == 1


def literal(x: Any) -> str:
    """Python for an operand: its values, or its bytes where there are many."""
    if not isinstance(x, np.ndarray):
        return _value(x)
    dtype = "ml_dtypes.bfloat16" if as_dtype(x.dtype).name == "bfloat16" else f"np.{x.dtype.name}"
    dtype = "np.bool_" if x.dtype == np.bool_ else dtype
    if not x.size:
        return f"np.zeros({x.shape}, {dtype})"
    if x.size > 4 and _uniform(x):
        return f"np.full({x.shape}, {_element(np.ravel(x)[0])}, {dtype})"
    if _packed(x):
        text = base64.b85encode(zlib.compress(np.ascontiguousarray(x).tobytes(), 9)).decode()
        return f"np.frombuffer(zlib.decompress(base64.b85decode({text!r})), {dtype}).reshape({x.shape}).copy()"
    return f"np.array({_nested(x)}, {dtype})"


def _nested(x: Any) -> str:
    return _element(x[()]) if x.ndim == 0 else f"[{', '.join(_nested(row) for row in x)}]"


def _element(v: Any) -> str:
    if isinstance(v, np.bool_ | np.integer):
        return repr(v.item())
    wide = float(v)
    return repr(wide) if np.isfinite(wide) else f"{'-' if np.signbit(wide) and not np.isnan(wide) else ''}np." + (
        "nan" if np.isnan(wide) else "inf"
    )


def shown(given: Draw) -> str:
    """The call in a line: "softmax(x float32 (3, 5) reversed; axis 1)"."""
    parts = [
        f"{n} {as_dtype(x.dtype).name} {x.shape}" if isinstance(x, np.ndarray) else f"{n} {x!r}"
        for n, x in zip(_names(given), given.operands, strict=True)
    ]
    return f"{given.op.name}({'; '.join([*parts, *map(str, given.attrs)])})"

