"""Activations that stand alone: the rectifiers and their smooth, hard and shrinking kin, each with its gradient.

Values and gradients are PyTorch's, at the kinks too; at infinities they are the limits (silu(-inf) is -0). The common
ones are one kernel forward and one backward, on a GPU as well, and every gradient is differentiable again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Any

import numpy as np

from dlcore.op import Domain, ErrorInput, Sample, Spec, Workload, floating, widest
from dlcore.ops._pointwise import SHAPES, Rectifier, specials
from dlcore.ops.activation import logistic, sigmoid, tanh
from dlcore.ops.elementwise import (
    abs,
    add,
    ge,
    gt,
    le,
    logical_or,
    lt,
    mul,
    neg,
    reciprocal,
    sign,
    square,
    sub,
    where,
)

__all__ = [
    "celu", "elu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish", "relu6",
    "selu", "silu", "softplus", "softshrink", "softsign", "threshold",
]  # fmt: skip


class Unit(Rectifier):
    """An activation of this file: other libraries have it under names of their own."""

    family = "activation"
    usual: Mapping[str, Any] = {}
    """Attributes that have no default, of the family's samples and workloads."""

    def family_samples(self) -> Iterator[Sample]:
        for sample in super().family_samples():
            yield sample.but(**self.usual)

    def family_workloads(self) -> list[Workload]:
        return [w._replace(attrs=tuple(self.usual.values())) for w in super().family_workloads()]

    def family_kernels(self) -> dict[str, Any]:
        return {"cpu": f"activation:{self.name}", "cuda": f"activation.units:{self.name}"}

    def family_baselines(self) -> dict[str, str]:
        return {}


class UnitGradient(Unit):
    """Its gradient, of dout and x, which have one shape: few samples broadcast."""

    methods = False
    outputs = "dx"

    def family_samples(self) -> Iterator[Sample]:
        for shape, why in SHAPES:
            yield Sample(shape, shape, why=why)
        yield Sample((33, 65), (65,), why="broadcast rows")
        yield Sample(self.large, self.large, why="several threads", grad=False)
        values = specials(1.0, -1.5, *self.special)
        yield Sample(specials(1.0, -1.5)[:, None], values, why="special values", grad=False)

    def restrict(self, operands: list[Any]) -> None:
        """A slope that is a subnormal number is rounded to a multiple of the smallest before dout multiplies it."""
        x = operands[1]
        operands[1] = np.where((np.abs(x) > 20) & (np.abs(x) < 4000), x / 200, x)


_unit = partial(Unit.named, operands="x")
_gradient = partial(UnitGradient.named, operands="dout x", promote=widest)
_numbered, _numbered_gradient = partial(Unit.definition, promote=floating), UnitGradient.definition
_KINK = Domain(gap=0.1)  # no sample near 0


def _torch(name: str, jax: str = "", *attrs: str) -> dict[str, str]:
    """How PyTorch computes a function of torch.nn.functional, and JAX one of jax.nn."""
    more = "".join(f", {a}" for a in attrs)
    return {"torch": f"F.{name}(x{more})"} | ({"jax": f"jax.nn.{jax}(x{more})"} if jax else {})


def _aten(name: str, *attrs: str) -> dict[str, str]:
    return {"torch": f"torch.ops.aten.{name}({', '.join(('dout', 'x', *attrs))})"}


# ---- smooth ones of a value alone -----------------------------------------------------------------------------------

_FAR = 745.0  # e^-745 is the smallest number; beyond, factors of exponentials must not be infinite


