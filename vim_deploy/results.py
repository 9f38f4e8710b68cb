"""Predictions as CSV, JSON Lines or Parquet.

Every format has the fields path, status, reason, label, width, height and flags, then for `classify` the best
classes with their probabilities, for `features` the vector. CSV and Parquet have columns `top1`,
`top1_probability`, `top2` ...; JSON Lines has a list `top`. Features go to JSON Lines (nested lists) or to
Parquet (a flat list, and `shape`); CSV refuses them.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Protocol

from vim_deploy.errors import MissingDependencyError, OutputError

if TYPE_CHECKING:
    from vim_deploy.predict import Prediction

_log = logging.getLogger("vim_deploy")
_PARQUET_ROWS = 4096


class Format(str, Enum):
    """Formats of the results."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


_SUFFIXES = {
    ".csv": Format.CSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".parquet": Format.PARQUET,
}


class Writer(Protocol):
    """Takes predictions one by one; `close` completes the output."""

    def write(self, prediction: Prediction) -> None: ...

    def close(self) -> None: ...


def format_of(path: Path | None, asked: Format | None) -> Format:
    """The format asked for, else the one of the file's name, else CSV for standard output.

    Raises OutputError for a name that tells no format.
    """
    if asked is not None:
        return asked
    if path is None:
        return Format.CSV
    if path.suffix.lower() not in _SUFFIXES:
        raise OutputError(
            f"{path} does not end in one of {', '.join(_SUFFIXES)}; give such a name or --format."
        )
    return _SUFFIXES[path.suffix.lower()]


class ResultFile:
    """The results of a run, written as they come.

    They go to `partial`, which takes the place of `path` when the run is complete and stays when it is broken
    off; without a path to standard output; and straight into a path that is a device or a pipe.
    """

    def __init__(
        self, path: Path | None, format: Format, task: str, class_names: tuple[str, ...], top_k: int
    ) -> None:
        if task == "features" and format is Format.CSV:
            raise OutputError(
                "features do not fit into CSV; use -o with a name ending in .jsonl or .parquet."
            )
        if path is None and format is Format.PARQUET:
            raise OutputError("Parquet cannot go to standard output; give a file with -o.")
        self.path = path
        self.partial: Path | None = None
        if path is not None and (not path.exists() or path.is_file()):
            target = path.resolve()
            self.partial = target.with_name(target.name + ".partial")
        self._file: IO[bytes] = self._open()
        try:
            self._writer = _WRITERS[format](self._file, task, class_names, top_k)
        except BaseException:
            self._abandon()
            raise

    def _open(self) -> IO[bytes]:
        if self.path is None:
            return sys.stdout.buffer
        if self.path.is_dir():
            raise OutputError(f"{self.path} is a folder; give a file name with -o.")
        with _output_errors(self.path):
            return (self.partial or self.path).open("wb")

    def write(self, prediction: Prediction) -> None:
        """Raises OutputError when the output cannot take more."""
        with _output_errors(self.path):
            self._writer.write(prediction)

    def _abandon(self) -> None:
        if self.path is not None:
            self._file.close()
        if self.partial is not None:
            self.partial.unlink(missing_ok=True)

    def __enter__(self) -> ResultFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _output_errors(self.path) if error is None else contextlib.suppress(OSError, ValueError):
            self._writer.close()
            self._file.flush()
        if self.path is None:
            return
        with _output_errors(self.path):
            self._file.close()
            if self.partial is None:
                return
            if error is None:
                self.partial.replace(self.path.resolve())
            elif self.partial.stat().st_size:
                _log.warning("the run was broken off; its rows so far are in %s", self.partial)
            else:
                self.partial.unlink()


@contextlib.contextmanager
def _output_errors(path: Path | None) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"{path or 'standard output'} cannot be written: {error.strerror or error}."
        ) from None


def _fields(prediction: Prediction, class_names: tuple[str, ...]) -> dict[str, Any]:
    width, height = prediction.size or (None, None)
    return {
        "path": printable_path(prediction.path),
        "status": prediction.status,
        "reason": prediction.reason or None,
        "label": None if prediction.label is None else class_names[prediction.label],
        "width": width,
        "height": height,
    }


