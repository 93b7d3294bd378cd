"""Parts of images, each from a place of its own: what random crops, translations and mirrored images are made of."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from dlcore.dtypes import DTYPES, bool_, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Op, Sample, Shape, Spec, Workload, as_given
from dlcore.ops.elementwise import add, neg, where
from dlcore.ops.movement import reshape, stack

__all__ = ["crop"]

Lengths = tuple[int, ...]


def _size(shape: Lengths, layout: str) -> Lengths:
    """(height, width) of images."""
    return shape[-2:] if layout == "NCHW" else shape[-3:-1]


def _numpy_crop(x: Any, start: Any, flip: Any, size: Lengths, layout: str) -> Any:
    x = x if layout == "NCHW" else np.moveaxis(x, -1, 1)
    height, width = (size * 2)[:2] if len(size) == 1 else size
    out = np.zeros((*x.shape[:-2], height, width), x.dtype)
    for n, (top, left) in enumerate(start):
        for i in range(height):
            for j in range(width):
                y, z = top + i, left + (width - 1 - j if flip is not None and flip[n] else j)
                if 0 <= y < x.shape[-2] and 0 <= z < x.shape[-1]:
                    out[n, ..., i, j] = x[n, ..., y, z]
    return out if layout == "NCHW" else np.moveaxis(out, 1, -1)


def _adjoint(dout: Any, start: Any, flip: Any, x_shape: Lengths, size: Lengths, layout: str) -> Any:
    """The part of ``dout`` that the image is: from the place to which its first pixel went."""
    back, column = neg(start), None
    if flip is not None:
        column = where(flip, add(start[:, 1], size[-1] - _size(x_shape, layout)[1]), back[:, 1])
        back = stack([back[:, 0], column], 1)
    return crop(dout, back, flip, _size(x_shape, layout), layout)


def _of_examples(call: Any) -> Any:
    """Of all examples: one larger batch."""
    x, start, flip = (call.full(k) for k in range(3))
    n = call.specs[0].shape[0]
    parts = [None if t is None else reshape(t, (call.size * n, *t.shape[2:])) for t in (x, start, flip)]
    return reshape(crop(*parts, *call.attrs), (call.size, *call.outputs[0].shape))


_STARTS = np.array([[-1, 2], [1, -2]])
_FLIPS = np.array([True, False])


@Op.definition(
    family="resize", promote=as_given, dtypes=DTYPES, ulp=0, batch=_of_examples,
    kernels={"cpu": "resize:crop", "cuda": "resize.crop:crop"}, reference=_numpy_crop,
    gradient={"x": _adjoint},
    params=lambda size, layout: (size[0], size[-1], int(layout == "NHWC")),
    cost=lambda x, size: (0.0, 2.0 * x.dtype.itemsize * x.shape[0] * max(size) ** 2),
    samples=[
        Sample((2, 3, 4, 5), _STARTS, _FLIPS, size=(4, 5), why="moved, one mirrored"),
        Sample((2, 5, 4), _STARTS, size=(2, 3), why="no channels"),
        Sample((2, 4, 5, 3), _STARTS, _FLIPS, size=(6, 4), layout="NHWC", why="channels last"),
        Sample((2, 2, 3, 3), np.array([[9, 0], [0, -9]]), _FLIPS, size=(3,), why="beyond the image"),
        Sample((0, 3, 4, 5), np.zeros((0, 2), np.int64), size=(2,), why="no images"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "crop: images (N, ..., H, W) expected, not shape (4, 4)", np.zeros((4, 4)), _STARTS,
                   size=(2,)),
        ErrorInput(ShapeError, "crop: start has shape (2, 2), not (3, 2)", np.zeros((3, 4, 4)), _STARTS, size=(2,)),
        ErrorInput(ShapeError, "crop: flip has shape (3,), not (2,)", np.zeros((2, 4, 4)), _STARTS,
                   np.zeros(3, bool), size=(2,)),
        ErrorInput(ShapeError, "crop: size (0, 2) is not (height, width), both positive", np.zeros((2, 4, 4)), _STARTS,
                   size=(0, 2)),
        ErrorInput(DTypeError, "crop: start is of dtype int32, not int64", np.zeros((2, 4, 4)),
                   _STARTS.astype(np.int32), size=(2,)),
    ],
    workloads=[
        Workload(((128, 28, 28), Input((128, 2), -3, 4, int64), Input((128,), dtype=bool_)), ((28, 28),),
                 "a batch of images"),
        Workload(((128, 3, 32, 32), Input((128, 2), -4, 5, int64), Input((128,), dtype=bool_)), ((32, 32),),
                 "a batch of images"),
    ],
    baselines={"torch": (
        "i = torch.arange(size[0]); j = torch.arange(size[1]); n = x.shape[0]\n"
        "p = max(size)\npadded = F.pad(x, (p, p, p, p))\n"
        "rows = start[:, :1] + i + p\n"
        "columns = start[:, 1:] + torch.where(flip[:, None], size[1] - 1 - j, j) + p\n"
        "axes = [torch.arange(m).reshape(-1, *[1] * (x.ndim - 1 - d)) for d, m in enumerate(x.shape[:-2])]\n"
        "shape = (n, *[1] * (x.ndim - 3))",
        "padded[(*axes, rows.reshape(*shape, -1, 1), columns.reshape(*shape, 1, -1))]",
    )},
)  # fmt: skip
def crop(
    x: Spec, start: Spec, flip: Spec | None, size: Shape, layout: Literal["NCHW", "NHWC"] = "NCHW"
) -> Spec:
    """A part of each image from a place of its own: `x` (N, ..., H, W) gives (N, ..., height, width).

    `start`: (N, 2) int64, the row and column of x where each part begins; outside of x are zeros. `flip`: (N) bool:
    which parts are mirrored, left to right. `size`: (height, width), or one number for both. `layout`: "NHWC" for
    images (N, ..., H, W, C). Raises ShapeError where shapes do not fit.

    >>> dl.crop(dl.tensor([[[1, 2, 3]]]), dl.tensor([[0, 1]]), size=(1, 3)).tolist()
    [[[2, 3, 0]]]
    """
    least = 3 if layout == "NCHW" else 4
    if len(x.shape) < least:
        expected = "(N, ..., H, W)" if layout == "NCHW" else "(N, ..., H, W, C)"
        raise ShapeError(f"crop: images {expected} expected, not shape {x.shape}")
    if start.dtype is not int64:
        raise DTypeError(f"crop: start is of dtype {start.dtype.name}, not int64")
    if start.shape != (x.shape[0], 2):
        raise ShapeError(f"crop: start has shape {start.shape}, not ({x.shape[0]}, 2)")
    if flip is not None and flip.dtype is not bool_:
        raise DTypeError(f"crop: flip is of dtype {flip.dtype.name}, not bool")
    if flip is not None and flip.shape != (x.shape[0],):
        raise ShapeError(f"crop: flip has shape {flip.shape}, not ({x.shape[0]},)")
    if len(size) not in (1, 2) or min(size) < 1:
        raise ShapeError(f"crop: size {size} is not (height, width), both positive")
    behind = () if layout == "NCHW" else x.shape[-1:]
    return Spec((*x.shape[: len(x.shape) - 2 - len(behind)], size[0], size[-1], *behind), x.dtype)
