"""`c`: a model as one C file."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import dlcore
from dlcore._commands import Array
from dlcore._files import replacing
from dlcore._memory import readable
from dlcore.export.c_kernels import functions
from dlcore.export.onnx_forms import refusal
from dlcore.export.trace import Call, Prediction, Recorded, example_of
from dlcore.nn.module import Module

__all__ = ["C_FORMS", "c"]

_LARGEST = 32 << 20  # bytes of weights: their text is four times as long, which compilers take minutes for
_TYPES = {
    "float32": "float", "float64": "double", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t",
    "int64": "int64_t", "uint8": "uint8_t", "bool": "uint8_t",
}  # fmt: skip
_SUFFIX = {"float32": "f32", "float64": "f64"}


def c(model: Module, path: str | os.PathLike[str], example: Any) -> None:
    """Write ``model`` as one C file with its weights, which needs nothing but a C99 compiler and libm.

    The file defines ``void NAME_predict(const T *input, U *output)`` for one sample, NAME being that of the file:
    what `dlcore.predict` does with one row, the preprocessing that ``fit`` has left included. ``example``: samples
    (N, ...) of the shape and dtype that `predict` gets; T is that dtype, U that of the outputs, of which each has an
    argument. Compiled with ``-DDLCORE_MAIN`` it is a program that reads the numbers of samples from standard input and
    prints the outputs of each on a line: ``cc -O2 -DDLCORE_MAIN -o digits digits.c -lm``. Intermediate results lie in
    static memory, so that one call at a time may run.

    The outputs have the bits of dlcore's plain kernels (``DLCORE_ISA=v1``) for one row, except for float64 powers,
    sines and cosines and float32 ones beyond 2^20, which are libm's; sums of more than 65536 elements, and logsumexp of
    columns of more than 16, which run in another order.

    Raises ValueError, naming the operation and the line, for operations that have no form in C, for what depends on
    values of the input, and for models of more than 32 MB; TypeError for 16-bit floats.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    >>> dl.export.c(model, "digits.c", example=np.zeros((1, 8, 8), np.float32))
    """
    name = "export.c"
    samples = example_of(example, name)
    prediction = Prediction(model, name)
    one = samples[:1]
    prediction.eager(one)
    stem = re.sub(r"\W", "_", os.path.splitext(os.path.basename(os.fspath(path)))[0], flags=re.ASCII)
    stem = stem if re.match(r"[A-Za-z]", stem) else f"model_{stem}"
    text = _Program(prediction.recorded(one, planned=True), one, stem, prediction.names).text()
    with replacing(path) as file:
        file.write(text.encode())


# ---- numbers ----------------------------------------------------------------------------------------------------------


def literal(value: Any, dtype: str) -> str:
    """A number as a C constant with exactly its value."""
    if dtype in _SUFFIX:
        number, cast = float(value), "(float)" if dtype == "float32" else ""
        if math.isnan(number):
            return f"{cast}NAN"
        if math.isinf(number):
            return f"{'-' if number < 0 else ''}{cast}INFINITY"
        return number.hex() + ("f" if dtype == "float32" else "")
    whole = int(value)
    if dtype != "int64":
        return str(whole) if whole > -(2**31) else "(-2147483647 - 1)"
    return f"INT64_C({whole})" if whole > -(2**63) else "(-INT64_C(9223372036854775807) - 1)"


class _Memory:
    """Where an array lies: a C pointer to its first element, and strides in elements."""

    def __init__(self, pointer: str, array: Array, strides: Sequence[int]):
        self.pointer, self.shape, self.strides = pointer, array.shape, tuple(strides)
        self.dtype: str = array.dtype.name

    @property
    def suffix(self) -> str:
        """Of the functions for its type."""
        return _SUFFIX[self.dtype]


class _Program:
    """The text of one model."""

    def __init__(self, recorded: Recorded, sample: np.ndarray, stem: str, names: Sequence[str]):
        self.recorded, self.sample, self.stem, self.names = recorded, sample, stem, names
        self.function = recorded.function
        self.constants: dict[tuple[Any, ...], tuple[str, str]] = {}  # what lies where -> its name and its text
        self.constant_bytes = 0
        self.arenas: dict[str, int] = {}  # dtype -> elements
        self.used: set[str] = set()
        self.results = {a.region: k for k, a in enumerate(recorded.results)}
        if sample.dtype.name not in _TYPES:
            raise TypeError(f"{self.function}: example is of dtype {sample.dtype.name}, which is not exported")

    def refuse(self, call: Call, why: str) -> Any:
        """Raises ValueError: the call has no form."""
        raise ValueError(f"{self.function}: {call.where} cannot be exported to C: {why}")

    # -- memory --------------------------------------------------------------------------------------------------------

    def memory(self, array: Array) -> _Memory:
        """Where an array of a call lies in the program."""
        dtype = array.dtype.name
        if dtype not in _TYPES:
            raise ValueError(f"{self.function}: a tensor is of dtype {dtype}, in which C does not compute")
        kind, at = self.recorded.kinds[array.region], array.offset // array.dtype.itemsize
        if kind == "outside":
            return self._constant(array)
        if kind == "input":
            base = "input"
        elif kind == "result":
            base = f"output{self.results[array.region]}" if len(self.results) > 1 else "output"
        else:
            base = f"arena_{dtype}"
            begin = self.recorded.offsets[array.region] // array.dtype.itemsize
            size = self.recorded.sizes[array.region] // array.dtype.itemsize
            self.arenas[dtype] = max(self.arenas.get(dtype, 1), begin + size)
            at += begin
        return _Memory(f"{base} + {at}" if at else base, array, array.strides)

    def _constant(self, array: Array) -> _Memory:
        """Memory from before the pass, in its own order where that leaves no large gaps."""
        steps = [(n - 1) * s for n, s in zip(array.shape, array.strides, strict=True) if n]
        low, high = sum(s for s in steps if s < 0), sum(s for s in steps if s > 0)
        size = math.prod(array.shape)
        strides: Sequence[int] = array.strides
        if high - low + 1 > 4 * max(size, 1):
            low, strides = 0, _contiguous(array.shape)
            values = self.recorded.constant(array).values.ravel()
        else:
            begin = array._replace(offset=array.offset + low * array.dtype.itemsize, shape=(high - low + 1,), strides=(1,))
            values = self.recorded.constant(begin).values
        name = self.recorded.constant(array).name
        key = (array.region, array.offset, low, len(values), tuple(strides) == tuple(array.strides))
        if key not in self.constants:
            self.constant_bytes += values.nbytes
            if self.constant_bytes > _LARGEST:
                raise ValueError(
                    f"{self.function}: the model has more than {readable(_LARGEST)} of weights, for which compilers of C "
                    "take too long; export it to ONNX"
                )
            label = f"constant_{len(self.constants)}"
            self.constants[key] = (label, _constant_text(label, array.dtype.name, values, name))
        label = self.constants[key][0]
        return _Memory(f"{label} + {-low}" if low else label, array, strides)

    def loop(self, shape: Sequence[int], operands: Sequence[_Memory | str], body: Callable[..., str]) -> list[str]:
        """Loops over ``shape``; ``body``: of the elements, strings, the statement within. Texts stand for themselves."""
        if 0 in shape:
            return []
        strides = [_broadcast(m, shape) for m in operands if isinstance(m, _Memory)]
        axes: list[tuple[int, tuple[int, ...]]] = []
        for d, n in enumerate(shape):
            steps = tuple(s[d] for s in strides)
            if n == 1:
                continue
            if axes and all(outer == inner * n for outer, inner in zip(axes[-1][1], steps, strict=True)):
                axes[-1] = (axes[-1][0] * n, steps)
            else:
                axes.append((n, steps))
        elements, k = [], 0
        for m in operands:
            if isinstance(m, str):
                elements.append(m)
                continue
            terms = [f"i{d}" if s[k] == 1 else f"i{d} * {s[k]}" for d, (_, s) in enumerate(axes) if s[k]]
            base, _, start = m.pointer.partition(" + ")
            elements.append(f"{base}[{' + '.join([*terms, *([start] if start else [])]) or '0'}]")
            k += 1
        heads = [f"for (int i{d} = 0; i{d} < {n}; ++i{d})" for d, (n, _) in enumerate(axes)]
        lines = [f"{'  ' * d}{head}" for d, head in enumerate(heads)]
        return [*lines, f"{'  ' * len(heads)}{body(*elements)}"]

    # -- text ----------------------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The file."""
        body: list[str] = []
        for call in self.recorded.calls:
            body += [f"  /* {call.where} */", *(f"  {line}" for line in self._call(call))]
        said = set(re.findall(r"\w+", "\n".join(line for line in body if not line.startswith("  /*"))))
        called = functions(self.used & said)  # loops over nothing have been left out
        arenas = [f"static {_TYPES[dtype]} arena_{dtype}[{size}];" for dtype, size in sorted(self.arenas.items())]
        constants = "\n".join(text for label, text in self.constants.values() if label in said)
        unused = [name for name in ("input", *self._outputs()) if name not in said]
        body = [*(f"  (void){name};" for name in unused), *body]
        parts = [self._head(), constants, "\n".join(arenas), called, self._signature() + " {", "\n".join(body), "}"]
        return "\n".join(p for p in parts if p) + "\n\n" + self._main()

    def _sizes(self) -> list[int]:
        return [math.prod(a.shape) for a in self.recorded.results]

    def _outputs(self) -> list[str]:
        several = len(self.results) > 1
        return [f"output{k}" if several else "output" for k in range(len(self.results))]

    def _signature(self) -> str:
        outs = self._outputs()
        arguments = [f"{_TYPES[a.dtype.name]} *{out}" for a, out in zip(self.recorded.results, outs, strict=True)]
        return f"void {self.stem}_predict(const {_TYPES[self.sample.dtype.name]} *input, {', '.join(arguments)})"

    def _head(self) -> str:
        outputs = ", ".join(
            f"{name} {a.dtype.name} {a.shape[1:]}" for name, a in zip(self.names, self.recorded.results, strict=True)
        )
        return f"""/* Written by dlcore {dlcore.__version__}: a trained model, for one sample at a time.

   input: {self.sample.dtype.name} {self.sample.shape[1:]}, in row-major order, as dlcore.predict takes it
   outputs: {outputs}

   Intermediate results are static: one call at a time. With -DDLCORE_MAIN a program that reads the numbers of samples
   from standard input and prints the outputs of each on a line:

     cc -O2 -DDLCORE_MAIN -o {self.stem} {self.stem}.c -lm
*/
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__FAST_MATH__) || (defined(FLT_EVAL_METHOD) && (FLT_EVAL_METHOD == 1 || FLT_EVAL_METHOD == 2))
#error "every operation has to be rounded to its type: no -ffast-math, and SSE rather than x87"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

{self._signature()};
"""

    def _main(self) -> str:
        size, dtype = self.sample.size, self.sample.dtype.name
        outs = self._outputs()
        arrays = "\n".join(f"  static {_TYPES[a.dtype.name]} {out}[{max(n, 1)}];"
                           for a, out, n in zip(self.recorded.results, outs, self._sizes(), strict=True))  # fmt: skip
        lines = []
        for a, out, n in zip(self.recorded.results, outs, self._sizes(), strict=True):
            shown = {"float32": f'"%.9g", (double){out}[i]', "float64": f'"%.17g", {out}[i]'}
            value = shown.get(a.dtype.name, f'"%lld", (long long){out}[i]')
            first = 'if (i) putchar(\' \');' if out == outs[0] else "putchar(' ');"
            lines += [f"    for (i = 0; i < {n}; ++i) {{", f"      {first}", f"      printf({value});", "    }"]
        if dtype in _SUFFIX:
            declared = f"{_TYPES[dtype]} value"
            read = "strtof(word, &end)" if dtype == "float32" else "strtod(word, &end)"
            wrong = "*end || end == word"
        else:
            limits = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            declared, read = "long long value", "strtoll(word, &end, 10)"
            below, above = literal(limits[0], "int64"), literal(limits[1], "int64")
            wrong = "*end || end == word" + ("" if dtype == "int64" else f" || value < {below} || value > {above}")
        kind = "numbers" if dtype in _SUFFIX else f"whole numbers of {dtype}"
        return f"""#ifdef DLCORE_MAIN
#include <stdio.h>
#include <stdlib.h>

int main(void) {{
  static {_TYPES[dtype]} input[{size}];
{arrays}
  char word[128], *end;
  int i, filled = 0, samples = 0;
  while (scanf("%127s", word) == 1) {{
    const {declared} = {read};
    if ({wrong}) {{
      fprintf(stderr, "{self.stem}: %s: {kind} are read\\n", word);
      return 1;
    }}
    input[filled++] = {f"({_TYPES[dtype]})value"};
    if (filled < {size}) continue;
    {self.stem}_predict(input, {", ".join(outs)});
    filled = 0, ++samples;
{chr(10).join(lines)}
    putchar('\\n');
  }}
  if (filled || !samples) {{
    fprintf(stderr, "{self.stem}: %d numbers are left, and a sample has {size}\\n", filled);
    return 1;
  }}
  return 0;
}}
#endif
"""

    def _call(self, call: Call) -> list[str]:
        name = "copy" if call.op is None else call.op.name
        if name not in C_FORMS:
            self.refuse(call, (call.op and refusal(call.op)) or "it has no form there; export to ONNX")
        try:
            return C_FORMS[name](self, call)
        except _Unsupported as error:
            return list(self.refuse(call, str(error)))

    def operands(self, call: Call) -> list[Any]:
        """The operands: memory, the text of a number, or None."""
        return [self.operand(a) for a in call.inputs]

    def operand(self, array: Array | None) -> Any:
        """One of them."""
        if array is None:
            return None
        if array.region < 0:
            return literal(self.recorded.number(array)[()], array.dtype.name)
        return self.memory(array)

    def out(self, call: Call) -> _Memory:
        """The result."""
        array = call.outputs[0]
        assert array is not None
        return self.memory(array)

    def use(self, name: str) -> str:
        """``name``, a function that the program needs."""
        self.used.add(name)
        return name


