"""Activations relu, sigmoid, tanh and gelu, and their gradients, each one kernel.

They share their scalar functions with matmul's epilogue (csrc/common/activations.inl): fusing one changes no bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import numpy as np

from dlcore.op import Domain, Sample, Spec, Workload, floating, widest
from dlcore.ops._pointwise import Rectifier
from dlcore.ops._workloads import MILLION, MODELS, library, million_and_ragged, on_gpu
from dlcore.ops.elementwise import add, exp, mul, square, sub

__all__ = ["gelu", "gelu_backward", "relu", "relu_backward", "sigmoid", "sigmoid_backward", "tanh", "tanh_backward"]


class Activation(Rectifier):
    """A pointwise operation that other libraries have under other names."""

    family = "activation"

    def family_baselines(self) -> dict[str, str]:
        return {}


_activation = partial(Activation.named, large=MILLION)
_gradient = partial(Activation.named, promote=widest, outputs="dx", methods=False)
_NOT_NEAR_ZERO = Domain(gap=0.1)

# ---- relu, sigmoid, tanh: their gradients need only the output ----------------------------------------------------

relu = _activation(
    "relu", "x", "Rectifier max(x, 0). The gradient at 0 is 0.", domain=_NOT_NEAR_ZERO, ulp=0,
    reference=lambda x: np.where(x <= 0, 0.0, x), gradient=lambda dout, out: relu_backward(dout, out),
    workloads=[
        *(Workload(((m.batch, m.widths[1]),), why=f"a layer of model {name}") for name, m in MODELS.items()),
        *million_and_ragged(large=True),
    ],
    baselines={
        "numpy": "np.maximum(x, 0)", "numpy out": "np.maximum(x, 0, out=out)",
        "torch": "torch.relu(x)", "torch out": "torch.clamp_min(x, 0, out=out)", "jax": "jax.nn.relu(x)",
    },
)  # fmt: skip
relu_backward = _gradient(
    "relu_backward", "dout out", "Gradient of relu: dout where out > 0, else 0.", domain=_NOT_NEAR_ZERO, ulp=0,
    reference=lambda dout, out: np.where(out <= 0, 0.0, dout), gradient=lambda ddx, out: relu_backward(ddx, out),
    baselines={"torch": "torch.ops.aten.threshold_backward(dout, out, 0)", "jax": "jnp.where(out > 0, dout, 0)"},
)  # fmt: skip


def logistic(x: Any) -> Any:
    """1 / (1 + e^-x) in NumPy, accurate in both tails."""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1.0 + e)


sigmoid = _activation(
    "sigmoid", "x", "Logistic function 1 / (1 + e^-x), accurate in the lower tail.", reference=logistic, ulp=3,
    flops=25, special=(-87.0, -100.0, 20.0, -700.0), gradient=lambda dout, out: sigmoid_backward(dout, out),
    workloads=million_and_ragged(quick="forward"), baselines=library("sigmoid", numpy="", jax="jax.nn.sigmoid"),
)  # fmt: skip
sigmoid_backward = _gradient(
    "sigmoid_backward", "dout out", "Gradient of sigmoid: dout out (1 - out).", ulp=2, flops=3,
    domains={"out": Domain(0.0, 1.0, strict=True)}, reference=lambda dout, out: dout * (out * (1 - out)),
    composite=lambda dout, out: mul(dout, mul(out, sub(1, out))),
    baselines={"torch": "torch.ops.aten.sigmoid_backward(dout, out)", "jax": "dout * (out * (1 - out))"},
)  # fmt: skip

tanh = _activation(
    "tanh", "x", "Hyperbolic tangent.", special=(1e-30, -1e-5, 9.0, 19.0, 100.0), ulp=3, flops=25,
    gradient=lambda dout, out: tanh_backward(dout, out), workloads=million_and_ragged(quick="forward"),
    baselines=library("tanh"),
)  # fmt: skip
tanh_backward = _gradient(
    "tanh_backward", "dout out", "Gradient of tanh: dout (1 - out^2).", ulp=2, flops=3,
    domains={"out": Domain(-1.0, 1.0, strict=True)}, reference=lambda dout, out: dout * (1 - out * out),
    magnitude=lambda dout, out: np.abs(dout) * (1 + out * out),
    composite=lambda dout, out: mul(dout, sub(1, square(out))),
    baselines={"torch": "torch.ops.aten.tanh_backward(dout, out)", "jax": "dout * (1 - out * out)"},
)  # fmt: skip

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


def gelu_terms(x: Any, approximate: str) -> tuple[Any, Any, Any]:
    """p and x p' of gelu = x p(x), and the factor by which rounding of the exponent can grow their relative error."""
    x = np.clip(x, -_LIMIT, _LIMIT)
    if approximate == "none":
        return _tail(x), x * _density(x), 1.0
    v = x * (_SLOPE + _CUBIC * x * x)
    e = np.exp(-np.abs(v))
    p = np.where(x < 0, e, 1.0) / (1 + e)
    return p, x * (e / (1 + e) ** 2) * (_SLOPE + 3 * _CUBIC * x * x), 1 + np.where(x < 0, -v, 0.0)


