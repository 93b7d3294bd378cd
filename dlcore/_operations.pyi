"""Written by `make stubs` from the definitions in dlcore/ops: not to be edited."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, overload

import numpy as np

from dlcore._tensor import Tensor

Operand: TypeAlias = Tensor | float | np.ndarray[Any, Any] | np.generic | list[Any] | tuple[Any, ...]
"""What operations take: tensors, numbers, and what becomes a tensor: arrays and nested lists."""

__all__ = [
    "abs", "absolute", "acos", "acosh", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "add", "addbmm", "addcdiv", "addcmul", "addmm",
    "addmv", "affine_grid", "all", "allclose", "amax", "amin", "aminmax", "any", "append", "arccos", "arccosh",
    "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "argmax", "argmin", "argpartition", "argsort", "argwhere",
    "around", "array_equal", "array_split", "as_strided", "asin", "asinh", "astype", "atan", "atan2", "atanh",
    "atleast_1d", "atleast_2d", "atleast_3d", "average", "avg_pool1d", "avg_pool2d", "avg_pool3d", "baddbmm",
    "batch_norm", "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits", "bincount", "bitwise_and",
    "bitwise_invert", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "block",
    "block_diag", "bmm", "broadcast_arrays", "broadcast_shapes", "broadcast_tensors", "broadcast_to", "bucketize",
    "cartesian_prod", "cast", "cat", "cbrt", "cdist", "ceil", "celu", "channel_shuffle", "chunk", "clamp", "clamp_max",
    "clamp_min", "clip", "clone", "col2im", "column_stack", "combinations", "compress", "concat", "concatenate", "conj",
    "conjugate", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolve",
    "copysign", "corrcoef", "cos", "cosh", "cosine_embedding_loss", "cosine_similarity", "count_nonzero", "cov", "crop",
    "cross", "cross_entropy", "ctc_loss", "cummax", "cummin", "cumprod", "cumsum", "cumulative_prod", "cumulative_sum",
    "cumulative_trapezoid", "deg2rad", "degrees", "delete", "detach", "diag", "diag_embed", "diag_indices", "diagflat",
    "diagonal", "diff", "digamma", "digitize", "dist", "div", "divide", "divmod", "dot", "dsplit", "dstack", "einsum",
    "elu", "embedding", "embedding_bag", "eq", "equal", "erf", "erfc", "exp", "exp2", "expand", "expand_as",
    "expand_dims", "expm1", "extract", "fabs", "fill_diagonal", "fix", "flatnonzero", "flatten", "flip", "fliplr",
    "flipud", "float_power", "floor", "floor_divide", "fmax", "fmin", "fmod", "focal_loss", "frac", "gather",
    "gaussian_nll_loss", "gcd", "ge", "geglu", "gelu", "gelu_backward", "ger", "glu", "gradient", "greater",
    "greater_equal", "grid_sample", "group_norm", "gt", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "heaviside", "hinge_embedding_loss", "hinge_loss", "histc", "histogram", "hsplit", "hstack", "huber_loss", "hypot",
    "im2col", "imag", "index_add", "index_copy", "index_fill", "index_select", "indices", "inner", "insert",
    "instance_norm", "interp", "interpolate", "intersect1d", "invert", "is_floating_point", "isclose", "isfinite",
    "isin", "isinf", "isnan", "isneginf", "isposinf", "ix_", "kl_div", "kron", "kthvalue", "l1_loss", "layer_norm",
    "lcm", "le", "leaky_relu", "left_shift", "lerp", "less", "less_equal", "lgamma", "linear", "linear_backward",
    "linear_cross_entropy", "linear_recurrence", "local_response_norm", "log", "log10", "log1p", "log2", "log_softmax",
    "logaddexp", "logcumsumexp", "logical_and", "logical_not", "logical_or", "logical_xor", "logit", "logsigmoid",
    "logsumexp", "lp_pool1d", "lp_pool2d", "lp_pool3d", "lt", "margin_ranking_loss", "masked_fill", "masked_scatter",
    "masked_select", "matmul", "matrix_transpose", "max", "max_pool1d", "max_pool2d", "max_pool3d", "max_unpool1d",
    "max_unpool2d", "max_unpool3d", "maximum", "mean", "median", "meshgrid", "min", "minimum", "mish", "mm", "mod",
    "mode", "moveaxis", "movedim", "mse_loss", "msort", "mul", "multi_margin_loss", "multiply", "mv", "nan_to_num",
    "nanargmax", "nanargmin", "nancumprod", "nancumsum", "nanmax", "nanmean", "nanmedian", "nanmin", "nanprod",
    "nanquantile", "nanstd", "nansum", "nanvar", "narrow", "ndim", "ne", "neg", "negative", "nextafter", "nll_loss",
    "nonzero", "norm", "not_equal", "numel", "one_hot", "outer", "pad", "pairwise_distance", "partition", "percentile",
    "permute", "permute_dims", "pixel_shuffle", "pixel_unshuffle", "poisson_nll_loss", "polyfit", "polygamma",
    "polyval", "positive", "pow", "power", "prelu", "prod", "ptp", "put_along_axis", "quantile", "quantile_loss",
    "rad2deg", "radians", "ravel", "ravel_multi_index", "real", "reciprocal", "reglu", "relu", "relu6", "relu_backward",
    "remainder", "repeat", "repeat_interleave", "reshape", "reshape_as", "right_shift", "rint", "rms_norm", "roll",
    "rot90", "rotary_embedding", "round", "row_stack", "rsqrt", "scatter", "scatter_add", "scatter_reduce",
    "searchsorted", "select", "selu", "setdiff1d", "setxor1d", "sgn", "shape", "sigmoid", "sigmoid_backward", "sign",
    "signbit", "silu", "sin", "sinc", "sinh", "size", "sliding_window_view", "smooth_l1_loss", "soft_margin_loss",
    "softmax", "softmin", "softplus", "softshrink", "softsign", "sort", "split", "sqrt", "square", "squeeze", "stack",
    "std", "std_mean", "sub", "subtract", "sum", "swapaxes", "swapdims", "swiglu", "take", "take_along_axis",
    "take_along_dim", "tan", "tanh", "tanh_backward", "tanhshrink", "tensor_split", "tensordot", "threshold", "tile",
    "topk", "trace", "transpose", "trapezoid", "trapz", "tril", "tril_indices", "triplet_margin_loss", "triu",
    "triu_indices", "true_divide", "trunc", "unbind", "unflatten", "unfold", "union1d", "unique", "unique_all",
    "unique_consecutive", "unique_counts", "unique_inverse", "unique_values", "unravel_index", "unsqueeze", "unstack",
    "vander", "var", "var_mean", "vdot", "vecdot", "view_as", "vsplit", "vstack", "where", "xlogy",
]

def abs(x: Operand) -> Tensor:
    """Absolute value |x|. The gradient at 0 is 0.

    >>> dl.abs(dl.tensor([-2, 0, 3]))
    tensor([2, 0, 3])
    """

def acos(x: Operand) -> Tensor:
    """Arc cosine: the angle in [0, pi] whose cosine is x; NaN outside [-1, 1].

    >>> dl.acos(dl.tensor([1.0, 0.0])).round(4)
    tensor([0.    , 1.5708])
    """

def acosh(x: Operand) -> Tensor:
    """Inverse of cosh, log(x + sqrt(x^2 - 1)), which is not negative; NaN below 1.

    >>> dl.acosh(dl.tensor([1.0, 2.0])).round(4)
    tensor([0.   , 1.317])
    """

def adaptive_avg_pool1d(input: Operand, output_size: int | Sequence[int | None] | None, layout: str = 'NCHW') -> Tensor:
    """The means of ``output_size`` windows that share out the last axis; see `adaptive_avg_pool2d`.

    >>> dl.adaptive_avg_pool1d(dl.tensor([[1.0, 3.0, 2.0, 0.0]]), 2).tolist()
    [[2.0, 1.0]]
    """

def adaptive_avg_pool2d(input: Operand, output_size: int | Sequence[int | None] | None, layout: str = 'NCHW') -> Tensor:
    """The means of ``output_size`` windows that share out an image: (N, C, H, W) or (C, H, W).

    ``output_size``: a number for both axes or one for each, None to keep an axis as it is. Window o of O along an axis
    of N elements goes from floor(o N / O) to ceil((o + 1) N / O); where O does not divide N windows overlap.
    ``layout="NHWC"``: (N, H, W, C). Floats; sums are in float32 or wider, in a fixed order.

    Raises ShapeError for other shapes, ValueError for a negative size, DTypeError for integers.

    >>> dl.adaptive_avg_pool2d(dl.ones(2, 3, 8, 6), (4, None)).shape
    (2, 3, 4, 6)
    """

def adaptive_avg_pool3d(input: Operand, output_size: int | Sequence[int | None] | None, layout: str = 'NCHW') -> Tensor:
    """The means of ``output_size`` windows that share out the last three axes; see `adaptive_avg_pool2d`.

    >>> dl.adaptive_avg_pool3d(dl.ones(2, 3, 4, 4, 4), 2).shape
    (2, 3, 2, 2, 2)
    """

def adaptive_max_pool1d(input: Operand, output_size: int | Sequence[int | None] | None, return_indices: bool = False, layout: str = 'NCHW') -> Tensor:
    """The maxima of ``output_size`` windows that share out the last axis; see `adaptive_max_pool2d`.

    >>> dl.adaptive_max_pool1d(dl.tensor([[1.0, 3.0, 2.0, 0.0]]), 2).tolist()
    [[3.0, 2.0]]
    """

def adaptive_max_pool2d(input: Operand, output_size: int | Sequence[int | None] | None, return_indices: bool = False, layout: str = 'NCHW') -> Tensor:
    """The maxima of ``output_size`` windows that share out an image: (N, C, H, W) or (C, H, W).

    Windows, sizes and errors as in `adaptive_avg_pool2d`; indices, NaN and gradients as in `max_pool2d`. Floats.

    >>> dl.adaptive_max_pool2d(dl.arange(16.0).reshape(1, 4, 4), 2).tolist()
    [[[5.0, 7.0], [13.0, 15.0]]]
    """

def adaptive_max_pool3d(input: Operand, output_size: int | Sequence[int | None] | None, return_indices: bool = False, layout: str = 'NCHW') -> Tensor:
    """The maxima of ``output_size`` windows that share out the last three axes; see `adaptive_max_pool2d`.

    >>> dl.adaptive_max_pool3d(dl.ones(2, 3, 4, 4, 4), 2).shape
    (2, 3, 2, 2, 2)
    """

@overload
def add(a: Operand, b: Operand) -> Tensor:
    """Sum a + b; of bools their disjunction (or).

    >>> dl.add(dl.tensor([1, 2]), dl.tensor([[10], [20]]))
    tensor([[11, 12],
            [21, 22]])
    """
@overload
def add(a: Operand, b: Operand, *, alpha: float) -> Tensor: ...

def addbmm(x: Operand, a: Operand, b: Operand, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
    """beta x + alpha times the sum over the batch of a @ b, `a` (B, M, K) and `b` (B, K, N): (M, N).

    `x` broadcasts to that; with `beta` 0 it is not read. Raises as `addmm` does.

    >>> dl.addbmm(dl.zeros(1, 1), dl.ones(2, 1, 3), dl.ones(2, 3, 1))
    tensor([[6.]])
    """

def addcdiv(x: Operand, a: Operand, b: Operand, value: Operand = 1) -> Tensor:
    """Sum x + value a / b of operands that broadcast; ``value``: a number or a tensor. Integers become floats.

    >>> dl.addcdiv(dl.ones(2), dl.tensor([1.0, 2.0]), dl.tensor([2.0, 4.0]), value=2)
    tensor([2., 2.])
    """

def addcmul(x: Operand, a: Operand, b: Operand, value: Operand = 1) -> Tensor:
    """Sum x + value a b of operands that broadcast; ``value``: a number or a tensor.

    Raises ShapeError, DTypeError for bools.

    >>> dl.addcmul(dl.ones(2), dl.tensor([1.0, 2.0]), dl.tensor([3.0, 4.0]), value=0.5)
    tensor([2.5, 5. ])
    """

def addmm(x: Operand, a: Operand, b: Operand, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
    """beta x + alpha (a @ b) of matrices `a` (M, K) and `b` (K, N): (M, N), to which `x` broadcasts.

    With `beta` 0, `x` is not read. Raises ShapeError where shapes do not fit, DTypeError for bool and for factors that
    are no integers where the operands are.

    >>> dl.addmm(dl.tensor([1.0]), dl.tensor([[1.0, 2.0]]), dl.tensor([[3.0], [4.0]]))
    tensor([[12.]])
    """

def addmv(x: Operand, a: Operand, b: Operand, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
    """beta x + alpha (a @ b) of a matrix `a` (M, K) and a vector `b` (K,): (M,), to which `x` broadcasts.

    With `beta` 0, `x` is not read. Raises as `addmm` does.

    >>> dl.addmv(dl.tensor([1.0]), dl.tensor([[1.0, 2.0]]), dl.tensor([3.0, 4.0]))
    tensor([12.])
    """

def affine_grid(theta: Operand, size: int | Sequence[int], align_corners: bool = False) -> Tensor:
    """The places that affine maps give to pixels: `theta` (N, 2, 3) gives (N, H, W, 2), for `grid_sample`.

    `size`: (N, C, H, W) of the images sampled. The place of the pixel at (x, y), from -1 to 1, is theta @ (x, y, 1).
    Of volumes, size (N, C, D, H, W), theta is (N, 3, 4) and the grid (N, D, H, W, 3). `align_corners`: as `grid_sample`
    is told. Computed in float32 or wider. Raises ShapeError where theta does not fit.

    >>> dl.affine_grid(dl.tensor([[[1.0, 0, 0.5], [0, 1, 0]]]), (1, 1, 1, 2), align_corners=True).tolist()
    [[[[-0.5, 0.0], [1.5, 0.0]]]]
    """

def all(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """Whether every element along `axis` is not zero; of nothing, True.

    >>> dl.all(dl.tensor([[True, False], [True, True]]), axis=1)
    tensor([False,  True])
    """

def allclose(x: Operand, other: Operand, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all of ``x`` and ``other`` are close, a Python bool: see `isclose`.

    >>> dl.allclose(dl.tensor([0.1, 0.2]) * 3, np.array([0.3, 0.6]))
    True
    """

