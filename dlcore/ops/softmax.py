"""Probabilities along one axis: softmax, log_softmax and their gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

import numpy as np

from dlcore._arguments import called, operand
from dlcore.dtypes import as_dtype
from dlcore.errors import ShapeError
from dlcore.op import (
    REGISTRY,
    Axis,
    Domain,
    ErrorInput,
    Input,
    Op,
    Sample,
    Spec,
    Workload,
    floating,
    function,
    shape_of,
)
from dlcore.ops._domains import limited, without_subnormal_probabilities
from dlcore.ops._workloads import RAGGED, on_gpu
from dlcore.ops.elementwise import cast, exp, mul, neg, sub
from dlcore.ops.reduce import sum

__all__ = ["log_softmax", "softmax", "softmin"]

_MATRIX = (4096, 1000)

# ---- the families ---------------------------------------------------------------------------------------------------


class _AlongAxis(Op):
    """A function of the lines along one axis. The shape rule may be empty: that of the family keeps shape and dtype."""

    family = "softmax"
    promote = staticmethod(floating)
    cast = "float32"
    flops: float = 20
    """Arithmetic operations an element."""
    large: tuple[tuple[int, int], ...] = ()
    """Shapes that are timed on GPUs alone."""
    ulp = 4
    methods = True

    def infer(self, *args: Any) -> Spec:
        """The operands' shape and dtype."""
        *operands, _ = args
        first, last = operands[0], operands[-1]
        if first.shape != last.shape:
            names = " and ".join(self.input_names)
            raise ShapeError(f"{self.name}: {names} differ in shape: {first.shape} and {last.shape}")
        return Spec(last.shape, last.dtype)

    def cost(self, *args: Any) -> tuple[float, float]:
        """``flops`` an element; each operand read and the result written once."""
        *operands, _ = args
        n = math.prod(operands[0].shape)
        return float(self.flops * n), float((len(operands) + 1) * n * operands[0].dtype.itemsize)

    def family_samples(self) -> Iterator[Sample]:
        x = Input((33, 65), -6.0, 6.0)
        yield Sample(x, axis=-1, why="rows, unaligned")
        yield Sample(x, axis=0, why="columns, unaligned")
        yield Sample((70, 10), axis=1, why="short rows, more than one tile")
        yield Sample((2, 40, 5), axis=1, why="an axis in the middle, lines gathered")
        yield Sample((2, 9, 300), axis=1, why="an axis in the middle, two tiles of columns")
        yield Sample((7, 1), axis=1, why="one class")
        yield Sample((0, 5), axis=1, why="no rows")
        yield Sample((5, 0), axis=1, why="no classes")
        yield Sample((2, 9001), axis=1, why="rows of several blocks", grad=False)
        yield Sample(np.array([[1000.0, 999.0, -1000.0]]), axis=1, why="exp alone would overflow", grad=False)
        special = np.array(
            [[np.inf, 1.0, 2.0], [-np.inf, 1.0, 2.0], [-np.inf] * 3, [np.nan, 1.0, 2.0], [0.0, 1.0, 2.0]], np.float32
        )
        yield Sample(special, axis=1, why="NaN and infinities", grad=False)
        yield Sample(np.repeat(special, 8, axis=1), axis=0, why="NaN and infinities in columns", grad=False)
        yield Sample(_MATRIX, axis=1, why="4096 x 1000", grad=False)

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        yield ErrorInput(IndexError, f"{self.name}: axis -1 is out of range for shape ()", np.zeros(()), axis=-1)

    def family_workloads(self) -> list[Workload]:
        return [
            Workload(((64, 10),), why="classes of model a"), Workload((_MATRIX,), why="1000 classes", quick="forward"),
            Workload((RAGGED,), (0,), "ragged, columns"), *(on_gpu([shape]) for shape in self.large),
        ]  # fmt: skip

    def family_baselines(self) -> dict[str, str]:
        return {"torch": f"torch.{self.name}(x, axis)", "jax": f"jax.nn.{self.name}(x, axis)"}


