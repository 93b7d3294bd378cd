"""Activations relu, sigmoid, tanh and gelu, and their gradients, each one kernel.

They share their scalar functions with matmul's epilogue (csrc/common/activations.inl): fusing one changes no bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np

from dlcore.op import Domain, ErrorInput, Sample, Spec, Workload, floating
from dlcore.ops._pointwise import Pointwise
from dlcore.ops._workloads import MILLION, MODELS, library, million_and_ragged, on_gpu
from dlcore.ops.elementwise import add, exp, mul, square, sub

__all__ = ["gelu", "gelu_backward", "relu", "relu_backward", "sigmoid", "sigmoid_backward", "tanh", "tanh_backward"]


class Activation(Pointwise):
    """A pointwise operation of this family's kernels."""

    family = "activation"


activation = partial(Activation.definition, promote=floating, large=MILLION)
gradient = partial(Activation.definition, outputs="dx", methods=False)

AwayFromZero = Annotated[Spec, Domain(gap=0.1)]

# ---- relu, sigmoid, tanh: their gradients need only the output ----------------------------------------------------


@activation(
    reference=lambda x: np.where(x <= 0, 0.0, x), ulp=0, gradient=lambda dout, out: relu_backward(dout, out),
    workloads=[
        *(Workload(((m.batch, m.widths[1]),), why=f"a layer of model {name}") for name, m in MODELS.items()),
        *million_and_ragged(large=True),
    ],
    baselines={
        "numpy": "np.maximum(x, 0)", "numpy out": "np.maximum(x, 0, out=out)",
        "torch": "torch.relu(x)", "torch out": "torch.clamp_min(x, 0, out=out)", "jax": "jax.nn.relu(x)",
    },
)  # fmt: skip
def relu(x: AwayFromZero) -> None:
    """Rectifier max(x, 0). The gradient at 0 is 0."""


@gradient(
    reference=lambda dout, out: np.where(out <= 0, 0.0, dout), ulp=0,
    gradient={"dout": lambda ddx, out: relu_backward(ddx, out)},
    baselines={"numpy": "", "torch": "torch.ops.aten.threshold_backward(dout, out, 0)",
               "jax": "jnp.where(out > 0, dout, 0)"},
)  # fmt: skip
def relu_backward(dout: AwayFromZero, out: AwayFromZero) -> None:
    """Gradient of relu: dout where out > 0, else 0."""


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1.0 + e)


@activation(
    reference=_sigmoid, special=(-87.0, -100.0, 20.0, -700.0), ulp=3, flops=25,
    gradient=lambda dout, out: sigmoid_backward(dout, out), workloads=million_and_ragged(quick="forward"),
    baselines=library("sigmoid", numpy="", jax="jax.nn.sigmoid"),
)  # fmt: skip
def sigmoid(x):
    """Logistic function 1 / (1 + e^-x), accurate in the lower tail."""


@gradient(
    reference=lambda dout, out: dout * (out * (1 - out)), ulp=2, flops=3,
    composite=lambda dout, out: mul(dout, mul(out, sub(1, out))),
    gradient={"dout": lambda ddx, out: sigmoid_backward(ddx, out),
              "out": lambda ddx, dout, out: mul(mul(ddx, dout), sub(1, mul(out, 2)))},
    baselines={"numpy": "", "torch": "torch.ops.aten.sigmoid_backward(dout, out)", "jax": "dout * (out * (1 - out))"},
)  # fmt: skip
def sigmoid_backward(dout: Spec, out: Annotated[Spec, Domain(0.0, 1.0, strict=True)]) -> None:
    """Gradient of sigmoid: dout out (1 - out)."""


@activation(
    reference=np.tanh, special=(1e-30, -1e-5, 9.0, 19.0, 100.0), ulp=3, flops=25,
    gradient=lambda dout, out: tanh_backward(dout, out), workloads=million_and_ragged(quick="forward"),
)  # fmt: skip
def tanh(x):
    """Hyperbolic tangent."""


@gradient(
    reference=lambda dout, out: dout * (1 - out * out), ulp=2, flops=3,
    magnitude=lambda dout, out: np.abs(dout) * (1 + out * out),
    composite=lambda dout, out: mul(dout, sub(1, square(out))),
    gradient={"dout": lambda ddx, out: tanh_backward(ddx, out),
              "out": lambda ddx, dout, out: mul(mul(ddx, dout), mul(out, -2))},
    baselines={"numpy": "", "torch": "torch.ops.aten.tanh_backward(dout, out)", "jax": "dout * (1 - out * out)"},
)  # fmt: skip
def tanh_backward(dout: Spec, out: Annotated[Spec, Domain(-1.0, 1.0, strict=True)]) -> None:
    """Gradient of tanh: dout (1 - out^2)."""


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