silu = _unit(
    "silu", doc="Sigmoid linear unit x / (1 + e^-x), also called swish (https://arxiv.org/abs/1702.03118).", ulp=4,
    flops=27, special=(-87.0, -90.0, -100.0, 20.0, -700.0), gradient=lambda dout, x: silu_backward(dout, x),
    reference=lambda x: np.where(x < -_FAR, -0.0, np.maximum(x, -_FAR) * logistic(x)),
    baselines=_torch("silu", "silu"),
)  # fmt: skip
silu_backward = _gradient(
    "silu_backward", doc="Gradient of silu: dout s (1 + x (1 - s)), s the logistic function of x.", ulp=6, flops=33,
    special=(-90.0, 20.0), baselines=_aten("silu_backward"), gradient=lambda ddx, x: silu_backward(ddx, x),
    reference=lambda dout, x: dout * (logistic(x) * (1 + np.clip(x, -_FAR, _FAR) * logistic(-x))),
    magnitude=lambda dout, x: np.abs(dout) * (logistic(x) * (1 + np.minimum(np.abs(x), _FAR) * logistic(-x))),
)  # fmt: skip


@silu_backward.gradient("x")
def _(ddx: Any, dout: Any, x: Any) -> Any:
    s = sigmoid(x)
    bend = add(mul(x, sub(1, mul(s, 2))), 2)
    return mul(mul(ddx, dout), mul(mul(s, sub(1, s)), bend))


def _soft(x: Any) -> Any:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _mish_terms(x: Any) -> tuple[Any, Any]:
    """t = tanh(softplus(x)) and x t', t' = s / cosh(softplus(x))^2."""
    u = logistic(-x)  # exp(-softplus(x))
    slope = logistic(x) * np.square(2 * u / (1 + u * u))
    return np.where(x < -_FAR, -0.0, np.tanh(_soft(x))), np.clip(x, -_FAR, _FAR) * slope


mish = _unit(
    "mish", doc="Mish x tanh(log(1 + e^x)) (https://arxiv.org/abs/1908.08681).", ulp=5, flops=32,
    special=(-87.0, -90.0, -100.0, 20.0, -700.0), gradient=lambda dout, x: mish_backward(dout, x),
    reference=lambda x: np.where(x < -_FAR, -0.0, np.maximum(x, -_FAR) * np.tanh(_soft(x))),
    baselines=_torch("mish", "mish"),
)  # fmt: skip
mish_backward = _gradient(
    "mish_backward", doc="Gradient of mish: dout (t + x s (1 - t^2)), s the logistic function and t tanh(softplus(x)).",
    ulp=8, flops=45, special=(-90.0, 20.0), baselines=_aten("mish_backward"),
    gradient=lambda ddx, x: mish_backward(ddx, x),
    reference=lambda dout, x: dout * np.add(*_mish_terms(x)),
    magnitude=lambda dout, x: np.abs(dout) * (_mish_terms(x)[0] + np.abs(_mish_terms(x)[1])),
)  # fmt: skip


@mish_backward.gradient("x")
def _(ddx: Any, dout: Any, x: Any) -> Any:
    s, t = sigmoid(x), tanh(softplus(x))
    narrow = sub(1, square(t))
    slope = mul(s, narrow)  # t'
    bend = sub(mul(mul(s, sub(1, s)), narrow), mul(mul(mul(s, t), slope), 2))  # t''
    return mul(mul(ddx, dout), add(mul(slope, 2), mul(x, bend)))


softsign = _unit(
    "softsign", doc="Softsign x / (1 + |x|).", ulp=2, flops=4, special=(1e30, -1e-30),
    reference=lambda x: np.copysign(1 / (1 + 1 / np.abs(x)), x), gradient=lambda dout, x: softsign_backward(dout, x),
    baselines=_torch("softsign", "soft_sign"),
)  # fmt: skip
softsign_backward = _gradient(
    "softsign_backward", doc="Gradient of softsign: dout / (1 + |x|)^2.", ulp=3, flops=5, special=(1e4,),
    reference=lambda dout, x: dout * (1 / (1 + np.abs(x)) ** 2), gradient=lambda ddx, x: softsign_backward(ddx, x),
    baselines={"torch": "dout / torch.square(1 + torch.abs(x))"},
)  # fmt: skip


@softsign_backward.gradient("x")
def _(ddx: Any, dout: Any, x: Any) -> Any:
    q = reciprocal(add(abs(x), 1))
    return mul(mul(ddx, dout), mul(mul(sign(x), mul(q, square(q))), -2))