class _AlongAxisBackward(_AlongAxis):
    """The gradient of one, from its output."""

    outputs = "dx"
    interval: tuple[float, float] = (0.0, 1.0)
    """What outputs are like that are timed."""
    methods = False

    def family_kernels(self) -> dict[str, str]:
        return {"cpu": f"softmax:{self.name}", "cuda": f"softmax.backward:{self.name}"}

    def family_samples(self) -> Iterator[Sample]:
        for forward in super().family_samples():
            (x,) = forward.inputs
            shape, finite = shape_of(x), not isinstance(x, np.ndarray) or np.isfinite(x).all()
            if shape and forward.size and finite:
                yield forward.but(shape, Input(shape, draw=partial(self._output, forward)))
        yield Sample((0, 5), (0, 5), axis=1, why="empty")

    def _output(self, sample: Sample, rng: np.random.Generator) -> Any:
        """What the operation whose gradient this is gives for a sample of its own."""
        forward = REGISTRY[self.name.removesuffix("_backward")]
        arrays = sample.arrays(self.name, forward.signature.operands)
        return forward.expected(forward.values(arrays, tuple(sample.attrs.values())))[0]

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        text = f"{self.name}: dout and out differ in shape: (2, 3) and (3, 2)"
        yield ErrorInput(ShapeError, text, np.zeros((2, 3)), np.zeros((3, 2)), axis=0)

    def family_workloads(self) -> list[Workload]:
        def pair(shape: tuple[int, ...]) -> tuple[Any, ...]:
            return shape, Input(shape, *self.interval)

        return [
            Workload(pair(_MATRIX), why="1000 classes"), Workload(pair(RAGGED), (0,), "ragged, columns"),
            *(on_gpu(pair(shape)) for shape in self.large),
        ]  # fmt: skip


_along_axis, _gradient = _AlongAxis.definition, _AlongAxisBackward.definition


def _below_max(x: Any, axis: int) -> Any:
    """How far each element lies below the maximum: its rounding is what the exponential multiplies."""
    return np.max(x, axis=axis, keepdims=True, initial=-np.inf) - x


# ---- softmax --------------------------------------------------------------------------------------------------------


@_along_axis(
    large=((8192, 4096), (1024, 131072)), gradient=lambda dout, out, axis: softmax_backward(dout, out, axis),
    magnitude=lambda x, axis: _numpy_softmax(x, axis) * (1 + _below_max(x, axis)),
)  # fmt: skip
def softmax(x: Spec, axis: Axis = -1) -> None:
    """Probabilities along `axis`: exp(x - max(x)) / sum(exp(x - max(x))).

    Sums are accumulated in float32 within blocks and in float64 beyond. A line that holds +inf or NaN, or nothing but
    -inf, gives NaN. Integers become float32. Raises IndexError for an axis out of range.

    >>> dl.softmax(dl.tensor([0.0, 0.0, 0.0, 0.0]))
    tensor([0.25, 0.25, 0.25, 0.25])
    """


@softmax.reference
def _numpy_softmax(x: Any, axis: int) -> Any:
    e = np.exp(-_below_max(x, axis))
    return e / np.sum(e, axis=axis, keepdims=True)


@softmax.restrict
def _(operands: list[Any], axis: int, largest: float) -> None:
    """Probabilities that would be subnormal numbers are 0."""
    operands[0] = without_subnormal_probabilities(operands[0], axis, largest)


@_gradient(
    flops=4, interval=(0.0, 0.002), large=((8192, 4096),),
    reference=lambda dout, out, axis: out * (dout - np.sum(dout * out, axis=axis, keepdims=True)),
    magnitude=lambda dout, out, axis: out * (np.abs(dout) + np.sum(np.abs(dout * out), axis=axis, keepdims=True)),
    baselines={
        "torch": "torch.ops.aten._softmax_backward_data(dout, out, axis, out.dtype)",
        "jax": "out * (dout - jnp.sum(dout * out, axis, keepdims=True))",
    },
)  # fmt: skip
def softmax_backward(dout: Spec, out: Annotated[Spec, Domain(0.0, 1.0, strict=True)], axis: Axis = -1) -> None:
    """Gradient of softmax: out * (dout - sum(dout * out)) along `axis`, from its output."""


