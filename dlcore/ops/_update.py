"""The family of optimizer steps: operands, shape rule, cost, reference and cases, which the steps share.

Operands are groups of tensors, one of each for every parameter: parameters, gradients, moments, step counts; and the
matrix of settings (groups, settings) in float64; last a flag, `active`, at whose False a step leaves everything as it
is. All that changes from step to step is in these tensors, so a recorded step stays valid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dlcore.dtypes import DType, bool_, float16, float32, float64, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Op, Sample, Spec, Workload
from dlcore.ops._domains import limited
from dlcore.ops._workloads import MODELS, bytes_of

__all__ = ["Update", "update"]

Arrays = Sequence[Any]


def _found(spec: Spec) -> str:
    return f"shape {spec.shape} and dtype {spec.dtype.name}"


class Update(Op):
    """A step of an optimizer: params, grads, groups of state, steps, settings, active, and each parameter's group.

    State: moments, of the parameter's shape, and behind them numbers, 0-d. The shape rule is empty. A
    definition has one part more: `step(settings, count, p, grad, *state)`, which gives the new p and state of one
    parameter, is what the reference is made of.
    """

    PARTS = (*Op.PARTS, "step")

    family = "optim"
    promote = staticmethod(lambda specs: [*(s and s.dtype for s in specs[:-2]), float64, specs[-1] and specs[-1].dtype])
    outputs = ""
    dtypes = (float32, float64)
    ulp = 2
    flops: float = 0
    """Arithmetic operations an element."""
    optional: bool = False
    """Whether there may be none of the last moments: those of momentum."""
    numbers: int = 0
    """How many of the groups of state are numbers, the last ones."""
    ranges: Mapping[str, tuple[float, float]] = {}
    """Where the values of state are drawn from, by name, if not from 0 to 2."""
    settings: Sequence[Sequence[float]] = ()
    """Three rows to test."""
    layer: tuple[int, int] = (0, 0)
    """The rows with which weight and bias of a layer are tested."""
    timed_settings: Sequence[float] = ()
    step: Any = None

    @property
    def moments(self) -> int:
        """How many groups of moments there are."""
        return len(self.signature.operands) - 5 - self.numbers

    def infer(self, params: list[Spec], grads: list[Spec], *rest: Any) -> tuple[()]:
        """Nothing is returned; raises where tensors, settings and groups do not belong together."""
        *state, steps, settings, active, groups = rest
        n, columns, moments = len(params), len(self.timed_settings), self._present(state)
        numbers = state[self.moments :]
        if not n or any(len(group) != n for group in (grads, *moments, *numbers, steps)):
            raise ShapeError(f"{self.name}: {self._counts(map(len, (params, grads, *state, steps)))}")
        if len(settings.shape) != 2 or settings.shape[1] != columns:
            raise ShapeError(f"{self.name}: the settings have shape {settings.shape}, not (groups, {columns})")
        if active is not None and (active.shape != () or active.dtype is not bool_):
            raise DTypeError(f"{self.name}: active has {_found(active)}, not () and bool")
        if len(groups) != n or not all(0 <= g < settings.shape[0] for g in groups):
            raise ShapeError(f"{self.name}: groups {groups} for {n} parameters and {settings.shape[0]} groups")
        for k, (p, g, *states) in enumerate(zip(params, grads, *moments, strict=True)):
            wide, what = float64 if p.dtype is float64 else float32, f"parameter {k}, its gradient and moments"
            if not p.dtype.is_float or g.dtype is not p.dtype or any(s.dtype is not wide for s in states):
                found = ", ".join(s.dtype.name for s in (p, g, *states))
                raise DTypeError(f"{self.name}: {what} have dtypes {found}")
            if any(s.shape != p.shape for s in (g, *states)):
                raise ShapeError(f"{self.name}: {what} have shapes {', '.join(str(s.shape) for s in (p, g, *states))}")
            for number in (group[k] for group in numbers):
                if number.shape != () or number.dtype is not wide:
                    raise DTypeError(
                        f"{self.name}: a number kept for parameter {k} has {_found(number)}, not () and {wide.name}"
                    )
            if steps[k].shape != () or steps[k].dtype not in (int64, float32):
                raise DTypeError(f"{self.name}: step count {k} has {_found(steps[k])}")
        return ()

    def _present(self, state: Sequence[Any]) -> list[Any]:
        """The groups of moments, without the last where there is none."""
        found = list(state[: self.moments])
        return found[:-1] if self.optional and not found[-1] else found

    def _counts(self, lengths: Iterable[int]) -> str:
        """The error for groups of these lengths."""
        found = ", ".join(f"{n} {name}" for n, name in zip(lengths, self.input_names, strict=False))
        return f"each parameter needs one tensor of each group; there are {found}"

    def params(self, groups: tuple[int, ...]) -> tuple[int, ...]:
        """The number of parameters, and the group of each."""
        return len(groups), *groups

    def cost(self, params: list[Spec], grads: list[Spec], *rest: Any) -> tuple[float, float]:
        """All but the settings read; all but gradients and settings written."""
        *states, _, _, _ = rest
        read = bytes_of(*params, *grads, *(s for group in states for s in group))
        return float(self.flops * sum(math.prod(p.shape) for p in params)), 2 * read - bytes_of(*grads)

    def reference(self, params: Arrays, grads: Arrays, *rest: Any) -> list[Any]:
        """The step of each parameter by itself."""
        *state, steps, settings, active, groups = rest
        present = [*self._present(state), *state[self.moments :]]
        if active is not None and not active:
            return [x for group in (params, *present, steps) for x in group]
        each = zip(groups, steps, params, grads, *present, strict=True)
        done = [self.step(settings[row], int(count), *arrays) for row, count, *arrays in each]
        return [x for group in zip(*done, strict=True) for x in group] + [count + 1 for count in steps]

    def magnitude(self, *args: Any) -> list[Any]:
        """What errors of the written operands are measured against: sums of terms of a few units."""
        return [4.0 + np.abs(r) for r in self.reference(*args)]

    def family_kernels(self) -> dict[str, str]:
        return {"cpu": f"optim:{self.name}", "cuda": f"optim.multi_tensor:{self.name}"}

    def _operands(
        self, shapes: Sequence[Any], settings: Any, dtype: DType | None = None, step: int = 2, moments: bool = True
    ) -> list[Any]:
        """Parameters and gradients of ``dtype``, state as it is after some steps; with or without optional moments."""
        alike = [Input(shape, dtype=dtype) for shape in shapes]
        wide, names = float32 if dtype is float16 else None, self.input_names[2:-3]
        state: list[Any] = []
        for j, name in enumerate(names):
            low, high = self.ranges.get(name, (0.0, 2.0))
            state += [[Input(() if j >= self.moments else shape, low, high, wide) for shape in shapes]]
        if not moments:
            state[-1] = []
        counts = [np.array(step + k) for k in range(len(shapes))]
        return [alike, alike, *state, counts, np.array(settings, np.float64), None]

    def family_samples(self) -> Iterator[Sample]:
        shapes, every, groups = ((33, 5), (7,), (), (0, 3)), self.settings, (0, 1, 2, 0)
        yield Sample(*self._operands(shapes, every), groups=groups, why="three groups")
        yield Sample(*self._operands(shapes, every, step=0), groups=(1, 0, 2, 1), why="first step")
        if self.optional:
            plain = self._operands(shapes, every[2:], moments=False)
            yield Sample(*plain, groups=(0, 0, 0, 0), why="no momentum")
        yield Sample(*self._operands(shapes, every, step=60), groups=groups, why="later steps")
        yield Sample(*self._operands(shapes, every, float16), groups=groups, why="float16 parameters")
        for active in (False, True):
            *given, _ = self._operands(shapes, every)
            yield Sample(*given, np.array(active), groups=groups, why=f"active: {active}")
        yield Sample(*self._operands(((784, 256), (256,)), every), groups=self.layer, why="a layer")

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        p, columns = np.zeros(2), len(self.timed_settings)
        moments: list[list[Any]] = [*[[p]] * self.moments, *[[np.array(1.0)]] * self.numbers]
        if self.optional:
            moments[self.moments - 1] = []

        def wrong(text: str, grads: list[Any], columns: int = columns, group: int = 0) -> ErrorInput:
            operands = [p], grads, *moments, [np.array(0)], np.zeros((1, columns)), None
            return ErrorInput(ShapeError, f"{self.name}: {text}", *operands, groups=(group,))

        shapes = ", ".join(map(str, [(2,), (3,), *(m[0].shape for m in moments[: self.moments] if m)]))
        yield wrong(f"parameter 0, its gradient and moments have shapes {shapes}", [np.zeros(3)])
        yield wrong("groups (1,) for 1 parameters and 1 groups", [p], group=1)
        yield wrong(f"the settings have shape (1, {columns + 1}), not (groups, {columns})", [p], columns=columns + 1)
        yield wrong(self._counts([1, 0, *map(len, moments), 1]), [])

    def family_workloads(self) -> Iterator[Workload]:
        """All parameters of the two networks, and one of 16 million elements."""
        shapes = {f"all of model {name}": model.parameters for name, model in MODELS.items()}
        for why, parameters in (shapes | {"16M": [(4096, 4096)]}).items():
            operands = tuple(self._operands(parameters, [self.timed_settings]))
            yield Workload(operands, ((0,) * len(parameters),), why, (float32,) if why == "16M" else ())

    def restrict(self, operands: list[Any], lengths: Sequence[int]) -> None:
        """Settings and state mean something. The bound is one for values of a few units: (1 - beta2) g^2 would overflow
        with others. All are finite, but that a gradient may be NaN: kernels multiply by a weight of 0, and
        (1 - beta1) (g - m) is taken from g where beta1 is small, as PyTorch does, which makes NaN of infinity."""
        at = self.signature.positions(lengths)
        for k, x in enumerate(operands[:-2]):
            if isinstance(x, np.ndarray) and x.dtype == np.float64:
                nan = np.nan if k in at["grads"] else 0.0
                operands[k] = np.nan_to_num(limited(x, 4.0), nan=nan, posinf=4.0, neginf=-4.0)
        for name in self.input_names[2:-3]:
            low, high = self.ranges.get(name, (-4.0, 4.0))
            for k in at[name]:
                x = operands[k]
                if isinstance(x, np.ndarray) and x.dtype == np.float64:
                    operands[k] = x if low < 0 else np.clip(np.abs(x), low, max(high, 4.0) if low == 0 else high)
        if operands[-2].ndim == 2 and operands[-2].shape[1] == len(self.timed_settings):
            operands[-2] = np.resize(np.array(self.settings), operands[-2].shape)


update = Update.definition
