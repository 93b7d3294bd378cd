"""Tables of text, plain and for rich."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["plain_table", "rich_table"]


def plain_table(
    head: list[str], body: list[list[str]], right: Sequence[int], flexible: int, width: int = 120
) -> str:
    """A table as text; the flexible column is cut so that lines fit into ``width``."""
    rows = [head, *body]
    widths = [max(len(r[k]) for r in rows) for k in range(len(head))]
    spare = width - (sum(widths) - widths[flexible]) - 2 * (len(widths) - 1)
    widths[flexible] = min(widths[flexible], max(spare, 20))

    def line(cells: list[str]) -> Iterator[str]:
        for k, (cell, wide) in enumerate(zip(cells, widths, strict=True)):
            cut = cell if len(cell) <= wide else cell[: wide - 3] + "..."
            yield cut.rjust(wide) if k in right else cut.ljust(wide)

    return "\n".join("  ".join(line(r)).rstrip() for r in rows)


def rich_table(head: list[str], body: list[list[str]], right: Sequence[int], caption: str) -> Any:
    """The table as rich shows it; ``right``: the columns that stand to the right."""
    from rich.table import Table
    from rich.text import Text

    table = Table(caption=caption, caption_justify="left")
    for k, title in enumerate(head):
        table.add_column(title, justify="right" if k in right else "left")
    for cells in body:
        table.add_row(*map(Text, cells))
    return table
