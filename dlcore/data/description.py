"""What a data set holds, in figures and in pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from dlcore._arguments import integer
from dlcore._files import write_figure
from dlcore._tensor import tensor
from dlcore.data.audio import AudioFiles
from dlcore.data.folders import missing_package
from dlcore.data.sources import as_dataset
from dlcore.data.statistics import pieces
from dlcore.data.views import flatten, gather, permutation, targets

__all__ = ["Description", "PartDescription", "describe", "picture_grid"]


_LISTED = 50  # classes that a text lists: more than fit on a screen tell nothing


@dataclass(frozen=True)
class PartDescription:
    """One part of the samples: its name, the shape of one, the dtype, and figures over all values.

    ``least``, ``largest``, ``mean``: of the values that are finite, None where there are none; ``not_finite``: how many
    are NaN or infinite.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    least: float | None
    largest: float | None
    mean: float | None
    not_finite: int


@dataclass(frozen=True)
class Description:
    """What `describe` returns; ``str`` gives it as text.

    ``samples``: how many there are. ``parts``: inputs and targets. ``classes``: the name of each class, or its number,
    with the number of its samples; None where the targets are no classes. ``groups``: how many groups there are, or
    None. ``skipped``: how many files were left out.
    """

    samples: int
    parts: tuple[PartDescription, ...] = ()
    classes: dict[str, int] | None = None
    groups: int | None = None
    skipped: int = 0

    def __str__(self) -> str:
        lines = [f"{self.samples:,} samples" + (f" in {self.groups:,} groups" if self.groups is not None else "")]
        for part in self.parts:
            numbers = f"{_short(part.least)} to {_short(part.largest)}, mean {_short(part.mean)}"
            bad = f", {part.not_finite:,} not finite" if part.not_finite else ""
            lines.append(f"{part.name}: {part.shape or 'one number'} {part.dtype}, {numbers}{bad}")
        if self.classes is not None:
            width = max(map(len, self.classes), default=0)
            most = max(self.classes.values(), default=1) or 1
            bars = {name: "█" * round(24 * count / most) for name, count in self.classes.items()}
            shown = [f"  {name:<{width}} {count:>7,} {bars[name]}".rstrip() for name, count in self.classes.items()]
            lines += shown[:_LISTED]
            if rest := list(self.classes.values())[_LISTED:]:
                lines.append(f"  and {len(rest):,} more, of {min(rest):,} to {max(rest):,} samples")
        if self.skipped:
            lines.append(f"{self.skipped:,} file{'s were' if self.skipped > 1 else ' was'} left out")
        return "\n".join(lines)


def describe(dataset: Any) -> Description:
    """The figures of ``dataset``: how many samples, shapes, dtypes, ranges, NaN, and how many of each class.

    It reads all samples once, a part at a time. Targets are classes where they are one integer a sample, and the data
    set names classes, or they are at most 1000 different ones and, beyond 20, no more than half of the samples: prices
    in whole numbers are no classes.

    >>> print(dl.data.describe((np.float32([[0, 1], [2, 5], [4, 3]]), np.array([0, 1, 1]))))
    3 samples
    inputs: (2,) float32, 0 to 5, mean 2.5
    targets: one number int64, 0 to 1, mean 0.667
      0       1 ████████████
      1       2 ████████████████████████
    """
    dataset = as_dataset(dataset, "describe: dataset")
    figures: list[_Figures] = []
    for batch in pieces(dataset, "describe"):
        figures = figures or [_Figures() for _ in batch]
        for figure, part in zip(figures, batch, strict=True):
            figure.add(part)
    given = getattr(dataset, "names", None)
    names = given if given is not None and len(given) == len(figures) else _names(len(figures))
    parts = tuple(figure.described(name) for figure, name in zip(figures, names, strict=True))
    groups = getattr(dataset, "groups", None)
    return Description(
        len(dataset),
        parts,
        _class_counts(dataset) if len(figures) > 1 else None,
        None if groups is None else len(np.unique(groups)),
        len(getattr(flatten(dataset)[0], "skipped", ())),
    )


def _names(count: int) -> list[str]:
    if count < 3:
        return ["inputs", "targets"][:count]
    return [*(f"inputs {k}" for k in range(count - 1)), "targets"]


