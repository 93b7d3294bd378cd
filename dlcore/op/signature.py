"""What a definition's `def` says: operands, attributes, and how each kind of attribute is checked and handed on.

    def softmax(x: Spec, axis: Axis = -1) -> Spec: ...

A parameter annotated `Spec` (or not at all) is an operand, `Spec | None` an optional one, `list[Spec]` a group of any
length. All others are attributes, and the annotation is their kind: int, float, bool, `Axis`, `Axes`, `Shape`, `Dtype`,
`OutputMask`, or a choice, `Literal["none", "tanh"]`. A kind is the one door for what callers give: `accept` makes it a
plain Python object that cannot change, which is what plans are found by; `convert` then brings that into the form that
every function of the operation sees (an axis counted from the front). Both raise errors that name operation and
attribute. A kind also says what kernels are told. Values of other annotations are taken as they are.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np

from dlcore._arguments import axis_of, boolean, choice, integer, integers, items, number, shown
from dlcore.dtypes import DTYPES, DType, as_dtype
from dlcore.errors import DTypeError, ShapeError

__all__ = [
    "REQUIRED", "Attribute", "Axes", "Axis", "AxisOf", "Choice", "Domain", "Dtype", "Kind", "Operand", "OutputMask",
    "Shape", "Signature", "Spec", "accepted", "named",
]  # fmt: skip


class _Required:
    """The default of an attribute that has none."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Any = _Required()


class Spec(NamedTuple):
    """What a shape rule sees of an operand and says of an output: shape and dtype.

    ``weak`` marks a Python number. ``strides`` (in elements) are given to operations with a ``view`` only.
    """

    shape: tuple[int, ...]
    dtype: DType
    weak: bool = False
    strides: tuple[int, ...] = ()


class Domain(NamedTuple):
    """The values an operand is meant for, `Annotated[Spec, Domain(0, 1)]`: samples and timed operands come from there.

    ``low``, ``high``: an interval (default: all numbers, drawn as standard normal). ``gap``: numbers at least this far
    from 0, of either sign. ``strict``: other values make no sense (an output of softmax above 1), so that none is
    tested, not even by the fuzzer.
    """

    low: float | None = None
    high: float | None = None
    gap: float = 0.0
    strict: bool = False

    def draw(self, rng: Any, shape: tuple[int, ...]) -> Any:
        """Random numbers in float64."""
        if self.gap:
            return np.copysign(rng.uniform(self.gap, 2.0, shape), rng.standard_normal(shape))
        if self.low is None or self.high is None:
            return np.asarray(rng.standard_normal(shape))
        return np.asarray(rng.uniform(self.low, self.high, shape))


EVERYWHERE = Domain()


class Operand(NamedTuple):
    """A parameter that is a tensor, or a group of them."""

    name: str
    optional: bool = False
    group: bool = False
    domain: Domain = EVERYWHERE


# ---- kinds of attributes ------------------------------------------------------------------------------------------


class Kind:
    """A kind of attribute that is taken as it is; the base of the others."""

    hint = "Any"
    """The type that callers may pass, in a signature for editors."""

    def accept(self, value: Any, where: str) -> Any:
        """``value`` as a plain object that can be hashed and never changes, whatever the operands are. ``where``:
        "softmax: axis", for errors."""
        frozen = _frozen(value)
        try:
            hash(frozen)
        except TypeError:
            raise TypeError(f"{where} {shown(value)} can change, so that it cannot be an argument") from None
        return frozen

    def convert(self, value: Any, where: str, given: Mapping[str, Any]) -> Any:
        """An accepted ``value`` as the operation's functions see it. ``given``: operands and the attributes before this
        one, by name."""
        return value

    def to_kernel(self, value: Any) -> tuple[int | float, ...]:
        """What kernels are told."""
        return ()

    def moved(self, value: Any, size: int) -> Any:
        """A converted ``value`` where the operands have another axis in front, of ``size`` examples (`Op.batching`);
        NotImplemented where the kind cannot tell."""
        return NotImplemented

    def wrong(self, where: str, given: Mapping[str, Any]) -> tuple[Any, type[Exception], str] | None:
        """A value that is refused, with the error and its text; None where any value is taken."""
        return None


