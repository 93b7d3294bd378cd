"""Tensors in tuples, lists, dicts and data classes: taken out, and put together anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dlcore._structure import parts_of
from dlcore._tensor import Tensor

__all__ = ["leaves", "mapped", "replaced", "spread"]


def _container(value: Any) -> tuple[Sequence[Any], Callable[[list[Any]], Any]] | None:
    return None if isinstance(value, Tensor | str | bytes) else parts_of(value)


def leaves(value: Any) -> list[Any]:
    """What lies in a structure, from left to right: itself if it is none."""
    found = _container(value)
    return [value] if found is None else [leaf for part in found[0] for leaf in leaves(part)]


def replaced(value: Any, new: Iterator[Any]) -> Any:
    """The structure with the next of ``new`` in the place of each leaf."""
    found = _container(value)
    if found is None:
        return next(new)
    return found[1]([replaced(part, new) for part in found[0]])


def mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """The structure with function(leaf) in the place of each leaf."""
    return replaced(value, iter([function(leaf) for leaf in leaves(value)]))


def spread(prefix: Any, value: Any, where: str) -> list[Any]:
    """For each leaf of ``value`` what ``prefix`` says: one for all, or a structure that begins as ``value`` does."""
    found, given = _container(value), _container(prefix)
    if given is None:
        return [prefix] * len(leaves(value))
    if found is None or len(found[0]) != len(given[0]):
        has = "a single value" if found is None else f"{len(found[0])} parts"
        raise ValueError(f"{where} has {len(given[0])} parts where there is {has}")
    parts, wanted = list(found[0]), list(given[0])
    if isinstance(prefix, dict):
        if not isinstance(value, dict) or set(value) != set(prefix):
            raise ValueError(f"{where} has the keys {sorted(map(str, prefix))}, which are not those of the argument")
        parts, wanted = [value[key] for key in value], [prefix[key] for key in value]
    return [axis for part, axes in zip(parts, wanted, strict=True) for axis in spread(axes, part, where)]
