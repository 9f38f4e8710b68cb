"""Feature extraction: the network's output, in the rows or in one file per image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vim_deploy.errors import EngineError
from vim_deploy.prediction import Prediction
from vim_deploy.results.columns import Columns
from vim_deploy.results.row import Row
from vim_deploy.tasks.array_output import ArrayOutputHandler
from vim_deploy.tasks.base import Network
from vim_deploy.tasks.features.columns import FeatureColumns, FeatureFileColumns
from vim_deploy.tasks.features.files import FeatureFiles
from vim_deploy.tasks.features.options import FeatureOptions
from vim_deploy.tasks.features.result import Features


class FeatureHandler(ArrayOutputHandler):
    def __init__(self, network: Network, options: FeatureOptions, inputs: Sequence[str]) -> None:
        super().__init__(network)
        self._files = None
        if options.arrays is not None:
            self._files = FeatureFiles(options.arrays, options.arrays_format, inputs)
        elif options != FeatureOptions():
            raise EngineError("--arrays-format is only valid with --arrays; give the folder for the files.")

    @property
    def columns(self) -> Columns:
        return FeatureColumns() if self._files is None else FeatureFileColumns()

    def identity(self) -> dict[str, Any]:
        return {} if self._files is None else self._files.identity()

    def files_of(self, path: str) -> tuple[Path, ...]:
        return () if self._files is None else (self._files.file_of(path),)

    def row(self, prediction: Prediction) -> Row:
        row = super().row(prediction)
        return row if self._files is None else self._files.row(row)

    def _fields(self, output: np.ndarray, label: int | None) -> dict[str, Any]:
        return {"result": Features(output.copy())}
