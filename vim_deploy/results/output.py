"""Writes the results of a run to a file that an interrupted run can resume, or to a stream."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from vim_deploy.errors import OutputError
from vim_deploy.results.columns import Columns
from vim_deploy.results.file_list import FileList
from vim_deploy.results.formats import Format, check_format
from vim_deploy.results.parquet import ParquetParts
from vim_deploy.results.parts import PartFormat, PartsStore, adopt_part
from vim_deploy.results.row import Row
from vim_deploy.results.store import Store, TextStore
from vim_deploy.results.text import Codec, TextParts, codec
from vim_deploy.storage import StoragePath


class Start(Enum):
    """What to do with the rows of an interrupted run."""

    NEW = "new"  # refuse to start
    RESUME = "resume"  # keep them and continue
    RESTART = "restart"  # discard them


class Output(Protocol):
    """`previous` must be consumed once before the first `write`."""

    resumable: bool

    @property
    def saved(self) -> int:
        """The number of rows that can be resumed, including those of the interrupted run."""
        ...

    def previous(self) -> Iterator[Row]: ...

    def write(self, row: Row) -> None: ...

    def flush(self) -> None: ...

    def finish(self) -> None: ...

    def close(self) -> None: ...

    def discard(self) -> None:
        """Remove all files of a run that has no saved row.

        If a killed run wrote files for images, the record that they belong to the run is kept.
        """
        ...


def open_output(
    path: Path | None, format: Format, columns: Columns, identity: dict[str, Any], start: Start
) -> Output:
    """`path` None: standard output. `identity`: everything that the rows depend on, as plain JSON.

    Raises OutputError for a path that cannot be written, and for an interrupted run with another identity.
    """
    check_format(path, format, columns)
    with output_errors(path):
        return _open_output(path, format, columns, identity, start)


def _open_output(
    path: Path | None, format: Format, columns: Columns, identity: dict[str, Any], start: Start
) -> Output:
    if path is None or (path.exists() and not path.is_file() and not path.is_dir()):
        if start is not Start.NEW:
            raise OutputError("only runs that write to a file can be resumed; give a file with -o.")
        if format is Format.PARQUET:
            raise OutputError(
                f"Parquet cannot be written to {path}, which is not a regular file; choose another with -o."
            )
        return StreamOutput(path, codec(format, columns))
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file with -o.")
    return FileOutput(path, format, columns, identity, start)


class StreamOutput:
    """Standard output, a device or a pipe."""

    resumable = False
    saved = 0

    def __init__(self, path: Path | None, codec: Codec) -> None:
        if path is None and sys.stdout is None:
            raise OutputError("standard output is closed; give a file for the results with -o.")
        self._path, self._codec = path, codec
        with output_errors(path):
            self._file: IO[bytes] = sys.stdout.buffer if path is None else path.open("wb")
        self._started = False

    def previous(self) -> Iterator[Row]:
        return iter(())

    def write(self, row: Row) -> None:
        with output_errors(self._path):
            if not self._started:
                self._file.write(self._codec.header)
                self._started = True
            self._file.write(self._codec.line(row))

    def flush(self) -> None:
        with output_errors(self._path):
            self._file.flush()

    def finish(self) -> None:
        self.flush()

    def close(self) -> None:
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def discard(self) -> None:
        pass  # no files


class FileOutput:
    """Rows are written to `<path>.partial`, which replaces `path` when the run is complete.

    Until then `<path>.run.json` has the identity of the run.
    """

    resumable = True

    def __init__(
        self,
        path: Path,
        format: Format,
        columns: Columns,
        identity: dict[str, Any],
        start: Start,
    ) -> None:
        self.path = path
        target = path.resolve()
        self._target = target
        self.partial, self.record, image_files = companions(target)
        self._image_files = FileList(image_files)
        self._identity, self._start = identity, start
        self._parts = _part_format(path, format, columns)
        with output_errors(path):
            self._restore_finished()
            existed = self.partial.exists()
            self._store: Store = (
                TextStore(self.partial, codec(format, columns))
                if self._parts is None
                else PartsStore(self.partial, self._parts)
            )
        self.resumed = 0  # rows of the interrupted run
        self._started = False
        try:
            self._check_earlier_run(existed)
        except BaseException:
            self._store.close()
            if not existed:
                self._store.discard()
            raise

    def _restore_finished(self) -> None:
        """For --resume without partial rows: reopen results of a run killed just before its end."""
        if self._start is not Start.RESUME or self.partial.exists():
            return
        record = _read_record(self.record)
        if record is not None and record.get("finished") and self._target.exists():
            # Killed after the results were renamed, before the record was removed.
            if self._parts is None:
                self._target.replace(self.partial)
            else:
                adopt_part(self.partial, self._target, self._parts)
        elif self._target.exists():
            raise OutputError(
                f"{self.path} is complete and there is no interrupted run to resume; leave out --resume to "
                "write it again."
            )

    def _check_earlier_run(self, existed: bool) -> None:
        """Raises OutputError if rows of an interrupted run must not be overwritten or cannot be resumed."""
        if not existed or self._start is Start.RESTART:
            return
        record = _read_record(self.record)
        if self._start is Start.NEW:
            if next(self._store.rows(), None) is not None:
                raise OutputError(
                    f"{self.partial} has the rows of an interrupted run; resume it with --resume, or discard "
                    "them with --restart."
                )
        elif record is not None:
            _compare(self.partial, record.get("identity"), self._identity)
        elif next(self._store.rows(), None) is not None:
            raise OutputError(
                f"{self.record}, the record of the run that wrote {self.partial}, is missing; start over "
                "with --restart."
            )

    def previous(self) -> Iterator[Row]:
        """The rows of the interrupted run; afterwards the output is ready for more."""
        with output_errors(self.path):
            if self._start is Start.RESUME:
                for row in self._store.rows():
                    self.resumed += 1
                    yield row
            self._write_record(finished=False)
            self._store.start(keep=self._start is Start.RESUME)
            self._started = True

    @property
    def saved(self) -> int:
        return self.resumed + self._store.saved

    def write(self, row: Row) -> None:
        with output_errors(self.path):
            self._store.write(row)

    def flush(self) -> None:
        with output_errors(self.path):
            self._store.flush()

    def finish(self) -> None:
        with output_errors(self.path):
            self._store.flush()
            self._write_record(finished=True)
            self._store.finish(self._target)
            self._remove_record()

    def close(self) -> None:
        self._store.close()

    def discard(self) -> None:
        if not self._started:  # the rows of the interrupted run are still there
            return
        self._store.discard()
        if not self._image_files.any_exists():
            self._remove_record()

    def _remove_record(self) -> None:
        self._image_files.remove()
        self.record.unlink(missing_ok=True)
        self.record.with_name(self.record.name + ".tmp").unlink(missing_ok=True)

    def _write_record(self, finished: bool) -> None:
        values = {"identity": self._identity, "finished": finished}
        # This run has the lock, so a fixed name is safe, and killed runs leave at most one such file.
        temporary = self.record.with_name(self.record.name + ".tmp")
        temporary.write_text(json.dumps(values, indent=1) + "\n")
        temporary.replace(self.record)


def _part_format(path: Path, format: Format, columns: Columns) -> PartFormat | None:
    """The parts that the rows are collected in; None for one file, which storage cannot append to."""
    if format is Format.PARQUET:
        return ParquetParts(columns)
    return TextParts(codec(format, columns), format.value) if isinstance(path, StoragePath) else None


class Companions(NamedTuple):
    """The files of an unfinished run."""

    partial: Path  # its rows; a folder for Parquet and in storage
    record: Path  # its identity
    image_files: Path  # the paths of the files written for images


def companions(target: Path) -> Companions:
    """The companion files of the run that writes `target`."""
    return Companions(*(target.with_name(target.name + end) for end in (".partial", ".run.json", ".files")))


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        raise OutputError(f"{path} is damaged; remove it and start over with --restart.") from None
    return values if isinstance(values, dict) else {}


def _compare(partial: Path, recorded: Any, current: dict[str, Any]) -> None:
    recorded = recorded if isinstance(recorded, dict) else {}
    for name in {**recorded, **current}:
        if recorded.get(name) != current.get(name):
            raise OutputError(
                f"{partial} belongs to another run: {name} was {recorded.get(name)!r} and is now "
                f"{current.get(name)!r}. Use the same options, or start over with --restart."
            )


@contextlib.contextmanager
def output_errors(path: Path | None) -> Iterator[None]:
    """Turns OSError into OutputError, except for a closed pipe."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"{path or 'standard output'} cannot be written: {error.strerror or error}."
        ) from None