def amax(x: Operand, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    """Largest element along ``axis``: `max` under another name.

    >>> dl.amax(dl.tensor([[1, 5], [7, 2]]), axis=0)
    tensor([7, 5])
    """

def amin(x: Operand, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    """Smallest element along ``axis``: `min` under another name.

    >>> dl.amin(dl.tensor([[1, 5], [7, 2]]), axis=0)
    tensor([1, 2])
    """

def aminmax(x: Operand, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    """Smallest and largest elements along ``axis``: (min, max). Errors as of `max`.

    >>> [t.item() for t in dl.aminmax(dl.tensor([3, 1, 2]))]
    [1, 3]
    """

def any(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """Whether any element along `axis` is not zero; of nothing, False.

    >>> dl.any(dl.tensor([[True, False], [False, False]]), axis=1)
    tensor([ True, False])
    """

def append(x: Operand, values: Operand, axis: int | None = None) -> Tensor:
    """``x`` with ``values`` behind it along ``axis``; with axis=None both are flattened.

    >>> dl.append(dl.tensor([1, 2]), dl.tensor([3]))
    tensor([1, 2, 3])
    """

def argmax(x: Operand, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Index (int64) of the largest element along `axis`, the first of equal ones; a NaN counts as largest.

    `axis`: an int, or None for the index into the flattened array. Raises IndexError for an axis out of range,
    ShapeError where the axis is empty.

    >>> dl.argmax(dl.tensor([[1, 5, 2]]), axis=1)
    tensor([1])
    """

def argmin(x: Operand, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Index (int64) of the smallest element along `axis`, the first of equal ones; a NaN counts as smallest.

    `axis`: an int, or None for the index into the flattened array. Raises IndexError for an axis out of range,
    ShapeError where the axis is empty.

    >>> dl.argmin(dl.tensor([[4, 1, 2]]), axis=1)
    tensor([1])
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

def array_equal(x: Operand, other: Operand, equal_nan: bool = False) -> bool:
    """Whether ``x`` and ``other`` have the same shape and elements, a Python bool; dtypes may differ.

    With ``equal_nan`` NaN equals NaN.

    >>> dl.array_equal(dl.arange(3), [0, 1, 2]), dl.array_equal(dl.arange(3), 0)
    (True, False)
    """

def array_split(x: Operand, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """The parts of ``x`` along ``axis``, a list of views; the first ones are longer by 1 where it does not divide.

    ``indices_or_sections``: the number of parts, or the places before which x is cut.

    >>> [t.tolist() for t in dl.array_split(dl.arange(5), 2)]
    [[0, 1, 2], [3, 4]]
    """

def as_strided(x: Operand, shape: int | Sequence[int], strides: int | Sequence[int], offset: int = 0) -> Tensor:
    """The elements that a walk through `x` in row-major order meets: a view where x lies so, else of a copy.

    Element (i, j, ...) of the output is number offset + i strides[0] + j strides[1] + ... of x. Elements may be met
    several times: their gradients add up. Raises IndexError where the walk leaves x.

    >>> dl.as_strided(dl.arange(4), (3, 2), (1, 1))
    tensor([[0, 1],
            [1, 2],
            [2, 3]])
    """

def asin(x: Operand) -> Tensor:
    """Arc sine: the angle in [-pi/2, pi/2] whose sine is x; NaN outside [-1, 1].

    >>> dl.asin(dl.tensor([0.0, 1.0])).round(4)
    tensor([0.    , 1.5708])
    """

def asinh(x: Operand) -> Tensor:
    """Inverse of sinh: log(x + sqrt(x^2 + 1)).

    >>> dl.asinh(dl.tensor([0.0, 1.0])).round(4)
    tensor([0.    , 0.8814])
    """

def astype(x: Operand, dtype: Operand, *, copy: bool = True, device: Operand | None = None) -> Tensor:
    """x in another dtype, and on another device where one is given: a copy, but x itself with ``copy=False`` where
    neither changes.

    Conversion is that of `cast`: floats become integers by truncation, integers wrap. Gradients flow between floats.

    >>> dl.astype(dl.tensor([1.5, -2.5]), "int32")
    tensor([ 1, -2], dtype=int32)
    """

def atan(x: Operand) -> Tensor:
    """Arc tangent: the angle in (-pi/2, pi/2) whose tangent is x.

    >>> dl.atan(dl.tensor([0.0, 1.0])).round(4)
    tensor([0.    , 0.7854])
    """

def atan2(a: Operand, b: Operand) -> Tensor:
    """The angle of the point (b, a), in [-pi, pi]: the arc tangent of a / b with the quadrant that their signs tell.

        The sign is that of a, of zeros too: atan2(-0.0, -1) = -pi. Of two zeros 0 or pi, of two infinities +-pi/4 or
        +-3 pi/4, as in C. Its gradient at (0, 0) is NaN.

    >>> dl.atan2(dl.tensor([1.0, 1.0]), dl.tensor([1.0, -1.0])).round(4)
    tensor([0.7854, 2.3562])
    """

def atanh(x: Operand) -> Tensor:
    """Inverse of tanh, log((1 + x) / (1 - x)) / 2; infinite at -1 and 1, NaN beyond.

    >>> dl.atanh(dl.tensor([0.0, 0.5])).round(4)
    tensor([0.    , 0.5493])
    """

def atleast_1d(*tensors: Operand) -> Tensor:
    """The tensors, 0-d ones with an axis of length 1; a tuple for several.

    >>> dl.atleast_1d(dl.tensor(3)).shape
    (1,)
    """

def atleast_2d(*tensors: Operand) -> Tensor:
    """The tensors with axes of length 1 in front up to two; a tuple for several.

    >>> dl.atleast_2d(dl.tensor([1, 2])).shape
    (1, 2)
    """

def atleast_3d(*tensors: Operand) -> Tensor:
    """The tensors with axes of length 1 up to three: (N,) becomes (1, N, 1), (M, N) becomes (M, N, 1).

    >>> dl.atleast_3d(dl.tensor([1, 2])).shape
    (1, 2, 1)
    """

def average(x: Operand, axis: int | tuple[int, ...] | None = None, weights: Operand | None = None, keepdims: bool = False) -> Tensor:
    """Weighted mean along ``axis``: sum(weights x) / sum(weights); without ``weights`` the mean.

    ``weights``: of the shape of x, or with one axis of the length of the one ``axis``. Raises ShapeError where they are
    of another shape.

    >>> dl.average(dl.tensor([1.0, 2.0, 6.0]), weights=[1.0, 1.0, 2.0]).item()
    3.75
    """

def avg_pool1d(input: Operand, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None, padding: int | Sequence[int] = 0, ceil_mode: bool = False, count_include_pad: bool = True, layout: str = 'NCHW') -> Tensor:
    """The means of windows along one axis: (N, C, L) or (C, L) gives (N, C, L_out) or (C, L_out).

    Arguments, values and errors as in `avg_pool2d`; with ``layout="NHWC"`` channels are the last axis.

    >>> dl.avg_pool1d(dl.tensor([[1.0, 3.0, 2.0, 0.0]]), 2).tolist()
    [[2.0, 1.0]]
    """

def avg_pool2d(input: Operand, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None, padding: int | Sequence[int] = 0, ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None, layout: str = 'NCHW') -> Tensor:
    """The means of windows: (N, C, H, W) or (C, H, W) gives (N, C, H_out, W_out) or (C, H_out, W_out).

    ``kernel_size``, ``stride`` (default: the kernel's) and ``padding``: a number, or one for each axis.
    H_out = floor((H + 2 padding - kernel) / stride) + 1, with ``ceil_mode`` rounded up where the last window begins
    within the input or the padding before it. Padding counts as zeros, which ``count_include_pad`` False leaves out of
    the divisor; what a window has beyond the padding never counts. ``divisor_override`` takes the divisor's place.
    ``layout="NHWC"``: (N, H, W, C).

    Floats, and int64, of which quotients are truncated. Sums are in float32 or wider, in a fixed order.

    Raises ShapeError where windows are larger than the padded input, padding is more than half a window, or a number is
    too small; ValueError for a divisor of 0; DTypeError for other dtypes.

    >>> dl.avg_pool2d(dl.tensor([[[1.0, 5.0], [4.0, 2.0]]]), 2).tolist()
    [[[3.0]]]
    """

def avg_pool3d(input: Operand, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None, padding: int | Sequence[int] = 0, ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None, layout: str = 'NCHW') -> Tensor:
    """The means of windows along three axes: (N, C, D, H, W) or (C, D, H, W).

    Arguments, values and errors as in `avg_pool2d`; with ``layout="NHWC"`` channels are the last axis.

    >>> dl.avg_pool3d(dl.arange(8.0).reshape(1, 2, 2, 2), 2).tolist()
    [[[[3.5]]]]
    """

def baddbmm(x: Operand, a: Operand, b: Operand, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
    """beta x + alpha (a @ b) of batches `a` (B, M, K) and `b` (B, K, N): (B, M, N), to which `x` broadcasts.

    With `beta` 0, `x` is not read. Raises as `addmm` does.

    >>> dl.baddbmm(dl.zeros(2, 1, 1), dl.ones(2, 1, 3), dl.ones(2, 3, 1)).shape
    (2, 1, 1)
    """

def batch_norm(input: Operand, running_mean: Operand | None = None, running_var: Operand | None = None, weight: Operand | None = None, bias: Operand | None = None, training: bool = False, momentum: float | None = 0.1, eps: float = 1e-05, num_batches_tracked: Operand | None = None, layout: str = 'NCHW') -> Tensor:
    """`input` with each channel normalised: (x - mean) / sqrt(var + eps) * weight + bias (Ioffe & Szegedy 2015).

    `input` (N, C) or (N, C, ...), with ``layout="NHWC"`` (N, ..., C); the others (C,), each may be None. ``training``:
    mean and variance are those of the batch, and the running ones move on in place: kept = (1 - momentum) kept +
    momentum found, the variance found being the unbiased one. ``num_batches_tracked`` (int64, 0-d) counts them; with
    ``momentum=None`` the running statistics are the means of all batches. A batch whose statistics are not finite
    leaves them as they were. Else mean and variance are the running ones. Statistics are kept in float32 (float64 for
    float64) whatever the dtype of `input`. Raises ShapeError for shapes that do not fit, and for one value a channel in
    training.

    >>> dl.batch_norm(dl.tensor([[1.0, 5.0], [3.0, 9.0]]), training=True, eps=0.0)
    tensor([[-1., -1.],
            [ 1.,  1.]])
    """

def bilinear(x1: Operand, x2: Operand, weight: Operand, bias: Operand | None = None) -> Tensor:
    """Bilinear forms: out[..., o] = the sum over i and j of x1[..., i] weight[o, i, j] x2[..., j], plus bias[o].

    `x1` (..., I), `x2` (..., J) with the same leading axes, `weight` (O, I, J), `bias` (O,) or None: (..., O).
    Integers become the default float. Raises ShapeError where shapes do not fit.

    >>> dl.bilinear(dl.tensor([[1.0, 2.0]]), dl.tensor([[3.0]]), dl.tensor([[[1.0], [1.0]]]))
    tensor([[9.]])
    """

def binary_cross_entropy(input: Operand, target: Operand, weight: Operand | None = None, reduction: str = 'mean') -> Tensor:
    """Cross-entropy of probabilities and targets of two classes: -w (t log(p) + (1 - t) log(1 - p)).

    `input`: probabilities p of any shape; `target`: 0, 1 or what lies between, of that shape; `weight` broadcasts with
    them. Logarithms are -100 at least. Raises ValueError for an input outside of [0, 1]. Of logits take
    binary_cross_entropy_with_logits, which is right in the tails.

    >>> dl.binary_cross_entropy(dl.tensor([0.5, 0.25]), dl.tensor([1.0, 0.0]), reduction="none")
    tensor([0.6931472 , 0.28768206])
    """

def binary_cross_entropy_with_logits(input: Operand, target: Operand, weight: Operand | None = None, reduction: str = 'mean', pos_weight: Operand | None = None) -> Tensor:
    """Cross-entropy of logits and targets of two classes: -w (q t log(s) + (1 - t) log(1 - s)), s = sigmoid(input).

    `input`: logits of any shape; `target`: 0, 1 or what lies between, of that shape. `weight` w and `pos_weight` q, the
    factor of the positive class, broadcast with them: q of shape (C,) for inputs (N, C). Nothing overflows: with q = 1
    it is max(x, 0) - x t + log(1 + e^-|x|), forward and gradient in one pass.

    >>> dl.binary_cross_entropy_with_logits(dl.tensor([0.0, 100.0]), dl.tensor([1.0, 0.0]), reduction="none")
    tensor([  0.6931472, 100.       ])
    """

def bincount(x: Operand, weights: Operand | None = None, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, ... is among the elements of `x`, as int64: out[v] is the number of v.

    x (N), integers that are not negative; there are max(x) + 1 results, at least `minlength`. `weights` (N): the sums
    of what the elements weigh instead, in their dtype (float64 of integers), added in float64 in a fixed order; a
    gradient flows to them. The shape depends on values, so a step that calls it cannot be recorded. Raises ValueError
    for a negative element, ShapeError where x has several axes or weights another shape.

    >>> dl.bincount(dl.tensor([1, 3, 1])).tolist()
    [0, 2, 0, 1]
    """

def bitwise_and(a: Operand, b: Operand) -> Tensor:
    """The bits that are set in both a and b, a & b; of bools whether both hold.

    >>> dl.bitwise_and(dl.tensor([6, 5]), 3)
    tensor([2, 1])
    """

def bitwise_left_shift(a: Operand, b: Operand) -> Tensor:
    """Integers a with their bits b places further up, a << b = a 2^b, which wraps.

        By as many places as there are bits, or more, it gives 0; a negative b counts as such a number. Raises DTypeError
        for bools and floats.

    >>> dl.bitwise_left_shift(dl.tensor([1, 3]), 2)
    tensor([ 4, 12])
    """

def bitwise_not(x: Operand) -> Tensor:
    """Every bit the other way, ~x: -x - 1 of signed integers; of bools whether x does not hold.

    >>> dl.bitwise_not(dl.tensor([0, 5]))
    tensor([-1, -6])
    """

def bitwise_or(a: Operand, b: Operand) -> Tensor:
    """The bits that are set in a or in b, a | b; of bools whether either holds.

    >>> dl.bitwise_or(dl.tensor([4, 5]), 3)
    tensor([7, 7])
    """

def bitwise_right_shift(a: Operand, b: Operand) -> Tensor:
    """Integers a with their bits b places further down, a >> b = floor(a / 2^b).

        By as many places as there are bits, or more, it gives 0, of negative numbers -1; a negative b counts as such a
        number. Raises DTypeError for bools and floats.

    >>> dl.bitwise_right_shift(dl.tensor([8, 5]), 2)
    tensor([2, 1])
    """

def bitwise_xor(a: Operand, b: Operand) -> Tensor:
    """The bits that are set in one of a and b, a ^ b; of bools whether they differ.

    >>> dl.bitwise_xor(dl.tensor([6, 5]), 3)
    tensor([5, 6])
    """

def block(arrays: Sequence[Any] | Any) -> Tensor:
    """One tensor of nested lists of blocks: the innermost lists lie along the last axis, those around along the others.

    >>> dl.block([[dl.ones(1, 1), dl.zeros(1, 1)], [dl.zeros(1, 1), dl.ones(1, 1)]])
    tensor([[1., 0.],
            [0., 1.]])
    """

def block_diag(*tensors: Operand) -> Tensor:
    """A matrix with the matrices given along its diagonal, and zeros; vectors and numbers are matrices of one row.

    >>> dl.block_diag(dl.tensor([[1, 2]]), dl.tensor([[3]]))
    tensor([[1, 2, 0],
            [0, 0, 3]])
    """

def bmm(a: Operand, b: Operand) -> Tensor:
    """The products of matrices of two batches, `a` (B, M, K) and `b` (B, K, N): (B, M, N); nothing broadcasts.

    Raises ShapeError for other numbers of axes, or where batches or inner lengths differ.

    >>> dl.bmm(dl.ones(2, 1, 3), dl.ones(2, 3, 1)).shape
    (2, 1, 1)
    """

def broadcast_arrays(*tensors: Operand) -> list[Tensor]:
    """Views of all ``tensors`` in the shape that they broadcast to, a list. Raises ShapeError where they do not.

    >>> [t.shape for t in dl.broadcast_arrays(dl.zeros(3, 1), dl.zeros(4))]
    [(3, 4), (3, 4)]
    """

def broadcast_shapes(*shapes: int | Sequence[int]) -> tuple[int, ...]:
    """The shape that ``shapes`` broadcast to: aligned at the right, lengths of 1 are stretched. Raises ShapeError.

    >>> dl.broadcast_shapes((3, 1), (4,))
    (3, 4)
    """

def broadcast_tensors(*tensors: Operand) -> tuple[Tensor, ...]:
    """Views of all ``tensors`` in the shape that they broadcast to. Raises ShapeError where they do not.

    >>> [t.shape for t in dl.broadcast_tensors(dl.zeros(3, 1), dl.zeros(4))]
    [(3, 4), (3, 4)]
    """

def broadcast_to(x: Operand, shape: int | Sequence[int]) -> Tensor:
    """A view of ``x`` broadcast to ``shape``: new axes in front, axes of length 1 repeated, without using memory.

    >>> dl.broadcast_to(dl.tensor([1, 2]), (2, 2))
    tensor([[1, 2],
            [1, 2]])
    """

def bucketize(x: Operand, boundaries: Operand, right: bool = False) -> Tensor:
    """The number of the interval between ``boundaries`` (sorted, 1-D) that each element of ``x`` lies in (int64).

    i with boundaries[i - 1] < x <= boundaries[i], or (``right``) boundaries[i - 1] <= x < boundaries[i], as PyTorch's
    bucketize; `numpy.digitize` is the other way round. Raises ShapeError unless there is one axis of boundaries.

    >>> dl.bucketize(dl.tensor([0.5, 1.0, 9.0]), dl.tensor([1.0, 2.0])).tolist()
    [0, 0, 2]
    """

def cartesian_prod(*tensors: Operand) -> Tensor:
    """All combinations of one element of each vector, the last one changing fastest: (count, vectors).

    >>> dl.cartesian_prod(dl.tensor([1, 2]), dl.tensor([3, 4]))
    tensor([[1, 3],
            [1, 4],
            [2, 3],
            [2, 4]])
    """

def cast(x: Operand, dtype: Any) -> Tensor:
    """x in another dtype, always a copy. Floats are rounded once, to nearest even.

    Float to integer truncates towards zero; beyond the range it gives the nearest limit, for NaN 0. Integer to integer
    wraps. To bool: x != 0.

    >>> dl.cast(dl.tensor([1.7, -1.7]), dl.int32)
    tensor([ 1, -1], dtype=int32)
    """

def cbrt(x: Operand) -> Tensor:
    """Cube root, of negative numbers too. Its gradient at 0 is infinite.

    >>> dl.cbrt(dl.tensor([8.0, -27.0])).round(4)
    tensor([ 2., -3.])
    """

def cdist(x: Operand, other: Operand, p: float = 2.0) -> Tensor:
    """The distances of each point, a row of x (..., P, M), from each of ``other`` (..., R, M): (..., P, R).

    ``p``: the order of the norm. Differences are formed, not products: near points keep their digits; P R M numbers are
    held in between. The gradient at distance 0 is 0.

    >>> dl.cdist(dl.tensor([[0.0, 0.0]]), dl.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[5., 1.]])
    """

def ceil(x: Operand) -> Tensor:
    """The smallest whole number that is not below x. Integers stay as they are.

    >>> dl.ceil(dl.tensor([1.2, -1.2]))
    tensor([ 2., -1.])
    """

@overload
def celu(x: Operand, alpha: float = 1.0) -> Tensor:
    """Elu with a continuous gradient: x where it is positive, else alpha (e^(x / alpha) - 1).

    https://arxiv.org/abs/1704.07483. Raises ValueError where `alpha` is 0.

    >>> dl.celu(dl.tensor([-1.0, 2.0])).round(4)
    tensor([-0.6321,  2.    ])
    """
@overload
def celu(x: Operand, alpha: float = 1.0, *, inplace: bool) -> Tensor: ...

def channel_shuffle(x: Operand, groups: int, layout: Literal['NCHW', 'NHWC'] = 'NCHW') -> Tensor:
    """Channels of groups taken in turn: `x` (N, C, ...), out[:, k groups + g] = x[:, g (C / groups) + k].

    Zhang et al. 2018. `layout`: "NHWC" where channels come last. Raises ShapeError where the channels are no multiple
    of `groups`.

    >>> dl.channel_shuffle(dl.arange(4).reshape(1, 4, 1), 2).tolist()
    [[[0], [2], [1], [3]]]
    """

def chunk(x: Operand, chunks: int, axis: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` parts of ``x`` along ``axis``, all of one length but the last, as views (torch.chunk).

    >>> [t.tolist() for t in dl.chunk(dl.arange(5), 2)]
    [[0, 1, 2], [3, 4]]
    """

def clamp_max(x: Operand, max: Operand) -> Tensor:
    """x where it is at most ``max``, else that: ``clip(x, None, max)``.

    >>> dl.clamp_max(dl.tensor([-1.0, 2.0]), 0)
    tensor([-1.,  0.])
    """

def clamp_min(x: Operand, min: Operand) -> Tensor:
    """x where it is at least ``min``, else that: ``clip(x, min)``.

    >>> dl.clamp_min(dl.tensor([-1.0, 2.0]), 0)
    tensor([0., 2.])
    """

def clip(x: Operand, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """x limited to [min, max]: min where x < min, max where x > max; a limit of None is none.

    ``min`` and ``max``: numbers, or tensors that broadcast with x. Where min > max it gives max. A NaN in x or in a
    limit is the result. All are promoted to a common dtype. The gradient goes to x where min <= x <= max, at the
    limits too, else to the limit that was taken. Raises OverflowError for a number that an integer dtype does not hold.

    >>> dl.clip(dl.tensor([-2.0, 0.5, 3.0]), -1, 1)
    tensor([-1. ,  0.5,  1. ])
    """

def clone(x: Operand) -> Tensor:
    """A copy in memory of its own, through which gradients flow.

    >>> dl.clone(dl.tensor([1, 2]))
    tensor([1, 2])
    """

def col2im(x: Operand, output_size: int | Sequence[int], kernel_size: int | Sequence[int], dilation: int | Sequence[int] = (1,), padding: int | Sequence[int] = (0,), stride: int | Sequence[int] = (1,)) -> Tensor:
    """Images of `output_size` (H, W) to which columns of windows add up: `x` (N, C kh kw, L) gives (N, C, H, W).

    The adjoint of `im2col`, whose arguments it has: where windows overlap their elements add up, in float32 or wider
    and in a fixed order. What `nn.functional.fold` is. (C kh kw, L) gives (C, H, W). Raises ShapeError where the
    columns are not those of such images.

    >>> dl.col2im(dl.ones(4, 4), 3, 2).tolist()
    [[[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]]
    """

def column_stack(tensors: Sequence[Operand]) -> Tensor:
    """The tensors one after another along axis 1; vectors are columns.

    >>> dl.column_stack([dl.tensor([1, 2]), dl.tensor([3, 4])])
    tensor([[1, 3],
            [2, 4]])
    """

def combinations(x: Operand, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of ``r`` elements of a vector, in the order of `itertools.combinations`: (count, r).

    >>> dl.combinations(dl.tensor([1, 2, 3]))
    tensor([[1, 2],
            [1, 3],
            [2, 3]])
    """

def compress(condition: Operand, x: Operand, axis: int | None = None) -> Tensor:
    """What of x along ``axis`` or (None) in one line has a true ``condition`` (N,), which may be shorter.

    >>> dl.compress([True, False, True], dl.tensor([1, 2, 3]))
    tensor([1, 3])
    """

def concat(tensors: Sequence[Operand], axis: int | None = 0) -> Tensor:
    """The tensors one after another along `axis`: lengths may differ there, and nowhere else.

    With an `axis` of None they are flattened first. Raises ShapeError where shapes differ elsewhere or no tensors are
    given.

    >>> dl.concat([dl.tensor([1, 2]), dl.tensor([3])])
    tensor([1, 2, 3])
    """

def conj(numbers: Operand) -> Tensor:
    """The complex conjugate of ``numbers``: themselves, for dlcore has real numbers alone.

    >>> dl.conj(dl.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """

def conv1d(input: Operand, weight: Operand, bias: Operand | None = None, stride: int | Sequence[int] = 1, padding: int | str | Sequence[int | Sequence[int]] = 0, dilation: int | Sequence[int] = 1, groups: int = 1, *, padding_mode: str = 'zeros', activation: str | None = None, layout: str = 'NCHW') -> Tensor:
    """A convolution along one axis: ``input`` (N, C, S) or (C, S), ``weight`` (D, C / groups, K): (N, D, L) or (D, L).

    As `conv2d`; with ``layout="NHWC"`` the input is (N, S, C) and the output (N, L, D).

    >>> dl.conv1d(dl.tensor([[1.0, 2.0, 3.0]]), dl.tensor([[[1.0, -1.0]]])).tolist()
    [[-1.0, -1.0]]
    """

def conv2d(input: Operand, weight: Operand, bias: Operand | None = None, stride: int | Sequence[int] = 1, padding: int | str | Sequence[int | Sequence[int]] = 0, dilation: int | Sequence[int] = 1, groups: int = 1, *, padding_mode: str = 'zeros', activation: str | None = None, layout: str = 'NCHW') -> Tensor:
    """A convolution of images: activation(the products of ``weight`` with each window of ``input``, summed, + bias).

    ``input`` (N, C, H, W), or (C, H, W) for one image; ``weight`` (D, C / groups, KH, KW); ``bias`` (D,) or None. The
    output is (N, D, OH, OW) with OH = floor((H + before + after - dilation (KH - 1) - 1) / stride) + 1. ``stride``,
    ``dilation``: one number or one for each axis. ``padding``: one number, one for each axis or a pair (before, after)
    for each, "valid" (none) or "same" (what keeps the size where the stride is 1; of an odd total one more after).
    ``padding_mode``: "zeros", "reflect", "replicate" or "circular". With ``groups`` the d-th part of the outputs sees
    the d-th part of the channels alone; as many groups as channels is a depthwise convolution. ``activation``: None,
    "relu", "sigmoid", "tanh", "gelu" or "gelu_tanh", applied in the same kernel. With ``layout="NHWC"`` the input is
    (N, H, W, C) and the output (N, OH, OW, D); the weight stays.

    Operands are floating, of their common dtype; sums run in float32 or wider, in an order that depends on shapes
    alone. Kernels of 3 x 3 without stride and dilation, of 16 channels and more, go by Winograd's algorithm in float32
    on a CPU: a result's error is then that of the largest numbers among the 4 x 4 places around it. Raises ShapeError
    where shapes do not fit, DTypeError for integers, ValueError for numbers below 1.

    >>> dl.conv2d(dl.ones((1, 1, 4, 4)), dl.ones((1, 1, 3, 3)), padding=1)[0, 0].tolist()[1]
    [6.0, 9.0, 9.0, 6.0]
    """

def conv3d(input: Operand, weight: Operand, bias: Operand | None = None, stride: int | Sequence[int] = 1, padding: int | str | Sequence[int | Sequence[int]] = 0, dilation: int | Sequence[int] = 1, groups: int = 1, *, padding_mode: str = 'zeros', activation: str | None = None, layout: str = 'NCHW') -> Tensor:
    """A convolution of volumes: ``input`` (N, C, Z, H, W) or without N, ``weight`` (D, C / groups, KZ, KH, KW).

    As `conv2d`; with ``layout="NHWC"`` the input is (N, Z, H, W, C), and so the output.

    >>> dl.conv3d(dl.ones((1, 2, 3, 3, 3)), dl.ones((4, 2, 3, 3, 3))).shape
    (1, 4, 1, 1, 1)
    """

def conv_transpose1d(input: Operand, weight: Operand, bias: Operand | None = None, stride: int | Sequence[int] = 1, padding: int | Sequence[int] = 0, output_padding: int | Sequence[int] = 0, groups: int = 1, dilation: int | Sequence[int] = 1, *, activation: str | None = None, layout: str = 'NCHW') -> Tensor:
    """A transposed convolution along one axis: ``input`` (N, D, L), ``weight`` (D, C / groups, K): (N, C, S).

    As `conv_transpose2d`.

    >>> dl.conv_transpose1d(dl.tensor([[1.0, 2.0]]), dl.tensor([[[1.0, 1.0]]]), stride=2).tolist()
    [[1.0, 1.0, 2.0, 2.0]]
    """

def conv_transpose2d(input: Operand, weight: Operand, bias: Operand | None = None, stride: int | Sequence[int] = 1, padding: int | Sequence[int] = 0, output_padding: int | Sequence[int] = 0, groups: int = 1, dilation: int | Sequence[int] = 1, *, activation: str | None = None, layout: str = 'NCHW') -> Tensor:
    """A transposed convolution of images: the gradient of `conv2d` to its input, + bias.

    ``input`` (N, D, H, W), or (D, H, W) for one image; ``weight`` (D, C / groups, KH, KW); ``bias`` (C,) or None. The
    output is (N, C, OH, OW), OH = (H - 1) stride - 2 padding + dilation (KH - 1) + 1 + output_padding: each element
    adds itself times the kernel, ``stride`` places after its neighbour; ``padding`` is cut off on both sides.
    ``output_padding``, below stride or dilation, says which of the sizes that `conv2d` makes the same of is meant. With
    ``layout="NHWC"`` input and output have their channels behind.

    Raises ShapeError where shapes do not fit, DTypeError for integers, ValueError for numbers that make no sense.

    >>> dl.conv_transpose2d(dl.ones((1, 1, 2, 2)), dl.ones((1, 1, 2, 2)))[0, 0].tolist()
    [[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]
    """

def conv_transpose3d(input: Operand, weight: Operand, bias: Operand | None = None, stride: int | Sequence[int] = 1, padding: int | Sequence[int] = 0, output_padding: int | Sequence[int] = 0, groups: int = 1, dilation: int | Sequence[int] = 1, *, activation: str | None = None, layout: str = 'NCHW') -> Tensor:
    """A transposed convolution of volumes: ``input`` (N, D, Z, H, W), ``weight`` (D, C / groups, KZ, KH, KW).

    As `conv_transpose2d`.

    >>> dl.conv_transpose3d(dl.ones((1, 2, 1, 1, 1)), dl.ones((2, 3, 2, 2, 2))).shape
    (1, 3, 2, 2, 2)
    """

def convolve(a: Operand, b: Operand, mode: Literal['full', 'same', 'valid'] = 'full') -> Tensor:
    """The convolution of two lines (N,) and (M,), as NumPy's: sums of products, the second one in reverse order.

    ``mode``: "full" (N + M - 1 places), "same" (the middle max(N, M) of them), "valid" (where the two overlap wholly).
    Integers become float32. For batches and learning see `dl.conv1d`.

    >>> dl.convolve(dl.tensor([1.0, 2.0]), dl.tensor([1.0, 1.0]))
    tensor([1., 3., 2.])
    """

def copysign(a: Operand, b: Operand) -> Tensor:
    """The size of a with the sign of b, of zeros and NaN too. Integers become the default float.

    >>> dl.copysign(dl.tensor([1.0, 2.0]), dl.tensor([-3.0, 4.0]))
    tensor([-1.,  2.])
    """

def corrcoef(x: Operand, rowvar: bool = True) -> Tensor:
    """The correlations (N, N) of N variables, the rows of x (N, M), or its columns; between -1 and 1. See `cov`.

    >>> dl.corrcoef(dl.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """

def cos(x: Operand) -> Tensor:
    """Cosine of x in radians; NaN of infinities.

    >>> dl.cos(dl.tensor([0.0, 1.0])).round(4)
    tensor([1.    , 0.5403])
    """

def cosh(x: Operand) -> Tensor:
    """Hyperbolic cosine (e^x + e^-x) / 2.

    >>> dl.cosh(dl.tensor([0.0, 1.0])).round(4)
    tensor([1.    , 1.5431])
    """

def cosine_embedding_loss(input1: Operand, input2: Operand, target: Operand, margin: float = 0.0, reduction: str = 'mean') -> Tensor:
    """Loss of pairs of vectors: 1 - cos where the target is 1, max(0, cos - margin) where it is -1.

    `input1`, `input2`: (N, D) and `target` (N,), or (D,) and ().

    >>> dl.cosine_embedding_loss(dl.tensor([[1.0, 0.0]]), dl.tensor([[0.0, 1.0]]), dl.tensor([1.0])).round(4)
    tensor(1.)
    """

def cosine_similarity(x1: Operand, x2: Operand, axis: int = 1, eps: float = 1e-08) -> Tensor:
    """Cosine of the angle between vectors along `axis`: x1 x2 / (max(|x1|, eps) max(|x2|, eps)). They broadcast.

    >>> dl.cosine_similarity(dl.tensor([[1.0, 0.0]]), dl.tensor([[3.0, 4.0]]))
    tensor([0.6])
    """

def count_nonzero(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """The number of elements along `axis` that are not zero (false), as int64; NaN is not zero.

    Raises IndexError for an axis out of range, ShapeError for one given twice.

    >>> dl.count_nonzero(dl.tensor([[1, 0], [2, 3]]), axis=0)
    tensor([2, 1])
    """

def cov(x: Operand, rowvar: bool = True, correction: float = 1) -> Tensor:
    """The covariances (N, N) of N variables, the rows of x (N, M), over M observations; of x (M,) its variance.

    ``rowvar`` False: the variables are the columns. ``correction``: what is taken from M in the divisor. Integers
    become float32.

    >>> dl.cov(dl.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """

def crop(x: Operand, start: Operand, flip: Operand | None = None, *, size: int | Sequence[int], layout: Literal['NCHW', 'NHWC'] = 'NCHW') -> Tensor:
    """A part of each image from a place of its own: `x` (N, ..., H, W) gives (N, ..., height, width).

    `start`: (N, 2) int64, the row and column of x where each part begins; outside of x are zeros. `flip`: (N) bool:
    which parts are mirrored, left to right. `size`: (height, width), or one number for both. `layout`: "NHWC" for
    images (N, ..., H, W, C). Raises ShapeError where shapes do not fit.

    >>> dl.crop(dl.tensor([[[1, 2, 3]]]), dl.tensor([[0, 1]]), size=(1, 3)).tolist()
    [[[2, 3, 0]]]
    """

def cross(a: Operand, b: Operand, axis: int = -1) -> Tensor:
    """The cross products of vectors of three elements along `axis`: (a1 b2 - a2 b1, a2 b0 - a0 b2, a0 b1 - a1 b0).

    The other axes broadcast; `axis` counts from the back where the operands have different numbers of axes. Integers
    wrap around. Raises ShapeError where vectors have not three elements or shapes do not broadcast.

    >>> dl.cross(dl.tensor([1.0, 0.0, 0.0]), dl.tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """

def cross_entropy(logits: Operand, target: Operand, weight: Operand | None = None, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: Literal['none', 'mean', 'sum'] = 'mean') -> Tensor:
    """Cross-entropy of a target and the softmax of `logits`: -w[t] log(softmax(logits)[t]).

    `logits`: (N, C), (N, C, d...) or (C,), C classes. `target`: class indices, (N,), (N, d...) or (), of any integer
    dtype; or probabilities, floats in the shape of `logits`. `weight`: (C,), one factor for each class, a constant.
    `ignore_index`: positions with this label count for nothing. `label_smoothing` s in [0, 1]: the target becomes
    (1 - s) of itself and s / C for every class. `reduction`: "mean" (divided by the sum of the weights of the labels
    that count; for probabilities, by N), "sum" or "none". The mean over nothing is NaN.

    Forward and gradient are one pass over the logits, in float32 or wider. Raises IndexError, before anything is
    written, for a label outside 0 .. C - 1; ShapeError, DTypeError, ValueError. Szegedy et al. 2016 (smoothing).

    >>> dl.cross_entropy(dl.tensor([[0.0, 0.0]]), dl.tensor([1])).round(4)
    tensor(0.6931)
    """

def ctc_loss(log_probs: Operand, targets: Operand, input_lengths: Operand, target_lengths: Operand, blank: int = 0, reduction: Literal['none', 'mean', 'sum'] = 'mean', zero_infinity: bool = False) -> Tensor:
    """The negative logarithm of the probability of a sequence of labels whose times are unknown.

    `log_probs`: (T, N, C) logarithms of the probabilities of C classes at T steps, or (T, C) of one sequence;
    `targets`: (N, S) labels, or those of all samples in one row, (sum of `target_lengths`,); `input_lengths` and
    `target_lengths`: (N,), or a number for one sequence. A way through the steps says a label or the `blank` at each;
    repetitions are taken together and blanks left out, and what remains is the target: the loss is the negative
    logarithm of the sum of all ways. `reduction`: "mean" (of the losses, each divided by the length of its target),
    "sum" or "none". Where no way is long enough the loss is infinite and its gradient NaN; with `zero_infinity` both
    are 0.

    The gradient is the derivative by `log_probs` as they are, minus the probability of each class at each step; behind
    log_softmax it gives the same as PyTorch's, which adds exp(log_probs). Sums are relative to the largest of a step,
    in float32 or wider; samples run in parallel, and bits do not depend on threads. Raises ValueError for a length
    that is negative or too large, IndexError for a label that is no class or the blank, before anything is written;
    ShapeError, DTypeError. Graves et al. 2006.

    >>> dl.ctc_loss(dl.log_softmax(dl.zeros(3, 1, 2), -1), dl.tensor([[1]]), [3], [1]).round(4)
    tensor(0.2877)
    """

def cummax(x: Operand, axis: int | None = None) -> tuple[Tensor, Tensor]:
    """Largest elements along `axis` up to each, and their indices: (values, indices), of equal elements the last.

    Indices are int64. From a NaN on all are NaN. `axis`: None for all elements in row-major order. The gradient goes to
    the elements at the indices. Raises IndexError for an axis out of range.

    >>> [t.tolist() for t in dl.cummax(dl.tensor([1, 3, 2]))]
    [[1, 3, 3], [0, 1, 1]]
    """

def cummin(x: Operand, axis: int | None = None) -> tuple[Tensor, Tensor]:
    """Smallest elements along `axis` up to each, and their indices: (values, indices), of equal elements the last.

    Indices are int64. From a NaN on all are NaN. `axis`: None for all elements in row-major order. The gradient goes to
    the elements at the indices. Raises IndexError for an axis out of range.

    >>> [t.tolist() for t in dl.cummin(dl.tensor([3, 1, 2]))]
    [[3, 1, 1], [0, 1, 1]]
    """

def cumprod(x: Operand, axis: int | None = None, reverse: bool = False, exclusive: bool = False, dtype: Any | None = None) -> Tensor:
    """Products of the elements along `axis` up to each: out[i] = x[0] ... x[i]; of bool and integers int64 or uint64.

    Arguments as of `cumsum`. The gradient is right where elements are 0. Raises IndexError for an axis out of range.

    >>> dl.cumprod(dl.tensor([1, 2, 3])).tolist()
    [1, 2, 6]
    """

def cumsum(x: Operand, axis: int | None = None, reverse: bool = False, exclusive: bool = False, dtype: Any | None = None) -> Tensor:
    """Sums of the elements along `axis` up to each: out[i] = x[0] + ... + x[i]; of bool and integers int64 or uint64.

    `axis`: None for all elements in row-major order. `reverse`: from each to the end. `exclusive`: without the element
    itself. `dtype`: x is cast to it first. The gradient is the sum from the other end. Raises IndexError for an axis
    out of range.

    >>> dl.cumsum(dl.tensor([1, 2, 3])).tolist()
    [1, 3, 6]
    """

def cumulative_prod(x: Operand, axis: int | None = None, dtype: Operand | None = None, include_initial: bool = False) -> Tensor:
    """Products along ``axis`` up to each element: `cumprod`; with ``include_initial`` a 1 stands before.

    ``axis``: may be None for a vector alone. Raises ShapeError where it is None for another shape.

    >>> dl.cumulative_prod(dl.tensor([1, 2, 3]))
    tensor([1, 2, 6])
    """

def cumulative_sum(x: Operand, axis: int | None = None, dtype: Operand | None = None, include_initial: bool = False) -> Tensor:
    """Sums along ``axis`` up to each element: `cumsum`, which says more; with ``include_initial`` a 0 stands before.

    ``axis``: may be None for a vector alone. Raises ShapeError where it is None for another shape.

    >>> dl.cumulative_sum(dl.tensor([1, 2, 3]), include_initial=True)
    tensor([0, 1, 3, 6])
    """

def cumulative_trapezoid(y: Operand, x: Operand | None = None, dx: float = 1.0, axis: int = -1) -> Tensor:
    """The integral of ``y`` along ``axis`` up to each place but the first, by the trapezoidal rule: one element less.

    Arguments and errors are those of `trapezoid`.

    >>> dl.cumulative_trapezoid(dl.tensor([1.0, 2.0, 3.0]))
    tensor([1.5, 4. ])
    """

def deg2rad(x: Operand) -> Tensor:
    """Degrees in radians: x pi / 180.

    >>> dl.deg2rad(dl.tensor([0.0, 180.0])).round(4)
    tensor([0.    , 3.1416])
    """

def delete(x: Operand, index: Operand, axis: int | None = None) -> Tensor:
    """A copy of ``x`` without the places ``index`` along ``axis`` (None: of all its elements, flattened).

    ``index``: an integer, a slice, integers or a mask, which are read on the host.

    >>> dl.delete(dl.tensor([1, 2, 3]), 1)
    tensor([1, 3])
    """

def detach(x: Operand) -> Tensor:
    """The same values in the same memory, without their gradient history.

    >>> dl.detach(dl.ones(2, requires_grad=True)).requires_grad
    False
    """

def diag(x: Operand, k: int = 0) -> Tensor:
    """The diagonal of a matrix, as a view, or of a vector the matrix that has it on a diagonal, and zeros.

    ``k``: how far right of the main diagonal. Raises ShapeError for other numbers of axes.

    >>> dl.diag(dl.tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """

def diag_embed(x: Operand, offset: int = 0, axis1: int = -2, axis2: int = -1) -> Tensor:
    """Matrices with the last axis of x on a diagonal, and zeros: the inverse of `diagonal`.

    x (..., N) gives (..., N + |offset|, N + |offset|), whose two new axes are ``axis1`` and ``axis2``.

    >>> dl.diag_embed(dl.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """

def diag_indices(n: int, ndim: int = 2) -> tuple[Tensor, ...]:
    """The coordinates of the main diagonal of an array of ``ndim`` axes of length ``n``: an index, x[...].

    >>> dl.diag_indices(2)
    (tensor([0, 1]), tensor([0, 1]))
    """

def diagflat(x: Operand, k: int = 0) -> Tensor:
    """The matrix that has the elements of ``x``, in row-major order, on a diagonal, and zeros.

    >>> dl.diagflat(dl.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """

def diagonal(x: Operand, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """A view of a diagonal: the elements whose place along `axis2` is that along `axis1` plus `offset`.

    The axis along the diagonal comes last, behind those of x that are left.

    >>> dl.diagonal(dl.tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """

def diff(x: Operand, n: int = 1, axis: int = -1, prepend: Operand | None = None, append: Operand | None = None) -> Tensor:
    """Differences of neighbours along ``axis``, x[i + 1] - x[i], taken ``n`` times; of bools whether they differ.

    ``prepend``, ``append``: numbers or tensors put before and behind x first. Each time the axis becomes one shorter.
    Raises IndexError for an axis out of range, ValueError for a negative ``n``, ShapeError for a 0-d x.

    >>> dl.diff(dl.tensor([1, 4, 9, 16])).tolist()
    [3, 5, 7]
    """

def digamma(x: Operand) -> Tensor:
    """Slope of log(gamma(x)); NaN at -1, -2, ..., -inf at 0, inf at -0.0.

        Near its zeros (1.4616..., and one between any two poles) errors are those of its terms, about 2.

    >>> dl.digamma(dl.tensor([1.0, 2.0])).round(4)
    tensor([-0.5772,  0.4228])
    """

def digitize(x: Operand, bins: Operand, right: bool = False) -> Tensor:
    """The number of the interval between ``bins`` (ascending, 1-D) that each element of ``x`` lies in, as NumPy's.

    i with bins[i - 1] <= x < bins[i], or (``right``) bins[i - 1] < x <= bins[i]; `bucketize` is the other way round.

    >>> dl.digitize(dl.tensor([0.5, 1.0, 9.0]), dl.tensor([1.0, 2.0])).tolist()
    [0, 1, 2]
    """

def dist(x: Operand, other: Operand, p: float = 2.0) -> Tensor:
    """The norm of order ``p`` of x - other, of all elements.

    >>> dl.dist(dl.tensor([3.0, 0.0]), dl.tensor([0.0, 4.0]))
    tensor(5.)
    """

def div(x: Operand, other: Operand, rounding_mode: str | None = None) -> Tensor:
    """Quotient x / other; ``rounding_mode``: None, "floor" (down, as `floor_divide`) or "trunc" (towards 0).

    Without a mode in floating point, where integers become the default float first, by 0 infinity or NaN. With one
    integers stay integers, and by 0 they give 0; the gradient is 0. Raises ValueError for another mode.

    >>> dl.div(dl.tensor([7, -7]), 2, rounding_mode="trunc")
    tensor([ 3, -3])
    """

def divmod(a: Operand, b: Operand) -> tuple[Tensor, Tensor]:
    """(a // b, a % b), element by element.

    >>> dl.divmod(dl.tensor([7, -7]), 2)
    (tensor([ 3, -4]), tensor([1, 1]))
    """

def dot(a: Operand, b: Operand) -> Tensor:
    """The dot product as NumPy defines it: of two vectors the sum of a[k] b[k], of matrices their product.

    In general the sum over the last axis of `a` and the last but one of `b` (the only one of a vector); `a` or `b`
    without axes is multiplied. Raises ShapeError where these lengths differ, DTypeError for bool.

    >>> dl.dot(dl.tensor([1.0, 2.0]), dl.tensor([3.0, 4.0]))
    tensor(11.)
    """

def dsplit(x: Operand, indices_or_sections: int | Sequence[int]) -> list[Tensor]:
    """The parts of ``x`` along axis 2; see `split`.

    >>> [t.shape for t in dl.dsplit(dl.zeros(1, 2, 4), 2)]
    [(1, 2, 2), (1, 2, 2)]
    """

def dstack(tensors: Sequence[Operand]) -> Tensor:
    """The tensors one after another along axis 2, which vectors and matrices get first.

    >>> dl.dstack([dl.tensor([1, 2]), dl.tensor([3, 4])]).shape
    (1, 2, 2)
    """

def einsum(equation: Operand, *operands: Operand, optimize: bool | str = True) -> Tensor:
    """The sum of products that an equation over the names of axes says: ``einsum("bij,bjk->bik", a, b)``.

    Each operand has a name for each of its axes, one letter, behind the others after a comma. An axis that the output
    does not name is summed over; a name that one operand has twice is its diagonal; names that operands share are the
    same index. "..." stands for all axes not named, which broadcast and are aligned at the right. Without "->" the
    output has the axes of "..." and then, in alphabetical order, the names that are there once. NumPy's other form,
    ``einsum(a, [0, 1], b, [1, 2], [0, 2])``, names axes by integers and ``...``.

    Operands are contracted two at a time, in the order with the fewest arithmetic operations (``optimize=False``: from
    left to right; NumPy's "greedy" and "optimal" are True), by `matmul` and `mul`; dtypes are promoted as theirs are,
    and integers wrap. The result may be a view of the operand. Raises ValueError for an equation that makes no sense,
    ShapeError where lengths differ.

    >>> a, b = dl.ones((2, 3)), dl.ones((3, 4))
    >>> dl.einsum("ij,jk->ik", a, b).shape, dl.einsum("ij->", a).item()
    ((2, 4), 6.0)
    """

@overload
def elu(x: Operand, alpha: float = 1.0) -> Tensor:
    """Exponential linear unit: x where it is positive, else alpha (e^x - 1) (https://arxiv.org/abs/1511.07289).

    The gradient at 0 is `alpha`.

    >>> dl.elu(dl.tensor([-1.0, 2.0])).round(4)
    tensor([-0.6321,  2.    ])
    """
@overload
def elu(x: Operand, alpha: float = 1.0, *, inplace: bool) -> Tensor: ...

def embedding(input: Operand, weight: Operand, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:
    """The row of `weight` for each token of `input`: out[..., :] = weight[input[...], :].

    `input`: integers of any dtype and shape (...), from 0 to V - 1; `weight`: (V, C); the output has shape (..., C).
    ``padding_idx``: this token's row gets no gradient (-1 is the last). ``max_norm``: rows that are looked up and whose
    norm of order ``norm_type`` is larger are first made that short, in place. ``scale_grad_by_freq``: gradients are
    divided by how often their token is in `input`. ``sparse=True`` is refused: gradients are dense.

    The gradient adds up rows in the order of the tokens, in float32 or wider: the same bits for any number of threads.
    Raises IndexError with value and position, before anything is written, for a token outside of the vocabulary;
    DTypeError, ShapeError, ValueError.

    >>> dl.embedding(dl.tensor([2, 0]), dl.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    tensor([[5., 6.],
            [1., 2.]])
    """

def embedding_bag(input: Operand, weight: Operand, offsets: Operand | None = None, max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = 'mean', sparse: bool = False, per_sample_weights: Operand | None = None, include_last_offset: bool = False, padding_idx: int | None = None) -> Tensor:
    """The sum, mean or maximum (`mode`) of the rows of `weight` for the tokens of each bag: (B, C).

    `input`: (B, L), L tokens a bag; or (n,), all tokens, where bag b begins at `offsets[b]` and ends where the next
    begins: (B,), from 0 on; with ``include_last_offset`` (B + 1,), the last is the end. `weight`: (V, C).
    `per_sample_weights`: a factor for each token, of the shape of `input`, for mode "sum", with a gradient.
    ``padding_idx``: this token counts for nothing. A bag of no tokens gives zeros. ``max_norm``, ``norm_type``,
    ``scale_grad_by_freq``: see `embedding`; ``sparse=True`` is refused.

    Rows are added in the order of the tokens, in float32 or wider, and so are gradients, which are the same bits for
    any number of threads. Raises IndexError for a token outside of the vocabulary and ValueError for offsets that do
    not rise, before anything is written; ShapeError, DTypeError.

    >>> dl.embedding_bag(dl.tensor([[0, 1], [1, 1]]), dl.tensor([[1.0, 2.0], [3.0, 4.0]]), mode="sum")
    tensor([[4., 6.],
            [6., 8.]])
    """

def eq(a: Operand, b: Operand) -> Tensor:
    """Whether a equals b, as bools; False where either is NaN.

    >>> dl.eq(dl.tensor([1, 2, 3]), 2)
    tensor([False,  True, False])
    """

def erf(x: Operand) -> Tensor:
    """Error function 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x.

    >>> dl.erf(dl.tensor([0.0, 1.0])).round(4)
    tensor([0.    , 0.8427])
    """

def erfc(x: Operand) -> Tensor:
    """Complementary error function 1 - erf(x), accurate where that would cancel.

    >>> dl.erfc(dl.tensor([0.0, 1.0])).round(4)
    tensor([1.    , 0.1573])
    """

def exp(x: Operand) -> Tensor:
    """Exponential e^x.

    >>> dl.exp(dl.tensor([0.0, 1.0])).round(4)
    tensor([1.    , 2.7183])
    """

def exp2(x: Operand) -> Tensor:
    """Power of two, 2^x, exact of whole x.

    >>> dl.exp2(dl.tensor([0.0, 3.0]))
    tensor([1., 8.])
    """

def expand(x: Operand, shape: int | Sequence[int]) -> Tensor:
    """A view broadcast to `shape`: new axes in front, axes of length 1 repeated, without using memory.

    -1 keeps an axis's length. Raises ShapeError where NumPy's rule does not allow it.

    >>> dl.expand(dl.tensor([[1], [2]]), (2, 3))
    tensor([[1, 1, 1],
            [2, 2, 2]])
    """

def expand_as(x: Operand, other: Operand) -> Tensor:
    """A view of ``x`` broadcast to the shape of ``other``.

    >>> dl.expand_as(dl.tensor([1, 2]), dl.zeros(2, 2))
    tensor([[1, 2],
            [1, 2]])
    """

def expand_dims(x: Operand, axis: int | Sequence[int] = 0) -> Tensor:
    """A view with new axes of length 1, which stand at ``axis`` (one place or several) of the result.

    >>> dl.expand_dims(dl.tensor([1, 2]), 1).shape
    (2, 1)
    """

def expm1(x: Operand) -> Tensor:
    """Exponential minus one, e^x - 1, accurate near 0.

    >>> dl.expm1(dl.tensor([0.0, 1.0])).round(4)
    tensor([0.    , 1.7183])
    """

def extract(condition: Operand, x: Operand) -> Tensor:
    """The elements of x where ``condition``, of its shape, is true: one line.

    >>> dl.extract(dl.tensor([True, False, True]), dl.tensor([1, 2, 3]))
    tensor([1, 3])
    """

def fill_diagonal(x: Operand, value: Operand, wrap: bool = False) -> None:
    """Writes ``value`` on the main diagonal of ``x``, a matrix or an array whose axes have one length.

    ``wrap``: of a tall matrix again behind a row left out.

    >>> x = dl.zeros(2, 2)
    >>> dl.fill_diagonal(x, 3.0)
    >>> x
    tensor([[3., 0.],
            [0., 3.]])
    """

def flatnonzero(x: Operand) -> Tensor:
    """The row-major positions of the elements that are not zero, as a vector.

    Its length depends on values, so a step that calls it cannot be recorded.

    >>> dl.flatnonzero(dl.tensor([[1, 0], [0, 2]]))
    tensor([0, 3])
    """

def flatten(x: Operand, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """The axes from ``start_axis`` to ``end_axis`` (included) made one; a view where strides allow.

    >>> dl.flatten(dl.zeros(2, 3, 4), 1).shape
    (2, 12)
    """

def flip(x: Operand, axis: int | Sequence[int] | None = None, *more: int) -> Tensor:
    """A view with the elements in reverse order along ``axis`` (one or several; None: all), as ``flip(x, 0, 1)`` too.

    >>> dl.flip(dl.tensor([[1, 2], [3, 4]]), 0)
    tensor([[3, 4],
            [1, 2]])
    """

def fliplr(x: Operand) -> Tensor:
    """A view with the columns (axis 1) in reverse order.

    >>> dl.fliplr(dl.tensor([[1, 2], [3, 4]]))
    tensor([[2, 1],
            [4, 3]])
    """

def flipud(x: Operand) -> Tensor:
    """A view with the rows (axis 0) in reverse order.

    >>> dl.flipud(dl.tensor([[1, 2], [3, 4]]))
    tensor([[3, 4],
            [1, 2]])
    """

def float_power(x: Operand, exponent: Operand) -> Tensor:
    """Power x^exponent in float64, whatever the operands' dtypes.

    Integers have negative powers here. See `pow` for special values.

    >>> dl.float_power(dl.tensor([2, 4]), -1).dtype.name
    'float64'
    """

def floor(x: Operand) -> Tensor:
    """The largest whole number that is not above x. Integers stay as they are.

    >>> dl.floor(dl.tensor([1.7, -1.2]))
    tensor([ 1., -2.])
    """

def floor_divide(a: Operand, b: Operand) -> Tensor:
    """Quotient rounded down, floor(a / b), as Python's //; integers by 0 give 0. Its gradient is 0.

    >>> dl.floor_divide(dl.tensor([7, -7]), 2)
    tensor([ 3, -4])
    """

def fmax(a: Operand, b: Operand) -> Tensor:
    """The larger of a and b; the other where one is NaN. At ties the gradient is split half and half.

    >>> dl.fmax(dl.tensor([1.0, dl.nan]), dl.tensor([2.0, 3.0]))
    tensor([2., 3.])
    """

def fmin(a: Operand, b: Operand) -> Tensor:
    """The smaller of a and b; the other where one is NaN. At ties the gradient is split half and half.

    >>> dl.fmin(dl.tensor([1.0, dl.nan]), dl.tensor([2.0, 3.0]))
    tensor([1., 3.])
    """

def fmod(a: Operand, b: Operand) -> Tensor:
    """Remainder a - b trunc(a / b), with the sign of a, as C's fmod; integers modulo 0 give 0. See also `remainder`.

    >>> dl.fmod(dl.tensor([7.0, -7.0]), 3.0)
    tensor([ 1., -1.])
    """

def focal_loss(input: Operand, target: Operand, alpha: float | None = 0.25, gamma: float = 2.0, reduction: str = 'mean') -> Tensor:
    """Cross-entropy of two classes in which easy samples count little: a (1 - p)^gamma (-log(p)), p the probability of
    the target (https://arxiv.org/abs/1708.02002).

    `input`: logits of any shape; `target`: 0, 1 or what lies between, of that shape. a is `alpha` for the positive
    class and 1 - alpha for the other, or 1 where `alpha` is None.

    >>> dl.focal_loss(dl.tensor([0.0]), dl.tensor([1.0])).round(4)
    tensor(0.0433)
    """

def frac(x: Operand) -> Tensor:
    """What lies behind the point, with the sign of x: x - trunc(x).

    >>> dl.frac(dl.tensor([1.5, -0.25]))
    tensor([ 0.5 , -0.25])
    """

@overload
def gather(x: Operand, index: Operand, axis: int) -> Tensor:
    """The elements of `x` at `index` along `axis`, one for each element of `index`.

    For axis 0 of a matrix: out[i, j] = x[index[i, j], j]. `index` has as many axes as `x` and is no longer along the
    others (torch.gather, numpy.take_along_axis).

    >>> dl.gather(dl.tensor([[1, 2], [3, 4]]), dl.tensor([[1], [0]]), axis=1)
    tensor([[2],
            [3]])
    """
@overload
def gather(x: Operand, dim: int, index: Operand) -> Tensor: ...

def gaussian_nll_loss(input: Operand, target: Operand, var: Operand, full: bool = False, eps: float = 1e-06, reduction: str = 'mean') -> Tensor:
    """Negative log-likelihood of a normal distribution: (log(v) + (input - target)^2 / v) / 2, v = max(var, eps).

    `input`, `target`: of one shape; `var`: a number, that shape, that shape without the last axis, or with a last axis
    of length 1. `full`: with log(2 pi) / 2. The gradient goes through the limit `eps` as if it were not there. Raises
    ValueError for a negative variance.

    >>> dl.gaussian_nll_loss(dl.tensor([1.0]), dl.tensor([3.0]), dl.tensor([1.0]))
    tensor(2.)
    """

def gcd(a: Operand, b: Operand) -> Tensor:
    """Greatest common divisor of |a| and |b|; of 0 and b it is |b|. DTypeError for bools and floats.

    >>> dl.gcd(dl.tensor([12, 7]), dl.tensor([18, 3]))
    tensor([6, 1])
    """

def ge(a: Operand, b: Operand) -> Tensor:
    """Whether a >= b, as bools; False where either is NaN.

    >>> dl.ge(dl.tensor([1, 2, 3]), 2)
    tensor([False,  True,  True])
    """

def geglu(gate: Operand, up: Operand | None = None, axis: int = -1, approximate: Literal['none', 'tanh'] = 'none') -> Tensor:
    """gelu(gate) up, of two tensors of one shape, or of the halves of `gate` along `axis`, the gate first.

    `approximate` as of `gelu`. Rounded once. Raises ShapeError where shapes differ, or the axis has no even length.
    Shazeer 2020 (https://arxiv.org/abs/2002.05202).

    >>> dl.geglu(dl.tensor([0.0, 20.0, 3.0, 3.0]))
    tensor([ 0., 60.])
    """

@overload
def gelu(x: Operand, approximate: Literal['none', 'tanh'] = 'none') -> Tensor:
    """Gaussian error linear unit x P(X <= x), X standard normal (https://arxiv.org/abs/1606.08415).

    approximate="tanh": x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). Both keep their relative accuracy in the
    negative tail, where 1 + erf would cancel, and are 0 at -inf. Raises ValueError for another `approximate`.

    >>> dl.gelu(dl.tensor([-1.0, 0.0, 1.0])).round(4)
    tensor([-0.1587,  0.    ,  0.8413])
    """
@overload
def gelu(x: Operand, approximate: Literal['none', 'tanh'] = 'none', *, inplace: bool) -> Tensor: ...

@overload
def gelu_backward(dout: Operand, x: Operand, approximate: Literal['none', 'tanh'] = 'none') -> Tensor:
    """Gradient of gelu: dout (p(x) + x p'(x)) for gelu(x) = x p(x).

    >>> dl.gelu_backward(dl.tensor([1.0]), dl.tensor([0.0]))
    tensor([0.5])
    """
@overload
def gelu_backward(dout: Operand, x: Operand, approximate: Literal['none', 'tanh'] = 'none', *, inplace: bool) -> Tensor: ...

def glu(x: Operand, axis: int = -1) -> Tensor:
    """Gated linear unit a sigmoid(b), a and b the halves of `x` along `axis` (https://arxiv.org/abs/1612.08083).

    Raises ShapeError where that axis has no even length.

    >>> dl.glu(dl.tensor([[1.0, 2.0, 0.0, 0.0]]))
    tensor([[0.5, 1. ]])
    """

def gradient(x: Operand, spacing: float = 1.0, axis: int | Sequence[int] | None = None) -> Tensor:
    """Slopes of x along ``axis`` (None: along each): central differences inside, one-sided ones at the ends.

    ``spacing``: from one place to the next. A tensor, or a list with one for each of several axes; integers become
    float32. Raises ShapeError where an axis has fewer than two places. Of a function, see `dl.func.grad`.

    >>> dl.gradient(dl.tensor([1.0, 2.0, 4.0]))
    tensor([1. , 1.5, 2. ])
    """

def grid_sample(x: Operand, grid: Operand, mode: Literal['bilinear', 'nearest', 'bicubic'] = 'bilinear', padding_mode: Literal['zeros', 'border', 'reflection'] = 'zeros', align_corners: bool = False, layout: Literal['NCHW', 'NHWC'] = 'NCHW') -> Tensor:
    """Pixels of `x` at the places in `grid`: x (N, C, H, W), grid (N, H', W', 2) give (N, C, H', W').

    A place is (column, row), of volumes (N, C, D, H, W) with a grid (N, D', H', W', 3) it is (column, row, depth), from
    -1 to 1: with `align_corners` from the middle of the first pixel to that of the last, else from border to border.
    Between pixels they are mixed by `mode`: "bilinear" (of volumes trilinear), "nearest" or "bicubic" (Keys 1981 with
    a = -0.75). Beyond the image `padding_mode`: "zeros", the "border" or a "reflection". `layout`: "NHWC" where
    channels come last, in the result as well. Computed in float32 or wider; NaN at a place gives NaN. Jaderberg et
    al. 2015.

    Gradients go to both; that of images adds up in a fixed order. Raises ShapeError where shapes do not fit.

    >>> dl.grid_sample(dl.tensor([[[[0.0, 1.0, 2.0]]]]), dl.tensor([[[[0.5, 0.0]]]]), align_corners=True).tolist()
    [[[[1.5]]]]
    """

def group_norm(input: Operand, num_groups: int, weight: Operand | None = None, bias: Operand | None = None, eps: float = 1e-05, layout: str = 'NCHW') -> Tensor:
    """`input` with each group of channels of each image normalised: (x - mean) / sqrt(var + eps) * weight + bias.

    `input` (N, C, ...), with ``layout="NHWC"`` (N, ..., C), its C channels in `num_groups` groups; `weight` and `bias`
    (C,), each may be None (Wu & He 2018). The variance is the biased one. Statistics are kept in float32 (float64 for
    float64) whatever the dtype of `input`; under autocast all is computed in float32. Raises ShapeError where shapes do
    not fit and where there is one value a group.

    >>> dl.group_norm(dl.tensor([[1.0, 3.0, 5.0, 9.0]]), 2, eps=0.0)
    tensor([[-1.,  1., -1.,  1.]])
    """

def gt(a: Operand, b: Operand) -> Tensor:
    """Whether a > b, as bools; False where either is NaN.

    >>> dl.gt(dl.tensor([1, 2, 3]), 2)
    tensor([False, False,  True])
    """

@overload
def hardshrink(x: Operand, lambd: float = 0.5) -> Tensor:
    """x where it lies outside of [-`lambd`, `lambd`], else 0.

    >>> dl.hardshrink(dl.tensor([-1.0, 0.3, 2.0]))
    tensor([-1.,  0.,  2.])
    """
@overload
def hardshrink(x: Operand, lambd: float = 0.5, *, inplace: bool) -> Tensor: ...

@overload
def hardsigmoid(x: Operand) -> Tensor:
    """Straight lines for sigmoid, min(max(x + 3, 0), 6) / 6. The gradient is 0 at both limits.

    >>> dl.hardsigmoid(dl.tensor([-4.0, 0.0, 4.0]))
    tensor([0. , 0.5, 1. ])
    """
@overload
def hardsigmoid(x: Operand, *, inplace: bool) -> Tensor: ...

@overload
def hardswish(x: Operand) -> Tensor:
    """Straight lines for silu, x min(max(x + 3, 0), 6) / 6 (https://arxiv.org/abs/1905.02244).

    >>> dl.hardswish(dl.tensor([-4.0, 1.5, 4.0]))
    tensor([-0.   ,  1.125,  4.   ])
    """
@overload
def hardswish(x: Operand, *, inplace: bool) -> Tensor: ...

@overload
def hardtanh(x: Operand, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x limited to [`min_val`, `max_val`]. The gradient is 0 at both limits. Raises ValueError where they cross.

    >>> dl.hardtanh(dl.tensor([-2.0, 0.5, 2.0]))
    tensor([-1. ,  0.5,  1. ])
    """
@overload
def hardtanh(x: Operand, min_val: float = -1.0, max_val: float = 1.0, *, inplace: bool) -> Tensor: ...

def heaviside(x: Operand, values: Operand) -> Tensor:
    """Step function: 0 for x < 0, values for x = 0, 1 for x > 0; NaN of NaN.

    >>> dl.heaviside(dl.tensor([-1.0, 0.0, 2.0]), dl.tensor(0.5))
    tensor([0. , 0.5, 1. ])
    """

def hinge_embedding_loss(input: Operand, target: Operand, margin: float = 1.0, reduction: str = 'mean') -> Tensor:
    """A distance as it is where the target is 1, and max(0, margin - input) where it is -1.

    >>> dl.hinge_embedding_loss(dl.tensor([0.5, 0.25]), dl.tensor([1.0, -1.0]))
    tensor(0.625)
    """

def hinge_loss(input: Operand, target: Operand, margin: float = 1.0, reduction: str = 'mean') -> Tensor:
    """Hinge loss of a target of -1 and 1, as of support vector machines: max(0, margin - t x).

    >>> dl.hinge_loss(dl.tensor([0.5, 2.0]), dl.tensor([-1.0, 1.0]), reduction="none")
    tensor([1.5, 0. ])
    """

def histc(x: Operand, bins: int = 100, min: float = 0.0, max: float = 0.0) -> Tensor:
    """How many elements lie in each of ``bins`` bins of equal width from ``min`` to ``max``, in the dtype of x (bins).

    PyTorch's function: where both limits are the same they are the smallest and the largest element. `histogram` has
    more. Raises ValueError where the limits are not finite or ``min`` exceeds ``max``.

    >>> dl.histc(dl.tensor([1.0, 2.0, 1.0]), bins=4, min=0, max=3)
    tensor([0., 2., 1., 0.])
    """

def histogram(x: Operand, bins: Operand = 10, range: Sequence[float] | None = None, weights: Operand | None = None, density: bool = False) -> Tensor:
    """How many elements lie in each bin, and the edges of the bins: (values, edges), as NumPy's function.

    ``bins``: how many of equal width between the limits of ``range``, by default the smallest and largest element; or
    the edges themselves, increasing. Bin k holds edges[k] <= x < edges[k + 1], the last one its upper edge too;
    elements outside are left out. values (bins) are int64, with ``weights`` of the shape of x the sums of what the
    elements weigh; ``density``: divided by their sum and the bins' widths, in the dtype of the edges. The edges
    (bins + 1) have the dtype of x, float32 for integers. Raises ValueError where the range is not finite or edges
    decrease.

    >>> [t.tolist() for t in dl.histogram(dl.tensor([0.0, 1.0, 1.5, 4.0]), bins=4)]
    [[1, 2, 0, 1], [0.0, 1.0, 2.0, 3.0, 4.0]]
    """

def hsplit(x: Operand, indices_or_sections: int | Sequence[int]) -> list[Tensor]:
    """The parts of ``x`` along axis 1 (axis 0 of a vector); see `split`.

    >>> [t.tolist() for t in dl.hsplit(dl.tensor([[1, 2], [3, 4]]), 2)]
    [[[1], [3]], [[2], [4]]]
    """

def hstack(tensors: Sequence[Operand]) -> Tensor:
    """The tensors one after another along axis 1; vectors along axis 0.

    >>> dl.hstack([dl.tensor([1, 2]), dl.tensor([3])])
    tensor([1, 2, 3])
    """

def huber_loss(input: Operand, target: Operand, reduction: Literal['none', 'mean', 'sum'] = 'mean', delta: float = 1.0) -> Tensor:
    """Squared error with straight sides: with d = input - target, d^2 / 2 where |d| < delta, else
    delta (|d| - delta / 2).

    `input`, `target`: floats (integers become float32) of one shape. Huber 1964. Raises ShapeError where shapes differ,
    ValueError unless `delta` is positive.

    >>> dl.huber_loss(dl.tensor([1.0, 2.0]), dl.tensor([1.0, 5.0]))
    tensor(1.25)
    """

def hypot(a: Operand, b: Operand) -> Tensor:
    """Length of the hypotenuse, sqrt(a^2 + b^2), without overflow of the squares.

        Infinity where either is infinite, even beside NaN. Its gradient at (0, 0) is NaN.

    >>> dl.hypot(dl.tensor([3.0]), dl.tensor([4.0]))
    tensor([5.])
    """

def im2col(x: Operand, kernel_size: int | Sequence[int], dilation: int | Sequence[int] = (1,), padding: int | Sequence[int] = (0,), stride: int | Sequence[int] = (1,)) -> Tensor:
    """Windows of images as columns: `x` (N, C, H, W) gives (N, C kh kw, L), L windows in row-major order.

    `kernel_size`: (kh, kw), the size of a window, whose elements lie `dilation` apart; windows begin `stride` apart;
    images have `padding` zeros on every side before. Each a pair, or one number for both axes. (C, H, W) is one image.
    What `nn.functional.unfold` is; `Tensor.unfold` walks along one axis. Raises ShapeError where no window fits.

    >>> dl.im2col(dl.arange(9.0).reshape(1, 3, 3), 2).tolist()
    [[0.0, 1.0, 3.0, 4.0], [1.0, 2.0, 4.0, 5.0], [3.0, 4.0, 6.0, 7.0], [4.0, 5.0, 7.0, 8.0]]
    """

def imag(numbers: Operand) -> Tensor:
    """The imaginary part of ``numbers``: zeros, for dlcore has real numbers alone.

    >>> dl.imag(dl.tensor([1.0, 2.0]))
    tensor([0., 0.])
    """

def index_add(x: Operand, axis: int, index: Operand, source: Operand, alpha: float = 1) -> Tensor:
    """A copy of ``x`` to which ``alpha`` times each row of ``source`` is added where ``index`` says along ``axis``.

    ``index``: a vector; ``source``: of the shape of x with the index's length along ``axis``. Equal indices add up, in
    float32 or wider and in their order.

    >>> dl.index_add(dl.zeros(4), 0, dl.tensor([1, 1, 3]), dl.tensor([1.0, 2.0, 5.0])).tolist()
    [0.0, 3.0, 0.0, 5.0]
    """

def index_copy(x: Operand, axis: int, index: Operand, source: Operand) -> Tensor:
    """A copy of ``x`` whose rows at ``index`` along ``axis`` are those of ``source``; of equal ones the last wins.

    >>> dl.index_copy(dl.zeros(3), 0, dl.tensor([2, 0]), dl.tensor([5.0, 7.0]))
    tensor([7., 0., 5.])
    """

def index_fill(x: Operand, axis: int, index: Operand, value: Operand) -> Tensor:
    """A copy of ``x`` whose rows at ``index`` along ``axis`` are filled with ``value``, a number or 0-d tensor.

    >>> dl.index_fill(dl.zeros(3), 0, dl.tensor([1]), 4.0)
    tensor([0., 4., 0.])
    """

def index_select(x: Operand, axis: int, index: Operand) -> Tensor:
    """The elements (rows) of ``x`` at ``index``, a vector, along ``axis``: `take` under PyTorch's name.

    >>> dl.index_select(dl.tensor([[1, 2], [3, 4]]), 1, dl.tensor([1]))
    tensor([[2],
            [4]])
    """

def indices(dimensions: Sequence[int], dtype: object = 'int64', sparse: bool = False) -> Tensor:
    """The coordinates of an array of shape ``dimensions``: (ndim, *dimensions); a tuple of them if ``sparse``.

    >>> dl.indices((2, 2)).tolist()
    [[[0, 0], [1, 1]], [[0, 1], [0, 1]]]
    """

def inner(a: Operand, b: Operand) -> Tensor:
    """The sums over the last axes of both: out[i..., j...] = the sum over k of a[i..., k] b[j..., k].

    `a` or `b` without axes is multiplied. Raises ShapeError where the last lengths differ, DTypeError for bool.

    >>> dl.inner(dl.tensor([1.0, 2.0]), dl.tensor([[3.0, 4.0], [5.0, 6.0]]))
    tensor([11., 17.])
    """

def insert(x: Operand, index: Operand, values: Operand, axis: int | None = None) -> Tensor:
    """A copy of ``x`` with ``values``, broadcast and cast, before the places ``index`` along ``axis``.

    With axis=None x is flattened. ``index``: an integer or integers in terms of x, which are read on the host.

    >>> dl.insert(dl.tensor([1, 3]), 1, 2)
    tensor([1, 2, 3])
    """

def instance_norm(input: Operand, running_mean: Operand | None = None, running_var: Operand | None = None, weight: Operand | None = None, bias: Operand | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-05, layout: str = 'NCHW') -> Tensor:
    """`input` with each channel of each image normalised: (x - mean) / sqrt(var + eps) * weight + bias.

    `input` (N, C, ...), with ``layout="NHWC"`` (N, ..., C); the others (C,), each may be None (Ulyanov et al. 2016).
    ``use_input_stats``: mean and variance are those of each image, and running ones move on in place by the means over
    the images, as in `batch_norm`; else they are the running ones. Raises ShapeError where shapes do not fit and where
    there is one value a channel.

    >>> dl.instance_norm(dl.tensor([[[1.0, 3.0], [5.0, 9.0]]]), eps=0.0)
    tensor([[[-1.,  1.],
             [-1.,  1.]]])
    """

def interp(x: Operand, xp: Operand, fp: Operand, left: float | None = None, right: float | None = None) -> Tensor:
    """Values at ``x`` of the line through the points (xp, fp), ``xp`` (N,) in ascending order: of the shape of x.

    ``left`` and ``right``: what it is before the first point and after the last; default: as at that point. Gradients
    flow to all three. Raises ShapeError unless there are as many ``xp`` as ``fp``, one at the least.

    >>> dl.interp(dl.tensor([0.5, 3.0]), dl.tensor([0.0, 1.0]), dl.tensor([10.0, 20.0]))
    tensor([15., 20.])
    """

def interpolate(x: Operand, size: int | Sequence[int] | None = None, scale_factor: Any = None, mode: Literal['nearest', 'nearest-exact', 'linear', 'bilinear', 'bicubic', 'trilinear', 'area'] = 'nearest', align_corners: bool | None = None, recompute_scale_factor: bool | None = None, antialias: bool = False, layout: Literal['NCHW', 'NHWC'] = 'NCHW') -> Tensor:
    """Images of another size: `x` (N, C, L), (N, C, H, W) or (N, C, D, H, W), resized as PyTorch does it.

    `size`: the new lengths, or `scale_factor`: one factor or one for each axis; lengths are rounded down. `mode`:
    "nearest", "nearest-exact" (the pixel in whose middle an output lies), "area" (means of the pixels that an output
    covers), "linear" (of 1 axis), "bilinear", "bicubic" (of 2; Keys 1981 with a = -0.75) or "trilinear" (of 3).
    `align_corners`: the first and last pixels stay where they are, else the image's borders do. `antialias` of bilinear
    and bicubic: smaller images are smoothed, as Pillow does it. `recompute_scale_factor`: places come from the rounded
    lengths instead of from the factor. `layout`: "NHWC" where channels come last. An axis whose length stays the same
    is left as it is by linear modes and by `antialias`; others follow the factor, "nearest" along two axes, too (there
    PyTorch takes the lengths where one is the other or twice as long).

    Sums are in float32 or wider; integers can be resized to the nearest pixel. Raises ShapeError for sizes of 0.

    >>> dl.interpolate(dl.tensor([[[0.0, 1.0]]]), scale_factor=2, mode="linear").tolist()
    [[[0.0, 0.25, 0.75, 1.0]]]
    """

def intersect1d(x: Operand, y: Operand, assume_unique: bool = False, return_indices: bool = False) -> Tensor:
    """The distinct elements that are in both ``x`` and ``y``, in order, in one axis.

    With ``return_indices`` a tuple: the elements, and where each stands first in the flattened ``x`` and ``y``.
    ``assume_unique`` changes nothing. NaN is in no intersection.

    >>> dl.intersect1d(dl.tensor([3, 1, 3]), dl.tensor([3, 4])).tolist()
    [3]
    """

def is_floating_point(x: Operand) -> bool:
    """Whether the dtype is a floating-point one.

    >>> dl.is_floating_point(dl.arange(3))
    False
    """

def isclose(x: Operand, other: Operand, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """Where ``|x - other| <= atol + rtol |other|``, as bools; infinities are close to themselves alone.

    NaN is close to nothing, with ``equal_nan`` to NaN. Integers and bools are compared in float64. The operands
    broadcast. Raises ShapeError where shapes do not broadcast.

    >>> dl.isclose(dl.tensor([1.0, 2.0]), [1.0000001, 2.1])
    tensor([ True, False])
    """

def isfinite(x: Operand) -> Tensor:
    """Whether each element is neither infinite nor NaN, as bools.

    >>> dl.isfinite(dl.tensor([1.0, dl.inf, dl.nan]))
    tensor([ True, False, False])
    """

def isin(x: Operand, test_elements: Operand, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each element of ``x`` is among ``test_elements`` (or, ``invert``, is not), as bools of its shape.

    ``test_elements`` may be a number. NaN is among nothing. ``assume_unique`` changes nothing.

    >>> dl.isin(dl.tensor([1, 2, 3]), dl.tensor([3, 5])).tolist()
    [False, False, True]
    """

def isinf(x: Operand) -> Tensor:
    """Whether each element is infinite, as bools.

    >>> dl.isinf(dl.tensor([1.0, -dl.inf, dl.nan]))
    tensor([False,  True, False])
    """

def isnan(x: Operand) -> Tensor:
    """Whether each element is NaN, as bools.

    >>> dl.isnan(dl.tensor([1.0, dl.inf, dl.nan]))
    tensor([False, False,  True])
    """

def isneginf(x: Operand) -> Tensor:
    """Whether each element is minus infinity, as bools.

    >>> dl.isneginf(dl.tensor([dl.inf, -dl.inf]))
    tensor([False,  True])
    """

def isposinf(x: Operand) -> Tensor:
    """Whether each element is plus infinity, as bools.

    >>> dl.isposinf(dl.tensor([dl.inf, -dl.inf]))
    tensor([ True, False])
    """

def ix_(*sequences: Sequence[Operand]) -> tuple[Tensor, ...]:
    """An index that crosses the vectors given: ``x[dl.ix_([0, 2], [1, 3])]`` is the rows 0 and 2 at columns 1 and 3.

    >>> [t.shape for t in dl.ix_(dl.tensor([0, 1]), dl.tensor([2]))]
    [(2, 1), (1, 1)]
    """

def kl_div(input: Operand, target: Operand, reduction: str = 'mean', log_target: bool = False) -> Tensor:
    """Kullback-Leibler divergence of a target t from an `input` of logarithms of probabilities: t (log(t) - input).

    `input`, `target`: of one shape; the target holds probabilities, or their logarithms where `log_target` is set.
    Where t is 0, so is the term. `reduction`: "batchmean" too, the sum divided by the length of axis 0, which is the
    divergence of distributions along the other axes; "mean" divides by the number of elements.

    >>> dl.kl_div(dl.tensor([0.5, 0.5]).log(), dl.tensor([1.0, 0.0]), reduction="sum").round(4)
    tensor(0.6931)
    """

def kron(a: Operand, b: Operand) -> Tensor:
    """The Kronecker product: each element of `a` replaced by itself times `b`; lengths multiply axis by axis.

    The operand with fewer axes gets axes of length 1 in front. Raises DTypeError for bool.

    >>> dl.kron(dl.tensor([1, 2]), dl.tensor([1, 10]))
    tensor([ 1, 10,  2, 20])
    """

def kthvalue(x: Operand, k: int, axis: int = -1, keepdims: bool = False) -> tuple[Tensor, Tensor]:
    """(values, indices): the ``k``-th smallest element along ``axis``, counted from 1, and where it stands (int64).

    Of equal elements the first; NaN counts as the largest. The gradient goes to where the values came from. Raises
    IndexError for an axis out of range, ShapeError where ``k`` is less than 1 or more than the length of the axis.

    >>> [part.item() for part in dl.kthvalue(dl.tensor([4.0, 1.0, 3.0]), 2)]
    [3.0, 2]
    """

def l1_loss(input: Operand, target: Operand, reduction: Literal['none', 'mean', 'sum'] = 'mean') -> Tensor:
    """Absolute error |input - target|, averaged, summed, or one for each element. Its gradient is 0 where they agree.

    `input`, `target`: floats (integers become float32) of one shape. Raises ShapeError where shapes differ.

    >>> dl.l1_loss(dl.tensor([1.0, 2.0]), dl.tensor([1.0, 4.0]))
    tensor(1.)
    """

def layer_norm(input: Operand, normalized_shape: int | Sequence[int], weight: Operand | None = None, bias: Operand | None = None, eps: float = 1e-05) -> Tensor:
    """`input` with each row normalised: (x - mean) / sqrt(var + eps) * weight + bias (Ba et al. 2016).

    A row is what lies along the last axes, whose lengths `normalized_shape` says; `weight` and `bias` have that shape,
    each may be None. The variance is the biased one. Statistics are kept in float32 (float64 for float64) whatever the
    dtype of `input`; under autocast all is computed in float32. Raises ShapeError where shapes do not fit.

    >>> dl.layer_norm(dl.tensor([[1.0, 3.0], [5.0, 9.0]]), 2, eps=0.0)
    tensor([[-1.,  1.],
            [-1.,  1.]])
    """

def lcm(a: Operand, b: Operand) -> Tensor:
    """Least common multiple of |a| and |b|, which wraps; 0 where either is 0. DTypeError for bools and floats.

    >>> dl.lcm(dl.tensor([4, 6]), dl.tensor([6, 8]))
    tensor([12, 24])
    """

def le(a: Operand, b: Operand) -> Tensor:
    """Whether a <= b, as bools; False where either is NaN.

    >>> dl.le(dl.tensor([1, 2, 3]), 2)
    tensor([ True,  True, False])
    """

@overload
def leaky_relu(x: Operand, negative_slope: float = 0.01) -> Tensor:
    """Leaky rectifier: x where it is positive, else x times `negative_slope`, which is the gradient at 0 too.

    >>> dl.leaky_relu(dl.tensor([-2.0, 2.0]), 0.25)
    tensor([-0.5,  2. ])
    """
@overload
def leaky_relu(x: Operand, negative_slope: float = 0.01, *, inplace: bool) -> Tensor: ...

def lerp(a: Operand, b: Operand, weight: Operand) -> Tensor:
    """Linear interpolation a + weight (b - a), which meets a at weight 0 and b at 1. Integers become the default float.

    >>> dl.lerp(dl.tensor([0.0, 10.0]), dl.tensor([10.0, 20.0]), 0.25)
    tensor([ 2.5, 12.5])
    """

def lgamma(x: Operand) -> Tensor:
    """Logarithm of the absolute value of the gamma function, log|gamma(x)|; infinite at 0, -1, -2, ...

        For whole x > 0 it is log((x - 1)!). Near its zeros the error is relative to 2 at most, of 16- and 32-bit floats to
        the result.

    >>> dl.lgamma(dl.tensor([1.0, 5.0])).round(4)
    tensor([0.    , 3.1781])
    """

def linear(x: Operand, weight: Operand, bias: Operand | None = None, activation: Literal[None, 'relu', 'sigmoid', 'tanh', 'gelu', 'gelu_tanh'] = None) -> Tensor:
    """A linear layer: activation(x @ weight.T + bias), in one kernel.

    `x` (..., K), `weight` (N, K), `bias` (N,) or None give (..., N). `activation` is None, "relu", "sigmoid", "tanh",
    "gelu" or "gelu_tanh", applied to each tile of the product in the cache: the same bits as the separate operations.
    Integers become the default float. Raises ShapeError where shapes do not fit, ValueError for another activation.

    >>> dl.linear(dl.tensor([[1.0, 2.0]]), dl.tensor([[3.0, 4.0], [-5.0, 1.0]]), activation="relu")
    tensor([[11.,  0.]])
    """

def linear_backward(dout: Operand, x: Operand, weight: Operand, saved: Operand | None = None, activation: Literal[None, 'relu', 'sigmoid', 'tanh', 'gelu', 'gelu_tanh'] = None, output_mask: Sequence[bool] = (True, True, True)) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of linear: dx (..., K), dweight (N, K) and dbias (N,), each None where `output_mask` says so.

    With dpre = dout activation'(saved): dx = dpre @ weight, dweight = dpre.T @ x, dbias = the sum of dpre over all
    leading axes. `saved` is linear's output for relu, sigmoid and tanh, the value before the activation for gelu and
    gelu_tanh, and None without activation. Both products are one parallel region.

    >>> x, w = dl.tensor([[1.0, 2.0]]), dl.tensor([[3.0, 4.0]])
    >>> [t.tolist() for t in dl.linear_backward(dl.tensor([[10.0]]), x, w)]
    [[[30.0, 40.0]], [[10.0, 20.0]], [10.0]]
    """

def linear_cross_entropy(input: Operand, linear_weight: Operand, target: Operand, *, linear_bias: Operand | None = None, weight: Operand | None = None, reduction: str = 'mean', ignore_index: int = -100, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of `target` and the logits input @ linear_weight.T + linear_bias, never stored as a whole.

    `input`: (..., K). `linear_weight`: (V, K), `linear_bias`: (V,). `target`: class indices (...), of any integer
    dtype. `reduction`, `ignore_index`, `label_smoothing` as of `cross_entropy`. Logits are computed a chunk at a time,
    28 MiB of them (on a GPU 32 MiB, or a sixteenth of all), and loss and gradients follow at once: memory grows with
    the parameters, not with rows x V. With `weight`, a factor for each class, and with reduction "none" it is
    `cross_entropy` of `linear`, logits and all.

    Sums over chunks are in float32 or wider, in their order: the same bits for any number of threads. Raises IndexError
    for a label outside 0 .. V - 1, ShapeError, DTypeError, ValueError. Wijmans et al. 2024 (arXiv 2411.09009).

    >>> dl.linear_cross_entropy(dl.tensor([[1.0, 2.0]]), dl.zeros(2, 2), dl.tensor([1])).round(4)
    tensor(0.6931)
    """

def linear_recurrence(a: Operand, b: Operand, initial: Operand | None = None, axis: int = 1, reverse: bool = False) -> Tensor:
    """The linear recurrence h[t] = a[t] h[t-1] + b[t] along `axis`, all h.

    `a`, `b`: of one shape; integers become float32. `initial`: h[-1], of that shape without `axis`; None: h[0] = b[0],
    and a[0] is not looked at. `reverse`: h[t] = a[t] h[t+1] + b[t], from the end.

    In float64 on a CPU, float32 or wider on a GPU, each h rounded once; there by a parallel scan (Blelloch 1990), in an
    order that depends on shapes alone. The gradient is a scan from the other end. Raises ShapeError where shapes
    differ, IndexError for an axis out of range.

    >>> dl.linear_recurrence(dl.tensor([0.5, 0.5, 0.5]), dl.tensor([1.0, 1.0, 1.0]), axis=0)
    tensor([1.  , 1.5 , 1.75])
    """

def local_response_norm(input: Operand, size: int, alpha: float = 0.0001, beta: float = 0.75, k: float = 1.0, layout: str = 'NCHW') -> Tensor:
    """`input` divided by (k + alpha * mean of squares of `size` neighbouring channels) ** beta (Krizhevsky 2012).

    `input` (N, C, ...), with ``layout="NHWC"`` (N, ..., C). Of channel c the window holds channels c - size // 2 to
    c + (size - 1) // 2; those that there are not count as 0. 16-bit floats are computed in float32. Raises ValueError
    for a size below 1 and ShapeError for less than three axes.

    >>> dl.local_response_norm(dl.ones(1, 2, 1), 2, alpha=6.0, beta=1.0).reshape(-1)
    tensor([0.25     , 0.14285715])
    """

def log(x: Operand) -> Tensor:
    """Natural logarithm; -inf of 0, NaN of negative numbers.

    >>> dl.log(dl.tensor([1.0, 10.0])).round(4)
    tensor([0.    , 2.3026])
    """

def log10(x: Operand) -> Tensor:
    """Logarithm to base 10; -inf of 0, NaN of negative numbers. Exact of powers of 10.

    >>> dl.log10(dl.tensor([1.0, 1000.0])).round(4)
    tensor([0., 3.])
    """

def log1p(x: Operand) -> Tensor:
    """Natural logarithm of 1 + x, accurate near 0.

    >>> dl.log1p(dl.tensor([0.0, 1.0])).round(4)
    tensor([0.    , 0.6931])
    """

def log2(x: Operand) -> Tensor:
    """Logarithm to base 2; -inf of 0, NaN of negative numbers. Exact of powers of 2.

    >>> dl.log2(dl.tensor([1.0, 8.0]))
    tensor([0., 3.])
    """

@overload
def log_softmax(x: Operand, axis: int = -1) -> Tensor:
    """Logarithm of the softmax along `axis`: (x - max(x)) - log(sum(exp(x - max(x)))).

    Exact where softmax underflows. Accumulation, special values and errors as in `softmax`.

    >>> dl.log_softmax(dl.tensor([0.0, 0.0])).round(4)
    tensor([-0.6931, -0.6931])
    """
@overload
def log_softmax(x: Operand, axis: int = -1, *, dim: int | None = None, dtype: Any | None) -> Tensor: ...

def logaddexp(a: Operand, b: Operand) -> Tensor:
    """Logarithm of a sum of exponentials, log(e^a + e^b), which do not overflow.

    >>> dl.logaddexp(dl.tensor([0.0]), dl.tensor([0.0])).round(4)
    tensor([0.6931])
    """

def logcumsumexp(x: Operand, axis: int | None = None, reverse: bool = False) -> Tensor:
    """Logarithms of the sums of exponentials along `axis` up to each: log(exp(x[0]) + ... + exp(x[i])).

    Nothing overflows: exponentials are taken of differences from the largest element so far. Integers become float32.
    `axis`: None for all elements in row-major order; `reverse`: from each to the end. Raises IndexError for an axis out
    of range.

    >>> dl.logcumsumexp(dl.tensor([0.0, 0.0])).round(4)
    tensor([0.    , 0.6931])
    """

def logical_and(a: Operand, b: Operand) -> Tensor:
    """Whether both a and b hold, as bools: numbers hold where they are not 0.

    >>> dl.logical_and(dl.tensor([True, True]), dl.tensor([True, False]))
    tensor([ True, False])
    """

def logical_not(x: Operand) -> Tensor:
    """Whether x does not hold, as bools: numbers hold where they are not 0.

    >>> dl.logical_not(dl.tensor([True, False]))
    tensor([False,  True])
    """

def logical_or(a: Operand, b: Operand) -> Tensor:
    """Whether a or b holds, or both, as bools: numbers hold where they are not 0.

    >>> dl.logical_or(dl.tensor([False, True]), dl.tensor([False, False]))
    tensor([False,  True])
    """

def logical_xor(a: Operand, b: Operand) -> Tensor:
    """Whether one of a and b holds, as bools: numbers hold where they are not 0.

    >>> dl.logical_xor(dl.tensor([True, True]), dl.tensor([True, False]))
    tensor([False,  True])
    """

def logit(x: Operand, eps: float | None = None) -> Tensor:
    """The inverse of `sigmoid`, log(x / (1 - x)); of x limited to [eps, 1 - eps] where ``eps`` is given.

    >>> dl.logit(dl.tensor([0.5, 1.0]))
    tensor([ 0., inf])
    """

@overload
def logsigmoid(x: Operand) -> Tensor:
    """Logarithm of the logistic function, -log(1 + e^-x).

    >>> dl.logsigmoid(dl.tensor([0.0, 100.0])).round(4)
    tensor([-0.6931, -0.    ])
    """
@overload
def logsigmoid(x: Operand, *, inplace: bool) -> Tensor: ...

def logsumexp(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """Logarithm of the sum of exponentials along `axis`: m + log(sum(exp(x - m))) with m = max(x).

    One pass; nothing overflows. Of nothing it is -inf. Integers become float32. Errors as in `sum`.

    >>> dl.logsumexp(dl.tensor([1000.0, 1000.0]), axis=0).round(4)
    tensor(1000.6932)
    """

def lp_pool1d(input: Operand, norm_type: float, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None, ceil_mode: bool = False, layout: str = 'NCHW') -> Tensor:
    """The roots of sums of powers in windows along one axis; see `lp_pool2d`.

    >>> dl.lp_pool1d(dl.tensor([[3.0, 4.0, 0.0, 2.0]]), 2, 2).tolist()
    [[5.0, 2.0]]
    """

def lp_pool2d(input: Operand, norm_type: float, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None, ceil_mode: bool = False, layout: str = 'NCHW') -> Tensor:
    """The roots of sums of powers in windows: sum(x^p)^(1/p), p = ``norm_type``, of (N, C, H, W) or (C, H, W).

    As in PyTorch it is the power of x, not of |x|, so that odd powers of negative numbers are negative, and the root of
    a negative sum is NaN; with ``ceil_mode`` the sum of a window that reaches beyond the end is its mean times all
    elements of a window. With p infinite: the maximum of |x|. Other arguments as in `avg_pool2d`.

    Raises ValueError for p = 0, ShapeError where windows do not fit, DTypeError for integers.

    >>> dl.lp_pool2d(dl.tensor([[[3.0, 0.0], [0.0, 4.0]]]), 2, 2).tolist()
    [[[5.0]]]
    """

def lp_pool3d(input: Operand, norm_type: float, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None, ceil_mode: bool = False, layout: str = 'NCHW') -> Tensor:
    """The roots of sums of powers in windows along three axes; see `lp_pool2d`.

    >>> dl.lp_pool3d(dl.ones(1, 2, 2, 2), 1, 2).tolist()
    [[[[8.0]]]]
    """

def lt(a: Operand, b: Operand) -> Tensor:
    """Whether a < b, as bools; False where either is NaN.

    >>> dl.lt(dl.tensor([1, 2, 3]), 2)
    tensor([ True, False, False])
    """

def margin_ranking_loss(input1: Operand, input2: Operand, target: Operand, margin: float = 0.0, reduction: str = 'mean') -> Tensor:
    """Loss of an order: max(0, margin - t (input1 - input2)); a target of 1 asks for the first to be larger, -1 for the
    second. All have one shape.

    >>> dl.margin_ranking_loss(dl.tensor([1.0]), dl.tensor([3.0]), dl.tensor([1.0]))
    tensor(2.)
    """

def masked_fill(x: Operand, mask: Operand, value: Operand) -> Tensor:
    """``x`` with ``value``, a number or 0-d tensor, where ``mask`` (broadcast) is true; in the dtype of x.

    >>> dl.masked_fill(dl.tensor([1.0, 2.0]), dl.tensor([False, True]), 0.0)
    tensor([1., 0.])
    """

def masked_scatter(x: Operand, mask: Operand, source: Operand) -> Tensor:
    """``x`` with the elements of ``source``, in row-major order, one after another where ``mask`` (broadcast) is true.

    Raises ShapeError where source has fewer elements than that. A step that calls it cannot be recorded.

    >>> dl.masked_scatter(dl.zeros(3), dl.tensor([True, False, True]), dl.tensor([5.0, 7.0]))
    tensor([5., 0., 7.])
    """

def masked_select(x: Operand, mask: Operand) -> Tensor:
    """The elements of ``x`` where ``mask`` is true, both broadcast, as a vector in row-major order.

    Its length depends on values, so a step that calls it cannot be recorded.

    >>> dl.masked_select(dl.tensor([1, 2, 3]), dl.tensor([True, False, True]))
    tensor([1, 3])
    """

def matmul(a: Operand, b: Operand, dtype: Any | None = None) -> Tensor:
    """The matrix product of `a` (..., M, K) and `b` (..., K, N): (..., M, N), the sums over k of a[m, k] b[k, n].

    Leading axes broadcast. A vector is a row on the left, a column on the right, and its axis is dropped from the
    result, as NumPy does it. Integers wrap around. `dtype`: operands are cast to it first, and it is the result's;
    int8 and uint8 with sums in int32 are multiplied as they are. Raises ShapeError where inner sizes differ or leading
    axes do not broadcast, DTypeError for bool.

    >>> dl.matmul(dl.tensor([[1.0, 2.0]]), dl.tensor([[3.0], [4.0]]))
    tensor([[11.]])
    """

def matrix_transpose(x: Operand) -> Tensor:
    """A view with the last two axes exchanged: matrices transposed, one by one. Raises ShapeError for fewer axes.

    >>> dl.matrix_transpose(dl.tensor([[1, 2], [3, 4]]))
    tensor([[1, 3],
            [2, 4]])
    """

@overload
def max(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """Largest element along `axis`; NaN where there is one.

    The gradient goes to the elements equal to it, in equal parts. Raises ShapeError where an axis is empty; other
    errors as in `sum`.

    >>> dl.max(dl.tensor([[1, 5], [7, 2]]), axis=0)
    tensor([7, 5])
    """
@overload
def max(x: Operand, other: Operand) -> Tensor: ...

def max_pool1d(input: Operand, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None, padding: int | Sequence[int] = 0, dilation: int | Sequence[int] = 1, ceil_mode: bool = False, return_indices: bool = False, layout: str = 'NCHW') -> Tensor:
    """The maxima of windows along one axis: (N, C, L) or (C, L) gives (N, C, L_out) or (C, L_out).

    Arguments, values and errors as in `max_pool2d`; with ``layout="NHWC"`` channels are the last axis.

    >>> dl.max_pool1d(dl.tensor([[1.0, 3.0, 2.0, 0.0]]), 2).tolist()
    [[3.0, 2.0]]
    """

def max_pool2d(input: Operand, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None, padding: int | Sequence[int] = 0, dilation: int | Sequence[int] = 1, ceil_mode: bool = False, return_indices: bool = False, layout: str = 'NCHW') -> Tensor:
    """The maxima of windows: (N, C, H, W) or (C, H, W) gives (N, C, H_out, W_out) or (C, H_out, W_out).

    ``kernel_size``, ``stride`` (default: the kernel's), ``padding`` and ``dilation``: a number, or one for each axis.
    H_out = floor((H + 2 padding - dilation (kernel - 1) - 1) / stride) + 1, with ``ceil_mode`` rounded up where the
    last window begins within the input or the padding before it. Padding counts as -inf. With ``return_indices`` the
    result is (maxima, indices): the flat index of each in its plane (int64), of equal ones the first, -1 where a window
    holds nothing but padding. NaN counts as the largest, the last one of several. ``layout="NHWC"``: (N, H, W, C).

    Floats, int8 to int64 and uint8; integers have no gradient. It goes to the maximum of each window, and is summed
    where windows overlap, in float32 or wider and a fixed order.

    Raises ShapeError where windows are larger than the padded input, padding is more than half a window, or a number is
    too small; DTypeError for other dtypes.

    >>> dl.max_pool2d(dl.tensor([[[1.0, 5.0], [4.0, 2.0]]]), 2, return_indices=True)
    (tensor([[[5.]]]), tensor([[[1]]]))
    """

def max_pool3d(input: Operand, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None, padding: int | Sequence[int] = 0, dilation: int | Sequence[int] = 1, ceil_mode: bool = False, return_indices: bool = False, layout: str = 'NCHW') -> Tensor:
    """The maxima of windows along three axes: (N, C, D, H, W) or (C, D, H, W).

    Arguments, values and errors as in `max_pool2d`; with ``layout="NHWC"`` channels are the last axis.

    >>> dl.max_pool3d(dl.arange(8.0).reshape(1, 2, 2, 2), 2).tolist()
    [[[[7.0]]]]
    """

def max_unpool1d(input: Operand, indices: Operand, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None, padding: int | Sequence[int] = 0, output_size: Sequence[int] | None = None, layout: str = 'NCHW') -> Tensor:
    """Zeros with the elements of ``input`` where ``indices`` say, the way back from `max_pool1d`; see `max_unpool2d`.

    >>> values, indices = dl.max_pool1d(dl.tensor([[1.0, 3.0, 2.0, 0.0]]), 2, return_indices=True)
    >>> dl.max_unpool1d(values, indices, 2).tolist()
    [[0.0, 3.0, 2.0, 0.0]]
    """

def max_unpool2d(input: Operand, indices: Operand, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None, padding: int | Sequence[int] = 0, output_size: Sequence[int] | None = None, layout: str = 'NCHW') -> Tensor:
    """Zeros with the elements of ``input`` where ``indices`` say: the way back from `max_pool2d`.

    ``indices``: flat in each plane, int64, of the shape of ``input`` (N, C, H, W) or (C, H, W). The output has
    (H - 1) stride - 2 padding + kernel rows, or ``output_size``, which says which of the inputs that pool to the same
    size it was. Of equal indices the last wins. The gradient gathers.

    Raises ShapeError for shapes that do not fit, IndexError for indices out of range, DTypeError for other indices.

    >>> values, indices = dl.max_pool2d(dl.tensor([[[1.0, 5.0], [4.0, 2.0]]]), 2, return_indices=True)
    >>> dl.max_unpool2d(values, indices, 2).tolist()
    [[[0.0, 5.0], [0.0, 0.0]]]
    """

def max_unpool3d(input: Operand, indices: Operand, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None, padding: int | Sequence[int] = 0, output_size: Sequence[int] | None = None, layout: str = 'NCHW') -> Tensor:
    """Zeros with the elements of ``input`` where ``indices`` say, the way back from `max_pool3d`; see `max_unpool2d`.

    >>> values, indices = dl.max_pool3d(dl.arange(8.0).reshape(1, 2, 2, 2), 2, return_indices=True)
    >>> dl.max_unpool3d(values, indices, 2).sum().item()
    7.0
    """

def maximum(a: Operand, b: Operand) -> Tensor:
    """The larger of a and b; NaN if either is. At ties the gradient is split half and half.

    >>> dl.maximum(dl.tensor([1, 5]), dl.tensor([3, 2]))
    tensor([3, 5])
    """

def mean(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False, dtype: Any | None = None) -> Tensor:
    """Arithmetic mean of the elements along `axis`: their sum, divided by their number in float64.

    Floats keep their dtype, bool and integers are added in float64 and give float32. `dtype`: the result's, to which
    floats are cast first. The mean of nothing is NaN. Errors as in `sum`.

    >>> dl.mean(dl.tensor([[1.0, 2.0], [3.0, 6.0]]), axis=1)
    tensor([1.5, 4.5])
    """

def median(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """The middle of the elements along `axis`; of an even number the mean of the middle two; NaN where there is one.

    This is NumPy's median. PyTorch's is the smaller one of the two, kthvalue(x, (n + 1) // 2), and returns indices too
    where it is given an axis. Raises IndexError for an axis out of range, ShapeError where one is empty or given twice.

    >>> dl.median(dl.tensor([4.0, 1.0, 3.0, 2.0])).item()
    2.5
    """

def meshgrid(*tensors: Operand, indexing: str = 'xy', sparse: bool = False, copy: bool = False) -> list[Tensor]:
    """Coordinates of a grid, one tensor for each vector given, as views broadcast to the grid's shape.

    ``indexing``: "ij": vector k runs along axis k; "xy": the first two the other way round (NumPy's default, PyTorch's
    is "ij"). ``sparse``: each has length 1 along the others' axes. ``copy``: in memory of their own.

    >>> x, y = dl.meshgrid(dl.tensor([1, 2]), dl.tensor([3, 4]), indexing="ij")
    >>> x.tolist(), y.tolist()
    ([[1, 1], [2, 2]], [[3, 4], [3, 4]])
    """

@overload
def min(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """Smallest element along `axis`; NaN where there is one.

    The gradient goes to the elements equal to it, in equal parts. Raises ShapeError where an axis is empty; other
    errors as in `sum`.

    >>> dl.min(dl.tensor([[1, 5], [7, 2]]), axis=0)
    tensor([1, 2])
    """
@overload
def min(x: Operand, other: Operand) -> Tensor: ...

def minimum(a: Operand, b: Operand) -> Tensor:
    """The smaller of a and b; NaN if either is. At ties the gradient is split half and half.

    >>> dl.minimum(dl.tensor([1, 5]), dl.tensor([3, 2]))
    tensor([1, 2])
    """

@overload
def mish(x: Operand) -> Tensor:
    """Mish x tanh(log(1 + e^x)) (https://arxiv.org/abs/1908.08681).

    >>> dl.mish(dl.tensor([0.0, 1.0])).round(4)
    tensor([0.    , 0.8651])
    """
@overload
def mish(x: Operand, *, inplace: bool) -> Tensor: ...

def mm(a: Operand, b: Operand) -> Tensor:
    """The product of two matrices, `a` (M, K) and `b` (K, N): (M, N). `matmul` without its rules for other shapes.

    Raises ShapeError for other numbers of axes, or where inner lengths differ.

    >>> dl.mm(dl.tensor([[1.0, 2.0]]), dl.tensor([[3.0], [4.0]]))
    tensor([[11.]])
    """

def mode(x: Operand, axis: int = -1, keepdims: bool = False) -> Tensor:
    """The values that are most frequent along ``axis``, the smallest of several, and the last place of each.

    (values, indices), both without the axis or (``keepdims``) with length 1. NaN equals NaN, and is the largest.
    Raises ShapeError along an axis without elements.

    >>> dl.mode(dl.tensor([3, 1, 2, 1, 3]))
    (tensor(1), tensor(3))
    """

def moveaxis(x: Operand, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """A view with the axes ``source`` at the places ``destination``, the others in their order.

    >>> dl.moveaxis(dl.zeros(2, 3, 4), 0, -1).shape
    (3, 4, 2)
    """

def mse_loss(input: Operand, target: Operand, reduction: Literal['none', 'mean', 'sum'] = 'mean') -> Tensor:
    """Squared error: (input - target)^2, averaged, summed, or one for each element.

    `input`, `target`: floats (integers become float32) of one shape; nothing is broadcast. The sum is accumulated in
    float32 within blocks and in float64 beyond; the mean of nothing is NaN. Raises ShapeError where shapes differ.

    >>> dl.mse_loss(dl.tensor([1.0, 2.0]), dl.tensor([1.0, 4.0]))
    tensor(2.)
    """

def msort(x: Operand) -> Tensor:
    """The elements of ``x`` in order along its first axis: sort(x, 0).

    >>> dl.msort(dl.tensor([[3, 1], [2, 5]])).tolist()
    [[2, 1], [3, 5]]
    """

def mul(a: Operand, b: Operand) -> Tensor:
    """Product a b; of bools their conjunction (and).

    >>> dl.mul(dl.tensor([1, 2]), dl.tensor([[10], [20]]))
    tensor([[10, 20],
            [20, 40]])
    """

def multi_margin_loss(input: Operand, target: Operand, p: int = 1, margin: float = 1.0, weight: Operand | None = None, reduction: str = 'mean') -> Tensor:
    """Hinge loss of several classes: sum over i != t of w[t] max(0, margin - x[t] + x[i])^p / C.

    `input`: (N, C) or (C,). `target`: class indices, (N,) or (). `p`: 1 or 2. `weight`: (C,). The mean is over samples.
    Raises IndexError for a label outside 0 .. C - 1.

    >>> dl.multi_margin_loss(dl.tensor([[0.5, 0.25]]), dl.tensor([0]))
    tensor(0.375)
    """

def mv(a: Operand, b: Operand) -> Tensor:
    """The product of a matrix `a` (M, K) and a vector `b` (K,): (M,). `matmul` without its rules for other shapes.

    Raises ShapeError for other numbers of axes, or where inner lengths differ.

    >>> dl.mv(dl.tensor([[1.0, 2.0], [3.0, 4.0]]), dl.tensor([1.0, 1.0]))
    tensor([3., 7.])
    """

def nan_to_num(x: Operand, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """x with numbers in the place of NaN and infinities: ``nan``, ``posinf`` and ``neginf``.

    A limit of None is the largest finite number of the dtype, or the smallest. Integers and bools stay as they are. The
    gradient is 0 where something was replaced.

    >>> dl.nan_to_num(dl.tensor([1.0, dl.tensor(0.0).log().item()]), neginf=-9)
    tensor([ 1., -9.])
    """

def nanargmax(x: Operand, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place of the largest element that is no NaN, along ``axis`` or (None) of all; 0 where all are NaN.

    >>> dl.nanargmax(dl.tensor([1.0, dl.nan, 3.0, 2.0]))
    tensor(2)
    """

def nanargmin(x: Operand, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place of the smallest element that is no NaN, along ``axis`` or (None) of all; 0 where all are NaN.

    >>> dl.nanargmin(dl.tensor([dl.nan, 3.0, 2.0]))
    tensor(2)
    """

def nancumprod(x: Operand, axis: int | None = None) -> Tensor:
    """Products of the elements up to each along ``axis`` or (None) of all in one line, NaN counting as 1.

    >>> dl.nancumprod(dl.tensor([2.0, dl.nan, 3.0]))
    tensor([2., 2., 6.])
    """

def nancumsum(x: Operand, axis: int | None = None) -> Tensor:
    """Sums of the elements up to each along ``axis`` or (None) of all in one line, NaN counting as 0.

    >>> dl.nancumsum(dl.tensor([1.0, dl.nan, 2.0]))
    tensor([1., 1., 3.])
    """

def nanmax(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """Largest along `axis` of the elements that are not NaN; NaN where there are none. Otherwise as `max`.

    >>> dl.nanmax(dl.tensor([1.0, dl.nan, 3.0]))
    tensor(3.)
    """

def nanmean(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean along `axis` of the elements that are not NaN; NaN where there are none. Otherwise as `mean`.

    >>> dl.nanmean(dl.tensor([1.0, float("nan"), 3.0])).item()
    2.0
    """

def nanmedian(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """The median of the elements along `axis` that are not NaN; NaN where there are none. Errors as in `median`.

    >>> dl.nanmedian(dl.tensor([4.0, float("nan"), 3.0])).item()
    3.5
    """

def nanmin(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """Smallest along `axis` of the elements that are not NaN; NaN where there are none. Otherwise as `min`.

    >>> dl.nanmin(dl.tensor([1.0, dl.nan, 3.0]))
    tensor(1.)
    """

def nanprod(x: Operand, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    """Product along ``axis`` of the elements that are not NaN; 1 where there are none. Otherwise as `prod`.

    >>> dl.nanprod(dl.tensor([2.0, dl.nan, 3.0]))
    tensor(6.)
    """

def nanquantile(x: Operand, q: float | Sequence[float] | Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False, method: Literal['linear', 'lower', 'higher', 'midpoint', 'nearest'] = 'linear') -> Tensor:
    """The quantile of the elements along `axis` that are not NaN; NaN where there are none. See `quantile`.

    >>> dl.nanquantile(dl.tensor([1.0, float("nan"), 3.0]), 0.5).item()
    2.0
    """

def nanstd(x: Operand, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, correction: float = 0.0) -> Tensor:
    """Standard deviation along ``axis`` of the elements that are not NaN: the square root of `nanvar`.

    >>> dl.nanstd(dl.tensor([1.0, dl.nan, 3.0]))
    tensor(1.)
    """

def nansum(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """Sum along `axis` of the elements that are not NaN; 0 where there are none. Otherwise as `sum`.

    >>> dl.nansum(dl.tensor([1.0, dl.nan, 3.0]))
    tensor(4.)
    """

def nanvar(x: Operand, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, correction: float = 0.0) -> Tensor:
    """Variance along ``axis`` of the elements that are not NaN; NaN where too few are left. Otherwise as `var`.

    >>> dl.nanvar(dl.tensor([1.0, dl.nan, 3.0]))
    tensor(1.)
    """

def narrow(x: Operand, axis: int, start: int, length: int) -> Tensor:
    """A view of ``length`` places along ``axis`` from ``start`` on. Raises IndexError where they leave x.

    >>> dl.narrow(dl.tensor([10, 20, 30, 40]), 0, 1, 2)
    tensor([20, 30])
    """

def ndim(x: Operand) -> int:
    """Number of axes.

    >>> dl.ndim(dl.zeros(2, 3))
    2
    """

def ne(a: Operand, b: Operand) -> Tensor:
    """Whether a differs from b, as bools; True where either is NaN.

    >>> dl.ne(dl.tensor([1, 2, 3]), 2)
    tensor([ True, False,  True])
    """

def neg(x: Operand) -> Tensor:
    """Negative -x.

    >>> dl.neg(dl.tensor([1, -2]))
    tensor([-1,  2])
    """

def nextafter(a: Operand, b: Operand) -> Tensor:
    """The number next to a in its dtype, towards b: b itself where they are equal; NaN if either is.

        From 0 the smallest subnormal number, from the largest one infinity. The gradient goes to a.

    >>> dl.nextafter(dl.tensor([1.0]), dl.tensor([2.0])) - 1
    tensor([1.1920929e-07])
    """

def nll_loss(input: Operand, target: Operand, weight: Operand | None = None, ignore_index: int = -100, reduction: Literal['none', 'mean', 'sum'] = 'mean') -> Tensor:
    """Negative log-likelihood of class indices, -w[t] input[t], where `input` holds logarithms of probabilities.

    `input`: (N, C), (N, C, d...) or (C,), as of `log_softmax(x, 1)`. `target`: (N,), (N, d...) or (), integers.
    `weight`: (C,), a constant. `ignore_index`: positions with this label count for nothing. The mean is divided by the
    sum of the weights of the labels that count; over nothing it is NaN. Sums run in float64. Raises IndexError for a
    label outside 0 .. C - 1. Of logits take cross_entropy, which is one pass.

    >>> dl.nll_loss(dl.log([[0.25, 0.75], [0.5, 0.5]]), dl.tensor([1, 0]), reduction="none")
    tensor([0.28768206, 0.6931472 ])
    """

@overload
def nonzero(x: Operand) -> Tensor:
    """The coordinates of all elements that are not zero (false), in row-major order: (count, ndim) int64.

    The shape depends on values, so a step that calls it cannot be recorded.

    >>> dl.nonzero(dl.tensor([[1, 0], [0, 2]]))
    tensor([[0, 0],
            [1, 1]])
    """
@overload
def nonzero(x: Operand, *, as_tuple: bool) -> Tensor | tuple[Tensor, ...]: ...

def norm(x: Operand, p: float | Literal["fro"] | None = 2.0, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """Norm of the vectors along `axis`: sum(|x|^p)^(1/p).

    `p`: 2 (or "fro") for the Euclidean length, 1 for the sum of absolute values, inf for the largest of them, -inf for
    the smallest, 0 for the number of elements that are not 0, or any other number. Of several axes all elements are one
    vector. Integers become float32; the norm of nothing is 0, of order -inf infinite. The gradient is 0 where the norm
    is 0; of order inf and -inf it goes to the elements that have it, in equal parts. Errors as in `sum`.

    >>> dl.norm(dl.tensor([3.0, 4.0])).item()
    5.0
    """

def numel(x: Operand) -> int:
    """Number of elements.

    >>> dl.numel(dl.zeros(2, 3))
    6
    """

def one_hot(x: Operand, num_classes: int = -1) -> Tensor:
    """Vectors of 0 with a 1 at the place that each element of ``x``, an integer, names: (*x.shape, classes) int64.

    ``num_classes``: -1: one more than the largest element, which is read back. Raises IndexError for one out of range,
    be it negative.

    >>> dl.one_hot(dl.tensor([0, 2]), 3).tolist()
    [[1, 0, 0], [0, 0, 1]]
    """

def outer(a: Operand, b: Operand) -> Tensor:
    """The products of each element of `a` with each of `b`: out[i, j] = a[i] b[j]. Other shapes are flattened first.

    >>> dl.outer(dl.tensor([1, 2]), dl.tensor([3, 4]))
    tensor([[3, 4],
            [6, 8]])
    """

def pad(x: Operand, pad_width: Operand, mode: str = 'constant', constant_values: Operand = 0) -> Tensor:
    """``x`` with more elements before and after along each axis: NumPy's `pad`.

    ``pad_width``: one number, one pair (before, after) for every axis, a pair for each, or a dict from axes to pairs.
    ``mode``: "constant" (``constant_values``: a number or pairs as above), "edge" or "replicate" (the outermost
    element), "reflect" (mirrored at it), "symmetric" (mirrored with it), "wrap" or "circular" (from the other end).

    >>> dl.pad(dl.tensor([1, 2, 3]), (2, 1), mode="reflect").tolist()
    [3, 2, 1, 2, 3, 2]
    """

def pairwise_distance(x1: Operand, x2: Operand, p: float = 2.0, eps: float = 1e-06, keepdims: bool = False) -> Tensor:
    """Distance of vectors along the last axis: the p-norm of x1 - x2 + eps. They broadcast. `p` may be infinite.

    >>> dl.pairwise_distance(dl.tensor([[0.0, 0.0]]), dl.tensor([[3.0, 4.0]])).round(4)
    tensor([5.])
    """

def partition(x: Operand, kth: Operand, axis: int | None = -1) -> Tensor:
    """`x` in an order in which element ``kth`` (an int or several) stands where sorting puts it.

    Smaller ones stand before it, larger ones behind. That is true of the sorted elements, which is what this gives.
    Raises IndexError where ``kth`` is out of range.

    >>> dl.partition(dl.tensor([4, 1, 3]), 1).tolist()
    [1, 3, 4]
    """

def percentile(x: Operand, q: Operand, axis: Operand | None = None, keepdims: bool = False, method: str = 'linear') -> Tensor:
    """The value below which ``q`` per cent of the elements along ``axis`` lie: quantile(x, q / 100, ...).

    Raises ValueError for a ``q`` that is not between 0 and 100.

    >>> dl.percentile(dl.tensor([1.0, 2.0, 3.0, 4.0]), 50).item()
    2.5
    """

def permute(x: Operand, axes: int | Sequence[int]) -> Tensor:
    """A view with the axes in another order: axis d of the output is axis `axes[d]` of `x`.

    >>> dl.permute(dl.zeros(2, 3, 4), (2, 0, 1)).shape
    (4, 2, 3)
    """

def pixel_shuffle(x: Operand, upscale_factor: int, layout: Literal['NCHW', 'NHWC'] = 'NCHW') -> Tensor:
    """Channels as places: `x` (..., C r r, H, W) gives (..., C, H r, W r), r = `upscale_factor`. Shi et al. 2016.

    out[c, h r + i, w r + j] = x[c r r + i r + j, h, w]. `layout`: "NHWC" where channels come last. Raises ShapeError
    where the channels are no multiple of r r.

    >>> dl.pixel_shuffle(dl.arange(4).reshape(4, 1, 1), 2).tolist()
    [[[0, 1], [2, 3]]]
    """

def pixel_unshuffle(x: Operand, downscale_factor: int, layout: Literal['NCHW', 'NHWC'] = 'NCHW') -> Tensor:
    """Places as channels: `x` (..., C, H r, W r) gives (..., C r r, H, W), r = `downscale_factor`.

    What `pixel_shuffle` undoes. `layout`: "NHWC" where channels come last. Raises ShapeError where height or width is
    no multiple of r.

    >>> dl.pixel_unshuffle(dl.arange(4).reshape(1, 2, 2), 2).tolist()
    [[[0]], [[1]], [[2]], [[3]]]
    """

def poisson_nll_loss(input: Operand, target: Operand, log_input: bool = True, full: bool = False, eps: float = 1e-08, reduction: str = 'mean') -> Tensor:
    """Negative log-likelihood of counts: e^x - t x, or without `log_input` x - t log(x + eps), x being the rate.

    `full`: with Stirling's approximation of log(t!), t log(t) - t + log(2 pi t) / 2, where t > 1.

    >>> dl.poisson_nll_loss(dl.tensor([0.0]), dl.tensor([2.0]))
    tensor(1.)
    """

def polyfit(x: Operand, y: Operand, deg: int, rtol: float | None = None, w: Operand | None = None) -> Tensor:
    """The coefficients (deg + 1,) of the polynomial that is nearest to the points (x, y) (M,), the highest power first.

    It has the smallest sum of squares of (y - p(x)) ``w``, w (M,) ones by default; of y (M, K) there is a column of
    coefficients for each: (deg + 1, K). ``rtol``: singular values below ``rtol`` times the largest count as 0. Raises
    ShapeError where shapes do not fit.

    >>> dl.polyfit(dl.tensor([0.0, 1.0, 2.0]), dl.tensor([1.0, 3.0, 5.0]), 1).round(4)
    tensor([2., 1.])
    """

def polygamma(n: int, x: Operand) -> Tensor:
    """The n-th derivative of `digamma`: (-1)^(n + 1) n! times the sum of (x + k)^-(n + 1) over k = 0, 1, 2, ...

    ``n``: 0 (digamma) to 20. It is computed in float64, whatever the dtype, and of x < 0 too; at -1, -2, ... it is
    infinite for odd n, NaN for even n. Raises ValueError for another n.

    >>> dl.round(dl.polygamma(1, dl.tensor([1.0, 0.5])), 4)
    tensor([1.6449, 4.9348])
    """

def polyval(p: Operand, x: Operand) -> Tensor:
    """The polynomial with coefficients ``p`` (N,), that of the highest power first, at ``x``: of the shape of x.

    >>> dl.polyval(dl.tensor([1.0, 0.0, 2.0]), dl.tensor([1.0, 3.0]))
    tensor([ 3., 11.])
    """

def positive(x: Operand) -> Tensor:
    """+x: a copy of a tensor of numbers. Raises DTypeError for bools.

    >>> dl.positive(dl.tensor([1, -2]))
    tensor([ 1, -2])
    """

def pow(a: Operand, b: Operand) -> Tensor:
    """Power a^b, as C's pow: 1 for b = 0 and for a = 1; a negative base needs an integer exponent, else NaN.

        Of integers an integer that wraps. Raises ValueError where one of them is to have a negative power.

    >>> dl.pow(dl.tensor([1.0, 2.0, 3.0]), 2)
    tensor([1., 4., 9.])
    """

def prelu(x: Operand, weight: Operand) -> Tensor:
    """Rectifier with a learned slope: x where it is positive, else x times `weight` (https://arxiv.org/abs/1502.01852).

    `x`: (N, C, ...) or any other shape. `weight`: one number, () or (1,), or (C,), one for each index of axis 1 (of
    axis 0 where x has no other). The gradient at 0 is `weight`. Raises ShapeError for another shape of it.

    >>> dl.prelu(dl.tensor([[-2.0, -2.0, 3.0]]), dl.tensor([0.5, 0.25, 0.25]))
    tensor([[-1. , -0.5,  3. ]])
    """

def prod(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False, dtype: Any | None = None) -> Tensor:
    """Product of the elements along `axis`.

    Floats keep their dtype and are multiplied in float64 (on a GPU in float32 or wider); bool and signed
    integers give int64, unsigned ones uint64, which wrap. `dtype`: x is cast to it first, and it is the result's. The
    product of nothing is 1. The gradient is right where elements are 0. Errors as in `sum`.

    >>> dl.prod(dl.tensor([[1, 2], [3, 4]]), axis=0).tolist()
    [3, 8]
    """

def ptp(x: Operand, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    """Range of the elements along ``axis``, from peak to peak: max(x) - min(x). Errors as of `max`; no bools.

    >>> dl.ptp(dl.tensor([3, 1, 7]))
    tensor(6)
    """

def put_along_axis(x: Operand, indices: Operand, values: Operand, axis: int | None) -> None:
    """Writes ``values`` into ``x`` at ``indices`` along ``axis``: x[i, indices[i, j]] = values[i, j] for axis 1.

    The other axes go together and broadcast, ``values`` too. Of equal indices the last wins.

    >>> x = dl.tensor([[1, 2], [3, 4]])
    >>> dl.put_along_axis(x, dl.tensor([[1], [0]]), 0, 1)
    >>> x
    tensor([[1, 0],
            [0, 4]])
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

def quantile_loss(input: Operand, target: Operand, quantile: float = 0.5, reduction: str = 'mean') -> Tensor:
    """Pinball loss, least at the quantile of the target: max(q d, (q - 1) d), d = target - input.

    `quantile` q in [0, 1]: 0.9 charges nine times as much for an input that is too low as for one too high.

    >>> dl.quantile_loss(dl.tensor([0.0, 2.0]), dl.tensor([1.0, 1.0]), 0.75, reduction="none")
    tensor([0.75, 0.25])
    """

def rad2deg(x: Operand) -> Tensor:
    """Radians in degrees: x 180 / pi.

    >>> dl.rad2deg(dl.tensor([0.0, dl.pi])).round(4)
    tensor([  0., 180.])
    """

def ravel(x: Operand) -> Tensor:
    """The elements in row-major order along one axis; a view where strides allow, else a copy.

    >>> dl.ravel(dl.tensor([[1, 2], [3, 4]]))
    tensor([1, 2, 3, 4])
    """

def ravel_multi_index(multi_index: Sequence[Operand], dims: int | Sequence[int], mode: str = 'raise') -> Tensor:
    """The row-major numbers, in an array of shape ``dims``, of elements given by coordinates: the inverse of
    `unravel_index`.

    ``mode``: what becomes of a coordinate out of range: "raise" IndexError (negative ones count from the end), "wrap"
    or "clip".

    >>> dl.ravel_multi_index((dl.tensor([0, 1]), dl.tensor([1, 2])), (2, 3))
    tensor([1, 5])
    """

def real(numbers: Operand) -> Tensor:
    """The real part of ``numbers``: themselves, for dlcore has real numbers alone.

    >>> dl.real(dl.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """

def reciprocal(x: Operand) -> Tensor:
    """Reciprocal 1 / x.

    >>> dl.reciprocal(dl.tensor([1.0, 4.0]))
    tensor([1.  , 0.25])
    """

def reglu(gate: Operand, up: Operand | None = None, axis: int = -1) -> Tensor:
    """relu(gate) up, of two tensors of one shape, or of the halves of `gate` along `axis`, the gate first.

    Raises ShapeError where shapes differ, or the axis has no even length. Shazeer 2020
    (https://arxiv.org/abs/2002.05202).

    >>> dl.reglu(dl.tensor([-1.0, 2.0, 3.0, 3.0]))
    tensor([0., 6.])
    """

@overload
def relu(x: Operand) -> Tensor:
    """Rectifier max(x, 0). The gradient at 0 is 0.

    >>> dl.relu(dl.tensor([-1.0, 0.0, 2.0]))
    tensor([0., 0., 2.])
    """
@overload
def relu(x: Operand, *, inplace: bool) -> Tensor: ...

@overload
def relu6(x: Operand) -> Tensor:
    """Rectifier with an upper limit, min(max(x, 0), 6). The gradient is 0 at both limits.

    >>> dl.relu6(dl.tensor([-1.0, 3.0, 7.0]))
    tensor([0., 3., 6.])
    """
@overload
def relu6(x: Operand, *, inplace: bool) -> Tensor: ...

@overload
def relu_backward(dout: Operand, out: Operand) -> Tensor:
    """Gradient of relu: dout where out > 0, else 0.

    >>> dl.relu_backward(dl.tensor([5.0, 5.0]), dl.relu(dl.tensor([-1.0, 2.0])))
    tensor([0., 5.])
    """
@overload
def relu_backward(dout: Operand, out: Operand, *, inplace: bool) -> Tensor: ...

def remainder(a: Operand, b: Operand) -> Tensor:
    """Remainder a - b floor(a / b), with the divisor's sign, as Python's %; integers modulo 0 give 0.

    >>> dl.remainder(dl.tensor([7, -7]), 3)
    tensor([1, 2])
    """

def repeat(x: Operand, repeats: int | Sequence[int], axis: int | None = None) -> Tensor:
    """``x`` with each element along ``axis`` (None: of all, flattened) repeated: NumPy's `repeat`.

    ``repeats``: how often, one number or one for each place. PyTorch's `Tensor.repeat` is `tile`.

    >>> dl.repeat(dl.tensor([1, 2]), [2, 3]).tolist()
    [1, 1, 2, 2, 2]
    """

def repeat_interleave(x: Operand, repeats: int | Sequence[int], axis: int | None = None) -> Tensor:
    """``x`` with each element along ``axis`` (None: of all, flattened) repeated: `repeat` under PyTorch's name.

    >>> dl.repeat_interleave(dl.tensor([1, 2]), 2)
    tensor([1, 1, 2, 2])
    """

def reshape(x: Operand, shape: int | Sequence[int]) -> Tensor:
    """The same elements, in row-major order, in another shape; a view where strides allow, else a copy.

    One length of `shape` may be -1: it is found from the number of elements. Raises ShapeError where that differs.

    >>> dl.reshape(dl.arange(6), (2, -1))
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """

def reshape_as(x: Operand, other: Operand) -> Tensor:
    """The elements of ``x`` in the shape of ``other``.

    >>> dl.reshape_as(dl.arange(4), dl.zeros(2, 2))
    tensor([[0, 1],
            [2, 3]])
    """

def rms_norm(input: Operand, normalized_shape: int | Sequence[int], weight: Operand | None = None, eps: float | None = None) -> Tensor:
    """`input` with each row divided by the root of its mean square: x / sqrt(mean(x^2) + eps) * weight (Zhang 2019).

    A row is what lies along the last axes, whose lengths `normalized_shape` says; `weight` has that shape or is None.
    ``eps`` None: that of float32 (of float64 for float64). Raises ShapeError where shapes do not fit.

    >>> dl.rms_norm(dl.tensor([[3.0, 4.0]]), 2) * 12.5**0.5
    tensor([[3., 4.]])
    """

def roll(x: Operand, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Tensor:
    """``x`` with the elements moved on by ``shift`` places along ``axis``; what leaves at the end enters in front.

    ``shift`` and ``axis``: one or several each. None: the elements move in row-major order.

    >>> dl.roll(dl.tensor([1, 2, 3]), 1)
    tensor([3, 1, 2])
    """

def rot90(x: Operand, k: int = 1, axes: Sequence[int] = (0, 1)) -> Tensor:
    """A view turned by ``k`` quarters in the plane of two ``axes``, from the first towards the second.

    >>> dl.rot90(dl.tensor([[1, 2], [3, 4]]))
    tensor([[2, 4],
            [1, 3]])
    """

def rotary_embedding(x: Operand, cos: Operand, sin: Operand, positions: Operand | None = None, interleaved: bool = False, layout: Literal['BHTD', 'BTHD'] = 'BHTD', heads: int | None = None, inverse: bool = False) -> Tensor:
    """`x` with pairs of features turned by the angle of their position (rotary embedding, RoPE).

    A pair (a, b) at position p becomes (a c - b s, b c + a s), c = cos[p, i] and s = sin[p, i] for its i-th pair.

    `x`: (..., H, T, D), or (..., T, H, D) with ``layout="BTHD"``; heads may be left out of the first: (T, D). Of any
    strides: the output is contiguous. `cos`, `sin`: (P, R / 2), a row for each position, constants, in float32 or
    wider; of D features the first R turn, the others stay. `positions`: integers in device memory: None for
    0 .. T - 1; 0-d, the position of the first; or (T,) to (..., T), one for each (the axes of heads left out).
    `interleaved`: pairs are neighbours (2 i, 2 i + 1), as in GPT-J, else (i, i + R / 2), as in GPT-NeoX and Llama.
    `heads`: how many of the heads turn, the others stay, as the values of a packed (q, k, v) do. `inverse`: by
    the negative angle, which is the gradient.

    Computed in float32 or wider and rounded once. Raises ShapeError where shapes do not fit, DTypeError for positions
    that are no integers, IndexError, before anything is written, for a position without a row in the tables.
    Su et al. 2021 (https://arxiv.org/abs/2104.09864).

    >>> dl.rotary_embedding(dl.ones(2, 2), dl.tensor([[1.0], [0.0]]), dl.tensor([[0.0], [1.0]]))
    tensor([[ 1.,  1.],
            [-1.,  1.]])
    """

def round(x: Operand, decimals: int = 0) -> Tensor:
    """The nearest whole number, at ties the even one; or with ``decimals`` digits behind the point.

    rint(x 10^decimals) / 10^decimals, computed in float64; what has no such digits, or no room for them, stays as it
    is. Negative ``decimals`` round to tens, hundreds, ..., integers too, which wrap where they leave the dtype.

    >>> dl.round(dl.tensor([0.5, 1.5, 2.675]), decimals=2)
    tensor([0.5 , 1.5 , 2.67])
    """

def rsqrt(x: Operand) -> Tensor:
    """Reciprocal square root 1 / sqrt(x); NaN of negative numbers.

    >>> dl.rsqrt(dl.tensor([1.0, 4.0]))
    tensor([1. , 0.5])
    """

def scatter(x: Operand, axis: int, index: Operand, src: Operand, reduce: str | None = None) -> Tensor:
    """A copy of ``x`` with elements of ``src`` where ``index`` says along ``axis`` (torch.scatter).

    For axis 0 of a matrix: out[index[i, j], j] = src[i, j]. ``index`` has as many axes as x and is no longer along the
    others; ``src``, a number or a tensor, covers it. Of equal indices the last wins. ``reduce``: None, or how elements
    are put together with x and each other, see `scatter_reduce`.

    >>> dl.scatter(dl.zeros(3), 0, dl.tensor([2, 0]), dl.tensor([5.0, 7.0]))
    tensor([7., 0., 5.])
    """

def scatter_add(x: Operand, axis: int, index: Operand, src: Operand) -> Tensor:
    """A copy of ``x`` to which elements of ``src`` are added where ``index`` says along ``axis``; see `scatter`.

    Sums are in float32 or wider and in the order of the indices: the same bits at every call.

    >>> dl.scatter_add(dl.zeros(2), 0, dl.tensor([0, 0, 1]), dl.tensor([1.0, 2.0, 3.0]))
    tensor([3., 3.])
    """

def scatter_reduce(x: Operand, axis: int, index: Operand, src: Operand, reduce: str, include_self: bool = True) -> Tensor:
    """A copy of ``x`` with elements of ``src`` put together where ``index`` says along ``axis``; see `scatter`.

    ``reduce``: "sum", "prod", "mean" (of integers rounded down), "amax" or "amin". ``include_self``: whether x's own
    elements count; those to which no index points stay in any case. Equal extrema share the gradient.

    >>> dl.scatter_reduce(dl.zeros(2), 0, dl.tensor([0, 0, 1]), dl.tensor([1.0, 2.0, 3.0]), "amax")
    tensor([2., 3.])
    """

def searchsorted(x: Operand, values: Operand, side: str = 'left', sorter: Operand | None = None, *, right: bool = False) -> Tensor:
    """Where ``values`` would be inserted into the sorted sequence ``x`` to keep it in order (int64, of their shape).

    ``x`` (N,) and values of any shape, or ``x`` (..., N) and values (..., M), row by row. ``side`` "left": the number
    of elements that are smaller; "right" (also ``right`` True): of those that are not larger. NaN counts as the
    largest. ``sorter``: integers that put ``x`` in order along its last axis, `argsort(x)`. Where ``x`` is in no
    order, so is the result.

    Raises ShapeError where shapes do not fit together, IndexError for an index of the sorter out of range.

    >>> dl.searchsorted(dl.tensor([1, 3, 3, 7]), dl.tensor([3, 8])).tolist()
    [1, 4]
    """

def select(x: Operand, axis: int, index: int) -> Tensor:
    """A view at one place along ``axis``, without that axis. Raises IndexError for an index out of range.

    >>> dl.select(dl.tensor([[1, 2], [3, 4]]), 1, 0)
    tensor([1, 3])
    """

@overload
def selu(x: Operand) -> Tensor:
    """Self-normalising unit: 1.0507 times elu(x, 1.67326) (https://arxiv.org/abs/1706.02515).

    >>> dl.selu(dl.tensor([0.0, 1.0])).round(4)
    tensor([0.    , 1.0507])
    """
@overload
def selu(x: Operand, *, inplace: bool) -> Tensor: ...

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

def shape(x: Operand) -> tuple[int, ...]:
    """Lengths of the axes.

    >>> dl.shape(dl.zeros(2, 3))
    (2, 3)
    """

@overload
def sigmoid(x: Operand) -> Tensor:
    """Logistic function 1 / (1 + e^-x), accurate in the lower tail.

    >>> dl.sigmoid(dl.tensor([0.0, 2.0])).round(4)
    tensor([0.5   , 0.8808])
    """
@overload
def sigmoid(x: Operand, *, inplace: bool) -> Tensor: ...

@overload
def sigmoid_backward(dout: Operand, out: Operand) -> Tensor:
    """Gradient of sigmoid: dout out (1 - out).

    >>> dl.sigmoid_backward(dl.tensor([1.0]), dl.sigmoid(dl.tensor([0.0])))
    tensor([0.25])
    """
@overload
def sigmoid_backward(dout: Operand, out: Operand, *, inplace: bool) -> Tensor: ...

def sign(x: Operand) -> Tensor:
    """Sign of x: -1, 0 or 1; NaN of NaN. Its gradient is 0.

    >>> dl.sign(dl.tensor([-2.0, 0.0, 3.0]))
    tensor([-1.,  0.,  1.])
    """

def signbit(x: Operand) -> Tensor:
    """Whether the sign of each element is minus, of zeros and NaN too, as bools.

    >>> dl.signbit(dl.tensor([-1.0, 0.0, -0.0]))
    tensor([ True, False,  True])
    """

@overload
def silu(x: Operand) -> Tensor:
    """Sigmoid linear unit x / (1 + e^-x), also called swish (https://arxiv.org/abs/1702.03118).

    >>> dl.silu(dl.tensor([0.0, 1.0])).round(4)
    tensor([0.    , 0.7311])
    """
@overload
def silu(x: Operand, *, inplace: bool) -> Tensor: ...

def sin(x: Operand) -> Tensor:
    """Sine of x in radians; NaN of infinities.

    >>> dl.sin(dl.tensor([0.0, 1.0])).round(4)
    tensor([0.    , 0.8415])
    """

def sinc(x: Operand) -> Tensor:
    """Normalised sine sin(pi x) / (pi x), 1 at 0; 0 of other whole numbers, NaN of infinities.

    >>> dl.sinc(dl.tensor([0.0, 0.5])).round(4)
    tensor([1.    , 0.6366])
    """

def sinh(x: Operand) -> Tensor:
    """Hyperbolic sine (e^x - e^-x) / 2.

    >>> dl.sinh(dl.tensor([0.0, 1.0])).round(4)
    tensor([0.    , 1.1752])
    """

def size(x: Operand, axis: int | None = None) -> int:
    """Number of elements, or the length of ``axis``.

    >>> dl.size(dl.zeros(2, 3))
    6
    """

def sliding_window_view(x: Operand, window_shape: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Tensor:
    """All windows of ``window_shape`` along ``axis`` (one axis or several; None: all), as a view.

    The axes of x get shorter by the windows' lengths less 1; the windows' axes come last, as in NumPy. Where windows
    overlap their gradients add up. Raises ShapeError where a window does not fit.

    >>> dl.sliding_window_view(dl.arange(5), 3).tolist()
    [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    """

def smooth_l1_loss(input: Operand, target: Operand, reduction: Literal['none', 'mean', 'sum'] = 'mean', beta: float = 1.0) -> Tensor:
    """Absolute error with a round bottom: d^2 / (2 beta) where |d| < beta, else |d| - beta / 2, d = input - target.

    `input`, `target`: floats (integers become float32) of one shape. `beta` 0 gives l1_loss. Girshick 2015. Raises
    ShapeError where shapes differ, ValueError for a negative `beta`.

    >>> dl.smooth_l1_loss(dl.tensor([1.0, 2.0]), dl.tensor([1.0, 5.0]))
    tensor(1.25)
    """

def soft_margin_loss(input: Operand, target: Operand, reduction: str = 'mean') -> Tensor:
    """Logistic loss of a target of -1 and 1: log(1 + e^(-t x)). Nothing overflows.

    >>> dl.soft_margin_loss(dl.tensor([0.0]), dl.tensor([1.0])).round(4)
    tensor(0.6931)
    """

@overload
def softmax(x: Operand, axis: int = -1) -> Tensor:
    """Probabilities along `axis`: exp(x - max(x)) / sum(exp(x - max(x))).

    Sums are accumulated in float32 within blocks and in float64 beyond. A line that holds +inf or NaN, or nothing but
    -inf, gives NaN. Integers become float32. Raises IndexError for an axis out of range.

    >>> dl.softmax(dl.tensor([0.0, 0.0, 0.0, 0.0]))
    tensor([0.25, 0.25, 0.25, 0.25])
    """
@overload
def softmax(x: Operand, axis: int = -1, *, dim: int | None = None, dtype: Any | None) -> Tensor: ...

def softmin(x: Operand, axis: int = -1) -> Tensor:
    """Probabilities along ``axis`` that fall as x rises: the `softmax` of -x.

    >>> dl.softmin(dl.tensor([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """

@overload
def softplus(x: Operand, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Smooth rectifier log(1 + e^(beta x)) / beta; x itself where beta x is above `threshold`.

    >>> dl.softplus(dl.tensor([0.0, 100.0])).round(4)
    tensor([  0.6931, 100.    ])
    """
@overload
def softplus(x: Operand, beta: float = 1.0, threshold: float = 20.0, *, inplace: bool) -> Tensor: ...

@overload
def softshrink(x: Operand, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by `lambd`: x - lambd above lambd, x + lambd below -lambd, else 0.

    Raises ValueError for a negative `lambd`.

    >>> dl.softshrink(dl.tensor([-2.0, 0.25, 2.0]))
    tensor([-1.5,  0. ,  1.5])
    """
@overload
def softshrink(x: Operand, lambd: float = 0.5, *, inplace: bool) -> Tensor: ...

@overload
def softsign(x: Operand) -> Tensor:
    """Softsign x / (1 + |x|).

    >>> dl.softsign(dl.tensor([-1.0, 0.0, 3.0]))
    tensor([-0.5 ,  0.  ,  0.75])
    """
@overload
def softsign(x: Operand, *, inplace: bool) -> Tensor: ...

def sort(x: Operand, axis: int | None = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The elements of `x` in order along `axis`, smallest first or, with `descending`, largest first.

    `axis`: an int, or None for all elements in one line. Any dtype. NaN counts as the largest: it comes last, with
    `descending` first, as in PyTorch. -0.0 equals 0.0; equal elements keep their order, whatever `stable` says. The
    gradient goes to where each element came from.

    Raises IndexError for an axis out of range.

    >>> dl.sort(dl.tensor([3, 1, 2]), descending=True).tolist()
    [3, 2, 1]
    """

def split(x: Operand, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """The parts of ``x`` along ``axis``, a list of views.

    ``indices_or_sections``: the number of equal parts (NumPy's meaning; PyTorch's is their length: see `chunk`), or the
    places before which x is cut. Raises ShapeError where equal parts are impossible.

    >>> [part.tolist() for part in dl.split(dl.arange(5), [1, 3])]
    [[0], [1, 2], [3, 4]]
    """

def sqrt(x: Operand) -> Tensor:
    """Square root; NaN of negative numbers.

    >>> dl.sqrt(dl.tensor([4.0, 9.0]))
    tensor([2., 3.])
    """

def square(x: Operand) -> Tensor:
    """Square x^2.

    >>> dl.square(dl.tensor([-2, 3]))
    tensor([4, 9])
    """

def squeeze(x: Operand, axis: int | Sequence[int] | None = None) -> Tensor:
    """A view without its axes of length 1, or without those in ``axis``.

    Raises ShapeError where an axis named has another length or is given twice.

    >>> dl.squeeze(dl.zeros(1, 3, 1)).shape
    (3,)
    """

def stack(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """The tensors, all of one shape, along a new axis at ``axis``. Raises ShapeError where shapes differ.

    >>> dl.stack([dl.tensor([1, 2]), dl.tensor([3, 4])], axis=1)
    tensor([[1, 3],
            [2, 4]])
    """

def std(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False, correction: float = 0.0) -> Tensor:
    """Standard deviation of the elements along `axis`: the square root of `var`, with its arguments.

    The gradient is 0 where all elements are equal.

    >>> dl.std(dl.tensor([1.0, 1.0, 3.0, 3.0])).item()
    1.0
    """

def std_mean(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False, correction: float = 0.0) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean of the elements along `axis` in one pass: (std, mean). Arguments as of `var`.

    >>> [t.item() for t in dl.std_mean(dl.tensor([1.0, 3.0]))]
    [1.0, 2.0]
    """

@overload
def sub(a: Operand, b: Operand) -> Tensor:
    """Difference a - b. Raises DTypeError for bools: use logical_xor.

    >>> dl.sub(dl.tensor([5, 7]), 2)
    tensor([3, 5])
    """
@overload
def sub(a: Operand, b: Operand, *, alpha: float) -> Tensor: ...

def sum(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False, dtype: Any | None = None) -> Tensor:
    """Sum of the elements along `axis`.

    Floats keep their dtype and are accumulated in float32 within blocks of 4096, in float64 beyond; bool and signed
    integers give int64, unsigned ones uint64. `dtype`: x is cast to it first, and it is the result's. The sum of
    nothing is 0. Raises IndexError for an axis out of range, ShapeError for one given twice.

    >>> dl.sum(dl.tensor([[1, 2], [3, 4]]), axis=0)
    tensor([4, 6])
    """

def swapaxes(x: Operand, axis1: int, axis2: int) -> Tensor:
    """A view with two axes exchanged.

    >>> dl.swapaxes(dl.zeros(2, 3, 4), 0, 2).shape
    (4, 3, 2)
    """

def swiglu(gate: Operand, up: Operand | None = None, axis: int = -1) -> Tensor:
    """silu(gate) up, of two tensors of one shape, or of the halves of `gate` along `axis`, the gate first.

    Rounded once. Raises ShapeError where shapes differ, or the axis has no even length. Shazeer 2020
    (https://arxiv.org/abs/2002.05202).

    >>> dl.swiglu(dl.tensor([0.0, 20.0, 3.0, 3.0]))
    tensor([ 0., 60.])
    """

def take(x: Operand, indices: Operand, axis: int = 0) -> Tensor:
    """The elements (rows) of `x` at `indices` along `axis`: out[..., i, ...] = x[..., indices[i], ...].

    x (A, N, B), indices of any shape I: the output has shape (A, I, B). The gradient adds up rows that were taken more
    than once, in the order of the indices.

    >>> dl.take(dl.tensor([10, 20, 30]), dl.tensor([2, 0]))
    tensor([30, 10])
    """

def take_along_axis(x: Operand, indices: Operand, axis: int | None = -1) -> Tensor:
    """The elements of ``x`` at ``indices`` along ``axis``, whose other axes go together and broadcast.

    For axis 1 of a matrix: out[i, j] = x[i, indices[i, j]]: what `argsort` and `argmax` (with keepdims) answer. With
    axis=None x is flattened. Raises IndexError for an index out of range.

    >>> dl.take_along_axis(dl.tensor([[1, 2], [3, 4]]), dl.tensor([[1], [0]]), 1)
    tensor([[2],
            [3]])
    """

def tan(x: Operand) -> Tensor:
    """Tangent of x in radians; NaN of infinities.

    >>> dl.tan(dl.tensor([0.0, 1.0])).round(4)
    tensor([0.    , 1.5574])
    """

@overload
def tanh(x: Operand) -> Tensor:
    """Hyperbolic tangent.

    >>> dl.tanh(dl.tensor([0.0, 1.0])).round(4)
    tensor([0.    , 0.7616])
    """
@overload
def tanh(x: Operand, *, inplace: bool) -> Tensor: ...

@overload
def tanh_backward(dout: Operand, out: Operand) -> Tensor:
    """Gradient of tanh: dout (1 - out^2).

    >>> dl.tanh_backward(dl.tensor([1.0]), dl.tanh(dl.tensor([0.0])))
    tensor([1.])
    """
@overload
def tanh_backward(dout: Operand, out: Operand, *, inplace: bool) -> Tensor: ...

def tanhshrink(x: Operand) -> Tensor:
    """What tanh takes away, x - tanh(x).

    >>> dl.tanhshrink(dl.tensor([0.0, 2.0]))
    tensor([0.       , 1.0359724])
    """

def tensordot(a: Operand, b: Operand, axes: int | Sequence[int] | Sequence[Sequence[int]] = 2) -> Tensor:
    """The sums of products over pairs of axes; the others follow each other, those of `a` first.

    `axes`: a number n, for the last n of `a` and the first n of `b`; or two sequences, axes of `a` and of `b` that go
    together. Raises ShapeError where lengths of a pair differ, IndexError for an axis out of range.

    >>> dl.tensordot(dl.ones(2, 3, 4), dl.ones(3, 4, 5), axes=2).shape
    (2, 5)
    """

@overload
def threshold(x: Operand, threshold: float, value: float) -> Tensor:
    """x where it is above `threshold`, else `value`. The gradient at the threshold is 0.

    >>> dl.threshold(dl.tensor([-1.0, 0.5, 2.0]), 1.0, 0.0)
    tensor([0., 0., 2.])
    """
@overload
def threshold(x: Operand, threshold: float, value: float, *, inplace: bool) -> Tensor: ...

def tile(x: Operand, reps: int | Sequence[int]) -> Tensor:
    """``x`` repeated as a whole, ``reps`` times along each axis (of the last axes where there are fewer numbers).

    >>> dl.tile(dl.tensor([1, 2]), (2, 2))
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """

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

def trace(x: Operand, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The sum of a diagonal: of the elements whose place along ``axis2`` is that along ``axis1`` plus ``offset``.

    >>> dl.trace(dl.tensor([[1, 2], [3, 4]]))
    tensor(5)
    """

def transpose(x: Operand, axis0: int = -2, axis1: int = -1, *axes: int) -> Tensor:
    """A view with two axes exchanged. Raises IndexError for an axis out of range.

    NumPy's other calls, ``transpose(x, (2, 0, 1))`` and ``x.transpose(2, 0, 1)``, name all axes: `permute`.

    >>> dl.transpose(dl.tensor([[1, 2, 3]])).shape
    (3, 1)
    """

def trapezoid(y: Operand, x: Operand | None = None, dx: float = 1.0, axis: int = -1) -> Tensor:
    """Integral of ``y`` along ``axis`` by the trapezoidal rule: the sum of (y[i + 1] + y[i]) / 2 (x[i + 1] - x[i]).

    ``x``: where the samples lie, with one axis of their number or of the shape of y; without it they are ``dx`` apart.
    Integers become float32. Raises IndexError for an axis out of range, ShapeError where x does not fit y.

    >>> dl.trapezoid(dl.tensor([1.0, 2.0, 4.0])).item()
    4.5
    """

def tril(x: Operand, k: int = 0) -> Tensor:
    """The lower triangles of the matrices in `x`, zeros above: what lies at most `k` places right of the diagonal.

    >>> dl.tril(dl.tensor([[1, 2], [3, 4]]))
    tensor([[1, 0],
            [3, 4]])
    """

def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Tensor, ...]:
    """(rows, columns) of the lower triangle of a matrix (n, m), in row-major order; see `tril`. As an index: x[...].

    >>> dl.tril_indices(2)
    (tensor([0, 1, 1]), tensor([0, 0, 1]))
    """

def triplet_margin_loss(anchor: Operand, positive: Operand, negative: Operand, margin: float = 1.0, p: float = 2.0, eps: float = 1e-06, swap: bool = False, reduction: str = 'mean') -> Tensor:
    """Loss of triplets of vectors: max(0, margin + d(anchor, positive) - d(anchor, negative)), d `pairwise_distance`.

    `anchor`, `positive`, `negative`: (N, D) or (D,). `swap`: the smaller one of d(anchor, negative) and
    d(positive, negative) is taken (Balntas et al. 2016).

    >>> dl.triplet_margin_loss(dl.tensor([[0.0]]), dl.tensor([[1.0]]), dl.tensor([[1.5]])).round(4)
    tensor(0.5)
    """

def triu(x: Operand, k: int = 0) -> Tensor:
    """The upper triangles of the matrices in `x`, zeros below: what lies at least `k` places right of the diagonal.

    >>> dl.triu(dl.tensor([[1, 2], [3, 4]]))
    tensor([[1, 2],
            [0, 4]])
    """

def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Tensor, ...]:
    """(rows, columns) of the upper triangle of a matrix (n, m), in row-major order; see `triu`. As an index: x[...].

    >>> dl.triu_indices(2)
    (tensor([0, 0, 1]), tensor([0, 1, 1]))
    """

def trunc(x: Operand) -> Tensor:
    """x without its fraction: the next whole number towards 0. Integers stay as they are.

    >>> dl.trunc(dl.tensor([1.7, -1.7]))
    tensor([ 1., -1.])
    """

def unbind(x: Operand, axis: int = 0) -> tuple[Tensor, ...]:
    """The views of ``x`` at each place along ``axis``, which they have no more.

    >>> [t.tolist() for t in dl.unbind(dl.tensor([[1, 2], [3, 4]]))]
    [[1, 2], [3, 4]]
    """

def unflatten(x: Operand, axis: int, sizes: Sequence[int]) -> Tensor:
    """A view with one axis made several of lengths ``sizes``, of which one may be -1: the inverse of `flatten`.

    >>> dl.unflatten(dl.zeros(2, 12), 1, (3, 4)).shape
    (2, 3, 4)
    """

def unfold(x: Operand, axis: int, size: int, step: int = 1) -> Tensor:
    """Windows of `size` elements along `axis`, every `step` elements one, as a view: the windows' axis comes last.

    x (A, N, B) gives (A, (N - size) // step + 1, B, size). Where windows overlap their gradients add up.

    >>> dl.unfold(dl.arange(5), 0, 3, 2)
    tensor([[0, 1, 2],
            [2, 3, 4]])
    """

def union1d(x: Operand, y: Operand) -> Tensor:
    """The distinct elements of ``x`` and ``y`` in order, in one axis.

    >>> dl.union1d(dl.tensor([3, 1]), dl.tensor([1, 2])).tolist()
    [1, 2, 3]
    """

def unique(x: Operand, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False, axis: int | None = None, *, equal_nan: bool = True) -> Tensor:
    """The distinct elements of ``x`` in order, in one axis; with what is asked for besides, a tuple in this order:

    ``return_index``: where each stands first in the flattened ``x``; ``return_inverse``: which of them each element
    of ``x`` is, in its shape; ``return_counts``: how often each is there; all int64. NaNs are one element, or
    (``equal_nan`` False) distinct, as numpy.unique has it; PyTorch's are distinct.

    With an ``axis`` the distinct parts along it (rows for 0), ordered by their first elements that differ; NaNs are
    distinct then, and the inverse has one axis. A part of m elements takes m sorts.

    Raises IndexError for an axis out of range, ShapeError where the parts along it are empty.

    >>> values, counts = dl.unique(dl.tensor([3, 1, 3]), return_counts=True)
    >>> values.tolist(), counts.tolist()
    ([1, 3], [1, 2])
    """

def unique_all(x: Operand) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(values, indices, inverse_indices, counts) of the distinct elements of ``x``; see `unique`. NaNs are distinct.

    >>> dl.unique_all(dl.tensor([3, 1, 3])).inverse_indices.tolist()
    [1, 0, 1]
    """

def unique_consecutive(x: Operand, return_inverse: bool = False, return_counts: bool = False) -> Tensor:
    """The first of each run of equal elements of x, read as one line; with what else is asked for in a tuple.

    ``return_inverse``: the number of the run of each element, of the shape of x; ``return_counts``: the lengths of the
    runs. Its shape depends on values, so a step that calls it cannot be recorded.

    >>> dl.unique_consecutive(dl.tensor([1, 1, 2, 2, 1]))
    tensor([1, 2, 1])
    """

def unique_counts(x: Operand) -> tuple[Tensor, Tensor]:
    """(values, counts) of the distinct elements of ``x``; see `unique`. NaNs are distinct.

    >>> dl.unique_counts(dl.tensor([3, 1, 3])).counts.tolist()
    [1, 2]
    """

def unique_inverse(x: Operand) -> tuple[Tensor, Tensor]:
    """(values, inverse_indices) of the distinct elements of ``x``; see `unique`. NaNs are distinct.

    >>> dl.unique_inverse(dl.tensor([3, 1, 3])).inverse_indices.tolist()
    [1, 0, 1]
    """

def unique_values(x: Operand) -> Tensor:
    """The distinct elements of `x` in order, in one axis; each NaN is distinct (array API standard).

    >>> dl.unique_values(dl.tensor([3, 1, 3])).tolist()
    [1, 3]
    """

def unravel_index(indices: Operand, shape: int | Sequence[int]) -> tuple[Tensor, ...]:
    """The coordinates, in an array of ``shape``, of elements given by their row-major number: one tensor an axis.

    Negative numbers count from the end. Raises IndexError for one out of range.

    >>> dl.unravel_index(dl.tensor([1, 5]), (2, 3))
    (tensor([0, 1]), tensor([1, 2]))
    """

def unsqueeze(x: Operand, axis: int) -> Tensor:
    """A view with a new axis of length 1 at ``axis`` (-1: behind the last). Raises IndexError for one out of range.

    >>> dl.unsqueeze(dl.tensor([1, 2]), 0).shape
    (1, 2)
    """

def unstack(x: Operand, axis: int = 0) -> tuple[Tensor, ...]:
    """The views of ``x`` at each place along ``axis``: `unbind` under the array API's name.

    >>> [t.tolist() for t in dl.unstack(dl.tensor([[1, 2], [3, 4]]), axis=1)]
    [[1, 3], [2, 4]]
    """

def vander(x: Operand, n: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of x (N,) as rows (N, n), from the highest to 0, or ``increasing``; ``n`` is N by default.

    >>> dl.vander(dl.tensor([2, 3]), 3)
    tensor([[4, 2, 1],
            [9, 3, 1]])
    """

def var(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False, correction: float = 0.0) -> Tensor:
    """Variance of the elements along `axis`: sum((x - mean(x))^2) / (n - correction), n the number of elements.

    One pass over memory, as exact as two. Floats keep their dtype, bool and integers give float32. `correction`: 0 for
    that of the elements themselves (NumPy's default), 1 for an unbiased estimate from a sample (PyTorch's default;
    NumPy's ddof). NaN where there is nothing to divide by. Errors as in `sum`.

    >>> dl.var(dl.tensor([1.0, 2.0, 3.0, 4.0])).item()
    1.25
    """

def var_mean(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False, correction: float = 0.0) -> tuple[Tensor, Tensor]:
    """Variance and mean of the elements along `axis` in one pass: (var, mean). Arguments as of `var`.

    >>> [t.item() for t in dl.var_mean(dl.tensor([1.0, 3.0]))]
    [1.0, 2.0]
    """

def vdot(a: Operand, b: Operand) -> Tensor:
    """The sum of the products of all elements of `a` and `b`, taken as vectors in row-major order: 0-d.

    Raises ShapeError where they have not the same number of elements, DTypeError for bool.

    >>> dl.vdot(dl.tensor([1.0, 2.0]), dl.tensor([3.0, 4.0]))
    tensor(11.)
    """

def vecdot(a: Operand, b: Operand, axis: int = -1) -> Tensor:
    """The sums of a b along one axis: out[...] = the sum over k of a[..., k] b[..., k].

    The other axes broadcast; `axis` counts from the back where the operands have different numbers of axes. Raises
    ShapeError where lengths along it differ or shapes do not broadcast, IndexError for an axis out of range.

    >>> dl.vecdot(dl.tensor([[1.0, 2.0]]), dl.tensor([[3.0, 4.0]]))
    tensor([11.])
    """

def view_as(x: Operand, other: Operand) -> Tensor:
    """The elements of ``x`` in the shape of ``other``; a view where strides allow, else a copy.

    >>> dl.view_as(dl.arange(4), dl.zeros(2, 2))
    tensor([[0, 1],
            [2, 3]])
    """

def vsplit(x: Operand, indices_or_sections: int | Sequence[int]) -> list[Tensor]:
    """The parts of ``x`` along axis 0; see `split`.

    >>> [t.tolist() for t in dl.vsplit(dl.tensor([[1, 2], [3, 4]]), 2)]
    [[[1, 2]], [[3, 4]]]
    """

def vstack(tensors: Sequence[Operand]) -> Tensor:
    """The tensors one after another along axis 0; vectors are rows.

    >>> dl.vstack([dl.tensor([1, 2]), dl.tensor([3, 4])])
    tensor([[1, 2],
            [3, 4]])
    """

@overload
def where(condition: Operand, a: Operand, b: Operand) -> Tensor:
    """Elements of a where the condition holds, else of b. The condition is bool; all three broadcast.

    >>> dl.where(dl.tensor([True, False]), dl.tensor([1, 2]), 0)
    tensor([1, 0])
    """
@overload
def where(condition: Operand) -> tuple[Tensor, ...]: ...

def xlogy(a: Operand, b: Operand) -> Tensor:
    """Product a log(b), and 0 where a = 0, whatever b is but NaN.

    >>> dl.xlogy(dl.tensor([0.0, 2.0]), dl.tensor([0.0, 3.0])).round(4)
    tensor([0.    , 2.1972])
    """

absolute = abs
arccos = acos
arccosh = acosh
arcsin = asin
arcsinh = asinh
arctan = atan
arctan2 = atan2
arctanh = atanh
argwhere = nonzero
around = round
bitwise_invert = bitwise_not
cat = concat
clamp = clip
concatenate = concat
conjugate = conj
degrees = rad2deg
divide = div
equal = eq
fabs = abs
fix = trunc
ger = outer
greater = gt
greater_equal = ge
invert = bitwise_not
left_shift = bitwise_left_shift
less = lt
less_equal = le
mod = remainder
movedim = moveaxis
multiply = mul
negative = neg
not_equal = ne
permute_dims = permute
power = pow
radians = deg2rad
right_shift = bitwise_right_shift
rint = round
row_stack = vstack
sgn = sign
subtract = sub
swapdims = swapaxes
take_along_dim = take_along_axis
tensor_split = array_split
trapz = trapezoid
true_divide = div

class TensorMethods:
    """The operations that tensors have as methods: ``x.sum(0)`` is ``dl.sum(x, 0)``."""

    def abs(self) -> Tensor:
        """Absolute value |x|. The gradient at 0 is 0."""
    def acos(self) -> Tensor:
        """Arc cosine: the angle in [0, pi] whose cosine is x; NaN outside [-1, 1]."""
    def acosh(self) -> Tensor:
        """Inverse of cosh, log(x + sqrt(x^2 - 1)), which is not negative; NaN below 1."""
    @overload
    def add(self, b: Operand) -> Tensor:
        """Sum a + b; of bools their disjunction (or)."""
    @overload
    def add(self, b: Operand, *, alpha: float) -> Tensor: ...
    def addbmm(self, a: Operand, b: Operand, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
        """beta x + alpha times the sum over the batch of a @ b, `a` (B, M, K) and `b` (B, K, N): (M, N)."""
    def addcdiv(self, a: Operand, b: Operand, value: Operand = 1) -> Tensor:
        """Sum x + value a / b of operands that broadcast; ``value``: a number or a tensor. Integers become floats."""
    def addcmul(self, a: Operand, b: Operand, value: Operand = 1) -> Tensor:
        """Sum x + value a b of operands that broadcast; ``value``: a number or a tensor."""
    def addmm(self, a: Operand, b: Operand, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
        """beta x + alpha (a @ b) of matrices `a` (M, K) and `b` (K, N): (M, N), to which `x` broadcasts."""
    def addmv(self, a: Operand, b: Operand, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
        """beta x + alpha (a @ b) of a matrix `a` (M, K) and a vector `b` (K,): (M,), to which `x` broadcasts."""
    def all(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Whether every element along `axis` is not zero; of nothing, True."""
    def allclose(self, other: Operand, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
        """Whether all of ``x`` and ``other`` are close, a Python bool: see `isclose`."""
    def amax(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Largest element along ``axis``: `max` under another name."""
    def amin(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Smallest element along ``axis``: `min` under another name."""
    def aminmax(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Smallest and largest elements along ``axis``: (min, max). Errors as of `max`."""
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
    def array_equal(self, other: Operand, equal_nan: bool = False) -> bool:
        """Whether ``x`` and ``other`` have the same shape and elements, a Python bool; dtypes may differ."""
    def array_split(self, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
        """The parts of ``x`` along ``axis``, a list of views; the first ones are longer by 1 where it does not divide."""
    def asin(self) -> Tensor:
        """Arc sine: the angle in [-pi/2, pi/2] whose sine is x; NaN outside [-1, 1]."""
    def asinh(self) -> Tensor:
        """Inverse of sinh: log(x + sqrt(x^2 + 1))."""
    def astype(self, dtype: Operand, *, copy: bool = True, device: Operand | None = None) -> Tensor:
        """x in another dtype, and on another device where one is given: a copy, but x itself with ``copy=False`` where"""
    def atan(self) -> Tensor:
        """Arc tangent: the angle in (-pi/2, pi/2) whose tangent is x."""
    def atan2(self, b: Operand) -> Tensor:
        """The angle of the point (b, a), in [-pi, pi]: the arc tangent of a / b with the quadrant that their signs tell."""
    def atanh(self) -> Tensor:
        """Inverse of tanh, log((1 + x) / (1 - x)) / 2; infinite at -1 and 1, NaN beyond."""
    def average(self, axis: int | tuple[int, ...] | None = None, weights: Operand | None = None, keepdims: bool = False) -> Tensor:
        """Weighted mean along ``axis``: sum(weights x) / sum(weights); without ``weights`` the mean."""
    def baddbmm(self, a: Operand, b: Operand, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
        """beta x + alpha (a @ b) of batches `a` (B, M, K) and `b` (B, K, N): (B, M, N), to which `x` broadcasts."""
    def bincount(self, weights: Operand | None = None, minlength: int = 0) -> Tensor:
        """How often each of 0, 1, ... is among the elements of `x`, as int64: out[v] is the number of v."""
    def bitwise_and(self, b: Operand) -> Tensor:
        """The bits that are set in both a and b, a & b; of bools whether both hold."""
    def bitwise_left_shift(self, b: Operand) -> Tensor:
        """Integers a with their bits b places further up, a << b = a 2^b, which wraps."""
    def bitwise_not(self) -> Tensor:
        """Every bit the other way, ~x: -x - 1 of signed integers; of bools whether x does not hold."""
    def bitwise_or(self, b: Operand) -> Tensor:
        """The bits that are set in a or in b, a | b; of bools whether either holds."""
    def bitwise_right_shift(self, b: Operand) -> Tensor:
        """Integers a with their bits b places further down, a >> b = floor(a / 2^b)."""
    def bitwise_xor(self, b: Operand) -> Tensor:
        """The bits that are set in one of a and b, a ^ b; of bools whether they differ."""
    def bmm(self, b: Operand) -> Tensor:
        """The products of matrices of two batches, `a` (B, M, K) and `b` (B, K, N): (B, M, N); nothing broadcasts."""
    def broadcast_to(self, shape: int | Sequence[int]) -> Tensor:
        """A view of ``x`` broadcast to ``shape``: new axes in front, axes of length 1 repeated, without using memory."""
    def bucketize(self, boundaries: Operand, right: bool = False) -> Tensor:
        """The number of the interval between ``boundaries`` (sorted, 1-D) that each element of ``x`` lies in (int64)."""
    def cbrt(self) -> Tensor:
        """Cube root, of negative numbers too. Its gradient at 0 is infinite."""
    def cdist(self, other: Operand, p: float = 2.0) -> Tensor:
        """The distances of each point, a row of x (..., P, M), from each of ``other`` (..., R, M): (..., P, R)."""
    def ceil(self) -> Tensor:
        """The smallest whole number that is not below x. Integers stay as they are."""
    @overload
    def celu(self, alpha: float = 1.0) -> Tensor:
        """Elu with a continuous gradient: x where it is positive, else alpha (e^(x / alpha) - 1)."""
    @overload
    def celu(self, alpha: float = 1.0, *, inplace: bool) -> Tensor: ...
    def chunk(self, chunks: int, axis: int = 0) -> tuple[Tensor, ...]:
        """At most ``chunks`` parts of ``x`` along ``axis``, all of one length but the last, as views (torch.chunk)."""
    def clamp_max(self, max: Operand) -> Tensor:
        """x where it is at most ``max``, else that: ``clip(x, None, max)``."""
    def clamp_min(self, min: Operand) -> Tensor:
        """x where it is at least ``min``, else that: ``clip(x, min)``."""
    def clip(self, min: Operand | None = None, max: Operand | None = None) -> Tensor:
        """x limited to [min, max]: min where x < min, max where x > max; a limit of None is none."""
    def combinations(self, r: int = 2, with_replacement: bool = False) -> Tensor:
        """All choices of ``r`` elements of a vector, in the order of `itertools.combinations`: (count, r)."""
    def copysign(self, b: Operand) -> Tensor:
        """The size of a with the sign of b, of zeros and NaN too. Integers become the default float."""
    def corrcoef(self, rowvar: bool = True) -> Tensor:
        """The correlations (N, N) of N variables, the rows of x (N, M), or its columns; between -1 and 1. See `cov`."""
    def cos(self) -> Tensor:
        """Cosine of x in radians; NaN of infinities."""
    def cosh(self) -> Tensor:
        """Hyperbolic cosine (e^x + e^-x) / 2."""
    def count_nonzero(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """The number of elements along `axis` that are not zero (false), as int64; NaN is not zero."""
    def cov(self, rowvar: bool = True, correction: float = 1) -> Tensor:
        """The covariances (N, N) of N variables, the rows of x (N, M), over M observations; of x (M,) its variance."""
    def cross(self, b: Operand, axis: int = -1) -> Tensor:
        """The cross products of vectors of three elements along `axis`: (a1 b2 - a2 b1, a2 b0 - a0 b2, a0 b1 - a1 b0)."""
    def cummax(self, axis: int | None = None) -> tuple[Tensor, Tensor]:
        """Largest elements along `axis` up to each, and their indices: (values, indices), of equal elements the last."""
    def cummin(self, axis: int | None = None) -> tuple[Tensor, Tensor]:
        """Smallest elements along `axis` up to each, and their indices: (values, indices), of equal elements the last."""
    def cumprod(self, axis: int | None = None, reverse: bool = False, exclusive: bool = False, dtype: Any | None = None) -> Tensor:
        """Products of the elements along `axis` up to each: out[i] = x[0] ... x[i]; of bool and integers int64 or uint64."""
    def cumsum(self, axis: int | None = None, reverse: bool = False, exclusive: bool = False, dtype: Any | None = None) -> Tensor:
        """Sums of the elements along `axis` up to each: out[i] = x[0] + ... + x[i]; of bool and integers int64 or uint64."""
    def cumulative_prod(self, axis: int | None = None, dtype: Operand | None = None, include_initial: bool = False) -> Tensor:
        """Products along ``axis`` up to each element: `cumprod`; with ``include_initial`` a 1 stands before."""
    def cumulative_sum(self, axis: int | None = None, dtype: Operand | None = None, include_initial: bool = False) -> Tensor:
        """Sums along ``axis`` up to each element: `cumsum`, which says more; with ``include_initial`` a 0 stands before."""
    def deg2rad(self) -> Tensor:
        """Degrees in radians: x pi / 180."""
    def delete(self, index: Operand, axis: int | None = None) -> Tensor:
        """A copy of ``x`` without the places ``index`` along ``axis`` (None: of all its elements, flattened)."""
    def diag(self, k: int = 0) -> Tensor:
        """The diagonal of a matrix, as a view, or of a vector the matrix that has it on a diagonal, and zeros."""
    def diag_embed(self, offset: int = 0, axis1: int = -2, axis2: int = -1) -> Tensor:
        """Matrices with the last axis of x on a diagonal, and zeros: the inverse of `diagonal`."""
    def diagflat(self, k: int = 0) -> Tensor:
        """The matrix that has the elements of ``x``, in row-major order, on a diagonal, and zeros."""
    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """A view of a diagonal: the elements whose place along `axis2` is that along `axis1` plus `offset`."""
    def diff(self, n: int = 1, axis: int = -1, prepend: Operand | None = None, append: Operand | None = None) -> Tensor:
        """Differences of neighbours along ``axis``, x[i + 1] - x[i], taken ``n`` times; of bools whether they differ."""
    def digamma(self) -> Tensor:
        """Slope of log(gamma(x)); NaN at -1, -2, ..., -inf at 0, inf at -0.0."""
    def digitize(self, bins: Operand, right: bool = False) -> Tensor:
        """The number of the interval between ``bins`` (ascending, 1-D) that each element of ``x`` lies in, as NumPy's."""
    def dist(self, other: Operand, p: float = 2.0) -> Tensor:
        """The norm of order ``p`` of x - other, of all elements."""
    def div(self, other: Operand, rounding_mode: str | None = None) -> Tensor:
        """Quotient x / other; ``rounding_mode``: None, "floor" (down, as `floor_divide`) or "trunc" (towards 0)."""
    def dot(self, b: Operand) -> Tensor:
        """The dot product as NumPy defines it: of two vectors the sum of a[k] b[k], of matrices their product."""
    def dsplit(self, indices_or_sections: int | Sequence[int]) -> list[Tensor]:
        """The parts of ``x`` along axis 2; see `split`."""
    @overload
    def elu(self, alpha: float = 1.0) -> Tensor:
        """Exponential linear unit: x where it is positive, else alpha (e^x - 1) (https://arxiv.org/abs/1511.07289)."""
    @overload
    def elu(self, alpha: float = 1.0, *, inplace: bool) -> Tensor: ...
    def eq(self, b: Operand) -> Tensor:
        """Whether a equals b, as bools; False where either is NaN."""
    def erf(self) -> Tensor:
        """Error function 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x."""
    def erfc(self) -> Tensor:
        """Complementary error function 1 - erf(x), accurate where that would cancel."""
    def exp(self) -> Tensor:
        """Exponential e^x."""
    def exp2(self) -> Tensor:
        """Power of two, 2^x, exact of whole x."""
    def expand_as(self, other: Operand) -> Tensor:
        """A view of ``x`` broadcast to the shape of ``other``."""
    def expand_dims(self, axis: int | Sequence[int] = 0) -> Tensor:
        """A view with new axes of length 1, which stand at ``axis`` (one place or several) of the result."""
    def expm1(self) -> Tensor:
        """Exponential minus one, e^x - 1, accurate near 0."""
    def fill_diagonal(self, value: Operand, wrap: bool = False) -> None:
        """Writes ``value`` on the main diagonal of ``x``, a matrix or an array whose axes have one length."""
    def flatnonzero(self) -> Tensor:
        """The row-major positions of the elements that are not zero, as a vector."""
    def flatten(self, start_axis: int = 0, end_axis: int = -1) -> Tensor:
        """The axes from ``start_axis`` to ``end_axis`` (included) made one; a view where strides allow."""
    def flip(self, axis: int | Sequence[int] | None = None, *more: int) -> Tensor:
        """A view with the elements in reverse order along ``axis`` (one or several; None: all), as ``flip(x, 0, 1)`` too."""
    def fliplr(self) -> Tensor:
        """A view with the columns (axis 1) in reverse order."""
    def flipud(self) -> Tensor:
        """A view with the rows (axis 0) in reverse order."""
    def float_power(self, exponent: Operand) -> Tensor:
        """Power x^exponent in float64, whatever the operands' dtypes."""
    def floor(self) -> Tensor:
        """The largest whole number that is not above x. Integers stay as they are."""
    def floor_divide(self, b: Operand) -> Tensor:
        """Quotient rounded down, floor(a / b), as Python's //; integers by 0 give 0. Its gradient is 0."""
    def fmax(self, b: Operand) -> Tensor:
        """The larger of a and b; the other where one is NaN. At ties the gradient is split half and half."""
    def fmin(self, b: Operand) -> Tensor:
        """The smaller of a and b; the other where one is NaN. At ties the gradient is split half and half."""
    def fmod(self, b: Operand) -> Tensor:
        """Remainder a - b trunc(a / b), with the sign of a, as C's fmod; integers modulo 0 give 0. See also `remainder`."""
    def frac(self) -> Tensor:
        """What lies behind the point, with the sign of x: x - trunc(x)."""
    @overload
    def gather(self, index: Operand, axis: int) -> Tensor:
        """The elements of `x` at `index` along `axis`, one for each element of `index`."""
    @overload
    def gather(self, dim: int, index: Operand) -> Tensor: ...
    def gcd(self, b: Operand) -> Tensor:
        """Greatest common divisor of |a| and |b|; of 0 and b it is |b|. DTypeError for bools and floats."""
    def ge(self, b: Operand) -> Tensor:
        """Whether a >= b, as bools; False where either is NaN."""
    @overload
    def gelu(self, approximate: Literal['none', 'tanh'] = 'none') -> Tensor:
        """Gaussian error linear unit x P(X <= x), X standard normal (https://arxiv.org/abs/1606.08415)."""
    @overload
    def gelu(self, approximate: Literal['none', 'tanh'] = 'none', *, inplace: bool) -> Tensor: ...
    def glu(self, axis: int = -1) -> Tensor:
        """Gated linear unit a sigmoid(b), a and b the halves of `x` along `axis` (https://arxiv.org/abs/1612.08083)."""
    def gradient(self, spacing: float = 1.0, axis: int | Sequence[int] | None = None) -> Tensor:
        """Slopes of x along ``axis`` (None: along each): central differences inside, one-sided ones at the ends."""
    def gt(self, b: Operand) -> Tensor:
        """Whether a > b, as bools; False where either is NaN."""
    @overload
    def hardshrink(self, lambd: float = 0.5) -> Tensor:
        """x where it lies outside of [-`lambd`, `lambd`], else 0."""
    @overload
    def hardshrink(self, lambd: float = 0.5, *, inplace: bool) -> Tensor: ...
    @overload
    def hardsigmoid(self) -> Tensor:
        """Straight lines for sigmoid, min(max(x + 3, 0), 6) / 6. The gradient is 0 at both limits."""
    @overload
    def hardsigmoid(self, *, inplace: bool) -> Tensor: ...
    @overload
    def hardswish(self) -> Tensor:
        """Straight lines for silu, x min(max(x + 3, 0), 6) / 6 (https://arxiv.org/abs/1905.02244)."""
    @overload
    def hardswish(self, *, inplace: bool) -> Tensor: ...
    @overload
    def hardtanh(self, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
        """x limited to [`min_val`, `max_val`]. The gradient is 0 at both limits. Raises ValueError where they cross."""
    @overload
    def hardtanh(self, min_val: float = -1.0, max_val: float = 1.0, *, inplace: bool) -> Tensor: ...
    def heaviside(self, values: Operand) -> Tensor:
        """Step function: 0 for x < 0, values for x = 0, 1 for x > 0; NaN of NaN."""
    def histc(self, bins: int = 100, min: float = 0.0, max: float = 0.0) -> Tensor:
        """How many elements lie in each of ``bins`` bins of equal width from ``min`` to ``max``, in the dtype of x (bins)."""
    def histogram(self, bins: Operand = 10, range: Sequence[float] | None = None, weights: Operand | None = None, density: bool = False) -> Tensor:
        """How many elements lie in each bin, and the edges of the bins: (values, edges), as NumPy's function."""
    def hsplit(self, indices_or_sections: int | Sequence[int]) -> list[Tensor]:
        """The parts of ``x`` along axis 1 (axis 0 of a vector); see `split`."""
    def hypot(self, b: Operand) -> Tensor:
        """Length of the hypotenuse, sqrt(a^2 + b^2), without overflow of the squares."""
    def index_add(self, axis: int, index: Operand, source: Operand, alpha: float = 1) -> Tensor:
        """A copy of ``x`` to which ``alpha`` times each row of ``source`` is added where ``index`` says along ``axis``."""
    def index_copy(self, axis: int, index: Operand, source: Operand) -> Tensor:
        """A copy of ``x`` whose rows at ``index`` along ``axis`` are those of ``source``; of equal ones the last wins."""
    def index_fill(self, axis: int, index: Operand, value: Operand) -> Tensor:
        """A copy of ``x`` whose rows at ``index`` along ``axis`` are filled with ``value``, a number or 0-d tensor."""
    def index_select(self, axis: int, index: Operand) -> Tensor:
        """The elements (rows) of ``x`` at ``index``, a vector, along ``axis``: `take` under PyTorch's name."""
    def inner(self, b: Operand) -> Tensor:
        """The sums over the last axes of both: out[i..., j...] = the sum over k of a[i..., k] b[j..., k]."""
    def insert(self, index: Operand, values: Operand, axis: int | None = None) -> Tensor:
        """A copy of ``x`` with ``values``, broadcast and cast, before the places ``index`` along ``axis``."""
    def interp(self, xp: Operand, fp: Operand, left: float | None = None, right: float | None = None) -> Tensor:
        """Values at ``x`` of the line through the points (xp, fp), ``xp`` (N,) in ascending order: of the shape of x."""
    def intersect1d(self, y: Operand, assume_unique: bool = False, return_indices: bool = False) -> Tensor:
        """The distinct elements that are in both ``x`` and ``y``, in order, in one axis."""
    def isclose(self, other: Operand, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
        """Where ``|x - other| <= atol + rtol |other|``, as bools; infinities are close to themselves alone."""
    def isfinite(self) -> Tensor:
        """Whether each element is neither infinite nor NaN, as bools."""
    def isin(self, test_elements: Operand, assume_unique: bool = False, invert: bool = False) -> Tensor:
        """Whether each element of ``x`` is among ``test_elements`` (or, ``invert``, is not), as bools of its shape."""
    def isinf(self) -> Tensor:
        """Whether each element is infinite, as bools."""
    def isnan(self) -> Tensor:
        """Whether each element is NaN, as bools."""
    def isneginf(self) -> Tensor:
        """Whether each element is minus infinity, as bools."""
    def isposinf(self) -> Tensor:
        """Whether each element is plus infinity, as bools."""
    def kron(self, b: Operand) -> Tensor:
        """The Kronecker product: each element of `a` replaced by itself times `b`; lengths multiply axis by axis."""
    def kthvalue(self, k: int, axis: int = -1, keepdims: bool = False) -> tuple[Tensor, Tensor]:
        """(values, indices): the ``k``-th smallest element along ``axis``, counted from 1, and where it stands (int64)."""
    def lcm(self, b: Operand) -> Tensor:
        """Least common multiple of |a| and |b|, which wraps; 0 where either is 0. DTypeError for bools and floats."""
    def le(self, b: Operand) -> Tensor:
        """Whether a <= b, as bools; False where either is NaN."""
    @overload
    def leaky_relu(self, negative_slope: float = 0.01) -> Tensor:
        """Leaky rectifier: x where it is positive, else x times `negative_slope`, which is the gradient at 0 too."""
    @overload
    def leaky_relu(self, negative_slope: float = 0.01, *, inplace: bool) -> Tensor: ...
    def lerp(self, b: Operand, weight: Operand) -> Tensor:
        """Linear interpolation a + weight (b - a), which meets a at weight 0 and b at 1. Integers become the default float."""
    def lgamma(self) -> Tensor:
        """Logarithm of the absolute value of the gamma function, log|gamma(x)|; infinite at 0, -1, -2, ..."""
    def log(self) -> Tensor:
        """Natural logarithm; -inf of 0, NaN of negative numbers."""
    def log10(self) -> Tensor:
        """Logarithm to base 10; -inf of 0, NaN of negative numbers. Exact of powers of 10."""
    def log1p(self) -> Tensor:
        """Natural logarithm of 1 + x, accurate near 0."""
    def log2(self) -> Tensor:
        """Logarithm to base 2; -inf of 0, NaN of negative numbers. Exact of powers of 2."""
    @overload
    def log_softmax(self, axis: int = -1) -> Tensor:
        """Logarithm of the softmax along `axis`: (x - max(x)) - log(sum(exp(x - max(x))))."""
    @overload
    def log_softmax(self, axis: int = -1, *, dim: int | None = None, dtype: Any | None) -> Tensor: ...
    def logaddexp(self, b: Operand) -> Tensor:
        """Logarithm of a sum of exponentials, log(e^a + e^b), which do not overflow."""
    def logcumsumexp(self, axis: int | None = None, reverse: bool = False) -> Tensor:
        """Logarithms of the sums of exponentials along `axis` up to each: log(exp(x[0]) + ... + exp(x[i]))."""
    def logical_and(self, b: Operand) -> Tensor:
        """Whether both a and b hold, as bools: numbers hold where they are not 0."""
    def logical_not(self) -> Tensor:
        """Whether x does not hold, as bools: numbers hold where they are not 0."""
    def logical_or(self, b: Operand) -> Tensor:
        """Whether a or b holds, or both, as bools: numbers hold where they are not 0."""
    def logical_xor(self, b: Operand) -> Tensor:
        """Whether one of a and b holds, as bools: numbers hold where they are not 0."""
    def logit(self, eps: float | None = None) -> Tensor:
        """The inverse of `sigmoid`, log(x / (1 - x)); of x limited to [eps, 1 - eps] where ``eps`` is given."""
    @overload
    def logsigmoid(self) -> Tensor:
        """Logarithm of the logistic function, -log(1 + e^-x)."""
    @overload
    def logsigmoid(self, *, inplace: bool) -> Tensor: ...
    def logsumexp(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Logarithm of the sum of exponentials along `axis`: m + log(sum(exp(x - m))) with m = max(x)."""
    def lt(self, b: Operand) -> Tensor:
        """Whether a < b, as bools; False where either is NaN."""
    def masked_fill(self, mask: Operand, value: Operand) -> Tensor:
        """``x`` with ``value``, a number or 0-d tensor, where ``mask`` (broadcast) is true; in the dtype of x."""
    def masked_scatter(self, mask: Operand, source: Operand) -> Tensor:
        """``x`` with the elements of ``source``, in row-major order, one after another where ``mask`` (broadcast) is true."""
    def masked_select(self, mask: Operand) -> Tensor:
        """The elements of ``x`` where ``mask`` is true, both broadcast, as a vector in row-major order."""
    def matmul(self, b: Operand, dtype: Any | None = None) -> Tensor:
        """The matrix product of `a` (..., M, K) and `b` (..., K, N): (..., M, N), the sums over k of a[m, k] b[k, n]."""
    def matrix_transpose(self) -> Tensor:
        """A view with the last two axes exchanged: matrices transposed, one by one. Raises ShapeError for fewer axes."""
    @overload
    def max(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Largest element along `axis`; NaN where there is one."""
    @overload
    def max(self, other: Operand) -> Tensor: ...
    def maximum(self, b: Operand) -> Tensor:
        """The larger of a and b; NaN if either is. At ties the gradient is split half and half."""
    def mean(self, axis: int | Sequence[int] | None = None, keepdims: bool = False, dtype: Any | None = None) -> Tensor:
        """Arithmetic mean of the elements along `axis`: their sum, divided by their number in float64."""
    def median(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """The middle of the elements along `axis`; of an even number the mean of the middle two; NaN where there is one."""
    @overload
    def min(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Smallest element along `axis`; NaN where there is one."""
    @overload
    def min(self, other: Operand) -> Tensor: ...
    def minimum(self, b: Operand) -> Tensor:
        """The smaller of a and b; NaN if either is. At ties the gradient is split half and half."""
    @overload
    def mish(self) -> Tensor:
        """Mish x tanh(log(1 + e^x)) (https://arxiv.org/abs/1908.08681)."""
    @overload
    def mish(self, *, inplace: bool) -> Tensor: ...
    def mm(self, b: Operand) -> Tensor:
        """The product of two matrices, `a` (M, K) and `b` (K, N): (M, N). `matmul` without its rules for other shapes."""
    def mode(self, axis: int = -1, keepdims: bool = False) -> Tensor:
        """The values that are most frequent along ``axis``, the smallest of several, and the last place of each."""
    def moveaxis(self, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
        """A view with the axes ``source`` at the places ``destination``, the others in their order."""
    def msort(self) -> Tensor:
        """The elements of ``x`` in order along its first axis: sort(x, 0)."""
    def mul(self, b: Operand) -> Tensor:
        """Product a b; of bools their conjunction (and)."""
    def mv(self, b: Operand) -> Tensor:
        """The product of a matrix `a` (M, K) and a vector `b` (K,): (M,). `matmul` without its rules for other shapes."""
    def nan_to_num(self, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
        """x with numbers in the place of NaN and infinities: ``nan``, ``posinf`` and ``neginf``."""
    def nanargmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """The place of the largest element that is no NaN, along ``axis`` or (None) of all; 0 where all are NaN."""
    def nanargmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """The place of the smallest element that is no NaN, along ``axis`` or (None) of all; 0 where all are NaN."""
    def nancumprod(self, axis: int | None = None) -> Tensor:
        """Products of the elements up to each along ``axis`` or (None) of all in one line, NaN counting as 1."""
    def nancumsum(self, axis: int | None = None) -> Tensor:
        """Sums of the elements up to each along ``axis`` or (None) of all in one line, NaN counting as 0."""
    def nanmax(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Largest along `axis` of the elements that are not NaN; NaN where there are none. Otherwise as `max`."""
    def nanmean(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Arithmetic mean along `axis` of the elements that are not NaN; NaN where there are none. Otherwise as `mean`."""
    def nanmedian(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """The median of the elements along `axis` that are not NaN; NaN where there are none. Errors as in `median`."""
    def nanmin(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Smallest along `axis` of the elements that are not NaN; NaN where there are none. Otherwise as `min`."""
    def nanprod(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Product along ``axis`` of the elements that are not NaN; 1 where there are none. Otherwise as `prod`."""
    def nanquantile(self, q: float | Sequence[float] | Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False, method: Literal['linear', 'lower', 'higher', 'midpoint', 'nearest'] = 'linear') -> Tensor:
        """The quantile of the elements along `axis` that are not NaN; NaN where there are none. See `quantile`."""
    def nanstd(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, correction: float = 0.0) -> Tensor:
        """Standard deviation along ``axis`` of the elements that are not NaN: the square root of `nanvar`."""
    def nansum(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Sum along `axis` of the elements that are not NaN; 0 where there are none. Otherwise as `sum`."""
    def nanvar(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, correction: float = 0.0) -> Tensor:
        """Variance along ``axis`` of the elements that are not NaN; NaN where too few are left. Otherwise as `var`."""
    def narrow(self, axis: int, start: int, length: int) -> Tensor:
        """A view of ``length`` places along ``axis`` from ``start`` on. Raises IndexError where they leave x."""
    def ne(self, b: Operand) -> Tensor:
        """Whether a differs from b, as bools; True where either is NaN."""
    def neg(self) -> Tensor:
        """Negative -x."""
    def nextafter(self, b: Operand) -> Tensor:
        """The number next to a in its dtype, towards b: b itself where they are equal; NaN if either is."""
    @overload
    def nonzero(self) -> Tensor:
        """The coordinates of all elements that are not zero (false), in row-major order: (count, ndim) int64."""
    @overload
    def nonzero(self, *, as_tuple: bool) -> Tensor | tuple[Tensor, ...]: ...
    def norm(self, p: float | Literal["fro"] | None = 2.0, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Norm of the vectors along `axis`: sum(|x|^p)^(1/p)."""
    def one_hot(self, num_classes: int = -1) -> Tensor:
        """Vectors of 0 with a 1 at the place that each element of ``x``, an integer, names: (*x.shape, classes) int64."""
    def outer(self, b: Operand) -> Tensor:
        """The products of each element of `a` with each of `b`: out[i, j] = a[i] b[j]. Other shapes are flattened first."""
    def pad(self, pad_width: Operand, mode: str = 'constant', constant_values: Operand = 0) -> Tensor:
        """``x`` with more elements before and after along each axis: NumPy's `pad`."""
    def partition(self, kth: Operand, axis: int | None = -1) -> Tensor:
        """`x` in an order in which element ``kth`` (an int or several) stands where sorting puts it."""
    def percentile(self, q: Operand, axis: Operand | None = None, keepdims: bool = False, method: str = 'linear') -> Tensor:
        """The value below which ``q`` per cent of the elements along ``axis`` lie: quantile(x, q / 100, ...)."""
    def polyfit(self, y: Operand, deg: int, rtol: float | None = None, w: Operand | None = None) -> Tensor:
        """The coefficients (deg + 1,) of the polynomial that is nearest to the points (x, y) (M,), the highest power first."""
    def positive(self) -> Tensor:
        """+x: a copy of a tensor of numbers. Raises DTypeError for bools."""
    def pow(self, b: Operand) -> Tensor:
        """Power a^b, as C's pow: 1 for b = 0 and for a = 1; a negative base needs an integer exponent, else NaN."""
    def prelu(self, weight: Operand) -> Tensor:
        """Rectifier with a learned slope: x where it is positive, else x times `weight` (https://arxiv.org/abs/1502.01852)."""
    def prod(self, axis: int | Sequence[int] | None = None, keepdims: bool = False, dtype: Any | None = None) -> Tensor:
        """Product of the elements along `axis`."""
    def ptp(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Range of the elements along ``axis``, from peak to peak: max(x) - min(x). Errors as of `max`; no bools."""
    def put_along_axis(self, indices: Operand, values: Operand, axis: int | None) -> None:
        """Writes ``values`` into ``x`` at ``indices`` along ``axis``: x[i, indices[i, j]] = values[i, j] for axis 1."""
    def quantile(self, q: float | Sequence[float] | Tensor, axis: int | Sequence[int] | None = None, keepdims: bool = False, method: Literal['linear', 'lower', 'higher', 'midpoint', 'nearest'] = 'linear') -> Tensor:
        """The value below which the fraction `q` of the elements along `axis` lies; NaN where there is one among them."""
    def rad2deg(self) -> Tensor:
        """Radians in degrees: x 180 / pi."""
    def ravel(self) -> Tensor:
        """The elements in row-major order along one axis; a view where strides allow, else a copy."""
    def reciprocal(self) -> Tensor:
        """Reciprocal 1 / x."""
    @overload
    def relu(self) -> Tensor:
        """Rectifier max(x, 0). The gradient at 0 is 0."""
    @overload
    def relu(self, *, inplace: bool) -> Tensor: ...
    @overload
    def relu6(self) -> Tensor:
        """Rectifier with an upper limit, min(max(x, 0), 6). The gradient is 0 at both limits."""
    @overload
    def relu6(self, *, inplace: bool) -> Tensor: ...
    def remainder(self, b: Operand) -> Tensor:
        """Remainder a - b floor(a / b), with the divisor's sign, as Python's %; integers modulo 0 give 0."""
    def repeat_interleave(self, repeats: int | Sequence[int], axis: int | None = None) -> Tensor:
        """``x`` with each element along ``axis`` (None: of all, flattened) repeated: `repeat` under PyTorch's name."""
    def reshape_as(self, other: Operand) -> Tensor:
        """The elements of ``x`` in the shape of ``other``."""
    def roll(self, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Tensor:
        """``x`` with the elements moved on by ``shift`` places along ``axis``; what leaves at the end enters in front."""
    def rot90(self, k: int = 1, axes: Sequence[int] = (0, 1)) -> Tensor:
        """A view turned by ``k`` quarters in the plane of two ``axes``, from the first towards the second."""
    def round(self, decimals: int = 0) -> Tensor:
        """The nearest whole number, at ties the even one; or with ``decimals`` digits behind the point."""
    def rsqrt(self) -> Tensor:
        """Reciprocal square root 1 / sqrt(x); NaN of negative numbers."""
    def scatter(self, axis: int, index: Operand, src: Operand, reduce: str | None = None) -> Tensor:
        """A copy of ``x`` with elements of ``src`` where ``index`` says along ``axis`` (torch.scatter)."""
    def scatter_add(self, axis: int, index: Operand, src: Operand) -> Tensor:
        """A copy of ``x`` to which elements of ``src`` are added where ``index`` says along ``axis``; see `scatter`."""
    def scatter_reduce(self, axis: int, index: Operand, src: Operand, reduce: str, include_self: bool = True) -> Tensor:
        """A copy of ``x`` with elements of ``src`` put together where ``index`` says along ``axis``; see `scatter`."""
    def searchsorted(self, values: Operand, side: str = 'left', sorter: Operand | None = None, *, right: bool = False) -> Tensor:
        """Where ``values`` would be inserted into the sorted sequence ``x`` to keep it in order (int64, of their shape)."""
    def select(self, axis: int, index: int) -> Tensor:
        """A view at one place along ``axis``, without that axis. Raises IndexError for an index out of range."""
    @overload
    def selu(self) -> Tensor:
        """Self-normalising unit: 1.0507 times elu(x, 1.67326) (https://arxiv.org/abs/1706.02515)."""
    @overload
    def selu(self, *, inplace: bool) -> Tensor: ...
    def setdiff1d(self, y: Operand, assume_unique: bool = False) -> Tensor:
        """The distinct elements of ``x`` that are not in ``y``, in order, in one axis."""
    def setxor1d(self, y: Operand, assume_unique: bool = False) -> Tensor:
        """The distinct elements that are in one of ``x`` and ``y`` alone, in order, in one axis."""
    @overload
    def sigmoid(self) -> Tensor:
        """Logistic function 1 / (1 + e^-x), accurate in the lower tail."""
    @overload
    def sigmoid(self, *, inplace: bool) -> Tensor: ...
    def sign(self) -> Tensor:
        """Sign of x: -1, 0 or 1; NaN of NaN. Its gradient is 0."""
    def signbit(self) -> Tensor:
        """Whether the sign of each element is minus, of zeros and NaN too, as bools."""
    @overload
    def silu(self) -> Tensor:
        """Sigmoid linear unit x / (1 + e^-x), also called swish (https://arxiv.org/abs/1702.03118)."""
    @overload
    def silu(self, *, inplace: bool) -> Tensor: ...
    def sin(self) -> Tensor:
        """Sine of x in radians; NaN of infinities."""
    def sinc(self) -> Tensor:
        """Normalised sine sin(pi x) / (pi x), 1 at 0; 0 of other whole numbers, NaN of infinities."""
    def sinh(self) -> Tensor:
        """Hyperbolic sine (e^x - e^-x) / 2."""
    def sliding_window_view(self, window_shape: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Tensor:
        """All windows of ``window_shape`` along ``axis`` (one axis or several; None: all), as a view."""
    @overload
    def softmax(self, axis: int = -1) -> Tensor:
        """Probabilities along `axis`: exp(x - max(x)) / sum(exp(x - max(x)))."""
    @overload
    def softmax(self, axis: int = -1, *, dim: int | None = None, dtype: Any | None) -> Tensor: ...
    def softmin(self, axis: int = -1) -> Tensor:
        """Probabilities along ``axis`` that fall as x rises: the `softmax` of -x."""
    @overload
    def softplus(self, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
        """Smooth rectifier log(1 + e^(beta x)) / beta; x itself where beta x is above `threshold`."""
    @overload
    def softplus(self, beta: float = 1.0, threshold: float = 20.0, *, inplace: bool) -> Tensor: ...
    @overload
    def softshrink(self, lambd: float = 0.5) -> Tensor:
        """x moved towards 0 by `lambd`: x - lambd above lambd, x + lambd below -lambd, else 0."""
    @overload
    def softshrink(self, lambd: float = 0.5, *, inplace: bool) -> Tensor: ...
    @overload
    def softsign(self) -> Tensor:
        """Softsign x / (1 + |x|)."""
    @overload
    def softsign(self, *, inplace: bool) -> Tensor: ...
    def sort(self, axis: int | None = -1, descending: bool = False, stable: bool = True) -> Tensor:
        """The elements of `x` in order along `axis`, smallest first or, with `descending`, largest first."""
    def split(self, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
        """The parts of ``x`` along ``axis``, a list of views."""
    def sqrt(self) -> Tensor:
        """Square root; NaN of negative numbers."""
    def square(self) -> Tensor:
        """Square x^2."""
    def squeeze(self, axis: int | Sequence[int] | None = None) -> Tensor:
        """A view without its axes of length 1, or without those in ``axis``."""
    def std(self, axis: int | Sequence[int] | None = None, keepdims: bool = False, correction: float = 0.0) -> Tensor:
        """Standard deviation of the elements along `axis`: the square root of `var`, with its arguments."""
    def std_mean(self, axis: int | Sequence[int] | None = None, keepdims: bool = False, correction: float = 0.0) -> tuple[Tensor, Tensor]:
        """Standard deviation and mean of the elements along `axis` in one pass: (std, mean). Arguments as of `var`."""
    @overload
    def sub(self, b: Operand) -> Tensor:
        """Difference a - b. Raises DTypeError for bools: use logical_xor."""
    @overload
    def sub(self, b: Operand, *, alpha: float) -> Tensor: ...
    def sum(self, axis: int | Sequence[int] | None = None, keepdims: bool = False, dtype: Any | None = None) -> Tensor:
        """Sum of the elements along `axis`."""
    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """A view with two axes exchanged."""
    def take(self, indices: Operand, axis: int = 0) -> Tensor:
        """The elements (rows) of `x` at `indices` along `axis`: out[..., i, ...] = x[..., indices[i], ...]."""
    def take_along_axis(self, indices: Operand, axis: int | None = -1) -> Tensor:
        """The elements of ``x`` at ``indices`` along ``axis``, whose other axes go together and broadcast."""
    def tan(self) -> Tensor:
        """Tangent of x in radians; NaN of infinities."""
    @overload
    def tanh(self) -> Tensor:
        """Hyperbolic tangent."""
    @overload
    def tanh(self, *, inplace: bool) -> Tensor: ...
    def tanhshrink(self) -> Tensor:
        """What tanh takes away, x - tanh(x)."""
    def tensordot(self, b: Operand, axes: int | Sequence[int] | Sequence[Sequence[int]] = 2) -> Tensor:
        """The sums of products over pairs of axes; the others follow each other, those of `a` first."""
    @overload
    def threshold(self, threshold: float, value: float) -> Tensor:
        """x where it is above `threshold`, else `value`. The gradient at the threshold is 0."""
    @overload
    def threshold(self, threshold: float, value: float, *, inplace: bool) -> Tensor: ...
    def tile(self, reps: int | Sequence[int]) -> Tensor:
        """``x`` repeated as a whole, ``reps`` times along each axis (of the last axes where there are fewer numbers)."""
    def topk(self, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Tensor, Tensor]:
        """(values, indices): the `k` largest elements along `axis`, largest first, and where they stand (int64)."""
    def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """The sum of a diagonal: of the elements whose place along ``axis2`` is that along ``axis1`` plus ``offset``."""
    def transpose(self, axis0: int = -2, axis1: int = -1, *axes: int) -> Tensor:
        """A view with two axes exchanged. Raises IndexError for an axis out of range."""
    def tril(self, k: int = 0) -> Tensor:
        """The lower triangles of the matrices in `x`, zeros above: what lies at most `k` places right of the diagonal."""
    def triu(self, k: int = 0) -> Tensor:
        """The upper triangles of the matrices in `x`, zeros below: what lies at least `k` places right of the diagonal."""
    def trunc(self) -> Tensor:
        """x without its fraction: the next whole number towards 0. Integers stay as they are."""
    def unbind(self, axis: int = 0) -> tuple[Tensor, ...]:
        """The views of ``x`` at each place along ``axis``, which they have no more."""
    def unflatten(self, axis: int, sizes: Sequence[int]) -> Tensor:
        """A view with one axis made several of lengths ``sizes``, of which one may be -1: the inverse of `flatten`."""
    def unfold(self, axis: int, size: int, step: int = 1) -> Tensor:
        """Windows of `size` elements along `axis`, every `step` elements one, as a view: the windows' axis comes last."""
    def union1d(self, y: Operand) -> Tensor:
        """The distinct elements of ``x`` and ``y`` in order, in one axis."""
    def unique(self, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False, axis: int | None = None, *, equal_nan: bool = True) -> Tensor:
        """The distinct elements of ``x`` in order, in one axis; with what is asked for besides, a tuple in this order:"""
    def unique_all(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(values, indices, inverse_indices, counts) of the distinct elements of ``x``; see `unique`. NaNs are distinct."""
    def unique_consecutive(self, return_inverse: bool = False, return_counts: bool = False) -> Tensor:
        """The first of each run of equal elements of x, read as one line; with what else is asked for in a tuple."""
    def unique_counts(self) -> tuple[Tensor, Tensor]:
        """(values, counts) of the distinct elements of ``x``; see `unique`. NaNs are distinct."""
    def unique_inverse(self) -> tuple[Tensor, Tensor]:
        """(values, inverse_indices) of the distinct elements of ``x``; see `unique`. NaNs are distinct."""
    def unique_values(self) -> Tensor:
        """The distinct elements of `x` in order, in one axis; each NaN is distinct (array API standard)."""
    def unsqueeze(self, axis: int) -> Tensor:
        """A view with a new axis of length 1 at ``axis`` (-1: behind the last). Raises IndexError for one out of range."""
    def unstack(self, axis: int = 0) -> tuple[Tensor, ...]:
        """The views of ``x`` at each place along ``axis``: `unbind` under the array API's name."""
    def vander(self, n: int | None = None, increasing: bool = False) -> Tensor:
        """The powers of x (N,) as rows (N, n), from the highest to 0, or ``increasing``; ``n`` is N by default."""
    def var(self, axis: int | Sequence[int] | None = None, keepdims: bool = False, correction: float = 0.0) -> Tensor:
        """Variance of the elements along `axis`: sum((x - mean(x))^2) / (n - correction), n the number of elements."""
    def var_mean(self, axis: int | Sequence[int] | None = None, keepdims: bool = False, correction: float = 0.0) -> tuple[Tensor, Tensor]:
        """Variance and mean of the elements along `axis` in one pass: (var, mean). Arguments as of `var`."""
    def vdot(self, b: Operand) -> Tensor:
        """The sum of the products of all elements of `a` and `b`, taken as vectors in row-major order: 0-d."""
    def vecdot(self, b: Operand, axis: int = -1) -> Tensor:
        """The sums of a b along one axis: out[...] = the sum over k of a[..., k] b[..., k]."""
    def view_as(self, other: Operand) -> Tensor:
        """The elements of ``x`` in the shape of ``other``; a view where strides allow, else a copy."""
    def vsplit(self, indices_or_sections: int | Sequence[int]) -> list[Tensor]:
        """The parts of ``x`` along axis 0; see `split`."""
    def xlogy(self, b: Operand) -> Tensor:
        """Product a log(b), and 0 where a = 0, whatever b is but NaN."""
    absolute = abs
    arccos = acos
    arccosh = acosh
    arcsin = asin
    arcsinh = asinh
    arctan = atan
    arctan2 = atan2
    arctanh = atanh
    argwhere = nonzero
    around = round
    bitwise_invert = bitwise_not
    clamp = clip
    degrees = rad2deg
    divide = div
    equal = eq
    fabs = abs
    fix = trunc
    ger = outer
    greater = gt
    greater_equal = ge
    invert = bitwise_not
    left_shift = bitwise_left_shift
    less = lt
    less_equal = le
    mod = remainder
    movedim = moveaxis
    multiply = mul
    negative = neg
    not_equal = ne
    power = pow
    radians = deg2rad
    right_shift = bitwise_right_shift
    rint = round
    sgn = sign
    subtract = sub
    swapdims = swapaxes
    take_along_dim = take_along_axis
    tensor_split = array_split
    true_divide = div
    def abs_(self) -> Tensor:
        """`abs`, written into the tensor, which is returned."""
    def absolute_(self) -> Tensor:
        """`absolute`, written into the tensor, which is returned."""
    def acos_(self) -> Tensor:
        """`acos`, written into the tensor, which is returned."""
    def acosh_(self) -> Tensor:
        """`acosh`, written into the tensor, which is returned."""
    def arccos_(self) -> Tensor:
        """`arccos`, written into the tensor, which is returned."""
    def arccosh_(self) -> Tensor:
        """`arccosh`, written into the tensor, which is returned."""
    def arcsin_(self) -> Tensor:
        """`arcsin`, written into the tensor, which is returned."""
    def arcsinh_(self) -> Tensor:
        """`arcsinh`, written into the tensor, which is returned."""
    def arctan_(self) -> Tensor:
        """`arctan`, written into the tensor, which is returned."""
    def arctan2_(self, b: Operand) -> Tensor:
        """`arctan2`, written into the tensor, which is returned."""
    def arctanh_(self) -> Tensor:
        """`arctanh`, written into the tensor, which is returned."""
    def around_(self, decimals: int = 0) -> Tensor:
        """`around`, written into the tensor, which is returned."""
    def asin_(self) -> Tensor:
        """`asin`, written into the tensor, which is returned."""
    def asinh_(self) -> Tensor:
        """`asinh`, written into the tensor, which is returned."""
    def atan_(self) -> Tensor:
        """`atan`, written into the tensor, which is returned."""
    def atan2_(self, b: Operand) -> Tensor:
        """`atan2`, written into the tensor, which is returned."""
    def atanh_(self) -> Tensor:
        """`atanh`, written into the tensor, which is returned."""
    def bitwise_and_(self, b: Operand) -> Tensor:
        """`bitwise_and`, written into the tensor, which is returned."""
    def bitwise_invert_(self) -> Tensor:
        """`bitwise_invert`, written into the tensor, which is returned."""
    def bitwise_left_shift_(self, b: Operand) -> Tensor:
        """`bitwise_left_shift`, written into the tensor, which is returned."""
    def bitwise_not_(self) -> Tensor:
        """`bitwise_not`, written into the tensor, which is returned."""
    def bitwise_or_(self, b: Operand) -> Tensor:
        """`bitwise_or`, written into the tensor, which is returned."""
    def bitwise_right_shift_(self, b: Operand) -> Tensor:
        """`bitwise_right_shift`, written into the tensor, which is returned."""
    def bitwise_xor_(self, b: Operand) -> Tensor:
        """`bitwise_xor`, written into the tensor, which is returned."""
    def cbrt_(self) -> Tensor:
        """`cbrt`, written into the tensor, which is returned."""
    def ceil_(self) -> Tensor:
        """`ceil`, written into the tensor, which is returned."""
    def celu_(self, alpha: float = 1.0) -> Tensor:
        """`celu`, written into the tensor, which is returned."""
    def clamp_(self, min: Operand | None = None, max: Operand | None = None) -> Tensor:
        """`clamp`, written into the tensor, which is returned."""
    def clip_(self, min: Operand | None = None, max: Operand | None = None) -> Tensor:
        """`clip`, written into the tensor, which is returned."""
    def copysign_(self, b: Operand) -> Tensor:
        """`copysign`, written into the tensor, which is returned."""
    def cos_(self) -> Tensor:
        """`cos`, written into the tensor, which is returned."""
    def cosh_(self) -> Tensor:
        """`cosh`, written into the tensor, which is returned."""
    def deg2rad_(self) -> Tensor:
        """`deg2rad`, written into the tensor, which is returned."""
    def degrees_(self) -> Tensor:
        """`degrees`, written into the tensor, which is returned."""
    def digamma_(self) -> Tensor:
        """`digamma`, written into the tensor, which is returned."""
    def elu_(self, alpha: float = 1.0) -> Tensor:
        """`elu`, written into the tensor, which is returned."""
    def erf_(self) -> Tensor:
        """`erf`, written into the tensor, which is returned."""
    def erfc_(self) -> Tensor:
        """`erfc`, written into the tensor, which is returned."""
    def exp_(self) -> Tensor:
        """`exp`, written into the tensor, which is returned."""
    def exp2_(self) -> Tensor:
        """`exp2`, written into the tensor, which is returned."""
    def expm1_(self) -> Tensor:
        """`expm1`, written into the tensor, which is returned."""
    def fabs_(self) -> Tensor:
        """`fabs`, written into the tensor, which is returned."""
    def fix_(self) -> Tensor:
        """`fix`, written into the tensor, which is returned."""
    def floor_(self) -> Tensor:
        """`floor`, written into the tensor, which is returned."""
    def floor_divide_(self, b: Operand) -> Tensor:
        """`floor_divide`, written into the tensor, which is returned."""
    def fmax_(self, b: Operand) -> Tensor:
        """`fmax`, written into the tensor, which is returned."""
    def fmin_(self, b: Operand) -> Tensor:
        """`fmin`, written into the tensor, which is returned."""
    def fmod_(self, b: Operand) -> Tensor:
        """`fmod`, written into the tensor, which is returned."""
    def gcd_(self, b: Operand) -> Tensor:
        """`gcd`, written into the tensor, which is returned."""
    def gelu_(self, approximate: Literal['none', 'tanh'] = 'none') -> Tensor:
        """`gelu`, written into the tensor, which is returned."""
    def hardshrink_(self, lambd: float = 0.5) -> Tensor:
        """`hardshrink`, written into the tensor, which is returned."""
    def hardsigmoid_(self) -> Tensor:
        """`hardsigmoid`, written into the tensor, which is returned."""
    def hardswish_(self) -> Tensor:
        """`hardswish`, written into the tensor, which is returned."""
    def hardtanh_(self, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
        """`hardtanh`, written into the tensor, which is returned."""
    def heaviside_(self, values: Operand) -> Tensor:
        """`heaviside`, written into the tensor, which is returned."""
    def hypot_(self, b: Operand) -> Tensor:
        """`hypot`, written into the tensor, which is returned."""
    def invert_(self) -> Tensor:
        """`invert`, written into the tensor, which is returned."""
    def lcm_(self, b: Operand) -> Tensor:
        """`lcm`, written into the tensor, which is returned."""
    def leaky_relu_(self, negative_slope: float = 0.01) -> Tensor:
        """`leaky_relu`, written into the tensor, which is returned."""
    def left_shift_(self, b: Operand) -> Tensor:
        """`left_shift`, written into the tensor, which is returned."""
    def lerp_(self, b: Operand, weight: Operand) -> Tensor:
        """`lerp`, written into the tensor, which is returned."""
    def lgamma_(self) -> Tensor:
        """`lgamma`, written into the tensor, which is returned."""
    def log_(self) -> Tensor:
        """`log`, written into the tensor, which is returned."""
    def log10_(self) -> Tensor:
        """`log10`, written into the tensor, which is returned."""
    def log1p_(self) -> Tensor:
        """`log1p`, written into the tensor, which is returned."""
    def log2_(self) -> Tensor:
        """`log2`, written into the tensor, which is returned."""
    def logaddexp_(self, b: Operand) -> Tensor:
        """`logaddexp`, written into the tensor, which is returned."""
    def logsigmoid_(self) -> Tensor:
        """`logsigmoid`, written into the tensor, which is returned."""
    def maximum_(self, b: Operand) -> Tensor:
        """`maximum`, written into the tensor, which is returned."""
    def minimum_(self, b: Operand) -> Tensor:
        """`minimum`, written into the tensor, which is returned."""
    def mish_(self) -> Tensor:
        """`mish`, written into the tensor, which is returned."""
    def mod_(self, b: Operand) -> Tensor:
        """`mod`, written into the tensor, which is returned."""
    def multiply_(self, b: Operand) -> Tensor:
        """`multiply`, written into the tensor, which is returned."""
    def nan_to_num_(self, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
        """`nan_to_num`, written into the tensor, which is returned."""
    def neg_(self) -> Tensor:
        """`neg`, written into the tensor, which is returned."""
    def negative_(self) -> Tensor:
        """`negative`, written into the tensor, which is returned."""
    def nextafter_(self, b: Operand) -> Tensor:
        """`nextafter`, written into the tensor, which is returned."""
    def pow_(self, b: Operand) -> Tensor:
        """`pow`, written into the tensor, which is returned."""
    def power_(self, b: Operand) -> Tensor:
        """`power`, written into the tensor, which is returned."""
    def rad2deg_(self) -> Tensor:
        """`rad2deg`, written into the tensor, which is returned."""
    def radians_(self) -> Tensor:
        """`radians`, written into the tensor, which is returned."""
    def reciprocal_(self) -> Tensor:
        """`reciprocal`, written into the tensor, which is returned."""
    def relu_(self) -> Tensor:
        """`relu`, written into the tensor, which is returned."""
    def relu6_(self) -> Tensor:
        """`relu6`, written into the tensor, which is returned."""
    def remainder_(self, b: Operand) -> Tensor:
        """`remainder`, written into the tensor, which is returned."""
    def right_shift_(self, b: Operand) -> Tensor:
        """`right_shift`, written into the tensor, which is returned."""
    def rint_(self, decimals: int = 0) -> Tensor:
        """`rint`, written into the tensor, which is returned."""
    def round_(self, decimals: int = 0) -> Tensor:
        """`round`, written into the tensor, which is returned."""
    def rsqrt_(self) -> Tensor:
        """`rsqrt`, written into the tensor, which is returned."""
    def selu_(self) -> Tensor:
        """`selu`, written into the tensor, which is returned."""
    def sgn_(self) -> Tensor:
        """`sgn`, written into the tensor, which is returned."""
    def sigmoid_(self) -> Tensor:
        """`sigmoid`, written into the tensor, which is returned."""
    def sign_(self) -> Tensor:
        """`sign`, written into the tensor, which is returned."""
    def silu_(self) -> Tensor:
        """`silu`, written into the tensor, which is returned."""
    def sin_(self) -> Tensor:
        """`sin`, written into the tensor, which is returned."""
    def sinc_(self) -> Tensor:
        """`sinc`, written into the tensor, which is returned."""
    def sinh_(self) -> Tensor:
        """`sinh`, written into the tensor, which is returned."""
    def softplus_(self, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
        """`softplus`, written into the tensor, which is returned."""
    def softshrink_(self, lambd: float = 0.5) -> Tensor:
        """`softshrink`, written into the tensor, which is returned."""
    def softsign_(self) -> Tensor:
        """`softsign`, written into the tensor, which is returned."""
    def sqrt_(self) -> Tensor:
        """`sqrt`, written into the tensor, which is returned."""
    def square_(self) -> Tensor:
        """`square`, written into the tensor, which is returned."""
    def subtract_(self, b: Operand) -> Tensor:
        """`subtract`, written into the tensor, which is returned."""
    def tan_(self) -> Tensor:
        """`tan`, written into the tensor, which is returned."""
    def tanh_(self) -> Tensor:
        """`tanh`, written into the tensor, which is returned."""
    def threshold_(self, threshold: float, value: float) -> Tensor:
        """`threshold`, written into the tensor, which is returned."""
    def trunc_(self) -> Tensor:
        """`trunc`, written into the tensor, which is returned."""
    def xlogy_(self, b: Operand) -> Tensor:
        """`xlogy`, written into the tensor, which is returned."""