logsigmoid = _unit(
    "logsigmoid", doc="Logarithm of the logistic function, -log(1 + e^-x).", ulp=3, flops=50, cast="float32",
    special=(-87.0, -100.0, 20.0, 100.0, -700.0), gradient=lambda dout, x: logsigmoid_backward(dout, x),
    reference=lambda x: np.minimum(x, 0.0) - np.log1p(np.exp(-np.abs(x))),
    baselines=_torch("logsigmoid", "log_sigmoid"),
)  # fmt: skip
logsigmoid_backward = _gradient(
    "logsigmoid_backward", doc="Gradient of logsigmoid: dout / (1 + e^x).", ulp=4, flops=26, special=(-20.0, 90.0),
    reference=lambda dout, x: dout * logistic(-x), gradient=lambda ddx, x: logsigmoid_backward(ddx, x),
    baselines={"torch": "dout * torch.sigmoid(-x)", "jax": "dout * jax.nn.sigmoid(-x)"},
)  # fmt: skip


@logsigmoid_backward.gradient("x")
def _(ddx: Any, dout: Any, x: Any) -> Any:
    s = sigmoid(x)
    return neg(mul(mul(ddx, dout), mul(s, sub(1, s))))


# ---- pieces of straight lines ---------------------------------------------------------------------------------------

relu6 = _unit(
    "relu6", doc="Rectifier with an upper limit, min(max(x, 0), 6). The gradient is 0 at both limits.", ulp=0,
    domain=_KINK, special=(6.0, 7.0, 5.5), reference=lambda x: np.where(x <= 0, 0.0, np.where(x >= 6, 6.0, x)),
    gradient=lambda dout, x: hardtanh_backward(dout, x, 0.0, 6.0), baselines=_torch("relu6", "relu6"),
)  # fmt: skip
hardsigmoid = _unit(
    "hardsigmoid", doc="Straight lines for sigmoid, min(max(x + 3, 0), 6) / 6. The gradient is 0 at both limits.",
    ulp=2, flops=4, special=(3.0, -3.0, 4.0, -4.0), reference=lambda x: np.clip(x + 3, 0, 6) / 6,
    gradient=lambda dout, x: hardsigmoid_backward(dout, x), baselines=_torch("hardsigmoid", "hard_sigmoid"),
)  # fmt: skip
hardsigmoid_backward = _gradient(
    "hardsigmoid_backward", doc="Gradient of hardsigmoid: dout / 6 where -3 < x < 3, else 0.", ulp=1.5, flops=2,
    special=(3.0, -3.0), reference=lambda dout, x: np.where(np.abs(x) < 3, dout / 6, 0.0),
    gradient=lambda ddx, x: hardsigmoid_backward(ddx, x), baselines=_aten("hardsigmoid_backward"),
)  # fmt: skip
hardswish = _unit(
    "hardswish", doc="Straight lines for silu, x min(max(x + 3, 0), 6) / 6 (https://arxiv.org/abs/1905.02244).",
    ulp=3, flops=6, special=(3.0, -3.0, 4.0, -4.0), gradient=lambda dout, x: hardswish_backward(dout, x),
    reference=lambda x: np.maximum(x, -3) * (np.clip(x + 3, 0, 6) / 6), baselines=_torch("hardswish", "hard_swish"),
)  # fmt: skip
hardswish_backward = _gradient(
    "hardswish_backward", doc="Gradient of hardswish: 0 where x <= -3, dout (x + 3/2) / 3 below 3, else dout.", ulp=2,
    flops=4, special=(3.0, -3.0), baselines=_aten("hardswish_backward"),
    reference=lambda dout, x: np.where(x <= -3, 0.0, np.where(x < 3, dout * ((x + 1.5) / 3), dout)),
    gradient=lambda ddx, x: hardswish_backward(ddx, x),
)  # fmt: skip


@hardswish_backward.gradient("x")
def _(ddx: Any, dout: Any, x: Any) -> Any:
    return where(lt(abs(x), 3), mul(mul(ddx, dout), 1 / 3), 0.0)


