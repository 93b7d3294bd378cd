"""einsum, and what it is made of: sums of products over named axes by few products of matrices, without copies.

A contraction is planned once for each expression, shapes and strides. Operands are multiplied two at a time, in the
order with the fewest arithmetic operations (of up to `EXHAUSTIVE` operands the best of all orders, of more a greedy
one). Before a product an operand loses its diagonals, and the sums over axes that nothing else has. Axes that two
operands share and that are summed over become the inner axis of `matmul`, those that they share and keep a batch, the
others rows and columns: mostly views, for matmul takes any strides. Products without a sum are a broadcast `mul`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from dlcore import _C
from dlcore._arguments import MAX_AXES, boolean, choice, integer, items, listed, remembered, renamed, shown
from dlcore.dtypes import result_type
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Spec
from dlcore.ops import reduce
from dlcore.ops._contraction_order import order_of
from dlcore.ops.elementwise import cast, mul
from dlcore.ops.matmul import matmul
from dlcore.ops.movement import _reshaped_strides, permute, reshape
from dlcore.ops.slicing import slice as slice_of
from dlcore.ops.vectors import vecdot

__all__ = ["einsum"]

Label = str
"""The name of an axis: a letter of the equation, or "...1" for the last axis that an ellipsis stands for."""
Labels = tuple[Label, ...]
Shape = tuple[int, ...]
Action = tuple[Callable[..., Any], Any]

KEPT_PLANS = 4096
BEST, IN_ORDER = "best", "from left to right"  # orders of contraction
ROWS_WORTH_A_PRODUCT = 16
"""Rows of each product where axes cannot be made one without a copy: with fewer, the copy costs less."""


class Step(NamedTuple):
    """The product of two of the operands left: they go, and what the last actions give comes behind the others."""

    left: int
    right: int
    before_left: tuple[Action, ...]
    before_right: tuple[Action, ...]
    product: Callable[..., Any]
    after: tuple[Action, ...]


class Plan(NamedTuple):
    """What a contraction does: products, then the actions on the operand that is left."""

    steps: tuple[Step, ...]
    last: tuple[Action, ...]


# ---- one operand ----------------------------------------------------------------------------------------------------


class _Term:
    """An operand while a contraction is planned: the names of its axes, its layout, and what is done to it."""

    def __init__(self, labels: Labels, shape: Shape, strides: Shape):
        self.labels, self.shape, self.strides = labels, shape, strides
        self.actions: list[Action] = []

    @classmethod
    def fresh(cls, labels: Labels, shape: Shape) -> _Term:
        """A result: in memory of its own, row-major."""
        return cls(labels, shape, _row_major(shape))

    @property
    def lengths(self) -> dict[Label, int]:
        """Of the axes, by their names."""
        return dict(zip(self.labels, self.shape, strict=True))

    def reshaped(self, shape: Shape, labels: Labels) -> None:
        """Other axes, of the same elements."""
        self.labels = labels
        if shape == self.shape:
            return
        found = self.strides_as(shape)
        self.actions.append((reshape, shape))
        self.shape, self.strides = shape, _row_major(shape) if found is None else found

    def strides_as(self, shape: Shape) -> Shape | None:
        """Strides of its elements in another shape; None where they must be copied."""
        return _reshaped_strides(_layout(self.shape, self.strides), shape)

    def ordered(self, labels: Sequence[Label]) -> None:
        """The axes in another order."""
        axes = tuple(self.labels.index(x) for x in labels)
        if axes != tuple(range(len(axes))):
            self.actions.append((permute, axes))
        self.labels = tuple(labels)
        self.shape, self.strides = _chosen(self.shape, axes), _chosen(self.strides, axes)

    def diagonal(self, label: Label) -> None:
        """The axes called ``label``, which is there more than once, made one: elements with all these indices equal."""
        others = [d for d, x in enumerate(self.labels) if x != label]
        same = [d for d, x in enumerate(self.labels) if x == label]
        n = self.shape[same[0]]
        axes = (*others, *same)
        self.actions.append((permute, axes))
        self.shape, self.strides = _chosen(self.shape, axes), _chosen(self.strides, axes)
        kept = self.shape[: len(others)]
        names = tuple(self.labels[d] for d in others)
        self.reshaped((*kept, n ** len(same)), (*names, label))
        step = sum(n**k for k in range(len(same)))
        self.actions.append((slice_of, (*((0, k, 1) for k in kept), (0, n, step))))
        self.shape, self.strides = (*kept, n), (*self.strides[:-1], self.strides[-1] * step)

    def without(self, labels: Sequence[Label]) -> None:
        """Sums over axes."""
        axes = tuple(d for d, x in enumerate(self.labels) if x in labels)
        if not axes:
            return
        self.actions.append((reduce.sum, axes))
        kept = [d for d in range(len(self.labels)) if d not in axes]
        self.labels, self.shape = _chosen(self.labels, kept), _chosen(self.shape, kept)
        self.strides = _row_major(self.shape)

    def squeezed(self, labels: Sequence[Label]) -> None:
        """Without axes of length 1."""
        kept = [d for d, x in enumerate(self.labels) if x not in labels]
        self.reshaped(_chosen(self.shape, kept), _chosen(self.labels, kept))


def _chosen(values: Sequence[Any], places: Sequence[int]) -> tuple[Any, ...]:
    return tuple(values[d] for d in places)


def _row_major(shape: Shape) -> Shape:
    return tuple(math.prod(shape[d + 1 :]) for d in range(len(shape)))


def _layout(shape: Shape, strides: Shape) -> Any:
    return Spec(shape, None, False, strides)  # type: ignore[arg-type]


# ---- the product of two ---------------------------------------------------------------------------------------------


def _paired(a: _Term, b: _Term, kept: set[Label], order: Sequence[Label]) -> tuple[Any, bool, _Term]:
    """How two operands are multiplied: the function, whether they change places, and the result, whose actions are
    still to come. ``kept``: axes that are not summed over here. ``order``: of the axes in the end."""
    for x, y in ((a, b), (b, a)):  # an axis of length 1 beside a longer one is none
        lengths = y.lengths
        x.squeezed([k for k, n in x.lengths.items() if n == 1 and lengths.get(k, 1) != 1])
    for x, y in ((a, b), (b, a)):
        x.without([k for k in x.labels if k not in y.labels and k not in kept])
    inner = [k for k in a.labels if k in b.labels and k not in kept]
    if inner:
        return _as_matmul(a, b, inner, order)
    labels = tuple(sorted({*a.labels, *b.labels}, key=order.index))
    if len(labels) > MAX_AXES:
        raise ShapeError(f"einsum: a product with {len(labels)} axes; a tensor has at most {MAX_AXES}")
    lengths = a.lengths | b.lengths
    for x in (a, b):
        x.ordered([k for k in labels if k in x.labels])
        own = x.lengths
        first = next((d for d, k in enumerate(labels) if k in own), len(labels))  # axes in front broadcast anyway
        x.reshaped(tuple(own.get(k, 1) for k in labels[first:]), labels[first:])
    return mul, False, _Term.fresh(labels, tuple(lengths[k] for k in labels))


def _as_matmul(a: _Term, b: _Term, inner: list[Label], order: Sequence[Label]) -> tuple[Any, bool, _Term]:
    """Batch, rows of one operand, columns of the other; see `_paired`."""
    batch = sorted((k for k in a.labels if k in b.labels and k not in inner), key=order.index)
    swapped = False
    sides = [sorted((k for k in x.labels if k not in y.labels), key=order.index) for x, y in ((a, b), (b, a))]
    first = [order.index(side[0]) if side else len(order) for side in sides]
    if first[1] < first[0] or (not batch and _apart(b, sides[1]) and not _apart(a, sides[0])):
        a, b, sides, swapped = b, a, sides[::-1], True
    rows, columns = sides
    lengths = a.lengths | b.lengths
    if not (rows or columns):  # a dot product for each entry of the batch
        inner = _inner_order(a, b, inner, batch)
        for x in (a, b):
            _grouped(x, [*([k] for k in batch), inner])
        return vecdot, swapped, _Term.fresh(tuple(batch), tuple(lengths[k] for k in batch))
    inner = _inner_order(a, b, inner, batch)
    beside: list[Label] = []  # rows that cannot become one axis without a copy: a batch with the one matrix b
    if not batch and _apart(a, rows) and not _apart(b, columns):
        while _apart(a, rows[len(beside) :]):
            beside.append(rows[len(beside)])
        rest = rows[len(beside) :]
        if math.prod(a.lengths[k] for k in rest) < ROWS_WORTH_A_PRODUCT or len(beside) + 2 > MAX_AXES:
            beside = []
    rows = rows[len(beside) :]
    labels = (*batch, *beside, *rows, *columns)
    # a vector where there are no rows and no batch: matmul drops that axis by itself
    alone = [[k] for k in batch] if len(batch) + 2 <= MAX_AXES else [batch]
    _grouped(a, [*alone, *([k] for k in beside), *([rows] if rows or batch else []), inner])
    _grouped(b, [*alone, inner, *([columns] if columns or batch else [])])
    groups = [*alone, *([k] for k in beside), *(g for g in (rows, columns) if g or batch)]
    made = _Term.fresh(labels, tuple(lengths[k] for k in labels))
    shape = tuple(math.prod(lengths[k] for k in g) for g in groups)
    if shape != made.shape:
        made.actions.append((reshape, made.shape))
    return matmul, swapped, made


def _apart(x: _Term, labels: Sequence[Label]) -> bool:
    """Whether these axes can become one only by a copy."""
    lengths, strides = x.lengths, dict(zip(x.labels, x.strides, strict=True))
    part = _layout(tuple(lengths[k] for k in labels), tuple(strides[k] for k in labels))
    return _reshaped_strides(part, (math.prod(part.shape),)) is None


def _inner_order(a: _Term, b: _Term, inner: list[Label], batch: list[Label]) -> list[Label]:
    """The order of the axes summed over: one in which both operands are views, if there is one, else the larger."""
    other = [k for k in b.labels if k in inner]
    ways = [inner, other] if math.prod(a.shape) >= math.prod(b.shape) else [other, inner]
    return min(ways, key=lambda way: _apart(a, way) + _apart(b, way))


def _grouped(x: _Term, groups: Sequence[Sequence[Label]]) -> None:
    """The operand with one axis for each group."""
    x.ordered([k for g in groups for k in g])
    lengths = x.lengths
    x.reshaped(tuple(math.prod(lengths[k] for k in g) for g in groups), tuple(map("".join, groups)))


# ---- the whole ------------------------------------------------------------------------------------------------------


@lru_cache(KEPT_PLANS)
def _plan(
    labels: tuple[Labels, ...], out: Labels, shapes: tuple[Shape, ...], strides: tuple[Shape, ...], best: bool
) -> Plan:
    terms = [_Term(*given) for given in zip(labels, shapes, strides, strict=True)]
    for term in terms:
        for label in [k for d, k in enumerate(term.labels) if k in term.labels[:d]]:
            if term.labels.count(label) > 1:
                term.diagonal(label)
    sizes: dict[Label, int] = {}
    for term in terms:
        for label, n in term.lengths.items():
            sizes[label] = max(n, sizes.get(label, 1)) if n else 0
    summed = [k for k in sizes if k not in out]
    order, steps = [*out, *summed], []
    for left, right in order_of([frozenset(t.labels) for t in terms], frozenset(out), sizes, best):
        b, a = terms.pop(right), terms.pop(left)
        kept = {*out, *(k for t in terms for k in t.labels)}
        product, swapped, made = _paired(a, b, kept, order)
        first, second = (right, left) if swapped else (left, right)
        one, two = (b, a) if swapped else (a, b)
        steps.append(Step(first, second, tuple(one.actions), tuple(two.actions), product, tuple(made.actions)))
        made.actions = []
        terms.append(made)
    last = terms[0]
    last.without([k for k in last.labels if k not in out])
    last.ordered(out)
    return Plan(tuple(steps), tuple(last.actions))


def _acted(x: Any, actions: tuple[Action, ...]) -> Any:
    for function, argument in actions:
        x = function(x, argument)
    return x


def _run(plan: Plan, operands: Sequence[Any]) -> Any:
    terms = list(operands)
    for left, right, before_left, before_right, product, after in plan.steps:
        a, b = terms[left], terms[right]
        del terms[max(left, right)], terms[min(left, right)]
        terms.append(_acted(product(_acted(a, before_left), _acted(b, before_right)), after))
    return _acted(terms[0], plan.last)


def contract(operands: Sequence[Any], labels: tuple[Labels, ...], out: Labels) -> Any:
    """The sum over the axes that ``out`` does not name of the products of tensors whose axes have these names."""
    shapes, strides = tuple([x.shape for x in operands]), tuple([x.strides for x in operands])
    return _run(_plan(labels, out, shapes, strides, True), operands)


# ---- expressions ----------------------------------------------------------------------------------------------------


def einsum(equation: Any, *operands: Any, optimize: bool | str = True) -> Any:
    """The sum of products that an equation over the names of axes says: ``einsum("bij,bjk->bik", a, b)``.

    Each operand has a name for each of its axes, one letter, behind the others after a comma. An axis that the output
    does not name is summed over; a name that one operand has twice is its diagonal; names that operands share are the
    same index. "..." stands for all axes not named, which broadcast and are aligned at the right. Without "->" the
    output has the axes of "..." and then, in alphabetical order, the names that are there once. NumPy's other form,
    ``einsum(a, [0, 1], b, [1, 2], [0, 2])``, names axes by integers and ``...``.

    Operands are contracted two at a time, in the order with the fewest arithmetic operations (``optimize=False``: from
    left to right; NumPy's "greedy" and "optimal" are True), by `matmul` and `mul`; dtypes are promoted as theirs are,
    and integers wrap. The result may be a view of the operand. Raises ValueError for an equation that makes no sense,
    ShapeError where lengths differ.

    >>> a, b = dl.ones((2, 3)), dl.ones((3, 4))
    >>> dl.einsum("ij,jk->ik", a, b).shape, dl.einsum("ij->", a).item()
    ((2, 4), 6.0)
    """
    try:
        if not isinstance(equation, str):
            equation, operands = _from_lists((equation, *operands))
        order = BEST if optimize is True or _wanted(optimize) else IN_ORDER
        return _prepared(equation, order, *operands)(*operands)
    except (TypeError, ValueError, OverflowError) as error:
        raise renamed(error, "einsum") from error


def _wanted(optimize: Any) -> bool:
    if isinstance(optimize, str):
        return bool(choice(optimize, ("greedy", "optimal"), "einsum: optimize"))
    return boolean(optimize, "einsum: optimize")


@remembered
def _prepared(equation: str, order: str, *operands: Any) -> Callable[..., Any]:
    """What gives the result, of operands like these: where it can be, the operation itself."""
    terms = _converted(operands)
    dtype = result_type([(x.dtype, x.weak) for x in terms])
    if dtype.kind == "bool":
        raise DTypeError("einsum: does not take bool")
    plan = _of_equation(equation, order, *terms)
    if not dtype.is_float or not all(isinstance(x, _C.TensorBase) for x in operands):
        return lambda *given: _in_dtype(_run(plan, _converted(given)), dtype)
    return _function(plan)


def _converted(operands: Sequence[Any]) -> list[Any]:
    """Tensors, and numbers beside them."""
    terms = [x if isinstance(x, _C.TensorBase) else _C.as_tensor(x, "einsum", "operands") for x in operands]
    if terms and all(x.weak for x in terms):
        dtype = result_type([(x.dtype, True) for x in terms])
        terms = [cast(x, dtype) for x in terms]
    return terms


def _in_dtype(x: Any, dtype: Any) -> Any:
    """Integers are summed in wider ones."""
    return x if x.dtype.is_float or x.dtype is dtype else cast(x, dtype)


def _function(plan: Plan) -> Callable[..., Any]:
    if not plan.steps and len(plan.last) == 1:
        action, argument = plan.last[0]
        return lambda x: action(x, argument)
    if len(plan.steps) != 1 or plan.last:
        return lambda *given: _run(plan, given)
    left, _, before_left, before_right, product, after = plan.steps[0]
    if not (before_left or before_right or after):
        return product if left == 0 else lambda a, b: product(b, a)
    return lambda *given: _acted(
        product(_acted(given[left], before_left), _acted(given[1 - left], before_right)), after
    )


def _of_equation(equation: str, order: str, *terms: Any) -> Plan:
    shapes, strides = tuple(x.shape for x in terms), tuple(x.strides for x in terms)
    labels, out = _parsed(equation, shapes)
    return _plan(labels, out, shapes, strides, order == BEST)


def _from_lists(given: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """An equation and operands from operands that are followed by lists of integers."""
    pairs, rest = len(given) // 2, given[len(given) // 2 * 2 :]
    texts = ["".join(map(_letter, _axes(given[2 * k + 1]))) for k in range(pairs)]
    if not pairs:
        raise TypeError(f"einsum: equation {shown(given[0])} is not a str, and no list of axes follows it")
    out = "".join(["->", *map(_letter, _axes(rest[0]))]) if rest else ""
    return ",".join(texts) + out, tuple(given[2 * k] for k in range(pairs))


def _axes(value: Any) -> list[Any]:
    several = items(value)
    return list(several) if several is not None else listed(value, "einsum: axes", "integers and ...")


def _letter(axis: Any) -> str:
    if axis is Ellipsis:
        return "..."
    n = integer(axis, "einsum: axis", least=0)
    if n >= 52:
        raise ValueError(f"einsum: axis {n}; the names of axes are the integers from 0 to 51")
    return chr(ord("A") + n if n < 26 else ord("a") + n - 26)


def _split(text: str, equation: str) -> list[Label]:
    """The names in a part of an equation, "..." among them."""
    found = []
    while text:
        size = 3 if text.startswith("...") else 1
        label, text = text[:size], text[size:]
        if size == 1 and not (label.isascii() and label.isalpha()):
            raise ValueError(f"einsum: {label!r} in {shown(equation)} is neither a letter nor '...'")
        found.append(label)
    if found.count("...") > 1:
        raise ValueError(f"einsum: '...' stands twice in a part of {shown(equation)}")
    return found


def _parsed(equation: str, shapes: tuple[Shape, ...]) -> tuple[tuple[Labels, ...], Labels]:
    """The names of the axes of each operand and of the output."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = [_split(part, equation) for part in left.split(",")]
    if len(parts) != len(shapes):
        raise ValueError(f"einsum: {shown(equation)} is about {len(parts)} operands, but {len(shapes)} are given")
    labels: list[Labels] = []
    sizes: dict[Label, int] = {}
    for k, (part, shape) in enumerate(zip(parts, shapes, strict=True)):
        labels.append(_spread(part, shape, k, equation))
        for label, n in zip(labels[-1], shape, strict=True):
            known = sizes.setdefault(label, n)
            if n != known and (1 not in (n, known) or labels[-1].count(label) > 1):
                raise ShapeError(f"einsum: index {label!r} of {shown(equation)} has lengths {known} and {n}: "
                                 + " and ".join(map(str, shapes)))  # fmt: skip
            sizes[label] = known if n == 1 else n
    behind = tuple(sorted((k for k in sizes if k.startswith("...")), key=lambda k: -int(k[3:])))
    if not arrow:
        every = [k for part in labels for k in part]
        return tuple(labels), (*behind, *sorted(k for k in sizes if k not in behind and every.count(k) == 1))
    names = _split(right, equation)
    if behind and "..." not in names:
        raise ValueError(f"einsum: the output of {shown(equation)} needs '...', which an operand has")
    out = tuple(k for name in names for k in (behind if name == "..." else (name,)))
    for label in out:
        if label not in sizes:
            raise ValueError(f"einsum: index {label!r} of the output of {shown(equation)} is in no operand")
        if out.count(label) > 1:
            raise ValueError(f"einsum: index {label!r} stands twice in the output of {shown(equation)}")
    return tuple(labels), out


def _spread(part: list[Label], shape: Shape, k: int, equation: str) -> Labels:
    """The names of an operand's axes, with those that an ellipsis stands for."""
    named = len(part) - ("..." in part)
    if named > len(shape) or ("..." not in part and named < len(shape)):
        text = "".join(part)
        raise ShapeError(f"einsum: operand {k} of shape {shape} has {len(shape)} axes, {text!r} in {shown(equation)} "
                         f"names {named}")  # fmt: skip
    found: list[Label] = []
    for label in part:
        found += [label] if label != "..." else [f"...{d}" for d in range(len(shape) - named, 0, -1)]
    return tuple(found)
