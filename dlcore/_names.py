"""Classes by name, as configuration files write them: "one_cycle", "OneCycle" and "one-cycle" are the same."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from dlcore._arguments import shown

__all__ = ["Names"]


class Names:
    """Things by the names that users write for them; ``what`` they are, in errors."""

    def __init__(self, what: str, things: Iterable[tuple[str, Any]]):
        self.what, self._things = what, dict(things)
        self._plain = {_plain(name): name for name in self._things}

    def __iter__(self) -> Any:
        return iter(self._things)

    def get(self, name: Any, where: str) -> Any:
        """What is called ``name``, in capitals or not, with underscores, hyphens or neither.

        Raises TypeError for what is no text, ValueError with the nearest name for one that is unknown.
        """
        if not isinstance(name, str):
            raise TypeError(f"{where} {shown(name)} is not the name of {self.what}")
        known = self._plain.get(_plain(name))
        if known is None:
            near = get_close_matches(_plain(name), self._plain, n=1)
            told = f"did you mean {self._plain[near[0]]!r}?" if near else f"there are {', '.join(self._things)}"
            raise ValueError(f"{where} {shown(name)} is not the name of {self.what}; {told}")
        return self._things[known]


def _plain(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "")
