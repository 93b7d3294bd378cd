"""Operations on each element alone: arithmetic, powers and exponentials, comparisons, choices, conversion.

Operands broadcast by NumPy's rule and are promoted to a common dtype; Python numbers take the tensor's. The 16-bit
floats are computed in float32 and rounded once. Integers wrap. NaN goes through everything but comparisons.
"""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from dlcore.dtypes import DTYPES, INTEGERS, DType, as_dtype, bfloat16, bool_, float16, float32, result_type, uint8
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Domain, Dtype, ErrorInput, Input, Sample, Spec, Workload, as_given, function, operation
from dlcore.ops._pointwise import ANY, AWAY_FROM_ZERO, NUMBER, POSITIVE, ends, pointwise, specials
from dlcore.ops._shape import broadcast_shapes
from dlcore.ops._workloads import MILLION, RAGGED, bytes_of, library, million_and_ragged, on_gpu

__all__ = [
    "abs", "add", "cast", "cos", "eq", "exp", "expm1", "floor_divide", "ge", "gt", "isfinite", "isnan",
    "le", "log", "log1p", "logical_and", "logical_not", "logical_or", "logical_xor", "lt", "maximum", "minimum", "mul",
    "ne", "neg", "pow", "reciprocal", "remainder", "rsqrt", "sign", "sin", "sqrt", "square", "sub", "where",
]  # fmt: skip

# ---- arithmetic ---------------------------------------------------------------------------------------------------


