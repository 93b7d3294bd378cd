"""Kernels as points of a roofline: what they do, how long they take, and the least that this machine could take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from dlcore import _json
from dlcore._commands import Array
from dlcore._explain import Explanation, Launch
from dlcore.bench.roofs import Roofs
from dlcore.bench.session import Measurement
from dlcore.dtypes import float32
from dlcore.op import REGISTRY

__all__ = ["STEP", "Point", "from_launches", "from_measurements"]

STEP = "step"  # the family of a whole recorded step


class Point(NamedTuple):
    """A kernel, timed. ``flops``, ``bytes``: the work, of bytes those that must move; ``working_set``: bytes whose
    bandwidth is its roof; ``least``: seconds that the work takes at the roofs; ``bound``: "memory" or "arithmetic"."""

    number: int
    name: str
    shape: str
    dtype: str
    family: str
    flops: float
    bytes: float
    working_set: float
    seconds: float
    least: float
    bound: str
    line: str = ""
    """Where a launch of a model comes from: "model.py:17"."""

    @property
    def share(self) -> float | None:
        """Of the roof: the least time over the time taken; None for what does no work (a view)."""
        return self.least / self.seconds if self.least and self.seconds else None

    @property
    def intensity(self) -> float:
        """FLOPs for each byte that must move."""
        return self.flops / self.bytes if self.bytes else math.inf if self.flops else 0.0

    @property
    def drawn(self) -> bool:
        """Whether it has a place over the axis of FLOPs a byte, which is logarithmic."""
        return bool(self.flops and self.bytes and self.seconds)

    @property
    def bandwidth(self) -> float:
        """Bytes a second."""
        return self.bytes / self.seconds

    @property
    def rate(self) -> float:
        """FLOP/s."""
        return self.flops / self.seconds

    def to_json(self) -> dict[str, Any]:
        """The fields and the share."""
        return self._asdict() | {"share": self.share}

    @classmethod
    def from_json(cls, data: Any) -> Point:
        """What `to_json` gave; ValueError where it did not."""
        fields = _json.typed(dict[str, Any], data, "a point")
        return _json.typed(cls, {name: value for name, value in fields.items() if name != "share"}, "a point")


def _numbered(points: Iterable[Point]) -> list[Point]:
    return [p._replace(number=k) for k, p in enumerate(points, 1)]


def from_measurements(measured: Sequence[Measurement], roofs: Roofs) -> list[Point]:
    """A point for each, by family, those that are farthest from their roof last."""
    points = []
    for m in measured:
        set_ = roofs.working_set(m.bytes, m.touched, m.cache == "cold")
        work = m.flops, m.bytes, set_, m.dtype
        points.append(
            Point(
                0, m.row, m.shape, m.dtype, m.family or "other", m.flops, m.bytes, set_, m.seconds,
                roofs.least(*work), roofs.bound(*work),
            )
        )  # fmt: skip
    return _numbered(sorted(points, key=lambda p: (p.share is None, p.family, -(p.share or 0.0))))


def from_launches(explanation: Explanation, held: float, wall: float, name: str, roofs: Roofs) -> list[Point]:
    """A point for each launch of a recorded step, in their order, and first one for the whole.

    ``held``: bytes that the step has in memory; ``wall``: seconds of a replay. The least time of the whole is the sum
    of those of its launches: what each reads and writes is counted, though a larger kernel might keep it in registers.
    """
    launches = [_launch(row, roofs) for row in explanation.rows]
    least = {bound: sum(p.least for p in launches if p.bound == bound) for bound in ("memory", "arithmetic")}
    dtypes = {p.dtype for p in launches if p.flops} or {p.dtype for p in launches}
    whole = Point(
        0, name, f"{len(launches)} launches", dtypes.pop() if len(dtypes) == 1 else "mixed", STEP,
        sum(p.flops for p in launches), sum(p.bytes for p in launches), held, wall,
        sum(least.values()), max(least, key=lambda b: least[b]),
    )  # fmt: skip
    return _numbered([whole, *launches])


def _launch(row: Launch, roofs: Roofs) -> Point:
    arrays = list(_in_memory((*row.inputs, *row.outputs)))
    floats = [a.dtype for a in (*row.outputs, *row.inputs) if a is not None and a.dtype.is_float]
    dtype = floats[0] if floats else arrays[0].dtype if arrays else float32
    set_ = roofs.working_set(row.bytes, sum(a.bytes for a in arrays))
    work = row.flops, row.bytes, set_, dtype
    place, shapes = row.line.rpartition("/")[2], row.shapes.replace("->", "→")
    return Point(
        0, row.fused or row.operation, shapes, dtype.name, _family(row), row.flops, row.bytes, set_, row.seconds,
        roofs.least(*work), roofs.bound(*work), place,
    )  # fmt: skip


def _family(row: Launch) -> str:
    """Of the operation's kernels: on a GPU a launch bears the operation's name."""
    known = sorted(REGISTRY[row.operation].kernel_families) if row.operation in REGISTRY else []
    return row.family if row.family in known or not known else known[0]


def _in_memory(arrays: Iterable[Array | None]) -> Iterator[Array]:
    """Those with memory of their own, each once: what is read and written in place counts once."""
    seen = set()
    for a in arrays:
        if a is not None and a.region >= 0 and (a.region, a.offset) not in seen:
            seen.add((a.region, a.offset))
            yield a
