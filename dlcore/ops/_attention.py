"""What the operations of attention share: checks of shapes, what a kernel is told, the same in NumPy and of operations.

Shapes, whatever the layout: B examples, H heads of queries and Hk of keys and values, Tq queries and Tk keys, D numbers
a query and a key, Dv a value. Scores, probabilities and masks are (B, H, Tq, Tk).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from dlcore.dtypes import DType, bool_, float32, float64, int32, int64, result_type
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Op, Spec, check_floating
from dlcore.ops._constants import positions
from dlcore.ops._draw import words_of
from dlcore.ops.elementwise import add, cast, eq, exp, ge, le, logical_and, lt, minimum, mul, sub, where
from dlcore.ops.gather import take
from dlcore.ops.matmul import matmul
from dlcore.ops.movement import reshape, transpose
from dlcore.ops.random import dropout_backward
from dlcore.ops.reduce import logsumexp
from dlcore.ops.reduce import max as max_
from dlcore.ops.reduce import sum as sum_
from dlcore.ops.softmax import softmax

__all__ = [
    "Attention", "Band", "Layout", "Rest", "Sizes", "check_rest", "composed", "composed_gradients", "numpy_forward",
    "numpy_gradients", "score_gradient", "wide",
]  # fmt: skip

Layout = Literal["BHTD", "BTHD"]
Lengths = tuple[int, ...]


def wide(dtype: DType) -> DType:
    """What scores and sums are computed in."""
    return float64 if dtype is float64 else float32


class Sizes(NamedTuple):
    """The lengths of a call."""

    examples: int
    heads: int
    groups: int
    """Heads of keys and values."""
    queries: int
    keys: int
    width: int
    out_width: int

    @property
    def scores(self) -> Lengths:
        """The shape of all scores."""
        return self.examples, self.heads, self.queries, self.keys

    @property
    def products(self) -> float:
        """Multiplications of the scores with the keys and of the probabilities with the values."""
        return float(math.prod(self.scores) * (self.width + self.out_width))


class Band(NamedTuple):
    """Which keys a query sees: those from `left` before its own place to `right` behind it, -1 for no limit.

    ``lower``: the last query has the place of the last key; else the first one that of the first.
    """

    left: int
    right: int
    lower: bool


class Rest(NamedTuple):
    """The optional operands."""

    attn_mask: Any
    lengths: Any
    query_offsets: Any
    key_offsets: Any
    state: Any


def _fits(q: Spec, v: Spec) -> bool:
    return max(q.shape[3], v.shape[3]) <= (128 if q.dtype is float64 else 256)


def _packed_fits(qkv: Spec) -> bool:
    return _fits(qkv, qkv)


# ---- the family -----------------------------------------------------------------------------------------------------


class Attention(Op):
    """attention or its gradient."""

    family = "attention"
    cast = "low"
    kinds = ("float", "int", "uint", "bool")

    def promote(self, specs: Sequence[Spec | None]) -> Sequence[DType | None]:
        """Queries, keys and values to their common dtype; a float mask too, but that float32 beside 16 bits stays; what
        was kept is in float32 or wider. Raises DTypeError for queries, keys and values of integers."""
        names = self.input_names
        main = {n: s for n, s in zip(names, specs, strict=True) if s is not None and n in ("q", "k", "v", "qkv")}
        for name, given in main.items():
            check_floating(self.name, name, given)
        found = result_type((s.dtype, s.weak) for s in main.values())
        kept = {"lse": wide(found), "state": int64}
        targets: list[DType | None] = []
        for name, spec in zip(names, specs, strict=True):
            if spec is None:
                targets.append(None)
            elif name == "attn_mask":
                stays = spec.dtype is bool_ or (spec.dtype is float32 and found.itemsize == 2)
                targets.append(spec.dtype if stays or not spec.dtype.is_float else found)
            elif name in ("lengths", "query_offsets", "key_offsets", "offsets"):
                targets.append(spec.dtype)
            else:
                targets.append(kept.get(name, found))
        return targets

    def family_kernels(self) -> dict[str, Any]:
        """Those of the CPU, and of GPUs for rows that a block of theirs can hold."""
        when: Any = _packed_fits if "packed" in self.name else _fits
        return {"cpu": f"attention:{self.name}", "cuda": [(f"attention.attention:{self.name}", when)]}

    def restrict(self, operands: list[Any]) -> None:
        """Scores of large operands are so far apart that rounding decides which key is seen, and the sums of infinite
        and hidden ones are left open. Products of three that are subnormal numbers may be 0."""
        for k, x in enumerate(operands):
            if isinstance(x, np.ndarray) and x.dtype == np.float64:
                finite = np.nan_to_num(x, nan=0.0, posinf=1.0, neginf=-1.0)
                operands[k] = np.where(np.abs(finite) < 1e-12, 0.0, np.clip(finite, -4.0, 4.0))


def _axes(layout: str) -> tuple[int, int]:
    """Those of heads and of time."""
    return (1, 2) if layout == "BHTD" else (2, 1)


def sizes_of(name: str, q: Spec, k: Spec, v: Spec, layout: str) -> Sizes:
    """The lengths of a call; raises ShapeError where they do not fit."""
    shapes = f"q {q.shape}, k {k.shape}, v {v.shape}"
    if any(len(s.shape) != 4 for s in (q, k, v)):
        raise ShapeError(f"{name}: takes q, k and v with 4 axes each: {shapes}")
    head, time = _axes(layout)
    found = Sizes(q.shape[0], q.shape[head], k.shape[head], q.shape[time], k.shape[time], q.shape[3], v.shape[3])
    if k.shape[0] != found.examples or v.shape[0] != found.examples:
        raise ShapeError(f"{name}: batches differ: {shapes}")
    if v.shape[head] != found.groups:
        raise ShapeError(f"{name}: k has {found.groups} heads, v {v.shape[head]}: {shapes}")
    if v.shape[time] != found.keys:
        raise ShapeError(f"{name}: there are {found.keys} keys, but {v.shape[time]} values: {shapes}")
    if k.shape[3] != found.width:
        raise ShapeError(f"{name}: queries of size {found.width}, but keys of size {k.shape[3]}: {shapes}")
    if found.heads and (not found.groups or found.heads % found.groups):
        raise ShapeError(f"{name}: {found.heads} heads of q are no multiple of {found.groups} heads of k: {shapes}")
    return found


def _check_mask(name: str, mask: Spec | None, sizes: Sizes) -> None:
    if mask is None:
        return
    if not (mask.dtype is bool_ or mask.dtype.is_float):
        raise DTypeError(f"{name}: attn_mask is of dtype {mask.dtype.name}, neither bool nor a float")
    fits = len(mask.shape) == 4 and all(m in (1, n) for m, n in zip(mask.shape, sizes.scores, strict=False))
    if not fits:
        raise ShapeError(
            f"{name}: attn_mask has shape {mask.shape}, which does not broadcast to (batch, heads, queries, keys) = "
            f"{sizes.scores}"
        )


def _check_whole(name: str, what: str, x: Spec | None, shapes: Sequence[Lengths], would: str) -> None:
    if x is None:
        return
    if x.dtype not in (int32, int64):
        raise DTypeError(f"{name}: {what} is of dtype {x.dtype.name}, neither int32 nor int64")
    if shapes and x.shape not in shapes:
        raise ShapeError(f"{name}: {what} has shape {x.shape}, not {would}")
    if len(x.shape) != 1 or not x.shape[0]:
        raise ShapeError(f"{name}: {what} has shape {x.shape}, not {would}")


def check_rest(name: str, rest: Rest, sizes: Sizes, scale: float, band: Band, dropout: float) -> None:
    """Raises where optional operands or attributes do not fit."""
    _check_mask(name, rest.attn_mask, sizes)
    n = sizes.examples
    _check_whole(name, "lengths", rest.lengths, [(n,), (1,)], f"({n},): one for each example")
    for what, x in (("query_offsets", rest.query_offsets), ("key_offsets", rest.key_offsets)):
        _check_whole(name, what, x, (), "(sequences + 1,)")
    if (rest.query_offsets is None) != (rest.key_offsets is None):
        raise ValueError(f"{name}: query_offsets and key_offsets go together")
    if rest.query_offsets is not None:
        if rest.query_offsets.shape != rest.key_offsets.shape:
            found = f"{rest.query_offsets.shape} and {rest.key_offsets.shape}"
            raise ShapeError(f"{name}: query_offsets and key_offsets differ in shape: {found}")
        if n != 1:
            raise ShapeError(f"{name}: with offsets the sequences lie behind each other in a batch of 1, not of {n}")
        if rest.lengths is not None:
            raise ValueError(f"{name}: offsets say the lengths already")
    if not math.isfinite(scale):
        raise ValueError(f"{name}: scale is {scale}, which is not finite")
    for what, limit in (("left", band.left), ("right", band.right)):
        if limit < -1:
            raise ValueError(f"{name}: {what} is {limit}, neither a number of keys nor -1 for all")
    if not 0 <= dropout <= 1:
        raise ValueError(f"{name}: dropout is {dropout}, not a probability")
    if dropout and rest.state is None:
        raise ValueError(f"{name}: dropout takes a state to draw from")
    if rest.state is not None and (rest.state.shape != (2,) or rest.state.dtype is not int64):
        raise ShapeError(f"{name}: the state has shape {rest.state.shape} and dtype {rest.state.dtype.name}, not (2,) "
                         f"and int64")  # fmt: skip


# ---- of operations --------------------------------------------------------------------------------------------------


def by_heads(x: Any, layout: str) -> Any:
    """(B, H, T, D), whatever the layout."""
    return x if layout == "BHTD" else transpose(x, 1, 2)


def _widened(x: Any) -> Any:
    target = wide(x.dtype)
    return x if x.dtype is target else cast(x, target)


def _per_group(x: Any, groups: int) -> Any:
    """The heads (B, H, T, n) by the key heads they read: (B, Hk, H / Hk, T, n)."""
    b, h, t, n = x.shape
    return reshape(x, (b, groups, h // groups if groups else 0, t, n))


def _per_head(x: Any) -> Any:
    b, groups, n, *rest = x.shape
    return reshape(x, (b, groups * n, *rest))


def _shared(x: Any) -> Any:
    """Key heads (B, Hk, T, D), each for several heads of queries: (B, Hk, 1, T, D)."""
    b, groups, t, n = x.shape
    return reshape(x, (b, groups, 1, t, n))


def _of_sequence(offsets: Any, count: int) -> tuple[Any, Any, Any]:
    """For each of ``count`` places: which sequence it is in, its place there, and the length of that one."""
    places = positions(count, offsets)
    starts = cast(offsets, int64)
    n = starts.shape[0] - 1
    after = le(reshape(starts, (n + 1, 1)), reshape(places, (1, count)))
    sequence = sub(sum_(cast(after, int64), 0), 1)
    there = minimum(sequence, n - 1)
    there = where(lt(there, 0), 0, there)
    start, end = take(starts, there, 0), take(starts, add(there, 1), 0)
    inside = logical_and(le(start, places), lt(places, end))
    return where(inside, sequence, -1), sub(places, start), sub(end, start)


def _seen_by_offsets(rest: Rest, band: Band, sizes: Sizes) -> Any:
    q_of, q_at, q_count = (reshape(x, (sizes.queries, 1)) for x in _of_sequence(rest.query_offsets, sizes.queries))
    k_of, k_at, k_count = (reshape(x, (1, sizes.keys)) for x in _of_sequence(rest.key_offsets, sizes.keys))
    at = add(q_at, sub(k_count, q_count)) if band.lower else q_at
    return _within(logical_and(eq(q_of, k_of), ge(q_of, 0)), at, k_at, band)


def _within(seen: Any, at: Any, key: Any, band: Band) -> Any:
    if band.left >= 0:
        seen = logical_and(seen, ge(key, sub(at, band.left)))
    return logical_and(seen, le(key, add(at, band.right))) if band.right >= 0 else seen


def _count(rest: Rest, sizes: Sizes) -> Any:
    """How many keys there are of each example: (B, 1, 1, 1)."""
    count = reshape(minimum(cast(rest.lengths, int64), sizes.keys), (-1, 1, 1, 1))
    return where(lt(count, 0), 0, count)


def _there(x: Any, rest: Rest, sizes: Sizes) -> Any:
    """Keys or values (B, Hk, Tk, n) with zeros behind the lengths, whatever is there."""
    if rest.lengths is None:
        return x
    return where(lt(reshape(positions(sizes.keys, x), (sizes.keys, 1)), _count(rest, sizes)), x, 0)


def _seen(rest: Rest, band: Band, sizes: Sizes, like: Any) -> Any:
    """Which keys each query sees, as it broadcasts to the scores; None for all."""
    if rest.query_offsets is not None:
        return _seen_by_offsets(rest, band, sizes)
    if rest.lengths is None and band.left < 0 and band.right < 0:
        return None
    at = reshape(positions(sizes.queries, like), (sizes.queries, 1))
    key = reshape(positions(sizes.keys, like), (1, sizes.keys))
    count: Any = sizes.keys
    seen = ge(key, 0)
    if rest.lengths is not None:
        count = _count(rest, sizes)
        seen = lt(key, count)
    if band.lower:  # two numbers have no device
        at = add(at, count - sizes.queries if rest.lengths is None else sub(count, sizes.queries))
    return _within(seen, at, key, band)


def _scores(q: Any, k: Any, rest: Rest, scale: float, band: Band, sizes: Sizes) -> Any:
    """(B, H, Tq, Tk), -inf where a key is hidden."""
    s = _per_head(matmul(_per_group(mul(q, scale), sizes.groups), transpose(_shared(k))))
    mask, hidden = rest.attn_mask, -math.inf
    if mask is not None:
        s = where(mask, s, hidden) if mask.dtype is bool_ else add(s, cast(mask, s.dtype))
    seen = _seen(rest, band, sizes, q)
    return s if seen is None else where(seen, s, hidden)


def composed(
    q: Any, k: Any, v: Any, rest: Rest, scale: float, band: Band, dropout: float, layout: str
) -> tuple[Any, Any]:
    """Attention by operations: out, and lse."""
    dtype = q.dtype
    sizes = sizes_of("attention", q, k, v, layout)
    q, k, v = (_widened(by_heads(x, layout)) for x in (q, k, v))
    k, v = _there(k, rest, sizes), _there(v, rest, sizes)
    s = _scores(q, k, rest, scale, band, sizes)
    if sizes.keys == 0:
        p, lse = s, sub(sum_(s, -1), math.inf)
    else:
        hidden = eq(max_(s, -1, True), -math.inf)
        seen = where(hidden, 0, s)
        p = where(hidden, 0, softmax(seen, -1))
        lse = where(reshape(hidden, s.shape[:-1]), -math.inf, logsumexp(seen, -1))
    p = dropout_backward(p, rest.state, dropout) if dropout else p
    out = cast(_per_head(matmul(_per_group(p, sizes.groups), _shared(v))), dtype)
    return by_heads(out, layout), lse


def score_gradient(
    dout: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, rest: Rest, scale: float, band: Band, dropout: float,
    layout: str,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """The gradient of the scores, that of the values, and the sizes."""
    sizes = sizes_of("attention", q, k, v, layout)
    dout, q, k, v, out = (_widened(by_heads(x, layout)) for x in (dout, q, k, v, out))
    k, v = _there(k, rest, sizes), _there(v, rest, sizes)
    hidden = reshape(eq(lse, -math.inf), (*lse.shape, 1))
    base = where(hidden, 0, reshape(lse, (*lse.shape, 1)))
    p = where(hidden, 0, exp(sub(_scores(q, k, rest, scale, band, sizes), base)))
    kept = dropout_backward(p, rest.state, dropout) if dropout else p
    grouped = _per_group(dout, sizes.groups)
    dv = sum_(matmul(transpose(_per_group(kept, sizes.groups)), grouped), 2)
    dp = _per_head(matmul(grouped, transpose(_shared(v))))
    dp = dropout_backward(dp, rest.state, dropout) if dropout else dp
    delta = sum_(mul(dout, out), -1, True)
    return mul(p, sub(dp, delta)), dv, sizes


def composed_gradients(
    dout: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, rest: Rest, scale: float, band: Band, dropout: float,
    layout: str, mask: Sequence[bool],
) -> list[Any]:  # fmt: skip
    """The gradients of q, k and v by operations, as functions of all that is given."""
    ds, dv, sizes = score_gradient(dout, q, k, v, out, lse, rest, scale, band, dropout, layout)
    ds = _per_group(mul(ds, scale), sizes.groups)
    dq = _per_head(matmul(ds, _shared(_there(_widened(by_heads(k, layout)), rest, sizes))))
    dk = sum_(matmul(transpose(ds), _per_group(_widened(by_heads(q, layout)), sizes.groups)), 2)
    found = (dq, q.dtype), (dk, k.dtype), (dv, v.dtype)
    return [by_heads(cast(x, d), layout) if wanted else None for (x, d), wanted in zip(found, mask, strict=False)]


# ---- in NumPy -------------------------------------------------------------------------------------------------------


def _numpy_heads(x: Any, layout: str) -> Any:
    return x if layout == "BHTD" else np.swapaxes(x, 1, 2)


def _numpy_seen(rest: Rest, band: Band, b: int, queries: int, keys: int) -> Any:
    """(Tq, Tk) of example b, query by query."""
    seen = np.zeros((queries, keys), bool)
    if rest.query_offsets is None:
        count = keys if rest.lengths is None else int(rest.lengths[b if len(rest.lengths) > 1 else 0])
        parts = [(0, queries, 0, min(max(count, 0), keys))]
    else:
        q, k = ([int(x) for x in offsets] for offsets in (rest.query_offsets, rest.key_offsets))
        parts = [(q[s], q[s + 1], k[s], k[s + 1]) for s in range(len(q) - 1)]
    for q0, q1, k0, k1 in parts:
        shift = (k1 - k0) - (q1 - q0) if band.lower else 0
        for i in range(q1 - q0):
            first = max(0, i + shift - band.left) if band.left >= 0 else 0
            last = min(k1 - k0, i + shift + band.right + 1) if band.right >= 0 else k1 - k0
            seen[q0 + i, k0 + first : max(k0 + last, k0 + first)] = True
    return seen


class _Numpy(NamedTuple):
    """What both references begin with: probabilities, which are kept and by which factor, and bounds of errors."""

    p: Any
    lse: Any
    factor: Any
    scores_size: Any
    """1 + the size of what each score is a sum of: errors of exponentials are that of the scores."""


def _numpy_probabilities(
    q: Any, k: Any, rest: Rest, scale: float, band: Band, dropout: float
) -> _Numpy:  # fmt: skip
    b, _, queries, _ = q.shape
    keys = k.shape[2]
    s = scale * (q @ np.swapaxes(k, -1, -2))
    size = 1 + abs(scale) * (np.abs(q) @ np.abs(np.swapaxes(k, -1, -2)))
    mask = rest.attn_mask
    if mask is not None:
        s = np.where(mask, s, -np.inf) if np.asarray(mask).dtype == bool else s + mask
        size = size if np.asarray(mask).dtype == bool else size + np.where(np.isinf(mask), 0, np.abs(mask))
    seen = np.stack([_numpy_seen(rest, band, i, queries, keys) for i in range(b)]) if b else np.zeros((0, 1, 1), bool)
    s = np.where(seen[:, None], s, -np.inf) if b else s
    top = np.max(s, axis=-1, keepdims=True, initial=-np.inf)
    e = np.exp(s - np.where(np.isneginf(top), 0, top))
    total = e.sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        lse = (np.log(total) + np.where(np.isneginf(top), 0, top))[..., 0]
    factor = np.ones(s.shape)
    if dropout:
        _, words = words_of(rest.state, s.shape)
        factor = np.where(words >= np.uint64(round(dropout * 2**32)), 1 / (1 - dropout) if dropout < 1 else 0.0, 0.0)
    return _Numpy(e / np.where(total == 0, 1, total), lse, factor, size)


def _numpy_repeated(x: Any, heads: int) -> Any:
    return np.repeat(x, heads // x.shape[1], axis=1) if x.shape[1] else x


LEAST = 1e-31
"""What errors of a weight are at least measured against: exponentials below float32's least normal number may be 0."""


