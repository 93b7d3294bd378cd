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
from dlcore._gradients import PlannedRule, planned
from dlcore.dtypes import uint8
from dlcore.errors import AutogradError, DTypeError
from dlcore.op import REGISTRY, REQUIRED, Op, Spec, named
from dlcore.op.host import Host

if TYPE_CHECKING:
    from dlcore.backends import Bound
    from dlcore.kernels.launch import Program, View

__all__ = ["Plan", "bind", "copy_plan", "plan", "planner"]

NATIVE, FOREIGN, VIEW, COMPOSITE = range(4)  # enum class PlanKind in csrc/core/plan.h


class Plan(NamedTuple):
    """What csrc/core/plan.cpp reads.

    ``head``: kind, number of outputs returned, tracked, index of the outputs' device, number of workspaces behind them.
    """

    head: tuple[int, int, int, int, int]
    target: Any
    attrs: tuple[Any, ...] = ()
    casts: Sequence[int] = ()
    outputs: Sequence[Spec | None] = ()
    params: Sequence[int | float] = ()
    saves: Sequence[tuple[int, int]] = ()
    rules: Sequence[PlannedRule] = ()
    writes: Sequence[int] = ()
    copies: Sequence[int] = ()


def plan(
    op: Op, operands: tuple[Any, ...], attrs: tuple[Any, ...], needs: tuple[bool, ...], lengths: tuple[int, ...]
) -> Plan:
    """The plan for `op` on these operands (tensors or None), groups of ``lengths``; raises what its rules raise."""
    device = common_device(op, operands)
    given = [None if t is None else Spec(t.shape, t.dtype, t.weak, t.strides if op.view else ()) for t in operands]
    specs = op.promoted(given)
    attrs = op.bind(attrs, specs, lengths)
    values = op.values(specs, attrs, lengths)
    casts = [-1 if g is None or s is None or (s.dtype is g.dtype and not g.weak) else s.dtype.code
             for g, s in zip(given, specs, strict=True)]  # fmt: skip
    outputs, n_outputs, writes = op.inferred(values), len(op.output_names), op.written(lengths)
    tracked = any(needs) and any(o is not None and o.dtype.is_float for o in outputs[:n_outputs])
    if any(needs[k] for k in writes):
        raise AutogradError(f"{op.name}: writes in place into a tensor that requires a gradient; use no_grad()")
    kernel = op.kernel(device.type, values)
    if tracked and not op.differentiable:
        op.refuse_gradient()
    if kernel is None and op.view is None:
        return _composite(op, attrs, casts, lengths, specs, device)
    rules, saves = planned(op, attrs, needs, lengths) if tracked else ([], [])
    place = device if op.output_device is None else named(op.output_device, values)
    head = (n_outputs, int(tracked), place.code, 0)
    common: dict[str, Any] = {"attrs": attrs, "casts": casts, "saves": saves, "rules": rules, "writes": writes}
    if op.view:
        layout = named(op.view, values)
        if layout is None:  # no view of this memory has that shape
            copied = lambda x, *rest: op.call(x.clone(), *rest)  # noqa: E731
            return Plan((COMPOSITE, n_outputs, 0, 0, 0), copied, attrs, casts)
        shape, strides, offset = layout
        return Plan((VIEW, *head), (offset, strides), outputs=[Spec(shape, operands[0].dtype)], **common)
    common["params"] = op.kernel_params(values)
    if isinstance(kernel, Host):
        return Plan((NATIVE, *head), kernel.target(op.name, attrs), outputs=outputs, **common)
    if not isinstance(kernel, str):
        return Plan((FOREIGN, *head), kernel, outputs=outputs, **common)
    if device is CPU:
        return Plan((NATIVE, *head), kernel, outputs=outputs, **common)
    inputs = [_view(t, s, c) for t, s, c in zip(operands, specs, casts, strict=True)]
    fresh = [_fresh(o) if o is not None and (tracked or k < n_outputs) else None for k, o in enumerate(outputs)]
    bound = bind(op.name, device, kernel, inputs, fresh, attrs, common["params"])
    outputs = [*outputs, *(Spec((n,), uint8) for n in bound.temps)]
    head = (*head[:3], len(bound.temps))
    return Plan((NATIVE, *head), bound.target, outputs=outputs, copies=bound.copies, **common)


def _composite(
    op: Op, attrs: tuple[Any, ...], casts: Sequence[int], lengths: Sequence[int], specs: Sequence[Spec | None],
    device: Device,
) -> Plan:  # fmt: skip
    if op.composite is None:
        dtypes = ", ".join(s.dtype.name for s in specs if s is not None)
        raise DTypeError(f"{op.name}: no kernel for {dtypes} on {device}{getattr(op, 'elsewhere', '')}")
    call, n = op.by_position, len(specs)
    if op.signature.groups:
        call = lambda *args: op.by_position(*op.nested(args[:n], lengths), *args[n:])  # noqa: E731
    return Plan((COMPOSITE, len(op.output_names), 0, 0, 0), call, attrs, casts)


def accept(op: Op, attrs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The attributes of a call as plain objects, which plans are found by; raises what their kinds raise."""
    return op.signature.accept(op.name, attrs)


# ---- GPUs ---------------------------------------------------------------------------------------------------------


@cache
def planner(name: str) -> Callable[..., Program]:
    """The planner called "family.file:function", of the file kernels/<family>/<file>.py."""
    module, _, function = name.partition(":")
    found: Callable[..., Program] = getattr(importlib.import_module(f"dlcore.kernels.{module}"), function)
    return found


def bind(
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
    kernel = op.kernel(place.type, {"x": specs[0]})
    assert isinstance(kernel, str)
    views = [_view(t, s, -1) for t, s in zip((source, target), specs, strict=True)]
    bound = bind(op.name, place, kernel, views[:1], views[1:])
    if bound.temps or bound.copies:
        raise RuntimeError("contiguous: its planner may want neither workspaces nor copies")
    return Plan((NATIVE, 0, 0, place.code, 0), bound.target)


def common_device(op: Op, operands: Sequence[Any]) -> Device:
    """The one device of the operands; Python scalars belong to any."""
    devices = {t.device for t in operands if t is not None and not t.weak}
    if len(devices) > 1:
        names = ", ".join(sorted(map(str, devices)))
        raise DTypeError(f"{op.name}: operands are on different devices: {names}")
    return devices.pop() if devices else CPU


_C.bind(plan=plan, copy_plan=copy_plan, accept=accept, required=REQUIRED)