def _scaled(combined: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """PyTorch's ``alpha``, which multiplies the second operand."""

    def call(a: Any, b: Any, *, alpha: float) -> Any:
        return combined(a, mul(b, alpha))

    return call


add = pointwise(
    "add", "a b", "Sum a + b; of bools their disjunction (or).", kinds=ANY, large=MILLION, ulp=0.5,
    gradient={"a": lambda dout: dout, "b": lambda dout: dout}, baselines=library("add", "a b", symbol="+"),
    otherwise=_scaled(lambda a, b: add(a, b)),
    workloads=[
        Workload(((8,), (8,)), why="the cost of a call", quick="forward"), *million_and_ragged(2),
        Workload(((1 << 24,),) * 2, why="16M", dtypes=(float32,), quick="forward"),
        Workload((RAGGED, RAGGED[1:]), why="ragged, broadcast"), on_gpu([(1 << 26,)] * 2),
    ],
)  # fmt: skip
sub = pointwise(
    "sub", "a b", "Difference a - b. Raises DTypeError for bools: use logical_xor.",
    kinds=NUMBER, reference=np.subtract, ulp=0.5, gradient={"a": lambda dout: dout, "b": lambda dout: neg(dout)},
    baselines=library("sub", "a b", symbol="-", numpy="np.subtract"),
    otherwise=_scaled(lambda a, b: sub(a, b)),
)  # fmt: skip
mul = pointwise(
    "mul", "a b", "Product a b; of bools their conjunction (and).", kinds=ANY, reference=np.multiply, ulp=0.5,
    gradient={"a": lambda dout, b: mul(dout, b), "b": lambda dout, a: mul(dout, a)},
    baselines=library("mul", "a b", symbol="*", numpy="np.multiply"),
)  # fmt: skip
div = pointwise(
    "div", "a b", "Quotient a / b, in floating point (integers become float32 first); by 0: infinity or NaN.",
    domain=AWAY_FROM_ZERO, reference=np.true_divide, ulp=0.5,
    gradient={"a": lambda dout, b: div(dout, b), "b": lambda dout, b, out: neg(mul(div(dout, b), out))},
    baselines=library("div", "a b", symbol="/", numpy="np.divide"),
)  # fmt: skip


def _quietly(function: Any) -> Any:
    """NumPy's function without its warning; of integers, a / 0 = 0 as it gives on most machines."""

    def reference(a: Any, b: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(a, b)

    return reference


floor_divide = pointwise(
    "floor_divide", "a b",
    "Quotient rounded down, floor(a / b), as Python's //; integers by 0 give 0. Its gradient is 0.",
    domain=AWAY_FROM_ZERO, kinds=NUMBER, reference=_quietly(np.floor_divide), smooth=False,
    gradient={"a": lambda dout: mul(dout, 0), "b": lambda dout: mul(dout, 0)},
    baselines=library("floor_divide", "a b", symbol="//"),
)  # fmt: skip
remainder = pointwise(
    "remainder", "a b",
    "Remainder a - b floor(a / b), with the divisor's sign, as Python's %; integers modulo 0 give 0.",
    domain=AWAY_FROM_ZERO, kinds=NUMBER, reference=_quietly(np.remainder), smooth=False,
    magnitude=lambda a, b: np.abs(a) + np.abs(b), baselines=library("remainder", "a b", symbol="%"),
    gradient={"a": lambda dout: dout, "b": lambda dout, a, b: neg(mul(dout, floor_divide(a.detach(), b.detach())))},
    samples=[
        Sample(Input((5, 7), 2.2, 2.8), Input((7,), draw=lambda g: g.choice([-1.0, 1.0], 7)), why="within one step"),
    ],
)  # fmt: skip

maximum = pointwise(
    "maximum", "a b", "The larger of a and b; NaN if either is. At ties the gradient is split half and half.",
    kinds=ANY, ulp=0,
)  # fmt: skip
minimum = pointwise(
    "minimum", "a b", "The smaller of a and b; NaN if either is. At ties the gradient is split half and half.",
    kinds=ANY, ulp=0,
)  # fmt: skip


def _shares(dout: Any, a: Any, b: Any, loses: Any, needed: Sequence[bool]) -> tuple[Any, Any]:
    """What two operands get of the gradient: nothing where one ``loses`` against the other, half at a tie, else all."""
    share = where(eq(a, b), mul(dout, 0.5), dout)
    da = where(loses(a, b), 0.0, share) if needed[0] else None
    return da, where(loses(b, a), 0.0, share) if needed[1] else None


@maximum.gradient("a", "b")
def _(dout: Any, a: Any, b: Any, needs_input_grad: Any) -> Any:
    return _shares(dout, a, b, lt, needs_input_grad)


@minimum.gradient("a", "b")
def _(dout: Any, a: Any, b: Any, needs_input_grad: Any) -> Any:
    return _shares(dout, a, b, gt, needs_input_grad)


def _below(b: Any) -> Any:
    """b - 1, but 0 at b = 0: 0 * 0^-1 would be NaN. Of a number a number, which belongs to any device."""
    if not b.weak:
        return where(eq(b, 0), 0, sub(b, 1))
    number = b.item()
    return number - 1 if number else 0


def _of_exponent(dout: Any, a: Any, b: Any, out: Any) -> Any:
    """At a = 0 the limit: 0 for b >= 0, -inf for others."""
    if not a.weak:
        return mul(dout, where(logical_and(eq(a, 0), ge(b, 0)), 0, mul(out, log(a))))
    number = a.item()
    if number == 0:
        return mul(dout, where(ge(b, 0), 0.0, -math.inf))
    return mul(dout, mul(out, math.log(number) if number > 0 else math.nan))


def _whole_powers(operands: list[Any]) -> None:
    """Integers have no negative powers."""
    exponent = operands[1]
    if np.asarray(exponent).dtype.kind == "i":
        operands[1] = np.maximum(exponent, 0)


pow = pointwise(
    "pow", "a b",
    """Power a^b, as C's pow: 1 for b = 0 and for a = 1; a negative base needs an integer exponent, else NaN.

    Of integers an integer that wraps. Raises ValueError where one of them is to have a negative power.""",
    domain=Domain(0.5, 2.0), kinds=NUMBER, cast="float32", special=(2.0, -3.0, 0.5, 1e4, 2.0**24), wrapping=False,
    gradient={"a": lambda dout, a, b: mul(mul(dout, b), pow(a, _below(b))), "b": _of_exponent},
    samples=[
        *(Sample(Input((5, 7), 0.5, 3.0), e, why=f"exponent {e}") for e in (0.5, -2.5)),
        *(Sample(Input((5, 7), -3.0, 3.0), e, why=f"exponent {e}", grad=e >= 0) for e in (2.0, 1.0, -1.0, 3.0, 0.0)),
        Sample(np.array([3, -2, 0, 1, 7]), 3, why="integer and Python int", grad=False),
        *(Sample(ends(d)[:, None], np.maximum(ends(d), 0), why=f"{d.name}, wrapping", grad=False) for d in INTEGERS),
    ],
    error_inputs=[
        ErrorInput(ValueError, f"pow: the exponent -1 at position {k} is negative, and integers have no such powers",
                   np.array([2, 3]), exponent)
        for k, exponent in enumerate((-1, np.array([1, -1])))
    ],
    restrict=_whole_powers,
    workloads=[*million_and_ragged(2), Workload((MILLION, 2.0), why="1M, squared")],
    baselines=library("pow", "a b", symbol="**", numpy="np.power"),
)  # fmt: skip


@pow.reference
def _(a: Any, b: Any) -> Any:
    dtype = np.asarray(a).dtype
    if dtype.kind == "f":
        return np.power(a, b)
    modulus = 1 << 8 * dtype.itemsize

    def power(x: Any, y: Any) -> int:
        x, y = int(x), int(y)
        return builtins.pow(x, y, modulus)

    return np.vectorize(power, otypes=[np.uint64])(a, b).astype(f"u{dtype.itemsize}").view(dtype)


@pow.cost
def _(a: Spec, b: Spec) -> tuple[float, float]:
    """One number as the exponent is most often 2 or 1/2, which are one operation."""
    size = math.prod(broadcast_shapes("cost", a.shape, b.shape))
    return (40 if math.prod(b.shape) > 1 else 1) * size, bytes_of(a, b) + size * a.dtype.itemsize


# ---- functions of one operand -------------------------------------------------------------------------------------

neg = pointwise(
    "neg", "x", "Negative -x.", kinds=NUMBER, reference=np.negative, ulp=0, gradient=lambda dout: neg(dout),
    baselines=library("neg", numpy="np.negative", jax="jnp.negative"),
)  # fmt: skip
abs = pointwise(
    "abs", "x", "Absolute value |x|. The gradient at 0 is 0.", domain=AWAY_FROM_ZERO, kinds=NUMBER, ulp=0,
    gradient=lambda dout, x: mul(dout, sign(x)),
)  # fmt: skip
sign = pointwise(
    "sign", "x", "Sign of x: -1, 0 or 1; NaN of NaN. Its gradient is 0.", domain=AWAY_FROM_ZERO, kinds=NUMBER, ulp=0,
    gradient=lambda dout: mul(dout, 0),
)  # fmt: skip
square = pointwise(
    "square", "x", "Square x^2.", kinds=NUMBER, ulp=0.5, special=(1e30, 1e-30),
    gradient=lambda dout, x: mul(dout, mul(x, 2)),
)  # fmt: skip
reciprocal = pointwise(
    "reciprocal", "x", "Reciprocal 1 / x.", domain=AWAY_FROM_ZERO, ulp=0.5,
    gradient=lambda dout, out: neg(mul(dout, square(out))),
)  # fmt: skip
sqrt = pointwise(
    "sqrt", "x", "Square root; NaN of negative numbers.", domain=POSITIVE, special=(-1.0, 1e-30), ulp=0.5,
    gradient=lambda dout, out: div(mul(dout, 0.5), out),
)  # fmt: skip
rsqrt = pointwise(
    "rsqrt", "x", "Reciprocal square root 1 / sqrt(x); NaN of negative numbers.", domain=POSITIVE,
    reference=lambda x: 1 / np.sqrt(x), special=(-1.0, 1e-30), ulp=2, flops=2,
    gradient=lambda dout, out: mul(mul(dout, -0.5), mul(out, square(out))),
    baselines=library("rsqrt", numpy="", jax="jax.lax.rsqrt"),
)  # fmt: skip
exp = pointwise(
    "exp", "x", "Exponential e^x.", special=(88.7, 89.0, -87.5, -103.0, -104.0, 709.7, 710.0, -745.0), large=MILLION,
    ulp=2, flops=20, cast="float32", gradient=lambda dout, out: mul(dout, out),
    workloads=million_and_ragged(quick="forward"),
)  # fmt: skip
expm1 = pointwise(
    "expm1", "x", "Exponential minus one, e^x - 1, accurate near 0.", special=(1e-30, -1e-8, 88.7, 89.0, -30.0, -50.0),
    ulp=3, flops=20, cast="float32", gradient=lambda dout, out: mul(dout, add(out, 1)),
)  # fmt: skip
log = pointwise(
    "log", "x", "Natural logarithm; -inf of 0, NaN of negative numbers.", domain=POSITIVE,
    special=(-1.0, 1e-45, 1e-310, 1.0, 1e30), ulp=2, flops=25, cast="float32", gradient=lambda dout, x: div(dout, x),
)  # fmt: skip
log1p = pointwise(
    "log1p", "x", "Natural logarithm of 1 + x, accurate near 0.", domain=POSITIVE,
    special=(-1.0, -2.0, 1e-30, -1e-8, 1e30), ulp=3, flops=30, cast="float32",
    gradient=lambda dout, x: div(dout, add(x, 1)),
)  # fmt: skip
sin = pointwise(
    "sin", "x", "Sine of x in radians; NaN of infinities.", special=(1e5, -3.0), ulp=2, flops=20, cast="float32",
    gradient=lambda dout, x: mul(dout, cos(x)),
)  # fmt: skip
cos = pointwise(
    "cos", "x", "Cosine of x in radians; NaN of infinities.", special=(1e5, -3.0), ulp=2, flops=20, cast="float32",
    gradient=lambda dout, x: neg(mul(dout, sin(x))),
)  # fmt: skip

# ---- comparisons and logic ----------------------------------------------------------------------------------------


def _comparison(name: str, symbol: str, doc: str, numpy: Any) -> Any:
    ways = library(name, "a b", symbol=symbol, numpy=f"np.{numpy.__name__}")
    return pointwise(
        name, "a b", doc, reference=numpy, kinds=ANY, result=bool_, baselines=ways, unfitting=_of_unfitting(name)
    )


_ABOVE = {"lt": "lt", "le": "lt", "gt": "ge", "ge": "ge"}  # with a number above all finite ones, as with infinity
_BELOW = {"lt": "le", "le": "le", "gt": "gt", "ge": "gt"}  # with one below, as with -infinity
_MIRRORED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq", "ne": "ne"}


def _of_unfitting(name: str) -> Any:
    """A comparison with a Python number that the other operand's dtype does not hold: right all the same."""

    def compare(a: Any, b: Any) -> Any:
        if a.weak and b.weak:
            return cast(getattr(operator, name)(a.item(), b.item()), bool_)
        x, number, asked = (b, a.item(), _MIRRORED[name]) if a.weak else (a, b.item(), name)
        if asked in ("eq", "ne"):
            never = lt(x, -math.inf)
            return never if asked == "eq" else logical_not(never)
        return function(_ABOVE[asked])(x, math.inf) if number > 0 else function(_BELOW[asked])(x, -math.inf)

    return compare


eq = _comparison("eq", "==", "Whether a equals b, as bools; False where either is NaN.", np.equal)
ne = _comparison("ne", "!=", "Whether a differs from b, as bools; True where either is NaN.", np.not_equal)
lt = _comparison("lt", "<", "Whether a < b, as bools; False where either is NaN.", np.less)
le = _comparison("le", "<=", "Whether a <= b, as bools; False where either is NaN.", np.less_equal)
gt = _comparison("gt", ">", "Whether a > b, as bools; False where either is NaN.", np.greater)
ge = _comparison("ge", ">=", "Whether a >= b, as bools; False where either is NaN.", np.greater_equal)



def _of_truth(name: str) -> Any:
    """With a Python number that the other operand's dtype does not hold."""
    return lambda a, b: function(name)(ne(a, 0), ne(b, 0))


_BOOLS = [
    Workload((Input(MILLION, dtype=bool_),) * 2, why="1M", dtypes=(float32,)),
    Workload((Input(RAGGED, dtype=bool_),) * 2, why="ragged", dtypes=(float32,)),
]


def _logical(name: str, doc: str) -> Any:
    return pointwise(name, "a b", doc, kinds=ANY, result=bool_, unfitting=_of_truth(name), workloads=_BOOLS)


logical_and = _logical("logical_and", "Whether both a and b hold, as bools: numbers hold where they are not 0.")
logical_or = _logical("logical_or", "Whether a or b holds, or both, as bools: numbers hold where they are not 0.")
logical_xor = _logical("logical_xor", "Whether one of a and b holds, as bools: numbers hold where they are not 0.")
logical_not = pointwise(
    "logical_not", "x", "Whether x does not hold, as bools: numbers hold where they are not 0.", kinds=ANY,
    result=bool_, workloads=[w._replace(operands=w.operands[:1]) for w in _BOOLS],
)  # fmt: skip

_test = partial(pointwise, operands="x", result=bool_)
isnan = _test("isnan", doc="Whether each element is NaN, as bools.", baselines=library("isnan", out=("numpy",)))
isfinite = _test(
    "isfinite", doc="Whether each element is neither infinite nor NaN, as bools.",
    baselines=library("isfinite", out=("numpy",)),
)  # fmt: skip

# ---- where and cast -----------------------------------------------------------------------------------------------


def _choices_alike(specs: Sequence[Spec | None]) -> Sequence[DType | None]:
    """The condition as it is, the other two operands to their common dtype."""
    condition, *choices = specs
    common = result_type((s.dtype, s.weak) for s in choices if s is not None)
    return [condition and condition.dtype, common, common]


@operation(
    family="elementwise", kernels={"cuda": "elementwise.planners:where"}, promote=_choices_alike, reference=np.where,
    ulp=0, baselines=library("where", "condition a b", out=()),
    gradient={"a": lambda dout, condition: where(condition, dout, 0),
              "b": lambda dout, condition: where(condition, 0, dout)},
    cost=lambda condition, a, b: (0.0, bytes_of(condition, a, b) + bytes_of(_where(condition, a, b))),
    workloads=[
        Workload((Input(MILLION, dtype=bool_), MILLION, MILLION), why="1M"),
        Workload((Input(RAGGED, dtype=bool_), RAGGED, 0.0), why="ragged, masked"),
    ],
)  # fmt: skip
def where(condition: Spec, a: Spec, b: Spec) -> Spec:
    """Elements of a where the condition holds, else of b. The condition is bool; all three broadcast.

    >>> dl.where(dl.tensor([True, False]), dl.tensor([1, 2]), 0)
    tensor([1, 0])
    """
    return _where(condition, a, b)


def _where(condition: Spec, a: Spec, b: Spec) -> Spec:
    if condition.dtype is not bool_:
        raise DTypeError(f"where: the condition must be bool, not {condition.dtype.name}")
    return Spec(broadcast_shapes("where", condition.shape, a.shape, b.shape), a.dtype)


@where.samples
def _() -> Iterator[Sample]:
    def mask(*shape: int) -> Input:
        return Input(shape, dtype=bool_)

    yield Sample(mask(33, 65), (33, 65), (33, 65), why="no multiple of a vector")
    yield Sample(mask(3, 1), (4, 1, 5), (), why="broadcast")
    yield Sample(mask(7), (7,), 0.0, why="Python number")
    yield Sample(np.array(True), np.array(1.0), np.array(2.0), why="0-d")
    yield Sample(mask(0), (0,), (1,), why="empty")
    values = specials()
    yield Sample(mask(*values.shape), values, values[::-1].copy(), why="special values", grad=False)
    for dtype in (bool_, uint8, as_dtype("int16"), as_dtype("int32"), as_dtype("int64")):
        some = Input((5, 33), 0, 2, dtype)
        yield Sample(mask(5, 33), some, some, why=dtype.name, grad=False)


@where.error_inputs
def _() -> Iterator[ErrorInput]:
    x = np.ones((2, 3), np.float32)
    yield ErrorInput(DTypeError, "where: the condition must be bool, not float32", x, x, x)
    text = "where: shapes do not broadcast: (2, 3) and (2, 3) and (2, 2)"
    yield ErrorInput(ShapeError, text, x > 0, x, x[:, :2])


@where.otherwise
def _(condition: Any) -> tuple[Any, ...]:
    """With a condition alone: the coordinates where it holds, as NumPy and PyTorch have them."""
    return function("nonzero")(condition, as_tuple=True)


@operation(
    family="elementwise", kernels={"cuda": "elementwise.planners:cast"}, promote=as_given, ulp=0.5,
    gradient=lambda dout: dout,
    baselines={"numpy": "x.astype(dtype)", "torch": "x.to(getattr(torch, dtype))", "jax": "x.astype(dtype)"},
    cost=lambda x, dtype: (0.0, math.prod(x.shape) * (x.dtype.itemsize + dtype.itemsize)),
    workloads=[
        Workload((MILLION,), (bfloat16,), "1M", (float32,)), Workload((RAGGED,), (float16,), "ragged", (float32,)),
        Workload((MILLION,), (float32,), "1M, back", (bfloat16, float16)),
        Workload((Input((128, 784), 0, 256, uint8),), (float32,), "a batch of images", (float32,)),
    ],
)  # fmt: skip
def cast(x: Spec, dtype: Dtype) -> Spec:
    """x in another dtype, always a copy. Floats are rounded once, to nearest even.

    Float to integer truncates towards zero; beyond the range it gives the nearest limit, for NaN 0. Integer to integer
    wraps. To bool: x != 0.

    >>> dl.cast(dl.tensor([1.7, -1.7]), dl.int32)
    tensor([ 1, -1], dtype=int32)
    """
    return Spec(x.shape, dtype)


@cast.reference
def _(x: Any, dtype: DType) -> Any:
    if dtype.is_float:
        return np.asarray(x, np.float64)
    if dtype is bool_ or np.asarray(x).dtype.kind != "f":
        return np.asarray(x).astype(dtype.numpy)
    limits = np.iinfo(dtype.numpy)

    def saturated(v: float) -> int:
        return 0 if math.isnan(v) else limits.min if v < limits.min else limits.max if v > limits.max else int(v)

    return np.vectorize(saturated, otypes=[dtype.numpy])(x)


@cast.samples
def _() -> Iterator[Sample]:
    ties = np.array([1 + 2.0**-11, 1 + 2.0**-11 + 2.0**-40, 1 + 3 * 2.0**-9, 65519.99, 65520.0, 1e-7, 6e-8])
    odd = np.concatenate([specials(0.5, -0.5, 300.7, -300.7, 1e30, -1e30), ties])
    for target in DTYPES:
        yield Sample(Input((33, 65), 0, 100), dtype=target, why=f"to {target.name}", grad=target.name == "float64")
        yield Sample(odd, dtype=target, why=f"special values to {target.name}", grad=False)
        for source in (bool_, *INTEGERS):
            ends = [0, 1] if source is bool_ else [np.iinfo(source.numpy).min, np.iinfo(source.numpy).max, 0, 1, 100]
            why = f"{source.name} to {target.name}"
            yield Sample(np.array(ends, source.numpy), dtype=target, why=why, grad=False)
    yield Sample(np.array(2.7), dtype=as_dtype("int32"), why="0-d", grad=False)
    yield Sample(np.ones((0, 3)), dtype=as_dtype("int32"), why="empty", grad=False)
