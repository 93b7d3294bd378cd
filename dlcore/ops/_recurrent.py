"""What the definitions of recurrent layers share: operands, masks of lengths, examples of a vmap, NumPy's steps.

One operation is one layer in one direction over a whole sequence. Its operand `gates` (T, B, G H) holds the products
with the layer's input, made before for all steps at once; what is left goes from step to step. T steps, B rows of the
batch, H units, G gates, P the width of the state h.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore import _C
from dlcore.dtypes import DType, float32, float64, int64, result_type
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Op, Spec, check_floating
from dlcore.ops._domains import limited
from dlcore.ops.elementwise import add, cast, gt, sub, where
from dlcore.ops.gather import gather
from dlcore.ops.matmul import matmul
from dlcore.ops.movement import expand, permute, reshape, stack, transpose
from dlcore.ops.shaping import part, select

__all__ = [
    "Recurrent", "check_shape", "count_of", "each_step", "flat", "lengths_input", "masked", "narrowed", "numpy_masked",
    "numpy_sigmoid", "numpy_steps", "recurrent", "stacked", "start_of", "weight_gradient", "wide", "widened", "zeros",
]  # fmt: skip


def wide(dtype: DType) -> DType:
    """What states and sums are kept in."""
    return float64 if dtype is float64 else float32


def check_shape(name: str, what: str, spec: Spec | None, shape: tuple[int, ...], of: str) -> None:
    """Raises where an operand that is there has another shape; ``of``: what that shape follows from."""
    if spec is not None and spec.shape != shape:
        raise ShapeError(f"{name}: {what} has shape {spec.shape}, not {shape}, for {of}")


def _held(w_hh: Spec) -> bool:
    return w_hh.shape[1] <= 256


def _unprojected(w_hh: Spec, w_hr: Spec | None) -> bool:
    return w_hr is None and _held(w_hh)


class Recurrent(Op):
    """A layer in one direction, or its gradient.

    ``over_time``, ``over_batch``: operands and outputs of shape (T, B, ...) and of shape (B, ...); all others are
    weights. ``kept``: the operands that are kept from forward in float32 or wider.
    """

    family = "recurrent"
    over_time: str = ""
    over_batch: str = ""
    kept: str = ""

    def family_kernels(self) -> dict[str, Any]:
        """Those of the CPU, and of GPUs for layers that one of their programs can hold."""
        layer = self.name.partition("_")[0]
        when: Any = _unprojected if layer == "lstm" else _held
        return {"cpu": f"recurrent:{self.name}", "cuda": [(f"recurrent.{layer}:{self.name}", when)]}

    def promote(self, specs: Sequence[Spec | None]) -> Sequence[DType | None]:
        """One floating dtype for all but lengths, which become int64; integers are refused."""
        names, kept = self.signature.operand_names, self.kept.split()
        ours = {n: s for n, s in zip(names, specs, strict=True) if s is not None and n not in ("lengths", *kept)}
        for name, given in ours.items():
            check_floating(self.name, name, given)
        common = result_type((s.dtype, s.weak) for s in ours.values())
        found: list[DType | None] = []
        for name, spec in zip(names, specs, strict=True):
            if spec is None:
                found.append(None)
            elif name == "lengths":
                if spec.dtype.kind not in ("int", "uint"):
                    raise DTypeError(f"{self.name}: lengths are integers, not {spec.dtype.name}")
                found.append(int64)
            else:
                found.append(wide(common) if name in kept else common)
        return found

    def restrict(self, operands: list[Any], largest: float) -> None:
        """Finite numbers near those of networks: errors grow from step to step with the size of weights."""
        for k, x in enumerate(operands):
            if isinstance(x, np.ndarray) and x.dtype == np.float64:
                operands[k] = limited(np.where(np.isfinite(x), x, 1.0), 2.0)

    def batch(self, call: Any) -> Any:
        """The rows of all examples of a vmap as one batch, where they share the weights."""
        time, rows = self.over_time.split(), self.over_batch.split()
        values = []
        for k, (name, value) in enumerate(zip(self.input_names, call.values, strict=True)):
            if name in time:
                values.append(None if value is None else _rows_of_all(call.full(k), 1))
            elif name in rows:
                values.append(None if value is None else _rows_of_all(call.full(k), 0))
            elif call.is_batched[k]:
                return NotImplemented
            else:
                values.append(value)
        found = call.run(values)
        found = found if isinstance(found, tuple) else (found,)
        named = zip(self.output_names, found, call.outputs, strict=False)
        return tuple(_of_examples(x, call.size, spec, name in time) for name, x, spec in named)


recurrent = Recurrent.definition


def _rows_of_all(x: Any, axis: int) -> Any:
    """(N, T, B, ...) as (T, N B, ...), or (N, B, ...) as (N B, ...)."""
    if axis:
        x = permute(x, (1, 0, *range(2, x.ndim)))
    return reshape(x, (*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :]))


def _of_examples(x: Any, size: int, spec: Spec, over_time: bool) -> Any:
    """The same undone."""
    if x is None or not over_time:
        return None if x is None else reshape(x, (size, *spec.shape))
    x = reshape(x, (spec.shape[0], size, *spec.shape[1:]))
    return permute(x, (1, 0, *range(2, x.ndim)))


# ---- what composites and gradients are made of ----------------------------------------------------------------------


def widened(x: Any) -> Any:
    """A tensor in the dtype of states; None is None."""
    return x if x is None or x.dtype is wide(x.dtype) else cast(x, wide(x.dtype))


def narrowed(x: Any, dtype: DType) -> Any:
    """A tensor in the dtype of operands; None is None."""
    return x if x is None or x.dtype is dtype else cast(x, dtype)


def each_step(steps: int, reverse: bool) -> list[int]:
    """The steps in the order of a walk."""
    return list(range(steps))[:: -1 if reverse else 1]


def zeros(shape: tuple[int, ...], like: Any) -> Any:
    """Zeros in the dtype of ``like``, on its device."""
    return _C.full(shape, 0, like.dtype, like.device.code)


def start_of(state: Any, batch: int, width: int, like: Any) -> Any:
    """A state to begin with, (batch, width), widened; zeros where none is given."""
    return widened(zeros((batch, width), like) if state is None else state)


def masked(lengths: Any, t: int, new: Any, old: Any) -> Any:
    """``new`` in the rows that are still there at step ``t``, ``old`` in the others (0 where it is None)."""
    if lengths is None:
        return new
    return where(reshape(gt(lengths, t), (lengths.shape[0], 1)), new, 0.0 if old is None else old)


def stacked(found: dict[int, Any], shape: tuple[int, ...], like: Any) -> Any:
    """What was found at each step, in their order; ``shape``: of all of them, ``like``: a tensor of the dtype."""
    return stack([found[t] for t in range(len(found))]) if found else zeros(shape, like)


def flat(x: Any) -> Any:
    """(T, B, N) as (T B, N)."""
    return reshape(x, (x.shape[0] * x.shape[1], x.shape[2]))


def weight_gradient(dpre: Any, y: Any, h0: Any, lengths: Any, reverse: bool) -> Any:
    """The gradient of a weight (N, P) that meets the state before each step: one product over all steps.

    ``dpre``: the gradient of what it gives, (T, B, N); ``y``: the states (T, B, P); ``h0``: that before the first step.
    """
    steps = y.shape[0]
    if not steps:
        return matmul(transpose(flat(dpre)), flat(y))
    found = matmul(
        transpose(flat(part(dpre, 0, 0 if reverse else 1, steps - 1))), flat(part(y, 0, int(reverse), steps - 1))
    )
    if h0 is None:
        return found
    first = select(dpre, 0, steps - 1 if reverse else 0)
    if reverse and lengths is not None:  # each row begins at a step of its own; outputs behind it are 0
        at = expand(reshape(sub(lengths, 1), (1, lengths.shape[0], 1)), (1, *dpre.shape[1:]))
        first = select(gather(dpre, at, 0), 0, 0)
    return add(found, matmul(transpose(first), h0))


# ---- references, samples and costs ----------------------------------------------------------------------------------


def numpy_sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1 + e)


def numpy_steps(steps: int, reverse: bool) -> Iterator[tuple[int, int | None]]:
    """(step, the one before it in the walk or None)."""
    before = None
    for s in range(steps):
        t = steps - 1 - s if reverse else s
        yield t, before
        before = t


def numpy_masked(lengths: Any, t: int, new: Any, old: Any) -> Any:
    """``new`` in the rows that are still there at a step, else ``old``."""
    return new if lengths is None else np.where((t < lengths)[:, None], new, old)


def lengths_input(*lengths: int) -> Any:
    """Lengths of the rows of a batch."""
    return np.array(lengths, np.int64)


def count_of(rows: int, products: int, values: int) -> float:
    """Operations of so many rows: multiply-adds, and elements with about 15 operations each."""
    return float(rows) * (2.0 * products + 15.0 * values)
