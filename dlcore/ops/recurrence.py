"""Linear recurrences by a scan: linear_recurrence and its gradients, which are a scan from the other end.

On a CPU sums are in float64 and rounded once for each result, on a GPU in float32 or wider.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np

from dlcore.dtypes import FLOATS
from dlcore.errors import ShapeError
from dlcore.op import Axis, AxisOf, ErrorInput, Input, OutputMask, Sample, Spec, Workload, floating
from dlcore.ops._domains import limited, near_one
from dlcore.ops._scan import Scan, moved
from dlcore.ops.elementwise import add, mul
from dlcore.ops.movement import reshape
from dlcore.ops.slicing import slice, slice_backward

__all__ = ["linear_recurrence"]

Shape = tuple[int, ...]

def _numpy_recurrence(a: Any, b: Any, initial: Any, axis: int, reverse: bool) -> Any:
    a, b = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
    out = np.zeros(b.shape, np.result_type(a, b))
    steps = range(len(b))
    h = initial
    for t in reversed(steps) if reverse else steps:
        h = b[t] + 0.0 if h is None else a[t] * h + b[t]
        out[t] = h
    return np.moveaxis(out, 0, axis)


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])


def _check_recurrence(name: str, a: Spec, b: Spec, initial: Spec | None, axis: int) -> None:
    if a.shape != b.shape:
        raise ShapeError(f"{name}: a and b differ in shape: {a.shape} and {b.shape}")
    if initial is not None and initial.shape != _without(b.shape, axis):
        raise ShapeError(f"{name}: initial has shape {initial.shape}, expected {_without(b.shape, axis)}")


class Recurrence(Scan):
    """A scan of two operands, and where it begins."""

    dtypes = FLOATS
    promote = staticmethod(floating)

    def infer(self, a: Spec, b: Spec, initial: Spec | None, axis: int) -> Spec:  # type: ignore[override]
        """The operands' shape."""
        _check_recurrence(self.name, a, b, initial, axis)
        return Spec(b.shape, b.dtype)

    def cost(self, a: Spec) -> tuple[float, float]:
        """A product and a sum an element."""
        n = math.prod(a.shape)
        return 2.0 * n, 3.0 * n * a.dtype.itemsize

    def family_samples(self) -> Iterator[Sample]:
        for sample in super().family_samples():
            (shape,) = sample.inputs
            if sample.attrs["axis"] is not None:
                yield sample.but(Input(shape, -0.9, 0.9), shape, None)
        for shape, axis, why in (((2, 9, 5), 1, "columns"), ((3, 600), 1, "rows of two blocks"), ((7,), 0, "a vector")):
            first = _without(shape, axis)
            yield Sample(Input(shape, -0.9, 0.9), shape, first, axis=axis, why=f"from a start, {why}")
            yield Sample(Input(shape, -0.9, 0.9), shape, first, axis=axis, reverse=True, why=f"start at the end, {why}")

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        text = f"{self.name}: a and b differ in shape: (2, 3) and (3, 2)"
        yield ErrorInput(ShapeError, text, np.zeros((2, 3)), np.zeros((3, 2)), None, axis=0)
        text = f"{self.name}: initial has shape (3,), expected (2,)"
        yield ErrorInput(ShapeError, text, np.zeros((2, 3)), np.zeros((2, 3)), np.zeros(3), axis=1)

    def family_workloads(self) -> list[Workload]:
        found = [
            w._replace(operands=(Input(w.operands[0], -0.9, 0.9), *w.operands, None))
            for w in super().family_workloads()
        ]
        return [*found, Workload((Input((16, 256, 128), -0.9, 0.9), (16, 256, 128), None), (1,), "a recurrent layer")]

    def family_baselines(self) -> dict[str, str]:
        step = "lambda p, q: (p[0] * q[0], q[0] * p[1] + q[1])"
        return {"jax": f"jax.lax.associative_scan({step}, (a, b), reverse=reverse, axis=axis)[1]"}


@Recurrence.definition(
    methods=False, reference=_numpy_recurrence,
    magnitude=lambda a, b, initial, axis, reverse: _numpy_recurrence(
        np.abs(a), np.abs(b), None if initial is None else np.abs(initial), axis, reverse
    ),
)  # fmt: skip
def linear_recurrence(a: Spec, b: Spec, initial: Spec | None = None, axis: Axis = 1, reverse: bool = False) -> None:
    """The linear recurrence h[t] = a[t] h[t-1] + b[t] along `axis`, all h.

    `a`, `b`: of one shape; integers become float32. `initial`: h[-1], of that shape without `axis`; None: h[0] = b[0],
    and a[0] is not looked at. `reverse`: h[t] = a[t] h[t+1] + b[t], from the end.

    In float64 on a CPU, float32 or wider on a GPU, each h rounded once; there by a parallel scan (Blelloch 1990), in an
    order that depends on shapes alone. The gradient is a scan from the other end. Raises ShapeError where shapes
    differ, IndexError for an axis out of range.

    >>> dl.linear_recurrence(dl.tensor([0.5, 0.5, 0.5]), dl.tensor([1.0, 1.0, 1.0]), axis=0)
    tensor([1.  , 1.5 , 1.75])
    """


@linear_recurrence.gradient("a", "b", "initial")
def _(
    dout: Any, a: Any, out: Any, initial: Any, axis: int, reverse: bool, needs_input_grad: tuple[bool, ...]
) -> Any:  # fmt: skip
    da, db, start = needs_input_grad
    return linear_recurrence_backward(dout, a, out, initial, axis, reverse, (da, db, start and initial is not None))


