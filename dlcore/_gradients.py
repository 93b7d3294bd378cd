"""Gradient rules at work: what is kept of a call for them, and where their arguments come from.

    mul.gradient(a=lambda dout, b: mul(dout, b), b=lambda dout, a: mul(dout, a))

A rule may name, in any order: `dout` (`d` and the name of an output: the gradient that arrives there), operands,
outputs and extras (they are kept from the forward pass, for the operands whose rules name them), attributes, and of an
operand `x` that need not be kept `x_shape`, `x_dtype` and `x_device` (of a group: lists). Beside these `create_graph`
(whether this backward pass is itself tracked), `retain_graph` (whether another may follow) and, of an operation with
one output, `dout_is_one`: whether the last pass starts there, from the gradient 1. Nothing is then made for it, and
`dout` is None; rules that do not name it always get a tensor.

One function may serve several operands, as kernels do that compute gradients together:

    @linear.gradient("x", "weight", "bias")
    def _(dout, x, weight, needs_input_grad): ...      # a bool for each of the three; returns three tensors or None

The engine sums gradients to the operand's shape and casts them to its dtype. csrc/core/rules.cpp calls the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dlcore import _C
from dlcore.op import Op, accepted, function

__all__ = ["PlannedRule", "planned", "recomputed"]

INPUT, OUTPUT = 1, 2  # SaveSpec::Kind in csrc/core/plan.h
# enum class Source in csrc/core/plan.h
DOUT, SAVED, SAVED_GROUP, ATTRIBUTE, SHAPE, DTYPE, DEVICE, SHAPES, NEEDS, CREATE, RETAIN, ONE = range(12)
_OF_OPERAND = {"shape": SHAPE, "dtype": DTYPE, "device": DEVICE}
_FLAGS = {"needs_input_grad": NEEDS, "create_graph": CREATE, "retain_graph": RETAIN, "dout_is_one": ONE}


class PlannedRule(NamedTuple):
    """A rule for one kind of call: positions of the operands it serves, and where its arguments come from.

    A source is (kind, index, count); the count is that of a group's tensors. ``single``: the function returns one
    gradient (or a list, of a group), not a sequence with one for each operand.
    """

    function: Callable[..., Any]
    targets: tuple[int, ...]
    single: bool
    sources: tuple[tuple[int, int, int], ...]


class _Slots:
    """What is kept, each once, in the order in which it is first named."""

    def __init__(self) -> None:
        self.saves: list[tuple[int, int]] = []

    def of(self, kind: int, index: int) -> int:
        """The slot of an input or an output."""
        if (kind, index) not in self.saves:
            self.saves.append((kind, index))
        return self.saves.index((kind, index))

    def group(self, positions: range) -> tuple[int, int, int]:
        """The source of a group's tensors, in slots that follow each other."""
        first = len(self.saves)
        self.saves += [(INPUT, k) for k in positions]
        return SAVED_GROUP, first, len(positions)


def _source(op: Op, name: str, positions: dict[str, range], slots: _Slots, kept: Sequence[str] | None) -> Any:
    """Where the argument called ``name`` comes from; None if it names nothing."""
    produced = (*op.output_names, *op.extra_names)
    if name in _FLAGS and (name != "dout_is_one" or len(op.output_names) == 1):
        return _FLAGS[name], 0, 0
    if (name in positions or name in produced) and kept is not None and name not in kept:
        return SAVED, -1, 0
    if name in positions:
        at = positions[name]
        return slots.group(at) if op.signature.is_group(name) else (SAVED, slots.of(INPUT, at.start), 0)
    if name in op.signature.attribute_names:
        return ATTRIBUTE, op.signature.attribute_names.index(name), 0
    if name in produced:
        return SAVED, slots.of(OUTPUT, produced.index(name)), 0
    if name.startswith("d") and name[1:] in op.output_names:
        return DOUT, op.output_names.index(name[1:]), 0
    operand, _, what = name.rpartition("_")
    if operand in positions and what in _OF_OPERAND:
        at = positions[operand]
        return (SHAPES, at.start, len(at)) if op.signature.is_group(operand) else (_OF_OPERAND[what], at.start, 0)
    return None


