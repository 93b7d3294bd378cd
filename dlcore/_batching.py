"""Operations on tensors that stand for one example of a batch: what `dlcore.func.vmap` gives to the function it maps.

A batched tensor has the shape of one example and keeps the tensor of all of them, whose axis 0 counts the examples
(csrc/core/batch.h). C++ hands every call with one among its operands to `batched` here, which runs the operation once
for all examples: by the operation's batching rule (dlcore/ops/_batching.py).

A *level* is one call of vmap. Batches lie within each other: the tensor of all examples of an inner level may itself
stand for one example of an outer one, so that a rule never knows of more than one axis of examples.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any

from dlcore import _C
from dlcore.errors import ShapeError
from dlcore.op import Op, Spec
from dlcore.ops.movement import expand, permute, reshape

__all__ = [
    "Call", "Level", "all_of", "around", "batched", "dressed", "entered", "filled_like", "levels", "levels_of",
    "one_of", "stripped", "within", "wrapped",
]  # fmt: skip


class Level:
    """One call of vmap: how many examples it has, and what random operations do for them."""

    __slots__ = ("active", "depth", "randomness", "size")

    def __init__(self, size: int, randomness: str = "error"):
        self.size, self.randomness, self.depth, self.active = size, randomness, 0, False


_thread = threading.local()


def levels() -> list[Level]:
    """The levels that this thread is within, outermost first."""
    found: list[Level] = getattr(_thread, "levels", [])
    return found


@contextmanager
def entered(level: Level) -> Iterator[None]:
    """The innermost level of this thread, while the context lasts."""
    outer = levels()
    before = outer[: _C.batch_depth()]
    _thread.levels = [*before, level]
    state = level.depth, level.active
    level.depth, level.active = len(before) + 1, True
    depth = _C.set_batch_depth(level.depth)
    try:
        yield
    finally:
        (level.depth, level.active), _thread.levels = state, outer
        _C.set_batch_depth(depth)


@contextmanager
def within(some: Sequence[Level]) -> Iterator[None]:
    """These levels again, given outermost first, for what belongs to a vmap and runs later; those that last stay."""
    with ExitStack() as stack:
        for level in some:
            if not level.active:
                stack.enter_context(entered(level))
        yield


# ---- with and without an axis of examples --------------------------------------------------------------------------


def wrapped(whole: Any, level: Level) -> Any:
    """One example of those along axis 0 of ``whole``."""
    return None if whole is None else _C.batched(whole, level)


def stripped(t: Any, level: Level) -> Any:
    """All examples of ``t`` at ``level``, along axis 0, repeated where it has none; inner levels stay."""
    batch = _C.batch_of(t)
    if batch is None or batch[0].depth < level.depth:
        return expand(t, (level.size, *t.shape))
    if batch[0] is level:
        return batch[1]
    whole = stripped(batch[1], level)
    return wrapped(_exchanged(whole), batch[0])


def dressed(t: Any, level: Level) -> Any:
    """What `stripped` undoes: one example of those along axis 0 of ``t``."""
    batch = _C.batch_of(t)
    if batch is None or batch[0].depth < level.depth:
        return wrapped(t, level)
    return wrapped(dressed(_exchanged(batch[1]), level), batch[0])


def all_of(t: Any, within: Sequence[Level]) -> Any:
    """All examples of ``t`` at these levels, given outermost first, along axes in front."""
    for level in reversed(within):
        t = stripped(t, level)
    return t


def one_of(t: Any, within: Sequence[Level]) -> Any:
    """What `all_of` undoes."""
    for level in within:
        t = dressed(t, level)
    return t


def levels_of(tensors: Sequence[Any]) -> list[Level]:
    """The levels at which any of these (tensors or None) stands for one example, outermost first."""
    found = set()
    for t in tensors:
        while (batch := _C.batch_of(t)) is not None:
            found.add(batch[0])
            t = batch[1]
    return sorted(found, key=lambda level: level.depth) if found else []


def around() -> list[Level]:
    """The levels around the code that runs now."""
    return levels()[: _C.batch_depth()]


def _exchanged(t: Any) -> Any:
    """The first two axes in the other order."""
    return permute(t, (1, 0, *range(2, t.ndim)))


# ---- operations -----------------------------------------------------------------------------------------------------


class Call:
    """The call of an operation for all examples, as a batching rule sees it.

    ``values``: the operands one by one, those of which ``is_batched`` is true with the examples along axis 0.
    ``specs``: the operands, ``outputs``: the results, ``attrs``: the attributes, converted, all three of one example.
    """

    def __init__(
        self, op: Op, level: Level, values: list[Any], is_batched: list[bool], specs: Sequence[Spec | None],
        attrs: tuple[Any, ...], outputs: Sequence[Spec | None], lengths: tuple[int, ...],
    ):  # fmt: skip
        self.op, self.level, self.size, self.values, self.is_batched = op, level, level.size, values, is_batched
        self.specs, self.attrs, self.outputs, self.lengths = specs, attrs, outputs, lengths

    def named(self, name: str) -> Any:
        """The attribute called so."""
        return self.attrs[self.op.attribute_names.index(name)]

    def run(self, values: Sequence[Any], attrs: Sequence[Any] | None = None) -> Any:
        """The operation on other operands."""
        return self.op.call(*self.op.nested(values, self.lengths), *(self.attrs if attrs is None else attrs))

    def full(self, k: int) -> Any:
        """Operand ``k`` with the axis of examples: repeated, which takes no memory, where it has none."""
        value = self.values[k]
        if value is None or value.weak or self.is_batched[k]:
            return value
        return expand(value, (self.size, *value.shape))

    def padded(self, k: int, ndim: int) -> Any:
        """Operand ``k`` as it broadcasts against others of ``ndim`` axes: axes of length 1 behind that of examples."""
        value = self.values[k]
        if not self.is_batched[k] or value.ndim == ndim + 1:
            return value
        return reshape(value, (self.size, *[1] * (ndim + 1 - value.ndim), *value.shape[1:]))

    def example(self, i: int) -> list[Any]:
        """The operands of one example: views."""
        return [v[i] if b else v for v, b in zip(self.values, self.is_batched, strict=True)]

    def batched_of(self, outputs: Sequence[Any]) -> list[Any]:
        """One example of each result; raises where one has not the shape that all examples together have."""
        found = []
        for made, spec in zip(outputs, self.outputs, strict=False):
            if made is not None and (spec is None or made.shape != (self.size, *spec.shape)):
                raise RuntimeError(f"vmap: the batching rule of {self.op.name} gave {made.shape} for {spec}")
            found.append(wrapped(made, self.level))
        return found


def batched(op: Op, operands: tuple[Any, ...], attrs: tuple[Any, ...], lengths: tuple[int, ...]) -> Any:
    """The operation on operands among which some stand for one example; also a random one within a vmap."""
    from dlcore.ops._batching import run  # loaded with the first vmap

    depth = _C.batch_depth()
    given = [None if t is None else _C.batch_of(t) for t in operands]
    level = max((b[0] for b in given if b is not None), key=lambda a: a.depth, default=None)
    if op.random and depth:
        level = levels()[depth - 1]
    assert level is not None, "only operations of examples come here"
    _check_active(op.name, [b[0] for b in given if b is not None])
    if op.dynamic:
        raise ShapeError(
            f"vmap: {op.name} has a result whose shape depends on values, which may differ from example to example; "
            "use dl.where, or call it outside of vmap"
        )
    is_batched = [b is not None and b[0] is level for b in given]
    values = [b[1] if b is not None and mine else t for t, b, mine in zip(operands, given, is_batched, strict=True)]
    specs = tuple(None if t is None else Spec(t.shape, t.dtype, t.weak) for t in operands)
    bound, outputs = _inferred(op, specs, attrs, tuple(map(type, attrs)), lengths)
    call = Call(op, level, values, is_batched, specs, bound, outputs, lengths)
    found = run(call)
    several = found if isinstance(found, tuple) else (found,)
    if not op.output_names:
        return None
    results = call.batched_of(several)
    return results[0] if len(op.output_names) == 1 else tuple(results)


def _check_active(name: str, used: Sequence[Level]) -> None:
    if not all(level.active for level in used):
        raise RuntimeError(f"{name}: a tensor that stands for one example of a vmap is used after that has returned")


@lru_cache(4096)
def _inferred(
    op: Op, specs: tuple[Spec | None, ...], attrs: tuple[Any, ...], kinds: tuple[type, ...], lengths: tuple[int, ...]
) -> tuple[tuple[Any, ...], list[Spec | None]]:  # fmt: skip
    """Attributes and results of one example; raises what the operation's rules raise, in the shapes of one example.

    ``kinds``: 1 and True are equal, and not the same attribute.
    """
    promoted = op.promoted(specs)
    bound = op.bind(attrs, promoted, lengths)
    outputs = op.inferred(op.values(promoted, bound, lengths))
    return bound, outputs[: len(op.output_names)]


def batched_inplace(function: Any, target: Any, others: tuple[Any, ...]) -> Any:
    """target `function`= others for all examples; the target must have one place for each."""
    given = [_C.batch_of(t) for t in (target, *others)]
    level = max((b[0] for b in given if b is not None), key=lambda a: a.depth)
    _check_active(function.op.name, [b[0] for b in given if b is not None])
    mine = given[0]
    if mine is None or mine[0] is not level:
        raise ShapeError(
            f"vmap: {function.op.name} writes a value for each example into a tensor of shape {target.shape} that they "
            "share; use an operation that makes a new tensor, or begin with zeros_like(x) of a tensor x of the example"
        )
    values = []
    for other, batch in zip(others, given[1:], strict=True):
        if batch is None or batch[0] is not level:
            values.append(other)
            continue
        whole, missing = batch[1], target.ndim - other.ndim
        values.append(reshape(whole, (level.size, *[1] * missing, *whole.shape[1:])) if missing > 0 else whole)
    function.inplace(mine[1], *values)
    return target


def filled_like(x: Any, make: Callable[[tuple[int, ...]], Any]) -> Any:
    """A new tensor of the shape of ``x``, with a place for each example where ``x`` stands for one."""
    batch = _C.batch_of(x)
    return make(x.shape) if batch is None else wrapped(filled_like(batch[1], make), batch[0])


_C.bind(batched=batched, batched_inplace=batched_inplace)