@_numbered(
    ulp=1.5, gradient=lambda dout, x, negative_slope: leaky_relu_backward(dout, x, negative_slope),
    reference=lambda x, negative_slope: np.where(x > 0, x, x * negative_slope),
    samples=[Sample((5, 7), negative_slope=0.25, why="another slope")],
    baselines=_torch("leaky_relu", "leaky_relu", "negative_slope"),
)  # fmt: skip
def leaky_relu(x: Annotated[Spec, _KINK], negative_slope: float = 0.01) -> None:
    """Leaky rectifier: x where it is positive, else x times `negative_slope`, which is the gradient at 0 too.

    >>> dl.leaky_relu(dl.tensor([-2.0, 2.0]), 0.25)
    tensor([-0.5,  2. ])
    """


@_numbered_gradient(
    ulp=1.5, gradient=lambda ddx, x, negative_slope: leaky_relu_backward(ddx, x, negative_slope),
    reference=lambda dout, x, negative_slope: np.where(x > 0, dout, dout * negative_slope),
    baselines=_aten("leaky_relu_backward", "negative_slope", "False"),
)  # fmt: skip
def leaky_relu_backward(dout: Spec, x: Annotated[Spec, _KINK], negative_slope: float = 0.01) -> None:
    """Gradient of leaky_relu: dout where x > 0, else dout times `negative_slope`."""


@_numbered(
    ulp=0, gradient=lambda dout, x, min_val, max_val: hardtanh_backward(dout, x, min_val, max_val),
    reference=lambda x, min_val, max_val: np.where(x <= min_val, min_val, np.where(x >= max_val, max_val, x)),
    samples=[Sample((5, 7), min_val=-0.5, max_val=2.0, why="other limits")],
    error_inputs=[
        ErrorInput(ValueError, "hardtanh: min_val 2.0 is greater than max_val 1.0", np.zeros(3), min_val=2.0),
    ],
    baselines=_torch("hardtanh", "", "min_val", "max_val"), special=(1.0, -1.0, 2.0, -2.0),
)  # fmt: skip
def hardtanh(x: Spec, min_val: float = -1.0, max_val: float = 1.0) -> None:
    """x limited to [`min_val`, `max_val`]. The gradient is 0 at both limits. Raises ValueError where they cross.

    >>> dl.hardtanh(dl.tensor([-2.0, 0.5, 2.0]))
    tensor([-1. ,  0.5,  1. ])
    """
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} is greater than max_val {max_val}")


@_numbered_gradient(
    kernels={"cuda": [
        ("activation.units:hardtanh_backward", lambda min_val, max_val: min_val == -max_val),
        ("activation.units:relu6_backward", lambda min_val, max_val: (min_val, max_val) == (0, 6)),
    ]},
    composite=lambda dout, x, min_val, max_val: where(logical_or(le(x, min_val), ge(x, max_val)), 0.0, dout),
    ulp=0, gradient=lambda ddx, x, min_val, max_val: hardtanh_backward(ddx, x, min_val, max_val),
    reference=lambda dout, x, min_val, max_val: np.where((x <= min_val) | (x >= max_val), 0.0, dout),
    samples=[Sample((5, 7), (5, 7), min_val=0.0, max_val=6.0, why="of relu6"),
             Sample((5, 7), (5, 7), min_val=-0.5, max_val=2.0, why="other limits")],
    baselines=_aten("hardtanh_backward", "min_val", "max_val"), special=(1.0, -1.0),
)  # fmt: skip
def hardtanh_backward(dout: Spec, x: Spec, min_val: float = -1.0, max_val: float = 1.0) -> None:
    """Gradient of hardtanh: dout where min_val < x < max_val, else 0."""