def planned(
    op: Op, attrs: tuple[Any, ...], needs: Sequence[bool], lengths: Sequence[int]
) -> tuple[list[PlannedRule], list[tuple[int, int]]]:
    """The rules for the gradients wanted, and what is saved for them: (kind, position) for each slot."""
    positions, slots, found = op.signature.positions(lengths), _Slots(), []
    kept = op.residuals(*attrs) if op.residuals else None
    if not op.rules:
        return _recomputation(op, needs, lengths)
    for rule in op.rules:
        targets = [k for name in rule.operands for k in positions[name]]
        if not any(needs[k] for k in targets):
            continue
        names = accepted(rule.function)
        if names is None:
            raise TypeError(f"{op.name}: its gradient rule takes *args; rules name what they need")
        sources = []
        for name in names:
            source = _source(op, name, positions, slots, kept)
            if source is None:
                raise TypeError(f"{op.name}: its gradient rule names {name!r}, which the operation does not have")
            sources.append(source)
        found.append(PlannedRule(rule.function, tuple(targets), len(rule.operands) == 1, tuple(sources)))
    return found, slots.saves


# ---- operations with a kernel, a composite and no rule -------------------------------------------------------------


def _recomputation(
    op: Op, needs: Sequence[bool], lengths: Sequence[int]
) -> tuple[list[PlannedRule], list[tuple[int, int]]]:
    """The composite, run again on the operands kept and differentiated."""
    n, outputs, attributes = len(needs), len(op.output_names), len(op.signature.attributes)
    sources = [
        (CREATE, 0, 0), (NEEDS, 0, 0), *((DOUT, k, 0) for k in range(outputs)), *((SAVED, k, 0) for k in range(n)),
        *((ATTRIBUTE, k, 0) for k in range(attributes)),
    ]  # fmt: skip

    def rule(create_graph: bool, wanted: tuple[bool, ...], *rest: Any) -> Any:
        douts, operands, attrs = rest[:outputs], rest[outputs : outputs + n], rest[outputs + n :]
        composite = lambda *leaves: op.by_position(*op.nested(leaves, lengths), *attrs)  # noqa: E731
        return recomputed(composite, douts, operands, wanted, create_graph)

    return [PlannedRule(rule, tuple(range(n)), False, tuple(sources))], [(INPUT, k) for k in range(n)]


def recomputed(
    composite: Callable[..., Any],
    douts: Sequence[Any],
    operands: Sequence[Any],
    wanted: Sequence[bool],
    create_graph: bool,
) -> list[Any]:
    """Gradients of ``composite(*operands)``; None where not ``wanted`` or where nothing depends on it.

    Each is with respect to one operand alone, whatever the operands have to do with each other: what is differentiated
    are tensors of its own, with ``create_graph`` views, so that a second gradient goes on to the operands.
    """
    alias = function("expand")
    before = _C.set_grad_enabled(True)
    try:
        leaves = list(operands)
        for k, need in enumerate(wanted):
            if create_graph and need:
                leaves[k] = alias(leaves[k], leaves[k].shape)
            elif leaves[k] is not None and not create_graph and not leaves[k].weak:
                leaves[k] = leaves[k].detach()
                leaves[k].requires_grad = need
        start = _C.newest_node()
        made = composite(*leaves)
    finally:
        _C.set_grad_enabled(before)
    results = made if isinstance(made, tuple) else (made,)
    roots = [(r, d) for r, d in zip(results, douts, strict=True) if d is not None and r.requires_grad]
    inputs = tuple(x for x, need in zip(leaves, wanted, strict=True) if need)
    found = iter([None] * len(inputs))
    if roots:
        ends, gradients = zip(*roots, strict=True)
        found = iter(_C.backward(ends, gradients, inputs, create_graph, create_graph, start))
    return [next(found) if need else None for need in wanted]
