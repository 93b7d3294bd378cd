"""`channels_last`: a network of images whose layers compute with the channels as the last axis, (N, H, W, C)."""

from __future__ import annotations

from typing import Any, TypeVar

from dlcore._arguments import instance
from dlcore._tensor import Tensor
from dlcore.errors import ShapeError
from dlcore.nn import activations, layers
from dlcore.nn.module import Module
from dlcore.nn.places import each, place, to_first, to_last

__all__ = ["channels_last"]

M = TypeVar("M", bound=Module)

# What these compute of an element depends on no other and on no place.
_ELEMENTWISE = (
    activations.CELU, activations.ELU, activations.SELU, activations.Hardshrink, activations.Hardsigmoid,
    activations.Hardswish, activations.Hardtanh, activations.LeakyReLU, activations.LogSigmoid, activations.Mish,
    activations.ReLU6, activations.SiLU, activations.Softplus, activations.Softshrink, activations.Softsign,
    activations.Tanhshrink, activations.Threshold, layers.GELU, layers.Dropout, layers.Identity, layers.ReLU,
    layers.Sigmoid, layers.Tanh,
)  # fmt: skip


def channels_last(model: M) -> M:
    """``model`` itself, which from now on computes with the channels of images as the last axis in memory.

    Inputs, outputs, ``state_dict`` and results stay what they are, with images (N, C, H, W): these are turned where
    they enter and leave the model, and around layers that have no such form (Flatten among them). Any part of the model
    may still be called by itself. On which machine and for which networks this is faster: docs/layout.md.

    Layers of dlcore know what to do. The ``forward`` of a class of yours gets images as ever, (N, C, H, W), and the
    layers that it calls turn them each; if it does nothing but call modules and functions of single elements, say so by
    ``passes_layout = True`` in the class, and the channels stay last within it. Files that `dl.save` writes make the
    model as it was: call this again after `dl.load`.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 6 * 6, 10))
    >>> nn.channels_last(model)(dl.zeros(5, 3, 8, 8)).shape
    (5, 10)
    """
    instance(model, Module, "channels_last: model", "a Module")
    for module in model.modules():
        known = _kind(module)
        if known == "layout":
            module.layout = "NHWC"
        if known != "element" and not isinstance(vars(module).get("forward"), _Border):
            module.forward = _Border(module, known is not None)  # type: ignore[method-assign]
    return model


def _kind(module: Module) -> str | None:
    """"layout": it has a form for each layout; "element": it works on single elements; "passes": it calls such modules;
    None: it is for (N, C, ...) alone.

    What counts is the class whose ``forward`` runs: a subclass with one of its own may do what its base does not.
    """
    owner = next(cls for cls in type(module).__mro__ if "forward" in vars(cls))
    if "layout" in vars(owner) or (owner.__module__.startswith("dlcore.") and hasattr(type(module), "layout")):
        return "layout"  # Dropout2d among them, whose forward is that of Dropout
    if owner in _ELEMENTWISE:
        return "element"
    return "passes" if vars(owner).get("passes_layout") or owner is layers.Sequential else None


class _Border:
    """Takes the place of a module's ``forward``: turns images where the layout before and behind it differs.

    ``last``: whether the module itself works with the channels last.
    """

    def __init__(self, module: Module, last: bool):
        self.module, self.last = module, last

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        forward, last, before = type(self.module).forward, self.last, place.last
        if last and hasattr(self.module, "layout"):
            self._check(args, before)
        if last is before:
            return forward(self.module, *args, **kwargs)
        turn, back = (to_last, to_first) if last else (to_first, to_last)
        place.last = last
        try:
            return each(back, forward(self.module, *each(turn, args), **each(turn, kwargs)))
        finally:
            place.last = before

    def _check(self, args: tuple[Any, ...], before: bool) -> None:
        """An image without a batch would be taken for signals."""
        name = type(self.module).__name__
        axes = int(name[-2]) if name[-2:] in ("1d", "2d", "3d") else 0
        for x in args[:1]:
            if axes and isinstance(x, Tensor) and x.ndim > 2 and x.ndim != axes + 2:
                raise ShapeError(f"channels_last: {name}: x {x.shape} has {x.ndim} axes; {axes + 2} are taken, a batch")
