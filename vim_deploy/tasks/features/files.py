"""Features as files of their own, one for each image."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vim_deploy.errors import ImageError, MissingDependencyError
from vim_deploy.results import Row
from vim_deploy.results.escape import escape
from vim_deploy.tasks.image_files import ImageFiles, write_whole

TENSOR = "features"  # its name in a safetensors file


@dataclass(frozen=True)
class FeatureOptions:
    """See the help of vim-infer. `folder` None: features stay in the rows."""

    folder: Path | None = None
    format: str = "npy"

    def given(self) -> list[str]:
        """The command line's names of the options that differ from their defaults."""
        values = {"--arrays": self.folder is not None, "--arrays-format": self.format != "npy"}
        return [name for name, is_given in values.items() if is_given]


class FeatureFiles:
    """Each image's file is written, whole, before its row is; the row has its name and shape."""

    def __init__(self, folder: Path, format: str, inputs: Sequence[str]) -> None:
        self.folder, self._format = folder, format
        self._files = ImageFiles(inputs)
        self._encode = _ENCODERS[format]()

    def identity(self) -> dict[str, str]:
        return {"arrays": escape(os.fspath(self.folder)), "arrays_format": self._format}

    def begin(self) -> None:
        """Raises OutputError for a folder that cannot be used."""
        self._files.make_folder("--arrays", self.folder)

    def row(self, row: Row) -> Row:
        """The row with the file in place of the numbers; an error row where files would collide."""
        if row.features is None:
            return row
        name = self._files.name(row.path)
        try:
            self._files.claim(name, row.path)
        except ImageError as error:
            return dataclasses.replace(row, status="error", reason=str(error), features=None)
        path = Path(f"{name}.{self._format}")
        write_whole(self.folder / path, self._encode(row.features))
        return dataclasses.replace(row, features=None, file=escape(os.fspath(path)), shape=row.features.shape)

    def count(self, row: Row) -> None:
        if row.status == "ok":
            self._files.remember(row.path)


def _npy() -> Callable[[np.ndarray], bytes]:
    def encode(values: np.ndarray) -> bytes:
        content = io.BytesIO()
        np.save(content, values, allow_pickle=False)
        return content.getvalue()

    return encode


def _safetensors() -> Callable[[np.ndarray], bytes]:
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise MissingDependencyError(
            f"safetensors does not load ({error}); install it with `pip install safetensors`, or take "
            "--arrays-format npy."
        ) from None

    def encode(values: np.ndarray) -> bytes:
        content: bytes = save({TENSOR: np.ascontiguousarray(values)})
        return content

    return encode


_ENCODERS = {"npy": _npy, "safetensors": _safetensors}
FORMATS = tuple(_ENCODERS)
