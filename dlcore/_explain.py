"""A recorded step from the inside: `Explanation`, its launches and their times; `MemoryPlan`, the memory it takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dlcore import _C
from dlcore._commands import Array, Command, commands
from dlcore._files import write_figure
from dlcore._fusion import obstacles
from dlcore._memory import readable
from dlcore._tables import plain_table, rich_table

__all__ = ["Explanation", "Launch", "MemoryPlan", "Region"]

_RIGHT = (0, 3, 4, 5, 6)  # the columns of numbers
_POINTWISE = ("elementwise", "activation")  # kernel families that read and write each element once
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")  # Okabe & Ito 2008


class Launch(NamedTuple):
    """One launch of a recorded step.

    ``seconds``: its part of the time of a replay, and ``share`` the same as a fraction. ``bytes`` and ``flops``: what
    the operation has to move and to compute.
    """

    number: int
    operation: str
    kernel: str
    inputs: tuple[Array | None, ...]
    outputs: tuple[Array | None, ...]
    bytes: float
    flops: float
    seconds: float
    share: float
    line: str
    fused: str
    """The operations that this launch does together ("linear + bias + relu"), or ""."""
    unfused: str
    """Why it is not one launch with an earlier one, whose result it reads, or ""."""

    @property
    def family(self) -> str:
        """The family of the kernel: the part of its name before the colon."""
        return self.kernel.partition(":")[0]

    @property
    def shapes(self) -> str:
        """Operands and results: "f32[128,784] f32[256,784] -> f32[128,256]"."""
        inside = " ".join(str(a) for a in _several(self.inputs))
        return f"{inside} -> {' '.join(str(a) for a in _several(self.outputs)) or 'in place'}"


def _several(arrays: Iterable[Array | None], shown: int = 4) -> list[Any]:
    present = [a for a in arrays if a is not None]
    return [*present[:shown], f"... {len(present) - shown} more"] if len(present) > shown else present


class Region(NamedTuple):
    """A buffer of a recorded step.

    kind: "outside" (there before), "input" (an argument), "result", or "inside" (an intermediate result). ``first`` and
    ``last``: the numbers of the launches between which it is in use.
    """

    kind: str
    bytes: int
    first: int
    last: int
    written: bool
    offset: int
    line: str
    what: str
    """Dtype and shape of the first array that covers all of it: "f32[128,256]"."""


def _regions(recording: _C.Recording, launches: Sequence[Command]) -> list[Region]:
    lines = recording.lines
    whole: dict[int, str] = {}
    for launch in launches:
        for a in (*launch.inputs, *launch.outputs):
            if a is not None and a.region >= 0 and a.bytes == recording.regions[a.region][1]:
                whole.setdefault(a.region, str(a))
    found = []
    for k, (kind, size, first, last, written, offset, line, _) in enumerate(recording.regions):
        at = line if line >= 0 else launches[first].line if first >= 0 else -1
        code = lines[at] if at >= 0 else ""
        found.append(Region(kind, size, first, last, bool(written), offset, code, whole.get(k, "")))
    return found


def _fused(launch: Command) -> str:
    """The operations that a launch does together, by its operands and attributes; "" where it does one alone."""
    op = launch.op
    if op is None:
        return ""
    activation = dict(zip(op.attribute_names, launch.attrs, strict=False)).get("activation")
    there = [n for n, a in zip(op.input_names, launch.inputs, strict=False) if a is not None]
    added = [n for n in ("bias", "residual") if n in there and (n == "residual" or not op.signature.groups)]
    parts = [op.name, *added, *([activation] if isinstance(activation, str) else [])]
    return " + ".join(parts) if len(parts) > 1 else ""


class Explanation:
    """A recorded step, launch by launch: ``print(step.explain())``. ``rows``: the launches as data.

    GB/s and GFLOP/s are the bytes that an operation has to move and the arithmetic that it has to do (its ``cost``)
    over the time of the fastest of ``repeats`` replays. ``picture("step.png")`` draws the timeline.
    """

    def __init__(self, recording: _C.Recording, repeats: int = 20):
        launches, lines = list(commands(recording)), recording.lines
        self._regions = _regions(recording, launches)
        self._obstacles = obstacles(recording)
        self.arena_bytes, self.unplanned_bytes = recording.arena_bytes, recording.unplanned_bytes
        seconds = recording.profile(repeats)
        self.seconds = sum(seconds)
        self.rows: list[Launch] = []
        for k, launch in enumerate(launches):
            flops, moves = launch.work
            share = seconds[k] / self.seconds if self.seconds else 0.0
            arrays, place = (launch.inputs, launch.outputs), lines[launch.line]
            times = (moves, flops, seconds[k], share)
            self.rows.append(Launch(k, launch.name, launch.kernel, *arrays, *times, place, _fused(launch), ""))
        self.rows = [launch._replace(unfused=self._unfused(launch)) for launch in self.rows]

    def _unfused(self, launch: Launch) -> str:
        """Why a launch is not one with the launch whose result it reads, where such launches can be one."""
        if launch.number in self._obstacles:
            return self._obstacles[launch.number]
        if launch.family not in _POINTWISE:
            return ""
        for a in launch.inputs:
            if a is None or a.region < 0 or self._regions[a.region].kind in ("outside", "input"):
                continue
            maker = next((r for r in reversed(self.rows[: launch.number]) if _touches(r.outputs, a.region)), None)
            if maker is None or maker.family not in _POINTWISE:
                continue
            readers = [r for r in self.rows[maker.number + 1 :] if _touches(r.inputs, a.region)]
            if self._regions[a.region].kind == "result":
                return f"not with {maker.number}: its value is a result"
            if len(readers) > 1:
                return f"not with {maker.number}: {readers[1].number} needs its value too"
            pairs = zip(maker.outputs, launch.outputs, strict=False)
            if any(made is not None and out is not None and made.shape != out.shape for made, out in pairs):
                return f"not with {maker.number}: other shape"
            return f"not with {maker.number}: no kernel does both"
        return ""

    def _table(self) -> tuple[list[str], list[list[str]]]:
        head = ["#", "operation", "shapes", "us", "%", "GB/s", "GFLOP/s", "fused"]
        body = []
        for r in self.rows:
            note = " ".join(n for n in (r.fused and "one launch", r.unfused) if n)
            rate = [f"{amount / r.seconds / 1e9:.1f}" if amount and r.seconds else "" for amount in (r.bytes, r.flops)]
            times = [f"{r.seconds * 1e6:.1f}", f"{100 * r.share:.0f}"]
            body.append([str(r.number), r.fused or r.operation, r.shapes, *times, *rate, note])
        return head, body

    @property
    def summary(self) -> str:
        """The totals, in two lines."""
        moved, flops = sum(r.bytes for r in self.rows), sum(r.flops for r in self.rows)
        rate = (
            f", {moved / self.seconds / 1e9:.1f} GB/s and {flops / self.seconds / 1e9:.1f} GFLOP/s"
            if self.seconds
            else ""
        )
        saved = f"{readable(self.arena_bytes)} for intermediate results, {readable(self.unplanned_bytes)} without reuse"
        return (
            f"{len(self.rows)} launches, {self.seconds * 1e6:.1f} us: "
            f"{readable(moved)} moved, {flops / 1e6:.3g} MFLOP{rate}\n{saved}"
        )

    def __str__(self) -> str:
        return f"{plain_table(*self._table(), right=_RIGHT, flexible=2)}\n\n{self.summary}"

    __repr__ = __str__

    def __rich__(self) -> Any:
        return rich_table(*self._table(), right=_RIGHT, caption=self.summary)

    def picture(self, path: str | Path) -> None:
        """Writes the timeline as an image: a bar for each launch, coloured by family, and below the memory in use.

        Needs matplotlib: ``pip install 'dlcore[plot]'``.
        """
        from matplotlib.figure import Figure

        count = len(self.rows)
        high = 0.24 * min(count, 60) + 0.6
        figure = Figure(figsize=(10, high + 1.6), layout="constrained")
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=(high, 1.4))
        families = list(dict.fromkeys(r.family for r in self.rows))
        ends = [0.0]
        for r in self.rows:
            start, width = ends[-1], r.seconds * 1e6
            colour = _COLOURS[families.index(r.family) % len(_COLOURS)]
            top.barh(r.number, width, left=start, height=0.8, color=colour)
            if r.share >= 0.005:
                top.annotate(f"{width:.0f} us", (start + width, r.number), (4, 0), textcoords="offset points",
                             va="center", fontsize=7)  # fmt: skip
            ends.append(start + width)
        for k, family in enumerate(families):
            top.bar(0, 0, color=_COLOURS[k % len(_COLOURS)], label=family)
        top.legend(fontsize=8, loc="upper right", frameon=False)
        top.set_yticks(range(count), [r.fused or r.operation for r in self.rows], fontsize=8 if count <= 60 else 3)
        top.set_ylim(count - 0.4, -0.6)
        top.set_xlim(0, 1.08 * ends[-1])
        below.stairs([used / 1e6 for used in _in_use(self._regions, count)], ends, fill=True, color="#999999")
        below.set_ylabel("MB in use", fontsize=8)
        below.set_xlabel(f"microseconds: {count} launches take {self.seconds * 1e6:.0f}")
        for axes in (top, below):
            axes.spines[["top", "right"]].set_visible(False)
        write_figure(figure, path)


def _short(line: str) -> str:
    """A line of code without the folder of its file."""
    return line.rpartition("/")[2]


def _touches(arrays: Iterable[Array | None], region: int) -> bool:
    return any(a is not None and a.region == region for a in arrays)


def _in_use(regions: Iterable[Region], launches: int) -> list[int]:
    """How many bytes of intermediate results are alive at each launch."""
    alive = [r for r in regions if r.kind == "inside" and r.first >= 0]
    return [sum(r.bytes for r in alive if r.first <= k <= r.last) for k in range(launches)]


class MemoryPlan:
    """The memory plan of a recorded step: ``print(step.plan(x, y))``.

    ``peak``: the most bytes in use at once; ``rows``: the buffers in use then, the largest first. ``outside_bytes``:
    arguments, parameters, optimizer state and other tensors that were there before; ``result_bytes``: results and
    gradients; ``arena_bytes``: the one block that holds all intermediate results. ``total``: the sum of these three.
    """

    def __init__(self, recording: _C.Recording):
        launches = list(commands(recording))
        regions = _regions(recording, launches)
        self.arena_bytes, self.unplanned_bytes = recording.arena_bytes, recording.unplanned_bytes
        self.outside_bytes = sum(r.bytes for r in regions if r.kind in ("outside", "input"))
        self.result_bytes = sum(r.bytes for r in regions if r.kind == "result")
        self.total = self.outside_bytes + self.result_bytes + self.arena_bytes
        used = _in_use(regions, len(launches))
        at = max(range(len(used)), key=used.__getitem__, default=0)
        self.peak = self.outside_bytes + self.result_bytes + max(used, default=0)
        self.at = ""
        if launches:
            self.at = f"{launches[at].name} ({_short(recording.lines[launches[at].line])})"
        alive = [r for r in regions if r.kind != "inside" or 0 <= r.first <= at <= r.last]
        self.rows = sorted(alive, key=lambda r: -r.bytes)

    def __str__(self) -> str:
        names = {
            "outside": "there before",
            "input": "argument",
            "result": "result or gradient",
            "inside": "intermediate",
        }
        body = [[readable(r.bytes), names[r.kind], r.what, _short(r.line)] for r in self.rows[:20]]
        rest = self.rows[20:]
        if rest:
            body.append([readable(sum(r.bytes for r in rest)), f"{len(rest)} more", "", ""])
        return (
            f"peak {readable(self.peak)}, at {self.at}\n"
            f"{readable(self.outside_bytes)} there before, {readable(self.result_bytes)} results and gradients, "
            f"{readable(self.arena_bytes)} intermediates ({readable(self.unplanned_bytes)} without reuse)\n\n"
            + plain_table(["bytes", "kind", "tensor", "first used or made at"], body, right=(0,), flexible=3)
        )

    __repr__ = __str__
