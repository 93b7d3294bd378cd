"""`Module`: a function with parameters, which may be made of other modules."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self, TypeVar

from dlcore import _C
from dlcore._arguments import boolean, function, instance, shown
from dlcore._autograd import no_grad
from dlcore._device import Device, default_device
from dlcore._device import device as as_device
from dlcore._hooks import HookHandle
from dlcore._json import short
from dlcore._recordable import Recordable, state_of
from dlcore._tensor import Parameter, Tensor
from dlcore.dtypes import DType, as_dtype, bfloat16, float16, float32, float64
from dlcore.errors import CaptureError
from dlcore.nn.hooks import Hooks, hooked, registered
from dlcore.nn.state import moved, values_for

__all__ = ["Module", "device_of"]

T = TypeVar("T")


class _Slot(NamedTuple):
    """A tensor or module found on a module: its name there and the container that holds it."""

    name: str
    value: Any
    container: Any
    key: Any


def _slots(container: Any, prefix: str = "", excluded: Collection[str] = ()) -> Iterator[_Slot]:
    """The tensors and modules of a dict, list or tuple, nested ones under dotted names."""
    for key, value in container.items() if isinstance(container, Mapping) else enumerate(container):
        name = f"{prefix}{key}"
        if key in excluded:
            continue
        if isinstance(value, Tensor | Module):
            yield _Slot(name, value, container, key)
        elif isinstance(value, Mapping | list | tuple):
            yield from _slots(value, f"{name}.")


class Module(Recordable):
    """Base of everything with parameters. Write ``forward``; assign parameters and modules as plain attributes.

    Attributes that are a :class:`Parameter`, a Module, or a list or dict of them, are found in the order in which they
    were assigned; other tensors that belong to the state are registered with :meth:`register_buffer`.

    >>> class Scale(nn.Module):
    ...     def __init__(self):
    ...         self.factor = nn.Parameter(dl.ones(1))
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> [name for name, _ in Scale().named_parameters()]
    ['factor']
    """

    training: bool = True
    preprocessing: Any = None
    """What turns raw inputs into those that this model takes, or None: ``dl.fit`` sets it to its ``transform``,
    ``dl.predict`` and ``dl.evaluate`` apply it by default, ``dl.save`` and ``dl.load`` keep it. Calling the model does
    not apply it, and it is no part of the model: its parameters, if it has any, are not the model's."""
    _excluded = Recordable._excluded | {"preprocessing", "_made_with", "_predictor"}  # in the list of members, too
    _buffers: Mapping[str, bool] = {}  # name -> persistent; replaced, never changed
    _call_hooks: Hooks | None = None  # replaced, never changed
    _made_with: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})  # the arguments of the constructor

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep the arguments of the constructor."""
        self = object.__new__(cls)
        if args or kwargs:
            object.__setattr__(self, "_made_with", (args, kwargs))
        return self

    def _construction(self) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arguments by which another one like this can be made: those of the constructor."""
        return self._made_with

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation; call it through the module: ``module(x)``."""
        raise NotImplementedError(f"{type(self).__name__}: forward is not written")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What ``forward`` returns, or the hooks that are registered make of it."""
        if self._call_hooks is not None:
            return hooked(self, self._call_hooks, args, kwargs)
        return self.forward(*args, **kwargs)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> HookHandle:  # fmt: skip
        """Call ``hook(module, args)`` before each ``forward``: what it returns, if not None, takes the place of args.

        ``args`` is the tuple of arguments by place; one value that is no tuple is taken as the only one. With
        ``with_kwargs`` it is ``hook(module, args, kwargs)``, which returns None or (args, kwargs). Otherwise as
        :meth:`register_forward_hook`.
        """
        return registered(self, "before", hook, prepend, with_kwargs)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> HookHandle:  # fmt: skip
        """Call ``hook(module, args, output)`` after each ``forward``: what it returns, if not None, is the output.

        With ``with_kwargs`` it is ``hook(module, args, kwargs, output)``. Hooks are called in their order, with
        ``prepend`` before those that are there, whenever the module is called, and not by ``module.forward(x)``; the
        handle's ``remove()`` ends it, as the end of a ``with`` block does.

        A hook is a part of the model: gradients go through it, recorded steps and exported files hold its operations. A
        step whose hook changes what was there before (appends to a list, fills a dict) is not recorded, and `fit` goes
        on eagerly; one that writes into a tensor (``kept.copy_(output)``) is. Hooks that come or go make another
        recording. Copies of the module have them, files that `dl.save` writes do not.

        Raises TypeError for what cannot be called, CaptureError inside a recorded step.

        >>> layer, shapes = nn.Linear(2, 3), []
        >>> with layer.register_forward_hook(lambda module, args, output: shapes.append(output.shape)):
        ...     y = layer(dl.ones(5, 2))
        >>> shapes
        [(5, 3)]
        """
        return registered(self, "after", hook, prepend, with_kwargs)

    # -- what is inside ----------------------------------------------------------------------------------------------

    def _members(self) -> Iterator[_Slot]:
        """The tensors and modules that are held directly."""
        return _slots(vars(self), excluded=self._excluded)

    def register_buffer(self, name: str, value: Tensor | None, persistent: bool = True) -> None:
        """Assign ``value`` as a tensor of the state that is not trained; it is saved if ``persistent``."""
        if not isinstance(name, str) or "." in name or not name:
            raise ValueError(f"register_buffer: not a name: {shown(name)}")
        instance(value, Tensor | None, f"register_buffer: {name}", "a tensor or None")
        if name not in self._buffers and hasattr(self, name):
            raise ValueError(f"register_buffer: {type(self).__name__} already has an attribute {name!r}")
        self._buffers = {**self._buffers, name: persistent}
        setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        before = self.__dict__.get(name)
        if isinstance(before, Parameter) and not isinstance(value, Parameter | Module | None):
            raise TypeError(
                f"{type(self).__name__}.{name} is a Parameter, which a {type(value).__name__} would take out of "
                f"training: assign a Parameter or None, write its values by {name}.copy_(...) under no_grad, or del it"
            )
        if isinstance(before, Tensor) and name in self._buffers and not isinstance(value, Tensor | None):
            raise TypeError(
                f"{type(self).__name__}.{name} is a buffer: a Tensor or None is taken, not a {type(value).__name__}"
            )
        super().__setattr__(name, value)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules that are held directly, with their names."""
        return ((s.name, s.value) for s in self._members() if isinstance(s.value, Module))

    def children(self) -> Iterator[Module]:
        """The modules that are held directly."""
        return (child for _, child in self.named_children())

    def _member(self, name: str) -> Any:
        """The tensor or module under a dotted name; None where there is none."""
        for slot in self._members():
            if slot.name == name:
                return slot.value
            if isinstance(slot.value, Module) and name.startswith(f"{slot.name}."):
                found = slot.value._member(name[len(slot.name) + 1 :])
                if found is not None:
                    return found
        return None

    def _of_kind(self, name: str, kind: type[T], what: str, where: str) -> T:
        """What is called ``name``, which is to be of a kind; AttributeError tells what there is else."""
        found = self._member(instance(name, str, f"{where}: name", "a text"))
        if isinstance(found, kind):
            return found
        has = f"no {short(name)!r}" if found is None else f"{shown(found)} as {short(name)!r}, which is no {what}"
        raise AttributeError(f"{where}: {type(self).__name__} has {has}")

    def get_submodule(self, name: str) -> Module:
        """The module with this dotted name: ``model.get_submodule("blocks.0.attention")``; "" is the model itself.

        Raises AttributeError where there is none. Plain lists and dicts, ModuleList among them, are no modules.

        >>> nn.Sequential(nn.Linear(2, 3), nn.ReLU()).get_submodule("1")
        ReLU()
        """
        return self if name == "" else self._of_kind(name, Module, "module", "get_submodule")

    def get_parameter(self, name: str) -> Parameter:
        """The parameter with this dotted name: ``model.get_parameter("blocks.0.attention.qkv.weight")``.

        Raises AttributeError where there is none.
        """
        return self._of_kind(name, Parameter, "parameter", "get_parameter")

    def get_buffer(self, name: str) -> Tensor:
        """The buffer with this dotted name. Raises AttributeError where there is none."""
        found = self._of_kind(name, Tensor, "buffer", "get_buffer")
        if any(found is buffer for buffer in self.buffers()):
            return found
        raise AttributeError(f"get_buffer: {type(self).__name__} has {short(name)!r}, which is no buffer")

    def named_modules(self, prefix: str = "", _seen: set[int] | None = None) -> Iterator[tuple[str, Module]]:
        """This module and all below it, each once, with dotted names ("" for itself)."""
        seen = set() if _seen is None else _seen
        if id(self) not in seen:
            seen.add(id(self))
            yield prefix, self
            for name, child in self.named_children():
                yield from child.named_modules(f"{prefix}.{name}" if prefix else name, seen)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def _own(self, prefix: str, recurse: bool, _above: tuple[Module, ...] = ()) -> Iterator[tuple[str, Tensor, bool]]:
        """(name, tensor, persistent) of all parameters and buffers; a shared one comes under each of its names.

        A module that refers to one of those ``_above`` it, as ``child.parent = self`` does, does not name them again.
        """
        members, above = list(self._members()), (*_above, self)
        for slot in members:
            if isinstance(slot.value, Parameter):
                yield prefix + slot.name, slot.value, True
            elif isinstance(slot.value, Tensor) and slot.name in self._buffers:
                yield prefix + slot.name, slot.value, self._buffers[slot.name]
        for slot in members if recurse else ():
            if isinstance(slot.value, Module) and not any(slot.value is module for module in above):
                yield from slot.value._own(f"{prefix}{slot.name}.", recurse, above)

    def _named(self, parameters: bool, prefix: str, recurse: bool) -> Iterator[tuple[str, Any]]:
        seen, below = set(), boolean(recurse, f"{type(self).__name__}: recurse")
        instance(prefix, str, f"{type(self).__name__}: prefix", "a text")
        for path, module in self.named_modules(prefix) if below else [(prefix, self)]:
            for name, value, _ in module._own(f"{path}." if path else "", False):
                if isinstance(value, Parameter) == parameters and id(value) not in seen:
                    seen.add(id(value))
                    yield name, value

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, with its dotted name."""
        return self._named(True, prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Every parameter once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Every buffer once, with its dotted name."""
        return self._named(False, prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Every buffer once."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    # -- modes -------------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Set training mode (dropout on) in this module and in all below it."""
        training = boolean(mode, "Module.train: mode")
        for module in self.modules():
            module.training = training
        return self

    def eval(self) -> Self:
        """Set evaluation mode (dropout off) in this module and in all below it."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set whether the parameters are trained."""
        trained = boolean(requires_grad, "Module.requires_grad_: requires_grad")
        for p in self.parameters():
            p.requires_grad = trained
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Remove the gradients, or set them to zero."""
        removed = boolean(set_to_none, "Module.zero_grad: set_to_none")
        for p in self.parameters():
            if removed:
                p.grad = None
            elif p.grad is not None:
                p.grad.zero_()

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call ``fn`` with every module once, children first; for initialisation."""
        fn = function(fn, "Module.apply: fn")
        for module in self._children_first(set()):
            fn(module)
        return self

    def _children_first(self, seen: set[int]) -> Iterator[Module]:
        seen.add(id(self))
        for child in self.children():
            if id(child) not in seen:
                yield from child._children_first(seen)
        yield self

    def to(self, *args: Any, dtype: Any = None, device: Any = None) -> Self:
        """Move all tensors to a device, or cast those of a floating dtype, or both: ``model.to(dl.bfloat16)``.

        Parameters and their gradients change in place: they stay the same objects, so that optimizers go on with them.
        Everything is checked, and all new memory is there, before anything changes.
        """
        for arg in args:
            if isinstance(arg, DType):
                dtype = arg
            else:
                device = arg
        device = None if device is None else as_device(device)
        if dtype is not None:
            dtype = as_dtype(dtype, "Module.to: dtype")
            if not dtype.is_float:
                raise TypeError(f"Module.to: a floating-point dtype is needed, not {dtype.name}")
        if _C.is_recording():
            raise CaptureError("Module.to: a model cannot be moved or cast inside a recorded step")
        slots = [s for module in self.modules() for s in module._members() if isinstance(s.value, Tensor)]
        there = {id(s.value): moved(s.value, dtype, device) for s in slots}
        for slot in slots:
            fixed = isinstance(slot.container, tuple) and not isinstance(slot.value, Parameter)
            if fixed and there[id(slot.value)] is not slot.value:
                raise TypeError(f"Module.to: {slot.name} is in a tuple, which cannot be changed; keep it in a list")
        parameters = {id(s.value): s.value for s in slots if isinstance(s.value, Parameter)}
        gradients = {key: None if p.grad is None else moved(p.grad, dtype, device) for key, p in parameters.items()}
        for key, p in parameters.items():
            if there[key] is not p:
                p.grad = None
                _C.rebind(p, there[key])
                p.grad = gradients[key]
        for slot in slots:
            if not isinstance(slot.value, Parameter) and there[id(slot.value)] is not slot.value:
                slot.container[slot.key] = there[id(slot.value)]
        _C.note_change()
        return self

    def float(self) -> Self:
        """Cast to float32, as ``to(dl.float32)`` does."""
        return self.to(float32)

    def double(self) -> Self:
        """Cast to float64."""
        return self.to(float64)

    def half(self) -> Self:
        """Cast to float16. For training in 16 bits there is `dl.autocast`, which keeps parameters in float32."""
        return self.to(float16)

    def bfloat16(self) -> Self:
        """Cast to bfloat16."""
        return self.to(bfloat16)

    def cpu(self) -> Self:
        """Move to the CPU."""
        return self.to("cpu")

    def cuda(self) -> Self:
        """Move to the first GPU."""
        return self.to("cuda")

    # -- state -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """Name -> tensor of all parameters and persistent buffers: detached, and sharing their memory.

        Raises ValueError where two tensors have one name, as under the keys 1 and "1" of a dict.
        """
        return {name: value.detach() for name, value in self._state().items()}

    def _state(self) -> dict[str, Tensor]:
        """Name -> parameter or persistent buffer."""
        found: dict[str, Tensor] = {}
        for name, value, persistent in self._own("", True):
            if persistent and found.setdefault(name, value) is not value:
                raise ValueError(f"{type(self).__name__}: two tensors of the state are called {short(name)}")
        return found

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> tuple[list[str], list[str]]:
        """Copy ``state`` (tensors or arrays) into this model; returns the (missing, unexpected) names.

        Values of another dtype of the same kind are converted: floating-point numbers to the model's floating dtype,
        integers to its integers. Everything is checked before anything changes: ValueError names what is missing,
        unexpected, of another shape or of a dtype of another kind, what has numbers beyond the model's dtype, and what
        cannot be written to (read-only memory). With ``strict=False`` names may be missing or unexpected.
        """
        instance(state, Mapping, "load_state_dict: state", "a mapping of names to tensors")
        strict = boolean(strict, "load_state_dict: strict")
        own = self._state()
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        problems = []
        if strict:
            problems += [f"missing: {short(name)}" for name in missing]
            problems += [f"unexpected: {short(name)}" for name in unexpected]
        values, wrong = values_for(own, state)
        problems += wrong
        if problems:
            more = [f"... and {len(problems) - 8} more"] if len(problems) > 8 else []
            raise ValueError(
                f"load_state_dict: the state does not fit this {type(self).__name__}: " + "; ".join(problems[:8] + more)
            )
        with no_grad():
            for name, value in values.items():
                own[name].copy_(value.astype(own[name].dtype))
        return missing, unexpected

    # -- recorded steps ----------------------------------------------------------------------------------------------

    def recorded_state(self) -> Any:
        """Which modules there are, with their attributes."""
        return tuple((m, *state_of(m._included())) for m in self.modules())

    def recorded_members(self) -> Iterator[Module]:
        """This module and all below it."""
        return self.modules()

    def recorded_parts(self) -> Iterator[Any]:
        """The values of all attributes of these modules."""
        return (value for module in self.modules() for value in module._included().values())

    def before_dry_run(self) -> Callable[[], None]:
        """Returns a function that puts back the gradients of the parameters."""
        grads = [(p, p.grad) for p in self.parameters()]

        def restore() -> None:
            for p, grad in grads:
                p.grad = grad

        return restore

    # -- how it looks ------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """The text in the brackets of the repr, for subclasses to write."""
        return ""

    @reprlib.recursive_repr()  # a module may refer to its parent
    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}" for name, child in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        body = "\n".join(lines).replace("\n", "\n  ")
        return f"{type(self).__name__}({self.extra_repr()}\n  {body}\n)"


def device_of(module: Module) -> Device:
    """The device on which a module computes: that of its first parameter or buffer, else the default device."""
    return next((value.device for _, value, _ in module._own("", True)), None) or default_device()
