"""Attention with several heads (Vaswani et al. 2017), with PyTorch's arguments, parameter names and masks."""

from __future__ import annotations

import math
from typing import Any

from dlcore._arguments import boolean, integer, number, operand
from dlcore._attention import qkv_attention, scaled_dot_product_attention
from dlcore._operations import (
    concat,
    expand,
    isneginf,
    logical_and,
    logical_not,
    logical_or,
    matmul,
    mean,
    mul,
    pad,
    softmax,
    swapaxes,
    tril,
    unbind,
    where,
)
from dlcore._tensor import Parameter, Tensor, empty, ones, zeros
from dlcore.dtypes import as_dtype, bool_, float32
from dlcore.errors import DTypeError, ShapeError
from dlcore.nn import init
from dlcore.nn.layers import Linear
from dlcore.nn.module import Module
from dlcore.op import Spec, check_floating
from dlcore.ops.matmul import linear
from dlcore.random import dropout as drop

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Module):
    """Attention of ``num_heads`` heads: out_proj(concat over heads of softmax(q k^T / sqrt(d) + mask) v), d the width
    of a head, q, k and v linear in query, key and value (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762).

    embed_dim: the width of queries and of the result, which ``num_heads`` must divide. dropout: the probability with
    which, in training, a weight is set to zero. bias: of all four products. add_bias_kv: a learned key and value after
    the others. add_zero_attn: a key and a value of zeros after those. kdim, vdim: the widths of keys and of values,
    ``embed_dim`` by default. batch_first: tensors are (N, L, E), not (L, N, E).

    Names and shapes of the parameters are PyTorch's: ``in_proj_weight`` (3 E, E) for queries, keys and values, or,
    where a width differs, ``q_proj_weight``, ``k_proj_weight`` and ``v_proj_weight``; ``in_proj_bias`` (3 E),
    ``bias_k`` and ``bias_v`` (1, 1, E), ``out_proj``. Input weights start Xavier uniform, biases at zero.

    >>> x = dl.randn(2, 5, 16)
    >>> output, weights = nn.MultiheadAttention(16, 4, batch_first=True)(x, x, x)
    >>> output.shape, weights.shape
    ((2, 5, 16), (2, 5, 5))
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False,
        device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        name = "MultiheadAttention"
        self.embed_dim = width = integer(embed_dim, f"{name}: embed_dim", 1)
        self.num_heads = integer(num_heads, f"{name}: num_heads", 1)
        if width % self.num_heads:
            raise ValueError(f"{name}: embed_dim {width} is not divisible by num_heads {self.num_heads}")
        self.dropout = number(dropout, f"{name}: dropout")
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"{name}: dropout is a probability, not {self.dropout}")
        self.kdim = width if kdim is None else integer(kdim, f"{name}: kdim", 1)
        self.vdim = width if vdim is None else integer(vdim, f"{name}: vdim", 1)
        self.head_dim = width // self.num_heads
        self.batch_first = boolean(batch_first, f"{name}: batch_first")
        self.add_zero_attn = boolean(add_zero_attn, f"{name}: add_zero_attn")
        biased, more = boolean(bias, f"{name}: bias"), boolean(add_bias_kv, f"{name}: add_bias_kv")
        made: dict[str, Any] = {"dtype": None if dtype is None else as_dtype(dtype, f"{name}: dtype"), "device": device}

        def parameter(wanted: bool, *shape: int) -> Parameter | None:
            return Parameter(empty(shape, **made)) if wanted else None

        same = self.kdim == width == self.vdim
        self.in_proj_weight = parameter(same, 3 * width, width)
        self.q_proj_weight = parameter(not same, width, width)
        self.k_proj_weight = parameter(not same, width, self.kdim)
        self.v_proj_weight = parameter(not same, width, self.vdim)
        self.in_proj_bias = parameter(biased, 3 * width)
        self.bias_k, self.bias_v = parameter(more, 1, 1, width), parameter(more, 1, 1, width)
        self.out_proj = Linear(width, width, biased, **made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew and set biases to zero."""
        self.out_proj.reset_parameters()
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Any = None, need_weights: bool = True,
        attn_mask: Any = None, average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """The outputs, of the shape of ``query``, and the weights or None.

        query (L, N, E), key (S, N, kdim), value (S, N, vdim), with ``batch_first`` (N, L, E) and so on, or of one
        sample without N. Masks are of bools, **True where a key is hidden**, or numbers that are added to the scores
        (as in PyTorch, where `scaled_dot_product_attention` takes bools of the opposite meaning): ``key_padding_mask``
        (N, S), ``attn_mask`` (L, S) or (N heads, L, S). ``is_causal``: query i sees the keys 0 to i alone, whatever
        else is hidden; no mask has to be given for that. A query to which every key is hidden gets weights of zero and
        the bias of ``out_proj``, where PyTorch gives NaN.

        ``need_weights``: the weights (N, L, S) are returned, means over heads or, without ``average_attn_weights``, (N,
        heads, L, S), after dropout; the matrix of them is then in memory, which it is not with ``need_weights=False``
        (`dl.qkv_attention` and `dl.scaled_dot_product_attention`).
        """
        query, key, value = self._checked(query, key, value)
        drops, causal = self.dropout if self.training else 0.0, boolean(is_causal, "MultiheadAttention: is_causal")
        seen = boolean(need_weights, "MultiheadAttention: need_weights")
        sizes = self._sizes(query, key)
        mask, extended = self._mask(key_padding_mask, attn_mask, sizes), self.bias_k is not None or self.add_zero_attn
        if self.in_proj_weight is not None and query is key and key is value and not (seen or extended):
            qkv = self._batched(linear(query, self.in_proj_weight, self.in_proj_bias))
            return self._joined(qkv_attention(qkv, self.num_heads, _beside(mask, qkv), drops, causal), query), None
        q, k, v = self._heads(query, key, value)
        if extended:
            k, v, mask, causal = *self._extended(k, v), self._wider(mask, causal, q, k), False
        if not seen:
            out = scaled_dot_product_attention(q, k, v, _beside(mask, q), drops, causal, layout="BTHD")
            return self._joined(out, query), None
        out, weights = _weighted(q, k, v, mask, causal, drops)
        if boolean(average_attn_weights, "MultiheadAttention: average_attn_weights"):
            weights = mean(weights, 1)
        return self._joined(out, query), weights[0] if query.ndim == 2 else weights

    # ---- operands ---------------------------------------------------------------------------------------------------

    def _checked(self, *operands: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value as tensors of shapes that fit."""
        names, widths = ("query", "key", "value"), (self.embed_dim, self.kdim, self.vdim)
        found = [operand(x, "MultiheadAttention", name) for x, name in zip(operands, names, strict=True)]
        shapes = ", ".join(f"{name} {x.shape}" for name, x in zip(names, found, strict=True))
        if found[0].ndim not in (2, 3) or any(x.ndim != found[0].ndim for x in found):
            raise ShapeError(f"MultiheadAttention: takes three axes each, or two each, of one sample: {shapes}")
        for name, x, width in zip(names, found, widths, strict=True):
            check_floating("MultiheadAttention", name, Spec(x.shape, x.dtype))
            if x.shape[-1] != width:
                raise ShapeError(f"MultiheadAttention: {name} has width {x.shape[-1]}, not {width}: {shapes}")
        batch = 0 if self.batch_first else 1
        if found[1].shape[:-1] != found[2].shape[:-1]:
            raise ShapeError(f"MultiheadAttention: there is not one value for each key: {shapes}")
        if found[0].ndim == 3 and found[0].shape[batch] != found[1].shape[batch]:
            raise ShapeError(f"MultiheadAttention: axis {batch}, of the batch, differs: {shapes}")
        return found[0], found[1], found[2]

    def _sizes(self, query: Tensor, key: Tensor) -> tuple[int, int, int]:
        """How many samples, queries and keys there are."""
        if query.ndim == 2:
            return 1, query.shape[0], key.shape[0]
        time = 1 if self.batch_first else 0
        return query.shape[1 - time], query.shape[time], key.shape[time]

    def _batched(self, x: Tensor) -> Tensor:
        """(N, L, width) of a projection in any layout."""
        if x.ndim == 2:
            return x.reshape(1, *x.shape)
        return x if self.batch_first else swapaxes(x, 0, 1)

    def _joined(self, out: Tensor, query: Tensor) -> Tensor:
        """What the last projection makes of the heads side by side, in the layout of ``query``."""
        if query.ndim == 3 and not self.batch_first:
            out = swapaxes(out, 0, 1)
        found: Tensor = self.out_proj(out.reshape(*query.shape))
        return found

    def _heads(self, query: Tensor, key: Tensor, value: Tensor) -> Any:
        """Queries, keys and values: (N, L or S, heads, head_dim) each."""
        weight, bias, e = self.in_proj_weight, self.in_proj_bias, self.embed_dim
        if weight is not None and query is key and key is value:
            return self._cut(linear(query, weight, bias), 3)
        biases = (None,) * 3 if bias is None else (bias[:e], bias[e : 2 * e], bias[2 * e :])
        if weight is not None and key is value:
            (q,) = self._cut(linear(query, weight[:e], biases[0]), 1)
            return q, *self._cut(linear(key, weight[e:], None if bias is None else bias[e:]), 2)
        weights: tuple[Any, ...] = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        if weight is not None:
            weights = weight[:e], weight[e : 2 * e], weight[2 * e :]
        products = zip((query, key, value), weights, biases, strict=True)
        return tuple(self._cut(linear(x, w, b), 1)[0] for x, w, b in products)

    def _cut(self, x: Tensor, count: int) -> Any:
        """``count`` tensors (N, L, heads, head_dim) from what one product gave for them, side by side."""
        x = self._batched(x)
        return unbind(x.reshape(*x.shape[:2], count, self.num_heads, self.head_dim), 2)

    def _extended(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values with the learned ones and those of zeros after them."""
        n, _, heads, width = k.shape
        parts = [[k], [v]]
        if self.bias_k is not None and self.bias_v is not None:
            for part, extra in zip(parts, (self.bias_k, self.bias_v), strict=True):
                part.append(expand(extra.reshape(1, 1, heads, width), (n, 1, heads, width)))
        if self.add_zero_attn:
            for part in parts:
                part.append(zeros((n, 1, heads, width), dtype=k.dtype, device=k.device))
        return concat(parts[0], 1), concat(parts[1], 1)

    # ---- masks ------------------------------------------------------------------------------------------------------

    def _mask(self, padding: Any, attn: Any, sizes: tuple[int, int, int]) -> Tensor | None:
        """Both masks as one that broadcasts to (N, heads, L, S): bools, True where a key takes part, or numbers."""
        (n, length, keys), heads = sizes, self.num_heads
        parts = []
        if padding is not None:
            padding = _as_mask(padding, "key_padding_mask")
            wanted = ((n, keys), (keys,)) if n == 1 else ((n, keys),)
            _check_shape("key_padding_mask", padding, wanted)
            parts.append(padding.reshape(n, 1, 1, keys))
        if attn is not None:
            attn = _as_mask(attn, "attn_mask")
            _check_shape("attn_mask", attn, ((length, keys), (n * heads, length, keys)))
            parts.append(attn.reshape(n, heads, length, keys) if attn.ndim == 3 else attn)
        if not parts:
            return None
        if all(part.dtype is bool_ for part in parts):
            return logical_not(logical_or(*parts) if len(parts) == 2 else parts[0])
        added = [where(part, -math.inf, 0.0) if part.dtype is bool_ else part for part in parts]
        return added[0] + added[1] if len(added) == 2 else added[0]

    def _wider(self, mask: Tensor | None, causal: bool, q: Tensor, k: Tensor) -> Tensor | None:
        """A mask, and that of ``causal``, with which the keys that `_extended` adds are seen by every query."""
        more = (self.bias_k is not None) + self.add_zero_attn
        if causal:
            mask = _with_causal(mask, q.shape[1], k.shape[1], q)
        if mask is None:
            return None
        return pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, more)], constant_values=mask.dtype is bool_)

    def extra_repr(self) -> str:
        return (
            f"{self.embed_dim}, {self.num_heads}, dropout={self.dropout}, kdim={self.kdim}, vdim={self.vdim}, "
            f"batch_first={self.batch_first}"
        )


