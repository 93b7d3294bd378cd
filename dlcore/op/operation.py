"""`Op`: everything dlcore knows about one operation, and the registry of all of them.

A definition begins with the shape rule, whose `def` gives name, documentation, operands, attributes and defaults:

    @operation(family="softmax", promote=floating, ulp=4)
    def softmax(x: Spec, axis: Axis = -1) -> Spec:
        '''Probabilities along `axis`: exp(x - max(x)) / sum(exp(x - max(x))).'''
        return Spec(x.shape, x.dtype)

    softmax.gradient(x=lambda dout, out, axis: softmax_backward(dout, out, axis))

    @softmax.reference
    def _(x, axis):
        e = np.exp(x - np.max(x, axis=axis, keepdims=True))
        return e / np.sum(e, axis=axis, keepdims=True)

`softmax` is then the public function, a native callable. Each part, given to the decorator by name or declared so, is a
function that names the operands and attributes it needs. What a definition does not say its family does: a family
(dlcore/ops/_pointwise.py, ...) is a subclass of `Op` whose fields and methods are the defaults. From the definition
follow dispatch, gradients, tests, benchmark, the point on the roofline, signature and documentation; nothing about an
operation is written anywhere else, except its kernels.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar, NamedTuple, NoReturn

from dlcore import _C
from dlcore._arguments import called, renamed
from dlcore.dtypes import FLOATS, DType, check_size, default_float, result_type, uint8
from dlcore.errors import AutogradError, DTypeError
from dlcore.op.cases import ErrorInput, Sample, Workload, lengths_of
from dlcore.op.signature import REQUIRED, Mask, Signature, Spec, accepted, named

__all__ = ["REGISTRY", "Op", "as_given", "check_floating", "floating", "function", "operation", "widest"]

Specs = Sequence[Spec | None]
Promotion = Callable[[Specs], Sequence[DType | None]]
Kernel = Any  # "family:function", "family.file:planner", or a Python function


def widest(specs: Specs) -> Sequence[DType | None]:
    """All operands to their common dtype (Python numbers follow the tensors)."""
    common = result_type((s.dtype, s.weak) for s in specs if s is not None)
    return [None if s is None else common for s in specs]


def floating(specs: Specs) -> Sequence[DType | None]:
    """All operands to their common dtype; integers and bools become the default float."""
    common = result_type((s.dtype, s.weak) for s in specs if s is not None)
    if not common.is_float:
        common = default_float()
    return [None if s is None else common for s in specs]


def as_given(specs: Specs) -> Sequence[DType | None]:
    """Operands as they are; Python floats become the default float."""
    return [None if s is None else default_float() if s.weak and s.dtype.is_float else s.dtype for s in specs]


def check_floating(name: str, operand: str, spec: Spec) -> None:
    """Raises DTypeError for an operand that is not of a floating dtype, as the bytes of pictures are not."""
    if not spec.dtype.is_float:
        picture = ", and bytes of a picture divided by 255" if spec.dtype is uint8 else ""
        raise DTypeError(
            f"{name}: {operand} {spec.shape} is of {spec.dtype.name}; it must be of a floating dtype: "
            f"{operand}.float(){picture}"
        )


class Rule(NamedTuple):
    """A function that gives the gradients of some operands; dlcore/_gradients.py tells what it may name."""

    function: Callable[..., Any]
    operands: tuple[str, ...]


class Op:
    """One operation: fields, parts that are functions, and the questions that others ask of it.

    A *part* is a method here, the family's default, and a function of a definition takes its place; parts are called
    by name (see `dlcore.op.signature.named`), with `Spec`s, NumPy arrays or tensors as operands.
    """

    # ---- fields: what a definition may say, and what holds where neither it nor its family does

    family: str = ""
    """Folder of its kernels in csrc/ and kernels/."""
    outputs: str = "out"
    """Names of the outputs; "" for an operation that writes in place and returns None."""
    extras: str = ""
    """Outputs computed only when a gradient is wanted (the pre-activation, dlogits), and never returned."""
    promote: Promotion = staticmethod(widest)
    """The dtypes that operands are cast to first."""
    kernels: Mapping[str, Any] = {}
    """Device type -> "family:function" ("cuda": "family.file:planner", see dlcore/kernels/launch.py), a Python function
    of (*inputs, *outputs, *attrs), or a list of (kernel, when) tried in order, `when` a part or None. None: no kernel.
    Devices that are not named have the family's kernel."""
    dtypes: tuple[DType, ...] = FLOATS
    """The dtypes claimed: each is tested (for operands that samples describe without one)."""
    kinds: Sequence[str] = ("float", "int", "uint", "bool")
    """The kinds of dtype its first operand may have, once promoted; others raise DTypeError."""
    ulp: float = 1.0
    """Error allowed, in units of eps * magnitude of the output's dtype."""
    cast: str = "widest"
    """What `dlcore.autocast` does with floating operands: "low" casts them to its dtype, "float32" casts those of 16
    bits to float32, "widest" leaves them to ``promote``. What writes in place is "widest"."""
    writes: str = ""
    """Names of the operands changed in place."""
    random: bool = False
    dynamic: bool = False
    """The output's shape depends on values: `composite` does the work, and a recorder must refuse it."""
    elementwise: bool = False
    """Whether each element of the only output depends on those in its place alone, and is written after they were read:
    the output may then be one of the operands."""
    movable: bool = True
    """Whether elements of its operands may change places and are good ones still: not those of definite matrices."""
    signed_zeros: bool = False
    """Whether zeros have the reference's sign where that is exactly 0."""
    methods: bool = False
    """Whether tensors have it as a method too: `x.sum(0)` for `dl.sum(x, 0)`."""
    baselines: Mapping[str, Any] = {}
    """How other libraries compute the same: "torch", "jax" or "numpy" (CuPy too) -> an expression over the names of
    operands and attributes, torch, F, jax, jnp, np, or (setup, expression). A key with a word more, "torch out", is
    another way of the same library, held beside the first; `out` is then an array that the first way returned. Those
    of the family hold where a definition names none of the library; "" takes them away."""
    output_device: Callable[..., Any] | None = None
    """A part: the Device of the outputs; default: the operands'."""
    residuals: Callable[..., Sequence[str]] | None = None
    """A part of the attributes: which of the operands, outputs and extras that gradient rules name are kept; the
    others arrive as None. Default: all."""
    composite: Callable[..., Any] | None = None
    """A part: the operation in terms of others, where there is no kernel. Without a gradient rule it is what is
    differentiated."""
    view: Callable[..., Any] | None = None
    """A part: (shape, strides, offset) in elements of an output that shares memory with operand 0, or None to copy."""
    unfitting: Callable[..., Any] | None = None
    """A part of the operands: the operation where a Python number among them does not fit their dtype. Default: that is
    an OverflowError."""
    otherwise: Callable[..., Any] | None = None
    """A part of the arguments as they are given: the operation where they are not its own and a TypeError was raised,
    as other libraries write them (``where(condition)``); NotImplemented where they mean nothing. Not called by name."""
    restrict: Callable[..., Any] | None = None
    """A part (operands, attrs, largest, dtype_max): random operands of the fuzzer, floating ones in float64, mapped in
    place to values for which `ulp` holds, where no domain of a single operand says it; it says why. ``largest``: of the
    dtype that sums have, ``dtype_max`` of the operands' narrowest."""

    batching: str = ""
    """How `dlcore.func.vmap` runs it once for all examples: "pointwise", "axis", "leading", "loss", "composite" or
    "loop" (dlcore/ops/_batching.py tells what they are). Default: by the family of its kernels, else "loop"."""
    batch: Callable[..., Any] | None = None
    """A rule of its own in the place of those: a function of a `dlcore._batching.Call`, not called by name."""
    merge: Callable[..., Any] | None = None
    """merge(first, second): the one call of this operation that does what two launches of a recorded step do, of which
    the second reads a result of the first; None where there is none. All three are a `Command` (dlcore/_commands.py):
    what it is made of are the operands and outputs of the two, and an extra that nothing else reads is left out. It may
    take `maker`, too: maker(array) is the earlier launch that alone wrote an array, or None, of whose results that of
    the merged call may be made as well."""

    PARTS: ClassVar[tuple[str, ...]] = (
        "infer", "reference", "magnitude", "cost", "params", "composite", "view", "output_device", "residuals",
        "samples", "error_inputs", "workloads", "restrict", "merge", "unfitting", "batch", "otherwise",
    )  # fmt: skip

    # ---- parts and their defaults

    def infer(self, *args: Any) -> Any:
        """The shape rule: specs of outputs and then extras; raises ShapeError, DTypeError or IndexError."""
        return self.rule(*args)

    reference: Callable[..., Any] | None = None
    """The same in NumPy, on arrays in float64, sharing no code with a kernel. Operations that write give the operands
    written, then the outputs."""
    magnitude: Callable[..., Any] | None = None
    """The size errors are measured against; default |reference|. For sums: the sum of absolute values."""
    cost: Callable[..., tuple[float, float]] | None = None
    """(arithmetic operations, bytes that must move) without extras: operands read once and outputs written once. What
    counts for exp or Philox is what its instructions are worth: an estimate."""
    params: Callable[..., Sequence[int | float]] | None = None
    """Numbers handed to the kernel; default: what the kinds of the attributes tell kernels."""

    def family_samples(self) -> Iterable[Sample]:
        """Samples of every operation of the family; a definition's own come after them."""
        return ()

    def family_error_inputs(self) -> Iterable[ErrorInput]:
        """Error inputs of every operation of the family; a definition's own come after them."""
        return ()

    def family_workloads(self) -> Iterable[Workload]:
        """What is timed where the definition does not say."""
        return ()

    def family_baselines(self) -> Mapping[str, Any]:
        """How other libraries compute operations of the family."""
        return {}

    def family_kernels(self) -> Mapping[str, Any]:
        """The kernels of an operation of the family."""
        if not self.family:
            return {}
        return {"cpu": f"{self.family}:{self.name}", "cuda": f"{self.family}.{self.family}:{self.name}"}

    # ---- definitions

    def __init__(self, rule: Callable[..., Any], **given: Any):
        self.rule, self.name = rule, given.pop("name", None) or rule.__name__
        if self.name in REGISTRY:
            raise ValueError(f"operation: there is already one named {self.name!r}")
        self._rules: list[tuple[Callable[..., Any], tuple[str, ...]]] = []
        self._added: dict[str, list[Any]] = {"samples": [], "error_inputs": [], "workloads": []}
        for field, value in given.items():
            self._declare(field, value)
        self.call: Any = _C.Function(self)
        """The public function: a native callable with the definition's signature and documentation."""
        REGISTRY[self.name] = self

    @classmethod
    def definition(cls, **given: Any) -> Callable[[Callable[..., Any]], _C.Function]:
        """The family's decorator: ``@pointwise(ulp=2)``, before a shape rule."""
        return lambda rule: cls(rule, **given).call

    def _declare(self, field: str, value: Any) -> None:
        if field == "gradient":
            self._gradient(**value) if isinstance(value, Mapping) else self._gradient(value)
        elif field in self._added:
            self._added[field].append(value)
        elif hasattr(type(self), field) and not field.startswith("_"):
            setattr(self, field, value)
        else:
            raise TypeError(f"{self.name}: an operation has no {field!r}")

    def part(self, field: str) -> Callable[..., Any]:
        """The decorator that declares a part: what the public function has as an attribute (``@softmax.reference``)."""
        if field == "gradient":
            return self._gradient
        if field not in self.PARTS:
            raise AttributeError(f"operation {self.name!r} has no attribute {field!r}")

        def declare(function: Any) -> Any:
            self._declare(field, function)
            return function

        return declare

    def _gradient(self, *operands: Any, **rules: Callable[..., Any]) -> Any:
        """``f.gradient(a=rule, b=rule)``; ``@f.gradient`` for the first operand; ``@f.gradient("x", "weight")``."""
        self._rules += [(rule, (operand,)) for operand, rule in rules.items()]
        if operands and callable(operands[0]):
            self._rules.append((operands[0], ()))
            return operands[0]

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            self._rules.append((function, operands))
            return function

        return declare

    @cached_property
    def rules(self) -> list[Rule]:
        """The gradient rules."""
        names = self.signature.operand_names
        for _, operands in self._rules:
            if unknown := set(operands) - set(names):
                raise TypeError(f"{self.name}: a gradient of {', '.join(sorted(unknown))}, which is no operand")
        return [Rule(function, operands or names[:1]) for function, operands in self._rules]

    def __repr__(self) -> str:
        return f"<operation {self.name}>"

    @cached_property
    def meant(self) -> Callable[..., Any] | None:
        """What is called with arguments that the operation does not take: `otherwise`, where they fit it."""
        if self.otherwise is None:
            return None
        other, signature = self.otherwise, inspect.signature(self.otherwise)
        parameters = signature.parameters.values()
        positional = all(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
        needed = sum(p.default is p.empty for p in parameters)

        def call(*args: Any, **kwargs: Any) -> Any:
            if kwargs or not (positional and needed <= len(args) <= len(parameters)):
                try:
                    signature.bind(*args, **kwargs)
                except TypeError:
                    return NotImplemented
            return other(*args, **kwargs)

        return call

    # ---- questions: names and documentation

    @cached_property
    def signature(self) -> Signature:
        """Operands and attributes."""
        return Signature.of(self.rule)

    @property
    def python_signature(self) -> inspect.Signature:
        """That of the public function."""
        found, optional, by_keyword = [], False, False
        for name, default, hint in self.signature.parameters:
            optional = optional or default is not REQUIRED
            by_keyword = by_keyword or (optional and default is REQUIRED)  # required, behind an optional operand
            kind = inspect.Parameter.KEYWORD_ONLY if by_keyword else inspect.Parameter.POSITIONAL_OR_KEYWORD
            value = inspect.Parameter.empty if default is REQUIRED else default
            found.append(inspect.Parameter(name, kind, default=value, annotation=hint))
        return inspect.Signature(found, return_annotation=self.returns)

    @property
    def returns(self) -> str:
        """The type of the result, in a signature for editors."""
        n = len(self.output_names)
        return "None" if n == 0 else "Tensor" if n == 1 else f"tuple[{', '.join(['Tensor'] * n)}]"

    @property
    def doc(self) -> str:
        """First line: what it returns. Then formula, shapes, dtypes, errors, paper."""
        first, _, rest = (self.rule.__doc__ or "").strip().partition("\n")
        return f"{first}\n{textwrap.dedent(rest)}".strip()

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """Of what is returned."""
        return tuple(self.outputs.split())

    @cached_property
    def extra_names(self) -> tuple[str, ...]:
        """Of what is kept for gradients alone."""
        return tuple(self.extras.split())

    @property
    def input_names(self) -> tuple[str, ...]:
        """Of the operands."""
        return self.signature.operand_names

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """Of the attributes, in their order."""
        return self.signature.attribute_names

    @property
    def differentiable(self) -> bool:
        """Whether there are gradients: by rules, or through the composite."""
        return bool(self._rules) or (self.composite is not None and not self.random and not self.writes)

    # ---- questions: one call

    def nested(self, operands: Sequence[Any], lengths: Sequence[int] = ()) -> list[Any]:
        """Operands given one by one as the definition has them: a list for each group of ``lengths`` tensors."""
        if not self.signature.groups:
            return list(operands)
        positions = self.signature.positions(lengths)
        return [
            [operands[k] for k in positions[o.name]] if o.group else operands[positions[o.name].start]
            for o in self.signature.operands
        ]

    def values(self, operands: Sequence[Any], attrs: Sequence[Any], lengths: Sequence[int] = ()) -> dict[str, Any]:
        """Operands (one by one) and converted attributes by name: what parts are called with."""
        sides = zip(self.signature.names, [*self.nested(operands, lengths), *attrs], strict=True)
        return dict(sides)

    def bind(self, attrs: Sequence[Any], operands: Sequence[Any], lengths: Sequence[int] = ()) -> tuple[Any, ...]:
        """All attributes, converted; raises what their kinds raise. ``operands``: specs, one by one."""
        known = dict(zip(self.signature.operand_names, self.nested(operands, lengths), strict=True))
        return self.signature.bind(self.name, attrs, known)

    def named_attributes(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        """Attributes by position from those given by name, the others by their defaults."""
        if unknown := set(given) - set(self.attribute_names):
            raise TypeError(f"{self.name}: there is no argument {', '.join(map(repr, sorted(unknown)))}")
        return tuple(given.get(a.name, a.default) for a in self.signature.attributes)

    def promoted(self, specs: Specs) -> list[Spec | None]:
        """The operands as kernels get them; a Python number's spec stays weak."""
        targets = self.promote(specs)
        return [s if s is None or d is None else s._replace(dtype=d) for s, d in zip(specs, targets, strict=True)]

    def inferred(self, values: Mapping[str, Any]) -> list[Spec | None]:
        """Specs of the outputs and extras; None for one that is absent or not wanted. Raises what its rules raise."""
        first = values[self.input_names[0]] if self.input_names else None
        if isinstance(first, Spec) and first.dtype.kind not in self.kinds:
            if tuple(self.kinds) == ("float",):
                check_floating(self.name, self.input_names[0], first)
            raise DTypeError(f"{self.name}: does not take {first.dtype.name}")
        found = named(self.infer, values)
        specs = [found] if isinstance(found, Spec) else list(found or ())
        for spec in specs:
            if spec is not None:
                check_size(self.name, spec.shape, spec.dtype)
        wanted = self.wanted(specs, values)
        if any(specs) and not any(wanted):
            raise ValueError(f"{self.name}: its mask leaves no output")
        return wanted

    def wanted(self, outputs: Sequence[Any], values: Mapping[str, Any]) -> list[Any]:
        """The outputs with None for those that an `OutputMask` among the attributes leaves out."""
        for attribute in self.signature.attributes:
            if isinstance(attribute.kind, Mask):
                mask = values[attribute.name]
                return [o if k >= len(mask) or mask[k] else None for k, o in enumerate(outputs)]
        return list(outputs)

    def written(self, lengths: Sequence[int] = ()) -> list[int]:
        """Positions of the operands that it changes in place."""
        if not self.writes:
            return []
        positions = self.signature.positions(lengths)
        return [k for name in self.writes.split() for k in positions[name]]

    def kernel_params(self, values: Mapping[str, Any]) -> list[int | float]:
        """The numbers that a kernel is told."""
        if self.params is not None:
            numbers = named(self.params, values)
        else:
            numbers = [n for a in self.signature.attributes for n in a.kind.to_kernel(values[a.name])]
        for n in numbers:
            if not isinstance(n, float) and not -(2**63) <= n < 2**63:
                raise OverflowError(f"{self.name}: {n} does not fit in int64")
        return [n if isinstance(n, float) else int(n) for n in numbers]

    def kernel_choices(self, device: str) -> list[tuple[Kernel, Callable[..., bool] | None]]:
        """The kernels for a type of device in the order in which they are tried, each with its condition."""
        there = {**self.family_kernels(), **self.kernels}.get(device)
        if there is None:
            return []
        return list(there) if isinstance(there, list) else [(there, None)]

    def kernel(self, device: str, values: Mapping[str, Any]) -> Kernel | None:
        """The kernel for a call on a type of device; None where the composite or a view does it."""
        if self.dynamic or self.view is not None:
            return None
        for kernel, when in self.kernel_choices(device):
            if when is None or named(when, values):
                return kernel
        return None

    @property
    def kernel_families(self) -> set[str]:
        """The families of its kernels: {"softmax"}."""
        names = [name for device in ("cpu", "cuda") for name, _ in self.kernel_choices(device)]
        return {n.partition(":")[0].partition(".")[0] for n in names if isinstance(n, str)}

    def work(self, values: Mapping[str, Any]) -> tuple[float, float] | None:
        """(arithmetic operations, bytes that must move) of a call on specs; None where the definition has no cost."""
        if self.cost is None:
            return None
        flops, moved = named(self.cost, values)
        return float(flops), float(moved)

    @cached_property
    def by_position(self) -> Callable[..., Any]:
        """The composite, taking operands and attributes by position as the engine passes them.

        Its errors name this operation, which the caller knows, and not those that it is made of.
        """
        composite, names = self.composite, self.signature.names
        if composite is None:
            raise TypeError(f"{self.name}: the operation has no composite")
        asked = accepted(composite)
        pure = str(getattr(composite, "__module__", None)).startswith("dlcore.")  # those of users may read what changes
        run = _C.Traced(self.name, composite, composite, renamed) if pure else partial(called, self.name, composite)
        if asked is None or asked == names:
            return run
        chosen = [names.index(name) for name in asked]
        return lambda *args: run(*[args[k] for k in chosen])

    def refuse_gradient(self) -> NoReturn:
        """Raises AutogradError: nothing says what its gradient is."""
        raise AutogradError(f"{self.name}: has no gradient rule; use no_grad() or detach() its operands")

    # ---- questions: cases

    def sample_inputs(self) -> Iterator[Sample]:
        """Inputs worth testing, described; `Sample.arrays` draws them."""
        yield from self.family_samples()
        for samples in self._added["samples"]:
            yield from samples() if callable(samples) else samples

    def error_cases(self) -> Iterator[ErrorInput]:
        """Wrong calls with the error and the text expected."""
        yield from self._wrong_attributes()
        yield from self.family_error_inputs()
        for errors in self._added["error_inputs"]:
            yield from errors() if callable(errors) else errors

    def _wrong_attributes(self) -> Iterator[ErrorInput]:
        """The smallest sample with a value for each attribute that its kind refuses."""
        sample = min(self.sample_inputs(), key=lambda s: (s.size == 0, s.size), default=None)
        if sample is None:
            return
        arrays = sample.arrays(self.name, self.signature.operands)
        inputs = self.nested(arrays, lengths_of(sample.inputs, self.signature.operands))
        given = dict(zip(self.input_names, inputs, strict=True)) | dict(sample.attrs)
        for attribute in self.signature.attributes:
            wrong = attribute.kind.wrong(f"{self.name}: {attribute.name}", given)
            if wrong is not None:
                value, error, text = wrong
                yield ErrorInput(error, text, *inputs, **{**sample.attrs, attribute.name: value})

    def timed(self) -> list[Workload]:
        """What is timed: small to large, and ragged."""
        own = self._added["workloads"] or [self.family_workloads]
        return [w for workloads in own for w in (workloads() if callable(workloads) else workloads)]

    def ways(self) -> dict[str, str | tuple[str, str]]:
        """How other libraries compute the same (see `baselines`)."""
        named_here = {key.partition(" ")[0] for key in self.baselines}
        found = {k: v for k, v in self.family_baselines().items() if k.partition(" ")[0] not in named_here}
        return {k: v for k, v in {**found, **self.baselines}.items() if v}

    def magnitudes(self, values: Mapping[str, Any]) -> Any:
        """What errors are measured against, in float64, for each result; None for the reference's own size."""
        found = None if self.magnitude is None else named(self.magnitude, values)
        if not isinstance(found, tuple | list):
            return found
        there = self.wanted([True] * len(found), values)
        return [m for m, wanted in zip(found, there, strict=True) if wanted]

    def expected(self, values: Mapping[str, Any]) -> list[Any]:
        """What the reference gives: operands written, then outputs."""
        if self.reference is None:
            raise TypeError(f"{self.name}: the operation has no reference")
        found = named(self.reference, values)
        return self.wanted(found, values) if isinstance(found, tuple | list) else [found]


REGISTRY: dict[str, Op] = {}

operation = Op.definition


def function(name: str) -> Any:
    """The public function of the operation called ``name``."""
    return REGISTRY[name].call