def _frozen(value: Any) -> Any:
    """``value`` with the lists and arrays in it as tuples."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


class _OfNoAxis(Kind):
    """A kind of attribute to which another axis makes no difference."""

    def moved(self, value: Any, size: int) -> Any:
        return value


class Int(_OfNoAxis):
    """A whole number."""

    hint = "int"

    def accept(self, value: Any, where: str) -> int:
        return integer(value, where)

    def to_kernel(self, value: Any) -> tuple[int | float, ...]:
        return (value,)

    def wrong(self, where: str, given: Mapping[str, Any]) -> tuple[Any, type[Exception], str] | None:
        return 0.5, TypeError, f"{where} 0.5 is not an integer"


class Float(_OfNoAxis):
    """A number."""

    hint = "float"

    def accept(self, value: Any, where: str) -> float:
        return number(value, where)

    def to_kernel(self, value: Any) -> tuple[int | float, ...]:
        return (value,)

    def wrong(self, where: str, given: Mapping[str, Any]) -> tuple[Any, type[Exception], str] | None:
        return "half", TypeError, f"{where} 'half' is not a number"


class Bool(_OfNoAxis):
    """True or False; 0 and 1 will do."""

    hint = "bool"

    def accept(self, value: Any, where: str) -> bool:
        return boolean(value, where)

    def to_kernel(self, value: Any) -> tuple[int | float, ...]:
        return (int(value),)

    def wrong(self, where: str, given: Mapping[str, Any]) -> tuple[Any, type[Exception], str] | None:
        return "yes", TypeError, f"{where} 'yes' is neither True nor False"


class Choice(_OfNoAxis):
    """One of a few values. Kernels are told its position."""

    def __init__(self, *values: Any):
        self.values = values

    @property
    def hint(self) -> str:  # type: ignore[override]
        """The values."""
        return f"Literal[{', '.join(map(repr, self.values))}]"

    def accept(self, value: Any, where: str) -> Any:
        return choice(value, self.values, where)

    def to_kernel(self, value: Any) -> tuple[int | float, ...]:
        return (self.values.index(value),)

    def wrong(self, where: str, given: Mapping[str, Any]) -> tuple[Any, type[Exception], str] | None:
        return "other", ValueError, f"{where} 'other' is not one of {', '.join(map(repr, self.values))}"


class AxisOf(Kind):
    """An axis of the operand or shape called ``name`` (default: of the first operand), counted from the front.

    ``more``: axes that there may be beside its own.
    """

    hint = "int"

    def __init__(self, name: str = "", more: int = 0):
        self.name, self.more = name, more

    def shape(self, given: Mapping[str, Any], where: str) -> tuple[int, ...]:
        """The shape that the axis belongs to."""
        name = self.name or next(n for n, v in given.items() if v is not None)
        of = given[name]
        if isinstance(of, list):
            if not of:
                raise ShapeError(f"{where.partition(':')[0]}: no {name} are given")
            of = of[0]
        found = of.shape if hasattr(of, "shape") else tuple(of)
        return (*found, *[1] * self.more)

    def accept(self, value: Any, where: str) -> Any:
        return integer(value, where)

    def convert(self, value: Any, where: str, given: Mapping[str, Any]) -> Any:
        return axis_of(value, where, self.shape(given, where))

    def moved(self, value: Any, size: int) -> Any:
        return value + 1 if value >= 0 else value

    def to_kernel(self, value: Any) -> tuple[int | float, ...]:
        return (value,)

    def wrong(self, where: str, given: Mapping[str, Any]) -> tuple[Any, type[Exception], str] | None:
        shape = self.shape(given, where)
        return len(shape), IndexError, f"{where} {len(shape)} is out of range for shape {shape}"


class AxesOf(AxisOf):
    """One axis, several or (None) all, as a sorted tuple. Kernels are told a mask: bit d is set for axis d."""

    hint = "int | Sequence[int] | None"

    def accept(self, value: Any, where: str) -> Any:
        if value is None:
            return None
        several = items(value)
        if several is None:
            return integer(value, where)
        return tuple([integer(axis, where) for axis in several])

    def convert(self, value: Any, where: str, given: Mapping[str, Any]) -> Any:
        shape = self.shape(given, where)
        if value is None:
            return tuple(range(len(shape)))
        several = value if isinstance(value, tuple) else (value,)
        axes = tuple(sorted(axis_of(axis, where, shape) for axis in several))
        if len(set(axes)) != len(axes):
            raise ShapeError(f"{where.partition(':')[0]}: an axis is given twice: {several} for shape {shape}")
        return axes

    def moved(self, value: Any, size: int) -> Any:
        return tuple(axis + 1 for axis in value)

    def to_kernel(self, value: Any) -> tuple[int | float, ...]:
        return (sum(1 << axis for axis in value),)


class Lengths(Kind):
    """A shape: lengths, or one length alone. Kernels see it in the arrays' shapes."""

    hint = "int | Sequence[int]"

    def accept(self, value: Any, where: str) -> tuple[int, ...]:
        return integers(value, where)

    def wrong(self, where: str, given: Mapping[str, Any]) -> tuple[Any, type[Exception], str] | None:
        return (0.5,), TypeError, f"{where} (0.5,) is not a sequence of integers"


