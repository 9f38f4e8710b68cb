"""Tables about the rows of a run, for its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Cell: TypeAlias = "str | int | float | None"


@dataclass(frozen=True)
class Table:
    """`rows` have a cell for each of `head`. Numbers of the columns `shares` are from 0 to 1; they are shown
    as bars with the percentage. `classes`: the first column has names of classes, shown with their colors.
    """

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    shares: tuple[int, ...] = ()
    classes: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "title": self.title,
            "head": list(self.head),
            "rows": [list(row) for row in self.rows],
            "shares": list(self.shares),
            "classes": self.classes,
        }


@dataclass(frozen=True)
class TaskReport:
    """What a task adds to the report of a run.

    `figures`: the most important results by name. `colors`: of classes in pictures, "#rrggbb" by name.
    """

    figures: Mapping[str, str] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    colors: Mapping[str, str] = field(default_factory=dict)
