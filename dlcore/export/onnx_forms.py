"""The form of each operation in ONNX: an operation more is an entry in `FORMS`, or in `REFUSED` with the reason.

A form is a function of the graph, the tensors and attributes of a call by name, and the output's dtype and shape; it
returns the output, or of an operation with several a tuple. Operators and dtypes are those that onnxruntime runs on a
CPU: numbers that it does not take, as small integers mostly, are computed in int32 and cast back, which wraps as
dlcore's do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dlcore.export.onnx_activations import ACTIVATION_FORMS
from dlcore.export.onnx_graph import Graph, Length, Value
from dlcore.export.trace import Affine
from dlcore.op import REGISTRY, Op

__all__ = ["FORMS", "REFUSED", "Form", "Node", "axes_of", "divisor", "reduced", "refusal", "size_of", "widened"]


@dataclass(frozen=True)
class Node:
    """A call of an operation: the graph, its operands and attributes by name, and what it gives."""

    graph: Graph
    operands: Mapping[str, Any]
    attrs: Mapping[str, Any]
    dtype: str
    shape: tuple[Length, ...]

    def __getitem__(self, name: str) -> Any:
        return self.operands[name] if name in self.operands else self.attrs[name]

    def but(self, **changes: Any) -> Node:
        """The same with other fields."""
        return replace(self, **changes)

    def add(self, kind: str, *inputs: Value | None, **attributes: Any) -> Value:
        """A node of the output's dtype and shape."""
        return self.graph.add(kind, *inputs, **{"dtype": self.dtype, "shape": self.shape, **attributes})


Form = Callable[[Node], Any]
FORMS: dict[str, Form] = {**ACTIVATION_FORMS}

_LOSS = "a loss belongs to training; export the model alone"
_PART = "a part of a tensor is written; build the result with where or concat"
_WALK = "it walks through memory by strides; build the result with take and reshape"
REFUSED = {
    "slice_assign": _PART, "put": _PART, "put_": _PART,
    "put_backward": "it is the gradient of an assignment",
    "transfer": "a tensor moves between devices; keep the model and its tensors on one",
    "nonzero": "the shape of its result depends on values", "bincount": "the shape of its result depends on values",
    "masked_take": "how many elements a mask selects depends on values",
    "bincount_sized": "ONNX has no operator that counts values",
    "as_strided": _WALK, "diagonal": _WALK, "strided_add": _WALK, "strided_assign": _PART,
    "index_add_rows": "rows are added where indices say; there is no operator for it",
    "coordinates": "indices become coordinates; divide and take remainders instead",
    "scatter_fold": "elements are put together where indices say; there is no operator for it",
    **dict.fromkeys(("var_mean", "std_mean"), "a form gives one output; call var and mean, std and mean"),
    **dict.fromkeys(("nansum", "nanmean", "nanmax", "nanmin"), "write it with where, isnan, sum and max"),
    **dict.fromkeys(("cumprod", "cummax", "cummin", "logcumsumexp"), "ONNX scans sums alone: cumsum"),
    "linear_recurrence": "ONNX scans sums alone: cumsum",
    "unique_values": "the shape of its result depends on values",
    **dict.fromkeys(("count_runs", "run_heads", "run_numbers"), "it is a part of unique"),
    **dict.fromkeys(("median", "nanmedian", "quantile", "nanquantile"), "write it with sort or topk"),
    "conv_weight": "it is a gradient", "searchsorted": "ONNX has no search in a sorted sequence",
    "is_among": "ONNX has no search in a set; compare with each element by equal, and take any",
    "embedding_bag_forward": "bags of tokens have lengths of their own; look rows up with embedding, then sum or mean",
    "ctc_loss": _LOSS, "batch_norm_training": "it takes the statistics of a batch; call model.eval() first",
}  # fmt: skip
"""Operations without a form, and why; `refusal` says it of whole kinds."""
_FAMILIES = {
    "optim": "it updates parameters", "linalg": "ONNX has no linear algebra",
    "recurrent": "a form gives one output, and a recurrent layer its last states beside it",
}  # fmt: skip


