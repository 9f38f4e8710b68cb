"""The page: a template, and the run's data in it as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from vim_deploy.data.decode import Limits
from vim_deploy.errors import OutputError
from vim_deploy.files import atomic_write
from vim_deploy.report.figures import Figures
from vim_deploy.report.thumbnails import thumbnails
from vim_deploy.results import Format, Row, read_rows
from vim_deploy.results.escape import escape, unescaped_path

_PLACE = "__DATA__"


def write_report(
    path: Path,
    results: Path,
    format: Format,
    *,
    task: str,
    top_k: int,
    summary: dict[str, Any],
    lines: Sequence[str],
    limits: Limits,
    workers: int | None = None,
) -> None:
    """Write the page about complete results; `summary` is the run's own, `lines` what the task has to
    say of its results. Raises OutputError."""
    figures = Figures.of(read_rows(results, format, task, top_k))
    shown = [unescaped_path(row.path) if row.status == "ok" else None for row in figures.sample]
    rows = [
        _row(row, thumbnail)
        for row, thumbnail in zip(figures.sample, thumbnails(shown, limits, workers), strict=True)
    ]
    data = {
        "results": escape(os.fspath(results)),
        "summary": summary,
        "lines": list(lines),
        "figures": figures.to_dict(),
        "rows": rows,
    }
    # Nothing in a string may end the script element that holds the data.
    text = json.dumps(data).replace("<", "\\u003c")
    template = resources.files(__package__).joinpath("page.html").read_text("utf-8")
    try:
        with atomic_write(path) as file:
            file.write(template.replace(_PLACE, text, 1).encode())
    except OSError as error:
        raise OutputError(
            f"the report {path} cannot be written: {error.strerror or error}; the results are complete."
        ) from None


def _best(row: Row) -> list[list[Any]]:
    """Classes with probabilities; of objects each class with its best score, of label maps with its share."""
    if row.areas:
        pixels = sum(area.pixels for area in row.areas)
        return [[area.name, area.pixels / pixels] for area in row.areas]
    if not row.objects:
        return [[score.name, score.probability] for score in row.top]
    best: dict[str, float] = {}
    for found in row.objects:
        best.setdefault(found.name, found.score)
    return [[name, score] for name, score in best.items()]


def _row(row: Row, thumbnail: str | None) -> dict[str, Any]:
    return {
        "path": row.path,
        "status": row.status,
        "reason": row.reason,
        "label": row.label,
        "rank": row.rank,
        "size": f"{row.width} x {row.height}" if row.width else "",
        "flags": list(row.flags),
        "top": _best(row)[:5],
        "thumbnail": thumbnail,
    }
