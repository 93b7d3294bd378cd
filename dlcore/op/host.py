"""Kernels of the CPU that are Python functions of NumPy's arrays."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from dlcore import _C

__all__ = ["Host"]


class Host(NamedTuple):
    """A kernel in Python: a function of (*inputs, *outputs, *attributes) as NumPy arrays, that writes the outputs.

    What the libraries that NumPy brings along compute. Arrays are views, of any strides, that hold during the call;
    those of absent operands and outputs are None. It is recorded like any other kernel, and replayed with the GIL.
    Errors of linear algebra (`numpy.linalg.LinAlgError`) get the operation's name in front.
    """

    function: Callable[..., None]

    def target(self, name: str, attrs: tuple[Any, ...]) -> Any:
        """What a plan of the operation ``name`` runs: a capsule of a native kernel."""
        return _target(self.function, name, attrs)


@lru_cache(1024)
def _target(function: Callable[..., None], name: str, attrs: tuple[Any, ...]) -> Any:
    def run(*views: Any) -> None:
        arrays = [None if view is None else np.asarray(view) for view in views]
        observer = sys.gettrace() if _C.is_recording() else None
        if observer is not None:
            sys.settrace(None)  # what happens here is the command's, not the step's
        try:
            with np.errstate(all="ignore"):
                function(*arrays, *attrs)
        except np.linalg.LinAlgError as error:
            raise np.linalg.LinAlgError(f"{name}: {error}") from None
        finally:
            if observer is not None:
                sys.settrace(observer)

    return _C.host_kernel(name, run)
