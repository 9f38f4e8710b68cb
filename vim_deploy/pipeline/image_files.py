"""The files that a run writes for images: none replaces a file that the run did not write itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vim_deploy.errors import ImageError, OutputError
from vim_deploy.files import path_exists
from vim_deploy.results.escape import escape
from vim_deploy.results.file_list import FileList
from vim_deploy.results.output import output_errors


class ImageFiles:
    """Remembers which image has which files.

    `record`: where a run that can be resumed lists its files.
    A killed run may have written files for images without a row; the list shows that they belong to it.
    Storage cannot append to a list: a run that is resumed there `owns_all` files of its images, because none
    of them existed when it started.
    """

    def __init__(self, record: Path | None, owns_all: bool = False) -> None:
        self._owns_all = owns_all
        self._record = record
        self._list = None if record is None else FileList(record)
        self._owners: dict[Path, str] = {}  # escaped image paths, by the first file
        self._listed = set() if self._list is None else self._list.read()

    def remember(self, files: Sequence[Path], image: str) -> None:
        """Record that `image`, an escaped path, has a row and its files."""
        if files:
            self._owners.setdefault(files[0], image)

    def check(self, files: Sequence[Path]) -> None:
        """Raises OutputError if one of the files exists and this run did not write it."""
        for path in files:
            if path_exists(path) and path.absolute() not in self._listed:
                shown = escape(os.fspath(path))
                raise OutputError(f"{shown} exists; give another folder for new files, or remove the file.")

    def reserve(self, files: Sequence[Path], image: str) -> None:
        """Call before another process writes the files of `image`, all of which were checked.

        Raises ImageError if one belongs to another image of this run, and OutputError.
        """
        if not files:
            return
        self._check_owner(files[0], image)
        if self._list is not None:
            with output_errors(self._record):
                self._list.append(files)
        self._owners[files[0]] = image

    def claim(self, files: Sequence[Path], image: str) -> None:
        """Call before the files of `image` are written. Files that a killed run left are removed.

        Raises ImageError if one of them exists or belongs to another image of this run, and OutputError if
        the record cannot be written.
        """
        if not files:
            return
        self._check_owner(files[0], image)
        present = [path for path in files if path_exists(path)]
        for path in present:
            known = files[0] in self._owners or path.absolute() in self._listed
            if not (known or self._owns_all):
                raise ImageError(f"{escape(os.fspath(path))} exists, and this run did not write it")
        with output_errors(self._record):
            for path in present:
                path.unlink()
            if self._list is not None:
                self._list.append(files)
        self._owners[files[0]] = image

    def _check_owner(self, file: Path, image: str) -> None:
        owner = self._owners.get(file, image)
        if owner != image:
            raise ImageError(f"its files would replace those of {owner}, which has the same name")
