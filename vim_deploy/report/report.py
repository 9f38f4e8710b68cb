"""Collects the report of a run while its rows are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vim_deploy.data.decode import Limits
from vim_deploy.report.page import write_page
from vim_deploy.report.pictures import Pictures, read_pictures
from vim_deploy.report.sample import WITH_DRAWINGS, WITHOUT_DRAWINGS, Sample, Shown
from vim_deploy.report.statistics import ReportStatistics
from vim_deploy.results import Row
from vim_deploy.results.columns import Columns
from vim_deploy.results.escape import unescaped_path
from vim_deploy.results.tables import TaskReport

_MAX_SCORES = 5  # shown for each image


@dataclass(frozen=True)
class About:
    """A run. `summary`: plain JSON, see `Summary.to_dict` in pipeline/summary.py. `lines`: the summary of the
    task in words. `facts` about the run and the engine, and all `options`, by name.
    """

    summary: dict[str, Any]
    lines: Sequence[str]
    facts: dict[str, str]
    options: dict[str, str]


class RunReport:
    """`drawn`: whether rows come with pictures of their predictions, see drawings.py."""

    def __init__(self, columns: Columns, limits: Limits, drawn: bool) -> None:
        self._columns, self._limits, self._drawn = columns, limits, drawn
        self._sample = Sample(WITH_DRAWINGS if drawn else WITHOUT_DRAWINGS)
        self._statistics = ReportStatistics()

    def add(self, row: Row, pictures: Pictures | None = None) -> None:
        """Rows of an interrupted run have no pictures; their images are read when the page is written."""
        entry = Shown(self._statistics.rows, row, self._columns.mistake(row))
        self._statistics.count(row, self._columns)
        if self._sample.add(entry):
            entry.pictures = pictures

    def write(self, path: Path, about: About, task: TaskReport, workers: int) -> None:
        """Write the page. Raises OutputError."""
        entries = self._sample.entries()
        missing = [
            unescaped_path(entry.row.path) if entry.row.status == "ok" and entry.pictures is None else None
            for entry in entries
        ]
        found = read_pictures(missing, self._limits, workers)
        shown = [
            self._card(entry, entry.pictures or picture)
            for entry, picture in zip(entries, found, strict=True)
        ]
        write_page(
            path,
            {
                "summary": about.summary,
                "lines": list(about.lines),
                "facts": about.facts,
                "options": about.options,
                "figures": dict(task.figures),
                "tables": [table.to_dict() for table in task.tables],
                "colors": dict(task.colors),
                "drawn": self._drawn,
                "statistics": self._statistics.to_dict(),
                "rows": shown,
            },
        )

    def _card(self, entry: Shown, pictures: Pictures | None) -> dict[str, Any]:
        row, details = entry.row, self._columns.details(entry.row)
        return {
            "number": entry.number,
            "path": row.path,
            "status": row.status,
            "reason": row.reason,
            "label": row.label,
            "rank": row.rank,
            "mistake": entry.mistake,
            "remark": self._columns.remark(row),
            "size": f"{row.width} x {row.height}" if row.width else "",
            "flags": list(row.flags),
            "top": list(self._columns.scores(row))[:_MAX_SCORES],
            "details": None if details is None else details.to_dict(),
            "image": None if pictures is None else pictures.image,
            "drawing": None if pictures is None else pictures.drawing,
        }
