"""Operations on each element alone: arithmetic, powers and exponentials, comparisons, choices, conversion.

Operands broadcast by NumPy's rule and are promoted to a common dtype; Python numbers take the tensor's. The 16-bit
floats are computed in float32 and rounded once. Integers wrap. NaN goes through everything but comparisons.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlcore.dtypes import DTYPES, INTEGERS, as_dtype, bfloat16, bool_, float16, float32, result_type, uint8
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import REQUIRED, Op, Operand, Sample, Size, Spec, Wrong, floating
from dlcore.ops._pointwise import ANY, NUMBER, binary, broadcast_cost, specials, unary
from dlcore.ops._shape import broadcast_shapes
from dlcore.ops._sizes import MILLION, RAGGED, library, on_gpu, pointwise

# ---- arithmetic ---------------------------------------------------------------------------------------------------

add: Any = binary(
    "add", "Sum a + b; of bools their disjunction (or).",
    ref=np.add, kinds=ANY, large=MILLION, ulp=0.5,
    vjp=lambda ctx, dout: (dout, dout), peers=library("add", "a b", symbol="+"),
    sizes=(
        Size(((8,), (8,)), why="the cost of a call", quick="forward"), *pointwise(2),
        Size(((1 << 24,),) * 2, why="16M", dtypes=(float32,), quick="forward"),
        Size((RAGGED, RAGGED[1:]), why="ragged, broadcast"), on_gpu([(1 << 26,)] * 2),
    ),
).call  # fmt: skip
sub: Any = binary(
    "sub", "Difference a - b. Raises DTypeError for bools: use logical_xor.",
    ref=np.subtract, ulp=0.5, peers=library("sub", "a b", symbol="-", numpy="np.subtract"),
    vjp=lambda ctx, dout: (dout, neg(dout) if ctx.needs[1] else None),
).call  # fmt: skip


def _mul_vjp(ctx: Any, dout: Any) -> Any:
    a, b = ctx.saved
    return mul(dout, b) if ctx.needs[0] else None, mul(dout, a) if ctx.needs[1] else None


mul: Any = binary(
    "mul", "Product a b; of bools their conjunction (and).",
    ref=np.multiply, kinds=ANY, ulp=0.5, peers=library("mul", "a b", symbol="*", numpy="np.multiply"),
    saves={"a": ("b",), "b": ("a",)}, vjp=_mul_vjp,
).call  # fmt: skip


def _div_vjp(ctx: Any, dout: Any) -> Any:
    b, out = ctx.saved
    da = div(dout, b)
    return da if ctx.needs[0] else None, neg(mul(da, out)) if ctx.needs[1] else None


def _away_from_zero(rng: Any, shape: tuple[int, ...]) -> Any:
    return np.copysign(rng.uniform(0.5, 2.0, shape), rng.standard_normal(shape))


div: Any = binary(
    "div", "Quotient a / b, in floating point (integers become float32 first); by 0: infinity or NaN.",
    ref=np.true_divide, kinds=("float",), promote=floating, draw=_away_from_zero, ulp=0.5, domain=(0.5, 2.0),
    peers=library("div", "a b", symbol="/", numpy="np.divide"),
    saves={"b": ("a", "b"), "out": ("b",)}, vjp=_div_vjp,
).call  # fmt: skip


def _remainder_samples(rng: Any) -> Iterator[Sample]:
    yield Sample((rng.uniform(2.2, 2.8, (5, 7)), np.copysign(1.0, rng.standard_normal(7))), why="within one step")


def _zero_for_integers(function: Any) -> Any:
    """NumPy's function with a / 0 = 0 for integers, as it gives on most machines, and without its warning."""

    def ref(a: Any, b: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(a, b)

    return ref


floor_divide: Any = binary(
    "floor_divide", "Quotient rounded down, floor(a / b), as Python's //; integers by 0 give 0. It has no gradient.",
    ref=_zero_for_integers(np.floor_divide), ulp=1, draw=_away_from_zero, domain=(0.5, 2.0),
    peers=library("floor_divide", "a b", symbol="//"),
).call  # fmt: skip


def _remainder_vjp(ctx: Any, dout: Any) -> Any:
    a, b = ctx.saved
    return dout, neg(mul(dout, floor_divide(a.detach(), b.detach()))) if ctx.needs[1] else None


remainder: Any = binary(
    "remainder", "Remainder a - b floor(a / b), with the divisor's sign, as Python's %; integers modulo 0 give 0.",
    ref=_zero_for_integers(np.remainder), ulp=1, draw=_away_from_zero, magnitude=lambda a, b: np.abs(a) + np.abs(b),
    grad=False, more=_remainder_samples, saves={"a": ("b",), "b": ("b",)}, vjp=_remainder_vjp,
    domain=(0.5, 2.0), peers=library("remainder", "a b", symbol="%"),
).call  # fmt: skip


def _extreme_vjp(comparison: str) -> Any:
    def vjp(ctx: Any, dout: Any) -> Any:
        a, b = ctx.saved
        loses = {"lt": lt, "gt": gt}[comparison]
        share = where(eq(a, b), mul(dout, 0.5), dout)
        da = where(loses(a, b), 0.0, share) if ctx.needs[0] else None
        return da, where(loses(b, a), 0.0, share) if ctx.needs[1] else None

    return vjp


maximum: Any = binary(
    "maximum", "The larger of a and b; NaN if either is. At ties the gradient is split half and half.",
    ref=np.maximum, kinds=ANY, ulp=0, saves=("a", "b"), vjp=_extreme_vjp("lt"),
).call  # fmt: skip
minimum: Any = binary(
    "minimum", "The smaller of a and b; NaN if either is. At ties the gradient is split half and half.",
    ref=np.minimum, kinds=ANY, ulp=0, saves=("a", "b"), vjp=_extreme_vjp("gt"),
).call  # fmt: skip


def _pow_vjp(ctx: Any, dout: Any) -> Any:
    a, b, out = ctx.saved
    da = db = None
    if ctx.needs[0]:
        da = mul(mul(dout, b), pow(a, _below(b)))
    if ctx.needs[1]:
        number = a.item() if a.weak else None
        if number is None:
            db = mul(dout, where(eq(a, 0), 0, mul(out, log(a))))  # at a = 0 the limit for b > 0
        elif number == 0:
            db = mul(dout, 0.0)
        else:
            db = mul(dout, mul(out, math.log(number) if number > 0 else math.nan))
    return da, db


def _below(b: Any) -> Any:
    """b - 1, but 0 at b = 0: 0 * 0^-1 would be NaN. Of a number a number, which belongs to any device."""
    if not b.weak:
        return where(eq(b, 0), 0, sub(b, 1))
    number = b.item()
    return number - 1 if number else 0


def _pow_ref(a: Any, b: Any) -> Any:
    dtype = np.asarray(a).dtype
    if dtype.kind == "f":
        return np.power(a, b)
    modulus = 1 << 8 * dtype.itemsize

    def power(x: Any, y: Any) -> int:
        x, y = int(x), int(y)
        return builtins.pow(x, y, modulus) if y >= 0 else (x**-y if x in (1, -1) else 0) % modulus

    return np.vectorize(power, otypes=[np.uint64])(a, b).astype(f"u{dtype.itemsize}").view(dtype)


def _pow_samples(rng: Any) -> Iterator[Sample]:
    x = rng.standard_normal((5, 7))
    for exponent in (2.0, 0.5, 1.0, -1.0, 3.0, 0.0, -2.5):
        base = np.abs(x) + 0.5 if exponent % 1 else x
        yield Sample((base, exponent), why=f"exponent {exponent}", grad=exponent != -1.0)
    yield Sample((np.array([3, -2, 0, 1, 7]), 3), why="integer and Python int", grad=False)


def _pow_cost(a: Spec, b: Spec) -> tuple[float, float]:
    """One number as the exponent is most often 2 or 1/2, which are one operation."""
    return broadcast_cost(40 if math.prod(b.shape) > 1 else 1, None)(a, b)


pow: Any = binary(
    "pow", "Power a^b, as C's pow: 1 for b = 0 and for a = 1; a negative base needs an integer exponent, else NaN.\n\n"
    "Of integers an integer that wraps; a negative exponent truncates 1 / a^|b| towards 0.",
    ref=_pow_ref, cost=_pow_cost, ulp=1, draw=lambda rng, shape: rng.uniform(0.5, 2.0, shape),
    special=(2.0, -3.0, 0.5, 1e4, 2.0**24),
    saves={"a": ("a", "b"), "b": ("a",), "out": ("b",)}, vjp=_pow_vjp, more=_pow_samples, cast="float32",
    sizes=(*pointwise(2, 0.5, 2.0), Size((MILLION, 2.0), why="1M, squared")),
    peers=library("pow", "a b", symbol="**", numpy="np.power"),
).call  # fmt: skip

# ---- functions of one operand -------------------------------------------------------------------------------------


_POSITIVE = (0.1, 2.0)


def _positive(rng: Any, shape: tuple[int, ...]) -> Any:
    return rng.uniform(0.1, 4.0, shape)


def _from_input(rule: Any) -> dict[str, Any]:
    return {"saves": ("x",), "vjp": lambda ctx, dout: rule(ctx.saved[0], dout)}


def _from_output(rule: Any) -> dict[str, Any]:
    return {"saves": ("out",), "vjp": lambda ctx, dout: rule(ctx.saved[0], dout)}


neg: Any = unary(
    "neg", "Negative -x.", ref=np.negative, kinds=NUMBER, ulp=0, vjp=lambda ctx, dout: neg(dout),
    peers=library("neg", numpy="np.negative", jax="jnp.negative"),
).call  # fmt: skip
abs: Any = unary(
    "abs", "Absolute value |x|. The gradient at 0 is 0.", ref=np.abs, kinds=NUMBER, ulp=0,
    draw=_away_from_zero, **_from_input(lambda x, dout: mul(dout, sign(x))),
).call  # fmt: skip
sign: Any = unary(
    "sign", "Sign of x: -1, 0 or 1; NaN of NaN. Its gradient is 0.", ref=np.sign, kinds=NUMBER, ulp=0,
    draw=_away_from_zero, vjp=lambda ctx, dout: mul(dout, 0),
).call  # fmt: skip
square: Any = unary(
    "square", "Square x^2.", ref=np.square, kinds=NUMBER, ulp=0.5, special=(1e30, 1e-30),
    **_from_input(lambda x, dout: mul(dout, mul(x, 2))),
).call  # fmt: skip
reciprocal: Any = unary(
    "reciprocal", "Reciprocal 1 / x.", ref=np.reciprocal, promote=floating, draw=_away_from_zero, ulp=0.5,
    domain=_POSITIVE,
    **_from_output(lambda out, dout: neg(mul(dout, square(out)))),
).call  # fmt: skip
sqrt: Any = unary(
    "sqrt", "Square root; NaN of negative numbers.", ref=np.sqrt, promote=floating, draw=_positive,
    special=(-1.0, 1e-30), ulp=0.5, domain=_POSITIVE,
    **_from_output(lambda out, dout: div(mul(dout, 0.5), out)),
).call  # fmt: skip
rsqrt: Any = unary(
    "rsqrt", "Reciprocal square root 1 / sqrt(x); NaN of negative numbers.", ref=lambda x: 1 / np.sqrt(x),
    promote=floating, draw=_positive, special=(-1.0, 1e-30), ulp=2, flops=2, domain=_POSITIVE,
    peers=library("rsqrt", numpy="", jax="jax.lax.rsqrt"),
    **_from_output(lambda out, dout: mul(mul(dout, -0.5), mul(out, square(out)))),
).call  # fmt: skip
exp: Any = unary(
    "exp", "Exponential e^x.", ref=np.exp, promote=floating,
    special=(88.7, 89.0, -87.5, -103.0, -104.0, 709.7, 710.0, -745.0),
    sizes=pointwise(quick="forward"), large=MILLION, ulp=2, flops=20, cast="float32",
    **_from_output(lambda out, dout: mul(dout, out)),
).call  # fmt: skip
expm1: Any = unary(
    "expm1", "Exponential minus one, e^x - 1, accurate near 0.", ref=np.expm1, promote=floating,
    special=(1e-30, -1e-8, 88.7, 89.0, -30.0, -50.0), ulp=3, flops=20, cast="float32",
    **_from_output(lambda out, dout: mul(dout, add(out, 1))),
).call  # fmt: skip
log: Any = unary(
    "log", "Natural logarithm; -inf of 0, NaN of negative numbers.", ref=np.log, promote=floating, draw=_positive,
    special=(-1.0, 1e-45, 1e-310, 1.0, 1e30), ulp=2, flops=25, cast="float32", domain=_POSITIVE,
    **_from_input(lambda x, dout: div(dout, x)),
).call  # fmt: skip
log1p: Any = unary(
    "log1p", "Natural logarithm of 1 + x, accurate near 0.", ref=np.log1p, promote=floating, draw=_positive,
    special=(-1.0, -2.0, 1e-30, -1e-8, 1e30), ulp=3, flops=30, cast="float32", domain=_POSITIVE,
    **_from_input(lambda x, dout: div(dout, add(x, 1))),
).call  # fmt: skip
sin: Any = unary(
    "sin", "Sine of x in radians; NaN of infinities.", ref=np.sin, promote=floating, special=(1e5, -3.0),
    ulp=2, flops=20, cast="float32", **_from_input(lambda x, dout: mul(dout, cos(x))),
).call  # fmt: skip
cos: Any = unary(
    "cos", "Cosine of x in radians; NaN of infinities.", ref=np.cos, promote=floating, special=(1e5, -3.0),
    ulp=2, flops=20, cast="float32", **_from_input(lambda x, dout: neg(mul(dout, sin(x)))),
).call  # fmt: skip

# ---- comparisons and logic ----------------------------------------------------------------------------------------


def _comparison(name: str, symbol: str, doc: str, ref: Any) -> Op:
    peers = library(name, "a b", symbol=symbol, numpy=f"np.{ref.__name__}")
    return binary(name, doc, ref=ref, kinds=ANY, result=bool_, peers=peers)


eq: Any = _comparison("eq", "==", "Whether a equals b, as bools; False where either is NaN.", np.equal).call
ne: Any = _comparison("ne", "!=", "Whether a differs from b, as bools; True where either is NaN.", np.not_equal).call
lt: Any = _comparison("lt", "<", "Whether a < b, as bools; False where either is NaN.", np.less).call
le: Any = _comparison("le", "<=", "Whether a <= b, as bools; False where either is NaN.", np.less_equal).call
gt: Any = _comparison("gt", ">", "Whether a > b, as bools; False where either is NaN.", np.greater).call
ge: Any = _comparison("ge", ">=", "Whether a >= b, as bools; False where either is NaN.", np.greater_equal).call


def _bits(rng: Any, shape: tuple[int, ...]) -> Any:
    return np.asarray(rng.random(shape) < 0.5)


_logical: dict[str, Any] = {
    "kinds": ("bool",), "result": bool_, "draw": _bits, "sizes": pointwise(2, dtype=bool_),
}  # fmt: skip
logical_and: Any = binary(
    "logical_and", "Whether both of two bools hold; DTypeError for others.", ref=np.logical_and, **_logical
).call  # fmt: skip
logical_or: Any = binary(
    "logical_or", "Whether one of two bools holds; DTypeError for others.", ref=np.logical_or, **_logical
).call  # fmt: skip
logical_xor: Any = binary(
    "logical_xor", "Whether two bools differ; DTypeError for others.", ref=np.logical_xor, **_logical
).call  # fmt: skip
logical_not: Any = unary(
    "logical_not", "Whether a bool does not hold; DTypeError for others.", ref=np.logical_not,
    **_logical | {"sizes": pointwise(1, dtype=bool_)},
).call  # fmt: skip
_test: dict[str, Any] = {"promote": floating, "result": bool_}
isnan: Any = unary(
    "isnan", "Whether each element is NaN, as bools.", ref=np.isnan, **_test, peers=library("isnan", out=("numpy",)),
).call  # fmt: skip
isfinite: Any = unary(
    "isfinite", "Whether each element is neither infinite nor NaN, as bools.", ref=np.isfinite, **_test,
    peers=library("isfinite", out=("numpy",)),
).call  # fmt: skip

# ---- where and cast -----------------------------------------------------------------------------------------------


def _where_promote(specs: Any) -> Any:
    common = result_type((s.dtype, s.weak) for s in specs[1:])
    return specs[0].dtype, common, common


def _where_infer(condition: Spec, a: Spec, b: Spec) -> Spec:
    if condition.dtype is not bool_:
        raise DTypeError(f"where: the condition must be bool, not {condition.dtype.name}")
    return Spec(broadcast_shapes("where", condition.shape, a.shape, b.shape), a.dtype)


def _where_vjp(ctx: Any, dout: Any) -> Any:
    (condition,) = ctx.saved
    da = where(condition, dout, 0) if ctx.needs[1] else None
    return None, da, where(condition, 0, dout) if ctx.needs[2] else None


def _where_samples(rng: Any) -> Iterator[Sample]:
    normal = rng.standard_normal
    yield Sample((_bits(rng, (33, 65)), normal((33, 65)), normal((33, 65))), why="no multiple of a vector")
    yield Sample((_bits(rng, (3, 1)), normal((4, 1, 5)), normal(())), why="broadcast")
    yield Sample((_bits(rng, (7,)), normal((7,)), 0.0), why="Python number")
    yield Sample((np.array(True), np.array(1.0), np.array(2.0)), why="0-d")
    yield Sample((_bits(rng, (0,)), normal((0,)), normal((1,))), why="empty")
    values = specials()
    yield Sample((_bits(rng, values.shape), values, values[::-1].copy()), why="special values", grad=False)
    for dtype in (np.bool_, np.uint8, np.int16, np.int32, np.int64):
        x = rng.integers(0, 2, (5, 33)).astype(dtype)
        yield Sample((_bits(rng, (5, 33)), x, x[::-1].copy()), why=np.dtype(dtype).name, grad=False)


def _where_errors() -> Iterator[Wrong]:
    x = np.ones((2, 3), np.float32)
    yield Wrong((x, x, x), (), DTypeError, "where: the condition must be bool, not float32")
    yield Wrong((x > 0, x, x[:, :2]), (), ShapeError, "where: shapes do not broadcast: (2, 3) and (2, 3) and (2, 2)")


where: Any = Op(
    name="where", inputs="condition a b",
    doc="Elements of a where the condition holds, else of b. The condition is bool; all three broadcast.",
    infer=_where_infer, promote=_where_promote,
    kernels={"cpu": "elementwise:where", "cuda": "elementwise.rows:where"},
    saves=("condition",), vjp=_where_vjp, ref=np.where, samples=_where_samples, errors=_where_errors, ulp=0,
    sizes=(
        Size((Operand(MILLION, dtype=bool_), MILLION, MILLION), why="1M"),
        Size((Operand(RAGGED, dtype=bool_), RAGGED, 0.0), why="ragged, masked"),
    ),
    peers=library("where", "condition a b", out=()),
    cost=lambda c, a, b: (0.0, broadcast_cost(0, a.dtype)(c, a, b)[1]),
).call  # fmt: skip


def _cast_ref(x: Any, dtype: Any) -> Any:
    target = as_dtype(dtype)
    if target.is_float:
        return np.asarray(x, np.float64)
    if target is bool_ or np.asarray(x).dtype.kind != "f":
        return np.asarray(x).astype(target.numpy)
    limits = np.iinfo(target.numpy)

    def saturated(v: float) -> int:
        return 0 if math.isnan(v) else limits.min if v < limits.min else limits.max if v > limits.max else int(v)

    return np.vectorize(saturated, otypes=[target.numpy])(x)


def _cast_samples(rng: Any) -> Iterator[Sample]:
    ties = np.array([1 + 2.0**-11, 1 + 2.0**-11 + 2.0**-40, 1 + 3 * 2.0**-9, 65519.99, 65520.0, 1e-7, 6e-8])
    odd = np.concatenate([specials(0.5, -0.5, 300.7, -300.7, 1e30, -1e30), ties])
    for target in DTYPES:
        to = (target,)
        yield Sample((rng.uniform(0, 100, (33, 65)),), to, why=f"to {target.name}", grad=target.name == "float64")
        yield Sample((odd,), to, why=f"special values to {target.name}", grad=False)
        for source in (bool_, *INTEGERS):
            ends = [0, 1] if source is bool_ else [np.iinfo(source.numpy).min, np.iinfo(source.numpy).max, 0, 1, 100]
            why = f"{source.name} to {target.name}"
            yield Sample((np.array(ends, source.numpy),), to, why=why, grad=False)
    yield Sample((np.array(2.7),), (as_dtype("int32"),), why="0-d", grad=False)
    yield Sample((np.ones((0, 3)),), (as_dtype("int32"),), why="empty", grad=False)


cast: Any = Op(
    name="cast", inputs="x", attrs={"dtype": REQUIRED},
    doc="x in another dtype, always a copy. Floats are rounded once, to nearest even.\n\n"
    "Float to integer truncates towards zero; beyond the range it gives the nearest limit, for NaN 0. "
    "Integer to integer wraps. To bool: x != 0.",
    infer=lambda x, dtype: Spec(x.shape, as_dtype(dtype)), promote=None,
    kernels={"cpu": "elementwise:cast", "cuda": "elementwise.rows:cast"},
    params=lambda x, dtype: (), vjp=lambda ctx, dout: dout, ref=_cast_ref, samples=_cast_samples, ulp=0.5,
    sizes=(
        Size((MILLION,), (bfloat16,), "1M", (float32,)), Size((RAGGED,), (float16,), "ragged", (float32,)),
        Size((MILLION,), (float32,), "1M, back", (bfloat16, float16)),
        Size((Operand((128, 784), 0, 256, uint8),), (float32,), "a batch of images", (float32,)),
    ),
    peers={"numpy": "x.astype(dtype)", "torch": "x.to(getattr(torch, dtype))", "jax": "x.astype(dtype)"},
    cost=lambda x, dtype: (0.0, math.prod(x.shape) * (x.dtype.itemsize + as_dtype(dtype).itemsize)),
).call  # fmt: skip

def clip(x: Any, low: Any = None, high: Any = None) -> Any:
    """x limited to [low, high]: ``minimum(maximum(x, low), high)``; a limit of None is none. NaN stays NaN.

    ``low`` and ``high``: numbers or tensors that broadcast with x. The gradient is 0 outside.
    """
    if low is not None:
        x = maximum(x, low)
    return x if high is None else minimum(x, high)


__all__ = [
    "abs", "add", "cast", "clip", "cos", "div", "eq", "exp", "expm1", "floor_divide", "ge", "gt", "isfinite", "isnan",
    "le", "log", "log1p", "logical_and", "logical_not", "logical_or", "logical_xor", "lt", "maximum", "minimum", "mul",
    "ne", "neg", "pow", "reciprocal", "remainder", "rsqrt", "sign", "sin", "sqrt", "square", "sub", "where",
]  # fmt: skip