def _gelu_ref(x: Any, approximate: str) -> Any:
    return np.maximum(x, -_LIMIT) * _terms(x, approximate)[0]


def _gelu_magnitude(x: Any, approximate: str) -> Any:
    return np.abs(_gelu_ref(x, approximate)) * _terms(x, approximate)[2]


def _gelu_backward_ref(dout: Any, x: Any, approximate: str) -> Any:
    p, rest, _ = _terms(x, approximate)
    return dout * (p + rest)


def _gelu_backward_magnitude(dout: Any, x: Any, approximate: str) -> Any:
    p, rest, growth = _terms(x, approximate)
    return np.abs(dout) * (p + np.abs(rest)) * growth


class Gelu(Activation):
    """gelu and its gradient: a kernel for each `approximate`."""

    def family_kernels(self) -> dict[str, Any]:
        def choices(family: str) -> list[Any]:
            suffix = self.name.removeprefix("gelu")
            exact = f"{family}:gelu{suffix}", lambda approximate: approximate == "none"
            return [exact, (f"{family}:gelu_tanh{suffix}", None)]

        return {"cpu": choices("activation"), "cuda": choices("activation.rows")}

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


def _gelu_curvature(x: Any, approximate: str) -> Any:
    """Second derivative of gelu."""
    z = square(x)
    if approximate == "none":
        return mul(mul(sub(2, z), exp(mul(z, -0.5))), 1 / math.sqrt(2 * math.pi))
    s = sigmoid(mul(x, add(mul(z, _CUBIC), _SLOPE)))
    ds, dv = mul(s, sub(1, s)), add(mul(z, 3 * _CUBIC), _SLOPE)
    bend = add(mul(square(dv), sub(1, mul(s, 2))), mul(x, 6 * _CUBIC))  # (s'' v'^2 + s' v'') / s'
    return mul(ds, add(mul(dv, 2), mul(x, bend)))


@Gelu.definition(
    reference=_gelu_ref, magnitude=_gelu_magnitude, promote=floating, ulp=7, flops=35,
    gradient=lambda dout, x, approximate: gelu_backward(dout, x, approximate),
    workloads=[
        *million_and_ragged(attrs=("tanh",), large=True, quick="forward"), Workload((MILLION,), why="1M"),
        on_gpu([(1 << 26,)]),
    ],
    baselines={
        "numpy": "", "torch": "F.gelu(x, approximate=approximate)",
        "jax": "jax.nn.gelu(x, approximate=approximate == 'tanh')",
    },
    error_inputs=[
        ErrorInput(ValueError, "gelu: approximate 'erf' is not one of 'none', 'tanh'", np.ones(3), approximate="erf"),
    ],
)  # fmt: skip
def gelu(x: Spec, approximate: Literal["none", "tanh"] = "none") -> None:
    """Gaussian error linear unit x P(X <= x), X standard normal (https://arxiv.org/abs/1606.08415).

    approximate="tanh": x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). Both keep their relative accuracy in the
    negative tail, where 1 + erf would cancel, and are 0 at -inf. Raises ValueError for another `approximate`.
    """


@Gelu.definition(
    reference=_gelu_backward_ref, magnitude=_gelu_backward_magnitude, outputs="dx", methods=False, ulp=7, flops=40,
    gradient={
        "dout": lambda ddx, x, approximate: gelu_backward(ddx, x, approximate),
        "x": lambda ddx, dout, x, approximate: mul(mul(ddx, dout), _gelu_curvature(x, approximate)),
    },
    workloads=[*million_and_ragged(2, attrs=("tanh",)), Workload((MILLION, MILLION), why="1M")],
    baselines={
        "numpy": "", "torch": "torch.ops.aten.gelu_backward(dout, x, approximate=approximate)",
        "jax": "jax.vjp(lambda x: jax.nn.gelu(x, approximate=approximate == 'tanh'), x)[1](dout)[0]",
    },
)  # fmt: skip
def gelu_backward(dout: Spec, x: Spec, approximate: Literal["none", "tanh"] = "none") -> None:
    """Gradient of gelu: dout (p(x) + x p'(x)) for gelu(x) = x p(x)."""
