"""Cases of the operations of attention: samples, wrong inputs, what is timed beside which peers, and examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from dlcore.dtypes import float32
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Sample, Workload
from dlcore.ops._attention import Band, Rest, numpy_forward
from dlcore.ops._draw import a_state
from dlcore.ops.movement import expand, reshape

__all__ = [
    "BACKWARD", "FORWARD", "PACKED", "backward_errors", "backward_samples", "backward_workloads", "batched",
    "error_inputs", "forward_samples", "packed_backward_errors", "packed_backward_samples", "packed_backward_workloads",
    "packed_errors", "packed_samples", "packed_workloads", "workloads",
]  # fmt: skip

Shape = tuple[int, ...]

FORWARD = {
    "torch": "F.scaled_dot_product_attention(q, k, v, attn_mask, 0.0, right == 0, scale=scale)",
    "jax": "jnp.swapaxes(jax.nn.dot_product_attention(*(jnp.swapaxes(x, 1, 2) for x in (q, k, v)), scale=scale, "
    "is_causal=right == 0), 1, 2)",
}
BACKWARD = {
    "torch": "torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward("
    "dout, q, k, v, out, lse, 0.0, right == 0, attn_mask=attn_mask, scale=scale)"
}
PACKED = {
    "torch": "F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in qkv.chunk(3, 2)), None, 0.0, right == 0, "
    "scale=scale).transpose(1, 2).contiguous()"
}


def _float_mask(shape: Shape, rng: np.random.Generator) -> Any:
    """Numbers, some of them -inf."""
    return np.where(rng.random(shape) < 0.2, -np.inf, rng.standard_normal(shape))


def _without_rows(shape: Shape, rng: np.random.Generator) -> Any:
    """Bools; nothing in the first and last row."""
    mask = rng.random(shape) < 0.6
    mask[..., [0, -1], :] = False
    return mask


def _of(shape: Shape, draw: Callable[..., Any]) -> Input:
    return Input(shape, draw=partial(draw, shape))


def _lengths(*values: int, dtype: Any = np.int64) -> Any:
    return np.array(values, dtype)


# ---- samples --------------------------------------------------------------------------------------------------------


def _samples() -> Iterator[Sample]:
    """Shapes around tiles and vectors, masks, bands, groups of heads, lengths, offsets, dropout; both layouts."""
    small = (2, 3, 5, 7)
    yield Sample(small, small, small, scale=0.4, why="small, odd")
    yield Sample((1, 4, 33, 16), (1, 4, 33, 16), (1, 4, 33, 16), scale=0.25, right=0, why="causal, odd length")
    yield Sample((2, 4, 9, 8), (2, 2, 17, 8), (2, 2, 17, 20), scale=0.3, why="groups of heads, wider values")
    yield Sample((2, 6, 4, 8), (2, 11, 2, 8), (2, 11, 2, 8), scale=0.3, right=0, lower=True, layout="BTHD",
                 why="heads behind time, lower right")  # fmt: skip
    yield Sample((1, 2, 40, 12), (1, 2, 40, 12), (1, 2, 40, 12), scale=0.3, left=5, right=0, why="sliding window")
    yield Sample((1, 2, 12, 4), (1, 2, 9, 4), (1, 2, 9, 4), scale=0.5, left=2, right=3, why="a band, queries past keys")
    for why, shape in (("full", (2, 3, 6, 10)), ("of keys", (2, 1, 1, 10)), ("shared", (1, 1, 6, 10))):
        yield Sample((2, 3, 6, 5), (2, 3, 10, 5), (2, 3, 10, 5), Input(shape), scale=0.4, why=f"float mask, {why}")
    yield Sample((2, 2, 6, 5), (2, 2, 10, 5), (2, 2, 10, 5), _of((2, 1, 6, 10), _float_mask), scale=0.4, grad=False,
                 why="float mask with -inf")  # fmt: skip
    yield Sample((2, 2, 7, 5), (2, 2, 9, 5), (2, 2, 9, 5), _of((2, 1, 7, 9), _without_rows), scale=0.4,
                 why="bool mask that hides rows")  # fmt: skip
    yield Sample((3, 2, 4, 5), (3, 2, 9, 5), (3, 2, 9, 5), None, _lengths(9, 0, 4), scale=0.4, why="lengths")
    yield Sample((2, 2, 3, 5), (2, 1, 9, 5), (2, 1, 9, 5), None, _lengths(7, dtype=np.int32), scale=0.4, right=0,
                 lower=True, why="a cache that is not full")  # fmt: skip
    yield Sample((1, 4, 1, 32), (1, 4, 70, 32), (1, 4, 70, 32), None, _lengths(67), scale=0.2, right=0, lower=True,
                 why="one query")  # fmt: skip
    offsets = _lengths(0, 3, 3, 12, 19)
    yield Sample((1, 20, 2, 6), (1, 20, 2, 6), (1, 20, 2, 6), None, None, offsets, offsets, scale=0.4, right=0,
                 layout="BTHD", why="sequences behind each other")  # fmt: skip
    yield Sample((1, 2, 9, 6), (1, 1, 14, 6), (1, 1, 14, 6), None, None, _lengths(0, 4, 9, dtype=np.int32),
                 _lengths(0, 5, 14), scale=0.4, right=0, lower=True, why="other keys")  # fmt: skip
    yield Sample((2, 2, 7, 5), (2, 2, 9, 5), (2, 2, 9, 5), None, None, None, None, a_state(), scale=0.4, dropout=0.3,
                 why="dropout")  # fmt: skip
    yield Sample((1, 2, 40, 8), (1, 2, 70, 8), (1, 2, 70, 8), None, None, None, None, a_state(), scale=0.4, dropout=0.5,
                 right=0, lower=True, why="dropout, causal, several tiles", grad=False)  # fmt: skip
    yield Sample((1, 1, 4, 5), (1, 1, 4, 5), (1, 1, 4, 5), None, None, None, None, a_state(), scale=0.4, dropout=1.0,
                 why="nothing left")  # fmt: skip
    yield Sample((1, 2, 3, 4), (1, 2, 0, 4), (1, 2, 0, 4), scale=0.4, why="no keys")
    yield Sample((1, 2, 0, 4), (1, 2, 3, 4), (1, 2, 3, 4), scale=0.4, why="no queries")
    yield Sample((0, 2, 2, 4), (0, 2, 3, 4), (0, 2, 3, 4), scale=0.4, why="no examples")
    for width in (1, 64, 80, 129, 256):
        yield Sample((1, 1, 67, width), (1, 1, 71, width), (1, 1, 71, width), scale=width**-0.5, grad=False,
                     why=f"width {width}")  # fmt: skip
    yield Sample((2, 3, 64, 32), (2, 3, 64, 32), (2, 3, 64, 32), scale=0.2, right=0, grad=False, why="a small model")
    yield Sample((1, 2, 300, 40), (1, 1, 420, 40), (1, 1, 420, 40), scale=0.2, right=0, left=150, lower=True,
                 grad=False, why="several tiles")  # fmt: skip


def forward_samples() -> Iterator[Sample]:
    """Those, and scores so far apart that a gradient beside another lse would be infinite."""
    yield from _samples()
    yield Sample((1, 1, 3, 4), (1, 1, 5, 4), (1, 1, 5, 4), scale=-30.0, why="far apart", grad=False)


def _inputs(sample: Sample, rng: np.random.Generator) -> list[Any]:
    """All operands drawn; the optional ones too."""
    found = [Input(x).array(rng) if type(x) is tuple else x.array(rng) if isinstance(x, Input) else x
             for x in sample.inputs]  # fmt: skip
    return [*found, *[None] * (8 - len(found))]


def _settings(attrs: dict[str, Any]) -> tuple[float, Band, float, str]:
    band = Band(attrs.get("left", -1), attrs.get("right", -1), attrs.get("lower", False))
    return attrs["scale"], band, attrs.get("dropout", 0.0), attrs.get("layout", "BHTD")


def _backward(sample: Sample, rng: np.random.Generator) -> list[Any]:
    """The operands of the gradient of a sample: its output, and lse."""
    q, k, v, *rest = _inputs(sample, rng)
    out, lse = numpy_forward(q, k, v, Rest(*rest), *_settings(sample.attrs))
    return [rng.standard_normal(out.shape), q, k, v, out, lse, *rest]


def _as_backward(sample: Sample, drawn: Callable[..., Any], shapes: Sequence[Any]) -> Sample:
    """A sample of the gradient, its operands drawn together."""
    return Sample(*shapes, draw=partial(drawn, sample), why=sample.why, grad=sample.grad, **sample.attrs)


def backward_samples() -> Iterator[Sample]:
    """Those of `attention_forward`, and masks of outputs."""
    for sample in _samples():
        q, k, v, *rest = sample.inputs
        yield _as_backward(sample, _backward, [q, q, k, v, q, q[:3], *rest])
    small = Sample((2, 3, 5, 7), (2, 3, 5, 7), (2, 3, 5, 7), scale=0.4)
    for mask in ((True, False, False), (False, True, True), (False, False, True)):
        found = _as_backward(small, _backward, [(2, 3, 5, 7)] * 6)
        yield found.but(mask=mask, why="not all", grad=False)


def packed_samples() -> Iterator[Sample]:
    """What a projection gives, with as many heads of keys as of queries, and fewer."""
    yield Sample((2, 5, 9, 7), scale=0.4, heads=3, why="small, odd")
    yield Sample((2, 33, 6, 8), scale=0.3, heads=2, right=0, why="causal")
    yield Sample((1, 17, 8, 8), scale=0.3, heads=4, left=5, right=0, why="groups of heads, window")
    yield Sample((2, 6, 6, 4), _of((2, 1, 6, 6), _without_rows), scale=0.4, heads=2, why="bool mask")
    yield Sample((2, 6, 6, 4), Input((1, 2, 6, 6)), _lengths(6, 3), scale=0.4, heads=2, why="float mask, lengths")
    yield Sample((1, 12, 3, 4), None, None, _lengths(0, 5, 11), scale=0.4, heads=1, right=0, why="sequences")
    yield Sample((2, 7, 6, 5), None, None, None, a_state(), scale=0.4, heads=2, dropout=0.3, why="dropout")
    yield Sample((0, 7, 6, 5), scale=0.4, heads=2, why="no examples")
    yield Sample((2, 64, 12, 32), scale=0.2, heads=4, right=0, grad=False, why="a small model")


def _packed_backward(sample: Sample, rng: np.random.Generator) -> list[Any]:
    qkv, mask, lengths, offsets, state, *_ = _inputs(sample, rng)
    heads = sample.attrs["heads"]
    groups = (qkv.shape[2] - heads) // 2
    q, k, v = np.split(qkv, [heads, heads + groups], axis=2)
    scale, band, dropout, _ = _settings(sample.attrs)
    out, lse = numpy_forward(q, k, v, Rest(mask, lengths, offsets, offsets, state), scale, band, dropout, "BTHD")
    return [rng.standard_normal(out.shape), qkv, out, lse, mask, lengths, offsets, state]


def packed_backward_samples() -> Iterator[Sample]:
    """Those of `attention_packed_forward`."""
    for sample in packed_samples():
        (b, t, n, d), *rest = sample.inputs
        heads = sample.attrs["heads"]
        out = (b, t, heads, d)
        yield _as_backward(sample, _packed_backward, [out, (b, t, n, d), out, (b, heads, t), *rest])


# ---- wrong inputs ---------------------------------------------------------------------------------------------------


def _wrong(name: str) -> Iterator[tuple[type[Exception], str, Sequence[Any], dict[str, Any]]]:
    """(error, text, q, k, v and optional operands, attributes)."""
    x = np.zeros((2, 4, 3, 8))

    def shapes(q: Any, k: Any, v: Any) -> str:
        return f"q {q.shape}, k {k.shape}, v {v.shape}"

    few, wide, other = np.zeros((2, 3, 3, 8)), np.zeros((2, 4, 3, 6)), np.zeros((2, 4, 5, 8))
    text = f"4 heads of q are no multiple of 3 heads of k: {shapes(x, few, few)}"
    yield ShapeError, text, (x, few, few), {}
    yield ShapeError, f"queries of size 8, but keys of size 6: {shapes(x, wide, x)}", (x, wide, x), {}
    yield ShapeError, f"there are 5 keys, but 3 values: {shapes(x, other, x)}", (x, other, x), {}
    yield ShapeError, f"k has 4 heads, v 3: {shapes(x, x, few)}", (x, x, few), {}
    yield ShapeError, f"batches differ: {shapes(x, x[:1], x[:1])}", (x, x[:1], x[:1]), {}
    yield ShapeError, f"takes q, k and v with 4 axes each: {shapes(x[0], x, x)}", (x[0], x, x), {}
    yield (ShapeError, "attn_mask has shape (2, 1, 3, 4), which does not broadcast to (batch, heads, queries, keys) = "
           "(2, 4, 3, 3)", (x, x, x, np.zeros((2, 1, 3, 4))), {})  # fmt: skip
    yield (DTypeError, "attn_mask is of dtype int64, neither bool nor a float",
           (x, x, x, np.zeros((1, 1, 3, 3), np.int64)), {})  # fmt: skip
    yield (ShapeError, "lengths has shape (3,), not (2,): one for each example", (x, x, x, None, _lengths(1, 2, 3)), {})
    yield (DTypeError, "lengths is of dtype float64, neither int32 nor int64", (x, x, x, None, np.zeros(2)), {})
    offsets = _lengths(0, 3)
    yield ValueError, "query_offsets and key_offsets go together", (x, x, x, None, None, offsets), {}
    yield (ShapeError, "with offsets the sequences lie behind each other in a batch of 1, not of 2",
           (x, x, x, None, None, offsets, offsets), {})  # fmt: skip
    yield ValueError, "scale is inf, which is not finite", (x, x, x), {"scale": math.inf}
    yield ValueError, "left is -2, neither a number of keys nor -1 for all", (x, x, x), {"left": -2}
    yield ValueError, "dropout is 1.5, not a probability", (x, x, x), {"dropout": 1.5}
    yield ValueError, "dropout takes a state to draw from", (x, x, x), {"dropout": 0.5}


def error_inputs() -> Iterator[ErrorInput]:
    """Shapes, masks, lengths, offsets and attributes that do not fit."""
    for error, text, inputs, attrs in _wrong("attention_forward"):
        yield ErrorInput(error, f"attention_forward: {text}", *inputs, **{"scale": 1.0, **attrs})
    x = np.zeros((1, 2, 3, 4))
    text = "attention_forward: k (1, 2, 3, 4) is of int64; it must be of a floating dtype: k.float()"
    yield ErrorInput(DTypeError, text, x, x.astype(np.int64), x, scale=1.0)


def backward_errors() -> Iterator[ErrorInput]:
    """The same, and what was kept of another shape."""
    name, x, lse = "attention_backward", np.zeros((2, 4, 3, 8)), np.zeros((2, 4, 3))
    for what, operands in (("dout", (x[:1], x, x, x, x, lse)), ("out", (x, x, x, x, x[:1], lse))):
        yield ErrorInput(ShapeError, f"{name}: {what} has shape (1, 4, 3, 8), not (2, 4, 3, 8)", *operands, scale=1.0)
    yield ErrorInput(ShapeError, f"{name}: lse has shape (2, 4), not (2, 4, 3)", x, x, x, x, x, lse[..., 0], scale=1.0)


def packed_errors() -> Iterator[ErrorInput]:
    """Heads that are not there."""
    name, x = "attention_packed_forward", np.zeros((2, 3, 6, 8))
    text = f"{name}: 6 heads are not 3 of queries and as many of keys as of values: qkv (2, 3, 6, 8)"
    yield ErrorInput(ShapeError, text, x, heads=3, scale=1.0)
    text = f"{name}: takes qkv (batch, time, heads + 2 key heads, width), not (2, 3, 6)"
    yield ErrorInput(ShapeError, text, x[..., 0], heads=2, scale=1.0)


def packed_backward_errors() -> Iterator[ErrorInput]:
    """The same, and what was kept of another shape."""
    name, x, out = "attention_packed_backward", np.zeros((2, 3, 6, 8)), np.zeros((2, 3, 2, 8))
    text = f"{name}: dout has shape (2, 3, 6, 8), not (2, 3, 2, 8)"
    yield ErrorInput(ShapeError, text, x, x, out, np.zeros((2, 2, 3)), heads=2, scale=1.0)


# ---- what is timed --------------------------------------------------------------------------------------------------

_TIMED = (((16, 4, 64, 32), "model d"), ((4, 8, 512, 64), "512 tokens"), ((1, 16, 2048, 64), "2048 tokens"))


def workloads() -> Iterator[Workload]:
    """Sequences of a small model, longer ones, each causal and not, and one query beside a cache."""
    for shape, why in _TIMED:
        scale = shape[-1] ** -0.5
        operands = (*[shape] * 3, *[None] * 5)
        yield Workload(operands, (scale, -1, 0), f"{why}, causal", quick="both" if shape[2] == 64 else "")
        yield Workload(operands, (scale,), why)
    cache = (1, 4, 512, 32)
    yield Workload(((1, 4, 1, 32), cache, cache, *[None] * 5), (32**-0.5,), "one query, 512 keys", (float32,))


def backward_workloads() -> Iterator[Workload]:
    """Their gradients; lse so large that probabilities are small numbers."""
    for shape, why in _TIMED:
        for right in (0, -1):
            lse = Input(shape[:3], 6.0, 8.0, float32)
            operands = (*[shape] * 5, lse, *[None] * 5)
            yield Workload(operands, (shape[-1] ** -0.5, -1, right), f"{why}, causal" if right == 0 else why)


def packed_workloads() -> Iterator[Workload]:
    """A fused projection of model d, and of longer sequences."""
    for (b, h, t, d), why in _TIMED[:2]:
        yield Workload(((b, t, 3 * h, d), *[None] * 4), (h, d**-0.5, -1, 0), f"{why}, causal")


def packed_backward_workloads() -> Iterator[Workload]:
    """Their gradients."""
    for (b, h, t, d), why in _TIMED[:2]:
        out, lse = (b, t, h, d), Input((b, h, t), 6.0, 8.0, float32)
        yield Workload((out, (b, t, 3 * h, d), out, lse, *[None] * 4), (h, d**-0.5, -1, 0), f"{why}, causal")


# ---- examples of a vmap ---------------------------------------------------------------------------------------------


def batched(call: Any) -> Any:
    """Examples as a longer batch (see dlcore/ops/_batching.py); one by one where each draws its own mask or its
    sequences lie behind each other."""
    given = dict(zip(call.op.input_names, range(len(call.values)), strict=True))
    alone = [k for name, k in given.items() if "offsets" in name or name == "state"]
    if any(call.values[k] is not None for k in alone):
        return NotImplemented
    batch = call.specs[0].shape[0]
    values = list(call.values)
    for name, k in given.items():
        x = call.full(k)
        if x is None or (name == "attn_mask" and not call.is_batched[k] and x.shape[1] == 1):
            continue
        if name in ("attn_mask", "lengths"):
            x = expand(x, (call.size, batch, *x.shape[2:]))
        values[k] = reshape(x, (call.size * batch, *x.shape[2:]))
    out = call.run(values)
    return reshape(out, (call.size, batch, *out.shape[1:]))
