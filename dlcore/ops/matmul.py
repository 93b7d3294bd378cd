"""Matrix products: matmul, linear with bias and activation in one kernel, and linear's gradients in another.

Shapes: M, N, K as in (M, K) @ (K, N); R is the product of all leading axes of a linear layer's input. Sums run in
float32 or wider, in an order that depends on shapes alone: the same bits for any number of threads, fused or not.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.dtypes import DType, bfloat16, float32, int8, int32, result_type, uint8
from dlcore.errors import ShapeError
from dlcore.op import Dtype, ErrorInput, Input, Op, OutputMask, Sample, Spec, Workload, floating, widest
from dlcore.ops import reduce
from dlcore.ops._activations import ACTIVATIONS, Activation, name_of
from dlcore.ops._domains import limited, without_tiny
from dlcore.ops._matmul_cases import WIDE, error_inputs, samples, workloads
from dlcore.ops._pointwise import FLOAT, NUMBER, check_dtype
from dlcore.ops._workloads import MODELS, RAGGED, bytes_of, on_gpu
from dlcore.ops.elementwise import add, cast
from dlcore.ops.movement import flatten, reshape, squeeze, transpose, unsqueeze
from dlcore.ops.reduce import numpy_cast

if TYPE_CHECKING:
    from dlcore._commands import Command

__all__ = ["linear", "linear_backward", "matmul"]

Lengths = tuple[int, ...]


class _Product(Op):
    """An operation whose work is matrix products."""

    family = "matmul"
    cast = "low"

    def restrict(self, operands: list[Any], largest: float) -> None:
        """Each product that is a subnormal number is rounded to a multiple of the smallest; the bound allows one."""
        operands[:2] = [without_tiny(x, largest) for x in operands[:2]]


_product = _Product.definition

# ---- matmul ---------------------------------------------------------------------------------------------------------


def _matmul_shape(a: Lengths, b: Lengths) -> Lengths:
    if not a or not b:
        raise ShapeError(f"matmul: operands need at least one axis: {a} @ {b}")
    if a[-1] != (b[-2] if len(b) > 1 else b[0]):
        raise ShapeError(f"matmul: inner sizes differ: {a} @ {b}")
    try:
        batch = np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        raise ShapeError(f"matmul: leading axes do not broadcast: {a} @ {b}") from None
    return (*batch, *(a[-2:-1]), *(b[-1:] if len(b) > 1 else ()))


def _product_of_examples(call: Any) -> Any:
    """One product of all examples (see dlcore/ops/_batching.py): a single one where one operand is shared."""
    (a, b), (m, n), (dtype,) = call.values, (len(s.shape) for s in call.specs), call.attrs
    if not call.is_batched[1] and n <= 2:
        return matmul(a, b, dtype)  # examples are further rows
    if not call.is_batched[0] and n == 1 and m <= 2:
        return matmul(b, transpose(a) if m == 2 else a, dtype)
    a = unsqueeze(a, -2) if m == 1 else a
    b = unsqueeze(b, -1) if n == 1 else b
    ndim = builtins.max(m, n, 2)
    a, b = (_with_axes(x, ndim, batched) for x, batched in zip((a, b), call.is_batched, strict=True))
    out = matmul(a, b, dtype)
    return reshape(out, (call.size, *call.outputs[0].shape)) if 1 in (m, n) else out


def _reference(a: Any, b: Any, dtype: DType | None) -> Any:
    return np.matmul(numpy_cast(a, dtype), numpy_cast(b, dtype))


def _with_axes(x: Any, ndim: int, batched: bool) -> Any:
    """Axes of length 1 behind that of the examples, up to ``ndim`` beside it."""
    missing = ndim + 1 - x.ndim if batched else 0
    return reshape(x, (x.shape[0], *[1] * missing, *x.shape[1:])) if missing else x


def _in_their_dtype(specs: Sequence[Spec | None]) -> Sequence[DType | None]:
    """All operands to their common dtype, but bytes of different signs, which have a product of their own."""
    bytes_alone = builtins.all(s is not None and s.dtype in _BYTES for s in specs)
    return [s and s.dtype for s in specs] if bytes_alone else widest(specs)


def _has_kernel(a: Spec, b: Spec, dtype: DType | None) -> bool:
    """Whether nothing is to be cast: one dtype, or bytes with sums of 32 bits."""
    if dtype is int32 and a.dtype in _BYTES and b.dtype in _BYTES:
        return True
    return a.dtype is b.dtype and dtype in (None, a.dtype)


_BYTES = (int8, uint8)
_TORCH_MATMUL = "product = torch.matmul if dtype is None else torch._int_mm"


@_product(
    batch=_product_of_examples, promote=_in_their_dtype, methods=True, reference=_reference,
    kernels={"cpu": [("matmul:matmul", _has_kernel)], "cuda": [("matmul.plan:matmul", _has_kernel)]},
    magnitude=lambda a, b: np.abs(a) @ np.abs(b),
    baselines={
        "numpy": "np.matmul(a, b, dtype=dtype)", "numpy out": "np.matmul(a, b, out, dtype=dtype)",
        "torch": (_TORCH_MATMUL, "product(a, b)"), "torch out": (_TORCH_MATMUL, "product(a, b, out=out)"),
        "jax": "jnp.matmul(a, b, preferred_element_type=dtype)",
    },
    ulp=4,  # float32: a chain of at most 512 roundings, which mostly cancel
    samples=samples, error_inputs=error_inputs, workloads=workloads,
)  # fmt: skip
def matmul(a: Spec, b: Spec, dtype: Dtype | None = None) -> Spec:
    """The matrix product of `a` (..., M, K) and `b` (..., K, N): (..., M, N), the sums over k of a[m, k] b[k, n].

    Leading axes broadcast. A vector is a row on the left, a column on the right, and its axis is dropped from the
    result, as NumPy does it. Integers wrap around. `dtype`: operands are cast to it first, and it is the result's;
    int8 and uint8 with sums in int32 are multiplied as they are. Raises ShapeError where inner sizes differ or leading
    axes do not broadcast, DTypeError for bool.

    >>> dl.matmul(dl.tensor([[1.0, 2.0]]), dl.tensor([[3.0], [4.0]]))
    tensor([[11.]])
    """
    check_dtype("matmul", NUMBER, a, b)
    shape = _matmul_shape(a.shape, b.shape)
    found = Spec(shape, dtype or result_type([(a.dtype, False), (b.dtype, False)]))
    check_dtype("matmul", NUMBER, found)
    return found


@matmul.composite
def _(a: Any, b: Any, dtype: DType | None) -> Any:
    dtype = dtype or result_type([(a.dtype, False), (b.dtype, False)])
    return matmul(cast(a, dtype), cast(b, dtype))


@matmul.gradient("a")
def _(dout: Any, b: Any, a_shape: Lengths) -> Any:
    dout = _as_matrices(dout, len(a_shape), b.ndim)
    da = matmul(dout, transpose(b if b.ndim > 1 else unsqueeze(b, 1)))
    return da if len(a_shape) > 1 else squeeze(da, -2)


@matmul.gradient("b")
def _(dout: Any, a: Any, b_shape: Lengths) -> Any:
    dout = _as_matrices(dout, a.ndim, len(b_shape))
    if a.ndim == 1:
        a = unsqueeze(a, 0)
    elif a.ndim > 2 and len(b_shape) <= 2:  # one matrix for a whole batch: one product is its gradient
        a, dout = flatten(a, 0, -2), flatten(dout, 0, -2)
    db = matmul(transpose(a), dout)
    return db if len(b_shape) > 1 else squeeze(db, -1)


def _as_matrices(dout: Any, a_ndim: int, b_ndim: int) -> Any:
    """The gradient of a product in which a vector is a row on the left, a column on the right."""
    dout = dout if b_ndim > 1 else unsqueeze(dout, -1)
    return dout if a_ndim > 1 else unsqueeze(dout, -2)


@matmul.cost
def _(a: Spec, b: Spec, dtype: DType | None) -> tuple[float, float]:
    size = math.prod(_matmul_shape(a.shape, b.shape))
    return 2.0 * size * a.shape[-1], bytes_of(a, b) + size * (dtype or a.dtype).itemsize


# ---- linear ---------------------------------------------------------------------------------------------------------


def _linear(x: Any, weight: Any, bias: Any) -> Any:
    """The value before the activation."""
    out = matmul(x, transpose(weight))
    return out if bias is None else add(out, bias)


def _weight(n: int, k: int) -> Input:
    """Weights whose products with standard normal numbers have about that size."""
    return Input((n, k), draw=lambda rng: rng.standard_normal((n, k)) / math.sqrt(k or 1))


def _layers() -> Iterator[tuple[str, int, Lengths, Lengths, Input]]:
    """(model, place, x, out, weight) of the linear layers of the two networks."""
    for name, model in MODELS.items():
        for place, (k, n) in enumerate(model.layers):
            yield name, place, (model.batch, k), (model.batch, n), Input((n, k), -(k**-0.5), k**-0.5)


def _activation_of(name: str, out: Lengths) -> str | None:
    return None if out[1] == MODELS[name].widths[-1] else "relu"


# torch's activations in place: the product is nobody else's.
_TORCH_LINEAR = (
    """activate = {None: lambda y: y, "relu": torch.relu_, "sigmoid": torch.sigmoid_, "tanh": torch.tanh_,
    "gelu": F.gelu, "gelu_tanh": lambda y: F.gelu(y, approximate="tanh")}[activation]""",
    "activate(F.linear(x, weight, bias))",
)
_JAX_LINEAR = (
    """activate = {None: lambda y: y, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh,
    "gelu": lambda y: jax.nn.gelu(y, approximate=False), "gelu_tanh": jax.nn.gelu}[activation]""",
    "activate(x @ weight.T + (0 if bias is None else bias))",
)


@_product(
    batching="leading", kernels={"cuda": "matmul.plan:linear"}, promote=floating, extras="pre",
    ulp=6,  # as matmul, then the roundings of the bias and the activation
    baselines={"torch": _TORCH_LINEAR, "jax": _JAX_LINEAR},
)  # fmt: skip
def linear(x: Spec, weight: Spec, bias: Spec | None = None, activation: Activation = None) -> tuple[Spec, Spec | None]:
    """A linear layer: activation(x @ weight.T + bias), in one kernel.

    `x` (..., K), `weight` (N, K), `bias` (N,) or None give (..., N). `activation` is None, "relu", "sigmoid", "tanh",
    "gelu" or "gelu_tanh", applied to each tile of the product in the cache: the same bits as the separate operations.
    Integers become the default float. Raises ShapeError where shapes do not fit, ValueError for another activation.

    >>> dl.linear(dl.tensor([[1.0, 2.0]]), dl.tensor([[3.0, 4.0], [-5.0, 1.0]]), activation="relu")
    tensor([[11.,  0.]])
    """
    if not x.shape or len(weight.shape) != 2:
        raise ShapeError(f"linear: takes x (..., K) and weight (N, K), not {x.shape} and {weight.shape}")
    if x.shape[-1] != weight.shape[1]:
        raise ShapeError(f"linear: inner sizes differ: x {x.shape}, weight {weight.shape}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"linear: bias {bias.shape} does not fit weight {weight.shape}")
    out = Spec((*x.shape[:-1], weight.shape[0]), x.dtype)
    return out, out if activation and ACTIVATIONS[activation].kept == "pre" else None


@linear.composite
def _(x: Any, weight: Any, bias: Any, activation: str | None) -> Any:
    out = _linear(x, weight, bias)
    return ACTIVATIONS[activation](out) if activation else out


@linear.merge
def _(first: Command, second: Command) -> Command | None:
    """linear, then an activation: linear with that activation, and the value before it where it is still read."""
    activation = name_of(second)
    if first.op is not linear.op or first.attrs != (None,) or activation is None:
        return None
    return first._replace(attrs=(activation,), outputs=(second.outputs[0], first.outputs[0]))


@linear.residuals
def _(activation: str | None) -> tuple[str, ...]:
    return ("x", "weight", "bias", *([ACTIVATIONS[activation].kept] if activation else []))


@linear.gradient("x", "weight", "bias")
def _(
    dout: Any, x: Any, weight: Any, bias: Any, out: Any, pre: Any, activation: str | None,
    needs_input_grad: tuple[bool, bool, bool], create_graph: bool,
) -> Any:  # fmt: skip
    kept = out if pre is None else pre
    if create_graph and pre is not None:  # as a function of the operands, for a second gradient to go through
        kept = _linear(x, weight, bias)
    return linear_backward(dout, x, weight, kept, activation, needs_input_grad)


@linear.reference
def _(x: Any, weight: Any, bias: Any, activation: str | None) -> Any:
    out = x @ weight.T + (0.0 if bias is None else bias)
    return ACTIVATIONS[activation].reference(out) if activation else out


@linear.magnitude
def _(x: Any, weight: Any, bias: Any, activation: str | None) -> Any:
    pre = np.abs(x) @ np.abs(weight).T + (0.0 if bias is None else np.abs(bias))
    return pre * ACTIVATIONS[activation].slope + ACTIVATIONS[activation].bound if activation else pre


@linear.cost
def _(x: Spec, weight: Spec, bias: Spec | None, activation: str | None) -> tuple[float, float]:
    rows, (n, k) = math.prod(x.shape[:-1]), weight.shape
    stored = rows * k + n * k + rows * n + (n if bias else 0)
    return 2.0 * rows * n * k + rows * n * (bool(bias) + bool(activation)), float(stored * x.dtype.itemsize)


@linear.samples
def _() -> Iterator[Sample]:
    def sample(x: Lengths, n: int, activation: str | None, why: str, bias: bool = True, grad: bool = True) -> Sample:
        weight = _weight(n, x[-1])
        return Sample(x, weight, (n,) if bias else None, activation=activation, why=why, grad=grad)

    for name in (None, *ACTIVATIONS):
        yield sample((33, 17), 65, name, f"{name}, no multiple of a tile")
    yield sample((15, 70), 33, "tanh", "no bias", bias=False)
    yield sample((7,), 5, None, "a vector, no bias", bias=False)
    yield sample((2, 3, 5), 10, "relu", "leading axes")
    yield sample((0, 3), 4, "gelu", "no rows")
    yield sample((3, 0), 4, "sigmoid", "empty sum")
    yield sample((3, 4), 0, "relu", "no columns")
    yield sample((5, 1100), 7, "gelu_tanh", "several slices of k", grad=False)
    yield sample((64, 64), 128, "relu", "64-128", grad=False)
    yield sample((128, 784), 256, "relu", "784-256, several threads", grad=False)


@linear.error_inputs
def _() -> Iterator[ErrorInput]:
    x, weight = np.zeros((2, 3)), np.zeros((4, 3))
    takes = "linear: takes x (..., K) and weight (N, K), not "
    yield ErrorInput(ShapeError, "linear: inner sizes differ: x (2, 3), weight (4, 5)", x, np.zeros((4, 5)), None)
    yield ErrorInput(ShapeError, "linear: bias (3,) does not fit weight (4, 3)", x, weight, np.zeros(3))
    yield ErrorInput(ShapeError, takes + "() and (4, 3)", np.zeros(()), weight, None)
    yield ErrorInput(ShapeError, takes + "(2, 3) and (3,)", x, np.zeros(3), None)


@linear.workloads
def _() -> Iterator[Workload]:
    for name, place, x, out, weight in _layers():
        quick = "both" if (name, place) == ("b", 0) else ""
        operands = x, weight, (out[1],)
        yield Workload(operands, (_activation_of(name, out),), f"layer {place} of model {name}", quick=quick)
    yield Workload(((1023, 517), (1025, 517), (1025,)), ("gelu",), "ragged", (float32,))
    yield on_gpu([WIDE, WIDE, (4096,)], ("gelu",), (bfloat16, float32))
    yield on_gpu([(16384, 1024), (4096, 1024), (4096,)], ("relu",))


@linear.restrict
def _(operands: list[Any], largest: float) -> None:
    """The product is rounded to its dtype before the bias is added, as the separate operations do it: where that
    overflows, an infinite bias of the other sign makes NaN."""
    operands[:2] = [without_tiny(x, largest) for x in operands[:2]]
    if isinstance(operands[2], np.ndarray):
        operands[2] = np.where(np.isinf(operands[2]), 1.0, operands[2])


# ---- linear_backward ------------------------------------------------------------------------------------------------


_TORCH_BACKWARD = """aten = torch.ops.aten
slope = {None: lambda dout, saved: dout, "relu": lambda dout, saved: aten.threshold_backward(dout, saved, 0),
    "gelu": aten.gelu_backward}[activation]
