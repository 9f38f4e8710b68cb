"""Rows in a folder of complete files (parts) during a run, merged into one file at the end."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

from vim_deploy.files import atomic_write
from vim_deploy.results.row import Row
from vim_deploy.results.store import lock
from vim_deploy.storage import StoragePath

PART_ROWS = 4096
PART_SECONDS = 30.0


class PartFormat(Protocol):
    """How parts are written, read and merged. `read` raises OSError or ValueError for other files."""

    suffix: str

    def write(self, file: IO[bytes], rows: Sequence[Row]) -> None: ...

    def read(self, part: Path) -> Iterator[Row]: ...

    def merge(self, file: IO[bytes], parts: Iterable[Path]) -> None: ...


class PartsStore:
    """A part is written, atomically, every PART_ROWS rows or PART_SECONDS seconds.

    A folder in storage has no lock.
    """

    def __init__(self, path: Path, format: PartFormat) -> None:
        self.path = path
        self._format = format
        self._rows: list[Row] = []
        self._parts = 0
        self.saved = 0
        self._last = time.monotonic()
        self._descriptor: int | None = None
        if isinstance(path, StoragePath):
            return
        path.mkdir(exist_ok=True)
        self._descriptor = os.open(path, os.O_RDONLY)
        try:
            lock(self._descriptor, path)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _part(self, number: int) -> Path:
        return self.path / f"part-{number:06d}{self._format.suffix}"

    def rows(self) -> Iterator[Row]:
        """The rows of all parts before the first one that is missing or unreadable."""
        self._parts = 0
        while self._part(self._parts).exists():
            try:
                rows = list(self._format.read(self._part(self._parts)))
            except (OSError, ValueError, KeyError, TypeError):  # pyarrow raises these
                return
            self._parts += 1
            yield from rows

    def start(self, keep: bool) -> None:
        if not keep:
            self._parts = 0
        kept = {self._part(number) for number in range(self._parts)}
        for part in list(self.path.iterdir()):
            if part.name.startswith("part-") and part not in kept:
                part.unlink()

    def write(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= PART_ROWS or time.monotonic() - self._last >= PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            with atomic_write(self._part(self._parts)) as file:
                self._format.write(file, self._rows)
            self._parts += 1
            self.saved += len(self._rows)
            self._rows = []
        self._last = time.monotonic()

    def finish(self, target: Path) -> None:
        self.flush()
        parts = [self._part(number) for number in range(self._parts)]
        if isinstance(target, StoragePath):
            with target.writing() as stored:
                self._format.merge(stored, parts)
        else:
            merged = self.path / "merged.tmp"
            with merged.open("wb") as file:
                self._format.merge(file, parts)
                file.flush()
                os.fsync(file.fileno())
            merged.replace(target)
        # Last part first, so that a killed run leaves the first parts.
        for part in reversed(parts):
            part.unlink()
        self.discard()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def discard(self) -> None:
        if isinstance(self.path, StoragePath):
            for part in list(self.path.iterdir()):
                part.unlink()
        else:
            shutil.rmtree(self.path, ignore_errors=True)


def adopt_part(folder: Path, file: Path, format: PartFormat) -> None:
    """Move a complete file into a new folder, as its only part."""
    folder.mkdir()
    file.replace(folder / f"part-000000{format.suffix}")
