"""Gradients: what is tracked, `backward` and `grad`. The tape and its engine are in csrc/core/tape.cpp."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from dlcore import _C
from dlcore._arguments import boolean, instance
from dlcore._batching import all_of, levels_of, one_of
from dlcore._modes import Mode
from dlcore.dtypes import DType
from dlcore.errors import AutogradError, ShapeError
from dlcore.ops.elementwise import cast
from dlcore.ops.movement import reshape
from dlcore.ops.reduce import sum as sum_

__all__ = ["enable_grad", "grad", "inference_mode", "is_grad_enabled", "no_grad", "set_grad_enabled"]


class _GradMode(Mode):
    """Switches tracking on or off."""

    def __new__(cls, function: Any = None) -> Any:
        """A context and decorator; ``@no_grad`` without brackets decorates at once."""
        return super().__new__(cls) if function is None else cls()(function)

    def __init__(self, function: None = None) -> None:
        super().__init__()

    switch = staticmethod(_C.set_grad_enabled)


class no_grad(_GradMode):
    """Nothing is tracked inside: ``with dl.no_grad(): ...``, or as a decorator ``@dl.no_grad``."""

    state = False


class enable_grad(_GradMode):
    """Operations are tracked inside, even within `no_grad`."""

    state = True


class inference_mode(_GradMode):
    """Nothing is tracked inside, as in `no_grad`; with False in the brackets all is as outside."""

    def __new__(cls, mode: Any = True) -> Any:
        """A context and decorator; ``@inference_mode`` without brackets decorates at once."""
        return Mode.__new__(cls) if isinstance(mode, bool) else cls()(mode)

    def __init__(self, mode: Any = True) -> None:
        super().__init__()
        self.state = not mode and bool(_C.is_grad_enabled())


class set_grad_enabled(Mode):
    """Switches tracking on or off from here on; as a context, ``with dl.set_grad_enabled(training):``, inside only."""

    switch = staticmethod(_C.set_grad_enabled)

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.state = boolean(mode, "set_grad_enabled: mode")
        self._outside = _C.set_grad_enabled(self.state)

    def __enter__(self) -> None:
        self._before.append(self._outside)

    def __call__(self, function: Any) -> Any:
        """``function`` with tracking switched; outside of it all is as it was."""
        _C.set_grad_enabled(self._outside)
        return (enable_grad if self.state else no_grad)()(function)


def is_grad_enabled() -> bool:
    """Whether operations are tracked for gradients in this thread."""
    return bool(_C.is_grad_enabled())


def _start(name: str, output: Any, dout: Any) -> Any:
    """The gradient of ``output`` that a backward pass starts from: the one given, or None, which is 1, for a scalar."""
    instance(output, _C.TensorBase, f"{name}: output", "a tensor")
    if not output.requires_grad:
        raise AutogradError(
            f"{name}: the tensor of shape {output.shape} does not depend on anything that requires_grad"
        )
    if dout is None:
        if output.size != 1:
            raise ShapeError(
                f"{name}: a gradient is needed to start from a tensor of shape {output.shape}; only a scalar needs none"
            )
        return None
    instance(dout, _C.TensorBase, f"{name}: gradient", "a tensor")
    if dout.shape != output.shape or dout.dtype is not output.dtype:
        have, want = f"{dout.shape} of {dout.dtype.name}", f"{output.shape} of {output.dtype.name}"
        raise ShapeError(f"{name}: the gradient given has shape {have}, the tensor {want}")
    return dout


def backward(output: Any, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
    """Adds d(output)/d(leaf) to ``leaf.grad`` of every leaf that requires a gradient. See `Tensor.backward`."""
    dout = _start("backward", output, gradient)
    within = levels_of((output, dout))
    output, dout = all_of(output, within), None if dout is None else all_of(dout, within)
    create = boolean(create_graph, "backward: create_graph")
    retain = boolean(retain_graph, "backward: retain_graph")
    if create:
        warnings.warn(
            "backward(create_graph=True) makes a cycle of parameters and gradients, whose memory stays until Python's "
            "collector runs: use dl.grad(), or set the gradients to None afterwards",
            stacklevel=3,
        )
    _C.backward((output,), (dout,), None, retain or create, create)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """Gradients of the sum of ``outputs`` with respect to ``inputs``, a tuple in their order.

    They are returned and not added to ``grad``. ``grad_outputs``: the gradient to start from for each output (not
    needed for scalars). ``create_graph``: the gradients can be differentiated again. ``retain_graph``: the graph is
    kept for another pass (default: ``create_graph``). An input on which no output depends raises ``AutogradError``, or
    gives None with ``allow_unused``.
    """
    outs = tuple(outputs) if isinstance(outputs, Sequence) else (outputs,)
    ins = tuple(inputs) if isinstance(inputs, Sequence) else (inputs,)
    given = tuple(grad_outputs) if isinstance(grad_outputs, Sequence) else (grad_outputs,) * len(outs)
    if len(given) != len(outs):
        raise ShapeError(f"grad: {len(given)} grad_outputs for {len(outs)} outputs")
    for k, x in enumerate(ins):
        instance(x, _C.TensorBase, f"grad: input {k}", "a tensor")
        if not x.requires_grad:
            raise AutogradError(f"grad: input {k} of shape {x.shape} does not require a gradient")
    unique = list({id(x): x for x in ins}.values())
    douts = tuple(_start("grad", o, d) for o, d in zip(outs, given, strict=True))
    create = boolean(create_graph, "grad: create_graph")
    keep = create if retain_graph is None else boolean(retain_graph, "grad: retain_graph")
    unused = boolean(allow_unused, "grad: allow_unused")
    found = _passed(outs, douts, tuple(unique), keep, create)
    by_id = {id(x): g for x, g in zip(unique, found, strict=True)}
    for k, x in enumerate(ins):
        if by_id[id(x)] is None and not unused:
            raise AutogradError(
                f"grad: the outputs do not depend on input {k} of shape {x.shape}; pass allow_unused=True to get None"
            )
    return tuple(by_id[id(x)] for x in ins)


def _passed(
    outs: tuple[Any, ...], douts: tuple[Any, ...], inputs: tuple[Any, ...], keep: bool, create: bool
) -> Sequence[Any]:  # fmt: skip
    """What the tape gives; within a vmap of all examples at once, of which none depends on another."""
    within = levels_of((*outs, *douts))
    if not within:
        found: Sequence[Any] = _C.backward(outs, douts, inputs, keep, create)
        return found
    for k, x in enumerate(inputs):
        if not set(within) <= set(levels_of((x,))):
            raise AutogradError(
                f"grad: input {k} of shape {x.shape} is shared by all examples of a vmap, so that its gradient would "
                "be their sum; use dl.func.grad of a function that takes it as an argument"
            )
    roots, starts = (tuple(t if t is None else all_of(t, within) for t in some) for some in (outs, douts))
    wholes = tuple(all_of(x, within) for x in inputs)
    return [g if g is None else one_of(g, within) for g in _C.backward(roots, starts, wholes, keep, create)]


def sum_to(gradient: Any, shape: tuple[int, ...], dtype: DType) -> Any:
    """``gradient`` summed over the axes along which an operand of ``shape`` was broadcast, in ``dtype``.

    This is the gradient of broadcasting: the engine applies it before a gradient reaches the operand.
    """
    if gradient.shape != shape:
        extra = gradient.ndim - len(shape)
        stretched = (
            [k + extra for k, n in enumerate(shape) if n == 1 and gradient.shape[k + extra] != 1] if extra >= 0 else []
        )
        axes = (*range(max(extra, 0)), *stretched)
        kept = tuple(1 if k in axes else n for k, n in enumerate(gradient.shape))
        if extra < 0 or kept[extra:] != shape:
            raise ShapeError(f"backward: a gradient of shape {gradient.shape} does not fit an operand of shape {shape}")
        gradient = reshape(sum_(gradient, axes, True), shape)
    return gradient if gradient.dtype is dtype else cast(gradient, dtype)


_C.bind(sum_to=sum_to)
