"""Files that a run writes for each image, named after it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vim_deploy.errors import ImageError, OutputError
from vim_deploy.files import atomic_write
from vim_deploy.results.escape import unescaped_path


class ImageFiles:
    """Names of files, and which image has them.

    A file has the image's name, with another ending, in the subfolders that the image has below the input
    folder.
    """

    def __init__(self, inputs: Sequence[str]) -> None:
        self._inputs = [os.path.normpath(given) for given in inputs if Path(given).is_dir()]
        self._made_by: dict[Path, str] = {}  # escaped paths

    def make_folder(self, option: str, folder: Path) -> None:
        """Raises OutputError for a folder that cannot be what it is asked to be."""
        inside = [given for given in self._inputs if folder.resolve().is_relative_to(Path(given).resolve())]
        if inside:
            raise OutputError(
                f"{option} {folder} lies in the input folder {inside[0]}, whose images it would add to; give "
                "a folder elsewhere."
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{option} {folder} cannot be made: {error.strerror or error}.") from None

    def name(self, path: str) -> Path:
        """Relative, without ending: below the input folder that the image came from, if any."""
        normal = os.path.normpath(path)
        for folder in self._inputs:
            if normal.startswith(os.path.join(folder, "")):  # noqa: PTH118 - no Path: names are bytes to us
                return Path(os.path.relpath(normal, folder)).with_suffix("")
        return Path(Path(normal).name).with_suffix("")

    def claim(self, name: Path, escaped_path: str) -> None:
        """Raises ImageError where another image of the run has files of that name."""
        other = self._made_by.setdefault(name, escaped_path)
        if other != escaped_path:
            raise ImageError(f"its files would replace those of {other}, which has the same name")

    def remember(self, escaped_path: str) -> None:
        """An image that has its files from an earlier run."""
        self._made_by.setdefault(self.name(unescaped_path(escaped_path)), escaped_path)


def write_whole(path: Path, content: bytes) -> None:
    """With the folders above it. Raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from None
