"""How tensors are printed: NumPy's options, where `set_printoptions` has not given others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlcore._arguments import boolean, integer

__all__ = ["get_printoptions", "printoptions", "set_printoptions", "text_of"]

_chosen: dict[str, Any] = {}


def set_printoptions(
    *,
    precision: int | None = None,
    threshold: int | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    suppress: bool | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Sets how tensors are printed from now on; what is not given stays as it is.

    ``precision``: digits behind the point. ``threshold``: the number of elements above which a tensor is summarised,
    ``edgeitems``: how many are then shown at each end of an axis. ``linewidth``: columns of a line. ``suppress``: small
    and large numbers without exponents; ``sci_mode`` is PyTorch's opposite of it. NumPy's options hold for all that was
    never set.

    >>> with dl.printoptions(precision=2):
    ...     print(dl.tensor([3.14159, 2.71828]))
    tensor([3.14, 2.72])
    """
    _chosen.update(_checked("set_printoptions", locals()))


def _checked(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The options given, by NumPy's names."""
    counts = ("precision", "threshold", "edgeitems", "linewidth")
    found: dict[str, Any] = {n: integer(given[n], f"{name}: {n}", 0) for n in counts if given.get(n) is not None}
    if given.get("sci_mode") is not None:
        found["suppress"] = not boolean(given["sci_mode"], f"{name}: sci_mode")
    if given.get("suppress") is not None:
        found["suppress"] = boolean(given["suppress"], f"{name}: suppress")
    return found


def get_printoptions() -> dict[str, Any]:
    """How tensors are printed: precision, threshold, edgeitems, linewidth, suppress."""
    general: Any = np.get_printoptions()
    return {n: _chosen.get(n, general[n]) for n in ("precision", "threshold", "edgeitems", "linewidth", "suppress")}


@contextlib.contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """A block in which tensors are printed otherwise; takes what `set_printoptions` takes."""
    before = dict(_chosen)
    set_printoptions(**options)
    try:
        yield
    finally:
        _chosen.clear()
        _chosen.update(before)


def text_of(values: np.ndarray[Any, Any], prefix: str) -> str:
    """The numbers of an array as text, in lines behind ``prefix``."""
    options = dict(_chosen)
    width, suppress = options.pop("linewidth", None), options.pop("suppress", None)
    return np.array2string(
        values, max_line_width=width, suppress_small=suppress, separator=", ", prefix=prefix, **options
    )
