"""``dlcore data show CONFIG.toml``: what a data set holds, and how it is divided."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from dlcore.cli import ArgumentError
from dlcore.cli.options import changed
from dlcore.data import describe, picture_grid
from dlcore.runs import Config, read_config
from dlcore.runs.parts import load

__all__ = ["main"]


@dataclass(frozen=True)
class Options(Config):
    """Show what the data of CONFIG.toml holds, and how it is divided."""

    out: Path | None = None
    """A picture of some samples, each under its class."""


def main(arguments: list[str]) -> int:
    """Show what a data set holds, and how it is divided."""
    if arguments[:1] != ["show"] or len(arguments) < 2 or arguments[1].startswith("-"):
        raise ArgumentError("data: dlcore data show CONFIG.toml [--out GRID.png]")
    _, path, *rest = arguments
    base = read_config(Path(path))
    known = {f.name: getattr(base, f.name) for f in fields(Config)}
    options = changed(Options(**known), rest, f"dlcore data show {path}")
    parts = load(options)
    for name in ("train", "validation", "test"):
        print(f"{name}:")
        print("\n".join(f"  {line}" for line in str(describe(getattr(parts, name))).splitlines()))
    if options.out is not None:
        picture_grid(parts.train, options.out)
        print(f"some samples for training: {options.out}")
    return 0
