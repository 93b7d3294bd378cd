"""The form of each operation in C: an operation more is an entry in `C_FORMS`.

A form is a function of the program and of a call, which gives lines of C. Loops and functions round as the plain
kernels of csrc/ do, in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from dlcore.export.c_text import SUFFIX, TYPES, CForm, Memory, Program, Unsupported, literal
from dlcore.export.trace import Call

__all__ = ["C_FORMS", "ROUNDED", "elementwise", "libm"]

# ---- elementwise ----------------------------------------------------------------------------------------------------


def elementwise(expression: Callable[..., str]) -> CForm:
    """The form of ``expression``: of the program, the operands' dtype and the elements."""

    def made(p: Program, call: Call) -> list[str]:
        out = p.out(call)
        first = next(a for a in call.inputs if a is not None)
        body = lambda o, *xs: f"{o} = {expression(p, first.dtype.name, *xs)};"  # noqa: E731
        return p.loop(out.shape, [out, *p.operands(call)], body)

    return made


def _wrapping(symbol: str, logical: str = "") -> CForm:
    def expression(p: Program, dtype: str, a: str, b: str) -> str:
        if dtype in SUFFIX:
            return f"{a} {symbol} {b}"
        if dtype == "bool":
            return f"{a} {logical} {b}"
        wide = "uint64_t" if dtype == "int64" else "uint32_t"
        return f"({TYPES[dtype]})(({wide}){a} {symbol} ({wide}){b})"

    return elementwise(expression)


def _plain(template: str) -> CForm:
    """An expression in {a} and {b}; {T}: the operands' type."""
    return elementwise(lambda p, dtype, a, b="": template.format(a=a, b=b, T=TYPES[dtype]))


def _of_floats(name: str) -> CForm:
    def expression(p: Program, dtype: str, *xs: str) -> str:
        if dtype not in SUFFIX:
            raise Unsupported("of integers it has no form there")
        return f"{p.use(f'{name}_{SUFFIX[dtype]}')}({', '.join(xs)})"

    return elementwise(expression)


def libm(name: str) -> CForm:
    """The form of a function of C's library."""
    return elementwise(lambda p, dtype, *xs: f"{name}{'f' if dtype == 'float32' else ''}({', '.join(xs)})")


def _circle(name: str, quarter: int) -> CForm:
    def expression(p: Program, dtype: str, x: str) -> str:
        if dtype == "float64":
            return f"{name}({x})"
        return f"fabsf({x}) <= 0x1p20f ? {p.use('sin_near_f32')}({x}, {quarter}) : {name}f({x})"

    return elementwise(expression)


def _negated(p: Program, dtype: str, x: str) -> str:
    if dtype in SUFFIX:
        return f"-{x}"
    wide = "uint64_t" if dtype == "int64" else "uint32_t"
    return f"({TYPES[dtype]})(0 - ({wide}){x})"


def _absolute(p: Program, dtype: str, x: str) -> str:
    if dtype in SUFFIX:
        return f"fabs{'f' if dtype == 'float32' else ''}({x})"
    return x if dtype == "uint8" else f"{x} < 0 ? {_negated(p, dtype, x)} : {x}"


def _signed(p: Program, dtype: str, x: str) -> str:
    if dtype in SUFFIX:
        return f"{p.use(f'sign_{SUFFIX[dtype]}')}({x})"
    return f"{x} > 0" if dtype == "uint8" else f"({TYPES[dtype]})(({x} > 0) - ({x} < 0))"


def _squared(p: Program, call: Call) -> list[str]:
    return C_FORMS["mul"](p, call._replace(inputs=(call.inputs[0], call.inputs[0])))


def _one(dtype: str) -> str:
    return literal(1, dtype)


def _rooted(p: Program, dtype: str, x: str) -> str:
    return f"{_one(dtype)} / sqrt{'f' if dtype == 'float32' else ''}({x})"