@_numbered(
    ulp=0, gradient=lambda dout, x, lambd: hardshrink_backward(dout, x, lambd),
    reference=lambda x, lambd: np.where((x >= -lambd) & (x <= lambd), 0.0, x), special=(0.5, -0.5, 0.75),
    samples=[Sample((5, 7), lambd=1.5, why="another limit")], baselines=_torch("hardshrink", "", "lambd"),
)  # fmt: skip
def hardshrink(x: Spec, lambd: float = 0.5) -> None:
    """x where it lies outside of [-`lambd`, `lambd`], else 0.

    >>> dl.hardshrink(dl.tensor([-1.0, 0.3, 2.0]))
    tensor([-1.,  0.,  2.])
    """


@_numbered_gradient(
    ulp=0, gradient=lambda ddx, x, lambd: hardshrink_backward(ddx, x, lambd), special=(0.5, -0.5),
    reference=lambda dout, x, lambd: np.where((x >= -lambd) & (x <= lambd), 0.0, dout),
    baselines=_aten("hardshrink_backward", "lambd"),
)  # fmt: skip
def hardshrink_backward(dout: Spec, x: Spec, lambd: float = 0.5) -> None:
    """Gradient of hardshrink and softshrink: 0 where -lambd <= x <= lambd, else dout."""


@_numbered(
    ulp=0.5, gradient=lambda dout, x, lambd: hardshrink_backward(dout, x, lambd),
    reference=lambda x, lambd: np.where(x > lambd, x - lambd, np.where(x < -lambd, x + lambd, x * 0.0)),
    samples=[Sample((5, 7), lambd=1.5, why="another limit")], baselines=_torch("softshrink", "", "lambd"),
    error_inputs=[ErrorInput(ValueError, "softshrink: lambd -0.5 is negative", np.zeros(3), lambd=-0.5)],
    special=(0.5, -0.5, 0.75),
)  # fmt: skip
def softshrink(x: Annotated[Spec, Domain(gap=0.51)], lambd: float = 0.5) -> None:
    """x moved towards 0 by `lambd`: x - lambd above lambd, x + lambd below -lambd, else 0.

    Raises ValueError for a negative `lambd`.

    >>> dl.softshrink(dl.tensor([-2.0, 0.25, 2.0]))
    tensor([-1.5,  0. ,  1.5])
    """
    if lambd < 0:
        raise ValueError(f"softshrink: lambd {lambd} is negative")


@_numbered(
    ulp=0, gradient=lambda dout, x, threshold: threshold_backward(dout, x, threshold),
    reference=lambda x, threshold, value: np.where(x <= threshold, value, x), special=(0.5,),
    usual={"threshold": 0.25, "value": -1.5}, baselines=_torch("threshold", "", "threshold", "value"),
)  # fmt: skip
def threshold(x: Spec, threshold: float, value: float) -> None:
    """x where it is above `threshold`, else `value`. The gradient at the threshold is 0.

    >>> dl.threshold(dl.tensor([-1.0, 0.5, 2.0]), 1.0, 0.0)
    tensor([0., 0., 2.])
    """


@_numbered_gradient(
    ulp=0, gradient=lambda ddx, x, threshold: threshold_backward(ddx, x, threshold),
    reference=lambda dout, x, threshold: np.where(x <= threshold, 0.0, dout),
    baselines=_aten("threshold_backward", "threshold"),
)  # fmt: skip
def threshold_backward(dout: Spec, x: Annotated[Spec, _KINK], threshold: float = 0.0) -> None:
    """Gradient of threshold: dout where x is above the threshold, else 0."""


# ---- exponential on the negative side -------------------------------------------------------------------------------

_TAIL = (-87.0, -100.0, -700.0, 90.0)


@_numbered(
    ulp=3, flops=22, gradient=lambda dout, x, alpha: elu_backward(dout, x, alpha), special=_TAIL,
    reference=lambda x, alpha: np.where(x <= 0, alpha * np.expm1(x), x),
    samples=[Sample((5, 7), alpha=0.5, why="another alpha")], baselines=_torch("elu", "elu", "alpha"),
)  # fmt: skip
def elu(x: Annotated[Spec, _KINK], alpha: float = 1.0) -> None:
    """Exponential linear unit: x where it is positive, else alpha (e^x - 1) (https://arxiv.org/abs/1511.07289).

    The gradient at 0 is `alpha`.

    >>> dl.elu(dl.tensor([-1.0, 2.0])).round(4)
    tensor([-0.6321,  2.    ])
    """


