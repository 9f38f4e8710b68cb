"""Everything that a run writes for one image: its row, the files of the task, and the overlay."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vim_deploy.errors import ImageError
from vim_deploy.pipeline.image_files import ImageFiles
from vim_deploy.pipeline.overlays import Overlays
from vim_deploy.prediction import Prediction
from vim_deploy.results import Row
from vim_deploy.results.escape import escape, unescaped_path
from vim_deploy.tasks.base import TaskHandler


class ImageOutputs:
    """`files` knows which files belong to this run."""

    def __init__(self, task: TaskHandler, overlays: Overlays | None, files: ImageFiles) -> None:
        self._task, self._overlays, self._files = task, overlays, files

    def files_of(self, path: str) -> tuple[Path, ...]:
        overlays = () if self._overlays is None else self._overlays.files_of(path)
        return (*self._task.files_of(path), *overlays)

    def check(self, paths: Iterable[str]) -> None:
        """Raises OutputError if a file of one of these images exists and this run did not write it."""
        for path in paths:
            self._files.check(self.files_of(path))

    def write(self, prediction: Prediction) -> Row:
        """The row, after the image's files; an error row if they would replace others."""
        if prediction.status != "ok" or prediction.path is None:
            return self._task.row(prediction)
        try:
            self._files.claim(self.files_of(prediction.path), escape(prediction.path))
            if self._overlays is not None:
                self._overlays.write(prediction)
        except ImageError as error:
            return Row.of(prediction, self._task.network.class_names).failed(error)
        return self._task.row(prediction)

    def reserve(self, path: str) -> None:
        """For an image whose files another process writes. Raises ImageError for files of another image."""
        self._files.reserve(self.files_of(path), escape(path))

    def remember(self, row: Row) -> None:
        """For a row of an earlier run: its files belong to this run."""
        if row.status == "ok":
            self._files.remember(self.files_of(unescaped_path(row.path)), row.path)

    def close(self) -> None:
        if self._overlays is not None:
            self._overlays.close()