class _Unsupported(ValueError):
    """Why a call has no form."""


def _contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    steps, step = [], 1
    for n in reversed(shape):
        steps.append(step)
        step *= max(n, 1)
    return tuple(reversed(steps))


def _broadcast(m: _Memory, shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of an array that is broadcast to ``shape``."""
    extra = len(shape) - len(m.shape)
    own = (0 if n == 1 else s for n, s in zip(m.shape, m.strides, strict=True))
    return (*[0] * extra, *own)


def _constant_text(label: str, dtype: str, values: np.ndarray, name: str) -> str:
    numbers = [literal(v, dtype) for v in values.tolist()] or ["0"]
    lines, line = [], ""
    for number in numbers:
        if len(line) + len(number) > 116:
            lines.append(line)
            line = ""
        line += f" {number},"
    body = "\n ".join([*lines, line])
    return f"static const {_TYPES[dtype]} {label}[{len(numbers)}] = {{{f'  /* {name} */' if name else ''}\n {body}\n}};"


# ---- the operations ---------------------------------------------------------------------------------------------------

CForm = Callable[[_Program, Call], list[str]]


def _elementwise(expression: Callable[..., str]) -> CForm:
    """``expression``: of the program, the operands' dtype and the elements."""

    def made(p: _Program, call: Call) -> list[str]:
        out = p.out(call)
        first = next(a for a in call.inputs if a is not None)
        body = lambda o, *xs: f"{o} = {expression(p, first.dtype.name, *xs)};"  # noqa: E731
        return p.loop(out.shape, [out, *p.operands(call)], body)

    return made


def _wrapping(symbol: str, logical: str = "") -> CForm:
    def expression(p: _Program, dtype: str, a: str, b: str) -> str:
        if dtype in _SUFFIX:
            return f"{a} {symbol} {b}"
        if dtype == "bool":
            return f"{a} {logical} {b}"
        wide = "uint64_t" if dtype == "int64" else "uint32_t"
        return f"({_TYPES[dtype]})(({wide}){a} {symbol} ({wide}){b})"

    return _elementwise(expression)


def _plain(template: str) -> CForm:
    """An expression in {a} and {b}; {T}: the operands' type."""
    return _elementwise(lambda p, dtype, a, b="": template.format(a=a, b=b, T=_TYPES[dtype]))


def _of_floats(name: str) -> CForm:
    def expression(p: _Program, dtype: str, *xs: str) -> str:
        if dtype not in _SUFFIX:
            raise _Unsupported("of integers it has no form there")
        return f"{p.use(f'{name}_{_SUFFIX[dtype]}')}({', '.join(xs)})"

    return _elementwise(expression)


def _libm(name: str) -> CForm:
    return _elementwise(lambda p, dtype, *xs: f"{name}{'f' if dtype == 'float32' else ''}({', '.join(xs)})")


def _circle(name: str, quarter: int) -> CForm:
    def expression(p: _Program, dtype: str, x: str) -> str:
        if dtype == "float64":
            return f"{name}({x})"
        return f"fabsf({x}) <= 0x1p20f ? {p.use('sin_near_f32')}({x}, {quarter}) : {name}f({x})"

    return _elementwise(expression)


def _negated(p: _Program, dtype: str, x: str) -> str:
    if dtype in _SUFFIX:
        return f"-{x}"
    wide = "uint64_t" if dtype == "int64" else "uint32_t"
    return f"({_TYPES[dtype]})(0 - ({wide}){x})"


def _absolute(p: _Program, dtype: str, x: str) -> str:
    if dtype in _SUFFIX:
        return f"fabs{'f' if dtype == 'float32' else ''}({x})"
    return x if dtype == "uint8" else f"{x} < 0 ? {_negated(p, dtype, x)} : {x}"


def _signed(p: _Program, dtype: str, x: str) -> str:
    if dtype in _SUFFIX:
        return f"{p.use(f'sign_{_SUFFIX[dtype]}')}({x})"
    return f"{x} > 0" if dtype == "uint8" else f"({_TYPES[dtype]})(({x} > 0) - ({x} < 0))"


def _squared(p: _Program, call: Call) -> list[str]:
    return C_FORMS["mul"](p, call._replace(inputs=(call.inputs[0], call.inputs[0])))


def _one(dtype: str) -> str:
    return literal(1, dtype)


def _rooted(p: _Program, dtype: str, x: str) -> str:
    return f"{_one(dtype)} / sqrt{'f' if dtype == 'float32' else ''}({x})"


def _power(p: _Program, call: Call) -> list[str]:
    exponent = call.inputs[1]
    assert exponent is not None
    dtype = exponent.dtype.name
    if dtype not in _SUFFIX:
        raise _Unsupported("of integers it has no form there")
    root = "sqrtf" if dtype == "float32" else "sqrt"
    special = {
        2.0: "{a} * {a}", 1.0: "{a}", -1.0: f"{_one(dtype)} / {{a}}",
        0.5: f"{{a}} == -({_TYPES[dtype]})INFINITY ? ({_TYPES[dtype]})INFINITY : {root}({{a}}) + {literal(0, dtype)}",
    }  # fmt: skip
    if math.prod(exponent.shape) == 1:
        if exponent.region < 0:
            value = float(p.recorded.number(exponent))
        elif p.recorded.kinds[exponent.region] == "outside":
            value = float(p.recorded.constant(exponent).values.ravel()[0])
        else:
            raise _Unsupported("a single exponent that is computed chooses the algorithm; give it more elements")
        if value in special:
            out = p.out(call)
            body = lambda o, a: f"{o} = {special[value].format(a=a)};"  # noqa: E731
            return p.loop(out.shape, [out, p.operand(call.inputs[0])], body)
    return _of_floats("pow_near")(p, call) if dtype == "float32" else _libm("pow")(p, call)


def _chosen(p: _Program, call: Call) -> list[str]:
    out = p.out(call)
    return p.loop(out.shape, [out, *p.operands(call)], lambda o, cond, a, b: f"{o} = {cond} ? {a} : {b};")


def _converted(p: _Program, call: Call) -> list[str]:
    out, (x,) = p.out(call), p.operands(call)
    source = call.inputs[0]
    assert source is not None
    given, wanted = source.dtype.name, out.dtype
    if wanted == "bool":
        text = "{o} = {x} != 0;"
    elif wanted in _SUFFIX or given not in _SUFFIX:
        text = f"{{o}} = ({_TYPES[wanted]}){{x}};"
    else:  # beyond the range C leaves it open
        limits = np.iinfo(wanted)
        low, above = literal(float(limits.min), given), literal(2.0 * (limits.max // 2 + 1), given)
        highest, lowest = literal(limits.max, wanted), literal(limits.min, wanted)
        inside = f"{{x}} >= {low} && {{x}} < {above} ? ({_TYPES[wanted]}){{x}}"
        text = f"{{o}} = {inside} : {{x}} >= {above} ? {highest} : {{x}} < {low} ? {lowest} : 0;"
    return p.loop(out.shape, [out, x], lambda o, e: text.format(o=o, x=e))


def _copied(p: _Program, call: Call) -> list[str]:
    out = p.out(call)
    return p.loop(out.shape, [out, p.operand(call.inputs[-1])], lambda o, x: f"{o} = {x};")


def _joined(p: _Program, call: Call) -> list[str]:
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


def _slice_assigned(p: _Program, call: Call) -> list[str]:
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
    part = whole._replace(shape=tuple(shape), strides=tuple(strides), offset=whole.offset + offset * whole.dtype.itemsize)
    return [*lines, *p.loop(part.shape, [p.memory(part), p.operand(value)], lambda o, e: f"{o} = {e};")]


def _scaled(p: _Program, call: Call) -> list[str]:
    x, offset, scale, index = p.operands(call)
    if index is not None:
        raise _Unsupported("it takes rows of a batch, and one sample has one row")
    out = p.out(call)

    def along(v: Any) -> Any:
        if isinstance(v, _Memory) and v.shape:
            v.shape, v.strides = (v.shape[0], *[1] * (len(out.shape) - 2)), (v.strides[0], *[0] * (len(out.shape) - 2))
        return v

    body = lambda o, e, a, b: f"{o} = (({_TYPES[out.dtype]}){e} - {a}) * {b};"  # noqa: E731
    return p.loop(out.shape, [out, x, along(offset), along(scale)], body)


# -- products


def _batches(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    for index in np.ndindex(*shape):
        yield [sum(i * s for i, s in zip(index, own, strict=True)) for own in strides]


def _at(pointer: str, offset: int) -> str:
    return f"{pointer} + {offset}" if offset else pointer


def _product(p: _Program, x: _Memory, y: _Memory, out: _Memory, bias: str) -> list[str]:
    """out = x @ y + bias, as csrc/matmul/matmul.inl cuts it into products of matrices."""
    a_shape, a_strides = x.shape if len(x.shape) > 1 else (1, *x.shape), x.strides if len(x.shape) > 1 else (0, *x.strides)
    b_shape, b_strides = y.shape if len(y.shape) > 1 else (*y.shape, 1), y.strides if len(y.shape) > 1 else (*y.strides, 0)
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


def _multiplied(p: _Program, call: Call) -> list[str]:
    (x, y), out = p.operands(call), p.out(call)
    if out.dtype not in _SUFFIX:
        raise _Unsupported("of integers it has no form there")
    return _product(p, x, y, out, "0")


def _linear(p: _Program, call: Call) -> list[str]:
    (x, weight, bias), out = p.operands(call), p.out(call)
    weight.shape, weight.strides = weight.shape[::-1], weight.strides[::-1]
    lines = _product(p, x, weight, out, bias.pointer if bias is not None else "0")
    activation = call.attrs[0]
    if activation is None:
        return lines
    if len(call.outputs) > 1 and call.outputs[1] is not None:
        raise _Unsupported("the value before the activation is read as well")
    function = p.use(f"{activation}_{out.suffix}")
    return [*lines, *p.loop(out.shape, [out], lambda o: f"{o} = {function}({o});")]


def _along_axis(p: _Program, call: Call) -> list[str]:
    (x,), out, axis = p.operands(call), p.out(call), call.attrs[0]
    outer, n, inner = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    assert call.op is not None
    return [f"{p.use(f'{call.op.name}_{out.suffix}')}({x.pointer}, {out.pointer}, {outer}, {n}, {inner});"]


# -- reductions


class _Axes:
    """The axes of a reduction in the order of the input's memory, as csrc/common/reduction.inl orders them.

    ``kept`` and ``reduced``: (length, stride of the input, stride of the output); ``run``: the innermost reduced one.
    """

    def __init__(self, x: _Memory, axes: Sequence[int]):
        kept, reduced, step = [], [], 1
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
        short = inner is not None and self.run[0] < 16 and inner[0] >= 64
        self.columns = inner is not None and (_nearness(inner) < _nearness(self.run) or short)
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


def _reduced(p: _Program, call: Call, start: str, step: Callable[[_Axes, _Memory, str], str], end: str) -> list[str]:
    """A loop over the outputs: ``start`` declares the result, ``step`` takes a run into it, ``end`` is its value."""
    (x,), out = p.operands(call), p.out(call)
    axis = call.attrs[0]
    every = range(len(x.shape)) if axis is None else [axis] if isinstance(axis, int) else axis
    if 0 in out.shape:
        return []
    axes = _Axes(x, list(every))
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


def _each(body: str) -> Callable[[_Axes, _Memory, str], str]:
    """Element by element: ``body`` of the element's pointer `x`."""

    def step(axes: _Axes, x: _Memory, at: str) -> str:
        n, stride, _ = axes.run
        pointer = f"const {_TYPES[x.dtype]} *x = {at} + i * {stride};"
        return f"for (int i = 0; i < {n}; ++i) {{ {pointer} {body} }}"

    return step


def _summed(p: _Program, call: Call) -> list[str]:
    source, out = call.inputs[0], p.out(call)
    assert source is not None
    if source.dtype.name not in _SUFFIX:
        return _reduced(p, call, "uint64_t sum = 0;", _each("sum += (uint64_t)*x;"), "(int64_t)sum")
    suffix, count = out.suffix, math.prod(source.shape) // max(math.prod(out.shape), 1)
    assert call.op is not None
    end = f"({_TYPES[out.dtype]})(sum / {count}.0)" if call.op.name == "mean" else f"({_TYPES[out.dtype]})sum"

    def step(axes: _Axes, x: _Memory, at: str) -> str:
        n, stride, _ = axes.run
        if axes.columns:
            return f"sum = {p.use(f'sum_column_{suffix}')}(sum, {at}, {n}, {stride}, {axes.block});"
        return f"sum = {p.use(f'sum_run_{suffix}')}(sum, {at}, {n}, {stride});"

    return _reduced(p, call, "double sum = 0;", step, end)


def _extreme(symbol: str) -> CForm:
    def made(p: _Program, call: Call) -> list[str]:
        out = p.out(call)
        kind = _TYPES[out.dtype]
        first = call.inputs[0]
        assert first is not None
        if math.prod(first.shape) == 0:
            raise _Unsupported("an empty axis is reduced")
        nan = " || *x != *x" if out.dtype in _SUFFIX else ""
        body = _each(f"if (*x {symbol} best || first{nan}) best = *x; first = 0;")
        if nan:
            body = _each(f"if (first || (best == best && (*x {symbol} best{nan}))) best = *x; first = 0;")
        return _reduced(p, call, f"{kind} best = 0; int first = 1;", body, "best")

    return made


def _truth(p: _Program, call: Call) -> list[str]:
    assert call.op is not None
    if call.op.name == "any":
        return _reduced(p, call, "uint8_t found = 0;", _each("found |= *x != 0;"), "found")
    return _reduced(p, call, "uint8_t found = 1;", _each("found &= *x != 0;"), "found")


def _position(symbol: str) -> CForm:
    def made(p: _Program, call: Call) -> list[str]:
        source = call.inputs[0]
        assert source is not None
        kind, nan = _TYPES[source.dtype.name], " || *x != *x" if source.dtype.name in _SUFFIX else ""
        if call.attrs[0] is None:  # all axes of a contiguous array: a position is an index
            flat = source._replace(shape=(math.prod(source.shape),), strides=(1,))
            call = call._replace(inputs=(flat,), attrs=(0, *call.attrs[1:]))
        known = " && best == best" if nan else ""
        body = _each(f"if (i == 0 || ((*x {symbol} best{nan}){known})) {{ best = *x; found = i; }}")
        return _reduced(p, call, f"{kind} best = 0; int64_t found = 0;", body, "found")

    return made


def _log_sum(p: _Program, call: Call) -> list[str]:
    out = p.out(call)
    t, s, zero = _TYPES[out.dtype], out.suffix, literal(0, out.dtype)
    source = call.inputs[0]
    assert source is not None
    axes = call.attrs[0]
    every = list(range(len(source.shape))) if axes is None else [axes] if isinstance(axes, int) else list(axes)
    layout = _Axes(p.memory(source), every)
    if layout.reduced or layout.run[0] > 4096:
        raise _Unsupported("more than 4096 elements, or axes that do not lie side by side, are reduced")
    n, stride, _ = layout.run
    total = p.use(f"sum_chain_{s}" if layout.columns else f"sum_run_{s}")
    exponential, log = p.use(f"exp_below_{s}"), p.use("log_f64")

    def step(axes: _Axes, x: _Memory, at: str) -> str:
        added = f"(terms, {n}, 1, {axes.block})" if axes.columns else f"(0, terms, {n}, 1)"
        return (
            f"{{ const {t} *x = {at}; {t} shift, terms[{max(n, 1)}]; int i; "
            f"for (i = 0; i < {n}; ++i) if (max == max && (x[i * {stride}] > max || x[i * {stride}] != x[i * {stride}])) "
            f"max = x[i * {stride}]; shift = max - max == {zero} ? max : {zero}; "
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
    "neg": _elementwise(_negated), "abs": _elementwise(_absolute), "sign": _elementwise(_signed), "square": _squared,
    "reciprocal": _elementwise(lambda p, dtype, x: f"{_one(dtype)} / {x}"), "sqrt": _libm("sqrt"),
    "rsqrt": _elementwise(_rooted), "exp": _of_floats("exp"), "expm1": _of_floats("expm1"), "log": _of_floats("log"),
    "log1p": _of_floats("log1p"), "sin": _circle("sin", 0), "cos": _circle("cos", 1),
    "eq": _plain("{a} == {b}"), "ne": _plain("{a} != {b}"), "lt": _plain("{a} < {b}"), "le": _plain("{a} <= {b}"),
    "gt": _plain("{a} > {b}"), "ge": _plain("{a} >= {b}"), "logical_and": _plain("{a} & {b}"),
    "logical_or": _plain("{a} | {b}"), "logical_xor": _plain("{a} ^ {b}"), "logical_not": _plain("{a} ^ 1"),
    "isnan": _plain("{a} != {a}"), "isfinite": _plain("{a} - {a} == 0"), "where": _chosen, "cast": _converted,
    "relu": _of_floats("relu"), "sigmoid": _of_floats("sigmoid"), "tanh": _of_floats("tanh"),
    "gelu": lambda p, call: _of_floats("gelu" if call.attrs[0] == "none" else "gelu_tanh")(p, call),
    "contiguous": _copied, "assign": _copied, "copy": _copied, "concat": _joined, "slice_assign": _slice_assigned,
    "take_scaled": _scaled, "matmul": _multiplied, "linear": _linear, "softmax": _along_axis,
    "log_softmax": _along_axis, "sum": _summed, "mean": _summed, "max": _extreme(">"), "min": _extreme("<"),
    "any": _truth, "all": _truth, "argmax": _position(">"), "argmin": _position("<"), "logsumexp": _log_sum,
}  # fmt: skip
"""The form of each operation: a function of the program and the call, which gives lines of C."""
