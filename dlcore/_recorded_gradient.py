"""The gradient of a recorded step whose results have a gradient history: a backward pass that is recorded as well.

The graph that the recorded call left behind is copied once (csrc/core/graph_copy.h). A replay makes one node of the
tape, which keeps what the gradient rules need of that call; when a backward pass comes to it, the recording of a pass
through the copy runs with these tensors.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import NamedTuple

from dlcore import _C
from dlcore._commands import is_small
from dlcore._fusion import fuse
from dlcore._reasons import Failure
from dlcore._tensor import Tensor
from dlcore.errors import AutogradError, CaptureError

__all__ = ["RecordedGradient"]

_KEPT = 16  # recordings for gradients that arrive in different layouts; beyond, they are made contiguous first


class _Pass(NamedTuple):
    """A recorded backward pass: for which results gradients arrive, which gradients are wanted, and which exist."""

    present: tuple[bool, ...]
    wanted: tuple[bool, ...]
    found: tuple[bool, ...]
    recording: _C.Recording

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor | None] | None:
        """The gradients, None for each that does not exist; None if it was recorded for other layouts."""
        results = self.recording.run(*tensors)
        if results is NotImplemented:
            return None
        following = iter(results)
        return [next(following) if there else None for there in self.found]


class RecordedGradient:
    """The gradient rule of a recorded step.

    ``outputs``: the results with a gradient history, by number. ``kept``: all memory that the gradient rules need.
    """

    def __init__(self, name: str, tracked: dict[int, Tensor], aliases: tuple[Tensor, ...], after: int):
        self._name, self._aliases = name, aliases
        roots, self._ends, leaves, self.kept, stands = _C.copy_graph(tuple(tracked.values()), aliases, after)
        self._outputs = list(zip(tracked, roots, strict=True))
        self._roots, self._leaves, self._stands = roots, leaves, tuple(stands)
        self._passes: list[_Pass] = []

    def attach(self, recording: _C.Recording, n_results: int) -> None:
        """Gives the results of the recording, of which the last ones are ``kept``, their history."""
        number = {id(alias): k for k, alias in reversed(list(enumerate(self._aliases)))}
        ends = [(number.get(id(end), -1), end) for end in self._ends]
        function = _C.Function(types.SimpleNamespace(name=f"captured {self._name}"))
        self._aliases, self._ends = (), []
        recording.track(n_results, self._outputs, ends, function, self)

    def __call__(self, create_graph: bool, wanted: tuple[bool, ...], *given: Tensor | None) -> list[Tensor | None]:
        if create_graph:
            raise AutogradError(
                f"backward: create_graph: the gradient of the captured function {self._name} cannot be differentiated "
                "again; call the function itself, which is its attribute `function`, or capture the whole step"
            )
        if not _C.is_recording():
            return self._gradients(wanted, given)
        _C.not_recordable(f"backward() goes through the captured function {self._name}, called before the step")
        return _C.suspended(lambda: self._gradients(wanted, given))

    def _gradients(self, wanted: tuple[bool, ...], given: Sequence[Tensor | None]) -> list[Tensor | None]:
        arrived, kept = given[: len(self._roots)], given[len(self._roots) :]
        present = tuple(d is not None for d in arrived)
        douts = [d.detach() for d in arrived if d is not None]
        for again in (False, True):
            for recorded in self._passes:
                if recorded.present == present and recorded.wanted == wanted:
                    gradients = recorded.run((*douts, *kept))  # type: ignore[arg-type]
                    if gradients is not None:
                        return gradients
            if again or len(self._passes) < _KEPT:
                break
            douts = [d.contiguous() for d in douts]
        self._passes.append(self._record(present, wanted, tuple(douts)))
        gradients = self._passes[-1].run((*douts, *kept))  # type: ignore[arg-type]
        assert gradients is not None, "a pass stands for what it was recorded with"
        return gradients

    def _record(self, present: tuple[bool, ...], wanted: tuple[bool, ...], douts: tuple[Tensor, ...]) -> _Pass:
        """A backward pass through the copy of the graph. No kernel runs, for the copy has no memory."""
        roots = tuple(root for root, there in zip(self._roots, present, strict=True) if there)
        leaves = tuple(leaf for leaf, needed in zip(self._leaves, wanted, strict=True) if needed)
        aliases = _C.begin_recording(douts, True, self._stands)
        try:
            reached = iter(_C.backward(roots, aliases, leaves, True, False))
            gradients = [next(reached) if needed else None for needed in wanted]
            recording, found = _C.end_recording(aliases, tuple(g for g in gradients if g is not None))
        finally:
            _C.abort_recording()
        if failure := Failure.found(found):
            raise CaptureError(failure.message(f"the gradient of {self._name}"))
        fuse(recording)
        recording.lay_out(True)
        recording.serial = is_small(recording)
        return _Pass(present, wanted, tuple(g is not None for g in gradients), recording)