def _power(p: Program, call: Call) -> list[str]:
    exponent = call.inputs[1]
    assert exponent is not None
    dtype = exponent.dtype.name
    if dtype not in SUFFIX:
        raise Unsupported("of integers it has no form there")
    root = "sqrtf" if dtype == "float32" else "sqrt"
    special = {
        2.0: "{a} * {a}", 1.0: "{a}", -1.0: f"{_one(dtype)} / {{a}}",
        0.5: f"{{a}} == -({TYPES[dtype]})INFINITY ? ({TYPES[dtype]})INFINITY : {root}({{a}}) + {literal(0, dtype)}",
    }  # fmt: skip
    if math.prod(exponent.shape) == 1:
        if exponent.region < 0:
            value = float(p.recorded.number(exponent))
        elif p.recorded.kinds[exponent.region] == "outside":
            value = float(p.recorded.constant(exponent).values.ravel()[0])
        else:
            raise Unsupported("a single exponent that is computed chooses the algorithm; give it more elements")
        if value in special:
            out = p.out(call)
            body = lambda o, a: f"{o} = {special[value].format(a=a)};"  # noqa: E731
            return p.loop(out.shape, [out, p.operand(call.inputs[0])], body)
    return _of_floats("pow_near")(p, call) if dtype == "float32" else libm("pow")(p, call)


def _chosen(p: Program, call: Call) -> list[str]:
    out = p.out(call)
    return p.loop(out.shape, [out, *p.operands(call)], lambda o, cond, a, b: f"{o} = {cond} ? {a} : {b};")