def refusal(op: Op) -> str:
    """Why an operation has no form; "" where it has one, or nothing is said."""
    if op.name in FORMS:
        return ""
    if op.name in REFUSED:
        return REFUSED[op.name]
    if op.family in _FAMILIES:
        return _FAMILIES[op.family]
    if op.family == "loss" and not op.writes:
        return _LOSS
    if op.random or op.family == "random":
        return "it draws random numbers"
    if op.name.endswith("_backward"):
        return "it is a gradient"
    if op.composite and not op.kernel_choices("cpu"):
        return "it is recorded as the operations that it is made of"
    return "it writes in place" if op.writes else ""


def form(*names: str) -> Callable[[Form], Form]:
    """Declares the form of the operations called ``names``."""

    def declare(function: Form) -> Form:
        FORMS.update(dict.fromkeys(names, function))
        return function

    return declare


_BYTES = ("int8", "uint8")
_WIDE = ("float32", "float64", "int32", "int64")  # what onnxruntime computes in


def _widened(graph: Graph, *values: Value) -> list[Value]:
    """Small integers and bools as int32."""
    return [v if v.dtype in _WIDE else graph.cast(v, "int32") for v in values]


def _operator(kind: str) -> Form:
    """The operator ``kind`` of all operands, which have one dtype."""

    def made(n: Node) -> Value:
        wide = _widened(n.graph, *n.operands.values())
        return n.graph.cast(n.add(kind, *wide, dtype=wide[0].dtype), n.dtype)

    return made


def _comparison(kind: str, negated: bool = False) -> Form:
    def made(n: Node) -> Value:
        found = n.add(kind, *_widened(n.graph, n["a"], n["b"]))
        return n.add("Not", found) if negated else found

    return made


def _sums_bytes(n: Node) -> bool:
    """Whether it is a product of bytes with sums in int32."""
    return n.dtype == "int32" and n["a"].dtype in _BYTES and n["b"].dtype in _BYTES


for _name, _kind in {
    "sub": "Sub", "div": "Div", "neg": "Neg", "abs": "Abs", "sqrt": "Sqrt", "exp": "Exp", "log": "Log", "sin": "Sin",
    "cos": "Cos", "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "reciprocal": "Reciprocal",
    "checked": "Identity", "contiguous": "Identity", "mv": "MatMul", "mm": "MatMul", "bmm": "MatMul", "dot": "MatMul",
}.items():  # fmt: skip
    FORMS[_name] = _operator(_kind)
FORMS |= {
    "matmul": lambda n: n.add("MatMulInteger", n["a"], n["b"]) if _sums_bytes(n) else _operator("MatMul")(n),
    "eq": _comparison("Equal"), "ne": _comparison("Equal", True), "lt": _comparison("Less"),
    "le": _comparison("LessOrEqual"), "gt": _comparison("Greater"), "ge": _comparison("GreaterOrEqual"),
    "add": lambda n: n.add("Or", n["a"], n["b"]) if n.dtype == "bool" else _operator("Add")(n),
    "mul": lambda n: n.add("And", n["a"], n["b"]) if n.dtype == "bool" else _operator("Mul")(n),
    "square": lambda n: _operator("Mul")(n.but(operands={"a": n["x"], "b": n["x"]})),
    "rsqrt": lambda n: n.add("Reciprocal", n.add("Sqrt", n["x"])),
    "isnan": lambda n: n.add("IsNaN", n["x"]),
    "isfinite": lambda n: n.add("Not", n.add("Or", n.add("IsNaN", n["x"]), n.add("IsInf", n["x"]))),
}  # fmt: skip

# ---- arithmetic -----------------------------------------------------------------------------------------------------


def _choose(n: Node, condition: Value, a: Value, b: Value) -> Value:
    """``a`` where the condition holds, else ``b``."""
    wide = _widened(n.graph, a, b)
    return n.graph.cast(n.add("Where", condition, *wide, dtype=wide[0].dtype), a.dtype)


