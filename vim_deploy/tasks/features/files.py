"""One file of features per image."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vim_deploy.errors import ImageError, MissingDependencyError
from vim_deploy.results.escape import escape, unescaped_path
from vim_deploy.results.row import Row
from vim_deploy.tasks.features.result import FeatureFile
from vim_deploy.tasks.image_files import ImageNames, write_file

TENSOR = "features"  # its name in a safetensors file


class FeatureFiles:
    """Each image's file is complete before its row is written; the row has its name and shape."""

    def __init__(self, folder: Path, format: str, inputs: Sequence[str]) -> None:
        self.folder, self._format = folder, format
        self._names = ImageNames(inputs)
        self._encode = _encoder(format)

    def identity(self) -> dict[str, str]:
        return {"arrays": escape(os.fspath(self.folder)), "arrays_format": self._format}

    def file_of(self, path: str) -> Path:
        return self.folder / f"{self._names.name(path)}.{self._format}"

    def row(self, row: Row) -> Row:
        """Writes the file and puts its name into the row; an error row if its name cannot be used."""
        if row.result is None:
            return row
        file, values = self.file_of(unescaped_path(row.path)), row.result.values
        try:
            write_file(file, self._encode(values))
        except ImageError as error:
            return row.failed(error)
        name = escape(os.fspath(file.relative_to(self.folder)))
        return dataclasses.replace(row, result=FeatureFile(name, values.shape))


def _npy(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    return content.getvalue()


def _encoder(format: str) -> Callable[[np.ndarray], bytes]:
    if format == "npy":
        return _npy
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise MissingDependencyError(
            f"safetensors cannot be imported ({error}); install it with `pip install safetensors`, or use "
            "--arrays-format npy."
        ) from None
    return lambda values: save({TENSOR: np.ascontiguousarray(values)})
