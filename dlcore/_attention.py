"""Attention under the names and arguments of PyTorch, and of one projection of queries, keys and values.

The operations are in dlcore/ops/attention.py. This module is above them for the default generators, of dropout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore._arguments import boolean, choice, integer, integers, items, names_errors, number, operand, remembered
from dlcore.errors import ShapeError
from dlcore.op import Spec
from dlcore.ops.attention import attention_forward, attention_packed_forward
from dlcore.ops.movement import expand, reshape
from dlcore.ops.random import reserve
from dlcore.random.generator import Generator, state_of

__all__ = ["qkv_attention", "scaled_dot_product_attention"]

Shape = tuple[int, ...]


def _band(name: str, is_causal: Any, window: Any, lower_right: Any) -> tuple[int, int, bool]:
    """How far queries see to the left and to the right."""
    left = right = -1
    if window is not None and items(window) is None:
        left = right = integer(window, f"{name}: window", 1) - 1
    elif window is not None:
        pair = integers(window, f"{name}: window")
        if len(pair) != 2 or min(pair) < -1:
            raise ValueError(f"{name}: window is {pair}; it is a number of keys, or how many there are on the left and "
                             f"on the right, -1 for all")  # fmt: skip
        left, right = pair
    if boolean(is_causal, f"{name}: is_causal"):
        right = 0
    return left, right, boolean(lower_right, f"{name}: lower_right")


def _scale(name: str, scale: Any, width: int) -> float:
    if scale is None:
        return 1 / math.sqrt(width) if width else 1.0
    return number(scale, f"{name}: scale")


def _probability(name: str, dropout_p: Any) -> float:
    p = number(dropout_p, f"{name}: dropout_p")
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: dropout_p is {p}, not a probability")
    return p


def _spec(x: Any) -> Spec | None:
    return None if x is None else Spec(x.shape, x.dtype)


def _attend(
    name: str, function: Any, operands: Sequence[Any], attrs: Sequence[Any], p: float, scores: Shape,
    generator: Generator | None,
) -> Any:  # fmt: skip
    """The operation; with dropout its state is reserved once it is known that all else fits."""
    state, layout = None, attrs[-1:] if attrs[-1] in ("BHTD", "BTHD") else ()
    given = attrs[: len(attrs) - len(layout)]
    if p:
        function.op.infer(*map(_spec, operands), None, *given, 0.0, *layout)
        state = reserve(state_of(name, generator, operands[0].device), math.prod(scores))
    return function(*operands, state, *given, p, *layout)


def _optional(name: str, what: str, value: Any, like: Any) -> Any:
    return None if value is None else operand(value, name, what, like)


# ---- shapes ---------------------------------------------------------------------------------------------------------


def _leading(name: str, tensors: Sequence[Any]) -> Shape:
    """The axes before those of heads, time and width, which broadcast."""
    try:
        return tuple(np.broadcast_shapes(*(x.shape[:-3] for x in tensors)))
    except ValueError:
        shapes = ", ".join(str(x.shape) for x in tensors)
        raise ShapeError(f"{name}: leading axes do not broadcast: {shapes}") from None


def _as_batch(x: Any, leading: Shape, heads: int) -> Any:
    """(B, ...) of one with ``leading`` axes before the last three, and at least this many heads."""
    if x.ndim == 2:
        x = reshape(x, (1, *x.shape))
    if x.shape[:-3] != leading or (x.shape[-3] == 1 and heads > 1):
        x = expand(x, (*leading, heads if x.shape[-3] == 1 else x.shape[-3], *x.shape[-2:]))
    return x if len(leading) == 1 else reshape(x, (math.prod(leading), *x.shape[-3:]))


def _mask_as_batch(mask: Any, leading: Shape) -> Any:
    if mask is None or (mask.ndim == 4 and len(leading) == 1):
        return mask
    if mask.ndim < 4:
        mask = reshape(mask, (*[1] * (4 - mask.ndim), *mask.shape))
    if len(leading) > 1 and math.prod(mask.shape[:-3]) > 1:
        mask = expand(mask, (*leading, *mask.shape[-3:]))
    return mask if mask.ndim == 4 else reshape(mask, (math.prod(mask.shape[:-3]), *mask.shape[-3:]))


def _check_heads(name: str, query: Any, key: Any, value: Any, enable_gqa: bool) -> None:
    """Raises where heads differ that are not to be shared."""
    counts = {x.shape[-3] if x.ndim > 2 else 1 for x in (query, key, value)} - {1}
    if len(counts) > 1 and not enable_gqa:
        found = f"query {query.shape}, key {key.shape}, value {value.shape}"
        raise ShapeError(f"{name}: heads differ: {found}; enable_gqa=True shares those of key and value")


@names_errors
def scaled_dot_product_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False, *, window: int | tuple[int, int] | None = None,
    lower_right: bool = False, lengths: Any = None, query_offsets: Any = None, key_offsets: Any = None,
    layout: str = "BHTD", generator: Generator | None = None,
) -> Any:  # fmt: skip
    """softmax(scale query key^T + attn_mask) value, for each head, without ever storing the square of scores.

    `query` (..., H, Tq, D), `key` (..., Hk, Tk, D), `value` (..., Hk, Tk, Dv): the result is (..., H, Tq, Dv). Leading
    axes broadcast, those of batch and heads may be missing. With `enable_gqa` Hk divides H, and each head of keys
    serves H / Hk heads of queries that follow each other. `scale`: 1 / sqrt(D) by default.

    `attn_mask` broadcasts to (..., H, Tq, Tk): bool, True for what is seen, or a float that is added to the scores
    (ALiBi's distances, learned biases: it has a gradient). `is_causal`: query i sees keys 0 to i; with `lower_right` so
    that the last query sees all keys, as beside a cache. `window`: keys at most `window` - 1 places away, or how many
    on the left and on the right (-1: all). `lengths`, int32 or int64, (B,) or (1,), on the device: keys from there on
    are not seen, nor read. `dropout_p`: the probability with which a weight becomes 0 (the caller says 0 in
    evaluation), the others are divided by 1 - dropout_p; drawn from `generator`.

    `query_offsets`, `key_offsets` (N + 1,): N sequences lie behind each other in a batch of 1, each sees itself alone.
    `layout` "BTHD": all have heads behind time, (B, T, H, D), as a projection gives them, and so has the result.

    A query that sees no key gives zeros. Scores and sums are in float32 (float64 for float64), in an order that depends
    on shapes alone. Raises ShapeError where shapes do not fit, DTypeError for a mask of integers (Vaswani et al. 2017;
    Dao et al. 2022).

    >>> x = dl.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> dl.scaled_dot_product_attention(x, x, x, is_causal=True, scale=0.0)
    tensor([[1. , 0. ],
            [0.5, 0.5]])
    """
    name = "scaled_dot_product_attention"
    query = operand(query, name, "query")
    key, value = operand(key, name, "key", query), operand(value, name, "value", query)
    attn_mask = _optional(name, "attn_mask", attn_mask, query)
    rest = [_optional(name, n, x, query) for n, x in
            (("lengths", lengths), ("query_offsets", query_offsets), ("key_offsets", key_offsets))]  # fmt: skip
    tensors, shape = (query, key, value), query.shape
    band = _plain(shape, key.shape, value.shape, is_causal, window, lower_right, enable_gqa, layout)
    if band is not None and not dropout_p and (attn_mask is None or attn_mask.ndim == 4):
        scale = _scale(name, scale, shape[-1])
        return attention_forward(query, key, value, attn_mask, *rest, None, scale, *band, 0.0, layout)
    heads_behind = choice(layout, ("BHTD", "BTHD"), f"{name}: layout") == "BTHD"
    if any(x.ndim < (3 if heads_behind else 2) for x in tensors):
        found = ", ".join(str(x.shape) for x in tensors)
        raise ShapeError(f"{name}: takes {'time, heads' if heads_behind else 'time'} and width at least, not {found}")
    if heads_behind:
        leading = _leading(name, tensors)
        query, key, value = (_as_batch(x, leading, 1) for x in tensors)
        scores = (query.shape[0], query.shape[2], query.shape[1], key.shape[1])
    else:
        _check_heads(name, query, key, value, boolean(enable_gqa, f"{name}: enable_gqa"))
        leading = _leading(name, tensors)
        query, key, value = _with_heads(tensors, leading)
        scores = (*query.shape[:3], key.shape[2])
    attrs = (_scale(name, scale, shape[-1]), *_band(name, is_causal, window, lower_right), layout)
    operands = (query, key, value, _mask_as_batch(attn_mask, leading), *rest)
    out = _attend(name, attention_forward, operands, attrs, _probability(name, dropout_p), scores, generator)
    if len(leading) == 1:
        return out
    inner = out.shape[1:] if max(x.ndim for x in tensors) > 2 else out.shape[2:]
    return reshape(out, (*leading, *inner))


@remembered
def _plain(
    query: Shape, key: Shape, value: Shape, is_causal: Any, window: Any, lower_right: Any, enable_gqa: Any, layout: Any
) -> tuple[int, int, bool] | None:
    """The band of a call that has the shapes of the operation; None where there is more to it, if only an error."""
    heads = 1 if layout == "BHTD" else 2
    four = len(query) == len(key) == len(value) == 4 and query[0] == key[0] == value[0]
    same = four and (enable_gqa is True or layout == "BTHD" or query[1] == key[1])
    if not same or layout not in ("BHTD", "BTHD") or key[heads] != value[heads] or key[heads] > query[heads]:
        return None
    return _band("scaled_dot_product_attention", is_causal, window, lower_right)


def _with_heads(tensors: Sequence[Any], leading: Shape) -> list[Any]:
    """(B, H, T, D) of each: heads of which there is one are shared, those of keys without being repeated."""
    query, key, value = tensors
    of_key, of_value = (x.shape[-3] if x.ndim > 2 else 1 for x in (key, value))
    groups = max(of_key, of_value)
    alone = query.ndim == 2 or query.shape[-3] == 1
    return [_as_batch(query, leading, groups if alone else 1), *(_as_batch(x, leading, groups) for x in (key, value))]


# ---- one projection -------------------------------------------------------------------------------------------------


@names_errors
def qkv_attention(
    qkv: Any, num_heads: int, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, *, num_kv_heads: int | None = None, window: int | tuple[int, int] | None = None,
    lengths: Any = None, offsets: Any = None, generator: Generator | None = None,
) -> Any:  # fmt: skip
    """Attention of a sequence with itself from one projection of queries, keys and values: no part of it is copied.

    `qkv`: (B, T, (H + 2 Hk) D), H = `num_heads` heads of queries, then Hk = `num_kv_heads` (default H) of keys, then as
    many of values; the result is (B, T, H D), as the next projection takes it. Or (B, T, H + 2 Hk, D), and the result
    (B, T, H, D). All else is as in `scaled_dot_product_attention`, `offsets` those of queries and keys. Raises
    ShapeError where heads do not divide.

    >>> x = dl.tensor([[[9.0, 0.0, 1.0], [9.0, 0.0, 3.0]]])
    >>> dl.qkv_attention(x, num_heads=1)
    tensor([[[2.],
             [2.]]])
    """
    name = "qkv_attention"
    qkv = operand(qkv, name, "qkv")
    heads = integer(num_heads, f"{name}: num_heads", 1)
    groups = heads if num_kv_heads is None else integer(num_kv_heads, f"{name}: num_kv_heads", 1)
    parts, flat = heads + 2 * groups, qkv.ndim == 3
    if qkv.ndim not in (3, 4) or qkv.shape[2] % parts or (not flat and qkv.shape[2] != parts):
        raise ShapeError(f"{name}: qkv of shape {qkv.shape} has not {heads} heads of queries and {groups} each of keys "
                         f"and values")  # fmt: skip
    if heads % groups:
        raise ShapeError(f"{name}: {heads} heads of queries are no multiple of {groups} heads of keys")
    b, t = qkv.shape[:2]
    x = reshape(qkv, (b, t, parts, qkv.shape[2] // parts)) if flat else qkv
    rest = [_optional(name, n, v, qkv) for n, v in
            (("attn_mask", attn_mask), ("lengths", lengths), ("offsets", offsets))]  # fmt: skip
    rest[0] = _mask_as_batch(rest[0], (b,))
    attrs = (heads, _scale(name, scale, x.shape[3]), *_band(name, is_causal, window, False))
    out = _attend(name, attention_packed_forward, (x, *rest), attrs, _probability(name, dropout_p),
                  (b, heads, t, t), generator)  # fmt: skip
    return reshape(out, (b, t, heads * x.shape[3])) if flat else out