@form("where")
def _where(n: Node) -> Value:
    return _choose(n, n.graph.cast(n["condition"], "bool"), n["a"], n["b"])


def _extremum(kind: str) -> Form:
    """The larger or smaller operand; a NaN in either is the result, which ONNX leaves open."""

    def made(n: Node) -> Value:
        a, b = _widened(n.graph, n["a"], n["b"])
        chosen = n.add(kind, a, b, dtype="bool")
        if a.is_float:
            chosen = n.add("Or", chosen, n.graph.add("IsNaN", a, dtype="bool"), dtype="bool")
        return n.graph.cast(n.add("Where", chosen, a, b, dtype=a.dtype), n.dtype)

    return made


FORMS |= {"maximum": _extremum("Greater"), "minimum": _extremum("Less")}


@form("sign")
def _sign(n: Node) -> Value:
    found = _operator("Sign")(n)
    return _choose(n, n.add("IsNaN", n["x"], dtype="bool"), n["x"], found) if n["x"].is_float else found


@form("pow")
def _pow(n: Node) -> Value:
    if not n["a"].is_float:
        raise ValueError("powers of integers wrap in dlcore, and not in ONNX; cast to a float first")
    return n.add("Pow", n["a"], n["b"])


@form("expm1")
def _expm1(n: Node) -> Value:  # tanh(x / 2) (exp(x) + 1): nothing cancels near 0
    x, g = n["x"], n.graph
    half = n.add("Tanh", n.add("Mul", x, g.like(x, 0.5)))
    return n.add("Mul", half, n.add("Add", n.add("Exp", x), g.like(x, 1)))


@form("log1p")
def _log1p(n: Node) -> Value:  # with u = 1 + x rounded: log(u) x / (u - 1)
    x, g = n["x"], n.graph
    u = n.add("Add", x, g.like(x, 1))
    back = n.add("Sub", u, g.like(x, 1))
    nothing = n.add("Equal", back, g.like(x, 0), dtype="bool")
    plain = n.add("Or", nothing, n.add("IsInf", u, dtype="bool", detect_negative=0), dtype="bool")
    divisor = n.add("Where", plain, g.like(x, 1), back)
    return n.add("Where", plain, x, n.add("Mul", n.add("Log", u), n.add("Div", x, divisor)))


def _signs_differ(n: Node, a: Value, b: Value) -> Value:
    zero = n.graph.like(a, 0)
    signs = [n.graph.add("Less", v, zero, dtype="bool") for v in (a, b)]
    return n.add("Xor", *signs, dtype="bool")


def _not_zero(n: Node, x: Value) -> Value:
    return n.graph.add("Not", n.graph.add("Equal", x, n.graph.like(x, 0), dtype="bool"))


def _divisor(n: Node, b: Value) -> Value:
    """``b`` with 1 in the place of 0 and -1, by which processors cannot divide all integers."""
    g = n.graph
    bad = [g.add("Equal", b, g.like(b, k), dtype="bool") for k in (0, -1)]
    return g.add("Where", g.add("Or", *bad), g.like(b, 1), b, dtype=b.dtype, shape=b.shape)


def _integer_quotient(n: Node, a: Value, b: Value) -> Value:
    g, wide, safe = n.graph, n.but(dtype=a.dtype), _divisor(n, b)
    quotient = wide.add("Div", a, safe)
    rest = wide.add("Sub", a, wide.add("Mul", quotient, safe))
    down = g.cast(n.add("And", _not_zero(n, rest), _signs_differ(n, rest, safe), dtype="bool"), a.dtype)
    found = wide.add("Sub", quotient, down)
    found = wide.add("Where", g.add("Equal", b, g.like(b, -1), dtype="bool"), g.add("Neg", a), found)
    return wide.add("Where", _not_zero(n, b), found, g.like(a, 0))


def _float_rest(n: Node, a: Value, b: Value) -> Value:
    return n.add("Mod", a, b, fmod=1)


