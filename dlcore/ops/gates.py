"""Activations that take more than a value: prelu's learned slopes, the halves of glu, and tanhshrink."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np

from dlcore._arguments import operand, renamed
from dlcore.errors import ShapeError
from dlcore.op import Axis, AxisOf, Domain, ErrorInput, Op, Sample, Spec, Workload, floating
from dlcore.ops._domains import limited, without_tiny
from dlcore.ops.activation import logistic, sigmoid, tanh
from dlcore.ops.elementwise import add, gt, mul, sub, where
from dlcore.ops.movement import concat, reshape
from dlcore.ops.units import Unit

__all__ = ["glu", "prelu", "tanhshrink"]

_prelu = Unit.named(
    "prelu", "x weight", "x where it is positive, else x times `weight`, which broadcasts.", ulp=0.5, flops=2,
    domains={"x": Domain(gap=0.1)}, reference=lambda x, weight: np.where(x > 0, x, x * weight),
    gradient={"x": lambda dout, x, weight: where(gt(x, 0), dout, mul(dout, weight)),
              "weight": lambda dout, x: where(gt(x, 0), 0.0, mul(dout, x))},
    baselines={"torch": "torch.where(x > 0, x, x * weight)"},
)  # fmt: skip


def prelu(x: Any, weight: Any) -> Any:
    """Rectifier with a learned slope: x where it is positive, else x times `weight` (https://arxiv.org/abs/1502.01852).

    `x`: (N, C, ...) or any other shape. `weight`: one number, () or (1,), or (C,), one for each index of axis 1 (of
    axis 0 where x has no other). The gradient at 0 is `weight`. Raises ShapeError for another shape of it.

    >>> dl.prelu(dl.tensor([[-2.0, -2.0, 3.0]]), dl.tensor([0.5, 0.25, 0.25]))
    tensor([[-1. , -0.5,  3. ]])
    """
    try:
        x, weight = operand(x, "prelu"), operand(weight, "prelu")
        if weight.ndim == 1 and weight.size != 1:
            axis = min(1, x.ndim - 1)
            if x.ndim == 0 or x.shape[axis] != weight.size:
                raise ShapeError(f"prelu: a weight of shape {weight.shape} for x of shape {x.shape}: there is to be "
                                 f"one number, or one for each index of axis 1")  # fmt: skip
            weight = reshape(weight, (weight.size, *[1] * (x.ndim - 1 - axis)))
        elif weight.size != 1 or weight.ndim > 1:
            raise ShapeError(f"prelu: weight has shape {weight.shape}, expected (), (1,) or (C,)")
        elif x.ndim == 0:
            weight = reshape(weight, ())
        return _prelu(x, weight)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise renamed(error, "prelu") from None


def tanhshrink(x: Any) -> Any:
    """What tanh takes away, x - tanh(x).

    >>> dl.tanhshrink(dl.tensor([0.0, 2.0]))
    tensor([0.       , 1.0359724])
    """
    try:
        return sub(x, tanh(x))
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise renamed(error, "tanhshrink") from None


# ---- gates ----------------------------------------------------------------------------------------------------------


class Gate(Op):
    """glu and its gradient."""

    family = "activation"
    promote = staticmethod(floating)
    ulp = 5
    batching = "axis"

    def family_kernels(self) -> dict[str, Any]:
        return {"cpu": f"activation:{self.name}", "cuda": f"activation.gates:{self.name}"}

    def restrict(self, operands: list[Any], largest: float) -> None:
        """No logistic function and no part of a product is a subnormal number, which the rest would enlarge."""
        x = without_tiny(limited(operands[-1], 1e18), largest)
        operands[-1] = np.where((np.abs(x) > 20) & (np.abs(x) < 4000), x / 200, x)


def _halved(name: str, shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """The shape of one half along ``axis``."""
    if shape[axis] % 2:
        raise ShapeError(f"{name}: axis {axis} of shape {shape} cannot be halved")
    return tuple(n // 2 if d == axis else n for d, n in enumerate(shape))


def _numpy_halves(x: Any, axis: int) -> Any:
    return np.split(x, 2, axis)


_WHOLE = [((5, 66), -1, "halves of rows"), ((6, 65), 0, "halves of columns"), ((2, 4, 3, 5), 1, "an axis inside"),
          ((8,), 0, "a vector"), ((3, 0), 1, "empty")]  # fmt: skip


@Gate.definition(
    methods=True, gradient=lambda dout, x, axis: glu_backward(dout, x, axis),
    cost=lambda x: (14.0 * math.prod(x.shape), 1.5 * math.prod(x.shape) * x.dtype.itemsize),
    samples=[
        *(Sample(shape, axis=axis, why=why) for shape, axis, why in _WHOLE),
        Sample((4, 33002), why="several threads", grad=False),
        Sample(np.array([[1.0, -2.0, np.nan, np.inf, 0.5, -np.inf], [0.0, -90.0, 1.0, -1.0, np.nan, 88.0]]).T, axis=1,
               why="special values", grad=False),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "glu: axis 1 of shape (2, 3) cannot be halved", np.zeros((2, 3))),
        ErrorInput(IndexError, "glu: axis 2 is out of range for shape (2, 4)", np.zeros((2, 4)), axis=2),
    ],
    workloads=[Workload(((1024, 2048),), (-1,), "1M"), Workload(((64, 256, 130),), (1,), "channels")],
    baselines={"torch": "F.glu(x, axis)", "jax": "jax.nn.glu(x, axis)"},
)  # fmt: skip
def glu(x: Spec, axis: Axis = -1) -> Spec:
    """Gated linear unit a sigmoid(b), a and b the halves of `x` along `axis` (https://arxiv.org/abs/1612.08083).

    Raises ShapeError where that axis has no even length.

    >>> dl.glu(dl.tensor([[1.0, 2.0, 0.0, 0.0]]))
    tensor([[0.5, 1. ]])
    """
    return Spec(_halved("glu", x.shape, axis), x.dtype)


@glu.reference
def _(x: Any, axis: int) -> Any:
    a, b = _numpy_halves(x, axis)
    return a * logistic(b)


@Gate.definition(
    outputs="dx", cost=lambda x: (30.0 * math.prod(x.shape), 2.5 * math.prod(x.shape) * x.dtype.itemsize),
    samples=[
        *(Sample(_halved("", shape, axis % len(shape)), shape, axis=axis, why=why) for shape, axis, why in _WHOLE),
        Sample((4, 16501), (4, 33002), why="several threads", grad=False),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "glu_backward: dout has shape (2, 1), not (2, 2)", np.zeros((2, 1)), np.zeros((2, 4))),
    ],
    workloads=[Workload(((1024, 1024), (1024, 2048)), (-1,), "1M")],
    baselines={"torch": "torch.ops.aten.glu_backward(dout, x, axis)"},
)  # fmt: skip
def glu_backward(dout: Spec, x: Spec, axis: Annotated[int, AxisOf("x")] = -1) -> Spec:
    """Gradient of glu: dout s to the first half and dout a s (1 - s) to the second, s = sigmoid(b)."""
    half = _halved("glu_backward", x.shape, axis)
    if dout.shape != half:
        raise ShapeError(f"glu_backward: dout has shape {dout.shape}, not {half}")
    return Spec(x.shape, x.dtype)


@glu_backward.reference
def _(dout: Any, x: Any, axis: int) -> Any:
    a, b = _numpy_halves(x, axis)
    return np.concatenate([dout * logistic(b), dout * a * logistic(b) * logistic(-b)], axis)


@glu_backward.gradient("dout", "x")
def _(ddx: Any, dout: Any, x: Any, axis: int, needs_input_grad: tuple[bool, bool]) -> Any:
    a, s = (half_of(x, axis, k) for k in (0, 1))
    da, db = (half_of(ddx, axis, k) for k in (0, 1))
    s = sigmoid(s)
    slope = mul(s, sub(1, s))
    first = add(mul(da, s), mul(mul(db, a), slope)) if needs_input_grad[0] else None
    if not needs_input_grad[1]:
        return first, None
    bend = mul(slope, sub(1, mul(s, 2)))
    of_b = add(mul(mul(dout, da), slope), mul(mul(mul(dout, db), a), bend))
    return first, concat([mul(mul(dout, db), slope), of_b], axis)


def half_of(x: Any, axis: int, which: int) -> Any:
    """The first or second half of ``x`` along ``axis``, counted from the front."""
    half = x.shape[axis] // 2
    return x[(*(slice(None),) * axis, slice(which * half, (which + 1) * half))]
