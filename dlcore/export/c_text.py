"""The text of an exported C program: its constants, its memory, its loops and its `main`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np

import dlcore
from dlcore._commands import Array
from dlcore._memory import readable
from dlcore.export.c_kernels import functions
from dlcore.export.onnx_forms import refusal
from dlcore.export.trace import Call, Recorded

__all__ = ["SUFFIX", "TYPES", "CForm", "Memory", "Program", "Unsupported", "literal"]

_LARGEST = 32 << 20  # bytes of weights: their text is four times as long, which compilers take minutes for
TYPES = {
    "float32": "float", "float64": "double", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t",
    "int64": "int64_t", "uint8": "uint8_t", "bool": "uint8_t",
}  # fmt: skip
SUFFIX = {"float32": "f32", "float64": "f64"}

# ---- numbers --------------------------------------------------------------------------------------------------------


def literal(value: Any, dtype: str) -> str:
    """A number as a C constant with exactly its value."""
    if dtype in SUFFIX:
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


class Memory:
    """Where an array lies: a C pointer to its first element, and strides in elements."""

    def __init__(self, pointer: str, array: Array, strides: Sequence[int]):
        self.pointer, self.shape, self.strides = pointer, array.shape, tuple(strides)
        self.dtype: str = array.dtype.name

    def at(self, pointer: str, strides: Sequence[int]) -> Memory:
        """The array in another place."""
        moved = copy(self)
        moved.pointer, moved.strides = pointer, tuple(strides)
        return moved

    @property
    def in_order(self) -> Memory:
        """The array, contiguous: with row-major strides also along axes of length 1, where a view may have any."""
        return self.at(self.pointer, _contiguous(self.shape))

    @property
    def suffix(self) -> str:
        """Of the functions for its type."""
        return SUFFIX[self.dtype]


class Program:
    """The text of one model."""

    def __init__(
        self, recorded: Recorded, sample: np.ndarray, stem: str, names: Sequence[str], forms: Mapping[str, CForm]
    ):
        self.recorded, self.sample, self.stem, self.names, self.forms = recorded, sample, stem, names, forms
        self.function = recorded.function
        self.constants: dict[tuple[Any, ...], tuple[str, str]] = {}  # what lies where -> its name and its text
        self.constant_bytes = 0
        self.arenas: dict[str, int] = {}  # name, which ends with the dtype -> elements
        self.used: set[str] = set()
        self.results = {a.region: k for k, a in enumerate(recorded.results)}
        if sample.dtype.name not in TYPES:
            raise TypeError(f"{self.function}: example is of dtype {sample.dtype.name}, which is not exported")

    def refuse(self, call: Call, why: str) -> Any:
        """Raises ValueError: the call has no form."""
        raise ValueError(f"{self.function}: {call.where} cannot be exported to C: {why}")

    # -- memory --------------------------------------------------------------------------------------------------------

    def memory(self, array: Array) -> Memory:
        """Where an array of a call lies in the program."""
        dtype = array.dtype.name
        if dtype not in TYPES:
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
            self._reserve(base, begin + size)
            at += begin
        return Memory(f"{base} + {at}" if at else base, array, array.strides)

    def _reserve(self, arena: str, size: int) -> None:
        self.arenas[arena] = max(self.arenas.get(arena, 1), size)

    def _constant(self, array: Array) -> Memory:
        """Memory from before the pass, in its own order where that leaves no large gaps."""
        steps = [(n - 1) * s for n, s in zip(array.shape, array.strides, strict=True) if n]
        low, high = sum(s for s in steps if s < 0), sum(s for s in steps if s > 0)
        size = math.prod(array.shape)
        strides: Sequence[int] = array.strides
        if high - low + 1 > 4 * max(size, 1):
            low, strides = 0, _contiguous(array.shape)
            values = self.recorded.constant(array).values.ravel()
        else:
            begin = array.offset + low * array.dtype.itemsize
            span = array._replace(offset=begin, shape=(high - low + 1,), strides=(1,))
            values = self.recorded.constant(span).values
        name = self.recorded.constant(array).name
        key = (array.region, array.offset, low, len(values), tuple(strides) == tuple(array.strides))
        if key not in self.constants:
            self.constant_bytes += values.nbytes
            if self.constant_bytes > _LARGEST:
                raise ValueError(
                    f"{self.function}: the model has more than {readable(_LARGEST)} of weights, for which compilers "
                    "of C take too long; export it to ONNX"
                )
            label = f"constant_{len(self.constants)}"
            self.constants[key] = (label, _constant_text(label, array.dtype.name, values, name))
        label = self.constants[key][0]
        return Memory(f"{label} + {-low}" if low else label, array, strides)

    def loop(self, shape: Sequence[int], operands: Sequence[Memory | str], body: Callable[..., str]) -> list[str]:
        """Loops over ``shape``. ``body``: of the elements, the statement within; texts stand for themselves."""
        if 0 in shape:
            return []
        strides = [_broadcast(m, shape) for m in operands if isinstance(m, Memory)]
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
        arenas = [f"static {TYPES[name.partition('_')[2]]} {name}[{size}];"
                  for name, size in sorted(self.arenas.items()) if name in said]  # fmt: skip
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
        arguments = [f"{TYPES[a.dtype.name]} *{out}" for a, out in zip(self.recorded.results, outs, strict=True)]
        return f"void {self.stem}_predict(const {TYPES[self.sample.dtype.name]} *input, {', '.join(arguments)})"

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
        arrays = "\n".join(f"  static {TYPES[a.dtype.name]} {out}[{max(n, 1)}];"
                           for a, out, n in zip(self.recorded.results, outs, self._sizes(), strict=True))  # fmt: skip
        lines = []
        for a, out, n in zip(self.recorded.results, outs, self._sizes(), strict=True):
            shown = {"float32": f'"%.9g", (double){out}[i]', "float64": f'"%.17g", {out}[i]'}
            value = shown.get(a.dtype.name, f'"%lld", (long long){out}[i]')
            first = 'if (i) putchar(\' \');' if out == outs[0] else "putchar(' ');"
            lines += [f"    for (i = 0; i < {n}; ++i) {{", f"      {first}", f"      printf({value});", "    }"]
        if dtype in SUFFIX:
            declared = f"{TYPES[dtype]} value"
            read = "strtof(word, &end)" if dtype == "float32" else "strtod(word, &end)"
            wrong = "*end || end == word"
        else:
            limits = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            declared, read = "long long value", "strtoll(word, &end, 10)"
            below, above = literal(limits[0], "int64"), literal(limits[1], "int64")
            wrong = "*end || end == word" + ("" if dtype == "int64" else f" || value < {below} || value > {above}")
        kind = "numbers" if dtype in SUFFIX else f"whole numbers of {dtype}"
        return f"""#ifdef DLCORE_MAIN