def backward(dout, x, weight, saved):
    dpre = slope(dout, saved)
    return dpre @ weight if output_mask[0] else None, dpre.T @ x, dpre.sum(0)"""
_JAX_BACKWARD = """gelu = lambda x: jax.nn.gelu(x, approximate=False)
slope = {None: lambda dout, saved: dout, "relu": lambda dout, saved: jnp.where(saved > 0, dout, 0),
    "gelu": lambda dout, saved: jax.vjp(gelu, saved)[1](dout)[0]}[activation]
def backward(dout, x, weight, saved):
    dpre = slope(dout, saved)
    return dpre @ weight if output_mask[0] else None, dpre.T @ x, dpre.sum(0)"""


@_product(
    batching="composite", kernels={"cuda": "matmul.linear_backward:linear_backward"}, outputs="dx dweight dbias",
    ulp=10,  # as linear, then the rounding of dpre, whose own bound is 7 for the gelus
    baselines={
        "torch": (_TORCH_BACKWARD, "backward(dout, x, weight, saved)"),
        "jax": (_JAX_BACKWARD, "backward(dout, x, weight, saved)"),
    },
    error_inputs=[
        ErrorInput(ShapeError, "linear_backward: shapes do not fit: dout (2, 4), x (2, 3), weight (5, 3)",
                   np.zeros((2, 4)), np.zeros((2, 3)), np.zeros((5, 3)), None),
        ErrorInput(ShapeError, "linear_backward: saved None does not fit dout (2, 4) and activation 'relu'",
                   np.zeros((2, 4)), np.zeros((2, 3)), np.zeros((4, 3)), None, activation="relu"),
    ],
)  # fmt: skip
def linear_backward(
    dout: Spec, x: Spec, weight: Spec, saved: Spec | None = None, activation: Activation = None,
    output_mask: OutputMask = (True, True, True),
) -> tuple[Spec, Spec, Spec]:  # fmt: skip
    """Gradients of linear: dx (..., K), dweight (N, K) and dbias (N,), each None where `output_mask` says so.

    With dpre = dout activation'(saved): dx = dpre @ weight, dweight = dpre.T @ x, dbias = the sum of dpre over all
    leading axes. `saved` is linear's output for relu, sigmoid and tanh, the value before the activation for gelu and
    gelu_tanh, and None without activation. Both products are one parallel region.

    >>> x, w = dl.tensor([[1.0, 2.0]]), dl.tensor([[3.0, 4.0]])
    >>> [t.tolist() for t in dl.linear_backward(dl.tensor([[10.0]]), x, w)]
    [[[30.0, 40.0]], [[10.0, 20.0]], [10.0]]
    """
    check_dtype("linear_backward", FLOAT, dout, x, weight)
    if len(weight.shape) != 2 or x.shape[-1:] != weight.shape[1:] or dout.shape != (*x.shape[:-1], weight.shape[0]):
        raise ShapeError(f"linear_backward: shapes do not fit: dout {dout.shape}, x {x.shape}, weight {weight.shape}")
    if (activation is not None) != (saved is not None) or (saved is not None and saved.shape != dout.shape):
        given = None if saved is None else saved.shape
        raise ShapeError(f"linear_backward: saved {given} does not fit dout {dout.shape} and activation {activation!r}")
    return x, weight, Spec(weight.shape[:1], weight.dtype)


@linear_backward.composite
def _(
    dout: Any, x: Any, weight: Any, saved: Any, activation: str | None, output_mask: tuple[bool, ...]
) -> tuple[Any, Any, Any]:  # fmt: skip
    dpre = ACTIVATIONS[activation].backward(dout, saved) if activation else dout
    rows, (n, k) = math.prod(x.shape[:-1]), weight.shape
    flat = reshape(dpre, (rows, n))
    return (
        matmul(dpre, weight) if output_mask[0] else None,
        matmul(transpose(flat), reshape(x, (rows, k))) if output_mask[1] else None,
        reduce.sum(flat, 0) if output_mask[2] else None,
    )


def _terms(x: Any, weight: Any, dpre: Any) -> tuple[Any, Any, Any]:
    flat = dpre.reshape(math.prod(x.shape[:-1]), weight.shape[0])
    return dpre @ weight, flat.T @ x.reshape(flat.shape[0], x.shape[-1]), flat.sum(0)


@linear_backward.reference
def _(dout: Any, x: Any, weight: Any, saved: Any, activation: str | None) -> tuple[Any, ...]:
    return _terms(x, weight, ACTIVATIONS[activation].backward_reference(dout, saved) if activation else dout)


@linear_backward.magnitude
def _(dout: Any, x: Any, weight: Any, saved: Any, activation: str | None) -> tuple[Any, ...]:
    dpre = ACTIVATIONS[activation].backward_magnitude(dout, saved) if activation else np.abs(dout)
    return _terms(np.abs(x), np.abs(weight), dpre)


@linear_backward.merge
def _(first: Command, second: Command) -> Command | None:
    """The gradient of an activation, then that of linear without one: that of linear with this activation. Not on GPUs,
    where a compiler chooses the order in which dbias is summed, for each kernel anew."""
    activation = name_of(first, gradient=True)
    if second.op is not linear_backward.op or second.attrs[0] is not None or activation is None:
        return None
    if second.device.type != "cpu":
        return None
    dout, kept = first.inputs
    _, x, weight, _ = second.inputs
    return second._replace(attrs=(activation, *second.attrs[1:]), inputs=(dout, x, weight, kept))


@linear_backward.cost
def _(
    dout: Spec, x: Spec, weight: Spec, activation: str | None, output_mask: tuple[bool, ...]
) -> tuple[float, float]:  # fmt: skip
    size, (n, k) = math.prod(dout.shape), weight.shape
    to_x, to_weight, to_bias = output_mask
    moved = size * (2 if activation else 1) + (1 + to_x) * math.prod(x.shape) + (1 + to_weight) * n * k
    flops = 2.0 * size * k * (to_x + to_weight) + size * (bool(activation) + to_bias)
    return flops, float(moved * x.dtype.itemsize)


@linear_backward.samples
def _() -> Iterator[Sample]:
    def sample(x: Lengths, n: int, activation: str | None, why: str, grad: bool = True) -> Sample:
        out = (*x[:-1], n)
        kept = Input(out, draw=partial(ACTIVATIONS[activation].kept_domain.draw, shape=out)) if activation else None
        return Sample(out, x, _weight(n, x[-1]), kept, activation=activation, why=why, grad=grad)

    for name in (None, *ACTIVATIONS):
        yield sample((33, 17), 65, name, f"{name}, no multiple of a tile")
    yield sample((7,), 5, "tanh", "a vector")
    yield sample((2, 3, 5), 10, "gelu", "leading axes")
    yield sample((0, 3), 4, "relu", "no rows: gradients of the parameters are 0")
    yield sample((3, 0), 4, None, "empty sum")
    yield sample((200, 9), 40, "sigmoid", "several stripes of rows")
    yield sample((64, 128), 64, "relu", "128-64", grad=False)
    yield sample((128, 784), 256, "relu", "784-256, several threads", grad=False)


@linear_backward.workloads
def _() -> Iterator[Workload]:
    for name, place, x, out, weight in _layers():
        activation = _activation_of(name, out)
        saved = Input(out, -1.0, 1.0) if activation else None
        attrs = activation, (place > 0, True, True)
        yield Workload((out, x, weight, saved), attrs, f"layer {place} of model {name}")
    yield Workload((RAGGED, (1023, 517), (1025, 517), RAGGED), ("gelu",), "ragged", (float32,))
    yield on_gpu([WIDE] * 4, ("gelu",))


@linear_backward.restrict
def _(operands: list[Any], activation: str | None, largest: float, dtype_max: float) -> None:
    """`saved` is what the activation keeps, and is where its gradient's own bound holds. What is finite stays so,
    multiplied by a slope and summed: an infinity may be added, or a 0 multiply it."""
    operands[:2] = [without_tiny(x, largest) for x in operands[:2]]
    operands[0] = limited(operands[0], dtype_max / (2 * max(1, operands[0].size)))
    if activation and isinstance(operands[3], np.ndarray):
        operands[0], operands[3] = ACTIVATIONS[activation].restricted(operands[0], operands[3])
