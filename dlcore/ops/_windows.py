"""Windows of poolings: their lengths, what is wrong with them, and their elements for NumPy's references."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from dlcore._arguments import choice, integers, operand, remembered
from dlcore.errors import ShapeError
from dlcore.op import Op, Spec
from dlcore.ops._workloads import bytes_of
from dlcore.ops.movement import reshape

__all__ = [
    "Ints", "Layout", "Pooled", "batched", "lacks_batch", "lengths_of_windows", "over_space", "positions", "spatial",
    "stride_of", "volume", "windows_on", "with_space",
]  # fmt: skip

Ints = tuple[int, ...]
Layout = Literal["NCHW", "NHWC"]


# ---- shapes ---------------------------------------------------------------------------------------------------------


def spatial(shape: Ints, layout: str) -> Ints:
    """The lengths of the axes in space of (N, C, *space) or (N, *space, C)."""
    return shape[2:] if layout == "NCHW" else shape[1:-1]


def with_space(shape: Ints, space: Ints, layout: str) -> Ints:
    """``shape`` with other lengths in space."""
    return (*shape[:2], *space) if layout == "NCHW" else (*shape[:1], *space, *shape[-1:])


def over_space(value: Any, rank: int, where: str) -> Ints:
    """``value``, one number for all ``rank`` axes in space or one for each, as a tuple."""
    found = integers(value, where)
    if len(found) == 1:
        return found * rank
    if len(found) != rank:
        raise ShapeError(f"{where} {found} has {len(found)} numbers; there are {rank} axes in space")
    return found


def stride_of(value: Any, kernel: Ints, where: str) -> Ints:
    """The stride that was given; None and () stand for the kernel's lengths."""
    given = value is not None and not (isinstance(value, tuple) and not value)
    return over_space(value, len(kernel), where) if given else kernel


def _at_least(least: int, name: str, what: str, values: Ints) -> None:
    if min(values, default=least) < least:
        raise ShapeError(f"{name}: {what} {values}; each must be at least {least}")


def _check_numbers(name: str, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> None:
    _at_least(1, name, "kernel_size", kernel)
    _at_least(1, name, "stride", stride)
    _at_least(0, name, "padding", padding)
    _at_least(1, name, "dilation", dilation)
    reach = _reach(kernel, dilation)
    if any(2 * p > r for p, r in zip(padding, reach, strict=True)):
        raise ShapeError(f"{name}: padding {padding} is more than half of windows of {reach}")


def _count(n: int, reach: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """Windows along an axis of ``n`` elements; less than 1 where none fits."""
    count = (n + 2 * padding - reach + (stride - 1 if ceil_mode else 0)) // stride + 1
    return count - 1 if ceil_mode and (count - 1) * stride >= n + padding else count


def _reach(kernel: Ints, dilation: Ints) -> Ints:
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))


def lengths_of_windows(
    name: str, shape: Ints, space: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil_mode: bool
) -> Ints:
    """The output's lengths in space, as PyTorch has them; raises ShapeError where windows do not fit.

    With ``ceil_mode`` a last window may reach beyond the end, if it begins in the input or the padding before it.
    """
    _check_numbers(name, kernel, stride, padding, dilation)
    reach = _reach(kernel, dilation)
    found = [_count(*given, ceil_mode) for given in zip(space, reach, stride, padding, strict=True)]
    if min(found, default=1) < 1 or 0 in space:
        out = tuple(max(n, 0) for n in found)
        text = f"windows of {reach} on shape {shape} with padding {padding}"
        raise ShapeError(f"{name}: {text}: the output would be {out} in space")
    return tuple(found)


def check_windows(
    name: str, x: Ints, size: Ints, windows: tuple[Ints, ...], layout: str
) -> None:
    """Raises ShapeError unless ``size`` windows lie so in an input of shape ``x``; adaptive ones have kernel ()."""
    if not 3 <= len(x) <= 5:
        raise ShapeError(f"{name}: shape {x} has no batch, channels and 1 to 3 axes in space")
    space = spatial(x, layout)
    kernel, stride, padding, dilation = windows
    if {len(values) for values in windows} != {len(space) if kernel else 0}:
        raise ShapeError(f"{name}: windows of {len(kernel)} axes for shape {x}")
    if len(size) != len(space):
        raise ShapeError(f"{name}: size {size} for shape {x}")
    if not kernel:
        _at_least(0, name, "size", size)
        if 0 in space:
            raise ShapeError(f"{name}: shape {x} has no elements in space")
        return
    _check_numbers(name, kernel, stride, padding, dilation)
    along = list(zip(space, _reach(kernel, dilation), stride, padding, strict=True))
    fewest, most = ([_count(*given, rounds) for given in along] for rounds in (False, True))
    if 0 in space or any(n < 1 or not low <= n <= high for n, low, high in zip(size, fewest, most, strict=True)):
        raise ShapeError(f"{name}: windows on shape {x} give {tuple(most)} in space, not {size}")


def volume(space: Ints, size: Ints, kernel: Ints) -> int:
    """Positions of a window; of adaptive ones as many as the widest could have."""
    if kernel:
        return math.prod(kernel)
    return math.prod(n // o if o and n % o == 0 else min(n, n // max(o, 1) + 2)
                     for n, o in zip(space, size, strict=True))  # fmt: skip


