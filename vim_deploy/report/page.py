"""Writes the page: a template with the run's data as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from vim_deploy.data.decode import Limits
from vim_deploy.errors import OutputError, os_errors
from vim_deploy.files import atomic_write
from vim_deploy.report.statistics import ReportStatistics
from vim_deploy.report.thumbnails import thumbnails
from vim_deploy.results import Row
from vim_deploy.results.columns import Columns
from vim_deploy.results.escape import escape, unescaped_path

_PLACEHOLDER = "__DATA__"
_MAX_SCORES = 5  # shown for each image


def write_report(
    path: Path,
    results: Path,
    rows: Iterable[Row],
    columns: Columns,
    *,
    summary: dict[str, Any],
    lines: Sequence[str],
    limits: Limits,
    workers: int,
) -> None:
    """Write the report of a run whose `rows` are, or will be, in the file `results`.

    `summary`: of the run. `lines`: the task's summary in words. Raises OutputError.
    """
    statistics = ReportStatistics.of(rows, columns)
    paths = [unescaped_path(row.path) if row.status == "ok" else None for row in statistics.sample]
    shown = [
        _row(row, columns, thumbnail)
        for row, thumbnail in zip(statistics.sample, thumbnails(paths, limits, workers), strict=True)
    ]
    data = {
        "results": escape(os.fspath(results)),
        "summary": summary,
        "lines": list(lines),
        "statistics": statistics.to_dict(),
        "rows": shown,
    }
    # No string may end the script element that contains the data.
    text = json.dumps(data).replace("<", "\\u003c")
    template = resources.files(__package__).joinpath("page.html").read_text("utf-8")
    with os_errors(OutputError, f"the report {path} cannot be written"), atomic_write(path) as file:
        file.write(template.replace(_PLACEHOLDER, text, 1).encode())


def _row(row: Row, columns: Columns, thumbnail: str | None) -> dict[str, Any]:
    return {
        "path": row.path,
        "status": row.status,
        "reason": row.reason,
        "label": row.label,
        "rank": row.rank,
        "size": f"{row.width} x {row.height}" if row.width else "",
        "flags": list(row.flags),
        "top": list(columns.scores(row))[:_MAX_SCORES],
        "thumbnail": thumbnail,
    }
