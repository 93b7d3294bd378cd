"""Batching rules: how an operation runs once for all examples of a `dlcore.func.vmap`.

A family says which rule its operations have (`Op.batching`), a definition may have one of its own (``batch=``): a
function of a `dlcore._batching.Call` that returns the results with the examples along axis 0, or NotImplemented where
it does not know the call. What nobody has a rule for runs for one example after the other, and is right all the same.

- "pointwise": operands broadcast, so that axes of length 1 behind the examples are all it takes;
- "axis": the operation says by its attributes which axes it works along, so that another one in front changes nothing
  but those numbers;
- "leading": operand 0 may have any number of axes in front, as long as no other operand has examples;
- "loss": one loss for each element, then their mean or sum over one example;
- "composite": the operations that it is made of;
- "loop".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from dlcore import _C
from dlcore._arguments import MAX_AXES
from dlcore.errors import ShapeError
from dlcore.op import REGISTRY, Op
from dlcore.op.signature import AxesOf, AxisOf, Lengths, Optional
from dlcore.ops.elementwise import cast
from dlcore.ops.movement import reshape, stack
from dlcore.ops.reduce import mean
from dlcore.ops.reduce import sum as sum_
from dlcore.ops.slicing import slice as slice_view

__all__ = ["RULES", "run"]

Call = Any  # dlcore._batching.Call, which is a floor above


def run(call: Call) -> Any:
    """The results of all examples."""
    op: Op = call.op
    if op.random:
        return _random(call)
    for rule in _rules(op):
        try:
            found = rule(call)
        except ShapeError as error:
            if f"at most {MAX_AXES}" not in str(error):
                raise
            break  # there is no room for another axis
        if found is not NotImplemented:
            return found
    return loop(call)


def _rules(op: Op) -> list[Callable[[Call], Any]]:
    if op.batch is not None:
        return [op.batch]
    if op.batching:
        return [RULES[op.batching]]
    rules: list[Callable[[Call], Any]] = [pointwise, composite] if op.elementwise else [composite]
    if op.family in _FAMILIES:
        rules.append(RULES[_FAMILIES[op.family]])
    return rules


def _outputs(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)


# ---- rules ----------------------------------------------------------------------------------------------------------


def pointwise(call: Call) -> Any:
    """Operands aligned at the right, as broadcasting has them."""
    ndim = max(len(s.shape) for s in call.specs if s is not None)
    return call.run([call.padded(k, ndim) for k in range(len(call.values))])


def along_axis(call: Call) -> Any:
    """All operands with the examples in front, and attributes that count axes moved on by one."""
    if _flattens(call):
        return _along_flat(call)
    attrs = _moved(call)
    if attrs is None or (call.op.batching != "axis" and not _names_axes(call.op)):
        return NotImplemented
    everywhere = [call.full(k) for k in range(len(call.values))]
    if _gives(call, everywhere, attrs):
        return call.run(everywhere, attrs)
    # Indices and the like, which have axes of their own, stay shared.
    ndim = len(call.specs[0].shape)
    values = [f if s is None or len(s.shape) == ndim else v
              for f, v, s in zip(everywhere, call.values, call.specs, strict=True)]  # fmt: skip
    others = [b for b, s in zip(call.is_batched, call.specs, strict=True) if s is not None and len(s.shape) != ndim]
    shared = not any(others)
    return call.run(values, attrs) if shared and _gives(call, values, attrs) else NotImplemented


def _moved(call: Call) -> list[Any] | None:
    """The attributes where one more axis is in front; None where one is of a kind that nobody knows."""
    found: list[Any] = []
    for attribute, value in zip(call.op.signature.attributes, call.attrs, strict=True):
        shape = isinstance(attribute.kind, Lengths) and attribute.name == "shape"
        moved = (call.size, *value) if shape else attribute.kind.moved(value, call.size)
        if moved is NotImplemented:
            return None
        found.append(moved)
    return found


def _names_axes(op: Op) -> bool:
    """Whether an attribute says which axes it works along: else nobody knows what another one in front does."""
    kinds = [a.kind.kind if isinstance(a.kind, Optional) else a.kind for a in op.signature.attributes]
    return any(isinstance(kind, AxisOf) for kind in kinds)


def _gives(call: Call, values: Sequence[Any], attrs: Sequence[Any]) -> bool:
    """Whether the operation gives the shapes wanted for these operands and attributes."""
    op: Op = call.op
    specs = [s if s is None or v.weak else s._replace(shape=v.shape) for s, v in zip(call.specs, values, strict=True)]
    try:
        promoted = op.promoted(specs)
        bound = op.bind(attrs, promoted, call.lengths)
        outputs = op.inferred(op.values(promoted, bound, call.lengths))
    except (TypeError, ValueError, IndexError):
        return False
    wanted = [s and (call.size, *s.shape) for s in call.outputs]
    return [s and s.shape for s in outputs[: len(wanted)]] == wanted


def _is_axis(kind: Any) -> bool:
    """Whether an attribute is an axis or None."""
    return isinstance(kind, Optional) and isinstance(kind.kind, AxisOf) and not isinstance(kind.kind, AxesOf)


def _flattens(call: Call) -> bool:
    """Whether an axis is None, which stands for the elements of the only tensor one after another."""
    axes = [v for a, v in zip(call.op.signature.attributes, call.attrs, strict=True) if _is_axis(a.kind)]
    return axes == [None] and len(call.values) == 1


def _along_flat(call: Call) -> Any:
    """Along axis 1 of (examples, elements of one)."""
    flat = reshape(call.values[0], (call.size, math.prod(call.specs[0].shape)))
    attrs = [1 if v is None and _is_axis(a.kind) else v
             for a, v in zip(call.op.signature.attributes, call.attrs, strict=True)]  # fmt: skip
    found = _outputs(call.run([flat], attrs))
    shapes = [(call.size, *s.shape) for s in call.outputs]
    if any(f.size != math.prod(shape) for f, shape in zip(found, shapes, strict=True)):
        return NotImplemented
    return tuple(reshape(f, shape) for f, shape in zip(found, shapes, strict=True))


def leading(call: Call) -> Any:
    """Examples as further leading axes of operand 0, where no other operand has any."""
    return call.run(call.values) if call.is_batched[0] and sum(call.is_batched) == 1 else composite(call)


def composite(call: Call) -> Any:
    """The operations that it is made of, where a call has no kernel of its own anyway (or a rule says so)."""
    op: Op = call.op
    if op.composite is None or op.writes:
        return NotImplemented
    specs = op.promoted(call.specs)
    values = op.values(specs, call.attrs, call.lengths)
    device = next(v.device.type for v in call.values if v is not None and not v.weak)
    if op.batching != "composite" and op.batching != "leading" and op.kernel(device, values) is not None:
        return NotImplemented
    operands = []
    for value, batched, spec in zip(call.values, call.is_batched, specs, strict=True):
        one = _C.batched(value, call.level) if batched else value
        same = one is None or spec is None or one.weak or one.dtype is spec.dtype
        operands.append(one if same or spec is None else cast(one, spec.dtype))
    results = _outputs(op.by_position(*op.nested(operands, call.lengths), *call.attrs))
    return tuple(None if r is None else _all_of(r, call) for r in results)


def _all_of(result: Any, call: Call) -> Any:
    """All examples of a result, which may be the same for each."""
    batch = _C.batch_of(result)
    if batch is not None and batch[0] is call.level:
        return batch[1]
    return REGISTRY["expand"].call(result, (call.size, *result.shape))


def loss(call: Call) -> Any:
    """One loss for each element, and their mean or sum over each example."""
    names = call.op.attribute_names
    if "reduction" not in names:
        return along_axis(call)
    reduction, attrs = call.named("reduction"), list(call.attrs)
    attrs[names.index("reduction")] = "none"
    ndim = max(len(s.shape) for s in call.specs if s is not None)
    values = [call.full(k) if len(s.shape) == ndim else call.padded(k, ndim)
              if s is not None else None for k, s in enumerate(call.specs)]  # fmt: skip
    if not _each_has_one(call, values, attrs):
        return NotImplemented
    each = call.run(values, attrs)
    axes = tuple(range(1, each.ndim))
    return each if reduction == "none" else mean(each, axes) if reduction == "mean" else sum_(each, axes)


def _each_has_one(call: Call, values: Sequence[Any], attrs: Sequence[Any]) -> bool:
    """Whether the unreduced loss has the shape of all operands together."""
    specs = [s if s is None or v.weak else s._replace(shape=v.shape) for s, v in zip(call.specs, values, strict=True)]
    try:
        promoted = call.op.promoted(specs)
        bound = call.op.bind(attrs, promoted, call.lengths)
        found = call.op.inferred(call.op.values(promoted, bound, call.lengths))[0]
    except (TypeError, ValueError, IndexError):
        return False
    largest = max((s.shape for s in specs if s is not None), key=len)
    return found is not None and found.shape == largest


# ---- one after the other --------------------------------------------------------------------------------------------


def loop(call: Call) -> Any:
    """Each example by a call of its own; the results are stacked, those written in place lie where they were."""
    op: Op = call.op
    for k in op.written(call.lengths):
        if not call.is_batched[k]:
            raise ValueError(f"vmap: {op.name} writes in place into a tensor that all examples share")
    found = [_outputs(call.run(_one(call, i))) for i in range(call.size)]
    return _stacked(call, found)


def _one(call: Call, i: int) -> list[Any]:
    return [slice_view(v, (i,)) if b else v for v, b in zip(call.values, call.is_batched, strict=True)]


def _stacked(call: Call, found: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    if not found:
        device = next(v.device for v in call.values if v is not None and not v.weak)
        return tuple(None if s is None else _C.full((0, *s.shape), 0, s.dtype, device.code) for s in call.outputs)
    parts = zip(*found, strict=True)
    return tuple(None if all(p is None for p in part) else stack(list(part)) for part in parts)


# ---- random operations ----------------------------------------------------------------------------------------------


def _random(call: Call) -> Any:
    """As the vmap's ``randomness`` says: other numbers for each example, or the same for all."""
    op, level = call.op, call.level
    if level.randomness == "error":
        raise ValueError(
            f'vmap: {op.name} draws random numbers: say randomness="different" (for each example) or "same" (for all)'
        )
    before = _C.set_batch_depth(level.depth - 1)
    try:
        if level.randomness == "different":
            found = op.batch(call) if op.batch is not None else NotImplemented
            return loop_with_state(call) if found is NotImplemented else found
        if not any(call.is_batched):
            expand = REGISTRY["expand"].call
            return tuple(expand(r, (call.size, *r.shape)) for r in _outputs(call.run(call.values)))
        return loop_with_state(call, again=True)
    finally:
        _C.set_batch_depth(before)


def loop_with_state(call: Call, again: bool = False) -> Any:
    """Each example by a call of its own, which moves the generator on; ``again``: from the same state for each."""
    states = [call.values[k] for k in call.op.written(call.lengths)]
    starts = [s.clone() for s in states] if again else []
    found = []
    for i in range(call.size):
        for state, start in zip(states, starts, strict=False):
            state.copy_(start)
        found.append(_outputs(call.run(_one(call, i))))
    return _stacked(call, found)


RULES: dict[str, Callable[[Call], Any]] = {
    "pointwise": pointwise, "axis": along_axis, "leading": leading, "loss": loss, "composite": composite, "loop": loop,
}  # fmt: skip
_FAMILIES = {
    "elementwise": "pointwise", "activation": "pointwise", "reduce": "axis", "softmax": "axis", "movement": "axis",
    "scan": "axis", "order": "axis", "loss": "loss",
}  # fmt: skip
"""By the family of their kernels, what holds for operations that say nothing else."""
