"""Written by `make stubs` from the definitions in dlcore/ops: not to be edited."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from dlcore._tensor import Tensor

Operand: TypeAlias = Tensor | float | np.ndarray[Any, Any] | np.generic | list[Any] | tuple[Any, ...]
"""What operations take: tensors, numbers, and what becomes a tensor: arrays and nested lists."""

__all__ = [
    "abs", "add", "all", "any", "argmax", "argmin", "argpartition", "argsort", "bucketize", "cast", "clip", "concat",
    "cos", "count_nonzero", "cross_entropy", "div", "eq", "exp", "expand", "expm1", "flatten", "floor_divide", "gather",
    "ge", "gelu", "gelu_backward", "gt", "intersect1d", "isfinite", "isin", "isnan", "kthvalue", "le", "linear",
    "linear_backward", "log", "log1p", "log_softmax", "logical_and", "logical_not", "logical_or", "logical_xor",
    "logsumexp", "lt", "matmul", "max", "maximum", "mean", "median", "min", "minimum", "mse_loss", "msort", "mul",
    "nanmedian", "nanquantile", "ne", "neg", "nonzero", "partition", "percentile", "permute", "pow", "quantile",
    "reciprocal", "relu", "relu_backward", "remainder", "reshape", "rsqrt", "searchsorted", "setdiff1d", "setxor1d",
    "sigmoid", "sigmoid_backward", "sign", "sin", "softmax", "sort", "sqrt", "square", "squeeze", "stack", "sub", "sum",
    "take", "tanh", "tanh_backward", "topk", "transpose", "union1d", "unique", "unique_all", "unique_counts",
    "unique_inverse", "unique_values", "unsqueeze", "where",
]

def abs(x: Operand) -> Tensor:
    """Absolute value |x|. The gradient at 0 is 0."""

def add(a: Operand, b: Operand) -> Tensor:
    """Sum a + b; of bools their disjunction (or)."""

def all(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """Whether every element along `axis` is not zero; of nothing, True."""

def any(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """Whether any element along `axis` is not zero; of nothing, False."""

def argmax(x: Operand, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Index (int64) of the largest element along `axis`, the first of equal ones; a NaN counts as largest.

    `axis`: an int, or None for the index into the flattened array. Raises IndexError for an axis out of range,
    ShapeError where the axis is empty.
    """

