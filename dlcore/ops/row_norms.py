"""Layer and RMS normalisation: each row by its own mean and standard deviation, or by the root of its mean square.

A row is what lies along the last axes, `normalized_shape`. Mean and 1 / standard deviation of each row are kept in
float32 or wider for the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np

from dlcore._arguments import called, integers, number, operand
from dlcore.dtypes import DType, float32, float64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Domain, ErrorInput, Input, OutputMask, Sample, Spec, Workload
from dlcore.ops._norms import (
    Norm,
    centred,
    check_eps,
    check_vectors,
    common,
    numpy_centred,
    numpy_mean,
    numpy_size,
    of_gradient,
    wide,
    widened,
)
from dlcore.ops._workloads import bytes_of, on_gpu
from dlcore.ops.elementwise import add, cast, mul, rsqrt, square, sub
from dlcore.ops.reduce import mean as mean_
from dlcore.ops.reduce import sum as sum_
from dlcore.ops.statistics import var_mean

__all__ = ["layer_norm", "rms_norm"]

POSITIVE = Domain(0.5, 2.0)
ROWS = (((4096, 1024), (1024,), "4096 x 1024"), ((16, 64, 128), (128,), "a small transformer"))
LARGE = ((16384, 4096), (4096,))


def _last(ndim: int, axes: int) -> tuple[int, ...]:
    """The last ``axes`` of ``ndim`` axes."""
    return tuple(range(ndim - axes, ndim))


def _first(ndim: int, axes: int) -> tuple[int, ...]:
    """The others."""
    return tuple(range(ndim - axes))


def _tail(name: str, x: Spec, axes: int) -> tuple[int, ...]:
    """The shape of a row."""
    if not 1 <= axes <= len(x.shape):
        raise ShapeError(f"{name}: x of shape {x.shape} has no {axes} last axes to normalise")
    return x.shape[len(x.shape) - axes :]


# ---- forward --------------------------------------------------------------------------------------------------------


class RowNorm(Norm):
    """layer_norm or rms_norm of the last `axes`, with what of each row is kept."""

    cast = "float32"
    batching = "leading"

    def family_kernels(self) -> dict[str, str]:
        """Those of both devices."""
        return {"cpu": f"norm:{self.name}", "cuda": f"norm.rows:{self.name}"}

    def promote(self, specs: Sequence[Spec | None]) -> Sequence[DType | None]:
        """One dtype for all, but that of 16-bit floats weights may be wider."""
        return common(specs, len(specs) - 1)

    def params(self, axes: int, eps: float) -> tuple[int, float]:
        """Both."""
        return axes, eps

    def infer(self, x: Spec, *rest: Any) -> list[Spec]:
        """The shape of x, and a number for each row."""
        *vectors, axes, eps = rest
        names = self.input_names[1:]
        check_vectors(self.name, _tail(self.name, x, axes), x, **dict(zip(names, vectors, strict=True)))
        check_eps(self.name, eps)
        kept = Spec(x.shape[: len(x.shape) - axes], wide(x.dtype))
        return [Spec(x.shape, x.dtype), *[kept] * len(self.extra_names)]

    def cost(self, x: Spec, *rest: Any) -> tuple[float, float]:
        """One pass."""
        return 8.0 * math.prod(x.shape), bytes_of(x, x, *rest[:-2])

    def family_samples(self) -> Iterator[Sample]:
        more = len(self.input_names) - 1
        for shape, tail, why in (((5, 33), (33,), "rows"), ((3, 4, 5, 7), (5, 7), "2 axes"), ((70, 9), (9,), "short")):
            yield Sample(shape, *[tail] * more, axes=len(tail), why=why)
        yield Sample((6, 40), *[None] * more, axes=1, eps=0.1, why="nothing but x")
        yield Sample((2, 9001), *[(9001,)] * more, axes=1, grad=False, why="rows of several blocks")
        far = Input((4, 50), draw=lambda rng: rng.standard_normal((4, 50)) + 4096.0)
        yield Sample(far, *[(50,)] * more, axes=1, grad=False, why="far from 0")
        special = np.array([[np.inf, 1.0], [np.nan, 1.0], [0.0, 0.0], [1.0, -2.0]])
        yield Sample(special, *[(2,)] * more, axes=1, grad=False, why="NaN, infinity, zeros")
        yield Sample((0, 4), *[(4,)] * more, axes=1, why="no rows")
        yield Sample(np.zeros((3, 0)), *[np.zeros(0)] * more, axes=1, grad=False, why="empty rows")

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        x, name, more = np.zeros((2, 3)), self.name, len(self.input_names) - 1
        text = f"{name}: weight has shape (2,), not (3,), for x of shape (2, 3)"
        yield ErrorInput(ShapeError, text, x, np.zeros(2), *[None] * (more - 1), axes=1)
        text = f"{name}: x of shape (2, 3) has no 3 last axes to normalise"
        yield ErrorInput(ShapeError, text, x, *[None] * more, axes=3)
        text = f"{name}: eps is -1.0, not a number from 0 on"
        yield ErrorInput(ValueError, text, x, *[None] * more, axes=1, eps=-1.0)
        text = f"{name}: x (2, 3) is of int64; it must be of a floating dtype: x.float()"
        yield ErrorInput(DTypeError, text, np.zeros((2, 3), np.int64), *[None] * more, axes=1)

    def family_workloads(self) -> Iterator[Workload]:
        more = len(self.input_names) - 1
        for shape, tail, why in ROWS:
            yield Workload((shape, *[tail] * more), (1, 1e-5), why)
        yield on_gpu((LARGE[0], *[LARGE[1]] * more), (1, 1e-5))


row_norm = RowNorm.definition


@row_norm(
    extras="mean rstd", ulp=6,
    baselines={
        "torch": "F.layer_norm(x, x.shape[-axes:], weight, bias, eps)",
        "jax": "(x - jnp.mean(x, -1, keepdims=True)) * jax.lax.rsqrt(jnp.var(x, -1, keepdims=True) + eps)"
        " * weight + bias",
    },
)  # fmt: skip
def layer_norm_forward(x: Spec, weight: Spec | None, bias: Spec | None, axes: int, eps: float = 1e-5) -> None:
    """`x` with each row along its last `axes` normalised: (x - mean) / sqrt(var + eps) * weight + bias.

    `weight`, `bias`: of the shape of a row. Sums are accumulated in float32 within blocks and in float64 beyond.
    """


def _statistics(x: Any, axes: int, eps: float) -> tuple[Any, Any]:
    """Mean and 1 / standard deviation of each row, as functions of x."""
    var, mean = var_mean(widened(x), _last(x.ndim, axes))
    return mean, rsqrt(add(var, eps))


def _beside(value: Any, axes: int) -> Any:
    """A number of each row, beside its elements."""
    return value.reshape((*value.shape, *[1] * axes))


@layer_norm_forward.composite
def _(x: Any, weight: Any, bias: Any, axes: int, eps: float) -> Any:
    rest, _, var = centred(x, _last(x.ndim, axes))
    out = mul(rest, rsqrt(add(var, eps)))
    out = out if weight is None else mul(out, widened(weight))
    out = out if bias is None else add(out, widened(bias))
    return out if out.dtype is x.dtype else cast(out, x.dtype)


@layer_norm_forward.gradient("x", "weight", "bias")
def _(
    dout: Any, x: Any, weight: Any, mean: Any, rstd: Any, axes: int, eps: float,
    needs_input_grad: tuple[bool, bool, bool], create_graph: bool,
) -> Any:  # fmt: skip
    if create_graph:  # as functions of x, for a second gradient to go through
        mean, rstd = _statistics(x, axes, eps)
    return layer_norm_backward(dout, x, mean, rstd, weight, needs_input_grad)


@layer_norm_forward.reference
def _(x: Any, weight: Any, bias: Any, axes: int, eps: float) -> Any:
    rest, var = numpy_centred(x, tuple(range(x.ndim - axes, x.ndim)))
    return rest / np.sqrt(var + eps) * (1 if weight is None else weight) + (0 if bias is None else bias)


@layer_norm_forward.magnitude
def _(x: Any, weight: Any, bias: Any, axes: int, eps: float) -> Any:
    size = numpy_size(x, _last(x.ndim, axes), eps)
    return size * (1 if weight is None else np.abs(weight)) + (0 if bias is None else np.abs(bias))


@row_norm(
    extras="rstd",
    baselines={
        "torch": "F.rms_norm(x, x.shape[-axes:], weight, eps)",
        "jax": "x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + eps) * weight",
    },
)  # fmt: skip
def rms_norm_forward(x: Spec, weight: Spec | None, axes: int, eps: float = 1e-5) -> None:
    """`x` with each row along its last `axes` over the root of its mean square: x / sqrt(mean(x^2) + eps) * weight.

    `weight`: of the shape of a row. Sums are accumulated in float32 within blocks and in float64 beyond.
    """


def _root(x: Any, axes: int, eps: float) -> Any:
    """1 / root of the mean square of each row, as a function of x."""
    return rsqrt(add(mean_(square(widened(x)), _last(x.ndim, axes)), eps))


@rms_norm_forward.composite
def _(x: Any, weight: Any, axes: int, eps: float) -> Any:
    out = mul(widened(x), _beside(_root(x, axes, eps), axes))
    out = out if weight is None else mul(out, widened(weight))
    return out if out.dtype is x.dtype else cast(out, x.dtype)


@rms_norm_forward.gradient("x", "weight")
def _(
    dout: Any, x: Any, weight: Any, rstd: Any, axes: int, eps: float, needs_input_grad: tuple[bool, bool],
    create_graph: bool,
) -> Any:  # fmt: skip
    if create_graph:
        rstd = _root(x, axes, eps)
    return rms_norm_backward(dout, x, rstd, weight, needs_input_grad)


@rms_norm_forward.reference
def _(x: Any, weight: Any, axes: int, eps: float) -> Any:
    root = np.sqrt(numpy_mean(x * x, tuple(range(x.ndim - axes, x.ndim))) + eps)
    return x / root * (1 if weight is None else weight)


# ---- gradients ------------------------------------------------------------------------------------------------------


class RowNormBackward(Norm):
    """The gradient of one, from what it kept of each row."""

    ulp = 6
    batching = "composite"

    def family_kernels(self) -> dict[str, str]:
        """Those of both devices."""
        return {"cpu": f"norm:{self.name}", "cuda": f"norm.rows:{self.name}"}

    def promote(self, specs: Sequence[Spec | None]) -> Sequence[DType | None]:
        """That of x for dout too."""
        return of_gradient(specs)

    def params(self) -> tuple[()]:
        """None: shapes say it all."""
        return ()

    def infer(self, dout: Spec, x: Spec, *rest: Any) -> list[Spec]:
        """The gradients of x, and of what has the shape of a row."""
        *kept, weight, _ = rest
        if dout.shape != x.shape:
            raise ShapeError(f"{self.name}: dout has shape {dout.shape}, x {x.shape}")
        rows = kept[-1].shape
        if any(k.shape != rows for k in kept) or x.shape[: len(rows)] != rows or len(rows) >= len(x.shape):
            found = " and ".join(f"{n} {k.shape}" for n, k in zip(self.input_names[2:], kept, strict=False))
            raise ShapeError(f"{self.name}: for x of shape {x.shape}, {found} do not hold a number for each row")
        tail = x.shape[len(rows) :]
        check_vectors(self.name, tail, x, weight=weight)
        vector = Spec(tail, wide(x.dtype) if weight is None else weight.dtype)
        return [Spec(x.shape, x.dtype), *[vector] * (len(self.output_names) - 1)]

    def cost(self, x: Spec, weight: Spec | None) -> tuple[float, float]:
        """One pass over x and dout."""
        return 12.0 * math.prod(x.shape), bytes_of(x, x, x, weight, weight, weight)

    def family_samples(self) -> Iterator[Sample]:
        kept, masked = len(self.input_names) - 3, [True] * len(self.output_names)
        for shape, axes, why in (((5, 33), 1, "rows"), ((3, 4, 5, 7), 2, "two axes"), ((70, 9), 1, "short")):
            rows, tail = shape[: len(shape) - axes], shape[len(shape) - axes :]
            yield Sample(shape, shape, *[rows] * kept, tail, why=why)
        yield Sample((6, 40), (6, 40), *[(6,)] * kept, None, mask=(True, *masked[2:], False), why="no weight")
        yield Sample((6, 40), (6, 40), *[(6,)] * kept, (40,), mask=(False, *masked[1:]), why="no dx")
        yield Sample((2, 9001), (2, 9001), *[(2,)] * kept, (9001,), grad=False, why="rows of several blocks")
        yield Sample((0, 4), (0, 4), *[(0,)] * kept, (4,), why="no rows")
        dout = Input((6, 40), dtype=float32)
        yield Sample(dout, (6, 40), *[(6,)] * kept, (40,), grad=False, why="dout of another dtype")

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        x, rows, kept = np.zeros((2, 3)), np.ones(2), len(self.input_names) - 3
        text = f"{self.name}: dout has shape (2,), x (2, 3)"
        yield ErrorInput(ShapeError, text, rows, x, *[rows] * kept, None)
        text = f"{self.name}: weight has shape (2,), not (3,), for x of shape (2, 3)"
        yield ErrorInput(ShapeError, text, x, x, *[rows] * kept, rows)

    def family_workloads(self) -> Iterator[Workload]:
        kept = len(self.input_names) - 3
        for shape, tail, why in ROWS:
            rows = Input(shape[:-1], 0.5, 2.0, float32)
            yield Workload((shape, shape, *[rows] * kept, tail), (), why, (float32,))
        yield on_gpu((LARGE[0], LARGE[0], *[Input(LARGE[0][:1], 0.5, 2.0, float32)] * kept, LARGE[1]))


row_norm_backward = RowNormBackward.definition


@row_norm_backward(
    outputs="dx dweight dbias",
    baselines={
        "torch": "torch.ops.aten.native_layer_norm_backward(dout, x, x.shape[mean.ndim:], mean.unsqueeze(-1), "
        "rstd.unsqueeze(-1), weight, weight, [True, True, True])"
    },
)  # fmt: skip
def layer_norm_backward(
    dout: Spec, x: Spec, mean: Spec, rstd: Annotated[Spec, POSITIVE], weight: Spec | None,
    mask: OutputMask = (True, True, True),
) -> None:  # fmt: skip
    """Gradients of `layer_norm_forward` for x, weight and bias, from the mean and 1 / standard deviation of each row.

    With xhat = (x - mean) rstd and g = dout weight: dx = rstd (g - mean(g) - xhat mean(g xhat)), dweight and dbias the
    sums over all rows of dout xhat and dout. One pass; sums over rows in fixed parts, added in order in float64.
    """


@layer_norm_backward.composite
def _(dout: Any, x: Any, mean: Any, rstd: Any, weight: Any, mask: Sequence[bool]) -> tuple[Any, ...]:
    axes = x.ndim - rstd.ndim
    rest = sub(widened(x), _beside(mean, axes))
    return _gradients(dout, x, rest, rstd, weight, mask, True)


def _gradients(
    dout: Any, x: Any, without_mean: Any, rstd: Any, weight: Any, mask: Sequence[bool], with_mean: bool
) -> tuple[Any, ...]:  # fmt: skip
    axes = x.ndim - rstd.ndim
    last, first, beside = _last(x.ndim, axes), _first(x.ndim, axes), _beside(rstd, axes)
    xhat, dy = mul(without_mean, beside), widened(dout)
    g = dy if weight is None else mul(dy, widened(weight))
    rest = mul(xhat, mean_(mul(g, xhat), last, True))
    rest = add(rest, mean_(g, last, True)) if with_mean else rest
    found = cast(mul(sub(g, rest), beside), x.dtype), sum_(mul(dy, xhat), first), sum_(dy, first)
    to = beside.dtype if weight is None else weight.dtype
    return tuple(
        None if not wanted else value if value.dtype is to or k == 0 else cast(value, to)
        for k, (value, wanted) in enumerate(zip(found, mask, strict=False))
    )


@layer_norm_backward.reference
def _(dout: Any, x: Any, mean: Any, rstd: Any, weight: Any) -> tuple[Any, ...]:
    shape = (*rstd.shape, *[1] * (x.ndim - rstd.ndim))
    last, first = tuple(range(rstd.ndim, x.ndim)), tuple(range(rstd.ndim))
    xhat, g = (x - mean.reshape(shape)) * rstd.reshape(shape), dout * (1 if weight is None else weight)
    dx = g - numpy_mean(g, last) - xhat * numpy_mean(g * xhat, last)
    return dx * rstd.reshape(shape), (dout * xhat).sum(first), dout.sum(first)


@layer_norm_backward.magnitude
def _(dout: Any, x: Any, mean: Any, rstd: Any, weight: Any) -> tuple[Any, ...]:
    return _sizes(dout, np.abs(x) + np.abs(mean.reshape((*rstd.shape, *[1] * (x.ndim - rstd.ndim)))), rstd, weight)


def _sizes(dout: Any, x: Any, rstd: Any, weight: Any) -> tuple[Any, ...]:
    shape = (*rstd.shape, *[1] * (x.ndim - rstd.ndim))
    last, first = tuple(range(rstd.ndim, x.ndim)), tuple(range(rstd.ndim))
    xhat, dout = np.abs(x) * rstd.reshape(shape), np.abs(dout)
    g = dout * (1 if weight is None else np.abs(weight))
    dx = g + numpy_mean(g, last) + xhat * numpy_mean(g * xhat, last)
    return dx * rstd.reshape(shape), (dout * xhat).sum(first), dout.sum(first)


@row_norm_backward(
    outputs="dx dweight",
    baselines={
        "torch": "(lambda g, h: (rstd.unsqueeze(-1) * (g - h * (g * h).mean(-1, True)), "
        "(dout * h).flatten(0, -2).sum(0)))(dout * weight, x * rstd.unsqueeze(-1))"
    },
)  # fmt: skip
def rms_norm_backward(
    dout: Spec, x: Spec, rstd: Annotated[Spec, POSITIVE], weight: Spec | None, mask: OutputMask = (True, True)
) -> None:  # fmt: skip
    """Gradients of `rms_norm_forward` for x and weight, from 1 / root of the mean square of each row.

    With xhat = x rstd and g = dout weight: dx = rstd (g - xhat mean(g xhat)), dweight = the sum over all rows of
    dout xhat. One pass; sums over rows in fixed parts, added in order in float64.
    """


@rms_norm_backward.composite
def _(dout: Any, x: Any, rstd: Any, weight: Any, mask: Sequence[bool]) -> tuple[Any, ...]:
    return _gradients(dout, x, widened(x), rstd, weight, mask, False)


@rms_norm_backward.reference
def _(dout: Any, x: Any, rstd: Any, weight: Any) -> tuple[Any, ...]:
    shape = (*rstd.shape, *[1] * (x.ndim - rstd.ndim))
    xhat, g = x * rstd.reshape(shape), dout * (1 if weight is None else weight)
    dx = g - xhat * numpy_mean(g * xhat, tuple(range(rstd.ndim, x.ndim)))
    return dx * rstd.reshape(shape), (dout * xhat).sum(tuple(range(rstd.ndim)))


@rms_norm_backward.magnitude
def _(dout: Any, x: Any, rstd: Any, weight: Any) -> tuple[Any, ...]:
    return _sizes(dout, x, rstd, weight)[:2]


# ---- the public functions -------------------------------------------------------------------------------------------


def _axes(name: str, x: Any, normalized_shape: Any) -> int:
    """How many axes are normalised; raises where the last axes are not of this shape."""
    tail = integers(normalized_shape, f"{name}: normalized_shape")
    if not tail or x.shape[-len(tail) :] != tail:
        raise ShapeError(f"{name}: x of shape {x.shape} does not end in normalized_shape {tail}")
    return len(tail)


def layer_norm(
    input: Any, normalized_shape: int | Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:  # fmt: skip
    """`input` with each row normalised: (x - mean) / sqrt(var + eps) * weight + bias (Ba et al. 2016).

    A row is what lies along the last axes, whose lengths `normalized_shape` says; `weight` and `bias` have that shape,
    each may be None. The variance is the biased one. Statistics are kept in float32 (float64 for float64) whatever the
    dtype of `input`; under autocast all is computed in float32. Raises ShapeError where shapes do not fit.

    >>> dl.layer_norm(dl.tensor([[1.0, 3.0], [5.0, 9.0]]), 2, eps=0.0)
    tensor([[-1.,  1.],
            [-1.,  1.]])
    """
    x = operand(input, "layer_norm")
    axes = _axes("layer_norm", x, normalized_shape)
    return called("layer_norm", layer_norm_forward, x, weight, bias, axes, eps)


def rms_norm(
    input: Any, normalized_shape: int | Sequence[int], weight: Any = None, eps: float | None = None
) -> Any:  # fmt: skip
    """`input` with each row divided by the root of its mean square: x / sqrt(mean(x^2) + eps) * weight (Zhang 2019).

    A row is what lies along the last axes, whose lengths `normalized_shape` says; `weight` has that shape or is None.
    ``eps`` None: that of float32 (of float64 for float64). Raises ShapeError where shapes do not fit.

    >>> dl.rms_norm(dl.tensor([[3.0, 4.0]]), 2) * 12.5**0.5
    tensor([[3., 4.]])
    """
    x = operand(input, "rms_norm")
    axes = _axes("rms_norm", x, normalized_shape)
    least = (float64 if x.dtype is float64 else float32).eps if eps is None else number(eps, "rms_norm: eps")
    return called("rms_norm", rms_norm_forward, x, weight, axes, least)
