"""The forms in C of layers: pools, normalisations, embedding, rotations, gated units and attention; see `c_forms`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlcore.export.c_convolutions import Images, three
from dlcore.export.c_forms import C_FORMS, ROUNDED
from dlcore.export.c_text import SUFFIX, TYPES, CForm, Memory, Program, Unsupported, literal
from dlcore.export.trace import Call

__all__: list[str] = []


def _given(call: Call) -> dict[str, Any]:
    """The attributes by name."""
    assert call.op is not None
    return dict(zip(call.op.attribute_names, call.attrs, strict=True))


def _floating(m: Memory) -> Memory:
    if m.dtype not in SUFFIX:
        raise Unsupported("of integers it has no form there")
    return m


def _numbers(values: Any) -> str:
    return f"static const int p[] = {{{', '.join(map(str, values))}}};"


# ---- pools ----------------------------------------------------------------------------------------------------------


def _pool(mean: bool) -> CForm:
    def made(p: Program, call: Call) -> list[str]:
        (x,), out, given = p.operands(call), _floating(p.out(call)), _given(call)
        source, target = Images(x, given["layout"]), Images(out, given["layout"])
        windows = [given["kernel"], given["stride"], given["padding"], given.get("dilation", ())]
        filled = [three(w, of) if w else (of,) * 3 for w, of in zip(windows, (1, 1, 0, 1), strict=True)]
        if not given["kernel"]:
            filled[0] = (0, 0, 0)
        counts = int(given.get("count_include_pad", False) and bool(given["kernel"]))
        numbers = [
            int(mean), counts, given.get("divisor", 0), source.count, source.channels, *source.size, *target.size,
            *(n for window in filled for n in window), *source.strides, *target.strides,
        ]  # fmt: skip
        name = p.use(f"pool_{out.suffix}")
        return [f"{{ {_numbers(numbers)}", f"  {name}(p, {x.pointer}, {out.pointer}); }}"]

    return made


# ---- normalisations -------------------------------------------------------------------------------------------------


def _values(p: Program, array: Any, dtype: Any) -> Any:
    """What a constant operand holds; None for None."""
    if array is None:
        return None
    if array.region < 0 or p.recorded.kinds[array.region] != "outside":
        raise Unsupported("its statistics are computed in the pass")
    return p.recorded.constant(array).values.astype(dtype)


def _batch_normalised(p: Program, call: Call) -> list[str]:
    """Folded as csrc/norm/channels.inl does it: a center, a scale and a shift for each channel."""
    x, out, given = p.operand(call.inputs[0]), _floating(p.out(call)), _given(call)
    mean, var, weight, bias = (_values(p, a, np.float64) for a in call.inputs[1:])
    with np.errstate(all="ignore"):
        factor = (1.0 if weight is None else weight) / np.sqrt(var + given["eps"])
        center = mean.astype(out.dtype)
        shift = (0.0 if bias is None else bias) - (mean - center.astype(np.float64)) * factor
    tables, lines = {"center": center, "scale": factor, "shift": shift}, ["{"]
    for name, table in tables.items():
        numbers = ", ".join(literal(v, out.dtype) for v in table.astype(out.dtype).tolist())
        lines.append(f"  static const {TYPES[out.dtype]} {name}[] = {{{numbers}}};")
    images, source = Images(out, given["layout"]), Images(x, given["layout"])
    (count, channels), at, to = (images.count, images.channels), source.strides, images.strides
    lines += ["  int n, c, i, j, k;", f"  for (n = 0; n < {count}; ++n)", f"    for (c = 0; c < {channels}; ++c)"]
    lines += [f"      for ({v} = 0; {v} < {size}; ++{v})" for v, size in zip("ijk", images.size, strict=True)]
    place = [" + ".join(f"{v} * {s}" for v, s in zip("ncijk", strides, strict=True)) for strides in (to, at)]
    base = [_element(m, index) for m, index in zip((out, x), place, strict=True)]
    return [*lines, f"        {base[0]} = ({base[1]} - center[c]) * scale[c] + shift[c];", "}"]


def _element(m: Memory, index: str) -> str:
    base, _, start = m.pointer.partition(" + ")
    return f"{base}[{index}{f' + {start}' if start else ''}]"


def _pointers(p: Program, call: Call) -> list[str]:
    """Pointers to operands that are contiguous, as norms want theirs; "0" for those that are not there."""
    return ["0" if operand is None else operand.pointer for operand in p.operands(call)]


def _rows_normalised(centred: bool) -> CForm:
    def made(p: Program, call: Call) -> list[str]:
        x, weight, *shift = _pointers(p, call)
        out, given = _floating(p.out(call)), _given(call)
        axes = given["axes"]
        length, rows = math.prod(out.shape[len(out.shape) - axes :]), math.prod(out.shape[: len(out.shape) - axes])
        name, step = p.use(f"normalise_{out.suffix}"), f"r * {length}"
        return [
            f"for (int r = 0; r < {rows}; ++r)",
            f"  {name}({x} + {step}, {out.pointer} + {step}, {length}, 1, 1, 0, {weight}, {[*shift, '0'][0]}, "
            f"{int(centred)}, {literal(given['eps'], 'float64')});",
        ]

    return made


def _groups_normalised(p: Program, call: Call) -> list[str]:
    x, *vectors = _pointers(p, call)
    out, given = _floating(p.out(call)), _given(call)
    last, groups = given["layout"] == "NHWC", given["groups"]
    count, channels = out.shape[0], out.shape[-1 if last else 1]
    places, each = math.prod(out.shape) // max(count * channels, 1), channels // groups
    steps = (1, channels) if last else (places, 1)
    pointers = [v if v == "0" else f"{v} + g * {each}" for v in vectors]
    name, at = p.use(f"normalise_{out.suffix}"), f"n * {channels * places} + g * {each * steps[0]}"
    return [
        f"for (int n = 0; n < {count}; ++n)",
        f"  for (int g = 0; g < {groups}; ++g)",
        f"    {name}({x} + {at}, {out.pointer} + {at}, {each}, {places}, {steps[0]}, {steps[1]}, "
        f"{', '.join(pointers)}, 1, {literal(given['eps'], 'float64')});",
    ]


# ---- sequences ------------------------------------------------------------------------------------------------------


def _embedded(p: Program, call: Call) -> list[str]:
    """A row for each token, of NaN for one outside of the vocabulary."""
    (weight, tokens), out = p.operands(call), _floating(p.out(call))
    (rows, width), (to_row, to_column) = weight.shape, weight.strides
    first = p.memory(_narrow(call.outputs[0]))
    kind, nan = TYPES[out.dtype], literal(math.nan, out.dtype)

    def body(o: str, token: str) -> str:
        element = f"inside ? row[j * {to_column}] : {nan}"
        return (
            f"{{ const int64_t token = (int64_t){token}; const int inside = token >= 0 && token < {rows}; int j; "
            f"const {kind} *row = {weight.pointer} + (inside ? token : 0) * {to_row}; "
            f"for (j = 0; j < {width}; ++j) (&{o})[j * {out.strides[-1]}] = {element}; }}"
        )

    return p.loop(first.shape, [first, tokens], body)


def _narrow(array: Any) -> Any:
    """The first element of each row."""
    return array._replace(shape=array.shape[:-1], strides=array.strides[:-1])


def _padded(p: Program, call: Call) -> list[str]:
    x, value = p.operands(call)
    out, whole = p.out(call), call.outputs[0]
    assert whole is not None
    begin = sum(before * step for (before, _), step in zip(call.attrs[0], whole.strides, strict=True))
    inner = p.memory(whole._replace(shape=x.shape, offset=whole.offset + begin * whole.dtype.itemsize))
    filled = p.loop(out.shape, [out, value], lambda o, v: f"{o} = {v};")
    return [*filled, *p.loop(x.shape, [inner, x], lambda o, e: f"{o} = {e};")]


def _rotated(p: Program, call: Call) -> list[str]:
    x, cos, sin, positions = p.operands(call)
    out, given = _floating(p.out(call)), _given(call)
    if positions is not None or cos.dtype != out.dtype:
        raise Unsupported("with positions of their own, or tables of another dtype, it has no form there")
    ndim, half = len(out.shape), cos.shape[1]
    time, head = (ndim - 3, ndim - 2) if given["layout"] == "BTHD" else (ndim - 2, ndim - 3 if ndim > 2 else -1)
    step, following = (1, 2) if given["interleaved"] else (half, 1)
    lines = p.loop(out.shape, [out, x], lambda o, e: f"{o} = {e};")
    name, sign = p.use(f"turn_{out.suffix}"), literal(-1 if given["inverse"] else 1, out.dtype)
    lengths = list(out.shape[:-1])
    if head >= 0 and given["heads"] is not None:
        lengths[head] = given["heads"]
    if 0 in out.shape or half == 0:
        return lines
    heads = [f"{'  ' * d}for (int i{d} = 0; i{d} < {n}; ++i{d})" for d, n in enumerate(lengths)]
    places = [" + ".join([m.pointer, *(f"i{d} * {m.strides[d]}" for d in range(ndim - 1))]) for m in (x, out)]
    angles = [f"{t.pointer} + i{time} * {t.strides[0]}" for t in (cos, sin)]
    call_text = (
        f"{name}({places[0]}, {places[1]}, {half}, {step}, {following}, {x.strides[-1]}, {out.strides[-1]}, "
        f"{angles[0]}, {angles[1]}, {sign});"
    )
    return [*lines, *heads, f"{'  ' * len(lengths)}{call_text}"]


def _gated(function: str) -> CForm:
    """The activation of the gate times what it lets through, or of the halves of one operand."""

    def made(p: Program, call: Call) -> list[str]:
        gate, up = call.inputs
        out, given = _floating(p.out(call)), _given(call)
        assert gate is not None
        if up is None:
            axis = given["axis"]
            half = gate.shape[axis] // 2
            shape = tuple(half if d == axis else n for d, n in enumerate(gate.shape))
            begin = gate.offset + half * gate.strides[axis] * gate.dtype.itemsize
            gate, up = gate._replace(shape=shape), gate._replace(shape=shape, offset=begin)
        tanh = "_tanh" if given.get("approximate") == "tanh" else ""
        name = p.use(f"{function}{tanh}_{out.suffix}")
        body = lambda o, a, b: f"{o} = {name}({a}) * {b};"  # noqa: E731
        return p.loop(out.shape, [out, p.operand(gate), p.operand(up)], body)

    return made


# ---- attention ------------------------------------------------------------------------------------------------------


def _part(array: Any, first: int, count: int) -> Any:
    """Some heads of (B, T, heads, D), as (B, heads, T, D)."""
    offset = array.offset + first * array.strides[2] * array.dtype.itemsize
    order = (0, 2, 1, 3)
    shape = tuple(count if d == 2 else array.shape[d] for d in order)
    return array._replace(shape=shape, strides=tuple(array.strides[d] for d in order), offset=offset)


def _attended(p: Program, call: Call) -> list[str]:
    given, out = _given(call), call.outputs[0]
    assert out is not None and call.op is not None
    named = dict(zip(call.op.input_names, call.inputs, strict=True))
    mask = named.pop("attn_mask")
    if "qkv" in named:
        qkv, heads = named.pop("qkv"), given["heads"]
        assert qkv is not None
        groups = (qkv.shape[2] - heads) // 2
        parts = [_part(qkv, 0, heads), _part(qkv, heads, groups), _part(qkv, heads + groups, groups)]
        out = _part(out, 0, heads)
    else:
        parts = [named.pop(name) for name in ("q", "k", "v")]
        if given["layout"] == "BTHD":
            *parts, out = (_part(a, 0, a.shape[2]) for a in (*parts, out))
    if any(a is not None for a in named.values()) or given["dropout"]:
        raise Unsupported("with lengths, offsets or dropout it has no form there")
    return _attention(p, parts, mask, out, given)


def _attention(p: Program, parts: list[Any], mask: Any, out: Any, given: dict[str, Any]) -> list[str]:
    """Of (B, heads, T, D) each."""
    (q, k, v), to = (p.memory(a) for a in parts), _floating(p.memory(out))
    added, seen, steps = "0", "0", [0] * 4
    if mask is not None:
        m = p.memory(mask)
        if m.dtype not in ("bool", to.dtype):
            raise Unsupported("with a mask of another dtype it has no form there")
        added, seen = (m.pointer, "0") if m.dtype != "bool" else ("0", m.pointer)
        own = [0 if n == 1 else s for n, s in zip(m.shape, m.strides, strict=True)]
        steps = [0] * (4 - len(own)) + own
    first = k.shape[2] - q.shape[2] if given["lower"] else 0
    numbers = [
        *q.shape[:2], k.shape[1], q.shape[2], k.shape[2], q.shape[3], v.shape[3], given["left"], given["right"], first,
        *q.strides, *k.strides, *v.strides, *to.strides, *steps,
    ]  # fmt: skip
    if 0 in (*q.shape[:3], k.shape[1]):
        return []
    name = p.use(f"attend_{to.suffix}")
    room = max(k.shape[2] + v.shape[3], 1)
    return [
        f"{{ static double room[{room}];",
        f"  {_numbers(numbers)}",
        f"  {name}(p, {literal(given['scale'], 'float64')}, {q.pointer}, {k.pointer}, {v.pointer}, {added}, {seen}, "
        f"{to.pointer}, room); }}",
    ]


C_FORMS |= {
    "max_pool": _pool(False), "batch_norm_inference": _batch_normalised, "embedding_forward": _embedded,
    "pad_constant": _padded, "rotary_embedding": _rotated,
}  # fmt: skip
ROUNDED |= {
    "avg_pool": _pool(True), "layer_norm_forward": _rows_normalised(True), "rms_norm_forward": _rows_normalised(False),
    "group_norm_forward": _groups_normalised, "attention_forward": _attended, "attention_packed_forward": _attended,
    "swiglu": _gated("silu"), "geglu": _gated("gelu"), "reglu": _gated("relu"),
}  # fmt: skip
