"""Rows of a run that is not complete, in one growing text file; kill -9 leaves at most half a last line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from vim_deploy.errors import OutputError
from vim_deploy.results.row import Row
from vim_deploy.results.text import Codec

try:
    import fcntl
except ImportError:  # no file locks on this system
    fcntl = None  # type: ignore[assignment]


class Store(Protocol):
    """Where the rows of an unfinished run lie. Made, it is locked against other runs."""

    def rows(self) -> Iterator[Row]:
        """The rows that are whole; iterate to the end before `begin`."""
        ...

    def begin(self, keep: bool) -> None:
        """Make ready to write after the rows that were read, or from the start."""
        ...

    def write(self, row: Row) -> None: ...

    def flush(self) -> None: ...

    def finish(self, target: Path) -> None:
        """Put the complete results in the place of `target`."""
        ...

    def close(self) -> None: ...

    def discard(self) -> None:
        """Remove it."""
        ...


class TextStore:
    """Each record goes to the file with one call of the system; one that fails is cut off again."""

    def __init__(self, path: Path, codec: Codec) -> None:
        self.path = path
        self._codec = codec
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        self._end = 0  # behind the last whole record
        try:
            lock(self._descriptor, path)
        except BaseException:
            os.close(self._descriptor)
            raise

    def rows(self) -> Iterator[Row]:
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(0)
            header = self._codec.header
            if file.read(len(header)) != header:
                return
            self._end = len(header)
            for line in file:
                try:
                    row = self._codec.row(line) if line.endswith(b"\n") else None
                except ValueError:
                    row = None
                if row is None:
                    return
                self._end += len(line)
                yield row

    def begin(self, keep: bool) -> None:
        if not keep:
            self._end = 0
        os.ftruncate(self._descriptor, self._end)
        os.lseek(self._descriptor, self._end, os.SEEK_SET)
        if self._end == 0:
            self._append(self._codec.header)

    def write(self, row: Row) -> None:
        self._append(self._codec.line(row))

    def _append(self, record: bytes) -> None:
        try:
            written = 0
            while written < len(record):
                written += os.write(self._descriptor, record[written:])
        except BaseException:
            os.ftruncate(self._descriptor, self._end)
            os.lseek(self._descriptor, self._end, os.SEEK_SET)
            raise
        self._end += len(record)

    def flush(self) -> None:
        pass  # nothing is held back

    def finish(self, target: Path) -> None:
        os.fsync(self._descriptor)
        self.path.replace(target)

    def close(self) -> None:
        os.close(self._descriptor)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)


def lock(descriptor: int, path: Path) -> None:
    """Raises OutputError when another run holds the lock, or took the file away just now."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"another run is writing to {path}; wait for it, or give another name with -o."
            ) from None
        except OSError:  # file systems without locks
            return
    try:
        same = os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        same = False
    if not same:
        raise OutputError(f"another run has just finished with {path}; start again.")
