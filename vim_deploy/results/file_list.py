"""The list of the files that a run wrote for images, kept beside its rows."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from vim_deploy.files import path_exists
from vim_deploy.results.escape import escape, unescaped_path


class FileList:
    """One escaped absolute path per line, each appended before the file is written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> set[Path]:
        """The absolute paths; none if there is no list. Raises OSError."""
        try:
            lines = self._path.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return set()
        return {Path(unescaped_path(line)) for line in lines}

    def append(self, files: Iterable[Path]) -> None:
        """Raises OSError."""
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(f"{escape(os.fspath(path.absolute()))}\n" for path in files)

    def any_exists(self) -> bool:
        """Whether a listed file is there."""
        return any(path_exists(path) for path in self.read())

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