class _Gelu(Activation):
    """gelu and its gradient: a kernel for each `approximate`."""

    def family_kernels(self) -> dict[str, Any]:
        def choices(family: str) -> list[Any]:
            suffix = self.name.removeprefix("gelu")
            exact = f"{family}:gelu{suffix}", lambda approximate: approximate == "none"
            return [exact, (f"{family}:gelu_tanh{suffix}", None)]

        return {"cpu": choices("activation"), "cuda": choices("activation.planners")}

    def family_samples(self) -> Iterator[Sample]:
        yield from super().family_samples()
        tail = np.array([-0.3, -1.0, -3.0, -6.0, -9.0, -12.0, -13.0, -30.0, 1e-30, 0.7, 5.0, 8.0, 50.0])
        others = [np.ones_like(tail)] * (len(self.signature.operands) - 1)
        yield Sample(*others, tail, why="tails", grad=False)
        yield Sample(*others, tail, approximate="tanh", why="tails, tanh", grad=False)
        yield Sample(*[(33, 65)] * (len(others) + 1), approximate="tanh", why="tanh")

    def restrict(self, operands: list[Any]) -> None:
        """gelu and its slope are 0 where they would be subnormal numbers, which csrc/common/math.inl says."""
        x = operands[-1]
        operands[-1] = np.where((x > -42) & (x < -9.9), x / 4.5, x)


@_Gelu.definition(
    promote=floating, ulp=7, flops=35, gradient=lambda dout, x, approximate: gelu_backward(dout, x, approximate),
    workloads=[
        *million_and_ragged(attrs=("tanh",), large=True, quick="forward"), Workload((MILLION,), why="1M"),
        on_gpu([(1 << 26,)]),
    ],
    baselines={
        "torch": "F.gelu(x, approximate=approximate)", "jax": "jax.nn.gelu(x, approximate=approximate == 'tanh')",
    },
)  # fmt: skip
def gelu(x: Spec, approximate: Literal["none", "tanh"] = "none") -> None:
    """Gaussian error linear unit x P(X <= x), X standard normal (https://arxiv.org/abs/1606.08415).

    approximate="tanh": x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). Both keep their relative accuracy in the
    negative tail, where 1 + erf would cancel, and are 0 at -inf. Raises ValueError for another `approximate`.

    >>> dl.gelu(dl.tensor([-1.0, 0.0, 1.0])).round(4)
    tensor([-0.1587,  0.    ,  0.8413])
    """


@gelu.reference
def numpy_gelu(x: Any, approximate: str) -> Any:
    """gelu in NumPy, by the terms that its gradient's reference is made of, too."""
    return np.maximum(x, -_LIMIT) * gelu_terms(x, approximate)[0]


@gelu.magnitude
def _(x: Any, approximate: str) -> Any:
    return np.abs(numpy_gelu(x, approximate)) * gelu_terms(x, approximate)[2]


@_Gelu.definition(
    outputs="dx", methods=False, ulp=7, flops=40,
    workloads=[*million_and_ragged(2, attrs=("tanh",)), Workload((MILLION, MILLION), why="1M")],
    baselines={
        "torch": "torch.ops.aten.gelu_backward(dout, x, approximate=approximate)",
        "jax": "jax.vjp(lambda x: jax.nn.gelu(x, approximate=approximate == 'tanh'), x)[1](dout)[0]",
    },
)  # fmt: skip
def gelu_backward(dout: Spec, x: Spec, approximate: Literal["none", "tanh"] = "none") -> None:
    """Gradient of gelu: dout (p(x) + x p'(x)) for gelu(x) = x p(x).

    >>> dl.gelu_backward(dl.tensor([1.0]), dl.tensor([0.0]))
    tensor([0.5])
    """


@gelu_backward.gradient("dout")
def _(ddx: Any, x: Any, approximate: str) -> Any:
    return gelu_backward(ddx, x, approximate)


@gelu_backward.gradient("x")
def _(ddx: Any, dout: Any, x: Any, approximate: str) -> Any:
    return mul(mul(ddx, dout), _curvature(x, approximate))


def _curvature(x: Any, approximate: str) -> Any:
    """Second derivative of gelu."""
    z = square(x)
    if approximate == "none":
        return mul(mul(sub(2, z), exp(mul(z, -0.5))), 1 / math.sqrt(2 * math.pi))
    s = sigmoid(mul(x, add(mul(z, _CUBIC), _SLOPE)))
    ds, dv = mul(s, sub(1, s)), add(mul(z, 3 * _CUBIC), _SLOPE)
    bend = add(mul(square(dv), sub(1, mul(s, 2))), mul(x, 6 * _CUBIC))  # (s'' v'^2 + s' v'') / s'
    return mul(ds, add(mul(dv, 2), mul(x, bend)))


@gelu_backward.reference
def _(dout: Any, x: Any, approximate: str) -> Any:
    p, rest, _ = gelu_terms(x, approximate)
    return dout * (p + rest)


@gelu_backward.magnitude
def _(dout: Any, x: Any, approximate: str) -> Any:
    p, rest, growth = gelu_terms(x, approximate)
    return np.abs(dout) * (p + np.abs(rest)) * growth
