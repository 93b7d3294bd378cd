"""From a call to a plan: promotion, shapes, the choice of kernel, what the tape keeps.

C++ calls `plan` once for each combination of specs, attributes and gradients wanted, and keeps the answer; a call that
finds its plan never comes here. Nothing in this module knows any particular operation.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from dlcore import _C
from dlcore._device import CPU, Device
from dlcore.dtypes import DType, default_float, uint8
from dlcore.errors import AutogradError, DTypeError
from dlcore.op import REGISTRY, Op, Spec

if TYPE_CHECKING:
    from dlcore.backends import Bound
    from dlcore.kernels.launch import Program, View

__all__ = ["Plan", "copy_plan", "plan", "planner"]

NATIVE, FOREIGN, VIEW, COMPOSITE = range(4)  # enum class PlanKind in csrc/core/plan.h
NOTHING, INPUT, OUTPUT = range(3)  # SaveSpec::Kind


class Plan(NamedTuple):
    """What csrc/core/plan.cpp reads.

    ``head``: kind, number of outputs returned, taped, index of the outputs' device, number of workspaces behind them.
    """

    head: tuple[int, int, int, int, int]
    target: Any
    casts: Sequence[int]
    outputs: Sequence[Spec | None] = ()
    params: Sequence[int | float] = ()
    saves: Sequence[tuple[int, int]] = ()
    writes: Sequence[int] = ()
    copies: Sequence[int] = ()


def plan(op: Op, operands: tuple[Any, ...], attrs: tuple[Any, ...], needs: tuple[bool, ...]) -> Plan:
    """The plan for `op` on these operands (tensors or None); raises what `infer` raises."""
    device = common_device(op, operands)
    given = [None if t is None else Spec(t.shape, t.dtype, t.weak, t.strides if op.view else ()) for t in operands]
    targets = op.promote(given) if op.promote else [None if s is None else _unpromoted(s) for s in given]
    specs = [s if s is None or d is None else s._replace(dtype=d) for s, d in zip(given, targets, strict=True)]
    casts = [
        -1 if s is None or d is None or (d is s.dtype and not s.weak) else d.code
        for s, d in zip(given, targets, strict=True)
    ]
    inferred = op.infer(*specs, *attrs)
    outputs = (inferred,) if isinstance(inferred, Spec) else tuple(inferred)
    n_outputs = len(op.outputs.split())
    writes = _writes(op, attrs, len(operands))
    taped = any(needs) and any(o is not None and o.dtype.is_float for o in outputs[:n_outputs])
    if any(needs[k] for k in writes):
        raise AutogradError(f"{op.name}: writes in place into a tensor that requires a gradient; use no_grad()")
    if op.dynamic or (taped and op.vjp is None):
        return Plan((COMPOSITE, n_outputs, 0, 0, 0), _composite(op, taped), casts)
    saves = _saves(op, attrs, needs) if taped else []
    place = device if op.place is None else op.place(*attrs)
    head = (n_outputs, int(taped), place.code, 0)
    if op.view:
        layout = op.view(*specs, *attrs)
        if layout is None:  # no view of this memory has that shape
            return Plan((COMPOSITE, n_outputs, 0, 0, 0), lambda x, *rest: op.call(x.clone(), *rest), casts)
        shape, strides, offset = layout
        return Plan((VIEW, *head), (offset, strides), casts, [Spec(shape, operands[0].dtype)], (), saves)
    kernel = _kernel(op, device, specs, attrs)
    if kernel is None:
        return Plan((COMPOSITE, n_outputs, 0, 0, 0), _composite(op, taped), casts)
    params = _params(op, specs, attrs)
    if not isinstance(kernel, str):
        return Plan((FOREIGN, *head), kernel, casts, outputs, params, saves, writes)
    if device is CPU:
        return Plan((NATIVE, *head), kernel, casts, outputs, params, saves, writes)
    inputs = [_view(t, s, c) for t, s, c in zip(operands, specs, casts, strict=True)]
    wanted = [o if taped or k < n_outputs else None for k, o in enumerate(outputs)]
    bound = _bind(op.name, device, kernel, inputs, [None if o is None else _fresh(o) for o in wanted], attrs, params)
    outputs = (*outputs, *(Spec((n,), uint8) for n in bound.temps))
    head = (*head[:3], len(bound.temps))
    return Plan((NATIVE, *head), bound.target, casts, outputs, params, saves, writes, bound.copies)


# ---- GPUs ---------------------------------------------------------------------------------------------------------


@cache
def planner(name: str) -> Callable[..., Program]:
    """The planner called "family.file:function", of the file kernels/<family>/<file>.py."""
    module, _, function = name.partition(":")
    found: Callable[..., Program] = getattr(importlib.import_module(f"dlcore.kernels.{module}"), function)
    return found


def _bind(
    row: str,
    device: Device,
    kernel: str,
    inputs: Sequence[View | None],
    outputs: Sequence[View | None],
    attrs: tuple[Any, ...] = (),
    params: Sequence[int | float] = (),
) -> Bound:
    """What the backend makes of the Program that the planner called ``kernel`` answers."""
    from dlcore.kernels.launch import Call

    call = Call(tuple(inputs), tuple(outputs), attrs, tuple(params), device.backend.arch)
    bound: Bound = device.backend.bind(row, call, planner(kernel)(call))
    return bound


def _view(operand: Any, spec: Spec | None, cast: int) -> View | None:
    """The operand as a planner sees it, after the cast that C++ does first."""
    from dlcore.kernels.launch import View

    if spec is None:
        return None
    if operand.weak:
        return View((), spec.dtype, (), True, True)
    return _fresh(spec) if cast >= 0 else View(spec.shape, spec.dtype, operand.strides, operand.data_ptr % 16 == 0)


def _fresh(spec: Spec) -> View:
    """Memory of its own."""
    from dlcore.kernels.launch import View, contiguous_strides

    return View(spec.shape, spec.dtype, contiguous_strides(spec.shape))


def copy_plan(source: Any, target: Any) -> Plan:
    """How one device copies ``source`` into the memory of ``target``, of any strides: the planner of `contiguous`."""
    place, op = source.device, REGISTRY["contiguous"]
    specs = [Spec(t.shape, t.dtype) for t in (source, target)]
    kernel = _kernel(op, place, specs[:1], ())
    views = [_view(t, s, -1) for t, s in zip((source, target), specs, strict=True)]
    bound = _bind(op.name, place, kernel, views[:1], views[1:])
    if bound.temps or bound.copies:
        raise RuntimeError("contiguous: its planner may want neither workspaces nor copies")
    return Plan((NATIVE, 0, 0, place.code, 0), bound.target, ())


def common_device(op: Op, operands: Sequence[Any]) -> Device:
    """The one device of the operands; Python scalars belong to any."""
    devices = {t.device for t in operands if t is not None and not t.weak}
    if len(devices) > 1:
        names = ", ".join(sorted(map(str, devices)))
        raise DTypeError(f"{op.name}: operands are on different devices: {names}")
    return devices.pop() if devices else CPU


def _unpromoted(spec: Spec) -> DType:
    return default_float() if spec.weak and spec.dtype.is_float else spec.dtype


def _writes(op: Op, attrs: tuple[Any, ...], n: int) -> list[int]:
    if callable(op.writes):
        return list(op.writes(attrs, n))
    return [op.input_names.index(name) for name in op.writes]


def _composite(op: Op, taped: bool) -> Any:
    if op.composite is None:
        raise AutogradError(f"{op.name}: has no gradient rule; use no_grad() or detach() its operands")
    return op.composite


def _kernel(op: Op, device: Device, specs: Sequence[Spec | None], attrs: tuple[Any, ...]) -> Any:
    choices = op.kernels.get(device.type, ())
    if isinstance(choices, str) or callable(choices):
        choices = [(choices, None)]
    for name, when in choices:
        if when is None or when(*specs, *attrs):
            return name
    if op.composite is not None:
        return None
    dtypes = ", ".join(s.dtype.name for s in specs if s is not None)
    raise DTypeError(f"{op.name}: no kernel for {dtypes} on {device}")


def _params(op: Op, specs: Sequence[Spec | None], attrs: tuple[Any, ...]) -> list[int | float]:
    values = op.params(*specs, *attrs) if op.params else [a for a in attrs if isinstance(a, int | float)]
    return [v if isinstance(v, float) else int(v) for v in values]


def _saves(op: Op, attrs: tuple[Any, ...], needs: tuple[bool, ...]) -> list[tuple[int, int]]:
    inputs = op.input_names
    produced = (*op.outputs.split(), *op.extras.split())
    saves = op.saves(*attrs) if callable(op.saves) else op.saves
    chosen = []
    for name in saves:
        wanted = inputs if isinstance(saves, tuple) else saves[name]
        if not op.variadic and not any(needs[inputs.index(i)] for i in wanted):
            chosen.append((NOTHING, 0))
        elif name in inputs:
            chosen.append((INPUT, inputs.index(name)))
        else:
            chosen.append((OUTPUT, produced.index(name)))
    return chosen


_C.bind(plan=plan, copy_plan=copy_plan)
