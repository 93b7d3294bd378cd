"""What was checked of an operation and what came of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["CHECKS", "Check", "RowReport"]

CHECKS = ("forward", "composite", "twin", "interpreter", "gradient", "repeatable", "replay", "errors")


@dataclass
class Check:
    """One kind of check of an operation. ``done``: how many ran; ``failures``: the text of each that failed.

    ``worst``: the largest error in ULPs; ``note``: why nothing ran, or what else is worth knowing.
    """

    done: int = 0
    worst: float = 0.0
    failures: list[str] = field(default_factory=list)
    note: str = ""

    def merge(self, other: Check) -> None:
        """Adds what another process found."""
        self.done += other.done
        self.worst = max(self.worst, other.worst)
        self.failures += other.failures
        self.note = self.note or other.note


@dataclass
class RowReport:
    """All of one row: its name, the bound it claims, what it was tried on, and the checks by name (`CHECKS`)."""

    row: str
    family: str
    ulp: float
    dtypes: tuple[str, ...] = ()
    layouts: tuple[str, ...] = ()
    samples: int = 0
    seconds: float = 0.0
    checks: dict[str, Check] = field(default_factory=dict)
    digests: list[str] = field(default_factory=list, repr=False)
    """Of the results' bits, for each sample and dtype, to be held beside those of other processes."""

    @property
    def failures(self) -> list[str]:
        """Texts of all that failed."""
        return [text for check in self.checks.values() for text in check.failures]

    def merge(self, other: RowReport) -> None:
        """Adds what another process found of the same row."""
        self.seconds += other.seconds
        if self.digests and other.digests and "twin" in other.checks:
            same = sum(a == b for a, b in zip(self.digests, other.digests, strict=True))
            notes = [self.checks["twin"].note] if "twin" in self.checks and self.checks["twin"].note else []
            other.checks["twin"].note += f": {same} of {len(self.digests)} with the same bits"
            self.checks.setdefault("twin", Check()).note = "; ".join([*notes, other.checks["twin"].note])
        for name in ("dtypes", "layouts"):
            setattr(self, name, tuple(dict.fromkeys((*getattr(self, name), *getattr(other, name)))))
        self.samples = max(self.samples, other.samples)
        for name, check in other.checks.items():
            self.checks.setdefault(name, Check()).merge(check)

    def to_json(self) -> dict[str, Any]:
        """For a file; an infinite error is the string "inf"."""
        made = asdict(self)
        del made["digests"]
        for check in made["checks"].values():
            check["worst"] = check["worst"] if math.isfinite(check["worst"]) else "inf"
        return made


def failed(reports: Iterable[RowReport]) -> int:
    """How many rows failed anything."""
    return sum(bool(r.failures) for r in reports)