def _converted(p: Program, call: Call) -> list[str]:
    out, (x,) = p.out(call), p.operands(call)
    source = call.inputs[0]
    assert source is not None
    given, wanted = source.dtype.name, out.dtype
    if wanted == "bool":
        text = "{o} = {x} != 0;"
    elif wanted in SUFFIX or given not in SUFFIX:
        text = f"{{o}} = ({TYPES[wanted]}){{x}};"
    else:  # beyond the range C leaves it open
        limits = np.iinfo(wanted)
        low, above = literal(float(limits.min), given), literal(2.0 * (limits.max // 2 + 1), given)
        highest, lowest = literal(limits.max, wanted), literal(limits.min, wanted)
        inside = f"{{x}} >= {low} && {{x}} < {above} ? ({TYPES[wanted]}){{x}}"
        text = f"{{o}} = {inside} : {{x}} >= {above} ? {highest} : {{x}} < {low} ? {lowest} : 0;"
    return p.loop(out.shape, [out, x], lambda o, e: text.format(o=o, x=e))


def _close(p: Program, call: Call) -> list[str]:
    out, operands = p.out(call), p.operands(call)
    dtype = next(x.dtype.name for x in call.inputs if x is not None)
    if dtype not in SUFFIX:
        raise Unsupported("of integers it has no form there")
    (rtol, atol), size = (literal(v, dtype) for v in call.attrs[:2]), "fabsf" if dtype == "float32" else "fabs"
    near = f"{size}({{a}} - {{b}}) <= {atol} + {rtol} * {size}({{b}})"
    text = f"({{b}} - {{b}} == 0 && {near}) || {{a}} == {{b}}"
    text += " || ({a} != {a} && {b} != {b})" if call.attrs[2] else ""
    return p.loop(out.shape, [out, *operands], lambda o, a, b: f"{o} = {text.format(a=a, b=b)};")


def _copied(p: Program, call: Call) -> list[str]:
    out = p.out(call)
    return p.loop(out.shape, [out, p.operand(call.inputs[-1])], lambda o, x: f"{o} = {x};")


def _joined(p: Program, call: Call) -> list[str]:
    out, axis, at, lines = p.out(call), call.attrs[0], 0, []
    for part in call.inputs:
        assert part is not None
        target = call.outputs[0]
        assert target is not None
        offset = target.offset + at * target.strides[axis] * target.dtype.itemsize
        place = p.memory(target._replace(shape=part.shape, offset=offset))
        lines += p.loop(part.shape, [place, p.operand(part)], lambda o, x: f"{o} = {x};")
        at += part.shape[axis]
    assert out is not None
    return lines


def _slice_assigned(p: Program, call: Call) -> list[str]:
    x, value = call.inputs
    whole = call.outputs[0]
    assert x is not None and whole is not None
    lines = _copied(p, call._replace(inputs=(x,)))
    shape, strides, offset, axis = [], [], 0, 0
    for entry in call.attrs[0]:
        if entry is None:
            shape.append(1)
            strides.append(0)
            continue
        start, count, step = entry if isinstance(entry, tuple) else (entry, 1, 1)
        offset += start * whole.strides[axis]
        if isinstance(entry, tuple):
            shape.append(count)
            strides.append(step * whole.strides[axis])
        axis += 1
    begin = whole.offset + offset * whole.dtype.itemsize
    part = whole._replace(shape=tuple(shape), strides=tuple(strides), offset=begin)
    return [*lines, *p.loop(part.shape, [p.memory(part), p.operand(value)], lambda o, e: f"{o} = {e};")]


def _scaled(p: Program, call: Call) -> list[str]:
    x, offset, scale, index = p.operands(call)
    if index is not None:
        raise Unsupported("it takes rows of a batch, and one sample has one row")
    out = p.out(call)

    def along(v: Any) -> Any:
        if isinstance(v, Memory) and v.shape:
            v.shape, v.strides = (v.shape[0], *[1] * (len(out.shape) - 2)), (v.strides[0], *[0] * (len(out.shape) - 2))
        return v

    body = lambda o, e, a, b: f"{o} = (({TYPES[out.dtype]}){e} - {a}) * {b};"  # noqa: E731
    return p.loop(out.shape, [out, x, along(offset), along(scale)], body)


# -- products


def _batches(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    for index in np.ndindex(*shape):
        yield [sum(i * s for i, s in zip(index, own, strict=True)) for own in strides]


def _at(pointer: str, offset: int) -> str:
    return f"{pointer} + {offset}" if offset else pointer


def _product(p: Program, x: Memory, y: Memory, out: Memory, bias: str) -> list[str]:
    """out = x @ y + bias, as csrc/matmul/matmul.inl cuts it into products of matrices."""
    a_shape, a_strides = (x.shape, x.strides) if len(x.shape) > 1 else ((1, *x.shape), (0, *x.strides))
    b_shape, b_strides = (y.shape, y.strides) if len(y.shape) > 1 else ((*y.shape, 1), (*y.strides, 0))
    m, k, n = a_shape[-2], a_shape[-1], b_shape[-1]
    batch = np.broadcast_shapes(a_shape[:-2], b_shape[:-2])
    rows, (a_row, a_col), (b_row, b_col) = m, a_strides[-2:], b_strides[-2:]
    if math.prod(b_shape[:-2]) == 1 and math.prod(a_shape[:-2]) == math.prod(batch):
        below, folds = m * a_row, True
        for length, stride in zip(reversed(a_shape[:-2]), reversed(a_strides[:-2]), strict=True):
            folds = folds and (length == 1 or stride == below)
            below *= length
        if folds:
            rows, batch = m * math.prod(batch), ()
    name = p.use(f"matmul_{out.suffix}")
    own = [[0 if length == 1 else s for length, s in zip(shape[:-2], strides[:-2], strict=True)]
           for shape, strides in ((a_shape, a_strides), (b_shape, b_strides))]  # fmt: skip
    padded = [[0] * (len(batch) - len(s)) + s for s in own] if batch else [[], []]
    lines = []
    for entry, (a, b) in enumerate(_batches(batch, padded)):
        lines.append(
            f"{name}({rows}, {n}, {k}, {_at(x.pointer, a)}, {a_row}, {a_col}, {_at(y.pointer, b)}, {b_row}, {b_col}, "
            f"{_at(out.pointer, entry * rows * n)}, {bias});"
        )
    return lines


def _multiplied(p: Program, call: Call) -> list[str]:
    (x, y), out = p.operands(call), p.out(call)
    if out.dtype not in SUFFIX:
        raise Unsupported("of integers it has no form there")
    return _product(p, x, y, out, "0")


def _linear(p: Program, call: Call) -> list[str]:
    (x, weight, bias), out = p.operands(call), p.out(call)
    weight.shape, weight.strides = weight.shape[::-1], weight.strides[::-1]
    lines = _product(p, x, weight, out, bias.pointer if bias is not None else "0")
    activation = call.attrs[0]
    if activation is None:
        return lines
    if len(call.outputs) > 1 and call.outputs[1] is not None:
        raise Unsupported("the value before the activation is read as well")
    function = p.use(f"{activation}_{out.suffix}")
    return [*lines, *p.loop(out.shape, [out], lambda o: f"{o} = {function}({o});")]


def _along_axis(p: Program, call: Call) -> list[str]:
    (x,), out, axis = p.operands(call), p.out(call), call.attrs[0]
    outer, n, inner = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    assert call.op is not None
    return [f"{p.use(f'{call.op.name}_{out.suffix}')}({x.pointer}, {out.pointer}, {outer}, {n}, {inner});"]


# -- reductions


class _Axes:
    """The axes of a reduction in the order of the input's memory, as csrc/common/reduction.inl orders them.

    ``kept`` and ``reduced``: (length, stride of the input, stride of the output); ``run``: the innermost reduced one.
    ``short_rows`` as there: whether the operation takes rows of a few elements as rows, too.
    """

    def __init__(self, x: Memory, axes: Sequence[int], short_rows: bool):
        kept: list[tuple[int, int, int]] = []
        reduced: list[tuple[int, int, int]] = []
        step = 1
        for d in reversed(range(len(x.shape))):
            n, s = x.shape[d], x.strides[d]
            if d in axes:
                reduced.insert(0, (n, s, 0))
            else:
                kept.insert(0, (n, s, step))
                step *= n
        self.kept, self.reduced = (self._merged([a for a in part if a[0] != 1]) for part in (kept, reduced))
        self.run = self.reduced.pop() if self.reduced else (1, 0, 0)
        inner = self.kept[-1] if self.kept else None
        beside = inner is not None and not short_rows and self.run[0] < 16 and inner[0] >= 64
        self.columns = inner is not None and (_nearness(inner) < _nearness(self.run) or beside)
        self.block = 64 if inner is not None and inner[1] == 1 else 16

    @staticmethod
    def _merged(axes: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        made: list[tuple[int, int, int]] = []
        for axis in sorted(axes, key=_nearness, reverse=True):
            if made and all(made[-1][k] == axis[k] * axis[0] for k in (1, 2)):
                made[-1] = (made[-1][0] * axis[0], axis[1], axis[2])
            else:
                made.append(axis)
        return made


def _nearness(axis: tuple[int, int, int]) -> int:
    return 2**62 if axis[1] == 0 else abs(axis[1])


def _reduced(
    p: Program, call: Call, start: str, step: Callable[[_Axes, Memory, str], str], end: str, short_rows: bool = False
) -> list[str]:
    """A loop over the outputs: ``start`` declares the result, ``step`` takes a run into it, ``end`` is its value."""
    (x,), out = p.operands(call), p.out(call)
    axis = call.attrs[0]
    every = range(len(x.shape)) if axis is None else [axis] if isinstance(axis, int) else axis
    if 0 in out.shape:
        return []
    axes = _Axes(x, list(every), short_rows)
    kept = [f"for (int k{d} = 0; k{d} < {n}; ++k{d})" for d, (n, _, _) in enumerate(axes.kept)]
    outer = [f"for (int r{d} = 0; r{d} < {n}; ++r{d})" for d, (n, _, _) in enumerate(axes.reduced)]
    place = [x.pointer, *(f"k{d} * {s}" for d, (_, s, _) in enumerate(axes.kept)),
             *(f"r{d} * {s}" for d, (_, s, _) in enumerate(axes.reduced))]  # fmt: skip
    target = " + ".join([out.pointer, *(f"k{d} * {s}" for d, (_, _, s) in enumerate(axes.kept))])
    lines = [f"{'  ' * d}{head}" for d, head in enumerate(kept)]
    indent = "  " * len(kept)
    lines += [f"{indent}{{", f"{indent}  {start}"]
    lines += [f"{indent}  {'  ' * d}{head}" for d, head in enumerate(outer)]
    lines += [f"{indent}  {'  ' * len(outer)}{step(axes, x, ' + '.join(place))}"]
    return [*lines, f"{indent}  *({target}) = {end};", f"{indent}}}"]


def _each(body: str) -> Callable[[_Axes, Memory, str], str]:
    """Element by element: ``body`` of the element's pointer `x`."""

    def step(axes: _Axes, x: Memory, at: str) -> str:
        n, stride, _ = axes.run
        pointer = f"const {TYPES[x.dtype]} *x = {at} + i * {stride};"
        return f"for (int i = 0; i < {n}; ++i) {{ {pointer} {body} }}"

    return step


def _summed(p: Program, call: Call) -> list[str]:
    source, out = call.inputs[0], p.out(call)
    assert source is not None
    assert call.op is not None
    if source.dtype.name not in SUFFIX:
        if call.op.name == "mean":
            raise Unsupported("of integers it has no form: cast them to float32 first")
        return _reduced(p, call, "uint64_t sum = 0;", _each("sum += (uint64_t)*x;"), "(int64_t)sum")
    suffix, count = out.suffix, math.prod(source.shape) // max(math.prod(out.shape), 1)
    end = f"({TYPES[out.dtype]})(sum / {count}.0)" if call.op.name == "mean" else f"({TYPES[out.dtype]})sum"

    def step(axes: _Axes, x: Memory, at: str) -> str:
        n, stride, _ = axes.run
        if axes.columns:
            return f"sum = {p.use(f'sum_column_{suffix}')}(sum, {at}, {n}, {stride}, {axes.block});"
        return f"sum = {p.use(f'sum_run_{suffix}')}(sum, {at}, {n}, {stride});"

    return _reduced(p, call, "double sum = 0;", step, end, short_rows=True)


def _extreme(symbol: str) -> CForm:
    def made(p: Program, call: Call) -> list[str]:
        out = p.out(call)
        kind = TYPES[out.dtype]
        first = call.inputs[0]
        assert first is not None
        if math.prod(first.shape) == 0:
            raise Unsupported("an empty axis is reduced")
        nan = " || *x != *x" if out.dtype in SUFFIX else ""
        body = _each(f"if (*x {symbol} best || first{nan}) best = *x; first = 0;")
        if nan:
            body = _each(f"if (first || (best == best && (*x {symbol} best{nan}))) best = *x; first = 0;")
        return _reduced(p, call, f"{kind} best = 0; int first = 1;", body, "best")

    return made


def _truth(p: Program, call: Call) -> list[str]:
    assert call.op is not None
    if call.op.name == "any":
        return _reduced(p, call, "uint8_t found = 0;", _each("found |= *x != 0;"), "found")
    return _reduced(p, call, "uint8_t found = 1;", _each("found &= *x != 0;"), "found")


def _position(symbol: str) -> CForm:
    def made(p: Program, call: Call) -> list[str]:
        source = call.inputs[0]
        assert source is not None
        kind, nan = TYPES[source.dtype.name], " || *x != *x" if source.dtype.name in SUFFIX else ""
        if call.attrs[0] is None:  # all axes of a contiguous array: a position is an index
            flat = source._replace(shape=(math.prod(source.shape),), strides=(1,))
            call = call._replace(inputs=(flat,), attrs=(0, *call.attrs[1:]))
        known = " && best == best" if nan else ""
        body = _each(f"if (i == 0 || ((*x {symbol} best{nan}){known})) {{ best = *x; found = i; }}")
        return _reduced(p, call, f"{kind} best = 0; int64_t found = 0;", body, "found")

    return made


def _log_sum(p: Program, call: Call) -> list[str]:
    out = p.out(call)
    t, s, zero = TYPES[out.dtype], out.suffix, literal(0, out.dtype)
    source = call.inputs[0]
    assert source is not None
    axes = call.attrs[0]
    every = list(range(len(source.shape))) if axes is None else [axes] if isinstance(axes, int) else list(axes)
    layout = _Axes(p.memory(source), every, short_rows=False)
    if layout.reduced or layout.run[0] > 4096:
        raise Unsupported("more than 4096 elements, or axes that do not lie side by side, are reduced")
    n, stride, _ = layout.run
    total = p.use(f"sum_chain_{s}" if layout.columns else f"sum_run_{s}")
    exponential, log = p.use(f"exp_below_{s}"), p.use("log_f64")

    def step(axes: _Axes, x: Memory, at: str) -> str:
        added = f"(terms, {n}, 1, {axes.block})" if axes.columns else f"(0, terms, {n}, 1)"
        return (
            f"{{ const {t} *x = {at}; {t} shift, terms[{max(n, 1)}]; int i; "
            f"for (i = 0; i < {n}; ++i) {{ const {t} y = x[i * {stride}]; "
            f"if (max == max && (y > max || y != y)) max = y; }} shift = max - max == {zero} ? max : {zero}; "
            f"for (i = 0; i < {n}; ++i) terms[i] = {exponential}(x[i * {stride}] - shift); "
            f"sum = max - max == {zero} || max < {zero} ? {total}{added} : max; }}"
        )

    start = f"{t} max = -({t})INFINITY; double sum = 0;"
    return _reduced(p, call, start, step, f"({t})({log}(sum) + (double)(max - max == {zero} ? max : {zero}))")


C_FORMS: dict[str, CForm] = {
    "add": _wrapping("+", "|"), "sub": _wrapping("-"), "mul": _wrapping("*", "&"), "div": _plain("{a} / {b}"),
    "maximum": _plain("({a} > {b}) | ({a} != {a}) ? {a} : {b}"),
    "minimum": _plain("({a} < {b}) | ({a} != {a}) ? {a} : {b}"),
    "floor_divide": _of_floats("floor_divide"), "remainder": _of_floats("remainder"), "pow": _power,
    "neg": elementwise(_negated), "abs": elementwise(_absolute), "sign": elementwise(_signed), "square": _squared,
    "reciprocal": elementwise(lambda p, dtype, x: f"{_one(dtype)} / {x}"), "sqrt": libm("sqrt"),
    "rsqrt": elementwise(_rooted), "exp": _of_floats("exp"), "expm1": _of_floats("expm1"), "log": _of_floats("log"),
    "log1p": _of_floats("log1p"), "sin": _circle("sin", 0), "cos": _circle("cos", 1),
    "eq": _plain("{a} == {b}"), "ne": _plain("{a} != {b}"), "lt": _plain("{a} < {b}"), "le": _plain("{a} <= {b}"),
    "gt": _plain("{a} > {b}"), "ge": _plain("{a} >= {b}"), "logical_and": _plain("({a} != 0) & ({b} != 0)"),
    "logical_or": _plain("({a} != 0) | ({b} != 0)"), "logical_xor": _plain("({a} != 0) ^ ({b} != 0)"),
    "logical_not": _plain("{a} == 0"),
    "isnan": _plain("{a} != {a}"), "isfinite": _plain("{a} - {a} == 0"), "isclose": _close,
    "where": _chosen, "cast": _converted,
    "relu": _of_floats("relu"), "sigmoid": _of_floats("sigmoid"), "tanh": _of_floats("tanh"),
    "gelu": lambda p, call: _of_floats("gelu" if call.attrs[0] == "none" else "gelu_tanh")(p, call),
    "checked": _copied, "contiguous": _copied, "assign": _copied, "copy": _copied, "concat": _joined,
    "slice_assign": _slice_assigned,
    "take_scaled": _scaled, "matmul": _multiplied, "linear": _linear, "softmax": _along_axis,
    "log_softmax": _along_axis, "sum": _summed, "mean": _summed, "max": _extreme(">"), "min": _extreme("<"),
    "any": _truth, "all": _truth, "argmax": _position(">"), "argmin": _position("<"), "logsumexp": _log_sum,
}  # fmt: skip
"""The form of each operation: a function of the program and the call, which gives lines of C."""
ROUNDED: dict[str, CForm] = {}
"""Forms that sum in double and round once: their results differ from those of the kernels in the last bits."""
