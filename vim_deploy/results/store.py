"""Stores the rows of an unfinished run in a text file; a killed run leaves at most one incomplete line."""

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
    """The rows of an unfinished run, locked against other runs when it is created.

    `saved`: how many of the rows that were written are in the file.
    """

    saved: int

    def rows(self) -> Iterator[Row]:
        """The complete rows; iterate to the end before `start`, and after the last `write`."""
        ...

    def start(self, keep: bool) -> None:
        """Prepare for writing, after the rows that were read (`keep`) or without them."""
        ...

    def write(self, row: Row) -> None: ...

    def flush(self) -> None: ...

    def finish(self, target: Path) -> None:
        """Replace `target` with the complete results."""
        ...

    def close(self) -> None: ...

    def discard(self) -> None:
        """Delete the rows."""
        ...


class TextStore:
    """Appends one record at a time, unbuffered, and truncates a record that could not be written."""

    def __init__(self, path: Path, codec: Codec) -> None:
        self.path = path
        self._codec = codec
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        self._end = 0  # offset after the last complete record
        self.saved = 0
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

    def start(self, keep: bool) -> None:
        if not keep:
            self._end = 0
        os.ftruncate(self._descriptor, self._end)
        os.lseek(self._descriptor, self._end, os.SEEK_SET)
        if self._end == 0:
            self._append(self._codec.header)

    def write(self, row: Row) -> None:
        self._append(self._codec.line(row))
        self.saved += 1

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
        pass  # not buffered

    def finish(self, target: Path) -> None:
        os.fsync(self._descriptor)
        self.path.replace(target)

    def close(self) -> None:
        os.close(self._descriptor)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)


def lock(descriptor: int, path: Path) -> None:
    """Raises OutputError if another run has the lock, or has just moved or deleted the file."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"another run is writing to {path}; wait for it, or choose another file with -o."
            ) from None
        except OSError:  # file systems without locks
            return
    try:
        same = os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        same = False
    if not same:
        raise OutputError(f"another run has just finished writing {path}; run the command again.")
