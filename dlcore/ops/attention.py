"""Attention: each query's mean of the values, weighted by how well the keys fit it (Vaswani et al. 2017).

    out_i = sum over j of p_ij v_j,   p_ij = exp(s_ij) / sum over j of exp(s_ij),   s_ij = scale q_i . k_j + mask_ij

over the keys that query i sees. The square of scores is never stored (Dao et al. 2022): kernels go over tiles of keys
with a running maximum and sum, keep lse_i = log sum_j exp(s_ij), and compute tiles again for the gradient. A query that
sees no key gives zeros, and its lse is -inf. `attention_packed_*` take queries, keys and values as one projection gives
them. The public functions, which take PyTorch's arguments, are in dlcore/_attention.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore.errors import ShapeError
from dlcore.op import OutputMask, Spec
from dlcore.ops import _attention_cases as cases
from dlcore.ops._attention import (
    Attention,
    Band,
    Layout,
    Rest,
    Sizes,
    check_rest,
    composed,
    composed_gradients,
    numpy_forward,
    numpy_gradients,
    score_gradient,
    sizes_of,
    wide,
)
from dlcore.ops._workloads import bytes_of
from dlcore.ops.movement import concat
from dlcore.ops.slicing import slice as slice_view

__all__: list[str] = []

_attention = Attention.definition

# ---- queries, keys and values of their own --------------------------------------------------------------------------


def _checked(
    name: str, q: Spec, k: Spec, v: Spec, rest: Rest, scale: float, band: Band, dropout: float, layout: str
) -> Sizes:  # fmt: skip
    sizes = sizes_of(name, q, k, v, layout)
    check_rest(name, rest, sizes, scale, band, dropout)
    return sizes


def _like_queries(sizes: Sizes, layout: str) -> tuple[int, ...]:
    """The shape of the output."""
    b, h, _, t, *_ = sizes
    return (b, h, t, sizes.out_width) if layout == "BHTD" else (b, t, h, sizes.out_width)


def _params(scale: float, left: int, right: int, lower: bool, dropout: float, *more: int) -> tuple[float | int, ...]:
    """Scale, band, the threshold below which a word drops a probability (0: none is), the factor of the others."""
    return scale, left, right, int(lower), round(dropout * 2**32), 1 / (1 - dropout) if dropout < 1 else 0.0, *more


@_attention(
    extras="lse", ulp=8, samples=cases.forward_samples, error_inputs=cases.error_inputs, workloads=cases.workloads,
    batch=cases.batched, baselines=cases.FORWARD,
    params=lambda scale, left, right, lower, dropout, layout: _params(
        scale, left, right, lower, dropout, int(layout == "BTHD")
    ),
)  # fmt: skip
def attention_forward(
    q: Spec, k: Spec, v: Spec, attn_mask: Spec | None, lengths: Spec | None, query_offsets: Spec | None,
    key_offsets: Spec | None, state: Spec | None, scale: float, left: int = -1, right: int = -1, lower: bool = False,
    dropout: float = 0.0, layout: Layout = "BHTD",
) -> list[Spec]:  # fmt: skip
    """Each query's mean of the values, weighted by the exponentials of scale q . k + mask over the keys it sees.

    Layout "BHTD": `q` (B, H, Tq, D), `k` (B, Hk, Tk, D), `v` (B, Hk, Tk, Dv), the output (B, H, Tq, Dv); "BTHD": axes 1
    and 2 of each the other way round. Hk divides H: head h reads keys of head h // (H / Hk). `attn_mask`: broadcasts to
    (B, H, Tq, Tk) in both layouts; bool (True: seen) or float, added to the scores. Query i sees key j where j is below
    `lengths` of its example (int32 or int64, (B,) or (1,); default Tk) and i' - left <= j <= i' + right (-1: no
    limit), i' = i, or with `lower` so shifted that the last query has the place of the last key. Offsets (N + 1,): N
    sequences lie behind each other in a batch of 1, and see only themselves. `dropout`: the probability with which
    a weight becomes 0, drawn from `state` as `dropout` of the square would be; the state is not moved on.

    A query that sees no key gives zeros. Sums run in float32 or wider, in an order that depends on shapes alone. What
    hidden values that are not finite give is left open, but for those at `lengths` and beyond, which are not read.
    Raises ShapeError where shapes do not fit, DTypeError for masks or lengths of another kind.
    """
    rest = Rest(attn_mask, lengths, query_offsets, key_offsets, state)
    sizes = _checked("attention_forward", q, k, v, rest, scale, Band(left, right, lower), dropout, layout)
    return [Spec(_like_queries(sizes, layout), q.dtype), Spec(sizes.scores[:3], wide(q.dtype))]


@attention_forward.cost
def _(q: Spec, k: Spec, v: Spec, attn_mask: Spec | None, layout: str) -> tuple[float, float]:
    sizes = sizes_of("attention_forward", q, k, v, layout)
    out = Spec(_like_queries(sizes, layout), q.dtype)
    return 2 * sizes.products + 25.0 * sizes.products / max(sizes.width + sizes.out_width, 1), bytes_of(
        q, k, v, out, attn_mask
    )


@attention_forward.composite
def _(
    q: Any, k: Any, v: Any, attn_mask: Any, lengths: Any, query_offsets: Any, key_offsets: Any, state: Any,
    scale: float, left: int, right: int, lower: bool, dropout: float, layout: str,
) -> Any:  # fmt: skip
    rest = Rest(attn_mask, lengths, query_offsets, key_offsets, state)
    return composed(q, k, v, rest, scale, Band(left, right, lower), dropout, layout)[0]


@attention_forward.gradient("q", "k", "v", "attn_mask")
def _(
    dout: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, attn_mask: Any, lengths: Any, query_offsets: Any,
    key_offsets: Any, state: Any, scale: float, left: int, right: int, lower: bool, dropout: float, layout: str,
    needs_input_grad: tuple[bool, bool, bool, bool], create_graph: bool,
) -> Any:  # fmt: skip
    rest, band = Rest(attn_mask, lengths, query_offsets, key_offsets, state), Band(left, right, lower)
    if create_graph:  # as functions of the operands, for a second gradient to go through
        out, lse = composed(q, k, v, rest, scale, band, dropout, layout)
    found: Sequence[Any] = (None, None, None)
    if any(needs_input_grad[:3]):
        found = attention_backward(
            dout, q, k, v, out, lse, *rest, scale, *band, dropout, layout, mask=needs_input_grad[:3]
        )
    dmask = None
    if needs_input_grad[3]:
        dmask = score_gradient(dout, q, k, v, out, lse, rest, scale, band, dropout, layout)[0]
    return *found, dmask


@attention_forward.reference
def _(
    q: Any, k: Any, v: Any, attn_mask: Any, lengths: Any, query_offsets: Any, key_offsets: Any, state: Any,
    scale: float, left: int, right: int, lower: bool, dropout: float, layout: str,
) -> Any:  # fmt: skip
    rest = Rest(attn_mask, lengths, query_offsets, key_offsets, state)
    return numpy_forward(q, k, v, rest, scale, Band(left, right, lower), dropout, layout)[0]


@attention_forward.magnitude
def _(
    q: Any, k: Any, v: Any, attn_mask: Any, lengths: Any, query_offsets: Any, key_offsets: Any, state: Any,
    scale: float, left: int, right: int, lower: bool, dropout: float, layout: str,
) -> Any:  # fmt: skip
    rest = Rest(attn_mask, lengths, query_offsets, key_offsets, state)
    return numpy_forward(q, k, v, rest, scale, Band(left, right, lower), dropout, layout, size=True)[0]


@_attention(
    outputs="dq dk dv", ulp=8, samples=cases.backward_samples, error_inputs=cases.backward_errors,
    workloads=cases.backward_workloads, batching="composite", baselines=cases.BACKWARD,
    params=lambda scale, left, right, lower, dropout, layout: _params(
        scale, left, right, lower, dropout, int(layout == "BTHD")
    ),
)  # fmt: skip
def attention_backward(
    dout: Spec, q: Spec, k: Spec, v: Spec, out: Spec, lse: Spec, attn_mask: Spec | None, lengths: Spec | None,
    query_offsets: Spec | None, key_offsets: Spec | None, state: Spec | None, scale: float, left: int = -1,
    right: int = -1, lower: bool = False, dropout: float = 0.0, layout: Layout = "BHTD",
    mask: OutputMask = (True, True, True),
) -> list[Spec]:  # fmt: skip
    """Gradients of `attention_forward` for q, k and v, from its output and `lse` (B, H, Tq), the logarithms of sums.

    With p = exp(s - lse) and f what dropout multiplies p by: dv = (p f)^T dout, dq = scale ds k, dk = scale ds^T q,
    ds = p (f dout v^T - delta), delta = the sum of dout out. Each is summed in a fixed order; the other operands and
    attributes as there.
    """
    rest = Rest(attn_mask, lengths, query_offsets, key_offsets, state)
    sizes = _checked("attention_backward", q, k, v, rest, scale, Band(left, right, lower), dropout, layout)
    _check_kept("attention_backward", dout, out, lse, sizes, layout)
    return [Spec(x.shape, x.dtype) for x in (q, k, v)]


def _check_kept(name: str, dout: Spec, out: Spec, lse: Spec, sizes: Sizes, layout: str) -> None:
    shape = _like_queries(sizes, layout)
    for what, spec, wanted in (("dout", dout, shape), ("out", out, shape), ("lse", lse, sizes.scores[:3])):
        if spec.shape != wanted:
            raise ShapeError(f"{name}: {what} has shape {spec.shape}, not {wanted}")


@attention_backward.cost
def _(dout: Spec, q: Spec, k: Spec, v: Spec, attn_mask: Spec | None, layout: str) -> tuple[float, float]:
    products = sizes_of("attention_backward", q, k, v, layout).products
    return 5 * products, bytes_of(dout, dout, q, k, v, q, k, v, attn_mask)


@attention_backward.composite
def _(
    dout: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, attn_mask: Any, lengths: Any, query_offsets: Any,
    key_offsets: Any, state: Any, scale: float, left: int, right: int, lower: bool, dropout: float, layout: str,
    mask: Sequence[bool],
) -> Any:  # fmt: skip
    rest = Rest(attn_mask, lengths, query_offsets, key_offsets, state)
    band = Band(left, right, lower)
    return tuple(composed_gradients(dout, q, k, v, out, lse, rest, scale, band, dropout, layout, mask))


@attention_backward.reference
def _(
    dout: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, attn_mask: Any, lengths: Any, query_offsets: Any,
    key_offsets: Any, state: Any, scale: float, left: int, right: int, lower: bool, dropout: float, layout: str,
) -> Any:  # fmt: skip
    rest = Rest(attn_mask, lengths, query_offsets, key_offsets, state)
    return numpy_gradients(dout, q, k, v, out, lse, rest, scale, Band(left, right, lower), dropout, layout)


@attention_backward.magnitude
def _(
    dout: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, attn_mask: Any, lengths: Any, query_offsets: Any,
    key_offsets: Any, state: Any, scale: float, left: int, right: int, lower: bool, dropout: float, layout: str,
) -> Any:  # fmt: skip
    rest = Rest(attn_mask, lengths, query_offsets, key_offsets, state)
    return numpy_gradients(dout, q, k, v, out, lse, rest, scale, Band(left, right, lower), dropout, layout, size=True)


# ---- one projection of queries, keys and values ---------------------------------------------------------------------


def _parts_of(name: str, qkv: Spec, heads: int) -> tuple[Spec, Spec, Spec]:
    """Queries, keys and values in it; raises where it has not that many heads."""
    if len(qkv.shape) != 4:
        raise ShapeError(f"{name}: takes qkv (batch, time, heads + 2 key heads, width), not {qkv.shape}")
    if not 1 <= heads < qkv.shape[2] or (qkv.shape[2] - heads) % 2:
        raise ShapeError(f"{name}: {qkv.shape[2]} heads are not {heads} of queries and as many of keys as of values: "
                         f"qkv {qkv.shape}")  # fmt: skip
    b, t, n, d = qkv.shape
    kept = Spec((b, t, (n - heads) // 2, d), qkv.dtype)
    return Spec((b, t, heads, d), qkv.dtype), kept, kept


def _split(qkv: Any, heads: int) -> tuple[Any, Any, Any]:
    """Views of the three."""
    groups = (qkv.shape[2] - heads) // 2
    b, t, _, _ = qkv.shape
    places = ((0, heads), (heads, groups), (heads + groups, groups))
    q, k, v = (slice_view(qkv, ((0, b, 1), (0, t, 1), (first, n, 1))) for first, n in places)
    return q, k, v


def _numpy_split(qkv: Any, heads: int) -> tuple[Any, Any, Any]:
    groups = (qkv.shape[2] - heads) // 2
    return qkv[:, :, :heads], qkv[:, :, heads : heads + groups], qkv[:, :, heads + groups :]


def _packed_params(
    heads: int, scale: float, left: int, right: int, lower: bool, dropout: float
) -> tuple[float | int, ...]:  # fmt: skip
    return heads, *_params(scale, left, right, lower, dropout)


@_attention(
    extras="lse", ulp=8, samples=cases.packed_samples, error_inputs=cases.packed_errors,
    workloads=cases.packed_workloads, batch=cases.batched, params=_packed_params, baselines=cases.PACKED,
)  # fmt: skip
def attention_packed_forward(
    qkv: Spec, attn_mask: Spec | None, lengths: Spec | None, offsets: Spec | None, state: Spec | None, heads: int,
    scale: float, left: int = -1, right: int = -1, lower: bool = False, dropout: float = 0.0,
) -> list[Spec]:  # fmt: skip
    """`attention_forward` of a sequence with itself, as one projection gives it: the output is (B, T, H, D).

    `qkv`: (B, T, H + 2 Hk, D), H = `heads` heads of queries, then Hk of keys, then Hk of values. The other operands and
    attributes as there.
    """
    name, rest = "attention_packed_forward", Rest(attn_mask, lengths, offsets, offsets, state)
    sizes = _checked(name, *_parts_of(name, qkv, heads), rest, scale, Band(left, right, lower), dropout, "BTHD")
    return [Spec(_like_queries(sizes, "BTHD"), qkv.dtype), Spec(sizes.scores[:3], wide(qkv.dtype))]


@attention_packed_forward.cost
def _(qkv: Spec, attn_mask: Spec | None, heads: int) -> tuple[float, float]:
    parts = _parts_of("attention_packed_forward", qkv, heads)
    sizes = sizes_of("attention_packed_forward", *parts, "BTHD")
    softmax = 25.0 * sizes.products / max(2 * sizes.width, 1)
    return 2 * sizes.products + softmax, bytes_of(qkv, parts[0], attn_mask)


@attention_packed_forward.composite
def _(
    qkv: Any, attn_mask: Any, lengths: Any, offsets: Any, state: Any, heads: int, scale: float, left: int, right: int,
    lower: bool, dropout: float,
) -> Any:  # fmt: skip
    rest = Rest(attn_mask, lengths, offsets, offsets, state)
    return composed(*_split(qkv, heads), rest, scale, Band(left, right, lower), dropout, "BTHD")[0]


@attention_packed_forward.gradient("qkv", "attn_mask")
def _(
    dout: Any, qkv: Any, out: Any, lse: Any, attn_mask: Any, lengths: Any, offsets: Any, state: Any, heads: int,
    scale: float, left: int, right: int, lower: bool, dropout: float, needs_input_grad: tuple[bool, bool],
    create_graph: bool,
) -> Any:  # fmt: skip
    rest, band = Rest(attn_mask, lengths, offsets, offsets, state), Band(left, right, lower)
    if create_graph:
        out, lse = composed(*_split(qkv, heads), rest, scale, band, dropout, "BTHD")
    found = dmask = None
    if needs_input_grad[0]:
        found = attention_packed_backward(
            dout, qkv, out, lse, attn_mask, lengths, offsets, state, heads, scale, *band, dropout
        )
    if needs_input_grad[1]:
        dmask = score_gradient(dout, *_split(qkv, heads), out, lse, rest, scale, band, dropout, "BTHD")[0]
    return found, dmask


@attention_packed_forward.reference
def _(
    qkv: Any, attn_mask: Any, lengths: Any, offsets: Any, state: Any, heads: int, scale: float, left: int, right: int,
    lower: bool, dropout: float,
) -> Any:  # fmt: skip
    rest = Rest(attn_mask, lengths, offsets, offsets, state)
    return numpy_forward(*_numpy_split(qkv, heads), rest, scale, Band(left, right, lower), dropout, "BTHD")[0]


@attention_packed_forward.magnitude
def _(
    qkv: Any, attn_mask: Any, lengths: Any, offsets: Any, state: Any, heads: int, scale: float, left: int, right: int,
    lower: bool, dropout: float,
) -> Any:  # fmt: skip
    rest, band = Rest(attn_mask, lengths, offsets, offsets, state), Band(left, right, lower)
    return numpy_forward(*_numpy_split(qkv, heads), rest, scale, band, dropout, "BTHD", size=True)[0]


@_attention(
    outputs="dqkv", ulp=8, samples=cases.packed_backward_samples, error_inputs=cases.packed_backward_errors,
    workloads=cases.packed_backward_workloads, batching="composite", params=_packed_params,
)  # fmt: skip
def attention_packed_backward(
    dout: Spec, qkv: Spec, out: Spec, lse: Spec, attn_mask: Spec | None, lengths: Spec | None, offsets: Spec | None,
    state: Spec | None, heads: int, scale: float, left: int = -1, right: int = -1, lower: bool = False,
    dropout: float = 0.0,
) -> Spec:  # fmt: skip
    """The gradient of `attention_packed_forward` for qkv, from its output and the logarithms of its sums: as
    `attention_backward`, written as one."""
    name, rest = "attention_packed_backward", Rest(attn_mask, lengths, offsets, offsets, state)
    sizes = _checked(name, *_parts_of(name, qkv, heads), rest, scale, Band(left, right, lower), dropout, "BTHD")
    _check_kept(name, dout, out, lse, sizes, "BTHD")
    return Spec(qkv.shape, qkv.dtype)


@attention_packed_backward.cost
def _(dout: Spec, qkv: Spec, attn_mask: Spec | None, heads: int) -> tuple[float, float]:
    parts = _parts_of("attention_packed_backward", qkv, heads)
    products = sizes_of("attention_packed_backward", *parts, "BTHD").products
    return 5 * products, bytes_of(dout, dout, qkv, qkv, attn_mask)


@attention_packed_backward.composite
def _(
    dout: Any, qkv: Any, out: Any, lse: Any, attn_mask: Any, lengths: Any, offsets: Any, state: Any, heads: int,
    scale: float, left: int, right: int, lower: bool, dropout: float,
) -> Any:  # fmt: skip
    rest, band = Rest(attn_mask, lengths, offsets, offsets, state), Band(left, right, lower)
    parts = _split(qkv, heads)
    return concat(composed_gradients(dout, *parts, out, lse, rest, scale, band, dropout, "BTHD", (True,) * 3), 2)


def _numpy_packed(
    dout: Any, qkv: Any, out: Any, lse: Any, rest: Rest, heads: int, scale: float, band: Band, dropout: float,
    size: bool = False,
) -> Any:  # fmt: skip
    parts = _numpy_split(qkv, heads)
    return numpy_gradients(dout, *parts, out, lse, rest, scale, band, dropout, "BTHD", size)


@attention_packed_backward.reference
def _(
    dout: Any, qkv: Any, out: Any, lse: Any, attn_mask: Any, lengths: Any, offsets: Any, state: Any, heads: int,
    scale: float, left: int, right: int, lower: bool, dropout: float,
) -> Any:  # fmt: skip
    rest, band = Rest(attn_mask, lengths, offsets, offsets, state), Band(left, right, lower)
    return np.concatenate(_numpy_packed(dout, qkv, out, lse, rest, heads, scale, band, dropout), 2)


@attention_packed_backward.magnitude
def _(
    dout: Any, qkv: Any, out: Any, lse: Any, attn_mask: Any, lengths: Any, offsets: Any, state: Any, heads: int,
    scale: float, left: int, right: int, lower: bool, dropout: float,
) -> Any:  # fmt: skip
    rest, band = Rest(attn_mask, lengths, offsets, offsets, state), Band(left, right, lower)
    return np.concatenate(_numpy_packed(dout, qkv, out, lse, rest, heads, scale, band, dropout, True), 2)
