"""Matrix products: matmul, linear with bias and activation in one kernel, and linear's gradients in another.

Shapes: M, N, K as in (M, K) @ (K, N); R is the product of all leading axes of a linear layer's input. Sums run in
float32 or wider, in an order that depends on shapes alone: the same bits for any number of threads, fused or not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlcore.dtypes import INTEGERS, bfloat16, float32
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Op, Operand, Sample, Size, Spec, Wrong, floating
from dlcore.ops import reduce
from dlcore.ops._activations import ACTIVATIONS, NAMES, check_activation, code
from dlcore.ops._pointwise import FLOAT, NUMBER, check_dtype
from dlcore.ops._sizes import MODELS, RAGGED, library, on_gpu
from dlcore.ops.elementwise import add
from dlcore.ops.movement import reshape, transpose

__all__ = ["linear", "linear_backward", "matmul"]

Shape = tuple[int, ...]
Needs = tuple[bool, bool, bool]

# ---- matmul ---------------------------------------------------------------------------------------------------------


def _matmul_shape(a: Shape, b: Shape) -> Shape:
    if not a or not b:
        raise ShapeError(f"matmul: operands need at least one axis: {a} @ {b}")
    if a[-1] != (b[-2] if len(b) > 1 else b[0]):
        raise ShapeError(f"matmul: inner sizes differ: {a} @ {b}")
    try:
        batch = np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        raise ShapeError(f"matmul: leading axes do not broadcast: {a} @ {b}") from None
    return (*batch, *(a[-2:-1]), *(b[-1:] if len(b) > 1 else ()))


def _matmul_infer(a: Spec, b: Spec) -> Spec:
    check_dtype("matmul", NUMBER, a, b)
    return Spec(_matmul_shape(a.shape, b.shape), a.dtype)


def _matrix_shapes(a: Shape, b: Shape) -> tuple[Shape, Shape, Shape]:
    """The shapes of operands and result when a vector is a row on the left, a column on the right."""
    rows, columns = a if len(a) > 1 else (1, *a), b if len(b) > 1 else (*b, 1)
    return rows, columns, _matmul_shape(rows, columns)


def _matmul_vjp(ctx: Any, dout: Any) -> tuple[Any, Any]:
    (a, b), (shape_a, shape_b) = ctx.saved, ctx.shapes
    rows, columns, product = _matrix_shapes(shape_a, shape_b)
    dout, da, db = reshape(dout, product), None, None
    if ctx.needs[0]:
        da = matmul(dout, transpose(reshape(b, columns)))
        da = da if len(shape_a) > 1 else reshape(da, (*da.shape[:-2], da.shape[-1]))
    if ctx.needs[1]:
        a = reshape(a, rows)
        if len(columns) == 2 and len(rows) > 2:  # one matrix for a whole batch: one product is its gradient
            total = math.prod(rows[:-1])
            a, dout = reshape(a, (total, rows[-1])), reshape(dout, (total, columns[-1]))
        db = matmul(transpose(a), dout)
        db = db if len(shape_b) > 1 else reshape(db, db.shape[:-1])
    return da, db


def _matmul_cost(a: Spec, b: Spec) -> tuple[float, float]:
    k = a.shape[-1]
    size = math.prod(_matmul_shape(a.shape, b.shape))
    return 2.0 * size * k, float((math.prod(a.shape) + math.prod(b.shape) + size) * a.dtype.itemsize)


def _pair(rng: np.random.Generator, a: Shape, b: Shape) -> tuple[Any, Any]:
    return rng.standard_normal(a), rng.standard_normal(b)


def _matmul_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample(_pair(rng, (33, 17), (17, 65)), why="no multiple of a tile")
    yield Sample(_pair(rng, (28, 9), (9, 64)), why="whole tiles")
    yield Sample(_pair(rng, (15, 70), (70, 33)), why="one more than a tile")
    yield Sample(_pair(rng, (3, 1), (1, 5)), why="one product an element")
    yield Sample(_pair(rng, (1, 40), (40, 200)), why="row, wide")
    yield Sample(_pair(rng, (130, 40), (40, 1)), why="column")
    yield Sample(_pair(rng, (5,), (5,)), why="vectors")
    yield Sample(_pair(rng, (5,), (2, 5, 3)), why="vector with a batch")
    yield Sample(_pair(rng, (2, 3, 5), (5,)), why="batch with a vector")
    yield Sample(_pair(rng, (2, 1, 3, 5), (4, 5, 2)), why="broadcast both ways")
    yield Sample(_pair(rng, (4, 3, 5), (5, 6)), why="one matrix for a batch")
    yield Sample(_pair(rng, (3, 5), (4, 5, 6)), why="a batch for one matrix")
    yield Sample(_pair(rng, (3, 0), (0, 4)), why="empty sum")
    yield Sample(_pair(rng, (0, 3), (3, 4)), why="empty")
    yield Sample(_pair(rng, (2, 0, 3), (3, 4)), why="empty, batch")
    yield Sample(_pair(rng, (5, 1100), (1100, 7)), why="several slices of k", grad=False)
    yield Sample(_pair(rng, (150, 128), (128, 160)), why="several threads", grad=False)
    a, b = _pair(rng, (4, 6), (6, 5))
    a[0, 1], a[1, 2], b[3, 4] = np.nan, np.inf, -np.inf
    yield Sample((a, b), why="special values", grad=False)
    for dtype in INTEGERS:
        i = np.iinfo(dtype.numpy)
        ints = (rng.integers(i.min, i.max, s, dtype.numpy, endpoint=True) for s in ((5, 9), (9, 33)))
        yield Sample(tuple(ints), why=f"{dtype.name}, wrapping", grad=False)
    for n in (128, 512):
        yield Sample(_pair(rng, (n, n), (n, n)), why=f"square {n}", grad=False)


# What is timed as (M, N, K): squares, and skinny ones of small networks.
_SQUARE = [(n, n, n) for n in (64, 128, 256, 512, 1024, 2048)]
_SKINNY = [(64, 128, 64), (128, 256, 784), (128, 10, 128), (8, 1024, 1024), (4096, 64, 64), (2048, 2048, 32)]
_SKINNY += [(64, 64, 4096)]
_WIDE = (4096, 4096)


def _product(m: int, n: int, k: int, layout: str = "NN", **rest: Any) -> Size:
    """``layout``: T where an operand is stored transposed."""
    a, b = (Operand(s, transposed=c == "T") for s, c in zip(((m, k), (k, n)), layout, strict=True))
    return Size((a, b), **rest)


def _matmul_sizes() -> Iterator[Size]:
    for shape in _SQUARE:
        yield _product(*shape, why="square", quick="forward" if shape[0] in (64, 512) else "")
    for shape in _SKINNY:
        yield _product(*shape, why="skinny", dtypes=(float32,))
    for layout in ("NT", "TN"):
        for shape in (*_SQUARE[1:5], _SKINNY[1], _SKINNY[3]):
            yield _product(*shape, layout, why=layout, dtypes=(float32,))
    yield _product(1023, 1025, 1021, why="ragged", dtypes=(float32,))
    yield on_gpu([_WIDE, _WIDE], dtypes=(bfloat16, float32))
    for m, n, k in ((8192, 8192, 256), (16, 4096, 4096), (1, 4096, 4096), (256, 256, 16384), (1000, 1000, 1000)):
        yield on_gpu([(m, k), (k, n)])
    for batch, n in ((4096, 32), (64, 512)):
        yield on_gpu([(batch, n, n)] * 2)


MATMUL = Op(
    name="matmul",
    doc="""The matrix product of `a` (..., M, K) and `b` (..., K, N): (..., M, N), the sums over k of a[m, k] b[k, n].

    Leading axes broadcast. A vector is a row on the left, a column on the right, and its axis is dropped from the
    result, as NumPy does it. Integers wrap around. Raises ShapeError where inner sizes differ or leading axes do not
    broadcast, DTypeError for bool.""",
    inputs="a b",
    infer=_matmul_infer,
    kernels={"cpu": "matmul:matmul", "cuda": "matmul.plan:matmul"},
    saves={"a": ("b",), "b": ("a",)},
    vjp=_matmul_vjp,
    ref=np.matmul,
    magnitude=lambda a, b: np.abs(a) @ np.abs(b),
    samples=_matmul_samples,
    sizes=tuple(_matmul_sizes()),
    peers=library("matmul", "a b", symbol="@"),
    errors=lambda: [
        Wrong((np.zeros((2, 3)), np.zeros((4, 2))), (), ShapeError, "matmul: inner sizes differ: (2, 3) @ (4, 2)"),
        Wrong((np.zeros((2, 3)), np.zeros(2)), (), ShapeError, "matmul: inner sizes differ: (2, 3) @ (2,)"),
        Wrong((np.zeros(()), np.zeros(3)), (), ShapeError, "matmul: operands need at least one axis: () @ (3,)"),
        Wrong(
            (np.zeros((2, 3, 4)), np.zeros((5, 4, 3))), (), ShapeError,
            "matmul: leading axes do not broadcast: (2, 3, 4) @ (5, 4, 3)",
        ),
        Wrong((np.ones((2, 2), bool), np.ones((2, 2), bool)), (), DTypeError, "matmul: does not take bool"),
    ],
    ulp=4,  # float32: a chain of at most 512 roundings, which mostly cancel
    cost=_matmul_cost,
    cast="low",
)  # fmt: skip
matmul = MATMUL.call

# ---- linear ---------------------------------------------------------------------------------------------------------

def _keeps_pre(activation: str | None) -> bool:
    """Whether the gradient is a function of the value before the activation."""
    return activation is not None and ACTIVATIONS[activation].residual == "pre"


def _linear_infer(x: Spec, weight: Spec, bias: Spec | None, activation: str | None) -> tuple[Spec | None, ...]:
    check_activation("linear", activation)
    if not x.shape or len(weight.shape) != 2:
        raise ShapeError(f"linear: takes x (..., K) and weight (N, K), not {x.shape} and {weight.shape}")
    if x.shape[-1] != weight.shape[1]:
        raise ShapeError(f"linear: inner sizes differ: x {x.shape}, weight {weight.shape}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"linear: bias {bias.shape} does not fit weight {weight.shape}")
    out = Spec((*x.shape[:-1], weight.shape[0]), x.dtype)
    return out, out if _keeps_pre(activation) else None


def _linear_composite(x: Any, weight: Any, bias: Any, activation: str | None) -> Any:
    out = matmul(x, transpose(weight))
    out = out if bias is None else add(out, bias)
    return out if activation is None else ACTIVATIONS[activation](out)


def _linear_vjp(ctx: Any, dout: Any) -> Any:
    x, weight, bias, kept = ctx.saved
    (activation,) = ctx.attrs
    if ctx.taped and _keeps_pre(activation):  # as a function of the operands, for a second gradient to go through
        kept = _linear_composite(x, weight, bias, None)
    return linear_backward(dout, x, weight, kept, activation, tuple(ctx.needs))


def _linear_saves(activation: str | None) -> tuple[str, ...]:
    return "x", "weight", "bias", "out" if activation and not _keeps_pre(activation) else "pre"


def _linear_ref(x: Any, weight: Any, bias: Any, activation: str | None) -> Any:
    pre = x @ weight.T + (0.0 if bias is None else bias)
    return pre if activation is None else ACTIVATIONS[activation].ref(pre)


def _linear_magnitude(x: Any, weight: Any, bias: Any, activation: str | None) -> Any:
    own = 0.0 if activation is None else ACTIVATIONS[activation].bound  # no derivative exceeds 1.13
    return np.abs(x) @ np.abs(weight).T + (0.0 if bias is None else np.abs(bias)) + own


def _linear_cost(x: Spec, weight: Spec, bias: Spec | None, activation: str | None) -> tuple[float, float]:
    rows, (n, k) = math.prod(x.shape[:-1]), weight.shape
    stored = rows * k + n * k + rows * n + (n if bias else 0)
    return 2.0 * rows * n * k + rows * n * (bool(bias) + bool(activation)), float(stored * x.dtype.itemsize)


def _linear_operands(rng: np.random.Generator, x: Shape, n: int) -> tuple[Any, ...]:
    return rng.standard_normal(x), rng.standard_normal((n, x[-1])) / math.sqrt(x[-1] or 1), rng.standard_normal(n)


def _linear_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for name in NAMES:
        yield Sample(_linear_operands(rng, (33, 17), 65), (name,), f"{name}, no multiple of a tile")
    yield Sample((*_linear_operands(rng, (15, 70), 33)[:2], None), ("tanh",), "no bias")
    yield Sample((*_linear_operands(rng, (7,), 5)[:2], None), (None,), "a vector, no bias")
    yield Sample(_linear_operands(rng, (2, 3, 5), 10), ("relu",), "leading axes")
    yield Sample(_linear_operands(rng, (0, 3), 4), ("gelu",), "no rows")
    yield Sample(_linear_operands(rng, (3, 0), 4), ("sigmoid",), "empty sum")
    yield Sample(_linear_operands(rng, (3, 4), 0), ("relu",), "no columns")
    yield Sample(_linear_operands(rng, (5, 1100), 7), ("gelu_tanh",), "several slices of k", grad=False)
    yield Sample(_linear_operands(rng, (64, 64), 128), ("relu",), "64-128", grad=False)
    yield Sample(_linear_operands(rng, (128, 784), 256), ("relu",), "784-256, several threads", grad=False)


def _linear_errors() -> Iterator[Wrong]:
    x, weight = np.zeros((2, 3)), np.zeros((4, 3))
    takes = "linear: takes x (..., K) and weight (N, K), not "
    known = f"linear: activation 'swish' is not one of {', '.join(map(repr, NAMES))}"
    yield Wrong((x, np.zeros((4, 5)), None), (None,), ShapeError, "linear: inner sizes differ: x (2, 3), weight (4, 5)")
    yield Wrong((x, weight, np.zeros(3)), (None,), ShapeError, "linear: bias (3,) does not fit weight (4, 3)")
    yield Wrong((np.zeros(()), weight, None), (None,), ShapeError, takes + "() and (4, 3)")
    yield Wrong((x, np.zeros(3), None), (None,), ShapeError, takes + "(2, 3) and (3,)")
    yield Wrong((x, weight, None), ("swish",), ValueError, known)


def _layers(gradients: bool) -> Iterator[Size]:
    """The linear layers of the two networks, of their backward passes, and a large one."""
    for name, model in MODELS.items():
        for place, (k, n) in enumerate(model.layers):
            x, out, weight = (model.batch, k), (model.batch, n), Operand((n, k), -(k**-0.5), k**-0.5)
            activation, why = None if n == model.widths[-1] else "relu", f"layer {place} of model {name}"
            if gradients:
                saved, needs = Operand(out, -1.0, 1.0) if activation else None, (place > 0, True, True)
                yield Size((out, x, weight, saved), (activation, needs), why)
            else:
                yield Size((x, weight, (n,)), (activation,), why, quick="both" if (name, place) == ("b", 0) else "")


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

LINEAR = Op(
    name="linear",
    doc=f"""A linear layer: activation(x @ weight.T + bias), in one kernel.

    `x` (..., K), `weight` (N, K), `bias` (N,) or None give (..., N). `activation` is one of
    {", ".join(map(repr, NAMES))}, applied to each tile of the product in the cache: the same bits
    as the separate operations. Integers become the default float. Raises ShapeError where shapes do not fit, ValueError
    for another activation.""",
    inputs="x weight bias?",
    attrs={"activation": None},
    extras="pre",
    infer=_linear_infer,
    promote=floating,
    kernels={"cpu": "matmul:linear", "cuda": "matmul.plan:linear"},
    params=lambda x, weight, bias, activation: (code(activation),),
    composite=_linear_composite,
    saves=_linear_saves,
    vjp=_linear_vjp,
    ref=_linear_ref,
    magnitude=_linear_magnitude,
    samples=_linear_samples,
    sizes=(
        *_layers(gradients=False),
        Size(((1023, 517), (1025, 517), (1025,)), ("gelu",), "ragged", (float32,)),
        on_gpu([_WIDE, _WIDE, (4096,)], ("gelu",), (bfloat16, float32)),
        on_gpu([(16384, 1024), (4096, 1024), (4096,)], ("relu",)),
    ),
    peers={"torch": _TORCH_LINEAR, "jax": _JAX_LINEAR},
    errors=_linear_errors,
    ulp=6,  # as matmul, then the roundings of the bias and the activation
    cost=_linear_cost,
    cast="low",
)
linear = LINEAR.call

# ---- linear_backward ------------------------------------------------------------------------------------------------


def _linear_backward_infer(
    dout: Spec, x: Spec, weight: Spec, saved: Spec | None, activation: str | None, needs: Needs
) -> tuple[Spec | None, ...]:  # fmt: skip
    check_dtype("linear_backward", FLOAT, dout, x, weight)
    check_activation("linear_backward", activation)
    if len(weight.shape) != 2 or x.shape[-1:] != weight.shape[1:] or dout.shape != (*x.shape[:-1], weight.shape[0]):
        raise ShapeError(f"linear_backward: shapes do not fit: dout {dout.shape}, x {x.shape}, weight {weight.shape}")
    if (activation is not None) != (saved is not None) or (saved is not None and saved.shape != dout.shape):
        given = None if saved is None else saved.shape
        raise ShapeError(f"linear_backward: saved {given} does not fit dout {dout.shape} and activation {activation!r}")
    specs = x, weight, Spec(weight.shape[:1], weight.dtype)
    return tuple(s if need else None for s, need in zip(specs, needs, strict=True))


def _linear_backward_composite(
    dout: Any, x: Any, weight: Any, saved: Any, activation: str | None, needs: Needs
) -> tuple[Any, Any, Any]:  # fmt: skip
    dpre = dout if activation is None else ACTIVATIONS[activation].gradient(dout, saved)
    rows, (n, k) = math.prod(x.shape[:-1]), weight.shape
    flat = reshape(dpre, (rows, n))
    return (
        matmul(dpre, weight) if needs[0] else None,
        matmul(transpose(flat), reshape(x, (rows, k))) if needs[1] else None,
        reduce.sum(flat, 0) if needs[2] else None,
    )


def _linear_backward_terms(dout: Any, x: Any, weight: Any, dpre: Any, needs: Needs) -> tuple[Any, ...]:
    flat = dpre.reshape(-1, weight.shape[0]) if dpre.size else dpre.reshape(math.prod(x.shape[:-1]), weight.shape[0])
    terms = dpre @ weight, flat.T @ x.reshape(flat.shape[0], x.shape[-1]), flat.sum(0)
    return tuple(t for t, need in zip(terms, needs, strict=True) if need)


def _linear_backward_ref(
    dout: Any, x: Any, weight: Any, saved: Any, activation: str | None, needs: Needs
) -> tuple[Any, ...]:  # fmt: skip
    dpre = dout if activation is None else ACTIVATIONS[activation].gradient_ref(dout, saved)
    return _linear_backward_terms(dout, x, weight, dpre, needs)


def _linear_backward_magnitude(
    dout: Any, x: Any, weight: Any, saved: Any, activation: str | None, needs: Needs
) -> tuple[Any, ...]:  # fmt: skip
    dpre = np.abs(dout) if activation is None else ACTIVATIONS[activation].gradient_magnitude(dout, saved)
    return _linear_backward_terms(dout, np.abs(x), np.abs(weight), dpre, needs)


def _linear_backward_cost(
    dout: Spec, x: Spec, weight: Spec, saved: Spec | None, activation: str | None, needs: Needs
) -> tuple[float, float]:  # fmt: skip
    size, (n, k) = math.prod(dout.shape), weight.shape
    moved = size * (2 if activation else 1) + (1 + needs[0]) * math.prod(x.shape) + (1 + needs[1]) * n * k
    flops = 2.0 * size * k * (needs[0] + needs[1]) + size * (bool(activation) + needs[2])
    return flops, float(moved * x.dtype.itemsize)


def _linear_backward_samples(rng: np.random.Generator) -> Iterator[Sample]:
    def operands(x: Shape, n: int, activation: str | None) -> tuple[Any, ...]:
        pre = np.copysign(rng.uniform(0.1, 2.0, (*x[:-1], n)), rng.standard_normal((*x[:-1], n)))
        saved = None if activation is None else pre
        if activation is not None and ACTIVATIONS[activation].bound:  # within the range of its results
            saved = ACTIVATIONS[activation].ref(pre)
        return rng.standard_normal(pre.shape), *_linear_operands(rng, x, n)[:2], saved

    everything = (True, True, True)
    for name in NAMES:
        yield Sample(operands((33, 17), 65, name), (name, everything), f"{name}, no multiple of a tile")
    yield Sample(operands((7,), 5, "tanh"), ("tanh", everything), "a vector")
    yield Sample(operands((2, 3, 5), 10, "gelu"), ("gelu", everything), "leading axes")
    yield Sample(operands((0, 3), 4, "relu"), ("relu", everything), "no rows: gradients of the parameters are 0")
    yield Sample(operands((3, 0), 4, None), (None, everything), "empty sum")
    yield Sample(operands((200, 9), 40, "sigmoid"), ("sigmoid", everything), "several stripes of rows")
    yield Sample(operands((64, 128), 64, "relu"), ("relu", everything), "128-64", grad=False)
    large = operands((128, 784), 256, "relu")
    yield Sample(large, ("relu", everything), "784-256, several threads", grad=False)


_TORCH_BACKWARD = """aten = torch.ops.aten
slope = {None: lambda dout, saved: dout, "relu": lambda dout, saved: aten.threshold_backward(dout, saved, 0),
    "gelu": aten.gelu_backward}[activation]
