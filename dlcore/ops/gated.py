"""Gated activations of feed-forward layers: swiglu, geglu, reglu, each one kernel forward and one backward.

They take a gate and what it lets through as two tensors of one shape, or as the halves of one along an axis, the gate
first, so that the product of a layer with both weights side by side need not be taken apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np

from dlcore.errors import ShapeError
from dlcore.op import Axis, AxisOf, ErrorInput, Op, OutputMask, Sample, Spec, Workload, floating
from dlcore.ops._domains import limited, without_tiny
from dlcore.ops._workloads import MILLION, on_gpu
from dlcore.ops.activation import gelu, gelu_backward, gelu_terms, logistic, numpy_gelu, relu, relu_backward
from dlcore.ops.elementwise import mul
from dlcore.ops.gates import half_of
from dlcore.ops.movement import concat
from dlcore.ops.units import silu, silu_backward

__all__ = ["geglu", "reglu", "swiglu"]

Approximate = Literal["none", "tanh"]
_FAR = 745.0  # e^-745 is the smallest number
_WHOLE = [((5, 66), -1, "halves of rows"), ((6, 65), 0, "halves of columns"), ((2, 4, 3, 5), 1, "an axis inside"),
          ((3, 0), 1, "empty")]  # fmt: skip


class Gated(Op):
    """An operation of `gate` and `up`, the last of its operands, or of `gate` alone, which holds both."""

    family = "activation"
    promote = staticmethod(floating)
    ulp = 9
    batching = "axis"

    def params(self, axis: int) -> tuple[int]:
        """The axis of the halves."""
        return (axis,)

    def family_kernels(self) -> dict[str, Any]:
        """Those of the name; for another `approximate` one more."""
        kernels = {"cpu": f"activation:{self.name}", "cuda": f"activation.gates:{self.name}"}
        if "approximate" not in self.attribute_names:
            return kernels
        exact: Callable[..., bool] = lambda approximate: approximate == "none"  # noqa: E731
        return {d: [(k, exact), (k.replace("geglu", "geglu_tanh"), None)] for d, k in kernels.items()}

    def restrict(self, operands: list[Any], largest: float) -> None:
        """Products of three are finite, and neither they nor values of the activation are subnormal numbers."""
        first = len(self.input_names) - 2
        for k, x in enumerate(operands):
            if isinstance(x, np.ndarray):
                operands[k] = without_tiny(limited(x, largest**0.3), largest)
        x = operands[first]
        operands[first] = np.where((x < -9) & (x > -4000), x / 500, np.where((x > 20) & (x < 4000), x / 200, x))

    def pair(self, gate: Spec, up: Spec | None, axis: int) -> tuple[int, ...]:
        """The shape of what comes out; raises ShapeError."""
        if up is None:
            if gate.shape[axis] % 2:
                raise ShapeError(f"{self.name}: axis {axis} of shape {gate.shape} cannot be halved")
            return tuple(n // 2 if d == axis else n for d, n in enumerate(gate.shape))
        if up.shape != gate.shape:
            raise ShapeError(f"{self.name}: gate has shape {gate.shape}, up {up.shape}")
        return gate.shape


class Forward(Gated):
    """f(gate) up."""

    def infer(self, gate: Spec, up: Spec | None, axis: int) -> Spec:
        """The shape of the gate, or of half of it."""
        return Spec(self.pair(gate, up, axis), gate.dtype)

    def cost(self, gate: Spec, up: Spec | None, axis: int) -> tuple[float, float]:
        """Both read once, the product written."""
        n = math.prod(self.pair(gate, up, axis))
        return 35.0 * n, 3.0 * n * gate.dtype.itemsize

    def family_samples(self) -> Iterator[Sample]:
        for shape, axis, why in _WHOLE:
            yield Sample(shape, None, axis=axis, why=why)
        yield Sample((33, 65), (33, 65), why="two tensors")
        yield Sample((4, 33002), None, why="several threads", grad=False)
        x = np.array([[1.0, -2.0, np.nan, np.inf, 0.5, 0.0], [0.0, -90.0, 1.0, 1.0, np.nan, 88.0]])
        yield Sample(x[0], x[1], why="special values", grad=False)

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        yield ErrorInput(ShapeError, f"{self.name}: axis 1 of shape (2, 3) cannot be halved", np.zeros((2, 3)), None)
        text = f"{self.name}: gate has shape (2, 3), up (3,)"
        yield ErrorInput(ShapeError, text, np.zeros((2, 3)), np.zeros(3))

    def family_workloads(self) -> list[Workload]:
        return [
            Workload(((1024, 2048), None), (), "halves"), Workload((MILLION, MILLION), (), "1M"),
            on_gpu([(8192, 2 * 8192), None]),
        ]  # fmt: skip


class Backward(Gated):
    """dout up f'(gate) and dout f(gate); of halves both in one tensor, the first."""

    outputs = "dgate dup"

    def infer(self, dout: Spec, gate: Spec, up: Spec | None, axis: int) -> list[Spec | None]:
        """The shapes of both."""
        if dout.shape != self.pair(gate, up, axis):
            raise ShapeError(f"{self.name}: dout has shape {dout.shape}, not {self.pair(gate, up, axis)}")
        return [Spec(gate.shape, gate.dtype), up and Spec(up.shape, up.dtype)]

    def cost(self, dout: Spec) -> tuple[float, float]:
        """Three read, two written."""
        n = math.prod(dout.shape)
        return 60.0 * n, 5.0 * n * dout.dtype.itemsize

    def family_samples(self) -> Iterator[Sample]:
        for shape, axis, why in _WHOLE:
            half = tuple(n // 2 if d == axis % len(shape) else n for d, n in enumerate(shape))
            yield Sample(half, shape, None, axis=axis, mask=(True, False), why=why)
        yield Sample((33, 65), (33, 65), (33, 65), why="two tensors")
        yield Sample((33, 65), (33, 65), (33, 65), mask=(True, False), why="the gate alone")
        yield Sample((7, 70), (7, 70), (7, 70), mask=(False, True), why="without the gate")
        yield Sample((4, 16501), (4, 33002), None, mask=(True, False), why="several threads", grad=False)

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        text = f"{self.name}: dout has shape (2, 1), not (2, 2)"
        yield ErrorInput(ShapeError, text, np.zeros((2, 1)), np.zeros((2, 4)), None)

    def family_workloads(self) -> list[Workload]:
        return [
            Workload(((1024, 1024), (1024, 2048), None), (-1, *self._approximation, (True, False)), "halves"),
            Workload((MILLION, MILLION, MILLION), (), "1M"),
        ]

    @property
    def _approximation(self) -> tuple[str, ...]:
        return ("none",) if "approximate" in self.attribute_names else ()


def _torch_gradients(value: str, slope: str) -> dict[str, str]:
    """How PyTorch computes both, in one tensor where both operands are."""
    both = f"({slope}, dout * {value})"
    return {"torch": f"(lambda a, b: (lambda g: g if up is not None else torch.cat(g, axis))({both}))"
            "(*((gate, up) if up is not None else gate.chunk(2, axis)))"}  # fmt: skip


def _both(gate: Any, up: Any, axis: int) -> Any:
    return np.split(gate, 2, axis) if up is None else (gate, up)


def _silu(a: Any) -> Any:
    return np.maximum(a, -_FAR) * logistic(a)


def _silu_slope(a: Any) -> Any:
    return logistic(a) * (1 + np.clip(a, -_FAR, _FAR) * logistic(-a))


def _silu_slope_size(a: Any) -> Any:
    return logistic(a) * (1 + np.minimum(np.abs(a), _FAR) * logistic(-a))


def _gelu_slope(a: Any, approximate: str) -> Any:
    p, rest, _ = gelu_terms(a, approximate)
    return p + rest


def _gelu_sizes(a: Any, approximate: str) -> tuple[Any, Any]:
    """Of gelu and of its slope."""
    p, rest, growth = gelu_terms(a, approximate)
    return np.abs(numpy_gelu(a, approximate)) * growth, (p + np.abs(rest)) * growth


def _relu(a: Any) -> Any:
    return np.where(a <= 0, 0.0, a)


def _relu_slope(a: Any) -> Any:
    return np.where(a <= 0, 0.0, 1.0)


def _gradients(
    dout: Any, gate: Any, up: Any, axis: int, value: Callable[..., Any], slope: Callable[..., Any]
) -> tuple[Any, Any]:  # fmt: skip
    a, b = _both(gate, up, axis)
    da, db = dout * b * slope(a), dout * value(a)
    return (np.concatenate([da, db], axis), None) if up is None else (da, db)


def _sizes(dout: Any, gate: Any, up: Any, axis: int, value: Any, slope: Any) -> tuple[Any, Any]:
    """The same of absolute values."""
    a, b = _both(gate, up, axis)
    da, db = np.abs(dout * b * slope(a)), np.abs(dout * value(a))
    return (np.concatenate([da, db], axis), None) if up is None else (da, db)


def _composed(
    dout: Any, gate: Any, up: Any, axis: int, mask: Sequence[bool], value: Callable[..., Any],
    slope: Callable[..., Any],
) -> tuple[Any, Any]:  # fmt: skip
    """The gradients by the activation's own operations, which can be differentiated."""
    a, b = (half_of(gate, axis, 0), half_of(gate, axis, 1)) if up is None else (gate, up)
    da = slope(mul(dout, b), a) if mask[0] else None
    db = mul(dout, value(a)) if mask[1] or up is None else None
    return (concat([da, db], axis), None) if up is None else (da, db)


def _called(backward: Any, dout: Any, gate: Any, up: Any, attrs: tuple[Any, ...], needs: tuple[bool, bool]) -> Any:
    """The gradients of both operands, or of the one that holds both."""
    return backward(dout, gate, up, *attrs, (True, False) if up is None else needs)


# ---- swiglu ---------------------------------------------------------------------------------------------------------


@Forward.definition(baselines={"torch": "F.silu(gate) * up if up is not None else "
                               "(lambda a, b: F.silu(a) * b)(*gate.chunk(2, axis))"})  # fmt: skip
def swiglu(gate: Spec, up: Spec | None = None, axis: Axis = -1) -> None:
    """silu(gate) up, of two tensors of one shape, or of the halves of `gate` along `axis`, the gate first.

    Rounded once. Raises ShapeError where shapes differ, or the axis has no even length. Shazeer 2020
    (https://arxiv.org/abs/2002.05202).

    >>> dl.swiglu(dl.tensor([0.0, 20.0, 3.0, 3.0]))
    tensor([ 0., 60.])
    """


@swiglu.gradient("gate", "up")
def _(dout: Any, gate: Any, up: Any, axis: int, needs_input_grad: tuple[bool, bool]) -> Any:
    return _called(swiglu_backward, dout, gate, up, (axis,), needs_input_grad)


@swiglu.reference
def _(gate: Any, up: Any, axis: int) -> Any:
    a, b = _both(gate, up, axis)
    return _silu(a) * b


@Backward.definition(baselines=_torch_gradients("F.silu(a)", "torch.ops.aten.silu_backward(dout * b, a)"))
def swiglu_backward(
    dout: Spec, gate: Spec, up: Spec | None = None, axis: Annotated[int, AxisOf("gate")] = -1,
    mask: OutputMask = (True, True),
) -> None:  # fmt: skip
    """Gradients of swiglu: dout up silu'(gate) and dout silu(gate); of halves both in the first."""


@swiglu_backward.composite
def _(dout: Any, gate: Any, up: Any, axis: int, mask: Sequence[bool]) -> Any:
    return _composed(dout, gate, up, axis, mask, silu, silu_backward)


@swiglu_backward.reference
def _(dout: Any, gate: Any, up: Any, axis: int) -> Any:
    return _gradients(dout, gate, up, axis, _silu, _silu_slope)


@swiglu_backward.magnitude
def _(dout: Any, gate: Any, up: Any, axis: int) -> Any:
    return _sizes(dout, gate, up, axis, _silu, _silu_slope_size)


# ---- geglu ----------------------------------------------------------------------------------------------------------


@Forward.definition(baselines={
    "torch": "F.gelu(gate, approximate=approximate) * up if up is not None else "
    "(lambda a, b: F.gelu(a, approximate=approximate) * b)(*gate.chunk(2, axis))"
})  # fmt: skip
def geglu(gate: Spec, up: Spec | None = None, axis: Axis = -1, approximate: Approximate = "none") -> None:
    """gelu(gate) up, of two tensors of one shape, or of the halves of `gate` along `axis`, the gate first.

    `approximate` as of `gelu`. Rounded once. Raises ShapeError where shapes differ, or the axis has no even length.
    Shazeer 2020 (https://arxiv.org/abs/2002.05202).

    >>> dl.geglu(dl.tensor([0.0, 20.0, 3.0, 3.0]))
    tensor([ 0., 60.])
    """


@geglu.gradient("gate", "up")
def _(dout: Any, gate: Any, up: Any, axis: int, approximate: str, needs_input_grad: tuple[bool, bool]) -> Any:
    return _called(geglu_backward, dout, gate, up, (axis, approximate), needs_input_grad)


@geglu.reference
def _(gate: Any, up: Any, axis: int, approximate: str) -> Any:
    a, b = _both(gate, up, axis)
    return numpy_gelu(a, approximate) * b


@geglu.magnitude
def _(gate: Any, up: Any, axis: int, approximate: str) -> Any:
    a, b = _both(gate, up, axis)
    return _gelu_sizes(a, approximate)[0] * np.abs(b)


@geglu.samples
def _() -> Iterator[Sample]:
    yield Sample((5, 66), None, approximate="tanh", why="halves, tanh")
    yield Sample((33, 65), (33, 65), approximate="tanh", why="two tensors, tanh")


@Backward.definition(baselines=_torch_gradients(
    "F.gelu(a, approximate=approximate)", "torch.ops.aten.gelu_backward(dout * b, a, approximate=approximate)"
))  # fmt: skip
def geglu_backward(
    dout: Spec, gate: Spec, up: Spec | None = None, axis: Annotated[int, AxisOf("gate")] = -1,
    approximate: Approximate = "none", mask: OutputMask = (True, True),
) -> None:  # fmt: skip
    """Gradients of geglu: dout up gelu'(gate) and dout gelu(gate); of halves both in the first."""


@geglu_backward.composite
def _(dout: Any, gate: Any, up: Any, axis: int, approximate: str, mask: Sequence[bool]) -> Any:
    return _composed(
        dout, gate, up, axis, mask, lambda a: gelu(a, approximate), lambda d, a: gelu_backward(d, a, approximate)
    )  # fmt: skip


@geglu_backward.reference
def _(dout: Any, gate: Any, up: Any, axis: int, approximate: str) -> Any:
    slope = lambda a: _gelu_slope(a, approximate)  # noqa: E731
    return _gradients(dout, gate, up, axis, lambda a: numpy_gelu(a, approximate), slope)


@geglu_backward.magnitude
def _(dout: Any, gate: Any, up: Any, axis: int, approximate: str) -> Any:
    value, slope = ((lambda a, k=k: _gelu_sizes(a, approximate)[k]) for k in (0, 1))
    return _sizes(dout, gate, up, axis, value, slope)


@geglu_backward.samples
def _() -> Iterator[Sample]:
    yield Sample((5, 33), (5, 66), None, approximate="tanh", mask=(True, False), why="halves, tanh")
    yield Sample((33, 65), (33, 65), (33, 65), approximate="tanh", why="two tensors, tanh")


# ---- reglu ----------------------------------------------------------------------------------------------------------


@Forward.definition(baselines={"torch": "F.relu(gate) * up if up is not None else "
                               "(lambda a, b: F.relu(a) * b)(*gate.chunk(2, axis))"})  # fmt: skip
def reglu(gate: Spec, up: Spec | None = None, axis: Axis = -1) -> None:
    """relu(gate) up, of two tensors of one shape, or of the halves of `gate` along `axis`, the gate first.

    Raises ShapeError where shapes differ, or the axis has no even length. Shazeer 2020
    (https://arxiv.org/abs/2002.05202).

    >>> dl.reglu(dl.tensor([-1.0, 2.0, 3.0, 3.0]))
    tensor([0., 6.])
    """


@reglu.gradient("gate", "up")
def _(dout: Any, gate: Any, up: Any, axis: int, needs_input_grad: tuple[bool, bool]) -> Any:
    return _called(reglu_backward, dout, gate, up, (axis,), needs_input_grad)


@reglu.reference
def _(gate: Any, up: Any, axis: int) -> Any:
    a, b = _both(gate, up, axis)
    return _relu(a) * b


@Backward.definition(baselines=_torch_gradients("F.relu(a)", "torch.where(a > 0, dout * b, 0)"))
def reglu_backward(
    dout: Spec, gate: Spec, up: Spec | None = None, axis: Annotated[int, AxisOf("gate")] = -1,
    mask: OutputMask = (True, True),
) -> None:  # fmt: skip
    """Gradients of reglu: dout up where gate > 0, and dout relu(gate); of halves both in the first."""


@reglu_backward.composite
def _(dout: Any, gate: Any, up: Any, axis: int, mask: Sequence[bool]) -> Any:
    return _composed(dout, gate, up, axis, mask, relu, relu_backward)


@reglu_backward.reference
def _(dout: Any, gate: Any, up: Any, axis: int) -> Any:
    return _gradients(dout, gate, up, axis, _relu, _relu_slope)