class DtypeKind(_OfNoAxis):
    """A dtype, by any of its names. Kernels see it in the arrays."""

    hint = "Any"

    def accept(self, value: Any, where: str) -> DType:
        return as_dtype(value, where)

    def wrong(self, where: str, given: Mapping[str, Any]) -> tuple[Any, type[Exception], str] | None:
        known = ", ".join(d.name for d in DTYPES)
        return "int7", DTypeError, f"{where} 'int7' is not a dtype of dlcore (known: {known})"


class Mask(_OfNoAxis):
    """Which outputs are wanted, one bool for each; the others are None and not computed."""

    hint = "Sequence[bool]"

    def accept(self, value: Any, where: str) -> tuple[bool, ...]:
        several = items(value)
        if several is None:
            raise TypeError(f"{where} {shown(value)} is not a sequence of bools")
        return tuple([boolean(v, where) for v in several])

    def wrong(self, where: str, given: Mapping[str, Any]) -> tuple[Any, type[Exception], str] | None:
        return True, TypeError, f"{where} True is not a sequence of bools"


class Optional(Kind):
    """A kind that may be None, of which kernels are told nothing."""

    def __init__(self, kind: Kind):
        self.kind = kind

    @property
    def hint(self) -> str:  # type: ignore[override]
        """That of the kind, or None."""
        return f"{self.kind.hint} | None"

    def accept(self, value: Any, where: str) -> Any:
        return None if value is None else self.kind.accept(value, where)

    def convert(self, value: Any, where: str, given: Mapping[str, Any]) -> Any:
        return None if value is None else self.kind.convert(value, where, given)

    def to_kernel(self, value: Any) -> tuple[int | float, ...]:
        return () if value is None else self.kind.to_kernel(value)

    def moved(self, value: Any, size: int) -> Any:
        return None if value is None else self.kind.moved(value, size)

    def wrong(self, where: str, given: Mapping[str, Any]) -> tuple[Any, type[Exception], str] | None:
        return self.kind.wrong(where, given)


Axis = Annotated[int, AxisOf()]
Axes = Annotated[Any, AxesOf()]
Shape = Annotated[tuple[int, ...], Lengths()]
Dtype = Annotated[DType, DtypeKind()]
OutputMask = Annotated[tuple[bool, ...], Mask()]

_KINDS: dict[Any, Kind] = {int: Int(), float: Float(), bool: Bool()}
_PLAIN = Kind()


class Attribute(NamedTuple):
    """A parameter that is no tensor."""

    name: str
    kind: Kind
    default: Any = REQUIRED


def _kind(annotation: Any) -> Kind:
    metadata = getattr(annotation, "__metadata__", ())
    for kind in metadata:
        if isinstance(kind, Kind):
            return kind
    if annotation in _KINDS:
        return _KINDS[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return Choice(*arguments)
    if origin in (typing.Union, types.UnionType) and type(None) in arguments and len(arguments) == 2:
        return Optional(_kind(next(a for a in arguments if a is not type(None))))
    return _PLAIN


def _operand(name: str, annotation: Any) -> Operand | None:
    """The operand that an annotation stands for; None for an attribute's."""
    if annotation is Spec or annotation is None:
        return Operand(name)
    for domain in getattr(annotation, "__metadata__", ()):
        if isinstance(domain, Domain):
            inner = _operand(name, typing.get_args(annotation)[0])
            return inner and inner._replace(domain=domain)
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is list and arguments == (Spec,):
        return Operand(name, group=True)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType) and type(None) in arguments:
        inner = _operand(name, next(a for a in arguments if a is not type(None)))
        return inner and inner._replace(optional=True)
    return None


