"""The row: everything dlcore knows about one operation, and the registry of all rows.

From a row follow its public function, its dispatch, its gradient, its tests, its benchmark, its point on the roofline
and its page in the reference. Nothing about an operation is written anywhere else, except its kernels.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dlcore import _C
from dlcore.dtypes import FLOATS, DType, default_float, result_type

__all__ = ["REGISTRY", "REQUIRED", "Op", "Operand", "Sample", "Size", "Spec", "Wrong", "floating", "function", "widest"]

REQUIRED: Any = inspect.Parameter.empty


class Spec(NamedTuple):
    """What ``infer`` sees of an operand and says of an output: shape, dtype; ``weak`` marks a Python scalar.

    ``strides`` (in elements) is given to rows with ``view`` only, and empty elsewhere.
    """

    shape: tuple[int, ...]
    dtype: DType
    weak: bool = False
    strides: tuple[int, ...] = ()


class Sample(NamedTuple):
    """One input worth testing. Floating arrays are float64 here and rounded to the dtype under test.

    ``inputs``: NumPy arrays, Python scalars or None, one per operand (variadic rows: all of them).
    ``why``: what this shape or value is for ("tile edge", "empty", "0-d", "broadcast"). ``grad``: whether the point
    is differentiable and cheap enough for a gradient check.
    """

    inputs: tuple[Any, ...]
    attrs: tuple[Any, ...] = ()
    why: str = ""
    grad: bool = True


class Operand(NamedTuple):
    """An array described, not drawn: standard normal, or uniform in [low, high), which integers need.

    ``dtype``: None for the floating dtype that is being timed. ``transposed``: the last two axes lie in memory the
    other way round, as those of ``weight.T`` do.
    """

    shape: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    dtype: DType | None = None
    transposed: bool = False


class Size(NamedTuple):
    """Operands worth timing, described and drawn only then, so that they may be large.

    ``operands``: an Operand or just a shape, a NumPy array (random state, settings), a number or None, one per operand.
    ``why``: what it stands for ("dispatch", "1M", "ragged", "a layer of model b"). ``dtypes``: what it is timed in;
    default: the floating dtypes that the row claims. ``devices``: where it is worth the time and fits. ``quick``:
    the mode ("forward", "both") in which `dlcore bench --quick` times it before others.
    """

    operands: tuple[Any, ...]
    attrs: tuple[Any, ...] = ()
    why: str = ""
    dtypes: tuple[DType, ...] = ()
    devices: tuple[str, ...] = ("cpu", "cuda")
    quick: str = ""


class Wrong(NamedTuple):
    """One wrong input: what is passed, the error class expected, and the exact text."""

    inputs: tuple[Any, ...]
    attrs: tuple[Any, ...]
    error: type[Exception]
    text: str


Promotion = Callable[[Sequence[Spec | None]], tuple[DType | None, ...]]


def widest(specs: Sequence[Spec | None]) -> tuple[DType | None, ...]:
    """All operands to their common dtype (weak scalars follow the tensors)."""
    common = result_type((s.dtype, s.weak) for s in specs if s is not None)
    return tuple(None if s is None else common for s in specs)


def floating(specs: Sequence[Spec | None]) -> tuple[DType | None, ...]:
    """All operands to their common dtype; integers and bools become the default float."""
    common = result_type((s.dtype, s.weak) for s in specs if s is not None)
    if not common.is_float:
        common = default_float()
    return tuple(None if s is None else common for s in specs)


@dataclass(eq=False, kw_only=True)
class Op:
    """One operation.

    Calling convention of every function below: operands first (as Specs, Tensors or arrays; None where an optional
    operand is absent), then the attributes in their order, all positional. A variadic row's `ref`, `magnitude` and
    `composite` get its operands as one list.
    """

    name: str
    doc: str
    """First line: what it returns. Then formula, shapes, dtypes, errors, paper."""
    inputs: str
    """Operand names separated by spaces: "x weight bias?" (`?`: may be None), or "*tensors" (a list of any length)."""
    infer: Callable[..., Spec | tuple[Spec | None, ...]]
    """Specs of outputs and then extras, from promoted input Specs; raises ShapeError, DTypeError or IndexError."""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    """Attribute name -> default (REQUIRED: none). Values are hashable; lists become tuples."""
    outputs: str = "out"
    extras: str = ""
    """Outputs allocated and computed only when a gradient is wanted (the pre-activation, dlogits); never returned."""
    promote: Promotion | None = widest
    """The dtypes operands are cast to first (None: as they are; weak scalars then take their default)."""

    kernels: Mapping[str, Any] = field(default_factory=dict)
    """device type -> "family:function" ("cuda": "family.file:planner", see dlcore/kernels/launch.py), or a list of
    (name, when(*specs, *attrs) or None) tried in order. Instead of a name, a Python callable taking (*inputs, *outputs,
    *attrs) may stand."""
    place: Callable[..., Any] | None = None
    """place(*attrs) -> the Device of the outputs; default: the operands'."""
    params: Callable[..., Sequence[int | float]] | None = None
    """Numbers handed to the kernel, from promoted Specs and attributes; default: the attributes that are numbers."""
    composite: Callable[..., Any] | None = None
    view: Callable[..., tuple[tuple[int, ...], tuple[int, ...], int] | None] | None = None
    """For rows whose output shares memory with operand 0: (shape, strides, offset) in elements, or None to copy."""

    saves: tuple[str, ...] | Mapping[str, tuple[str, ...]] | Callable[..., tuple[str, ...]] = ()
    """Operands, outputs and extras kept for `vjp`; as a mapping, name -> the inputs whose gradients need it;
    or a function of the attributes."""
    vjp: Callable[..., Any] | None = None
    """vjp(ctx, *douts) -> gradient of each operand (None: none); see docs of `_C.Node` for ctx. Gradients are summed
    to the operand's shape and cast to its dtype by the engine. Without `vjp` the composite is differentiated."""

    ref: Callable[..., Any] | None = None
    samples: Callable[[Any], Iterable[Sample]] | None = None
    sizes: Sequence[Size] = ()
    """What is timed: small to large, and ragged."""
    peers: Mapping[str, str | tuple[str, str]] = field(default_factory=dict)
    """How other libraries compute the same: "torch", "jax" or "numpy" (CuPy too) -> an expression over the names of
    operands and attributes, torch, F, jax, jnp, np, or (setup, expression). A key with a word more, "torch out", is
    another way of the same library, held beside the first; `out` is then an array that the first way returned."""
    errors: Callable[[], Iterable[Wrong]] | None = None
    dtypes: tuple[DType, ...] = FLOATS
    """The dtypes the row claims: each is tested (for operands that samples give as float64)."""
    ulp: float = 1.0
    """Error allowed, in units of eps * magnitude of the output's dtype."""
    magnitude: Callable[..., Any] | None = None
    """The size errors are measured against; default |ref|. For sums: the sum of absolute values."""
    cost: Callable[..., tuple[float, float]] | None = None
    """(arithmetic operations, bytes that must move) without extras: operands read once and outputs written once. What
    counts for exp or Philox is what its instructions are worth: an estimate."""
    cast: str = "widest"
    """Autocast class: "low" (16-bit floats welcome), "float32", or "widest"."""
    writes: tuple[str, ...] | Callable[[tuple[Any, ...], int], Iterable[int]] = ()
    """Operands changed in place, by name, or by position from (attrs, number of operands). A row without outputs
    (`outputs=""`) returns None."""
    random: bool = False
    dynamic: bool = False
    """The output's shape depends on values: `composite` does the work, and a recorder must refuse it."""

    call: Any = field(init=False, repr=False)
    """The public function: a native callable with this row's signature and documentation."""

    def __post_init__(self) -> None:
        if self.name in REGISTRY:
            raise ValueError(f"op: there is already an operation named {self.name!r}")
        self.call = _C.Function(self)
        REGISTRY[self.name] = self

    @property
    def input_names(self) -> tuple[str, ...]:
        """Operand names without their marks."""
        return tuple(n.strip("*?") for n in self.inputs.split())

    @property
    def variadic(self) -> bool:
        """Whether the operands come as one list."""
        return self.inputs.startswith("*")

    @property
    def differentiable(self) -> bool:
        """Whether a gradient rule exists."""
        return self.vjp is not None or self.composite is not None

    @property
    def signature(self) -> inspect.Signature:
        """Signature of the public function."""
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [
            inspect.Parameter(n.strip("*?"), kind, default=None if n.endswith("?") else REQUIRED)
            for n in self.inputs.split()
        ]
        parameters += [inspect.Parameter(n, kind, default=d) for n, d in self.attrs.items()]
        seen_default = False
        for i, p in enumerate(parameters):  # a required attribute after an optional operand is keyword-only
            if p.default is not REQUIRED:
                seen_default = True
            elif seen_default:
                parameters[i:] = [q.replace(kind=inspect.Parameter.KEYWORD_ONLY) for q in parameters[i:]]
                break
        return inspect.Signature(parameters)


REGISTRY: dict[str, Op] = {}


def function(name: str) -> Any:
    """The public function of the row called ``name``."""
    return REGISTRY[name].call
