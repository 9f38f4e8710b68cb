"""Files that a run writes for each image, named after the image."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from vim_deploy.errors import ImageError, OutputError
from vim_deploy.files import atomic_write, is_folder
from vim_deploy.storage import is_url

# Errors that depend on the name of one file. Others, such as a full disk, concern all files.
_NAME_ERRORS = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL)


class ImageNames:
    """Names of files after images, in the same subfolders as the image below its input folder."""

    def __init__(self, inputs: Sequence[str]) -> None:
        self._inputs = [os.path.normpath(given) for given in inputs if is_url(given) or is_folder(given)]

    def name(self, path: str) -> Path:
        """The file's path without suffix, relative to the input folder that has the image, if any."""
        normal = os.path.normpath(path)
        for folder in self._inputs:
            if normal.startswith(os.path.join(folder, "")):  # noqa: PTH118 - no Path: names may be any bytes
                return Path(os.path.relpath(normal, folder)).with_suffix("")
        return Path(Path(normal).name).with_suffix("")


def write_file(path: Path, content: bytes, replace: bool = False) -> None:
    """Write a file atomically, creating its folders.

    Raises ImageError if only this name cannot be used, or exists and not `replace`, and OutputError for other
    reasons.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, replace) as file:
            file.write(content)
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}"
        if error.errno in _NAME_ERRORS:
            raise ImageError(message) from None
        raise OutputError(f"{message}.") from None
