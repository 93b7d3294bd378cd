"""`Gate`: leaves out the steps whose loss or gradients are not finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore._autograd import no_grad
from dlcore._recordable import Recordable
from dlcore._tensor import Tensor, tensor
from dlcore.ops.elementwise import isfinite, logical_and, logical_not, where
from dlcore.ops.training import unscale_grads
from dlcore.optim import GradScaler, Optimizer

__all__ = ["Gate"]


class Gate(Recordable):
    """Decides on the device, in every replay anew, whether a step is taken; with a ``scaler`` it also scales the loss.

    Without one a step needs a finite loss and finite gradients. With one finite gradients decide, for a scale that is
    too large shows nowhere else.
    """

    def __init__(self, device: Any, scaler: GradScaler | None = None):
        self.scaler = scaler
        self._one = tensor(np.float32(1), device=device)
        self._skipped = tensor(np.array(0), device=device)

    def scaled(self, loss: Tensor) -> Tensor:
        """What to take the gradients of."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def counted(self, loss: Tensor, counted: Tensor | float) -> Tensor:
        """How much ``loss`` counts for in the mean of the epoch: nothing where it is not finite."""
        there = isfinite(loss.detach()).reshape(())
        return where(there, counted.detach() if isinstance(counted, Tensor) else float(counted), 0.0)

    def open(self, optimizer: Optimizer, loss: Tensor) -> Tensor | None:
        """Whether ``optimizer`` is to step; the gradients are those of ``loss`` then. None: there are no gradients."""
        if self.scaler is not None:
            return self.scaler.unscale_(optimizer)
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not grads:
            return None
        with no_grad():
            taken = logical_and(unscale_grads(grads, self._one), isfinite(loss).reshape(()))
            self._skipped += logical_not(taken).astype(self._skipped.dtype)
        return taken

    def close(self) -> None:
        """The step has been made or left out."""
        if self.scaler is not None:
            self.scaler.update()

    @property
    def skipped(self) -> int:
        """How many steps were left out. Waits for the device."""
        return int(self._skipped.item()) if self.scaler is None else self.scaler.skipped

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on needs."""
        return {"skipped": self._skipped} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave."""
        if self.scaler is not None:
            self.scaler.load_state_dict(state)
        else:
            self._skipped.fill_(int(np.asarray(state["skipped"])))

    def recorded_state(self) -> Any:
        """Which tensors there are."""
        return self._one, self._skipped, None if self.scaler is None else self.scaler.recorded_state()

    def recorded_parts(self) -> tuple[Any, ...]:
        """Nothing: the state is all that steps use."""
        return ()
