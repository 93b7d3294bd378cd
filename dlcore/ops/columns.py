"""Windows of images as columns, and columns added up to images: what `nn.functional.unfold` and `fold` are.

PyTorch's names: `Tensor.unfold` is another function, which walks along one axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore.dtypes import FLOATS
from dlcore.errors import ShapeError
from dlcore.op import ErrorInput, Op, Sample, Shape, Spec, Workload, as_given
from dlcore.ops._workloads import bytes_of
from dlcore.ops.movement import reshape

__all__ = ["col2im", "im2col"]

Lengths = tuple[int, ...]


def _pair(name: str, what: str, given: Lengths, least: int) -> Lengths:
    """One number for each of both axes."""
    if len(given) not in (1, 2):
        raise ShapeError(f"{name}: {what} {given} is neither one number nor a pair")
    if min(given) < least:
        raise ShapeError(f"{name}: {what} is {given}; it must be at least {least}")
    return given if len(given) == 2 else given * 2


def _four(name: str, kernel_size: Lengths, dilation: Lengths, padding: Lengths, stride: Lengths) -> list[Lengths]:
    return [
        _pair(name, what, given, least)
        for what, given, least in (
            ("kernel_size", kernel_size, 1), ("dilation", dilation, 1), ("padding", padding, 0), ("stride", stride, 1),
        )
    ]  # fmt: skip


def _counts(name: str, size: Sequence[int], four: Sequence[Lengths]) -> Lengths:
    """How many windows there are along each axis."""
    kernel, dilation, padding, stride = four
    found = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, d, p, s in zip(size, kernel, dilation, padding, stride, strict=True)
    )
    if min(found) < 1:
        raise ShapeError(
            f"{name}: kernel_size {kernel} with dilation {dilation} does not fit images of {size[0]} x {size[1]} "
            f"with padding {padding}: there would be {found[0]} x {found[1]} windows"
        )
    return found


class _Columns(Op):
    """im2col and col2im."""

    family = "resize"
    promote = staticmethod(as_given)
    dtypes = FLOATS
    kinds = ("float",)

    def family_kernels(self) -> dict[str, str]:
        return {"cpu": f"resize:{self.name}", "cuda": f"resize.columns:{self.name}"}

    def batch(self, call: Any) -> Any:
        """Of all examples: one larger batch of images."""
        x, given, out = call.values[0], call.specs[0].shape, call.outputs[0].shape
        whole = len(given) == (4 if self.name == "im2col" else 3)
        found = call.run([reshape(x, (call.size * given[0], *given[1:])) if whole else x])
        return reshape(found, (call.size, *out))

    def cost(self, x: Spec) -> tuple[float, float]:
        """Columns are written or read once, and the image as well."""
        return float(math.prod(x.shape)), 2 * bytes_of(x)


def _windows_of(size: Lengths, four: Sequence[Lengths]) -> Iterator[tuple[int, int, Any]]:
    """(row, column) of each tap and the places of the padded image where it stands in all windows."""
    kernel, dilation, padding, stride = four
    spans = [n + 2 * p - d * (k - 1) for n, k, d, p in zip(size, kernel, dilation, padding, strict=True)]
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            at = (i * dilation[0], j * dilation[1])
            yield i, j, tuple(slice(a, a + n, s) for a, n, s in zip(at, spans, stride, strict=True))


def _numpy_four(*given: Lengths) -> list[Lengths]:
    return [tuple(g) if len(g) == 2 else tuple(g) * 2 for g in given]


def _numpy_im2col(x: Any, kernel_size: Lengths, dilation: Lengths, padding: Lengths, stride: Lengths) -> Any:
    four = _numpy_four(kernel_size, dilation, padding, stride)
    padded = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(p, p) for p in four[2]])
    rows = [padded[(..., *places)] for _, _, places in _windows_of(x.shape[-2:], four)]
    out = np.stack(rows, -3)
    return out.reshape(*x.shape[:-3], x.shape[-3] * len(rows), -1 if out.size else math.prod(out.shape[-2:]))


def _numpy_col2im(
    x: Any, output_size: Lengths, kernel_size: Lengths, dilation: Lengths, padding: Lengths, stride: Lengths
) -> Any:
    four = _numpy_four(kernel_size, dilation, padding, stride)
    (size,) = _numpy_four(output_size)
    taps = math.prod(four[0])
    channels = x.shape[-2] // taps
    padded = np.zeros((*x.shape[:-2], channels, *(n + 2 * p for n, p in zip(size, four[2], strict=True))), x.dtype)
    for k, (_, _, places) in enumerate(_windows_of(size, four)):
        part = padded[(..., *places)]
        part += x.reshape(*x.shape[:-2], channels, taps, x.shape[-1])[..., k, :].reshape(part.shape)
    top, left = four[2]
    return padded[..., top : top + size[0], left : left + size[1]]


_CASES: list[tuple[Lengths, dict[str, Any], str]] = [
    ((2, 3, 5, 7), {"kernel_size": (3,), "padding": (1,)}, "overlapping"),
    ((1, 2, 9, 8), {"kernel_size": (2, 3), "dilation": (2, 1), "stride": (3, 2), "padding": (0, 2)}, "all attributes"),
    ((2, 6, 6), {"kernel_size": (2,), "stride": (2,)}, "one image"),
    ((0, 2, 4, 4), {"kernel_size": (3,)}, "no images"),
    ((1, 1, 3, 3), {"kernel_size": (5,), "padding": (2,), "stride": (4,)}, "mostly padding"),
]
_RAGGED = ((16, 16, 32, 32), {"kernel_size": (3,), "padding": (1,)}, "a layer of 16 channels")


def _columns_shape(shape: Lengths, options: dict[str, Any]) -> Lengths:
    four = _numpy_four(*(options.get(k, d) for k, d in _DEFAULTS))
    return _inferred(shape, four)


_DEFAULTS = (("kernel_size", (1,)), ("dilation", (1,)), ("padding", (0,)), ("stride", (1,)))


def _inferred(shape: Lengths, four: Sequence[Lengths]) -> Lengths:
    counts = _counts("im2col", shape[-2:], four)
    return (*shape[:-3], shape[-3] * math.prod(four[0]), math.prod(counts))


def _params(size: Sequence[int], *given: Lengths) -> list[int]:
    four = _numpy_four(*given)
    return [*(n for pair in four for n in pair), *size]


@_Columns.definition(
    reference=_numpy_im2col,
    params=lambda x, kernel_size, dilation, padding, stride: _params(
        x.shape[-2:], kernel_size, dilation, padding, stride),
    gradient=lambda dout, x_shape, kernel_size, dilation, padding, stride: col2im(
        dout, x_shape[-2:], kernel_size, dilation, padding, stride),
    samples=[Sample(shape, why=why, **options) for shape, options, why in _CASES],
    error_inputs=[
        ErrorInput(ShapeError, "im2col: images (N, C, H, W) or (C, H, W) expected, not shape (4, 4)",
                   np.zeros((4, 4)), kernel_size=2),
        ErrorInput(ShapeError, "im2col: kernel_size (5, 5) with dilation (1, 1) does not fit images of 4 x 3 with "
                   "padding (0, 0): there would be 0 x -1 windows", np.zeros((1, 4, 3)), kernel_size=5),
        ErrorInput(ShapeError, "im2col: stride is (0,); it must be at least 1", np.zeros((1, 4, 3)), kernel_size=1,
                   stride=0),
        ErrorInput(ShapeError, "im2col: padding (1, 2, 3) is neither one number nor a pair", np.zeros((1, 4, 3)),
                   kernel_size=1, padding=(1, 2, 3)),
    ],
    workloads=[
        Workload((_RAGGED[0],), ((3,), (1,), (1,), (1,)), _RAGGED[2]),
        Workload(((8, 3, 63, 65),), ((5,), (1,), (2,), (2,)), "ragged"),
    ],
    baselines={"torch": "F.unfold(x, kernel_size, dilation, padding, stride)"}, ulp=0,
)  # fmt: skip
def im2col(x: Spec, kernel_size: Shape, dilation: Shape = (1,), padding: Shape = (0,), stride: Shape = (1,)) -> Spec:
    """Windows of images as columns: `x` (N, C, H, W) gives (N, C kh kw, L), L windows in row-major order.

    `kernel_size`: (kh, kw), the size of a window, whose elements lie `dilation` apart; windows begin `stride` apart;
    images have `padding` zeros on every side before. Each a pair, or one number for both axes. (C, H, W) is one image.
    What `nn.functional.unfold` is; `Tensor.unfold` walks along one axis. Raises ShapeError where no window fits.

    >>> dl.im2col(dl.arange(9.0).reshape(1, 3, 3), 2).tolist()
    [[0.0, 1.0, 3.0, 4.0], [1.0, 2.0, 4.0, 5.0], [3.0, 4.0, 6.0, 7.0], [4.0, 5.0, 7.0, 8.0]]
    """
    if len(x.shape) not in (3, 4):
        raise ShapeError(f"im2col: images (N, C, H, W) or (C, H, W) expected, not shape {x.shape}")
    return Spec(_inferred(x.shape, _four("im2col", kernel_size, dilation, padding, stride)), x.dtype)


@_Columns.definition(
    reference=_numpy_col2im, ulp=8,  # at most 25 terms a sum in the samples
    magnitude=lambda x, output_size, kernel_size, dilation, padding, stride: _numpy_col2im(
        np.abs(x), output_size, kernel_size, dilation, padding, stride),
    params=lambda output_size, kernel_size, dilation, padding, stride: _params(
        _numpy_four(output_size)[0], kernel_size, dilation, padding, stride),
    gradient=lambda dout, kernel_size, dilation, padding, stride: im2col(dout, kernel_size, dilation, padding, stride),
    samples=[
        Sample(_columns_shape(shape, options), output_size=shape[-2:], why=why, **options)
        for shape, options, why in _CASES
    ],
    error_inputs=[
        ErrorInput(ShapeError, "col2im: columns (N, C kh kw, L) or (C kh kw, L) expected, not shape (4,)",
                   np.zeros(4), output_size=2, kernel_size=1),
        ErrorInput(ShapeError, "col2im: 6 rows are no multiple of the 4 elements of kernel_size (2, 2)",
                   np.zeros((6, 4)), output_size=3, kernel_size=2),
        ErrorInput(ShapeError, "col2im: 5 columns for images of 3 x 3, which have 2 x 2 windows", np.zeros((4, 5)),
                   output_size=3, kernel_size=2),
        ErrorInput(ShapeError, "col2im: output_size is (0,); it must be at least 1", np.zeros((4, 5)),
                   output_size=0, kernel_size=2),
    ],
    workloads=[
        Workload((_columns_shape(*_RAGGED[:2]),), ((32, 32), (3,), (1,), (1,), (1,)), _RAGGED[2]),
        Workload((_columns_shape((8, 3, 63, 65), {"kernel_size": (5,), "padding": (2,), "stride": (2,)}),),
                 ((63, 65), (5,), (1,), (2,), (2,)), "ragged"),
    ],
    baselines={"torch": (
        "size = tuple(output_size)", "F.fold(x, size, kernel_size, dilation, padding, stride)",
    )},
)  # fmt: skip
def col2im(
    x: Spec, output_size: Shape, kernel_size: Shape, dilation: Shape = (1,), padding: Shape = (0,),
    stride: Shape = (1,),
) -> Spec:  # fmt: skip
    """Images of `output_size` (H, W) to which columns of windows add up: `x` (N, C kh kw, L) gives (N, C, H, W).

    The adjoint of `im2col`, whose arguments it has: where windows overlap their elements add up, in float32 or wider
    and in a fixed order. What `nn.functional.fold` is. (C kh kw, L) gives (C, H, W). Raises ShapeError where the
    columns are not those of such images.

    >>> dl.col2im(dl.ones(4, 4), 3, 2).tolist()
    [[[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]]
    """
    if len(x.shape) not in (2, 3):
        raise ShapeError(f"col2im: columns (N, C kh kw, L) or (C kh kw, L) expected, not shape {x.shape}")
    size = _pair("col2im", "output_size", output_size, 1)
    four = _four("col2im", kernel_size, dilation, padding, stride)
    counts, taps = _counts("col2im", size, four), math.prod(four[0])
    if x.shape[-2] % taps:
        raise ShapeError(f"col2im: {x.shape[-2]} rows are no multiple of the {taps} elements of kernel_size {four[0]}")
    if x.shape[-1] != math.prod(counts):
        raise ShapeError(
            f"col2im: {x.shape[-1]} columns for images of {size[0]} x {size[1]}, which have {counts[0]} x {counts[1]} "
            "windows"
        )
    return Spec((*x.shape[:-2], x.shape[-2] // taps, *size), x.dtype)