@form("remainder")
def _remainder(n: Node) -> Value:
    a, b = _widened(n.graph, n["a"], n["b"])
    if not a.is_float:
        wide = n.but(dtype=a.dtype)
        rest = wide.add("Mod", a, _divisor(n, b))
        return n.graph.cast(wide.add("Where", _not_zero(n, b), rest, n.graph.like(a, 0)), n.dtype)
    rest = _float_rest(n, a, b)
    other = n.add("And", _not_zero(n, rest), _signs_differ(n, rest, b), dtype="bool")
    return n.add("Where", other, n.add("Add", rest, b), rest)


@form("floor_divide")
def _floor_divide(n: Node) -> Value:
    a, b = _widened(n.graph, n["a"], n["b"])
    if not a.is_float:
        return n.graph.cast(_integer_quotient(n, a, b), n.dtype)
    rest = _float_rest(n, a, b)  # exact, so that the quotient below is next to an integer
    other = n.add("And", _not_zero(n, rest), _signs_differ(n, rest, b), dtype="bool")
    quotient = n.add("Sub", n.add("Div", n.add("Sub", a, rest), b), n.graph.cast(other, a.dtype))
    return n.add("Where", _not_zero(n, b), n.add("Round", quotient), n.add("Div", a, b))


@form("cast")
def _cast(n: Node) -> Value:
    x, g = n["x"], n.graph
    if not x.is_float or n.dtype == "bool" or n.dtype.startswith("float"):
        return g.cast(x, n.dtype)
    limits, wide = np.iinfo(n.dtype), n.dtype if n.dtype in _WIDE else "int32"  # beyond them ONNX leaves it open
    above, low = g.like(x, 2.0 * (limits.max // 2 + 1)), g.like(x, float(limits.min))
    fits = n.add("And", n.add("Less", x, above, dtype="bool"), n.add("GreaterOrEqual", x, low, dtype="bool"),
                 dtype="bool")  # fmt: skip
    number = n.but(dtype=wide)
    found = g.cast(n.add("Where", fits, x, g.like(x, 0), dtype=x.dtype), wide)
    for beyond, limit in (("GreaterOrEqual", limits.max), ("Less", limits.min)):
        outside = n.add(beyond, x, above if beyond == "GreaterOrEqual" else low, dtype="bool")
        found = number.add("Where", outside, g.constant(np.asarray(limit, wide)), found)
    return g.cast(found, n.dtype)


# ---- layers ---------------------------------------------------------------------------------------------------------


@form("gelu")
def _gelu(n: Node) -> Value:
    x, g = n["x"], n.graph
    if x.dtype == "float32":
        return n.add("Gelu", x, approximate=n["approximate"])
    if n["approximate"] == "none":  # onnxruntime has neither Gelu nor Erf for these
        raise ValueError("onnxruntime has no gelu of float64; export model.to(dlcore.float32), or approximate='tanh'")
    cubic = n.add("Add", n.add("Mul", n.add("Mul", x, x), g.like(x, 0.044715)), g.like(x, 1))
    v = n.add("Mul", n.add("Mul", x, g.like(x, 2 * math.sqrt(2 / math.pi))), cubic)
    return n.add("Mul", x, n.add("Sigmoid", v))


@form("linear")
def _linear(n: Node) -> Value:
    x, weight, bias, g = n["x"], n["weight"], n["bias"], n.graph
    if x.ndim == 2:
        out = n.add("Gemm", x, weight, *([] if bias is None else [bias]), transB=1)
    else:
        out = n.add("MatMul", x, g.add("Transpose", weight, shape=weight.shape[::-1], perm=[1, 0]))
        out = out if bias is None else n.add("Add", out, bias)
    name, _, approximate = (n["activation"] or "").partition("_")
    if not name:
        return out
    return FORMS[name](n.but(operands={"x": out}, attrs={"approximate": approximate or "none"}))


FORMS |= {
    "softmax": lambda n: n.add("Softmax", n["x"], axis=n["axis"]),
    "log_softmax": lambda n: n.add("LogSoftmax", n["x"], axis=n["axis"]),
}


@form("take_scaled")
def _take_scaled(n: Node) -> Value:
    x, g = n["x"], n.graph
    if n["index"] is not None:
        x = g.add("Gather", x, g.cast(n["index"], "int64"), shape=n.shape, axis=0)
    offset, scale = (
        g.reshape(v, (*v.shape, *[1] * (len(n.shape) - 2))) if v.ndim else v for v in (n["offset"], n["scale"])
    )
    return n.add("Mul", n.add("Sub", g.cast(x, n.dtype), offset), scale)


# ---- movement -------------------------------------------------------------------------------------------------------


@form("reshape")
def _reshape(n: Node) -> Value:
    return n.graph.reshape(n["x"], n.shape)


@form("permute")
def _permute(n: Node) -> Value:
    return n.add("Transpose", n["x"], perm=[axis % n["x"].ndim for axis in n["axes"]])


def _expanded(n: Node, x: Value) -> Value:
    return n.add("Expand", x, n.graph.lengths(n.shape))


FORMS |= {
    "expand": lambda n: _expanded(n, n["x"]),
    "assign": lambda n: _expanded(n, n["value"]),
    "concat": lambda n: n.add("Concat", *n["tensors"], axis=n["axis"]),
}


@form("slice")
def _slice(n: Node) -> Value:
    x, g, axis = n["x"], n.graph, 0
    cut: list[tuple[Length, Length, int, int]] = []  # start, end, axis, step
    dropped, added, shape = [], [], []
    for place, entry in enumerate(e for e in n["index"] if not isinstance(e, int | Affine)):
        if entry is None:
            added.append(place)
    for entry in n["index"]:
        if entry is None:
            continue
        start, count, step = (entry, 1, 1) if isinstance(entry, int | Affine) else entry
        if not isinstance(step, int) or (step == 0 and count != 1):
            raise ValueError("its step depends on the size of the batch" if step else "its step is 0")
        if isinstance(entry, int | Affine):
            dropped.append(axis)
        if (start, count, step) != (0, x.shape[axis], 1):
            cut.append((start, _end(start, count, step), axis, step or 1))
        shape.append(count)
        axis += 1
    if cut:
        starts, ends, axes, steps = zip(*cut, strict=True)
        numbers = [g.lengths(starts), g.lengths(ends), g.constant(np.array(axes)), g.constant(np.array(steps))]
        x = g.add("Slice", x, *numbers, shape=shape)
    if dropped:
        left = [m for d, m in enumerate(x.shape) if d not in dropped]
        x = g.add("Squeeze", x, g.constant(np.array(dropped)), shape=left)
    return n.add("Unsqueeze", x, g.constant(np.array(added))) if added else x


def _end(start: Length, count: Length, step: int) -> Length:
    """Where a walk of ``count`` steps ends; before the first element, where ONNX would count from the end: at -2^31."""
    if isinstance(start, int) and isinstance(count, int):
        end = start + count * step
        return end if end >= 0 else -(2**31)
    first, length = (v if isinstance(v, Affine) else Affine(0, v) for v in (start, count))
    slope, offset = first.slope + length.slope * step, first.offset + length.offset * step
    if slope == 0:
        return offset if offset >= 0 else -(2**31)
    return Affine(slope, offset)


@form("unfold")
def _unfold(n: Node) -> Value:
    x, axis, g = n["x"], n["axis"], n.graph
    if not isinstance(x.shape[axis], int):
        raise ValueError("its windows run along the batch")
    starts = np.arange(0, x.shape[axis] - n["size"] + 1, n["step"])
    places = g.constant(starts[:, None] + np.arange(n["size"]))
    shape = (*x.shape[:axis], len(starts), n["size"], *x.shape[axis + 1 :])
    found = g.add("Gather", x, places, axis=axis, shape=shape)
    return n.add("Transpose", found, perm=[*range(axis + 1), *range(axis + 2, len(shape)), axis + 1])


@form("rearrange")
def _rearrange(n: Node) -> Value:
    x, g = n["x"], n.graph
    for axis, along in enumerate(n["pieces"]):
        if len(along) == 1 and along[0] == (0, x.shape[axis], 1):
            continue
        if not all(isinstance(number, int) for piece in along for number in piece):
            raise ValueError("pieces of it depend on the size of the batch")
        places = np.concatenate([start + step * np.arange(length) for start, length, step in along])
        shape = (*x.shape[:axis], len(places), *x.shape[axis + 1 :])
        x = g.add("Gather", x, g.constant(places), axis=axis, shape=shape)
    return n.add("Identity", x)


@form("pad_constant")
def _pad_constant(n: Node) -> Value:
    (x,), widths = _widened(n.graph, n["x"]), n["widths"]
    if not all(isinstance(width, int) for pair in widths for width in pair):
        raise ValueError("its widths depend on the size of the batch")
    pads = n.graph.constant(np.array([pair[side] for side in range(2) for pair in widths], np.int64))
    return n.graph.cast(n.add("Pad", x, pads, n.graph.cast(n["value"], x.dtype), dtype=x.dtype), n.dtype)


@form("scatter_onto")
def _scatter_onto(n: Node) -> Value:
    how = {"reduction": "add"} if n["reduce"] == "add" else {}
    index = n.graph.cast(n["index"], "int64")
    return n.add("ScatterElements", n["x"], index, n["src"], axis=n["axis"], **how)


@form("tril", "triu")
def _triangle(n: Node) -> Value:
    x = n["x"] if n["x"].is_float else n.graph.cast(n["x"], "int64")
    found = n.add("Trilu", x, n.graph.constant(np.array(n["k"])), upper=int(n.attrs["name"] == "triu"), dtype=x.dtype)
    return n.graph.cast(found, n.dtype)


@form("take")
def _take(n: Node) -> Value:
    return n.add("Gather", n["x"], n.graph.cast(n["indices"], "int64"), axis=n["axis"])


@form("embedding_forward")
def _embedding(n: Node) -> Value:
    return n.add("Gather", n["weight"], n.graph.cast(n["input"], "int64"), axis=0)


@form("gather")
def _gather(n: Node) -> Value:
    return n.add("GatherElements", n["x"], n.graph.cast(n["index"], "int64"), axis=n["axis"])


@form("ravel_index")
def _ravel_index(n: Node) -> Value:
    g, total, below = n.graph, None, 1
    for index, length in zip(reversed(n["indices"]), reversed(n["shape"]), strict=True):
        if not isinstance(length, int):
            raise ValueError("it indexes an axis whose length depends on the size of the batch")
        at = g.cast(index, "int64")
        wrapped = g.add("Add", at, g.constant(np.array(length)))
        at = g.add("Where", g.add("Less", at, g.constant(np.array(0)), dtype="bool"), wrapped, at, dtype="int64")
        term = g.add("Mul", at, g.constant(np.array(below)))
        total, below = term if total is None else n.add("Add", total, term), below * length
    assert total is not None
    return total


@form("count_nonzero")
def _count_nonzero(n: Node) -> Value:
    return _reduced(n, "ReduceSum", n.graph.cast(n.graph.cast(n["x"], "bool"), "int64"))


@form("nonzero_sized")
def _nonzero_sized(n: Node) -> Value:
    g, axes, size = n.graph, len(n["x"].shape), n["size"]
    found = g.add("NonZero", g.cast(n["x"], "bool"), dtype="int64")
    rows = g.add("Transpose", found, perm=[1, 0])
    padded = g.add("Concat", rows, g.constant(np.zeros((size, axes), np.int64)), axis=0)
    limits = [g.constant(np.array([k])) for k in (0, size, 0)]
    return n.add("Slice", padded, *limits)


# ---- reductions -----------------------------------------------------------------------------------------------------


def _axes(n: Node) -> list[int]:
    axis = n["axis"]
    return list(range(n["x"].ndim)) if axis is None else [axis] if isinstance(axis, int) else list(axis)


def _reduced(n: Node, kind: str, x: Value, dtype: str = "") -> Value:
    axes = _axes(n)
    if not axes:
        return x
    return n.add(kind, x, n.graph.constant(np.array(axes)), keepdims=int(n["keepdims"]), dtype=dtype or x.dtype)


@form("sum")
def _sum(n: Node) -> Value:
    return _reduced(n, "ReduceSum", n.graph.cast(n["x"], n.dtype))


FORMS |= {
    "mean": lambda n: _reduced(n, "ReduceMean", n.graph.cast(n["x"], n.dtype)),
    "prod": lambda n: _reduced(n, "ReduceProd", n.graph.cast(n["x"], n.dtype)),
    "logsumexp": lambda n: _reduced(n, "ReduceLogSumExp", n["x"]) if _axes(n) else n.add("Identity", n["x"]),
}


@form("cumsum")
def _cumsum(n: Node) -> Value:
    x, axis = n.graph.cast(n["x"], n.dtype), n["axis"]
    if axis is None:
        x, axis = n.graph.reshape(x, (_size(x.shape),)), 0
    options = {name: int(n[name]) for name in ("reverse", "exclusive")}
    return n.add("CumSum", x, n.graph.constant(np.array(axis)), **options)


def _reduced_extremum(kind: str) -> Form:
    """The largest or smallest; a NaN among them is the result, which ONNX leaves open."""

    def made(n: Node) -> Value:
        g, (x,) = n.graph, _widened(n.graph, n["x"])
        found = _reduced(n, kind, x)
        if x.is_float:
            unknown = _reduced(n, "ReduceMax", g.cast(g.add("IsNaN", x, dtype="bool"), "int32"))
            found = n.add("Where", g.cast(unknown, "bool"), g.like(x, np.nan), found, dtype=x.dtype)
        return g.cast(found, n.dtype)

    return made


FORMS |= {"max": _reduced_extremum("ReduceMax"), "min": _reduced_extremum("ReduceMin")}


@form("any", "all")
def _truth(n: Node) -> Value:  # of an empty axis too: by counting
    g, x = n.graph, n.graph.cast(n["x"], "bool")
    wants_any = n.attrs["name"] == "any"
    counted = _reduced(n, "ReduceSum", g.cast(x if wants_any else g.add("Not", x), "int64"))
    found = n.add("Greater", counted, g.constant(np.array(0)))
    return found if wants_any else n.add("Not", found)


@form("argmax", "argmin")
def _position(n: Node) -> Value:
    g, (x,), axis = n.graph, _widened(n.graph, n["x"]), n["axis"]
    if axis is None:
        x, axis = g.reshape(x, (_size(x.shape),)), 0
    kept = n["keepdims"] or n["axis"] is None
    shape = tuple(1 if d == axis else m for d, m in enumerate(x.shape) if kept or d != axis)

    def position(kind: str, values: Value) -> Value:
        return g.add(kind, values, dtype="int64", shape=shape, axis=axis, keepdims=int(kept))

    found = position("ArgMax" if n.attrs["name"] == "argmax" else "ArgMin", x)
    if x.is_float:  # the first NaN, if there is one, which ONNX leaves open
        unknown = g.cast(g.add("IsNaN", x, dtype="bool"), "int32")
        along = g.constant(np.array([axis]))
        there = g.cast(g.add("ReduceMax", unknown, along, shape=shape, keepdims=int(kept)), "bool")
        found = g.add("Where", there, position("ArgMax", unknown), found, dtype="int64")
    return g.reshape(found, n.shape)


def _size(shape: Sequence[Length]) -> Length:
    """The number of elements, where it is linear in the size of the batch."""
    free = [m for m in shape if isinstance(m, Affine)]
    known = int(np.prod([m for m in shape if isinstance(m, int)], dtype=np.int64))
    if not free:
        return known
    if len(free) > 1:
        raise ValueError("more than one axis depends on the size of the batch")
    return Affine(free[0].slope * known, free[0].offset * known)


widened, divisor, axes_of, reduced, size_of = _widened, _divisor, _axes, _reduced, _size  # for other files of forms

assert not [name for name in (*FORMS, *REFUSED) if name not in REGISTRY]
