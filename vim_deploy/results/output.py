"""The results of a run: to a file that can be continued after any kind of stop, or straight into a stream."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import IO, Any, Protocol

from vim_deploy.errors import OutputError
from vim_deploy.results.formats import Format, check_format
from vim_deploy.results.parquet import PartsStore, adopt_part
from vim_deploy.results.row import Row
from vim_deploy.results.store import Store, TextStore
from vim_deploy.results.text import Codec, codec


class Start(Enum):
    """What to do with the rows of an earlier run that was broken off."""

    NEW = "new"  # refuse to begin while there are any
    RESUME = "resume"  # keep them and go on
    RESTART = "restart"  # drop them


class Output(Protocol):
    """`previous` must be read to its end once before the first `write`."""

    resumable: bool

    def previous(self) -> Iterator[Row]: ...

    def write(self, row: Row) -> None: ...

    def flush(self) -> None: ...

    def finish(self) -> None: ...

    def close(self) -> None: ...

    def discard(self) -> None:
        """Leave nothing behind; for runs that end before their first row."""
        ...


def open_output(
    path: Path | None, format: Format, task: str, top_k: int, identity: dict[str, Any], start: Start
) -> Output:
    """Raises OutputError for a place that cannot be written and for an earlier run that does not fit.

    `identity` is plain JSON: everything that the rows depend on; a run is continued only where it is equal.
    """
    check_format(path, format, task)
    if path is None or (path.exists() and not path.is_file() and not path.is_dir()):
        if start is not Start.NEW:
            raise OutputError("only results in a file can be continued; give a file with -o.")
        if format is Format.PARQUET:
            raise OutputError(f"Parquet cannot go to {path}, which is no regular file; give another with -o.")
        return StreamOutput(path, codec(format, task, top_k))
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give a file name with -o.")
    return FileOutput(path, format, task, top_k, identity, start)


class StreamOutput:
    """Standard output, a device or a pipe."""

    resumable = False

    def __init__(self, path: Path | None, codec: Codec) -> None:
        self._path, self._codec = path, codec
        with output_errors(path):
            self._file: IO[bytes] = sys.stdout.buffer if path is None else path.open("wb")
        self._begun = False

    def previous(self) -> Iterator[Row]:
        return iter(())

    def write(self, row: Row) -> None:
        with output_errors(self._path):
            if not self._begun:
                self._file.write(self._codec.header)
                self._begun = True
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
        pass  # nothing is kept


class FileOutput:
    """Rows gather in `<path>.partial`, which takes the place of `path` when the run is complete.

    `<path>.run.json` holds the identity of the run until then.
    """

    resumable = True

    def __init__(
        self,
        path: Path,
        format: Format,
        task: str,
        top_k: int,
        identity: dict[str, Any],
        start: Start,
    ) -> None:
        self.path = path
        target = path.resolve()
        self._target = target
        self.partial, self.record = companions(target)
        self._identity, self._start, self._format = identity, start, format
        with output_errors(path):
            self._look_around()
            existed = self.partial.exists()
            self._store: Store = (
                PartsStore(self.partial, task, top_k)
                if format is Format.PARQUET
                else TextStore(self.partial, codec(format, task, top_k))
            )
        self.kept = 0  # rows of the earlier run
        try:
            self._refuse_unfitting(existed)
        except BaseException:
            self._store.close()
            if not existed:
                self._store.discard()
            raise

    def _look_around(self) -> None:
        if self._start is not Start.RESUME or self.partial.exists():
            return
        record = _read_record(self.record)
        if record is not None and record.get("finished") and self._target.exists():
            # Killed between the renaming and the removal of the record: complete, and about to be found so.
            if self._format is Format.PARQUET:
                adopt_part(self.partial, self._target)
            else:
                self._target.replace(self.partial)
        elif self._target.exists():
            raise OutputError(
                f"{self.path} exists and no broken-off run is beside it, so there is nothing to resume; "
                "leave --resume out to make it anew."
            )

    def _refuse_unfitting(self, existed: bool) -> None:
        if not existed or self._start is Start.RESTART:
            return
        record = _read_record(self.record)
        if self._start is Start.NEW:
            if next(self._store.rows(), None) is not None:
                raise OutputError(
                    f"{self.partial} holds the rows of a run that was broken off; go on with --resume, or "
                    "drop them with --restart."
                )
        elif record is not None:
            _compare(self.partial, record.get("identity"), self._identity)
        elif next(self._store.rows(), None) is not None:
            raise OutputError(
                f"{self.record}, which says what run {self.partial} is of, is gone; begin with --restart."
            )

    def previous(self) -> Iterator[Row]:
        """The rows kept from the earlier run; afterwards the output is ready for more."""
        with output_errors(self.path):
            if self._start is Start.RESUME:
                for row in self._store.rows():
                    self.kept += 1
                    yield row
            self._write_record(finished=False)
            self._store.begin(keep=self._start is Start.RESUME)

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
        self._store.discard()
        self._remove_record()

    def _remove_record(self) -> None:
        self.record.unlink(missing_ok=True)
        self.record.with_name(self.record.name + ".tmp").unlink(missing_ok=True)

    def _write_record(self, finished: bool) -> None:
        values = {"identity": self._identity, "finished": finished}
        # The lock is ours, so the name needs not be a new one each time, and a kill leaves one at most.
        temporary = self.record.with_name(self.record.name + ".tmp")
        temporary.write_text(json.dumps(values, indent=1) + "\n")
        temporary.replace(self.record)


def companions(target: Path) -> tuple[Path, Path]:
    """The rows so far and the record of the run that makes `target`."""
    return target.with_name(target.name + ".partial"), target.with_name(target.name + ".run.json")


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        raise OutputError(f"{path} is damaged; remove it and begin with --restart.") from None
    return values if isinstance(values, dict) else {}


def _compare(partial: Path, recorded: Any, current: dict[str, Any]) -> None:
    recorded = recorded if isinstance(recorded, dict) else {}
    for name in {**recorded, **current}:
        if recorded.get(name) != current.get(name):
            raise OutputError(
                f"{partial} is of another run: {name} was {recorded.get(name)!r} and is "
                f"{current.get(name)!r} now. Give the same options, or begin anew with --restart."
            )


@contextlib.contextmanager
def output_errors(path: Path | None) -> Iterator[None]:
    """OSError becomes OutputError, but for a reader that went away."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"{path or 'standard output'} cannot be written: {error.strerror or error}."
        ) from None