def printable_path(path: str | None) -> str | None:
    """A path as text that every encoder takes: bytes that are not UTF-8 become `\\xNN`."""
    return None if path is None else os.fsencode(path).decode("utf-8", "backslashreplace")


def _top_columns(prediction: Prediction, top_k: int) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for place in range(top_k):
        score = prediction.top[place] if place < len(prediction.top) else None
        columns[f"top{place + 1}"] = score.name if score else None
        columns[f"top{place + 1}_probability"] = score.probability if score else None
    return columns


class _CsvWriter:
    def __init__(self, file: IO[bytes], task: str, class_names: tuple[str, ...], top_k: int) -> None:
        self._file, self._class_names, self._top_k = file, class_names, top_k
        self._header = False

    def write(self, prediction: Prediction) -> None:
        row = _fields(prediction, self._class_names)
        row["flags"] = " ".join(prediction.flags)
        row |= _top_columns(prediction, self._top_k)
        if not self._header:
            self._write_line(list(row))
            self._header = True
        self._write_line([_csv_cell(value) for value in row.values()])

    def _write_line(self, cells: list[str]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        self._file.write(text.getvalue().encode())

    def close(self) -> None:
        pass


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.9g}" if isinstance(value, float) else str(value)


class _JsonLinesWriter:
    def __init__(self, file: IO[bytes], task: str, class_names: tuple[str, ...], top_k: int) -> None:
        self._file, self._class_names, self._task = file, class_names, task

    def write(self, prediction: Prediction) -> None:
        row = _fields(prediction, self._class_names)
        row["flags"] = list(prediction.flags)
        if self._task == "features":
            row["features"] = None if prediction.features is None else prediction.features.tolist()
        else:
            row["top"] = [
                {"class": score.name, "index": score.index, "probability": score.probability}
                for score in prediction.top
            ]
        self._file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")

    def close(self) -> None:
        pass


class _ParquetWriter:
    def __init__(self, file: IO[bytes], task: str, class_names: tuple[str, ...], top_k: int) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise MissingDependencyError(
                'Parquet needs pyarrow: `pip install "vim-deploy[parquet]"`, or write .csv or .jsonl instead.'
            ) from None
        self._pyarrow = pyarrow
        self._class_names, self._task, self._top_k = class_names, task, top_k
        self._schema = _parquet_schema(pyarrow, task, top_k)
        self._writer = pyarrow.parquet.ParquetWriter(file, self._schema)
        self._rows: list[dict[str, Any]] = []

    def write(self, prediction: Prediction) -> None:
        row = _fields(prediction, self._class_names)
        row["flags"] = list(prediction.flags)
        if self._task == "features":
            vector = prediction.features
            row["features"] = None if vector is None else vector.ravel()
            row["shape"] = None if vector is None else list(vector.shape)
        else:
            row |= _top_columns(prediction, self._top_k)
        self._rows.append(row)
        if len(self._rows) >= _PARQUET_ROWS:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(self._pyarrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()


def _parquet_schema(pyarrow: Any, task: str, top_k: int) -> Any:
    text, number = pyarrow.string(), pyarrow.int32()
    columns = [("path", text), ("status", text), ("reason", text), ("label", text)]
    columns += [("width", number), ("height", number), ("flags", pyarrow.list_(text))]
    if task == "features":
        columns += [("features", pyarrow.list_(pyarrow.float32())), ("shape", pyarrow.list_(number))]
    else:
        for place in range(1, top_k + 1):
            columns += [(f"top{place}", text), (f"top{place}_probability", pyarrow.float64())]
    return pyarrow.schema(columns)


_WRITERS: dict[Format, Callable[[IO[bytes], str, tuple[str, ...], int], Writer]] = {
    Format.CSV: _CsvWriter,
    Format.JSONL: _JsonLinesWriter,
    Format.PARQUET: _ParquetWriter,
}
