"""``dlcore runs``: all runs, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

from dlcore.runs import RunFolder, runs_in
from dlcore.train.history import is_number

__all__ = ["run"]


def run(folder: Annotated[Path, tyro.conf.Positional] = Path("runs"), out: Path | None = None) -> int:
    """Show all trainings side by side.

    Args:
        folder: Where the folders of the runs are.
        out: A picture of the curves of all runs.
    """
    found = list(runs_in(folder))
    if not found:
        print(f"there are no runs in {folder}")
        return 0
    epochs = {one.path.name: one.epochs for one in found}
    names = list(dict.fromkeys(
        k for rows in epochs.values() for k, v in (rows[-1] if rows else {}).items()
        if is_number(v) and k not in ("epoch", "seconds", "lr")
    ))  # fmt: skip
    table = [["run", "epochs", "state", *names, "seconds"]]
    for one in found:
        rows = epochs[one.path.name]
        last: dict[str, Any] = rows[-1] if rows else {}
        cells = [f"{last[k]:.4f}" if is_number(last.get(k)) else "" for k in names]
        total = sum(row.get("seconds", 0.0) for row in rows)
        table.append([one.path.name, f"{len(rows)}/{one.config.train.epochs}", _state(one), *cells, f"{total:.1f}"])
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    for row in table:
        cells = [c.ljust(w) if k in (0, 2) else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True))]
        print("  ".join(cells).rstrip())
    if out is not None:
        draw({name: rows for name, rows in epochs.items() if rows}, out)
        print(f"the curves of all runs: {out}")
    return 0


def _state(one: RunFolder) -> str:
    done = "done" if one.model_path.exists() else "unfinished"
    return done if not one.tests else f"{done}, tested {one.tests} times" if one.tests > 1 else f"{done}, tested"


def draw(curves: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Write a picture: for each figure the curves of all runs, those of the validation where there are some."""
    from matplotlib.figure import Figure

    from dlcore._files import write_figure

    first = list(dict.fromkeys(k for rows in curves.values() for k, v in rows[0].items() if is_number(v)))
    names = [k for k in first if k not in ("epoch", "seconds", "lr") and f"val_{k}" not in first]
    figure = Figure(figsize=(5 * max(len(names), 1), 3.6), layout="constrained")
    for i, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), i + 1)
        for run_name, rows in curves.items():
            values = [row.get(name, float("nan")) for row in rows]
            axes.plot([row["epoch"] for row in rows], values, label=run_name, linewidth=1.2)
        axes.set(xlabel="epoch", ylabel=name.replace("val_", "validation "))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=7)
    write_figure(figure, path)

