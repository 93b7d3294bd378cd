"""An embedding's rows, their gradient, and rows that are made shorter.

Bound by memory; nothing is computed but sums.

- embedding_forward: `take` of movement/gather.cu where rows are whole units of 16 bytes, of movement/take.py else;
- embedding_backward: sums by sorted tokens, movement/accumulate.py: no float atomics, the same bits always;
- embedding_renorm_: each row is written by the program of the last token that names it, by a table of claims: 4 bytes a
  row of the table are cleared and 4 a token claimed, then each row that is named is read twice and written once.

A token outside of the vocabulary sets the error words; nothing is read or added for it, and no row is made shorter.
Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

import math

from dlcore.dtypes import float64
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import F64, Call, Errors, In, Launch, Program, Temp, accumulator, power_of_2
from dlcore.kernels.movement import accumulate, gather
from dlcore.kernels.movement.index import claim, claim_space, claims

__all__ = ["embedding_backward", "embedding_forward", "embedding_renorm_"]

EUCLIDEAN, SUM, COUNT, LARGEST, POWER = (tl.constexpr(k) for k in range(5))


def embedding_forward(call: Call) -> Program:
    """out[i] = weight[input[i]]."""
    return gather.take_tokens(call)


def embedding_backward(call: Call) -> Program:
    """dweight[k] = sum of dout[i] over the i with input[i] == k."""
    padding, mean = (int(p) for p in call.params)
    return accumulate.add_tokens(call, accumulate.Tokens(padding if padding >= 0 else None, bool(mean)))


@jit
def terms(x, order, KIND: tl.constexpr):
    if KIND == EUCLIDEAN:
        return x * x
    elif KIND == COUNT:
        return tl.where(x != 0, 1.0, 0.0).to(x.dtype)
    elif KIND == POWER:
        return tl.exp2(tl.log2(tl.abs(x)) * order)
    else:
        return tl.abs(x)


@jit
def larger(a, b):  # a NaN wins
    return tl.where((b > a) | (b != b), b, a)


@jit
def renorm_kernel(
    weight, input, last, errors, length, width, row_stride, column_stride, most, order, KIND: tl.constexpr,
    C: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64)
    row = tl.load(input + i).to(tl.int64)
    mine = (row >= 0) & (row < length) & (tl.load(errors) == 0)
    mine &= tl.load(last + row, mine, 0) == i + 1
    if mine:
        found = tl.zeros((BLOCK,), C)
        for first in range(0, width, BLOCK):
            j = first + tl.arange(0, BLOCK)
            x = tl.load(weight + row * row_stride + j * column_stride, j < width, 0).to(C)
            x = tl.where(j < width, terms(x, order, KIND), 0)
            found = larger(found, x) if KIND == LARGEST else found + x
        if KIND == LARGEST:
            norm = tl.reduce(found, 0, larger)
        else:
            norm = tl.sum(found, 0)
        if KIND == EUCLIDEAN:
            norm = tl.sqrt(norm)
        elif KIND == POWER:
            norm = tl.exp2(tl.log2(norm) / order)
        if norm > most:
            scale = most / (norm + 1e-7)
            for first in range(0, width, BLOCK):
                j = first + tl.arange(0, BLOCK)
                at = weight + row * row_stride + j * column_stride
                tl.store(at, (tl.load(at, j < width, 0).to(C) * scale).to(weight.dtype.element_ty), j < width)


def embedding_renorm_(call: Call) -> Program:
    """weight[k] *= max_norm / (norm + 1e-7) for each k in input whose row has a norm beyond max_norm."""
    (weight, input), (most, order) = call.inputs, call.params
    assert weight is not None and input is not None
    if not weight.size or not input.size:
        return Program(())
    kind = {2.0: EUCLIDEAN, 1.0: SUM, 0.0: COUNT, math.inf: LARGEST}.get(order, POWER).value
    number = F64 if weight.dtype is float64 else float
    n, size = input.size, weight.shape[0]
    args = {
        "weight": In(0), "input": In(1), "last": Temp(0, claims(n)), "errors": Errors(), "length": size,
        "width": weight.shape[1], "row_stride": weight.strides[0], "column_stride": weight.strides[1],
        "most": number(most), "order": number(order if kind == POWER.value else 0.0), "KIND": kind,
        "C": accumulator(weight.dtype), "BLOCK": min(power_of_2(weight.shape[1]), 1024),
    }  # fmt: skip
    launches = (claim(input, size, tokens=True), Launch(renorm_kernel, (n,), args))
    return Program(launches, (claim_space(size, n),), () if input.contiguous else (1,))
