"""Probabilities along one axis: softmax, log_softmax and their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from dlcore.errors import ShapeError
from dlcore.op import Op, Operand, Sample, Size, Spec, Wrong, floating
from dlcore.ops._shape import normalize_axis
from dlcore.ops._sizes import RAGGED, on_gpu
from dlcore.ops.elementwise import exp, mul, neg, sub
from dlcore.ops.reduce import sum

__all__ = ["log_softmax", "softmax"]


def _infer(name: str) -> Callable[[Spec, int], Spec]:
    def infer(x: Spec, axis: int) -> Spec:
        normalize_axis(name, axis, x.shape)
        return Spec(x.shape, x.dtype)

    return infer


def _infer_backward(name: str) -> Callable[[Spec, Spec, int], Spec]:
    def infer(dout: Spec, out: Spec, axis: int) -> Spec:
        if dout.shape != out.shape:
            raise ShapeError(f"{name}: dout and out differ in shape: {dout.shape} and {out.shape}")
        normalize_axis(name, axis, out.shape)
        return Spec(out.shape, out.dtype)

    return infer


def _params(*specs_and_axis: Any) -> tuple[int]:
    *specs, axis = specs_and_axis
    return (axis % len(specs[0].shape),)


def _cost(flops: int) -> Callable[..., tuple[float, float]]:
    """So many operations an element; each input read once, the output written once."""

    def cost(*specs_and_axis: Any) -> tuple[float, float]:
        *specs, _ = specs_and_axis
        n = math.prod(specs[0].shape)
        return float(flops * n), float((len(specs) + 1) * n * specs[0].dtype.itemsize)

    return cost


# ---- references and samples -----------------------------------------------------------------------------------------


def _numpy_log_softmax(x: Any, axis: int) -> Any:
    shifted = x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def _numpy_softmax(x: Any, axis: int) -> Any:
    e = np.exp(x - np.max(x, axis=axis, keepdims=True, initial=-np.inf))
    return e / np.sum(e, axis=axis, keepdims=True)


def _below_max(x: Any, axis: int) -> Any:
    """How far each element lies below the maximum: its rounding is what the exponential multiplies."""
    return np.max(x, axis=axis, keepdims=True, initial=-np.inf) - x


def _samples(rng: np.random.Generator) -> Iterator[Sample]:
    x = 3 * rng.standard_normal((33, 65))
    yield Sample((x,), (-1,), "rows, unaligned")
    yield Sample((x,), (0,), "columns, unaligned")
    yield Sample((rng.standard_normal((70, 10)),), (1,), "short rows, more than one tile")
    yield Sample((rng.standard_normal((2, 40, 5)),), (1,), "an axis in the middle, lines gathered")
    yield Sample((rng.standard_normal((2, 9, 300)),), (1,), "an axis in the middle, two tiles of columns")
    yield Sample((rng.standard_normal((7, 1)),), (1,), "one class")
    yield Sample((rng.standard_normal((0, 5)),), (1,), "no rows")
    yield Sample((rng.standard_normal((5, 0)),), (1,), "no classes")
    yield Sample((rng.standard_normal((2, 9001)),), (1,), "rows of several blocks", grad=False)
    yield Sample((np.array([[1000.0, 999.0, -1000.0]]),), (1,), "exp alone would overflow", grad=False)
    special = np.array(
        [[np.inf, 1.0, 2.0], [-np.inf, 1.0, 2.0], [-np.inf] * 3, [np.nan, 1.0, 2.0], [0.0, 1.0, 2.0]], np.float32
    )
    yield Sample((special,), (1,), "NaN and infinities", grad=False)
    yield Sample((np.repeat(special, 8, axis=1),), (0,), "NaN and infinities in columns", grad=False)
    yield Sample((rng.standard_normal((4096, 1000)),), (1,), "4096 x 1000", grad=False)


def _backward_samples(forward: Callable[[Any, int], Any]) -> Callable[[np.random.Generator], Iterator[Sample]]:
    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        for s in _samples(rng):
            (x,) = s.inputs
            if x.size and np.isfinite(x).all():
                yield s._replace(inputs=(rng.standard_normal(x.shape), forward(x, *s.attrs)))
        yield Sample((np.zeros((0, 5)), np.zeros((0, 5))), (1,), "empty")

    return samples


def _errors(name: str) -> list[Wrong]:
    text = f"{name}: axis 2 is out of range for shape (2, 3)"
    return [
        Wrong((np.zeros((2, 3)),), (2,), IndexError, text),
        Wrong((np.zeros(()),), (-1,), IndexError, f"{name}: axis -1 is out of range for shape ()"),
    ]


def _backward_errors(name: str) -> list[Wrong]:
    text = f"{name}: dout and out differ in shape: (2, 3) and (3, 2)"
    return [Wrong((np.zeros((2, 3)), np.zeros((3, 2))), (0,), ShapeError, text)]


# ---- what is timed --------------------------------------------------------------------------------------------------

_MATRIX = (4096, 1000)


def _sizes(large: Sequence[tuple[int, int]]) -> tuple[Size, ...]:
    return (
        Size(((64, 10),), why="classes of model a"),
        Size((_MATRIX,), why="1000 classes", quick="forward"),
        Size((RAGGED,), (0,), "ragged, columns"),
        *(on_gpu([shape]) for shape in large),
    )


def _backward_sizes(low: float, high: float, *large: tuple[int, int]) -> tuple[Size, ...]:
    """``low``, ``high``: what the outputs of the forward are like."""
    return (
        Size((_MATRIX, Operand(_MATRIX, low, high)), why="1000 classes"),
        Size((RAGGED, Operand(RAGGED, low, high)), (0,), "ragged, columns"),
        *(on_gpu([shape, Operand(shape, low, high)]) for shape in large),
    )


# ---- softmax --------------------------------------------------------------------------------------------------------


def _softmax_vjp(ctx: Any, dout: Any) -> Any:
    return softmax_backward(dout, ctx.saved[0], ctx.attrs[0])


SOFTMAX = Op(
    name="softmax",
    doc="""Probabilities along `axis`: exp(x - max(x)) / sum(exp(x - max(x))).

    Sums are accumulated in float32 within blocks and in float64 beyond. A line that holds +inf or NaN, or nothing but
    -inf, gives NaN. Integers become float32. Raises IndexError for an axis out of range.""",
    inputs="x",
    attrs={"axis": -1},
    infer=_infer("softmax"),
    promote=floating,
    kernels={"cpu": "softmax:softmax", "cuda": "softmax.softmax:softmax"},
    params=_params,
    saves=("out",),
    vjp=_softmax_vjp,
    ref=_numpy_softmax,
    samples=_samples,
    sizes=_sizes([(8192, 4096), (1024, 131072)]),
    peers={"torch": "torch.softmax(x, axis)", "jax": "jax.nn.softmax(x, axis)"},
    errors=lambda: _errors("softmax"),
    ulp=4,
    magnitude=lambda x, axis: _numpy_softmax(x, axis) * (1 + _below_max(x, axis)),
    cost=_cost(20),
    cast="float32",
)
softmax = SOFTMAX.call


def _softmax_backward_vjp(ctx: Any, g: Any) -> Any:
    # dx = out * (dout - dot), dot = sum(dout * out)
    (dout, out), (axis,) = ctx.saved, ctx.attrs
    d_dout = softmax_backward(g, out, axis) if ctx.needs[0] else None
    if not ctx.needs[1]:
        return d_dout, None
    dot = sum(mul(dout, out), axis, True)
    return d_dout, sub(mul(g, sub(dout, dot)), mul(dout, sum(mul(g, out), axis, True)))


def _numpy_softmax_backward(dout: Any, out: Any, axis: int) -> Any:
    return out * (dout - np.sum(dout * out, axis=axis, keepdims=True))


SOFTMAX_BACKWARD = Op(
    name="softmax_backward",
    doc="""Gradient of softmax: out * (dout - sum(dout * out)) along `axis`, from its output.""",
    inputs="dout out",
    attrs={"axis": -1},
    infer=_infer_backward("softmax_backward"),
    promote=floating,
    kernels={"cpu": "softmax:softmax_backward", "cuda": "softmax.backward:softmax_backward"},
    params=_params,
    saves=("dout", "out"),
    vjp=_softmax_backward_vjp,
    ref=_numpy_softmax_backward,
    samples=_backward_samples(_numpy_softmax),
    sizes=_backward_sizes(0.0, 0.002, (8192, 4096)),
    peers={
        "torch": "torch.ops.aten._softmax_backward_data(dout, out, axis, out.dtype)",
        "jax": "out * (dout - jnp.sum(dout * out, axis, keepdims=True))",
    },
    errors=lambda: _backward_errors("softmax_backward"),
    ulp=4,
    magnitude=lambda dout, out, axis: out * (np.abs(dout) + np.sum(np.abs(dout * out), axis=axis, keepdims=True)),
    cost=_cost(4),
    cast="float32",
)
softmax_backward = SOFTMAX_BACKWARD.call


# ---- log_softmax ----------------------------------------------------------------------------------------------------


def _log_softmax_vjp(ctx: Any, dout: Any) -> Any:
    return log_softmax_backward(dout, ctx.saved[0], ctx.attrs[0])


LOG_SOFTMAX = Op(
    name="log_softmax",
    doc="""Logarithm of the softmax along `axis`: (x - max(x)) - log(sum(exp(x - max(x)))).

    Exact where softmax underflows. Accumulation, special values and errors as in `softmax`.""",
    inputs="x",
    attrs={"axis": -1},
    infer=_infer("log_softmax"),
    promote=floating,
    kernels={"cpu": "softmax:log_softmax", "cuda": "softmax.softmax:log_softmax"},
    params=_params,
    saves=("out",),
    vjp=_log_softmax_vjp,
    ref=_numpy_log_softmax,
    samples=_samples,
    sizes=_sizes([(8192, 32768)]),
    peers={"torch": "torch.log_softmax(x, axis)", "jax": "jax.nn.log_softmax(x, axis)"},
    errors=lambda: _errors("log_softmax"),
    ulp=3,
    magnitude=lambda x, axis: 1 + np.abs(_numpy_log_softmax(x, axis)) + _below_max(x, axis),
    cost=_cost(20),
    cast="float32",
)
log_softmax = LOG_SOFTMAX.call


def _log_softmax_backward_vjp(ctx: Any, g: Any) -> Any:
    # dx = dout - exp(out) * sum(dout)
    (dout, out), (axis,) = ctx.saved, ctx.attrs
    weighted = mul(g, exp(out))
    d_dout = sub(g, sum(weighted, axis, True)) if ctx.needs[0] else None
    return d_dout, neg(mul(weighted, sum(dout, axis, True))) if ctx.needs[1] else None


def _numpy_log_softmax_backward(dout: Any, out: Any, axis: int) -> Any:
    return dout - np.exp(out) * np.sum(dout, axis=axis, keepdims=True)


def _log_softmax_backward_magnitude(dout: Any, out: Any, axis: int) -> Any:
    return np.abs(dout) + np.exp(out) * (1 - out) * np.sum(np.abs(dout), axis=axis, keepdims=True)


LOG_SOFTMAX_BACKWARD = Op(
    name="log_softmax_backward",
    doc="""Gradient of log_softmax: dout - exp(out) * sum(dout) along `axis`, from its output (at most 0).""",
    inputs="dout out",
    attrs={"axis": -1},
    infer=_infer_backward("log_softmax_backward"),
    promote=floating,
    kernels={"cpu": "softmax:log_softmax_backward", "cuda": "softmax.backward:log_softmax_backward"},
    params=_params,
    saves=("dout", "out"),
    vjp=_log_softmax_backward_vjp,
    ref=_numpy_log_softmax_backward,
    samples=_backward_samples(_numpy_log_softmax),
    sizes=_backward_sizes(-12.0, -5.0),
    peers={
        "torch": "torch.ops.aten._log_softmax_backward_data(dout, out, axis, out.dtype)",
        "jax": "dout - jnp.exp(out) * jnp.sum(dout, axis, keepdims=True)",
    },
    errors=lambda: _backward_errors("log_softmax_backward"),
    ulp=4,
    magnitude=_log_softmax_backward_magnitude,
    cost=_cost(20),
    cast="float32",
)
log_softmax_backward = LOG_SOFTMAX_BACKWARD.call
