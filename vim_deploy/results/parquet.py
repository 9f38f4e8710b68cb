"""Parquet: a folder of valid files (parts) during a run, merged into one file at the end."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vim_deploy.errors import MissingDependencyError
from vim_deploy.files import atomic_write
from vim_deploy.results.columns import INTEGER, INTEGERS, REAL, REALS, TEXT, Columns
from vim_deploy.results.row import NUMBER_FIELDS, Row
from vim_deploy.results.store import lock

PART_ROWS = 4096
PART_SECONDS = 30.0


class PartsStore:
    """A part is written, atomically, every PART_ROWS rows or PART_SECONDS seconds."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self._pyarrow = _pyarrow()
        self.path = path
        self._columns = columns
        self._schema = _schema(self._pyarrow, columns)
        self._rows: list[dict[str, Any]] = []
        self._parts = 0
        self.saved = 0
        self._last = time.monotonic()
        path.mkdir(exist_ok=True)
        self._descriptor = os.open(path, os.O_RDONLY)
        try:
            lock(self._descriptor, path)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _part(self, number: int) -> Path:
        return self.path / f"part-{number:06d}.parquet"

    def rows(self) -> Iterator[Row]:
        """The rows of all parts before the first one that is missing or unreadable."""
        self._parts = 0
        while self._part(self._parts).exists():
            try:
                rows = list(read_part(self._part(self._parts), self._columns))
            except (OSError, ValueError, KeyError, TypeError):  # pyarrow raises these
                return
            self._parts += 1
            yield from rows

    def start(self, keep: bool) -> None:
        if not keep:
            self._parts = 0
        kept = {self._part(number) for number in range(self._parts)}
        for part in self.path.glob("part-*.parquet"):
            if part not in kept:
                part.unlink()

    def write(self, row: Row) -> None:
        columns = self._columns
        self._rows.append({**row.fields(columns.fields), "flags": list(row.flags), **columns.to_cells(row)})
        if len(self._rows) >= PART_ROWS or time.monotonic() - self._last >= PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            table = self._pyarrow.Table.from_pylist(self._rows, schema=self._schema)
            with atomic_write(self._part(self._parts)) as file:
                self._pyarrow.parquet.write_table(table, file)
            self._parts += 1
            self.saved += len(self._rows)
            self._rows = []
        self._last = time.monotonic()

    def finish(self, target: Path) -> None:
        self.flush()
        parquet = self._pyarrow.parquet
        merged = self.path / "merged.tmp"
        with merged.open("wb") as file:
            with parquet.ParquetWriter(file, self._schema) as writer:
                for number in range(self._parts):
                    writer.write_table(parquet.read_table(self._part(number), schema=self._schema))
            file.flush()
            os.fsync(file.fileno())
        merged.replace(target)
        # Last part first, so that a killed run leaves the first parts.
        for number in reversed(range(self._parts)):
            self._part(number).unlink()
        self.discard()

    def close(self) -> None:
        os.close(self._descriptor)

    def discard(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def read_part(part: Path, columns: Columns) -> Iterator[Row]:
    """The rows of a part, without its arrays. Raises OSError or ValueError for a file with another schema."""
    pyarrow = _pyarrow()
    schema = _schema(pyarrow, columns)
    file = pyarrow.parquet.ParquetFile(part)
    if file.schema_arrow != schema:
        raise ValueError("it has other columns")
    names = [name for name in schema.names if columns.types.get(name) not in (REALS, INTEGERS)]
    for batch in file.iter_batches(columns=names):
        for values in batch.to_pylist():
            fields = {name: values[name] for name in columns.fields}
            result = columns.from_cells(values) if values["status"] == "ok" else None
            yield Row(**fields, flags=tuple(values["flags"]), result=result)


def adopt_part(folder: Path, file: Path) -> None:
    """Move a complete file into a new folder, as its only part."""
    folder.mkdir()
    file.replace(folder / "part-000000.parquet")


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError(
            'Parquet needs pyarrow: `pip install "vim-deploy[parquet]"`, or use .csv or .jsonl instead.'
        ) from None
    return pyarrow


def _schema(pyarrow: Any, columns: Columns) -> Any:
    text, number = pyarrow.string(), pyarrow.int32()
    fields = [(name, number if name in NUMBER_FIELDS else text) for name in columns.fields]
    kinds = {
        TEXT: text,
        INTEGER: number,
        REAL: pyarrow.float64(),
        INTEGERS: pyarrow.list_(number),
        REALS: pyarrow.list_(pyarrow.float32()),
    }
    task_columns = [(name, kinds[kind]) for name, kind in columns.types.items()]
    return pyarrow.schema([*fields, ("flags", pyarrow.list_(text)), *task_columns])