class _Figures:
    """Figures over the values of one part of the samples, a batch at a time."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype = ""
        self.least, self.largest, self.total = math.inf, -math.inf, 0.0
        self.count = self.not_finite = 0

    def add(self, values: np.ndarray) -> None:
        self.shape, self.dtype = values.shape[1:], values.dtype.name
        finite = values[np.isfinite(values)] if values.dtype.kind not in "biu" else values
        self.not_finite += values.size - finite.size
        if finite.size:
            self.least, self.largest = min(self.least, float(finite.min())), max(self.largest, float(finite.max()))
            self.total += float(finite.sum(dtype=np.float64))
            self.count += finite.size

    def described(self, name: str) -> PartDescription:
        if not self.count:
            return PartDescription(name, self.shape, self.dtype, None, None, None, self.not_finite)
        mean = self.total / self.count
        return PartDescription(name, self.shape, self.dtype, self.least, self.largest, mean, self.not_finite)


def _class_counts(dataset: Any) -> dict[str, int] | None:
    names = getattr(dataset, "classes", None)
    labels = targets(dataset, "describe: dataset")
    if labels.ndim != 1 or labels.dtype.kind not in "iub" or not labels.size:
        return None
    values, counts = np.unique(labels, return_counts=True)
    if names is not None:
        found = dict.fromkeys(map(str, names), 0)
        called = [str(names[v]) if 0 <= v < len(names) else f"{v} (no class)" for v in values]
    elif len(values) > min(1000, max(20, len(labels) // 2)):
        return None
    else:
        found, called = {}, [str(v) for v in values]
    for name, count in zip(called, counts, strict=True):
        found[name] = found.get(name, 0) + int(count)
    return found


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1e4 and value != int(value) else f"{value:,.0f}"


def picture_grid(
    dataset: Any, path: str | PathLike[str] | None = None, rows: int = 4, columns: int = 8, seed: int | None = 0
) -> Any:
    """A matplotlib figure of some samples, each under its class; written to ``path`` too if one is given.

    Samples (H, W), (1, H, W) and (3, H, W) are shown as pictures (of other numbers of channels the first one), vectors
    as curves. seed: which samples are shown, at random; None takes the first ones. Raises ImportError where matplotlib
    is missing (``pip install "dlcore[plot]"``), ValueError for an empty data set.
    """
    name = "picture_grid"
    dataset = as_dataset(dataset, f"{name}: dataset")
    rows, columns = integer(rows, f"{name}: rows", 1), integer(columns, f"{name}: columns", 1)
    if not len(dataset):
        raise ValueError(f"{name}: the data set is empty")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_package("matplotlib", name, "plot") from None
    base, of_base = flatten(dataset)
    count = min(rows * columns, len(dataset))
    chosen = np.arange(count)
    if seed is not None:
        chosen = np.asarray(permutation(len(dataset), integer(seed, f"{name}: seed"), 0, "cpu"))[:count]
    index = chosen if of_base is None else of_base[chosen]
    inputs, *rest = (np.asarray(t) for t in gather(base, tensor(index, device="cpu"), "cpu", name))
    rows = -(-count // columns)
    figure = Figure(figsize=(1.1 * min(columns, count), 1.3 * rows), layout="constrained")
    for k, x in enumerate(inputs):
        axes = figure.add_subplot(rows, min(columns, count), k + 1)
        _draw(axes, x, "lower" if isinstance(base, AudioFiles) else "upper")  # low frequencies at the bottom
        axes.set(xticks=[], yticks=[])
        if rest and rest[-1].ndim == 1:
            axes.set_title(_called(rest[-1][k], getattr(dataset, "classes", None)), fontsize=7, pad=2)
    if path is not None:
        write_figure(figure, path)
    return figure


def _draw(axes: Any, x: np.ndarray, origin: str) -> None:
    """One sample: an image, whose first row lies at ``origin``, or a curve."""
    if x.ndim == 3:
        x = x.transpose(1, 2, 0) if x.shape[0] == 3 else x[0]
    if x.ndim == 2 or (x.ndim == 3 and x.shape[2] == 3):
        if x.ndim == 3 and x.dtype.kind == "f":
            x = np.clip(x, 0, 1)
        aspect = "auto" if x.shape[1] > 3 * x.shape[0] else "equal"
        axes.imshow(x, cmap="gray", interpolation="nearest", aspect=aspect, origin=origin)
    else:
        axes.plot(x.reshape(-1), color="#0072b2", linewidth=0.8)


def _called(target: Any, classes: Any) -> str:
    if classes is not None and float(target) == int(target) and 0 <= int(target) < len(classes):
        name = str(classes[int(target)])
        return name if len(name) <= 14 else f"{name[:13]}…"
    return f"{target:.3g}"
