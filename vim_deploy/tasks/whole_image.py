"""Shared by tasks that process whole images of any size, and write files for each."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from vim_deploy.errors import OutputError
from vim_deploy.prediction import Prediction
from vim_deploy.results.row import Row
from vim_deploy.tasks.base import TaskHandler
from vim_deploy.text import plural

PREFETCHED = 2  # decoded images in addition to those that workers are decoding


class Files(Protocol):
    """The files of a run. The methods are those of TaskHandler."""

    def files_of(self, path: str) -> tuple[Path, ...]: ...

    def row(self, prediction: Prediction) -> Row: ...

    def count(self, row: Row) -> None: ...

    def finish(self) -> None: ...


def edited_row(row: Row, what: str, classes: int) -> OutputError:
    """The error for a row of an earlier run with `what`, which this model cannot have written."""
    return OutputError(
        f"the row of {row.path} has {what}, but the model has {plural(classes, 'class', 'classes')}: the "
        "rows were edited. Start over with --restart."
    )


class WholeImageHandler(TaskHandler):
    """Images can be large, so few are decoded in advance."""

    draws_in_report = True
    _files: Files

    def chunk(self, batch: int) -> int:
        return 1

    def prefetch(self, batch: int) -> int:
        return PREFETCHED

    def files_of(self, path: str) -> tuple[Path, ...]:
        return self._files.files_of(path)

    def row(self, prediction: Prediction) -> Row:
        return self._files.row(prediction)

    def count(self, row: Row) -> None:
        self._files.count(row)

    def finish(self) -> None:
        self._files.finish()