def lacks_batch(shape: Ints, rank: int, name: str, layout: str) -> bool:
    """Whether ``shape`` is that of one image: (C, *space) or (*space, C). Raises unless it is that or of several."""
    choice(layout, ("NCHW", "NHWC"), f"{name}: layout")
    if len(shape) not in (rank + 1, rank + 2):
        axes = "C, " + ", ".join("DHW"[3 - rank :]) if layout == "NCHW" else ", ".join("DHW"[3 - rank :]) + ", C"
        raise ShapeError(f"{name}: shape {shape} is neither ({axes}) nor (N, {axes})")
    return len(shape) == rank + 1


def batched(input: Any, rank: int, name: str, layout: str) -> tuple[Any, bool]:
    """The operand as (N, C, *space) or (N, *space, C), and whether it had no batch."""
    x = operand(input, name, "input")
    alone = lacks_batch(x.shape, rank, name, layout)
    return reshape(x, (1, *x.shape)) if alone else x, alone


@remembered
def windows_on(
    shape: Ints, rank: int, name: str, windows: tuple[Any, Any, Any, Any], rounds: int, layout: str
) -> tuple[bool, tuple[Ints, Ints, Ints, Ints, Ints]]:
    """Whether an operand of ``shape`` has no batch; the output's lengths in space, kernel, stride, padding, dilation.

    ``windows``: the last four as they were given (stride None: the kernel); ``rounds``: 1 for ceil_mode.
    """
    alone = lacks_batch(shape, rank, name, layout)
    kernel = over_space(windows[0], rank, f"{name}: kernel_size")
    stride = stride_of(windows[1], kernel, f"{name}: stride")
    padding = over_space(windows[2], rank, f"{name}: padding")
    dilation = over_space(windows[3], rank, f"{name}: dilation")
    space = spatial((1, *shape) if alone else shape, layout)
    size = lengths_of_windows(name, shape, space, kernel, stride, padding, dilation, bool(rounds))
    return alone, (size, kernel, stride, padding, dilation)


# ---- the family -----------------------------------------------------------------------------------------------------


def _folded(call: Any) -> Any:
    """The examples of a vmap as more images of the batch."""
    values = [call.full(k) for k in range(len(call.values))]
    found = call.run([v if v is None else reshape(v, (v.shape[0] * v.shape[1], *v.shape[2:])) for v in values])
    several = found if isinstance(found, tuple) else (found,)
    split = tuple(reshape(f, (call.size, f.shape[0] // max(call.size, 1), *f.shape[1:])) for f in several)
    return split if isinstance(found, tuple) else split[0]


def window_numbers(size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, layout: str) -> Ints:
    """What kernels are told: the layout, then kernels, strides, padding and dilations; zeros of adaptive windows."""
    none = (0,) * len(size)
    numbers = (kernel, stride, padding, dilation) if kernel else (none, none, none, none)
    return (int(layout == "NHWC"), *(n for several in numbers for n in several))


class Pooled(Op):
    """An operation of windows over the axes in space of (N, C, *space) or (N, *space, C).

    Where they lie is said by ``kernel``, ``stride``, ``padding`` and ``dilation``, a number for each axis, or by kernel
    (): then they share out each axis as adaptive poolings do.
    """

    family = "pool"
    dtypes = Op.dtypes
    kinds: Sequence[str] = ("float",)
    batch = staticmethod(_folded)
    params: Any = staticmethod(window_numbers)

    def family_kernels(self) -> dict[str, str]:
        return {"cpu": f"pool:{self.name}", "cuda": f"pool.pool:{self.name}"}


def pooled_cost(read: Spec, written: Spec, positions: int) -> tuple[float, float]:
    """An operation for each position of each window; both read or written once."""
    return float(math.prod(written.shape) * positions), bytes_of(read, written)


# ---- for references -------------------------------------------------------------------------------------------------


def _along(n: int, out: int, k: int, stride: int, padding: int, dilation: int) -> list[list[int]]:
    """The elements of each window along one axis, by position; -1 where they lie in the padding."""
    if k == 0:
        return [list(range(o * n // out, -(-(o + 1) * n // out))) for o in range(out)]
    places = [[o * stride - padding + j * dilation for j in range(k)] for o in range(out)]
    return [[i if 0 <= i < n else -1 for i in window] for window in places]


def positions(space: Ints, size: Ints, windows: tuple[Ints, Ints, Ints, Ints]) -> Any:
    """For each window, in order: its place in the output, and arrays of positions and of flat elements in the plane."""
    kernel, stride, padding, dilation = windows if windows[0] else ((0,) * len(size),) * 4
    axes = [_along(*given) for given in zip(space, size, kernel, stride, padding, dilation, strict=True)]
    widest = [k or (n // o if o and n % o == 0 else min(n, n // max(o, 1) + 2))
              for n, o, k in zip(space, size, kernel, strict=True)]  # fmt: skip
    for place in np.ndindex(*size):
        grids: Any = np.meshgrid(*(axis[o] for axis, o in zip(axes, place, strict=True)), indexing="ij")
        there: Any = np.all([g >= 0 for g in grids], axis=0)
        number = np.ravel_multi_index(tuple(np.indices(grids[0].shape)), tuple(widest))[there]
        yield place, number, np.ravel_multi_index(tuple(g[there] for g in grids), space)