@softmax_backward.gradient("dout")
def _(ddx: Any, out: Any, axis: int) -> Any:
    return softmax_backward(ddx, out, axis)


@softmax_backward.gradient("out")
def _(ddx: Any, dout: Any, out: Any, axis: int) -> Any:
    # dx = out * (dout - dot), dot = sum(dout * out)
    dot = sum(mul(dout, out), axis, True)
    return sub(mul(ddx, sub(dout, dot)), mul(dout, sum(mul(ddx, out), axis, True)))


@softmax_backward.restrict
def _(operands: list[Any], largest: float) -> None:
    """dout less its mean must be a number: it is multiplied by probabilities that may be 0."""
    operands[0] = limited(operands[0], largest / (4 * max(1, operands[0].size)))


def softmin(x: Any, axis: int = -1) -> Any:
    """Probabilities along ``axis`` that fall as x rises: the `softmax` of -x.

    >>> dl.softmin(dl.tensor([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    return called("softmin", softmax, called("softmin", neg, x), axis)


def _in_dtype(name: str) -> Any:
    """PyTorch's ``dtype``: the operand is cast first."""

    def call(x: Any, axis: int = -1, *, dim: int | None = None, dtype: Any | None) -> Any:
        x = operand(x, name) if dtype is None else cast(operand(x, name), as_dtype(dtype, f"{name}: dtype"))
        return function(name)(x, axis if dim is None else dim)

    return call


softmax.otherwise(_in_dtype("softmax"))

# ---- log_softmax ----------------------------------------------------------------------------------------------------


@_along_axis(
    ulp=3, large=((8192, 32768),), gradient=lambda dout, out, axis: log_softmax_backward(dout, out, axis),
    magnitude=lambda x, axis: 1 + np.abs(_numpy_log_softmax(x, axis)) + _below_max(x, axis),
)  # fmt: skip
def log_softmax(x: Spec, axis: Axis = -1) -> None:
    """Logarithm of the softmax along `axis`: (x - max(x)) - log(sum(exp(x - max(x)))).

    Exact where softmax underflows. Accumulation, special values and errors as in `softmax`.

    >>> dl.log_softmax(dl.tensor([0.0, 0.0])).round(4)
    tensor([-0.6931, -0.6931])
    """


@log_softmax.reference
def _numpy_log_softmax(x: Any, axis: int) -> Any:
    shifted = -_below_max(x, axis)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


@_gradient(
    interval=(-12.0, -5.0),
    reference=lambda dout, out, axis: dout - np.exp(out) * np.sum(dout, axis=axis, keepdims=True),
    baselines={
        "torch": "torch.ops.aten._log_softmax_backward_data(dout, out, axis, out.dtype)",
        "jax": "dout - jnp.exp(out) * jnp.sum(dout, axis, keepdims=True)",
    },
)  # fmt: skip
def log_softmax_backward(dout: Spec, out: Spec, axis: Axis = -1) -> None:
    """Gradient of log_softmax: dout - exp(out) * sum(dout) along `axis`, from its output (at most 0)."""


@log_softmax_backward.gradient("dout")
def _(ddx: Any, out: Any, axis: int) -> Any:
    return sub(ddx, sum(mul(ddx, exp(out)), axis, True))


@log_softmax_backward.gradient("out")
def _(ddx: Any, dout: Any, out: Any, axis: int) -> Any:
    return neg(mul(mul(ddx, exp(out)), sum(dout, axis, True)))


@log_softmax_backward.magnitude
def _(dout: Any, out: Any, axis: int) -> Any:
    return np.abs(dout) + np.exp(out) * (1 - out) * np.sum(np.abs(dout), axis=axis, keepdims=True)


@log_softmax_backward.restrict
def _(operands: list[Any], largest: float) -> None:
    """dout less its mean must be a number. A probability below e^-87 is 0 in float32 (csrc/common/math.inl), and what
    it is multiplied by may be large."""
    operands[0] = limited(operands[0], largest / (4 * max(1, operands[0].size)))
    out = np.minimum(operands[1], 0.0)
    operands[1] = np.where(np.isfinite(out), np.maximum(out, -80.0), out)


log_softmax.otherwise(_in_dtype("log_softmax"))