def argmin(x: Operand, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Index (int64) of the smallest element along `axis`, the first of equal ones; a NaN counts as smallest.

    `axis`: an int, or None for the index into the flattened array. Raises IndexError for an axis out of range,
    ShapeError where the axis is empty.
    """

def argpartition(x: Operand, kth: Operand, axis: int | None = -1) -> Tensor:
    """Indices (int64) that put `x` in the order of `partition`: those of `argsort`.

    >>> dl.argpartition(dl.tensor([4, 1, 3]), 1).tolist()
    [1, 2, 0]
    """

def argsort(x: Operand, axis: int | None = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Indices (int64) that put `x` in order along `axis`: gather(x, argsort(x, axis), axis) is sort(x, axis).

    Arguments, order and errors as in `sort`.

    >>> dl.argsort(dl.tensor([3.0, 1.0, 2.0])).tolist()
    [1, 2, 0]
    """

def bucketize(x: Operand, boundaries: Operand, right: bool = False) -> Tensor:
    """The number of the interval between ``boundaries`` (sorted, 1-D) that each element of ``x`` lies in (int64).

    i with boundaries[i - 1] < x <= boundaries[i], or (``right``) boundaries[i - 1] <= x < boundaries[i], as PyTorch's
    bucketize; `numpy.digitize` is the other way round. Raises ShapeError unless there is one axis of boundaries.

    >>> dl.bucketize(dl.tensor([0.5, 1.0, 9.0]), dl.tensor([1.0, 2.0])).tolist()
    [0, 0, 2]
    """

def cast(x: Operand, dtype: Any) -> Tensor:
    """x in another dtype, always a copy. Floats are rounded once, to nearest even.

    Float to integer truncates towards zero; beyond the range it gives the nearest limit, for NaN 0. Integer to integer
    wraps. To bool: x != 0.
    """

def clip(x: Operand, low: Operand | None = None, high: Operand | None = None) -> Tensor:
    """x limited to [low, high]: ``minimum(maximum(x, low), high)``; a limit of None is none. NaN stays NaN.

    ``low`` and ``high``: numbers or tensors that broadcast with x. The gradient is 0 outside.
    """

def concat(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """The tensors one after another along `axis`: lengths may differ there, and nowhere else.

    Raises ShapeError where shapes differ elsewhere or no tensors are given.
    """

def cos(x: Operand) -> Tensor:
    """Cosine of x in radians; NaN of infinities."""

def count_nonzero(x: Operand) -> Tensor:
    """The number of elements that are not zero (false), as a 0-d int64 tensor."""

def cross_entropy(logits: Operand, target: Operand, weight: Operand | None = None, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: Literal['none', 'mean', 'sum'] = 'mean') -> Tensor:
    """Cross-entropy of a target and the softmax of `logits`: -w[t] log(softmax(logits)[t]).

    `logits`: (N, C), (N, C, d...) or (C,), C classes. `target`: class indices, (N,), (N, d...) or (), of any integer
    dtype; or probabilities, floats in the shape of `logits`. `weight`: (C,), one factor for each class, a constant.
    `ignore_index`: positions with this label count for nothing. `label_smoothing` s in [0, 1]: the target becomes
    (1 - s) of itself and s / C for every class. `reduction`: "mean" (divided by the sum of the weights of the labels
    that count; for probabilities, by N), "sum" or "none". The mean over nothing is NaN.

    Forward and gradient are one pass over the logits, in float32 or wider. Raises IndexError, before anything is
    written, for a label outside 0 .. C - 1; ShapeError, DTypeError, ValueError. Szegedy et al. 2016 (smoothing).
    """

def div(a: Operand, b: Operand) -> Tensor:
    """Quotient a / b, in floating point (integers become float32 first); by 0: infinity or NaN."""

def eq(a: Operand, b: Operand) -> Tensor:
    """Whether a equals b, as bools; False where either is NaN."""

def exp(x: Operand) -> Tensor:
    """Exponential e^x."""

def expand(x: Operand, shape: int | Sequence[int]) -> Tensor:
    """A view broadcast to `shape`: new axes in front, axes of length 1 repeated, without using memory.

    -1 keeps an axis's length. Raises ShapeError where NumPy's rule does not allow it.
    """

def expm1(x: Operand) -> Tensor:
    """Exponential minus one, e^x - 1, accurate near 0."""

def flatten(x: Operand, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """The axes from ``start_axis`` to ``end_axis`` (included) made one; a view where strides allow."""

def floor_divide(a: Operand, b: Operand) -> Tensor:
    """Quotient rounded down, floor(a / b), as Python's //; integers by 0 give 0. No gradient."""

def gather(x: Operand, index: Operand, axis: int) -> Tensor:
    """The elements of `x` at `index` along `axis`, one for each element of `index`.

    For axis 0 of a matrix: out[i, j] = x[index[i, j], j]. `index` has as many axes as `x` and is no longer along the
    others (torch.gather, numpy.take_along_axis).
    """

def ge(a: Operand, b: Operand) -> Tensor:
    """Whether a >= b, as bools; False where either is NaN."""

def gelu(x: Operand, approximate: Literal['none', 'tanh'] = 'none') -> Tensor:
    """Gaussian error linear unit x P(X <= x), X standard normal (https://arxiv.org/abs/1606.08415).

    approximate="tanh": x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). Both keep their relative accuracy in the
    negative tail, where 1 + erf would cancel, and are 0 at -inf. Raises ValueError for another `approximate`.
    """

def gelu_backward(dout: Operand, x: Operand, approximate: Literal['none', 'tanh'] = 'none') -> Tensor:
    """Gradient of gelu: dout (p(x) + x p'(x)) for gelu(x) = x p(x)."""

def gt(a: Operand, b: Operand) -> Tensor:
    """Whether a > b, as bools; False where either is NaN."""

def intersect1d(x: Operand, y: Operand, assume_unique: bool = False, return_indices: bool = False) -> Tensor:
    """The distinct elements that are in both ``x`` and ``y``, in order, in one axis.

    With ``return_indices`` a tuple: the elements, and where each stands first in the flattened ``x`` and ``y``.
    ``assume_unique`` changes nothing. NaN is in no intersection.

    >>> dl.intersect1d(dl.tensor([3, 1, 3]), dl.tensor([3, 4])).tolist()
    [3]
    """

def isfinite(x: Operand) -> Tensor:
    """Whether each element is neither infinite nor NaN, as bools."""

def isin(x: Operand, test_elements: Operand, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each element of ``x`` is among ``test_elements`` (or, ``invert``, is not), as bools of its shape.

    Either may be a number. NaN is among nothing. ``assume_unique`` changes nothing.

    >>> dl.isin(dl.tensor([1, 2, 3]), dl.tensor([3, 5])).tolist()
    [False, False, True]
    """

def isnan(x: Operand) -> Tensor:
    """Whether each element is NaN, as bools."""

def kthvalue(x: Operand, k: int, axis: int = -1, keepdims: bool = False) -> Tensor:
    """(values, indices): the ``k``-th smallest element along ``axis``, counted from 1, and where it stands (int64).

    Of equal elements the first; NaN counts as the largest. The gradient goes to where the values came from. Raises
    IndexError for an axis out of range, ShapeError where ``k`` is less than 1 or more than the length of the axis.

    >>> [part.item() for part in dl.kthvalue(dl.tensor([4.0, 1.0, 3.0]), 2)]
    [3.0, 2]
    """

def le(a: Operand, b: Operand) -> Tensor:
    """Whether a <= b, as bools; False where either is NaN."""

def linear(x: Operand, weight: Operand, bias: Operand | None = None, activation: Literal[None, 'relu', 'sigmoid', 'tanh', 'gelu', 'gelu_tanh'] = None) -> Tensor:
    """A linear layer: activation(x @ weight.T + bias), in one kernel.

    `x` (..., K), `weight` (N, K), `bias` (N,) or None give (..., N). `activation` is None, "relu", "sigmoid", "tanh",
    "gelu" or "gelu_tanh", applied to each tile of the product in the cache: the same bits as the separate operations.
    Integers become the default float. Raises ShapeError where shapes do not fit, ValueError for another activation.
    """

def linear_backward(dout: Operand, x: Operand, weight: Operand, saved: Operand | None = None, activation: Literal[None, 'relu', 'sigmoid', 'tanh', 'gelu', 'gelu_tanh'] = None, output_mask: Sequence[bool] = (True, True, True)) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of linear: dx (..., K), dweight (N, K) and dbias (N,), each None where `output_mask` says so.

    With dpre = dout activation'(saved): dx = dpre @ weight, dweight = dpre.T @ x, dbias = the sum of dpre over all
    leading axes. `saved` is linear's output for relu, sigmoid and tanh, the value before the activation for gelu and
    gelu_tanh, and None without activation. Both products are one parallel region.
    """

def log(x: Operand) -> Tensor:
    """Natural logarithm; -inf of 0, NaN of negative numbers."""

def log1p(x: Operand) -> Tensor:
    """Natural logarithm of 1 + x, accurate near 0."""

def log_softmax(x: Operand, axis: int = -1) -> Tensor:
    """Logarithm of the softmax along `axis`: (x - max(x)) - log(sum(exp(x - max(x)))).

    Exact where softmax underflows. Accumulation, special values and errors as in `softmax`.
    """

def logical_and(a: Operand, b: Operand) -> Tensor:
    """Whether both of two bools hold; DTypeError for others."""

def logical_not(x: Operand) -> Tensor:
    """Whether a bool does not hold; DTypeError for others."""

def logical_or(a: Operand, b: Operand) -> Tensor:
    """Whether one of two bools holds; DTypeError for others."""

def logical_xor(a: Operand, b: Operand) -> Tensor:
    """Whether two bools differ; DTypeError for others."""

def logsumexp(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """Logarithm of the sum of exponentials along `axis`: m + log(sum(exp(x - m))) with m = max(x).

    One pass; nothing overflows. Of nothing it is -inf. Integers become float32. Errors as in `sum`.
    """

def lt(a: Operand, b: Operand) -> Tensor:
    """Whether a < b, as bools; False where either is NaN."""

def matmul(a: Operand, b: Operand) -> Tensor:
    """The matrix product of `a` (..., M, K) and `b` (..., K, N): (..., M, N), the sums over k of a[m, k] b[k, n].

    Leading axes broadcast. A vector is a row on the left, a column on the right, and its axis is dropped from the
    result, as NumPy does it. Integers wrap around. Raises ShapeError where inner sizes differ or leading axes do not
    broadcast, DTypeError for bool.
    """

def max(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """Largest element along `axis`; NaN where there is one.

    The gradient goes to the elements equal to it, in equal parts. Raises ShapeError where an axis is empty; other
    errors as in `sum`.
    """

def maximum(a: Operand, b: Operand) -> Tensor:
    """The larger of a and b; NaN if either is. At ties the gradient is split half and half."""

def mean(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean of the elements along `axis`: their sum, divided by their number in float64.

    Floats keep their dtype, bool and integers give float32. The mean of nothing is NaN. Errors as in `sum`.
    """

def median(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """The middle of the elements along `axis`; of an even number the mean of the middle two; NaN where there is one.

    This is NumPy's median. PyTorch's is the smaller one of the two, kthvalue(x, (n + 1) // 2), and returns indices too
    where it is given an axis. Raises IndexError for an axis out of range, ShapeError where one is empty or given twice.

    >>> dl.median(dl.tensor([4.0, 1.0, 3.0, 2.0])).item()
    2.5
    """

def min(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """Smallest element along `axis`; NaN where there is one.

    The gradient goes to the elements equal to it, in equal parts. Raises ShapeError where an axis is empty; other
    errors as in `sum`.
    """

def minimum(a: Operand, b: Operand) -> Tensor:
    """The smaller of a and b; NaN if either is. At ties the gradient is split half and half."""

def mse_loss(input: Operand, target: Operand, reduction: Literal['none', 'mean', 'sum'] = 'mean') -> Tensor:
    """Squared error: (input - target)^2, averaged, summed, or one for each element.

    `input`, `target`: floats (integers become float32) of one shape; nothing is broadcast. The sum is accumulated in
    float32 within blocks and in float64 beyond; the mean of nothing is NaN. Raises ShapeError where shapes differ.
    """

def msort(x: Operand) -> Tensor:
    """The elements of ``x`` in order along its first axis: sort(x, 0).

    >>> dl.msort(dl.tensor([[3, 1], [2, 5]])).tolist()
    [[2, 1], [3, 5]]
    """

def mul(a: Operand, b: Operand) -> Tensor:
    """Product a b; of bools their conjunction (and)."""

def nanmedian(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """The median of the elements along `axis` that are not NaN; NaN where there are none. Errors as in `median`.

    >>> dl.nanmedian(dl.tensor([4.0, float("nan"), 3.0])).item()
    3.5
    """

def nanquantile(x: Operand, q: float | Sequence[float] | Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False, method: Literal['linear', 'lower', 'higher', 'midpoint', 'nearest'] = 'linear') -> Tensor:
    """The quantile of the elements along `axis` that are not NaN; NaN where there are none. See `quantile`.

    >>> dl.nanquantile(dl.tensor([1.0, float("nan"), 3.0]), 0.5).item()
    2.0
    """

def ne(a: Operand, b: Operand) -> Tensor:
    """Whether a differs from b, as bools; True where either is NaN."""

def neg(x: Operand) -> Tensor:
    """Negative -x."""

def nonzero(x: Operand) -> Tensor:
    """The coordinates of all elements that are not zero (false), in row-major order: (count, ndim) int64.

    The shape depends on values, so a step that calls it cannot be recorded.
    """

def partition(x: Operand, kth: Operand, axis: int | None = -1) -> Tensor:
    """`x` in an order in which element ``kth`` (an int or several) stands where sorting puts it.

    Smaller ones stand before it, larger ones behind. That is true of the sorted elements, which is what this gives.
    Raises IndexError where ``kth`` is out of range.

    >>> dl.partition(dl.tensor([4, 1, 3]), 1).tolist()
    [1, 3, 4]
    """

def percentile(x: Operand, q: Operand, axis: Operand | None = None, keepdims: bool = False, method: Operand = 'linear') -> Tensor:
    """The value below which ``q`` per cent of the elements along ``axis`` lie: quantile(x, q / 100, ...).

    Raises ValueError for a ``q`` that is not between 0 and 100.

    >>> dl.percentile(dl.tensor([1.0, 2.0, 3.0, 4.0]), 50).item()
    2.5
    """

def permute(x: Operand, axes: int | Sequence[int]) -> Tensor:
    """A view with the axes in another order: axis d of the output is axis `axes[d]` of `x`."""

def pow(a: Operand, b: Operand) -> Tensor:
    """Power a^b, as C's pow: 1 for b = 0 and for a = 1; a negative base needs an integer exponent, else NaN.

    Of integers an integer that wraps. Raises ValueError where one of them is to have a negative power.
    """

def quantile(x: Operand, q: float | Sequence[float] | Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False, method: Literal['linear', 'lower', 'higher', 'midpoint', 'nearest'] = 'linear') -> Tensor:
    """The value below which the fraction `q` of the elements along `axis` lies; NaN where there is one among them.

    `q`: a number from 0 to 1, or several, which come along a new first axis. q (n - 1) is a place among the n sorted
    elements; where it is between two, `method` "linear" interpolates, "midpoint" gives their mean, "lower", "higher"
    and "nearest" (half to even) one of them. As numpy.quantile and torch.quantile.

    Raises ValueError for a `q` out of range, IndexError for an axis out of range, ShapeError where one is empty.

    >>> dl.quantile(dl.tensor([1.0, 2.0, 3.0, 4.0]), [0.5, 1.0]).tolist()
    [2.5, 4.0]
    """

def reciprocal(x: Operand) -> Tensor:
    """Reciprocal 1 / x."""

def relu(x: Operand) -> Tensor:
    """Rectifier max(x, 0). The gradient at 0 is 0."""

def relu_backward(dout: Operand, out: Operand) -> Tensor:
    """Gradient of relu: dout where out > 0, else 0."""

def remainder(a: Operand, b: Operand) -> Tensor:
    """Remainder a - b floor(a / b), with the divisor's sign, as Python's %; integers modulo 0 give 0."""

def reshape(x: Operand, shape: int | Sequence[int]) -> Tensor:
    """The same elements, in row-major order, in another shape; a view where strides allow, else a copy.

    One length of `shape` may be -1: it is found from the number of elements. Raises ShapeError where that differs.
    """

def rsqrt(x: Operand) -> Tensor:
    """Reciprocal square root 1 / sqrt(x); NaN of negative numbers."""

def searchsorted(x: Operand, values: Operand, side: str = 'left', sorter: Operand | None = None) -> Tensor:
    """Where ``values`` would be inserted into the sorted sequence ``x`` to keep it in order (int64, of their shape).

    ``x`` (N,) and values of any shape, or ``x`` (..., N) and values (..., M), row by row. ``side`` "left": the number
    of elements that are smaller; "right": of those that are not larger. NaN counts as the largest. ``sorter``:
    integers that put ``x`` in order along its last axis, `argsort(x)`. Where ``x`` is in no order, so is the result.

    Raises ShapeError where shapes do not fit together, IndexError for an index of the sorter out of range.

    >>> dl.searchsorted(dl.tensor([1, 3, 3, 7]), dl.tensor([3, 8])).tolist()
    [1, 4]
    """

def setdiff1d(x: Operand, y: Operand, assume_unique: bool = False) -> Tensor:
    """The distinct elements of ``x`` that are not in ``y``, in order, in one axis.

    With ``assume_unique`` the elements of ``x`` keep their order, and those that are there twice stay so.

    >>> dl.setdiff1d(dl.tensor([3, 1, 2]), dl.tensor([1])).tolist()
    [2, 3]
    """

def setxor1d(x: Operand, y: Operand, assume_unique: bool = False) -> Tensor:
    """The distinct elements that are in one of ``x`` and ``y`` alone, in order, in one axis.

    >>> dl.setxor1d(dl.tensor([3, 1]), dl.tensor([1, 2])).tolist()
    [2, 3]
    """

def sigmoid(x: Operand) -> Tensor:
    """Logistic function 1 / (1 + e^-x), accurate in the lower tail."""

def sigmoid_backward(dout: Operand, out: Operand) -> Tensor:
    """Gradient of sigmoid: dout out (1 - out)."""

def sign(x: Operand) -> Tensor:
    """Sign of x: -1, 0 or 1; NaN of NaN. Its gradient is 0."""

def sin(x: Operand) -> Tensor:
    """Sine of x in radians; NaN of infinities."""

def softmax(x: Operand, axis: int = -1) -> Tensor:
    """Probabilities along `axis`: exp(x - max(x)) / sum(exp(x - max(x))).

    Sums are accumulated in float32 within blocks and in float64 beyond. A line that holds +inf or NaN, or nothing but
    -inf, gives NaN. Integers become float32. Raises IndexError for an axis out of range.
    """

def sort(x: Operand, axis: int | None = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The elements of `x` in order along `axis`, smallest first or, with `descending`, largest first.

    `axis`: an int, or None for all elements in one line. Any dtype. NaN counts as the largest, -0.0 equals 0.0; equal
    elements keep their order, whatever `stable` says. The gradient goes to where each element came from.

    Raises IndexError for an axis out of range.

    >>> dl.sort(dl.tensor([3, 1, 2]), descending=True).tolist()
    [3, 2, 1]
    """

def sqrt(x: Operand) -> Tensor:
    """Square root; NaN of negative numbers."""

def square(x: Operand) -> Tensor:
    """Square x^2."""

def squeeze(x: Operand, axis: int | Sequence[int] | None = None) -> Tensor:
    """A view without its axes of length 1, or without those in ``axis``.

    Raises ShapeError where an axis named has another length or is given twice.
    """

def stack(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """The tensors, all of one shape, along a new axis at ``axis``. Raises ShapeError where shapes differ."""

def sub(a: Operand, b: Operand) -> Tensor:
    """Difference a - b. Raises DTypeError for bools: use logical_xor."""

def sum(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """Sum of the elements along `axis`.

    Floats keep their dtype and are accumulated in float32 within blocks of 4096, in float64 beyond; bool and integers
    give int64. The sum of nothing is 0. Raises IndexError for an axis out of range, ShapeError for one given twice.
    """

def take(x: Operand, indices: Operand, axis: int = 0) -> Tensor:
    """The elements (rows) of `x` at `indices` along `axis`: out[..., i, ...] = x[..., indices[i], ...].

    x (A, N, B), indices of any shape I: the output has shape (A, I, B). The gradient adds up rows that were taken more
    than once, in the order of the indices.
    """

def tanh(x: Operand) -> Tensor:
    """Hyperbolic tangent."""

def tanh_backward(dout: Operand, out: Operand) -> Tensor:
    """Gradient of tanh: dout (1 - out^2)."""

def topk(x: Operand, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Tensor, Tensor]:
    """(values, indices): the `k` largest elements along `axis`, largest first, and where they stand (int64).

    With `largest` False the smallest, smallest first. Any dtype. They are in order whatever `sorted` says; of equal
    elements those that stand first are chosen, and come first. NaN counts as the largest. The gradient of the values
    goes to where they came from.

    Raises IndexError for an axis out of range, ShapeError where `k` is negative or more than the length of the axis.

    >>> values, indices = dl.topk(dl.tensor([1.0, 4.0, 2.0]), 2)
    >>> values.tolist(), indices.tolist()
    ([4.0, 2.0], [1, 2])
    """

def transpose(x: Operand, axis0: int = -2, axis1: int = -1) -> Tensor:
    """A view with two axes exchanged. Raises IndexError for an axis out of range."""

def union1d(x: Operand, y: Operand) -> Tensor:
    """The distinct elements of ``x`` and ``y`` in order, in one axis.

    >>> dl.union1d(dl.tensor([3, 1]), dl.tensor([1, 2])).tolist()
    [1, 2, 3]
    """

def unique(x: Operand, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False, *, equal_nan: bool = True) -> Tensor:
    """The distinct elements of ``x`` in order, in one axis; with what is asked for besides, a tuple in this order:

    ``return_index``: where each stands first in the flattened ``x``; ``return_inverse``: which of them each element
    of ``x`` is, in its shape; ``return_counts``: how often each is there; all int64. NaNs are one element, or
    (``equal_nan`` False) distinct, as numpy.unique has it; PyTorch's are distinct.

    >>> values, counts = dl.unique(dl.tensor([3, 1, 3]), return_counts=True)
    >>> values.tolist(), counts.tolist()
    ([1, 3], [1, 2])
    """

def unique_all(x: Operand) -> Tensor:
    """(values, indices, inverse_indices, counts) of the distinct elements of ``x``; see `unique`. NaNs are distinct.

    >>> dl.unique_all(dl.tensor([3, 1, 3])).inverse_indices.tolist()
    [1, 0, 1]
    """

def unique_counts(x: Operand) -> Tensor:
    """(values, counts) of the distinct elements of ``x``; see `unique`. NaNs are distinct.

    >>> dl.unique_counts(dl.tensor([3, 1, 3])).counts.tolist()
    [1, 2]
    """

def unique_inverse(x: Operand) -> Tensor:
    """(values, inverse_indices) of the distinct elements of ``x``; see `unique`. NaNs are distinct.

    >>> dl.unique_inverse(dl.tensor([3, 1, 3])).inverse_indices.tolist()
    [1, 0, 1]
    """

def unique_values(x: Operand) -> Tensor:
    """The distinct elements of `x` in order, in one axis; each NaN is distinct (array API standard).

    >>> dl.unique_values(dl.tensor([3, 1, 3])).tolist()
    [1, 3]
    """

def unsqueeze(x: Operand, axis: int) -> Tensor:
    """A view with a new axis of length 1 at ``axis`` (-1: behind the last). Raises IndexError for one out of range."""

def where(condition: Operand, a: Operand, b: Operand) -> Tensor:
    """Elements of a where the condition holds, else of b. The condition is bool; all three broadcast."""

class TensorMethods:
    """The operations that tensors have as methods: ``x.sum(0)`` is ``dl.sum(x, 0)``."""

    def abs(self) -> Tensor:
        """Absolute value |x|. The gradient at 0 is 0."""
    def add(self, b: Operand) -> Tensor:
        """Sum a + b; of bools their disjunction (or)."""
    def all(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Whether every element along `axis` is not zero; of nothing, True."""
    def any(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Whether any element along `axis` is not zero; of nothing, False."""
    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Index (int64) of the largest element along `axis`, the first of equal ones; a NaN counts as largest."""
    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Index (int64) of the smallest element along `axis`, the first of equal ones; a NaN counts as smallest."""
    def argpartition(self, kth: Operand, axis: int | None = -1) -> Tensor:
        """Indices (int64) that put `x` in the order of `partition`: those of `argsort`."""
    def argsort(self, axis: int | None = -1, descending: bool = False, stable: bool = True) -> Tensor:
        """Indices (int64) that put `x` in order along `axis`: gather(x, argsort(x, axis), axis) is sort(x, axis)."""
    def bucketize(self, boundaries: Operand, right: bool = False) -> Tensor:
        """The number of the interval between ``boundaries`` (sorted, 1-D) that each element of ``x`` lies in (int64)."""
    def clip(self, low: Operand | None = None, high: Operand | None = None) -> Tensor:
        """x limited to [low, high]: ``minimum(maximum(x, low), high)``; a limit of None is none. NaN stays NaN."""
    def cos(self) -> Tensor:
        """Cosine of x in radians; NaN of infinities."""
    def count_nonzero(self) -> Tensor:
        """The number of elements that are not zero (false), as a 0-d int64 tensor."""
    def div(self, b: Operand) -> Tensor:
        """Quotient a / b, in floating point (integers become float32 first); by 0: infinity or NaN."""
    def eq(self, b: Operand) -> Tensor:
        """Whether a equals b, as bools; False where either is NaN."""
    def exp(self) -> Tensor:
        """Exponential e^x."""
    def expm1(self) -> Tensor:
        """Exponential minus one, e^x - 1, accurate near 0."""
    def flatten(self, start_axis: int = 0, end_axis: int = -1) -> Tensor:
        """The axes from ``start_axis`` to ``end_axis`` (included) made one; a view where strides allow."""
    def floor_divide(self, b: Operand) -> Tensor:
        """Quotient rounded down, floor(a / b), as Python's //; integers by 0 give 0. No gradient."""
    def gather(self, index: Operand, axis: int) -> Tensor:
        """The elements of `x` at `index` along `axis`, one for each element of `index`."""
    def ge(self, b: Operand) -> Tensor:
        """Whether a >= b, as bools; False where either is NaN."""
    def gelu(self, approximate: Literal['none', 'tanh'] = 'none') -> Tensor:
        """Gaussian error linear unit x P(X <= x), X standard normal (https://arxiv.org/abs/1606.08415)."""
    def gt(self, b: Operand) -> Tensor:
        """Whether a > b, as bools; False where either is NaN."""
    def intersect1d(self, y: Operand, assume_unique: bool = False, return_indices: bool = False) -> Tensor:
        """The distinct elements that are in both ``x`` and ``y``, in order, in one axis."""
    def isfinite(self) -> Tensor:
        """Whether each element is neither infinite nor NaN, as bools."""
    def isin(self, test_elements: Operand, assume_unique: bool = False, invert: bool = False) -> Tensor:
        """Whether each element of ``x`` is among ``test_elements`` (or, ``invert``, is not), as bools of its shape."""
    def isnan(self) -> Tensor:
        """Whether each element is NaN, as bools."""
    def kthvalue(self, k: int, axis: int = -1, keepdims: bool = False) -> Tensor:
        """(values, indices): the ``k``-th smallest element along ``axis``, counted from 1, and where it stands (int64)."""
    def le(self, b: Operand) -> Tensor:
        """Whether a <= b, as bools; False where either is NaN."""
    def log(self) -> Tensor:
        """Natural logarithm; -inf of 0, NaN of negative numbers."""
    def log1p(self) -> Tensor:
        """Natural logarithm of 1 + x, accurate near 0."""
    def log_softmax(self, axis: int = -1) -> Tensor:
        """Logarithm of the softmax along `axis`: (x - max(x)) - log(sum(exp(x - max(x))))."""
    def logical_and(self, b: Operand) -> Tensor:
        """Whether both of two bools hold; DTypeError for others."""
    def logical_not(self) -> Tensor:
        """Whether a bool does not hold; DTypeError for others."""
    def logical_or(self, b: Operand) -> Tensor:
        """Whether one of two bools holds; DTypeError for others."""
    def logical_xor(self, b: Operand) -> Tensor:
        """Whether two bools differ; DTypeError for others."""
    def logsumexp(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Logarithm of the sum of exponentials along `axis`: m + log(sum(exp(x - m))) with m = max(x)."""
    def lt(self, b: Operand) -> Tensor:
        """Whether a < b, as bools; False where either is NaN."""
    def matmul(self, b: Operand) -> Tensor:
        """The matrix product of `a` (..., M, K) and `b` (..., K, N): (..., M, N), the sums over k of a[m, k] b[k, n]."""
    def max(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Largest element along `axis`; NaN where there is one."""
    def maximum(self, b: Operand) -> Tensor:
        """The larger of a and b; NaN if either is. At ties the gradient is split half and half."""
    def mean(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Arithmetic mean of the elements along `axis`: their sum, divided by their number in float64."""
    def median(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """The middle of the elements along `axis`; of an even number the mean of the middle two; NaN where there is one."""
    def min(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Smallest element along `axis`; NaN where there is one."""
    def minimum(self, b: Operand) -> Tensor:
        """The smaller of a and b; NaN if either is. At ties the gradient is split half and half."""
    def msort(self) -> Tensor:
        """The elements of ``x`` in order along its first axis: sort(x, 0)."""
    def mul(self, b: Operand) -> Tensor:
        """Product a b; of bools their conjunction (and)."""
    def nanmedian(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """The median of the elements along `axis` that are not NaN; NaN where there are none. Errors as in `median`."""
    def nanquantile(self, q: float | Sequence[float] | Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False, method: Literal['linear', 'lower', 'higher', 'midpoint', 'nearest'] = 'linear') -> Tensor:
        """The quantile of the elements along `axis` that are not NaN; NaN where there are none. See `quantile`."""
    def ne(self, b: Operand) -> Tensor:
        """Whether a differs from b, as bools; True where either is NaN."""
    def neg(self) -> Tensor:
        """Negative -x."""
    def nonzero(self) -> Tensor:
        """The coordinates of all elements that are not zero (false), in row-major order: (count, ndim) int64."""
    def partition(self, kth: Operand, axis: int | None = -1) -> Tensor:
        """`x` in an order in which element ``kth`` (an int or several) stands where sorting puts it."""
    def percentile(self, q: Operand, axis: Operand | None = None, keepdims: bool = False, method: Operand = 'linear') -> Tensor:
        """The value below which ``q`` per cent of the elements along ``axis`` lie: quantile(x, q / 100, ...)."""
    def pow(self, b: Operand) -> Tensor:
        """Power a^b, as C's pow: 1 for b = 0 and for a = 1; a negative base needs an integer exponent, else NaN."""
    def quantile(self, q: float | Sequence[float] | Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False, method: Literal['linear', 'lower', 'higher', 'midpoint', 'nearest'] = 'linear') -> Tensor:
        """The value below which the fraction `q` of the elements along `axis` lies; NaN where there is one among them."""
    def reciprocal(self) -> Tensor:
        """Reciprocal 1 / x."""
    def relu(self) -> Tensor:
        """Rectifier max(x, 0). The gradient at 0 is 0."""
    def remainder(self, b: Operand) -> Tensor:
        """Remainder a - b floor(a / b), with the divisor's sign, as Python's %; integers modulo 0 give 0."""
    def rsqrt(self) -> Tensor:
        """Reciprocal square root 1 / sqrt(x); NaN of negative numbers."""
    def searchsorted(self, values: Operand, side: str = 'left', sorter: Operand | None = None) -> Tensor:
        """Where ``values`` would be inserted into the sorted sequence ``x`` to keep it in order (int64, of their shape)."""
    def setdiff1d(self, y: Operand, assume_unique: bool = False) -> Tensor:
        """The distinct elements of ``x`` that are not in ``y``, in order, in one axis."""
    def setxor1d(self, y: Operand, assume_unique: bool = False) -> Tensor:
        """The distinct elements that are in one of ``x`` and ``y`` alone, in order, in one axis."""
    def sigmoid(self) -> Tensor:
        """Logistic function 1 / (1 + e^-x), accurate in the lower tail."""
    def sign(self) -> Tensor:
        """Sign of x: -1, 0 or 1; NaN of NaN. Its gradient is 0."""
    def sin(self) -> Tensor:
        """Sine of x in radians; NaN of infinities."""
    def softmax(self, axis: int = -1) -> Tensor:
        """Probabilities along `axis`: exp(x - max(x)) / sum(exp(x - max(x)))."""
    def sort(self, axis: int | None = -1, descending: bool = False, stable: bool = True) -> Tensor:
        """The elements of `x` in order along `axis`, smallest first or, with `descending`, largest first."""
    def sqrt(self) -> Tensor:
        """Square root; NaN of negative numbers."""
    def square(self) -> Tensor:
        """Square x^2."""
    def squeeze(self, axis: int | Sequence[int] | None = None) -> Tensor:
        """A view without its axes of length 1, or without those in ``axis``."""
    def sub(self, b: Operand) -> Tensor:
        """Difference a - b. Raises DTypeError for bools: use logical_xor."""
    def sum(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Sum of the elements along `axis`."""
    def take(self, indices: Operand, axis: int = 0) -> Tensor:
        """The elements (rows) of `x` at `indices` along `axis`: out[..., i, ...] = x[..., indices[i], ...]."""
    def tanh(self) -> Tensor:
        """Hyperbolic tangent."""
    def topk(self, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Tensor, Tensor]:
        """(values, indices): the `k` largest elements along `axis`, largest first, and where they stand (int64)."""
    def transpose(self, axis0: int = -2, axis1: int = -1) -> Tensor:
        """A view with two axes exchanged. Raises IndexError for an axis out of range."""
    def union1d(self, y: Operand) -> Tensor:
        """The distinct elements of ``x`` and ``y`` in order, in one axis."""
    def unique(self, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False, *, equal_nan: bool = True) -> Tensor:
        """The distinct elements of ``x`` in order, in one axis; with what is asked for besides, a tuple in this order:"""
    def unique_all(self) -> Tensor:
        """(values, indices, inverse_indices, counts) of the distinct elements of ``x``; see `unique`. NaNs are distinct."""
    def unique_counts(self) -> Tensor:
        """(values, counts) of the distinct elements of ``x``; see `unique`. NaNs are distinct."""
    def unique_inverse(self) -> Tensor:
        """(values, inverse_indices) of the distinct elements of ``x``; see `unique`. NaNs are distinct."""
    def unique_values(self) -> Tensor:
        """The distinct elements of `x` in order, in one axis; each NaN is distinct (array API standard)."""
    def unsqueeze(self, axis: int) -> Tensor:
        """A view with a new axis of length 1 at ``axis`` (-1: behind the last). Raises IndexError for one out of range."""