@_numbered_gradient(
    ulp=3, flops=22, special=_TAIL[:2],
    reference=lambda dout, x, alpha: dout * np.where(x <= 0, alpha * np.exp(x), 1.0),
    baselines={"torch": "torch.ops.aten.elu_backward(dout, alpha, 1, 1, False, x)"},
)  # fmt: skip
def elu_backward(dout: Spec, x: Annotated[Spec, _KINK], alpha: float = 1.0) -> None:
    """Gradient of elu: dout where x is positive, else dout alpha e^x."""


@elu_backward.gradient("dout")
def _(ddx: Any, x: Any, alpha: float) -> Any:
    return elu_backward(ddx, x, alpha)


@elu_backward.gradient("x")
def _(ddx: Any, dout: Any, x: Any, alpha: float) -> Any:
    return where(lt(x, 0), elu_backward(mul(ddx, dout), x, alpha), 0.0)


@_numbered(
    ulp=4, flops=30, gradient=lambda dout, x, alpha: celu_backward(dout, x, alpha), special=_TAIL,
    reference=lambda x, alpha: np.where(x <= 0, alpha * np.expm1(x / alpha), x),
    samples=[Sample((5, 7), alpha=0.3, why="another alpha")], baselines=_torch("celu", "celu", "alpha"),
    error_inputs=[ErrorInput(ValueError, "celu: alpha must not be 0", np.zeros(3), alpha=0.0)],
)  # fmt: skip
def celu(x: Annotated[Spec, _KINK], alpha: float = 1.0) -> None:
    """Elu with a continuous gradient: x where it is positive, else alpha (e^(x / alpha) - 1).

    https://arxiv.org/abs/1704.07483. Raises ValueError where `alpha` is 0.

    >>> dl.celu(dl.tensor([-1.0, 2.0])).round(4)
    tensor([-0.6321,  2.    ])
    """
    if alpha == 0:
        raise ValueError("celu: alpha must not be 0")


@_numbered_gradient(
    ulp=3, flops=30, special=_TAIL[:2], reference=lambda dout, x, alpha: dout * _celu_slope(x, alpha),
    magnitude=lambda dout, x, alpha: np.abs(dout) * _celu_slope(x, alpha) * (1 + np.maximum(-x / alpha, 0)),
    samples=[Sample((5, 7), (5, 7), alpha=0.3, why="another alpha")],
    error_inputs=[ErrorInput(ValueError, "celu_backward: alpha must not be 0", np.zeros(3), np.zeros(3), alpha=0.0)],
    baselines={"torch": "torch.ops.aten.elu_backward(dout, alpha, 1, 1 / alpha, False, x)"},
)  # fmt: skip
def celu_backward(dout: Spec, x: Annotated[Spec, _KINK], alpha: float = 1.0) -> None:
    """Gradient of celu: dout where x is positive, else dout e^(x / alpha). Raises ValueError where `alpha` is 0."""
    if alpha == 0:
        raise ValueError("celu_backward: alpha must not be 0")


def _celu_slope(x: Any, alpha: float) -> Any:
    return np.where(x <= 0, np.exp(x / alpha), 1.0)


@celu_backward.gradient("dout")
def _(ddx: Any, x: Any, alpha: float) -> Any:
    return celu_backward(ddx, x, alpha)


@celu_backward.gradient("x")
def _(ddx: Any, dout: Any, x: Any, alpha: float) -> Any:
    return where(lt(x, 0), mul(celu_backward(mul(ddx, dout), x, alpha), 1 / alpha), 0.0)


_SCALE, _ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717

