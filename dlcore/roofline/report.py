"""A roofline as files: the picture (PNG and SVG), the page (HTML), the numbers (JSON)."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcore import _json
from dlcore._files import write, write_figure
from dlcore.bench.roofs import Roofs
from dlcore.roofline import picture
from dlcore.roofline.page import describe, page
from dlcore.roofline.points import Point

__all__ = ["Report", "require_plot"]

FORMAT = 1


def require_plot() -> None:
    """ValueError where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("roofline: --out draws a picture and needs matplotlib: pip install 'dlcore[plot]'")


@dataclass
class Report:
    """Points under the roofs of a machine. ``notes``: sentences about this run."""

    title: str
    points: Sequence[Point]
    roofs: Roofs
    machine: Mapping[str, Any]
    notes: Sequence[str] = ()

    def save(self, folder: Path) -> list[Path]:
        """Writes roofline.png, .svg, .html and .json into ``folder``, each whole or not at all; returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        png, drawing, html, numbers = (folder / f"roofline.{ending}" for ending in ("png", "svg", "html", "json"))
        figure = picture.draw(self.points, self.roofs, self.title)
        write_figure(figure, png)
        write_figure(figure, drawing)
        inside = picture.svg(self.points, self.roofs, describe(self.points))
        write(html, page(self.points, self.roofs, self.machine, self.title, self.notes, inside))
        write(numbers, json.dumps(self.to_json(), indent=1) + "\n")
        return [png, drawing, html, numbers]

    def to_json(self) -> dict[str, Any]:
        """As plain dicts, lists, strings and numbers."""
        points = [p.to_json() for p in self.points]
        head = {"format": FORMAT, "title": self.title, "machine": dict(self.machine), "notes": list(self.notes)}
        return head | {"roofs": self.roofs.to_json(), "points": points}

    @classmethod
    def load(cls, path: Path) -> Report:
        """The report whose roofline.json ``path`` is; ValueError where it is none."""
        try:
            data = _json.read(path, FORMAT)
            points = [Point.from_json(p) for p in _json.typed(list[Any], data.get("points"), "points")]
            notes = _json.typed(list[str], data.get("notes"), "notes")
            machine = _json.typed(dict[str, Any], data.get("machine"), "machine")
            title = _json.typed(str, data.get("title"), "title")
            return cls(title, points, Roofs.from_json(data.get("roofs")), machine, notes)
        except ValueError as error:
            raise ValueError(f"{path} is no roofline.json ({error})") from None
