"""`GradScaler`: training in float16, whose gradients would underflow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore._arguments import boolean, instance, integer, number
from dlcore._autograd import no_grad
from dlcore._recordable import Recordable
from dlcore._tensor import Tensor, tensor
from dlcore.ops.training import unscale_grads, update_scale
from dlcore.optim.optimizer import Optimizer

__all__ = ["GradScaler"]


class GradScaler(Recordable):
    """Multiplies a loss, so that its gradients do not underflow in float16, and divides the gradients (Micikevicius et
    al. 2018).

    A step whose gradients are not finite is left out, and the scale becomes ``backoff_factor`` times what it was; after
    ``growth_interval`` good steps in a row it becomes ``growth_factor`` times as large. All of it is on the device, so
    that a recorded step decides anew in every replay, and nothing is read back.

        scaler = optim.GradScaler()
        with dl.autocast(dl.float16):
            loss = dl.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)              # only for clipping between
        scaler.step(optimizer)
        scaler.update()

    init_scale: the first scale. enabled: False makes it do nothing but call ``optimizer.step()``.
    """

    recorded_methods = frozenset(("scale", "unscale_", "step", "update"))

    def __init__(
        self,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ):
        init, grow = number(init_scale, "GradScaler: init_scale"), number(growth_factor, "GradScaler: growth_factor")
        shrink = number(backoff_factor, "GradScaler: backoff_factor")
        if not 0 < init < 3.4e38:
            raise ValueError(f"GradScaler: init_scale is {init}; it must be above 0 and below 3.4e38")
        if not 1 < grow < math.inf:
            raise ValueError(f"GradScaler: growth_factor is {grow}; it must be above 1")
        if not 0 < shrink < 1:
            raise ValueError(f"GradScaler: backoff_factor is {shrink}; it must be between 0 and 1")
        self._growth, self._backoff = grow, shrink
        self._interval = integer(growth_interval, "GradScaler: growth_interval", 1)
        self._enabled = boolean(enabled, "GradScaler: enabled")
        self._scale = tensor(np.float32(init))
        self._good, self._skipped = tensor(np.array(0)), tensor(np.array(0))
        self._finite: dict[int, Tensor] = {}
        """Of each optimizer of this step, by id, whether its gradients are finite, once they have been divided."""

    # -- a step ------------------------------------------------------------------------------------------------------

    def scale(self, loss: Tensor) -> Tensor:
        """``loss`` times the scale; its gradients are that much larger."""
        instance(loss, Tensor, "GradScaler.scale: loss", "a tensor")
        if not self._enabled:
            return loss
        self._move(loss.device)
        return loss * self._scale  # in float32 at least: 65536 is no number of float16

    def unscale_(self, optimizer: Optimizer) -> Tensor | None:
        """Divide the gradients that ``optimizer`` holds by the scale; whether all are finite (0-d bool), None of none.

        `step` does so by itself; call it to clip them before. Raises RuntimeError for a second call in one step.
        """
        instance(optimizer, Optimizer, "GradScaler.unscale_: optimizer", "an Optimizer")
        if not self._enabled:
            return None
        if id(optimizer) in self._finite:
            raise RuntimeError("GradScaler.unscale_: the gradients are divided already; update() comes before the next")
        held = (p.grad for group in optimizer.param_groups for p in group["params"])
        grads = list({id(g): g for g in held if g is not None}.values())
        if not grads:
            return None
        self._move(grads[0].device)
        with no_grad():
            finite = self._finite[id(optimizer)] = unscale_grads(grads, self._scale)
        return finite

    def step(self, optimizer: Optimizer) -> None:
        """``optimizer.step()``, where the gradients are finite; they are divided by the scale if they were not."""
        if not self._enabled:
            optimizer.step()
            return
        finite = self._finite.get(id(optimizer))
        if finite is None:
            finite = self.unscale_(optimizer)
        optimizer.step(active=finite)

    def update(self) -> None:
        """The scale of the next step, after all optimizers have made this one."""
        if not self._enabled or not self._finite:
            return
        first, *others = self._finite.values()
        for finite in others:
            first = first & finite
        self._finite.clear()
        with no_grad():
            update_scale(
                self._scale, self._good, self._skipped, first,
                growth=self._growth, backoff=self._backoff, interval=self._interval,
            )  # fmt: skip

    def _move(self, device: Any) -> None:
        """Brings the scale to where the losses are, before the first step."""
        if self._scale.device is not device:
            self._scale, self._good, self._skipped = (t.to(device) for t in (self._scale, self._good, self._skipped))

    # -- state -------------------------------------------------------------------------------------------------------

    @property
    def enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def get_scale(self) -> float:
        """The scale now; 1 where it is not enabled. Waits for the device."""
        return float(self._scale.item()) if self._enabled else 1.0

    @property
    def skipped(self) -> int:
        """How many steps were left out. Waits for the device."""
        return int(self._skipped.item())

    def state_dict(self) -> dict[str, Any]:
        """The scale and the counts, as tensors; memory is shared."""
        return {"scale": self._scale, "good": self._good, "skipped": self._skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave. Raises ValueError, before anything changes, where it is none."""
        own = self.state_dict()
        if not isinstance(state, Mapping) or set(state) != set(own):
            raise ValueError(f"GradScaler.load_state_dict: a dict of {', '.join(own)} is needed")
        given = {name: np.asarray(value) for name, value in state.items()}
        for name, value in given.items():
            if value.shape != ():
                raise ValueError(f"GradScaler.load_state_dict: {name} has shape {value.shape}, not ()")
        if not 0 < given["scale"] < math.inf:
            raise ValueError(f"GradScaler.load_state_dict: the scale is {given['scale']}; it must be above 0")
        with no_grad():
            for name, value in given.items():
                own[name].copy_(tensor(value, own[name].dtype))

    def recorded_state(self) -> Any:
        """Which tensors there are, and the settings."""
        return self._scale, self._good, self._skipped, self._growth, self._backoff, self._interval, self._enabled

    def recorded_parts(self) -> tuple[Any, ...]:
        """Nothing: the state is all that steps use."""
        return ()
