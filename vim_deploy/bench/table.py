"""Tables that are readable in a terminal and valid Markdown."""

from __future__ import annotations

from collections.abc import Sequence

MEGABYTE = 1e6


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column is left-aligned, the others right-aligned."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        first, *others = (cell.ljust(width) if index == 0 else cell.rjust(width)
                          for index, (cell, width) in enumerate(zip(row, widths, strict=True)))  # fmt: skip
        return "| " + " | ".join([first, *others]) + " |"

    separator = "|" + "|".join(
        "-" * (width + 1) + ("-" if index == 0 else ":") for index, width in enumerate(widths)
    )
    return "\n".join([line(cells[0]), separator + "|", *map(line, cells[1:])])


def milliseconds(value: float) -> str:
    """With three significant digits; no decimals from 100 on."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def megabytes(value: int) -> str:
    return f"{value / MEGABYTE:.0f}"
