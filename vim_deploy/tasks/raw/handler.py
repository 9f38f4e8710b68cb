"""Named arrays: one run of the network per input file, one file of outputs for each."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from vim_deploy.data.decode import Limits
from vim_deploy.data.loading import Loaded, Loader
from vim_deploy.errors import EngineError, ImageError
from vim_deploy.prediction import Prediction
from vim_deploy.results.columns import Columns
from vim_deploy.results.escape import escape, unescaped_path
from vim_deploy.results.row import Row
from vim_deploy.tasks.base import Network, TaskHandler
from vim_deploy.tasks.image_files import ImageNames, write_file
from vim_deploy.tasks.raw.columns import RawColumns
from vim_deploy.tasks.raw.files import ArraysLoader, ArraySpec, encoded_arrays
from vim_deploy.tasks.raw.options import RawOptions
from vim_deploy.tasks.raw.result import RawFile, RawOutputs


class _ArrayNetwork(Protocol):
    """What the task needs of a network besides what all tasks need."""

    @property
    def inputs(self) -> Sequence[ArraySpec]: ...

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]: ...


class RawHandler(TaskHandler):
    default_batch = 1  # files per run

    def __init__(self, network: Network, options: RawOptions, inputs: Sequence[str]) -> None:
        super().__init__(network)
        self._arrays = cast("_ArrayNetwork", network)
        if options.outputs is None:
            raise EngineError(
                f"{network.path} returns named arrays, which do not fit into rows; give a folder with "
                "--outputs, for one .npz file per input."
            )
        self._folder, self._names = options.outputs, ImageNames(inputs)

    def loader(self, limits: Limits) -> Loader:
        return ArraysLoader(self._arrays.inputs)

    @property
    def columns(self) -> Columns:
        return RawColumns()

    def identity(self) -> dict[str, Any]:
        return {"outputs": escape(os.fspath(self._folder))}

    def files_of(self, path: str) -> tuple[Path, ...]:
        return (self._folder / f"{self._names.name(path)}.npz",)

    def predict(self, loaded: Sequence[Loaded], batch: int) -> Iterator[Prediction]:
        for entry in loaded:
            if entry.arrays is None:
                yield self.failed(entry)
                continue
            try:
                outputs = self._arrays.run(**entry.arrays)
            except EngineError as error:  # sizes that fit each input but not each other, for example
                yield self.failed(entry, str(error))
            except MemoryError:
                yield self.failed(entry, "not enough memory to run the model on these arrays")
            else:
                yield self.prediction(entry, result=RawOutputs(outputs))

    def row(self, prediction: Prediction) -> Row:
        row = super().row(prediction)
        if row.result is None:
            return row
        (file,), arrays = self.files_of(unescaped_path(row.path)), row.result.arrays
        try:
            write_file(file, encoded_arrays(arrays))
        except ImageError as error:
            return row.failed(error)
        name = escape(os.fspath(file.relative_to(self._folder)))
        return dataclasses.replace(
            row, result=RawFile(name, {key: value.shape for key, value in arrays.items()})
        )