def numpy_forward(
    q: Any, k: Any, v: Any, rest: Rest, scale: float, band: Band, dropout: float, layout: str, size: bool = False
) -> tuple[Any, Any]:
    """out and lse; ``size``: what their errors are measured against."""
    q, k, v = (_numpy_heads(x, layout) for x in (q, k, v))
    k, v = _numpy_repeated(k, q.shape[1]), _numpy_repeated(v, q.shape[1])
    n = _numpy_probabilities(q, k, rest, scale, band, dropout)
    if not size:
        return _numpy_heads((n.p * n.factor) @ v, layout), n.lse
    worst = np.max(n.scores_size, axis=-1, initial=1)
    return _numpy_heads(((n.p * worst[..., None] + LEAST) * n.factor) @ np.abs(v), layout), worst


def numpy_gradients(
    dout: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, rest: Rest, scale: float, band: Band, dropout: float,
    layout: str, size: bool = False,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """dq, dk and dv; ``size``: what their errors are measured against."""
    dout, q, k, v, out = (_numpy_heads(x, layout) for x in (dout, q, k, v, out))
    groups, repeated = k.shape[1], (_numpy_repeated(x, q.shape[1]) for x in (k, v))
    k, v = repeated
    n = _numpy_probabilities(q, k, rest, scale, band, dropout)
    with np.errstate(invalid="ignore"):
        p = np.where(np.isneginf(lse)[..., None], 0, n.p * np.exp(n.lse - lse)[..., None])
    if size:
        p, dout, q, k, v, out = (np.abs(x) for x in (p, dout, q, k, v, out))
        known = np.where(np.isfinite(lse), np.abs(lse), 0)  # what is rounded before the exponential is s - lse
        p = p * (np.max(n.scores_size, axis=-1, initial=1) + known)[..., None] + LEAST
    delta = (dout * out).sum(-1, keepdims=True)
    dp = n.factor * (dout @ np.swapaxes(v, -1, -2))
    ds = p * (dp + delta) * abs(scale) if size else p * (dp - delta) * scale
    dq, dk, dv = ds @ k, np.swapaxes(ds, -1, -2) @ q, np.swapaxes(p * n.factor, -1, -2) @ dout
    if groups:
        dk, dv = (x.reshape(x.shape[0], groups, q.shape[1] // groups, *x.shape[2:]).sum(2) for x in (dk, dv))
    return tuple(_numpy_heads(x, layout) for x in (dq, dk, dv))
