"""Files that a run writes for each image, named after the image."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from vim_deploy.errors import ImageError, OutputError, os_errors
from vim_deploy.files import atomic_write, is_folder
from vim_deploy.results.escape import unescaped_path

# Errors that depend on the name of one file. Others, such as a full disk, concern all files.
_NAME_ERRORS = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL)


class ImageFiles:
    """Names of output files, and the images they belong to.

    A file has the image's name with another suffix, in the same subfolders as the image below its input
    folder.
    """

    def __init__(self, inputs: Sequence[str]) -> None:
        self._inputs = [os.path.normpath(given) for given in inputs if is_folder(given)]
        self._owners: dict[Path, str] = {}  # escaped image paths

    def make_folder(self, option: str, folder: Path) -> None:
        """Raises OutputError for a folder inside an input folder, or one that cannot be created."""
        inside = [given for given in self._inputs if folder.resolve().is_relative_to(Path(given).resolve())]
        if inside:
            raise OutputError(
                f"{option} {folder} is inside the input folder {inside[0]}, so its files would become "
                "inputs; give another folder."
            )
        with os_errors(OutputError, f"{option} {folder} cannot be created"):
            folder.mkdir(parents=True, exist_ok=True)

    def name(self, path: str) -> Path:
        """The file's path without suffix, relative to the input folder that has the image, if any."""
        normal = os.path.normpath(path)
        for folder in self._inputs:
            if normal.startswith(os.path.join(folder, "")):  # noqa: PTH118 - no Path: names may be any bytes
                return Path(os.path.relpath(normal, folder)).with_suffix("")
        return Path(Path(normal).name).with_suffix("")

    def claim(self, name: Path, escaped_path: str) -> None:
        """Raises ImageError if another image of the run has files of that name."""
        other = self._owners.setdefault(name, escaped_path)
        if other != escaped_path:
            raise ImageError(f"its files would replace those of {other}, which has the same name")

    def remember(self, escaped_path: str) -> None:
        """Record an image that has its files from an earlier run."""
        self._owners.setdefault(self.name(unescaped_path(escaped_path)), escaped_path)


def write_file(path: Path, content: bytes) -> None:
    """Write a file atomically, creating its folders.

    Raises ImageError if only this name cannot be used, and OutputError for other reasons.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}"
        if error.errno in _NAME_ERRORS:
            raise ImageError(message) from None
        raise OutputError(f"{message}.") from None
