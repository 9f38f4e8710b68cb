"""Feature extraction: the output as it is, in the rows or in one file per image."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from vim_deploy.errors import EngineError
from vim_deploy.prediction import Prediction
from vim_deploy.results import Row
from vim_deploy.tasks.features.files import FeatureFiles
from vim_deploy.tasks.options import TaskOptions
from vim_deploy.tasks.vectors import VectorTask

if TYPE_CHECKING:
    from vim_deploy.engines.open import OpenEngine


class Features(VectorTask):
    """What the network gives, as it is: in the rows, or in a file for each image."""

    def __init__(self, engine: OpenEngine, options: TaskOptions) -> None:
        super().__init__(engine, options)
        given = options.features
        self._files = None
        if given.folder is not None:
            self._files = FeatureFiles(given.folder, given.format, options.inputs)
        elif names := given.given():
            raise EngineError(f"{names[0]} is the format of files; give their folder with --arrays.")

    @property
    def columns(self) -> str:
        return "features" if self._files is None else "feature_files"

    def identity(self) -> dict[str, Any]:
        return {} if self._files is None else self._files.identity()

    def begin(self, batch: int, workers: int, report: Callable[[str], None]) -> None:
        if self._files is not None:
            self._files.begin()

    def row(self, prediction: Prediction) -> Row:
        row = super().row(prediction)
        return row if self._files is None else self._files.row(row)

    def count(self, row: Row) -> None:
        if self._files is not None:
            self._files.count(row)

    def _parts(self, output: np.ndarray, label: int | None) -> dict[str, Any]:
        return {"features": output.copy()}
