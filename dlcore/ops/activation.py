"""Activations relu, sigmoid, tanh and gelu, and their gradients, each one kernel.

They share their scalar functions with matmul's epilogue (csrc/core/activations.inl): fusing one changes no bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlcore.op import Sample, Size, Spec, Wrong, floating
from dlcore.ops._pointwise import FLOAT, binary, broadcast_infer, unary
from dlcore.ops._sizes import MILLION, MODELS, library, on_gpu, pointwise
from dlcore.ops.elementwise import add, exp, mul, square, sub

# ---- relu, sigmoid, tanh: their gradients need only the output ----------------------------------------------------


def _away_from_zero(rng: Any, shape: tuple[int, ...]) -> Any:
    return np.copysign(rng.uniform(0.1, 2.0, shape), rng.standard_normal(shape))


def _sigmoid_ref(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1.0 + e)


relu: Any = unary(
    "relu", "Rectifier max(x, 0). The gradient at 0 is 0.",
    ref=lambda x: np.where(x <= 0, 0.0, x), family="activation", promote=floating, draw=_away_from_zero, large=MILLION,
    ulp=0, saves=("out",), vjp=lambda ctx, dout: relu_backward(dout, ctx.saved[0]),
    sizes=(
        *(Size(((m.batch, m.widths[1]),), why=f"a layer of model {name}") for name, m in MODELS.items()),
        *pointwise(large=True),
    ),
    peers={
        "numpy": "np.maximum(x, 0)", "numpy out": "np.maximum(x, 0, out=out)",
        "torch": "torch.relu(x)", "torch out": "torch.clamp_min(x, 0, out=out)", "jax": "jax.nn.relu(x)",
    },
).call  # fmt: skip
relu_backward: Any = binary(
    "relu_backward", "Gradient of relu: dout where out > 0, else 0.",
    ref=lambda dout, out: np.where(out <= 0, 0.0, dout), family="activation", inputs="dout out", outputs="dx",
    kinds=FLOAT, draw=_away_from_zero, ulp=0,
    saves=("out",), vjp=lambda ctx, ddx: (relu_backward(ddx, ctx.saved[0]), None),
    peers={"torch": "torch.ops.aten.threshold_backward(dout, out, 0)", "jax": "jnp.where(out > 0, dout, 0)"},
).call  # fmt: skip

sigmoid: Any = unary(
    "sigmoid", "Logistic function 1 / (1 + e^-x), accurate in the lower tail.",
    ref=_sigmoid_ref, family="activation", promote=floating, special=(-87.0, -100.0, 20.0, -700.0), large=MILLION,
    sizes=pointwise(quick="forward"), peers=library("sigmoid", numpy="", jax="jax.nn.sigmoid"),
    ulp=3, flops=25, saves=("out",), vjp=lambda ctx, dout: sigmoid_backward(dout, ctx.saved[0]),
).call  # fmt: skip
sigmoid_backward: Any = binary(
    "sigmoid_backward", "Gradient of sigmoid: dout out (1 - out).",
    ref=lambda dout, out: dout * (out * (1 - out)), family="activation", inputs="dout out", outputs="dx",
    kinds=FLOAT, ulp=2, flops=3, composite=lambda dout, out: mul(dout, mul(out, sub(1, out))),
    domain=(0.0, 1.0),
    peers={"torch": "torch.ops.aten.sigmoid_backward(dout, out)", "jax": "dout * (out * (1 - out))"},
).call  # fmt: skip

tanh: Any = unary(
    "tanh", "Hyperbolic tangent.",
    ref=np.tanh, family="activation", promote=floating, special=(1e-30, -1e-5, 9.0, 19.0, 100.0), large=MILLION,
    sizes=pointwise(quick="forward"),
    ulp=3, flops=25, saves=("out",), vjp=lambda ctx, dout: tanh_backward(dout, ctx.saved[0]),
).call  # fmt: skip
tanh_backward: Any = binary(
    "tanh_backward", "Gradient of tanh: dout (1 - out^2).",
    ref=lambda dout, out: dout * (1 - out * out), magnitude=lambda dout, out: np.abs(dout) * (1 + out * out),
    family="activation", inputs="dout out", outputs="dx",
    kinds=FLOAT, ulp=2, flops=3, composite=lambda dout, out: mul(dout, sub(1, square(out))),
    domain=(-1.0, 1.0),
    peers={"torch": "torch.ops.aten.tanh_backward(dout, out)", "jax": "dout * (1 - out * out)"},
).call  # fmt: skip

# ---- gelu ---------------------------------------------------------------------------------------------------------

_SLOPE, _CUBIC = 2 * math.sqrt(2 / math.pi), 2 * math.sqrt(2 / math.pi) * 0.044715
_LIMIT = 45.0  # beyond, the tails are 0 and the powers of the references would overflow
_erfc = np.vectorize(math.erfc, otypes=[float])


def _density(x: Any) -> Any:
    return np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def _tail(x: Any) -> Any:
    """Probability that a standard normal is below x, with the rounding of x / sqrt(2) put right."""
    z = x * math.sqrt(0.5)
    lost = np.asarray(x * np.sqrt(np.longdouble(0.5)) - z, float)
    return 0.5 * _erfc(-z) + lost * np.exp(-z * z) / math.sqrt(math.pi)


def _terms(x: Any, approximate: str) -> tuple[Any, Any, Any]:
    """p and x p' of gelu = x p(x), and the factor by which rounding of the exponent can grow their relative error."""
    x = np.clip(x, -_LIMIT, _LIMIT)
    if approximate == "none":
        return _tail(x), x * _density(x), 1.0
    v = x * (_SLOPE + _CUBIC * x * x)
    e = np.exp(-np.abs(v))
    p = np.where(x < 0, e, 1.0) / (1 + e)
    return p, x * (e / (1 + e) ** 2) * (_SLOPE + 3 * _CUBIC * x * x), 1 + np.where(x < 0, -v, 0.0)


