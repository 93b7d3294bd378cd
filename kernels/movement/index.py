"""What the kernels that follow indices share: reading and checking them, and who writes last to a place.

An index k < 0 counts from the end; a token does not, it is out of range. What is out of range is reported once it is
met: BAD_INDEX, or BAD_TOKEN, and the smallest position of such an index, by integer atomics, so that what is raised
does not depend on the order of blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlcore.dtypes import DType, int32, int64
from dlcore.kernels.common.pointwise import MOST_AXES, merged_axes
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    BAD_INDEX,
    BAD_TOKEN,
    Errors,
    In,
    Launch,
    Temp,
    View,
    Workspace,
    ceil_div,
    contiguous_strides,
)

BAD, NO_TOKEN, MOST = tl.constexpr(BAD_INDEX), tl.constexpr(BAD_TOKEN), tl.constexpr(2**63 - 1)


@jit
def report(errors, wrong, i, CODE: tl.constexpr):
    """Says what CODE stands for, of the elements numbered i, where `wrong`."""
    if tl.max(wrong.to(tl.int32)) != 0:
        tl.atomic_max(errors, tl.full((), CODE, tl.int64), sem="relaxed")
        tl.atomic_min(errors + 1, tl.min(tl.where(wrong, i.to(tl.int64), MOST)), sem="relaxed")


@jit
def placed(k, length):
    """(places, whether they are in [0, length)) of indices k."""
    place = tl.where(k < 0, k + length, k)
    return place, (place >= 0) & (place < length)


@jit
def find(indices, i, inside, length, errors, TOKENS: tl.constexpr = False, padding=None):
    """(places in [0, length), whether they are good) of the indices, or TOKENS, numbered i, where `inside`.

    `padding` is neither good nor wrong."""
    place = tl.load(indices + i, inside, 0).to(tl.int64)
    if padding is not None:
        inside &= place != padding
    if TOKENS:
        good = (place >= 0) & (place < length)
        report(errors, inside & (good == 0), i, NO_TOKEN)
    else:
        place, good = placed(place, length)
        report(errors, inside & (good == 0), i, BAD)
    return place, inside & good


@jit
def claim_kernel(indices, last, errors, n, length, TOKENS: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    place, good = find(indices, i, i < n, length, errors, TOKENS)
    tl.atomic_max(last + place, (i + 1).to(last.dtype.element_ty), good, sem="relaxed")


@jit
def numbers(INDEX: tl.constexpr, BLOCK: tl.constexpr):
    """The numbers of the elements of this program."""
    return tl.program_id(0).to(INDEX) * BLOCK + tl.arange(0, BLOCK)


def claims(n: int) -> DType:
    """The dtype of the table of last writers of ``n`` indices."""
    return int32 if n < 2**31 - 1 else int64


def claim_space(places: int, n: int) -> Workspace:
    """The table: for each place one more than the number of the last index that names it, 0 if none does."""
    return Workspace(places * claims(n).itemsize, zeroed=True)


def claim(indices: View, places: int, tokens: bool = False) -> Launch:
    """Fills the table, workspace 0, from input 1: a maximum of integers, so the order of blocks does not matter."""
    n, block = indices.size, 1024
    last = Temp(0, claims(n))
    args = {"indices": In(1), "last": last, "errors": Errors(), "n": n, "length": places, "TOKENS": tokens}
    args["BLOCK"] = block
    return Launch(claim_kernel, (ceil_div(n, block),), args)


def axis_args(shape: Sequence[int], **strides: Sequence[int]) -> dict[str, Any]:
    """Arguments n0, n1, ... and for each name s in ``strides`` s0, s1, ...: the merged axes of a row-major walk over
    ``shape``, innermost first, as `walk` takes them."""
    axes = merged_axes(shape, [contiguous_strides(shape), *strides.values()])[::-1]
    args: dict[str, Any] = {}
    for d in range(MOST_AXES):
        args[f"n{d}"] = axes[d].length if d < len(axes) else None
        for k, name in enumerate(strides):
            args[f"{name}{d}"] = (axes[d].strides[k + 1] or None) if d < len(axes) else None
    return args
