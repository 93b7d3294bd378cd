"""The forms in C of take, gather, triangles, cumulative sums and variances; see `c_forms`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dlcore.export.c_forms import C_FORMS, ROUNDED
from dlcore.export.c_text import SUFFIX, TYPES, CForm, Memory, Program, Unsupported, literal
from dlcore.export.trace import Call

__all__: list[str] = []


def _loops(lengths: Sequence[int], letter: str = "i") -> list[str]:
    """The heads of loops over axes, one in another."""
    return [f"{'  ' * d}for (int {letter}{d} = 0; {letter}{d} < {n}; ++{letter}{d})" for d, n in enumerate(lengths)]


def _place(m: Memory, strides: Sequence[int], letter: str = "i") -> str:
    """The pointer to an element of ``m`` by the variables of loops with these strides."""
    return " + ".join([m.pointer, *(f"{letter}{d} * {s}" for d, s in enumerate(strides) if s)])


# -- elements by indices


def _chosen(p: Program, out: Memory, x: Memory, index: Any, length: int, stride: int) -> list[str]:
    """Of each line of ``x``, whose first element is given, the one at the index; NaN or 0 for an index out of range."""
    nothing = literal(math.nan if out.dtype in SUFFIX else 0, out.dtype)

    def body(o: str, first: str, given: str) -> str:
        inside = f"at >= 0 && at < {length}"
        return (
            f"{{ const int64_t given = (int64_t){given}, at = given < 0 ? given + {length} : given; "
            f"{o} = {inside} ? (&{first})[at * {stride}] : {nothing}; }}"
        )

    return p.loop(out.shape, [out, x, index], body)


def _taken(p: Program, call: Call) -> list[str]:
    (x, index), out, axis = p.operands(call), p.out(call), call.attrs[0]
    length, stride, rest = x.shape[axis], x.strides[axis], len(x.shape) - axis - 1
    count = len(out.shape) - len(x.shape) + 1  # axes of the indices
    x.shape = (*x.shape[:axis], *[1] * count, *x.shape[axis + 1 :])
    x.strides = (*x.strides[:axis], *[0] * count, *x.strides[axis + 1 :])
    if isinstance(index, Memory):
        index.shape, index.strides = (*index.shape, *[1] * rest), (*index.strides, *[0] * rest)
    return _chosen(p, out, x, index, length, stride)


def _gathered(p: Program, call: Call) -> list[str]:
    (x, index), out, axis = p.operands(call), p.out(call), call.attrs[0]
    length, stride = x.shape[axis], x.strides[axis]
    x.shape = out.shape
    x.strides = (*x.strides[:axis], 0, *x.strides[axis + 1 :])
    return _chosen(p, out, x, index, length, stride)


# -- triangles


def _triangle(symbol: str) -> CForm:
    def made(p: Program, call: Call) -> list[str]:
        (x,), out, last = p.operands(call), p.out(call), len(call.inputs[0].shape) - 1  # type: ignore[union-attr]
        if 0 in out.shape:
            return []
        keeps = f"i{last} - i{last - 1} {symbol} {call.attrs[0]}"
        value = f"{keeps} ? *({_place(x, x.strides)}) : {literal(0, out.dtype)}"
        heads = _loops(out.shape)
        return [*heads, f"{'  ' * len(heads)}*({_place(out, out.strides)}) = {value};"]

    return made


# -- sums along an axis


def _accumulated(p: Program, call: Call) -> list[str]:
    """Sums of floats in double, rounded once each, from -0.0, which keeps the sign of a zero."""
    source, target = call.inputs[0], call.outputs[0]
    assert source is not None and target is not None
    axis, reverse, exclusive = call.attrs[:3]
    if axis is None:  # all elements of a contiguous array
        length = math.prod(source.shape)
        source, target = (a._replace(shape=(length,), strides=(1,)) for a in (source, target))
        axis = 0
    x, out, n = p.memory(source), p.memory(target), source.shape[axis]
    if 0 in out.shape:
        return []
    floating = out.dtype in SUFFIX
    kind, zero, start = ("double", "0.0", "-0.0") if floating else ("uint64_t", "0", "0")
    element = f"(&{{x}})[at * {x.strides[axis]}]"
    rounded, value = f"({TYPES[out.dtype]})", f"(t ? sum : {zero})" if exclusive else "sum"
    taken = f"sum += ({kind}){rounded if floating else ''}{element};"
    given = f"(&{{o}})[at * {out.strides[axis]}] = {rounded}{value};"
    at = f"{n - 1} - t" if reverse else "t"
    steps = f"{given} {taken}" if exclusive else f"{taken} {given}"
    text = f"{{{{ {kind} sum = {start}; for (int t = 0; t < {n}; ++t) {{{{ const int at = {at}; {steps} }}}} }}}}"
    lines = [m.at(m.pointer, (*m.strides[:axis], *m.strides[axis + 1 :])) for m in (out, x)]
    for m in lines:
        m.shape = (*m.shape[:axis], *m.shape[axis + 1 :])
    return p.loop(lines[0].shape, lines, lambda o, e: text.format(o=o, x=e))


def _variance(p: Program, call: Call) -> list[str]:
    """In two passes over the elements, in double, rounded once."""
    (x,), out = p.operands(call), p.out(call)
    axis, _, correction = call.attrs[:3]
    if out.dtype not in SUFFIX:
        raise Unsupported("of integers it has no form there")
    every = range(len(x.shape)) if axis is None else [axis] if isinstance(axis, int) else list(axis)
    reduced = {a % len(x.shape) for a in every} if x.shape else set()
    kept = [d for d in range(len(x.shape)) if d not in reduced]
    lengths, inner = [x.shape[d] for d in kept], [x.shape[d] for d in sorted(reduced)]
    if 0 in lengths:
        return []
    step, to = 1, list[int]()
    for n in reversed(lengths):
        to.insert(0, step)
        step *= n
    first = _place(x, [x.strides[d] for d in kept])
    element = " + ".join([first, *(f"r{k} * {x.strides[d]}" for k, d in enumerate(sorted(reduced)) if x.strides[d])])
    count = math.prod(inner)
    runs, heads = " ".join(line.strip() for line in _loops(inner, "r")), _loops(lengths)
    value = f"apart / {literal(max(count - correction, 0), 'float64')}"
    if call.op is not None and call.op.name == "std":
        value = f"sqrt({value})"
    indent = "  " * len(heads)
    return [
        *heads, f"{indent}{{", f"{indent}  double sum = 0, mean, apart = 0;",
        f"{indent}  {runs} sum += (double)*({element});", f"{indent}  mean = sum / {literal(count, 'float64')};",
        f"{indent}  {runs} {{ const double d = (double)*({element}) - mean; apart += d * d; }}",
        f"{indent}  *({_place(out, to)}) = ({TYPES[out.dtype]})({value});", f"{indent}}}",
    ]  # fmt: skip


C_FORMS |= {"take": _taken, "gather": _gathered, "tril": _triangle("<="), "triu": _triangle(">=")}
ROUNDED |= {"cumsum": _accumulated, "var": _variance, "std": _variance}