class Signature:
    """Operands and attributes of an operation."""

    def __init__(self, operands: Sequence[Operand], attributes: Sequence[Attribute] = ()):
        self.operands, self.attributes = tuple(operands), tuple(attributes)
        self.operand_names = tuple(o.name for o in operands)
        self.attribute_names = tuple(a.name for a in attributes)
        self.names = (*self.operand_names, *self.attribute_names)
        self.groups = any(o.group for o in operands)

    @classmethod
    def of(cls, rule: Callable[..., Any]) -> Signature:
        """What the `def` of a shape rule says."""
        code, hints, space = rule.__code__, rule.__annotations__, rule.__globals__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        defaults = rule.__defaults__ or ()
        given = dict(zip(names[code.co_argcount - len(defaults) : code.co_argcount], defaults, strict=True))
        given |= rule.__kwdefaults__ or {}
        operands: list[Operand] = []
        attributes: list[Attribute] = []
        for name in names:
            hint = hints.get(name)
            hint = eval(hint, space) if isinstance(hint, str) else hint
            if hint is None and given.get(name) is not None:
                hint = type(given[name])
            operand = _operand(name, hint)
            if operand is None:
                attributes.append(Attribute(name, _kind(hint), given.get(name, REQUIRED)))
            elif attributes:
                raise TypeError(f"{rule.__qualname__}: operand {name!r} stands behind attributes")
            else:
                operands.append(operand)
        return cls(operands, attributes)

    @property
    def parameters(self) -> list[tuple[str, Any, str]]:
        """(name, default, type that callers may pass) of each."""
        operands = [
            (o.name, None if o.optional else REQUIRED,
             "Sequence[Operand]" if o.group else "Operand | None" if o.optional else "Operand")
            for o in self.operands
        ]  # fmt: skip
        return [*operands, *((a.name, a.default, a.kind.hint) for a in self.attributes)]

    def is_group(self, name: str) -> bool:
        """Whether the operand called so is a group."""
        return any(o.name == name and o.group for o in self.operands)

    def positions(self, lengths: Sequence[int] = ()) -> dict[str, range]:
        """Where each operand's tensors stand among all of them, for groups of these lengths."""
        left, found, at = iter(lengths), {}, 0
        for operand in self.operands:
            count = next(left) if operand.group else 1
            found[operand.name] = range(at, at + count)
            at += count
        return found

    @property
    def defaults(self) -> tuple[Any, ...]:
        """One for each attribute; `REQUIRED` for none."""
        return tuple(a.default for a in self.attributes)

    def accept(self, name: str, attrs: Sequence[Any]) -> tuple[Any, ...]:
        """All attributes as plain objects, those not given by their defaults; raises what their kinds raise."""
        accepted = []
        for k, attribute in enumerate(self.attributes):
            value = attrs[k] if k < len(attrs) else attribute.default
            if value is REQUIRED:
                raise TypeError(f"{name}: missing argument {attribute.name!r}")
            accepted.append(attribute.kind.accept(value, f"{name}: {attribute.name}"))
        return tuple(accepted)

    def bind(self, name: str, attrs: Sequence[Any], operands: Mapping[str, Any]) -> tuple[Any, ...]:
        """All attributes accepted and converted; raises what their kinds raise."""
        known: dict[str, Any] = dict(operands)
        for attribute, value in zip(self.attributes, self.accept(name, attrs), strict=True):
            known[attribute.name] = attribute.kind.convert(value, f"{name}: {attribute.name}", known)
        return tuple(known[a] for a in self.attribute_names)


# ---- functions that name what they need ---------------------------------------------------------------------------


def accepted(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """The names of a function's parameters; None where it takes all there is by position (ufuncs, ``*args``)."""
    inner = getattr(function, "__func__", function)
    code = getattr(inner, "__code__", None)
    if code is None or code.co_flags & 0x04:  # *args
        return None
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return names[1:] if inner is not function else names


def named(function: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """``function`` called with those of ``values`` that its parameters name; with all where it names none."""
    names = accepted(function)
    if names is None:
        return function(*values.values())
    return function(*(values[name] for name in names))