#include <stdio.h>
#include <stdlib.h>

int main(void) {{
  static {TYPES[dtype]} input[{size}];
{arrays}
  char word[128], *end;
  int i, filled = 0, samples = 0;
  while (scanf("%127s", word) == 1) {{
    const {declared} = {read};
    if ({wrong}) {{
      fprintf(stderr, "{self.stem}: %s: {kind} are read\\n", word);
      return 1;
    }}
    input[filled++] = {f"({TYPES[dtype]})value"};
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
        if name not in self.forms:
            reason = refusal(call.op) if call.op else ""
            self.refuse(call, f"it has no form there{f', nor in ONNX: {reason}' if reason else '; export to ONNX'}")
        try:
            return self.forms[name](self, call)
        except Unsupported as error:
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

    def out(self, call: Call) -> Memory:
        """The result."""
        array = call.outputs[0]
        assert array is not None
        return self.memory(array)

    def use(self, name: str) -> str:
        """``name``, a function that the program needs."""
        self.used.add(name)
        return name


class Unsupported(ValueError):
    """Why a call has no form."""


def _contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    steps, step = [], 1
    for n in reversed(shape):
        steps.append(step)
        step *= max(n, 1)
    return tuple(reversed(steps))


def _broadcast(m: Memory, shape: Sequence[int]) -> tuple[int, ...]:
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
    return f"static const {TYPES[dtype]} {label}[{len(numbers)}] = {{{f'  /* {name} */' if name else ''}\n {body}\n}};"


CForm = Callable[[Program, Call], list[str]]