class RecurrenceGradient(Scan):
    """The gradients of one."""

    dtypes = FLOATS
    promote = staticmethod(floating)
    methods = False
    outputs = "da db dinitial"
    batching = "composite"

    def family_kernels(self) -> dict[str, Any]:
        """That of the CPU: on a GPU it is a scan and a product."""
        return {"cpu": f"scan:{self.name}"}

    def infer(  # type: ignore[override]
        self, dout: Spec, a: Spec, out: Spec, initial: Spec | None, axis: int
    ) -> list[Spec | None]:
        """The shapes of all three."""
        _check_recurrence(self.name, a, dout, initial, axis)
        _check_recurrence(self.name, a, out, None, axis)
        return [a, a, initial]

    def cost(self, dout: Spec) -> tuple[float, float]:
        """Three products and sums an element; three read, two written."""
        n = math.prod(dout.shape)
        return 3.0 * n, 5.0 * n * dout.dtype.itemsize

    def family_samples(self) -> Iterator[Sample]:
        both = (True, True, False)
        for shape, axis, why in (((5, 67), 1, "rows"), ((67, 5), 0, "columns"), ((2, 700), 1, "rows of two blocks")):
            yield Sample(shape, shape, shape, None, axis=axis, mask=both, why=why)
            yield Sample(shape, shape, shape, None, axis=axis, reverse=True, mask=both, why=f"{why} from the end")
            yield Sample(shape, shape, shape, _without(shape, axis), axis=axis, why=f"{why} from a start")
        yield Sample((2, 9, 5), (2, 9, 5), (2, 9, 5), (2, 5), axis=1, reverse=True, why="start at the end")
        yield Sample((4, 6), (4, 6), (4, 6), (4,), axis=1, mask=(False, False, True), why="of the start alone")
        yield Sample((0, 3), (0, 3), (0, 3), None, axis=1, mask=both, why="no lines")

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        x, text = np.zeros((2, 3)), f"{self.name}: a and b differ in shape: (2, 3) and (3, 2)"
        yield ErrorInput(ShapeError, text, np.zeros((3, 2)), x, x, None, axis=0)

    def family_workloads(self) -> list[Workload]:
        shapes: list[Shape] = [(16, 256, 128), (4096, 1000)]
        return [
            Workload((shape, Input(shape, -0.9, 0.9), shape, None), (1, False, (True, True, False)), "a layer")
            for shape in shapes
        ]

    def family_baselines(self) -> dict[str, str]:
        step = "lambda p, q: (p[0] * q[0], q[0] * p[1] + q[1])"
        return {"jax": f"jax.lax.associative_scan({step}, (a, dout), reverse=not reverse, axis=axis)[1]"}

    def restrict(self, operands: list[Any], largest: float) -> None:
        """Products of any number of factors are finite."""
        operands[1] = near_one(operands[1], largest)
        for k in (0, 2, 3):
            if isinstance(operands[k], np.ndarray):
                operands[k] = limited(operands[k], largest**0.2)


@RecurrenceGradient.definition()
def linear_recurrence_backward(
    dout: Spec, a: Spec, out: Spec, initial: Spec | None = None, axis: Annotated[int, AxisOf("a")] = 1,
    reverse: bool = False, mask: OutputMask = (True, True, True),
) -> None:  # fmt: skip
    """Gradients of linear_recurrence for a, b and initial, from what it gave, in one scan from the other end.

    g[t] = dout[t] + a[t+1] g[t+1] is db; da[t] = g[t] h[t-1], and dinitial = a[0] g[0].
    """


@linear_recurrence_backward.composite
def _(
    dout: Any, a: Any, out: Any, initial: Any, axis: int, reverse: bool, mask: tuple[bool, ...]
) -> tuple[Any, ...]:  # fmt: skip
    g = linear_recurrence(moved(a, axis, not reverse), dout, None, axis, not reverse)
    before, dinitial, n = moved(out, axis, reverse), None, a.shape[axis]
    if initial is not None and n:
        shape, others = (*a.shape[:axis], 1, *a.shape[axis + 1 :]), ((0, m, 1) for m in a.shape[:axis])
        place = (*others, (n - 1 if reverse else 0, 1, 1))
        before = add(before, slice_backward(reshape(initial, shape), a.shape, place))
        dinitial = reshape(mul(slice(a, place), slice(g, place)), initial.shape) if mask[2] else None
    elif initial is not None and mask[2]:
        dinitial = mul(initial, 0)
    return mul(g, before) if mask[0] else None, g if mask[1] else None, dinitial


@linear_recurrence_backward.reference
def _numpy_gradients(dout: Any, a: Any, out: Any, initial: Any, axis: int, reverse: bool) -> tuple[Any, ...]:
    dout, a, out = (np.flip(np.moveaxis(x, axis, 0), 0) if reverse else np.moveaxis(x, axis, 0) for x in (dout, a, out))
    da, db = np.zeros_like(a), np.zeros_like(a)
    g = np.zeros(a.shape[1:])
    for t in range(len(a) - 1, -1, -1):
        g = dout[t] + (a[t + 1] * g if t + 1 < len(a) else 0)
        before = out[t - 1] if t else 0 if initial is None else initial
        da[t], db[t] = g * before, g
    start = None if initial is None else a[0] * g if len(a) else np.zeros_like(initial)
    return *(np.moveaxis(np.flip(x, 0) if reverse else x, 0, axis) for x in (da, db)), start


@linear_recurrence_backward.magnitude
def _(dout: Any, a: Any, out: Any, initial: Any, axis: int, reverse: bool) -> tuple[Any, ...]:
    given = [None if x is None else np.abs(x) for x in (dout, a, out, initial)]
    return _numpy_gradients(*given, axis, reverse)