selu = _unit(
    "selu", doc="Self-normalising unit: 1.0507 times elu(x, 1.67326) (https://arxiv.org/abs/1706.02515).", ulp=4,
    flops=22, special=_TAIL, reference=lambda x: _SCALE * np.where(x <= 0, _ALPHA * np.expm1(x), x), domain=_KINK,
    gradient=lambda dout, x: selu_backward(dout, x), baselines=_torch("selu", "selu"),
)  # fmt: skip
selu_backward = _gradient(
    "selu_backward", doc="Gradient of selu: 1.0507 dout where x is positive, else 1.0507 dout 1.67326 e^x.", ulp=4,
    flops=22, special=_TAIL[:2], domains={"x": _KINK}, gradient=lambda ddx, x: selu_backward(ddx, x),
    reference=lambda dout, x: dout * (_SCALE * np.where(x <= 0, _ALPHA * np.exp(x), 1.0)),
    baselines={"torch": f"torch.ops.aten.elu_backward(dout, {_ALPHA}, {_SCALE}, 1, False, x)"},
)  # fmt: skip


@selu_backward.gradient("x")
def _(ddx: Any, dout: Any, x: Any) -> Any:
    return where(lt(x, 0), selu_backward(mul(ddx, dout), x), 0.0)


def _softplus_growth(x: Any, beta: float) -> Any:
    """The factor by which rounding of beta x can grow the relative error of its exponential."""
    return 1 + np.maximum(-x * beta, 0)


def _numpy_softplus(x: Any, beta: float, threshold: float) -> Any:
    return np.where(x * beta > threshold, x, np.logaddexp(0, x * beta) / beta)


@_numbered(
    ulp=4, flops=55, cast="float32", special=(-87.0, -100.0, 20.0, 21.0, 100.0, -700.0), reference=_numpy_softplus,
    gradient=lambda dout, x, beta, threshold: softplus_backward(dout, x, beta, threshold),
    magnitude=lambda x, beta, threshold: np.abs(_numpy_softplus(x, beta, threshold)) * _softplus_growth(x, beta),
    samples=[Sample((5, 7), beta=1.7, threshold=1.0, why="another beta and threshold")],
    baselines=_torch("softplus", "", "beta", "threshold"),
)  # fmt: skip
def softplus(x: Spec, beta: float = 1.0, threshold: float = 20.0) -> None:
    """Smooth rectifier log(1 + e^(beta x)) / beta; x itself where beta x is above `threshold`.

    >>> dl.softplus(dl.tensor([0.0, 100.0])).round(4)
    tensor([  0.6931, 100.    ])
    """


@_numbered_gradient(
    kernels={"cuda": [("activation.units:softplus_backward", lambda beta: beta == 1)]},
    composite=lambda dout, x, beta, threshold: _softplus_slope(dout, mul(x, beta), threshold),
    ulp=4, flops=27, special=(-20.0, 20.0, 21.0), baselines=_aten("softplus_backward", "beta", "threshold"),
    reference=lambda dout, x, beta, threshold: dout * np.where(x * beta > threshold, 1.0, logistic(x * beta)),
    magnitude=lambda dout, x, beta, threshold: (
        np.abs(dout) * np.where(x * beta > threshold, 1.0, logistic(x * beta) * _softplus_growth(x, beta))
    ),
    samples=[Sample((5, 7), (5, 7), beta=1.7, threshold=1.0, why="another beta and threshold")],
)  # fmt: skip
def softplus_backward(dout: Spec, x: Spec, beta: float = 1.0, threshold: float = 20.0) -> None:
    """Gradient of softplus: dout times the logistic function of beta x; dout where that is above `threshold`."""


def _softplus_slope(dout: Any, y: Any, threshold: float) -> Any:
    return where(gt(y, threshold), dout, mul(dout, sigmoid(y)))


@softplus_backward.gradient("dout")
def _(ddx: Any, x: Any, beta: float, threshold: float) -> Any:
    return softplus_backward(ddx, x, beta, threshold)


@softplus_backward.gradient("x")
def _(ddx: Any, dout: Any, x: Any, beta: float, threshold: float) -> Any:
    y = mul(x, beta)
    s = sigmoid(y)
    return where(gt(y, threshold), 0.0, mul(mul(mul(ddx, dout), beta), mul(s, sub(1, s))))
