"""The roofline as a picture: kernels under the roofs, numbered, and the share of the roof that each reaches.

Families differ by the shape and the colour of their marks (Okabe & Ito 2008), roofs by the style of their lines, so
that the picture can be read in black and white. Needs matplotlib: ``pip install 'dlcore[plot]'``.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlcore.bench.roofs import Roofs
from dlcore.roofline.points import STEP, Point
from dlcore.roofline.roofs import Line, lines

__all__ = ["draw", "labels", "marks", "svg"]

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
_MARKS = "os^DvPXphd<>"
_KNOWN = ("activation", "elementwise", "matmul", "loss", "movement", "optim", "random", "reduce", "softmax")  # append
_STYLES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))
WIDTH, LEFT, ROOM, HIGH = 12.0, 0.75, 2.75, 6.6  # inches: the whole, margins left and right of the axes, their height
ROW = 0.165  # inches of a line of the second panel
SMALL = 7.0  # points
NAMES, BARS = 0.53, 0.31  # parts of a column of the second panel
CROWD = 120  # points: of more, numbers stand where they have room at their mark, and the second panel has them all
FARTHEST = 1.25  # share at which its axis ends; what is beyond has its mark there, and its figure


class Ink(NamedTuple):
    """Colours of what is no mark."""

    text: str
    faint: str
    paper: str


_ON_PAPER = Ink("#1a1a1a", "#c8c8c8", "#ffffff")
_IN_PAGE = Ink("#010203", "#040506", "#070809")  # found again in the SVG, and put under the page's control
_VARIABLES = {"#010203": "var(--ink)", "#040506": "var(--faint)", "#070809": "var(--paper)"}


def marks(families: Sequence[str]) -> dict[str, tuple[str, str]]:
    """family -> (matplotlib's marker, colour): the same in every picture for families that dlcore has."""
    others = sorted(set(families) - {*_KNOWN, STEP})
    order = (*_KNOWN, *others)
    found = {f: (_MARKS[k % len(_MARKS)], _COLOURS[k % len(_COLOURS)]) for k, f in enumerate(order)}
    return {f: ("*", "#000000") if f == STEP else found[f] for f in dict.fromkeys(families)}


# ---- the figure ---------------------------------------------------------------------------------------------------


def draw(points: Sequence[Point], roofs: Roofs, title: str, ink: Ink = _ON_PAPER) -> Any:
    """The picture, as a matplotlib Figure."""
    from matplotlib.figure import Figure

    listed = [p for p in points if p.share is not None]
    shown = [p for p in listed if p.drawn]
    columns = 1 if len(listed) <= 12 else 2 if len(listed) <= 36 else 3
    rows = -(-len(listed) // columns)
    low = ROW * rows + 0.75
    height = HIGH + (1.1 if title else 0.75) + low
    figure = Figure(figsize=(WIDTH, height), facecolor="none" if ink is _IN_PAGE else ink.paper)
    figure.text(LEFT / WIDTH, 1 - 0.28 / height, title, fontsize=12, color=ink.text, va="center", weight="bold")
    style = marks([p.family for p in listed])
    box = (LEFT / WIDTH, (low + 0.6) / height, (WIDTH - LEFT - ROOM) / WIDTH, HIGH / height)
    roofline = figure.add_axes(box, facecolor="none")
    found = lines(roofs, {p.dtype for p in shown})
    _roofline(roofline, shown, found, style, ink)
    _keys(figure, box, found, style, ink)
    _shares(figure, listed, style, ink, columns, rows, low / height)
    _number(roofline, shown, ink)
    return figure


def _plain(axes: Any, ink: Ink) -> None:
    for spine in axes.spines.values():
        spine.set_color(ink.text)
        spine.set_linewidth(0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", colors=ink.text, labelsize=8)


def _roofline(axes: Any, points: Sequence[Point], roofs: Sequence[Line], style: dict[str, Any], ink: Ink) -> None:
    top = max(line.rate for line in roofs if line.flat) / 1e9
    steep = max(line.rate for line in roofs if not line.flat) / 1e9
    xs, ys = [p.intensity for p in points] or [1.0], [p.rate / 1e9 for p in points] or [top]
    left, right = min(*xs, top / steep) / 1.8, max(*xs, 4 * top / steep) * 1.8
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(min(*ys, left * steep) / 2, top * 1.6))
    for line in roofs:
        rate = line.rate / 1e9
        ends = (top / steep if line.kind == "FMA" else rate / steep, right) if line.flat else (left, top / rate)
        heights = [rate, rate] if line.flat else [rate * x for x in ends]
        axes.plot(ends, heights, color=ink.text, linestyle=_STYLES[line.style], linewidth=line.width, zorder=2)
    for p in points:
        mark, colour = style[p.family]
        axes.plot(
            p.intensity, p.rate / 1e9, mark, color=ink.text if p.family == STEP else colour,
            markersize=13 if p.family == STEP else 6, markeredgecolor=ink.text, markeredgewidth=0.6, zorder=4,
        )  # fmt: skip
    axes.grid(which="major", color=ink.faint, linewidth=0.5, zorder=0)
    axes.set_xlabel("FLOPs for each byte that must move", fontsize=9, color=ink.text)
    axes.set_ylabel("GFLOP/s", fontsize=9, color=ink.text)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_decimal)
        axis.set_minor_formatter("")
    _plain(axes, ink)


def _decimal(value: float, _: Any = None) -> str:
    return f"{value:,.10f}".rstrip("0").rstrip(".") if value < 1 else f"{value:,.0f}"


def _keys(figure: Any, box: Sequence[float], roofs: Sequence[Line], style: dict[str, Any], ink: Ink) -> None:
    """What lines and marks mean, right of the axes."""
    from matplotlib.lines import Line2D

    left, top = box[0] + box[2] + 0.01, box[1] + box[3]
    drawn = [
        Line2D([], [], color=ink.text, linestyle=_STYLES[line.style], linewidth=line.width, label=line.label)
        for line in roofs
    ]
    families = [
        Line2D(
            [], [], linestyle="", marker=mark, color=ink.text if family == STEP else colour, markeredgecolor=ink.text,
            markeredgewidth=0.6, markersize=11 if family == STEP else 6,
            label="the whole step" if family == STEP else family,
        )
        for family, (mark, colour) in style.items()
    ]  # fmt: skip
    for title, handles, anchor in (("Roofs", drawn, (left, top)), ("Kernels", families, (left, box[1]))):
        key = figure.legend(
            handles=handles, title=title, loc="upper left" if title == "Roofs" else "lower left", fontsize=8,
            bbox_to_anchor=anchor, frameon=False, labelcolor=ink.text, handlelength=2.6 if title == "Roofs" else 1.3,
            borderaxespad=0, alignment="left", labelspacing=0.7, ncols=1 + (len(handles) > 14), columnspacing=1.2,
        )  # fmt: skip
        key.get_title().set(fontsize=9, color=ink.text, weight="bold")


def _shares(
    figure: Any, points: Sequence[Point], style: dict[str, Any], ink: Ink, columns: int, rows: int, high: float
) -> None:
    """The second panel: what part of its roof each kernel reaches; the numbers are those above."""
    limit = min(FARTHEST, max(1.0, max((p.share or 0.0 for p in points), default=1.0)))
    wide = (WIDTH - 0.6) / columns
    inches = figure.get_size_inches()[1]
    several = len({p.dtype for p in points if p.family != STEP}) > 1
    figure.text(
        0.3 / WIDTH, high - 0.08 / inches, "Share of the roof: the least time at the roofs over the time taken",
        fontsize=9, color=ink.text, weight="bold", va="top",
    )  # fmt: skip
    for column in range(columns if points else 0):
        part = points[column * rows : (column + 1) * rows]
        left = 0.3 + column * wide
        box = ((left + NAMES * wide) / WIDTH, 0.2 / inches, BARS * wide / WIDTH, ROW * rows / inches)
        axes = figure.add_axes(box, facecolor="none", xlim=(0, limit), ylim=(rows - 0.5, -0.5))
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "50", "", "100 %"], fontsize=SMALL, color=ink.text)
        axes.set_yticks([])
        axes.xaxis.tick_top()
        axes.tick_params(length=0, pad=1)
        axes.grid(axis="x", color=ink.faint, linewidth=0.5)
        axes.spines[:].set_visible(False)
        for row, p in enumerate(part):
            mark, colour = style[p.family]
            colour = ink.text if p.family == STEP else colour
            at = min(p.share or 0.0, limit)
            axes.plot([0, at], [row, row], color=ink.text, linewidth=0.7, zorder=2)
            axes.plot(at, row, mark, color=colour, markersize=5, markeredgecolor=ink.text, markeredgewidth=0.5,
                      zorder=3, clip_on=False)  # fmt: skip
            text = f"{p.number}  {p.name}  {p.shape}{f'  {p.dtype}' if several else ''}"
            _name(axes, text, row, (NAMES - 0.03) * wide, ink)
            axes.text(1.05, row, f"{p.share:.0%}", fontsize=SMALL, color=ink.text, va="center",
                      transform=axes.get_yaxis_transform(), gid="share")  # fmt: skip