def backward(dout, x, weight, saved):
    dpre = slope(dout, saved)
    return dpre @ weight if needs[0] else None, dpre.T @ x, dpre.sum(0)"""
_JAX_BACKWARD = """gelu = lambda x: jax.nn.gelu(x, approximate=False)
slope = {None: lambda dout, saved: dout, "relu": lambda dout, saved: jnp.where(saved > 0, dout, 0),
    "gelu": lambda dout, saved: jax.vjp(gelu, saved)[1](dout)[0]}[activation]
def backward(dout, x, weight, saved):
    dpre = slope(dout, saved)
    return dpre @ weight if needs[0] else None, dpre.T @ x, dpre.sum(0)"""

LINEAR_BACKWARD = Op(
    name="linear_backward",
    doc="""Gradients of linear: dx (..., K), dweight (N, K) and dbias (N,), each None where `needs` says so.

    With dpre = dout activation'(saved): dx = dpre @ weight, dweight = dpre.T @ x, dbias = the sum of dpre over all
    leading axes. `saved` is linear's output where the activation's gradient is a function of that (relu, sigmoid,
    tanh), the value before the activation where it is not (gelu, gelu_tanh), None without activation. Both products are
    one parallel region.""",
    inputs="dout x weight saved?",
    attrs={"activation": None, "needs": (True, True, True)},
    outputs="dx dweight dbias",
    infer=_linear_backward_infer,
    kernels={"cpu": "matmul:linear_backward", "cuda": "matmul.linear_backward:linear_backward"},
    params=lambda dout, x, weight, saved, activation, needs: (code(activation),),
    composite=_linear_backward_composite,
    ref=_linear_backward_ref,
    magnitude=_linear_backward_magnitude,
    samples=_linear_backward_samples,
    sizes=(
        *_layers(gradients=True),
        Size((RAGGED, (1023, 517), (1025, 517), RAGGED), ("gelu",), "ragged", (float32,)),
        on_gpu([_WIDE] * 4, ("gelu",)),
    ),
    peers={
        "torch": (_TORCH_BACKWARD, "backward(dout, x, weight, saved)"),
        "jax": (_JAX_BACKWARD, "backward(dout, x, weight, saved)"),
    },
    errors=lambda: [
        Wrong(
            (np.zeros((2, 4)), np.zeros((2, 3)), np.zeros((5, 3)), None), (None, (True, True, True)), ShapeError,
            "linear_backward: shapes do not fit: dout (2, 4), x (2, 3), weight (5, 3)",
        ),
        Wrong(
            (np.zeros((2, 4)), np.zeros((2, 3)), np.zeros((4, 3)), None), ("relu", (True, True, True)), ShapeError,
            "linear_backward: saved None does not fit dout (2, 4) and activation 'relu'",
        ),
    ],
    ulp=10,  # as linear, then the rounding of dpre, whose own bound is 7 for the gelus
    cost=_linear_backward_cost,
    cast="low",
)  # fmt: skip
linear_backward = LINEAR_BACKWARD.call