def _as_mask(value: Any, name: str) -> Tensor:
    mask = operand(value, "MultiheadAttention", name)
    if mask.dtype is not bool_ and not mask.dtype.is_float:
        raise DTypeError(f"MultiheadAttention: {name} is of {mask.dtype.name}, not of bool or a floating-point dtype")
    return mask


def _check_shape(name: str, mask: Tensor, shapes: tuple[tuple[int, ...], ...]) -> None:
    if mask.shape not in shapes:
        raise ShapeError(f"MultiheadAttention: {name} has shape {mask.shape}, not {' or '.join(map(str, shapes))}")


def _with_causal(mask: Tensor | None, length: int, keys: int, like: Tensor) -> Tensor:
    """``mask`` with which query i sees no key after i."""
    seen = tril(ones((length, keys), dtype=bool_, device=like.device))
    if mask is None:
        return seen
    return logical_and(mask, seen) if mask.dtype is bool_ else where(seen, mask, -math.inf)


def _beside(mask: Tensor | None, q: Tensor) -> Tensor | None:
    """``mask`` in a dtype that attention takes beside ``q``: bool, that of q, or float32 where q has 16 bits."""
    if mask is None or mask.dtype is bool_ or mask.dtype is q.dtype:
        return mask
    return mask if mask.dtype is float32 and q.dtype.itemsize == 2 else mask.astype(q.dtype)


def _weighted(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, dropout: float
) -> tuple[Tensor, Tensor]:
    """Outputs (N, L, heads, head_dim) and weights (N, heads, L, S), after dropout; zeros where all keys are hidden."""
    if causal:
        mask = _with_causal(mask, q.shape[1], k.shape[1], q)
    q, k, v = (swapaxes(x, 1, 2) for x in (mul(q, 1 / math.sqrt(q.shape[-1])), k, v))
    scores = matmul(q, swapaxes(k, -1, -2))
    if mask is None:
        weights = softmax(scores, -1)
    else:
        seen = mask if mask.dtype is bool_ else logical_not(isneginf(mask))
        if mask.dtype is not bool_:
            scores = scores + where(seen, mask, 0.0).astype(scores.dtype)
        # the lowest number, not infinity: a row without keys has a softmax, and so a gradient, that is no NaN
        weights = where(seen, softmax(where(seen, scores, -scores.dtype.largest), -1), 0.0)
    weights = drop(weights, dropout) if dropout else weights
    return swapaxes(matmul(weights, v), 1, 2), weights