def _gelu_ref(x: Any, approximate: str = "none") -> Any:
    return np.maximum(x, -_LIMIT) * _terms(x, approximate)[0]


def _gelu_magnitude(x: Any, approximate: str = "none") -> Any:
    return np.abs(_gelu_ref(x, approximate)) * _terms(x, approximate)[2]


def _gelu_backward_ref(dout: Any, x: Any, approximate: str = "none") -> Any:
    p, rest, _ = _terms(x, approximate)
    return dout * (p + rest)


def _gelu_backward_magnitude(dout: Any, x: Any, approximate: str = "none") -> Any:
    p, rest, growth = _terms(x, approximate)
    return np.abs(dout) * (p + np.abs(rest)) * growth


def _check_approximate(name: str) -> Any:
    infer = broadcast_infer(name, FLOAT, None)

    def checked(*args: Any) -> Spec:
        if args[-1] not in ("none", "tanh"):
            raise ValueError(f"{name}: approximate must be 'none' or 'tanh', not {args[-1]!r}")
        return infer(*args)

    return checked


def _kernels(suffix: str) -> dict[str, Any]:
    def choices(family: str) -> list[Any]:
        return [(f"{family}:gelu{suffix}", lambda *args: args[-1] == "none"), (f"{family}:gelu_tanh{suffix}", None)]

    return {"cpu": choices("activation"), "cuda": choices("activation.rows")}


def _gelu_samples(operands: int) -> Any:
    def samples(rng: Any) -> Iterator[Sample]:
        tail = np.array([-0.3, -1.0, -3.0, -6.0, -9.0, -12.0, -13.0, -30.0, 1e-30, 0.7, 5.0, 8.0, 50.0])
        first = (np.ones_like(tail),) * (operands - 1)
        yield Sample((*first, tail), why="tails", grad=False)
        yield Sample((*first, tail), ("tanh",), why="tails, tanh", grad=False)
        x = rng.standard_normal((33, 65))
        yield Sample((x,) * operands, ("tanh",), why="tanh")

    return samples


def _gelu_curvature(x: Any, approximate: str) -> Any:
    """Second derivative of gelu."""
    z = square(x)
    if approximate == "none":
        return mul(mul(sub(2, z), exp(mul(z, -0.5))), 1 / math.sqrt(2 * math.pi))
    s = sigmoid(mul(x, add(mul(z, _CUBIC), _SLOPE)))
    ds, dv = mul(s, sub(1, s)), add(mul(z, 3 * _CUBIC), _SLOPE)
    bend = add(mul(square(dv), sub(1, mul(s, 2))), mul(x, 6 * _CUBIC))  # (s'' v'^2 + s' v'') / s'
    return mul(ds, add(mul(dv, 2), mul(x, bend)))


def _gelu_backward_vjp(ctx: Any, ddx: Any) -> Any:
    dout, x = ctx.saved
    approximate = ctx.attrs[0]
    to_dout = gelu_backward(ddx, x, approximate) if ctx.needs[0] else None
    return to_dout, mul(mul(ddx, dout), _gelu_curvature(x, approximate)) if ctx.needs[1] else None


gelu: Any = unary(
    "gelu", "Gaussian error linear unit x P(X <= x), X standard normal (https://arxiv.org/abs/1606.08415).\n\n"
    'approximate="tanh": x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). Both keep their relative accuracy in the '
    "negative tail, where 1 + erf would cancel, and are 0 at -inf. Raises ValueError for another `approximate`.",
    ref=_gelu_ref, magnitude=_gelu_magnitude, family="activation", attrs={"approximate": "none"},
    infer=_check_approximate("gelu"), kernels=_kernels(""), params=lambda x, approximate: (), promote=floating,
    ulp=7, flops=35, more=_gelu_samples(1),
    wrong=[Wrong((np.ones(3),), ("erf",), ValueError, "gelu: approximate must be 'none' or 'tanh', not 'erf'")],
    saves=("x",), vjp=lambda ctx, dout: gelu_backward(dout, ctx.saved[0], *ctx.attrs),
    sizes=(*pointwise(attrs=("tanh",), large=True, quick="forward"), Size((MILLION,), why="1M"), on_gpu([(1 << 26,)])),
    peers={
        "torch": "F.gelu(x, approximate=approximate)",
        "jax": "jax.nn.gelu(x, approximate=approximate == 'tanh')",
    },
).call  # fmt: skip
gelu_backward: Any = binary(
    "gelu_backward", "Gradient of gelu: dout (p(x) + x p'(x)) for gelu(x) = x p(x).",
    ref=_gelu_backward_ref, magnitude=_gelu_backward_magnitude, family="activation", inputs="dout x", outputs="dx",
    attrs={"approximate": "none"}, infer=_check_approximate("gelu_backward"), kernels=_kernels("_backward"),
    params=lambda dout, x, approximate: (), kinds=FLOAT, ulp=7, flops=40, more=_gelu_samples(2),
    saves={"dout": ("x",), "x": ("dout", "x")}, vjp=_gelu_backward_vjp,
    sizes=(*pointwise(2, attrs=("tanh",)), Size((MILLION, MILLION), why="1M")),
    peers={
        "torch": "torch.ops.aten.gelu_backward(dout, x, approximate=approximate)",
        "jax": "jax.vjp(lambda x: jax.nn.gelu(x, approximate=approximate == 'tanh'), x)[1](dout)[0]",
    },
).call  # fmt: skip

__all__ = ["gelu", "gelu_backward", "relu", "relu_backward", "sigmoid", "sigmoid_backward", "tanh", "tanh_backward"]
