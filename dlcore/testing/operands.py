"""Operands made from an operation's samples: which, in which dtypes and memory layouts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from dlcore._device import CPU, Device
from dlcore._device import device as as_device
from dlcore._tensor import Tensor, from_numpy, tensor
from dlcore.dtypes import DType, float32, uint64
from dlcore.op import REGISTRY, Op, Sample, lengths_of

LAYOUTS = ("contiguous", "transposed", "strided", "reversed")
LARGE = 20_000  # elements: beyond it a sample is taken in one dtype, contiguous

Arrays = list[Any]


def samples(op: Op) -> list[Sample]:
    """The operation's samples, described; `rounded` draws one."""
    return list(op.sample_inputs())


class Combination(NamedTuple):
    """One sample in one dtype and memory layout.

    ``thorough``: not its values alone are checked, but also its gradient, and its bits at another address.
    """

    sample: Sample
    dtype: DType
    layout: str
    thorough: bool


def combinations(op: Op, dtypes: Sequence[DType] = ()) -> list[Combination]:
    """Which samples are checked on a GPU, in which dtype (of ``dtypes``; default: all) and layout.

    There every combination is a kernel of its own, which must be compiled, so they are few, and the kernels of dlcore's
    packs are those of this choice. The two smallest samples are checked thoroughly, in float32. The others take turns
    through dtypes and layouts, and operations whose kernels are made by the same file share them out: each sample is
    taken by about two of them.
    """
    chosen = list(dtypes or op.dtypes)
    widest = float32 if float32 in chosen else chosen[0]
    every = samples(op)
    small = sorted((s for s in every if s.size), key=lambda s: s.size)[:2]
    found = [Combination(s, widest, "contiguous", True) for s in small]
    rest = [s for s in every if s not in small] or every
    others = [d for d in chosen if d is not widest] or chosen
    relatives = _relatives(op)
    place, step = relatives.index(op.name), max(1, len(relatives) // 2)
    for k in range(max(len(LAYOUTS), -(-len(rest) // step)) if rest else 0):
        sample, turn = rest[(place + k * step) % len(rest)], place + k
        if sample.size > LARGE:
            found.append(Combination(sample, widest, "contiguous", False))
        else:
            dtype = others[turn % len(others)] if sample.in_any_dtype else widest
            found.append(Combination(sample, dtype, LAYOUTS[(turn + turn // len(others)) % len(LAYOUTS)], False))
    return list(dict.fromkeys(found))


def _relatives(op: Op) -> list[str]:
    """The operations, by name and in order, whose GPU kernels come from the file that those of ``op`` come from."""
    file = _planners(op)
    others = (o.name for o in REGISTRY.values() if o is not op and file and _planners(o) == file)
    return sorted([op.name, *others])


def _planners(op: Op) -> str:
    names = [kernel for kernel, _ in op.kernel_choices("cuda") if isinstance(kernel, str)]
    return names[0].partition(":")[0] if names else ""


@lru_cache(maxsize=2)  # the same sample is taken in several dtypes and layouts in turn
def drawn(op: Op, sample: Sample) -> Arrays:
    """The sample's inputs, one by one; not to be written."""
    return sample.arrays(op.name, op.signature.operands)


def rounded(op: Op, sample: Sample, dtype: DType) -> Arrays:
    """The sample's inputs, one by one, with its float64 arrays rounded to ``dtype``.

    As uint64 they lose their signs: negative ones would be so large that float64, which references compute in, does not
    tell one from the next.
    """
    sizes = np.abs if dtype is uint64 else np.positive
    with np.errstate(over="ignore"):  # what the dtype cannot hold is infinite
        return [
            np.asarray(sizes(x)).astype(dtype.numpy) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x
            for x in drawn(op, sample)
        ]


def floating_places(arrays: Sequence[Any]) -> list[int]:
    """Which of a sample's inputs are arrays of floats with elements: those that have gradients."""
    return [k for k, x in enumerate(arrays) if isinstance(x, np.ndarray) and x.dtype == np.float64 and x.size]


def attributes(op: Op, sample: Sample) -> tuple[Any, ...]:
    """The sample's attributes by position, defaults too, as a caller gives them."""
    return op.named_attributes(sample.attrs)


def lengths(op: Op, sample: Sample) -> tuple[int, ...]:
    """How many tensors the groups among the sample's operands have."""
    return lengths_of(sample.inputs, op.signature.operands)


def laid_out(array: np.ndarray[Any, Any], layout: str) -> np.ndarray[Any, Any]:
    """A copy of ``array`` with another arrangement in memory."""
    if array.ndim == 0:
        return array.copy()
    if layout == "transposed":
        view = np.empty(array.shape[::-1], array.dtype).T
    elif layout == "strided":
        view = np.empty((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)[..., ::2]
    elif layout == "reversed":
        view = np.empty(array.shape, array.dtype)[(slice(None, None, -1),) * array.ndim]
    else:
        return array.copy()
    view[...] = array
    return view


def tensors(arrays: Sequence[Any], layout: str = "contiguous", device: Any = CPU) -> list[Any]:
    """Fresh tensors over copies of NumPy arrays; scalars and None as they are."""
    place = as_device(device)
    return [_fresh(x, layout, place) if isinstance(x, np.ndarray) else x for x in arrays]


def _fresh(array: np.ndarray[Any, Any], layout: str, place: Device) -> Tensor:
    if place is CPU:
        return from_numpy(laid_out(array, layout))
    if array.ndim == 0 or layout == "contiguous":
        return tensor(array, device=place)
    if layout == "transposed":
        return tensor(np.ascontiguousarray(array.T), device=place).T
    if layout == "strided":
        return tensor(np.repeat(array, 2, -1), device=place)[..., ::2]
    back = (slice(None, None, -1),) * array.ndim
    return tensor(np.ascontiguousarray(array[back]), device=place)[back]