def _name(axes: Any, text: str, row: int, room: float, ink: Ink) -> None:
    """A name that ends at the axes, shortened to ``room`` inches."""
    made = axes.text(-0.03, row, text, fontsize=SMALL, color=ink.text, va="center", ha="right", gid="name",
                     transform=axes.get_yaxis_transform())  # fmt: skip
    measure = _measure(axes.figure)
    while (width := measure(made).width / axes.figure.dpi) > room:
        text = text[: min(len(text) - 1, int(len(text) * room / width))]
        made.set_text(text + "…")


def _measure(figure: Any) -> Callable[[Any], Any]:
    """Where a text lies, in dots."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if not isinstance(figure.canvas, FigureCanvasAgg):
        FigureCanvasAgg(figure)
    renderer = figure.canvas.get_renderer()
    return lambda text: text.get_window_extent(renderer)


# ---- numbers at the points ----------------------------------------------------------------------------------------

_DISTANCES = (8, 11, 15, 20, 26, 33, 41, 50, 60, 72, 86, 102, 120, 140, 165, 195, 230)  # points
_ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False) + np.pi / 6
_GAP = 1.0


def _number(axes: Any, points: Sequence[Point], ink: Ink) -> None:
    """Each point's number beside it, where it covers no other number and no mark; a line leads to it from afar.

    Of a crowd, those that find room at their mark: lines through all the others would say nothing.
    """
    from matplotlib.patheffects import withStroke

    measure, scale = _measure(axes.figure), axes.figure.dpi / 72
    at = np.array([axes.transData.transform((p.intensity, p.rate / 1e9)) for p in points]).reshape(-1, 2)
    sizes = []
    for p in points:
        probe = axes.text(0.5, 0.5, str(p.number), fontsize=SMALL, transform=axes.transAxes)
        box = measure(probe)
        sizes.append((box.width / 2, box.height / 2))
        probe.remove()
    marks = np.array([7.5 if p.family == STEP else 4.5 for p in points])
    places = _places(at / scale, marks, np.array(sizes).reshape(-1, 2) / scale, np.array(axes.bbox.extents) / scale)
    for p, start, place in zip(points, at / scale, places, strict=True):
        if np.isnan(place).any():
            continue
        offset = place - start
        arrow = {"arrowstyle": "-", "color": ink.text, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0}
        axes.annotate(
            str(p.number), (p.intensity, p.rate / 1e9), offset, textcoords="offset points", ha="center", va="center",
            fontsize=SMALL, color=ink.text, zorder=3, gid="number",
            arrowprops=arrow if np.hypot(*offset) > _DISTANCES[0] + 0.1 else None,
            path_effects=[withStroke(linewidth=1.5, foreground=ink.paper)],
        )  # fmt: skip


def _places(at: Any, marks: Any, half: Any, bounds: Any) -> Any:
    """Centres for labels of half sizes ``half`` beside marks of half sizes ``marks``, NaN where there is no room.

    Of some orders the one that leaves the fewest without, and of these the nearest.
    """
    if not len(at):
        return at
    distances = _DISTANCES if len(at) <= CROWD else _DISTANCES[:2]
    apart = np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1))
    crowd = (apart < 40).sum(1)
    orders = [np.argsort(crowd), np.argsort(-crowd), np.argsort(at[:, 1]), np.argsort(-at[:, 1]), np.argsort(at[:, 0])]
    found = [_placed(order, at, marks, half, bounds, distances) for order in orders]
    return min(found, key=lambda places: (np.isnan(places).sum(), float(np.nansum(np.hypot(*(places - at).T)))))


def _placed(order: Any, at: Any, marks: Any, half: Any, bounds: Any, distances: Sequence[float]) -> Any:
    """One after the other in ``order``, each at the nearest place that is free."""
    taken = np.column_stack([at, marks, marks])  # centres and half sizes: of marks, then of labels too
    places = np.full_like(at, np.nan)
    for k in order:
        for distance, angle in itertools.product(distances, _ANGLES):
            place = at[k] + distance * np.array([np.cos(angle), np.sin(angle)])
            inside = (place - half[k] >= bounds[:2]).all() and (place + half[k] <= bounds[2:]).all()
            near = np.abs(taken[:, :2] - place) < taken[:, 2:] + half[k] + _GAP
            if inside and not near.all(1).any():
                places[k] = place
                taken = np.vstack([taken, [(*place, *half[k])]])
                break
    return places


def labels(figure: Any) -> list[Any]:
    """Where the numbers, names and shares of a drawn picture lie, in dots: what must not overlap."""
    import matplotlib.text

    measure = _measure(figure)
    texts = figure.findobj(lambda t: isinstance(t, matplotlib.text.Text) and t.get_gid() and t.get_text())
    return [matplotlib.text.Text.get_window_extent(t, figure.canvas.get_renderer()) for t in texts if measure(t)]


# ---- files --------------------------------------------------------------------------------------------------------


def svg(points: Sequence[Point], roofs: Roofs, description: str) -> str:
    """The picture as an <svg> for a page, in the page's colours: --ink, --faint, --paper; the title is the page's."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "dlcore"}):
        draw(points, roofs, "", _IN_PAGE).savefig(text, format="svg", metadata={"Date": None})
    found = text.getvalue()
    found = found[found.index("<svg") :]  # neither XML's head nor the document type, which names another site
    found = re.sub(r"<metadata>.*?</metadata>", "", found, flags=re.DOTALL)
    found = re.sub(r' xmlns(:\w+)?="[^"]*"', "", found)
    for colour, variable in _VARIABLES.items():
        found = found.replace(colour, variable)
    return re.sub("<svg", f'<svg role="img" aria-label="{description}"', found, count=1)
