"""Numbers kept within limits, or refused beyond them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np

from dlcore.dtypes import INTEGERS
from dlcore.errors import ShapeError
from dlcore.op import Domain, ErrorInput, Sample, Spec, Workload, operation
from dlcore.ops._pointwise import ANY, Pointwise, ends, specials
from dlcore.ops._workloads import MILLION, RAGGED, bytes_of
from dlcore.ops.elementwise import ge, gt, le, logical_and, logical_or, lt, where

__all__ = ["clip"]


class _Limits(Pointwise):
    """An operation of a tensor and two limits, either of which may be absent."""

    def family_samples(self) -> Iterator[Sample]:
        values = specials(1.0, -1.5, 0.5)
        yield Sample((33, 65), (33, 65), (33, 65), why="no multiple of a vector", grad=False)
        yield Sample((33, 65), -0.5, 0.75, why="Python numbers")
        yield Sample((5, 7), -0.5, None, why="no upper limit")
        yield Sample((5, 7), None, (7,), why="no lower limit")
        yield Sample((4, 1, 5), (3, 1), (5,), why="broadcast")
        yield Sample((5, 700), (5, 1), 2.0, why="broadcast columns, more than a block")
        yield Sample((), (), (), why="0-d")
        yield Sample((0, 3), (1, 3), 1.0, why="empty")
        yield Sample((3, 4), why="no limits")
        yield Sample(self.large, -1.0, 1.0, why="several threads", grad=False)
        yield Sample(values[:, None, None], values[:, None], values, why="special values", grad=False)
        yield Sample(values, -1.5, 0.5, why="special values, numbers", grad=False)
        for dtype in INTEGERS:
            some = ends(dtype)
            yield Sample(some[:, None], some, some[::-1].copy(), why=f"{dtype.name}, ends", grad=False)
        yield Sample(np.array([3, -2, 7], np.int16), 0, 5, why="integers and Python integers", grad=False)
        yield Sample(np.array([3, -2, 7], np.int32), 0.5, None, why="integers and a float", grad=False)

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        one, two = np.ones(3, np.float32), np.ones(2, np.float32)
        text = f"{self.name}: shapes do not broadcast: (3,) and (2,)"
        yield ErrorInput(ShapeError, text, one, two, None)
        yield ErrorInput(ShapeError, text, one, None, two)
        text = f"{self.name}: Python integer -1 does not fit in uint8 (0 to 255)"
        yield ErrorInput(OverflowError, text, np.ones(3, np.uint8), -1, None)

    def family_workloads(self) -> list[Workload]:
        return [
            Workload(((8,), -1.0, 1.0), why="the cost of a call"), Workload((MILLION, -1.0, 1.0), why="1M"),
            Workload((MILLION,) * 3, why="1M, tensors"),
            Workload((RAGGED, -1.0, 1.0), why="ragged"),
        ]  # fmt: skip


@_Limits.definition(
    kinds=ANY, ulp=0,
    baselines={
        "numpy": "np.clip(x, min, max)", "numpy out": "np.clip(x, min, max, out=out)",
        "torch": "torch.clamp(x, min, max)", "torch out": "torch.clamp(x, min, max, out=out)",
        "jax": "jnp.clip(x, min, max)",
    },
)  # fmt: skip
def clip(x: Spec, min: Spec | None = None, max: Spec | None = None) -> None:
    """x limited to [min, max]: min where x < min, max where x > max; a limit of None is none.

    ``min`` and ``max``: numbers, or tensors that broadcast with x. Where min > max it gives max. A NaN in x or in a
    limit is the result. All are promoted to a common dtype. The gradient goes to x where min <= x <= max, at the
    limits too, else to the limit that was taken. Raises OverflowError for a number that an integer dtype does not hold.

    >>> dl.clip(dl.tensor([-2.0, 0.5, 3.0]), -1, 1)
    tensor([-1. ,  0.5,  1. ])
    """


@clip.reference
def _(x: Any, min: Any, max: Any) -> Any:
    y = x if min is None else np.where((x < min) | (min != min), min, x)
    return np.array(y) if max is None else np.where((y > max) | (max != max), max, y)


@clip.gradient("x", "min", "max")
def _(dout: Any, x: Any, min: Any, max: Any, needs_input_grad: Sequence[bool]) -> list[Any]:
    within = [] if min is None else [ge(x, min)]
    within += [] if max is None else [le(x, max)]
    found: list[Any] = [None, None, None]
    if needs_input_grad[0]:
        found[0] = where(logical_and(*within) if len(within) == 2 else within[0], dout, 0) if within else dout
    if needs_input_grad[1]:
        taken = lt(x, min) if max is None else logical_and(lt(x, min), le(min, max))
        found[1] = where(taken, dout, 0)
    if needs_input_grad[2]:
        taken = gt(x, max) if min is None else logical_or(gt(x, max), gt(min, max))
        found[2] = where(taken, dout, 0)
    return found



# ---- refused --------------------------------------------------------------------------------------------------------

_KINDS = ("var", "label", "place", "cache", "length")  # as csrc/elementwise/checked.inl has them


@operation(
    family="elementwise", kernels={"cuda": "elementwise.checked:checked"}, ulp=0, batching="pointwise",
    params=lambda low, high, what: (low, high, _KINDS.index(what)), reference=lambda x: np.array(x),
    gradient={"x": lambda dout: dout}, cost=lambda x: (2.0 * math.prod(x.shape), bytes_of(x, x)),
    samples=[
        Sample((33, 65), low=0.0, high=math.inf, what="var", why="no multiple of a vector"),
        Sample((), low=-math.inf, high=math.inf, what="var", why="0-d"),
        Sample((0, 3), low=0.0, high=1.0, what="var", why="empty"),
        Sample(np.array([0.0, np.nan, np.inf]), low=0.0, high=math.inf, what="var", why="special values", grad=False),
        Sample(np.array([[0, 3], [2, 1]]), low=0, high=3, what="place", why="integers"),
        Sample(np.array([3, 0], np.uint8), low=0, high=3, what="length", why="bytes"),
    ],
    error_inputs=[
        ErrorInput(kind, f"checked: {text}", np.array(x), low=low, high=high, what=what)
        for kind, text, x, low, high, what in (
            (ValueError, "var -0.5 at position (1, 0) is negative", [[1.0], [-0.5]], 0, math.inf, "var"),
            (IndexError, "label 3 at position 1 is out of range for 3 classes", [0, 3], 0, 2, "label"),
            (IndexError, "index -1 at position 0 is out of range for an output of 4 places", [-1, 9], 0, 3, "place"),
            (ValueError, "it is full: it holds 7 of 8 tokens, and 2 come", 9, 2, 8, "cache"),
            (ValueError, "lengths[1] is 0, not between 1 and 5 steps", [5, 0], 1, 5, "length"),
        )
    ],
    workloads=[Workload((MILLION,), (0.0, math.inf, "var"), "1M"), Workload(((8,),), (0.0, math.inf, "var"), "small")],
    baselines={"torch": "None if ((x < low) | (x > high)).any() else x.clone()"},
)  # fmt: skip
def checked(
    x: Annotated[Spec, Domain(0.0, 1.0, strict=True)], low: float, high: float,
    what: Literal["var", "label", "place", "cache", "length"],
) -> Spec:
    """A copy of `x`, each element of which is at least `low` and at most `high`, or NaN.

    Otherwise it raises ValueError, or IndexError for labels and places, with the element and its position; `what` says
    in which words ("cache": `low` is how many come, the element with how many it is full).
    """
    return Spec(x.shape, x.dtype)
