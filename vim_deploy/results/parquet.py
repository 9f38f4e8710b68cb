"""Parquet: a folder of parts while a run goes on, each valid on its own; one file when it is complete."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vim_deploy.errors import MissingDependencyError
from vim_deploy.files import atomic_write
from vim_deploy.results.columns import INTEGER, INTEGERS, REAL, REALS, TEXT, Columns, columns_of
from vim_deploy.results.row import NUMBER_FIELDS, Row
from vim_deploy.results.store import lock

PART_ROWS = 4096
PART_SECONDS = 30.0


class PartsStore:
    """A part is written when PART_ROWS rows have come or PART_SECONDS have gone by, whole or not at all."""

    def __init__(self, path: Path, task: str, top_k: int) -> None:
        self._pyarrow = _pyarrow()
        self.path = path
        self._columns = columns_of(task, top_k)
        self._schema = _schema(self._pyarrow, self._columns)
        self._rows: list[dict[str, Any]] = []
        self._parts = 0
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
        """Rows of the parts from the first on, to the first that is missing or unreadable."""
        while self._part(self._parts).exists():
            try:
                rows = list(_read_part(self._part(self._parts), self._columns))
            except (OSError, ValueError, KeyError, TypeError):  # pyarrow's errors are among these
                return
            self._parts += 1
            yield from rows

    def begin(self, keep: bool) -> None:
        if not keep:
            self._parts = 0
        kept = {self._part(number) for number in range(self._parts)}
        for part in self.path.glob("part-*.parquet"):
            if part not in kept:
                part.unlink()

    def write(self, row: Row) -> None:
        columns = self._columns
        self._rows.append({**row.fields(columns.fields), "flags": list(row.flags), **columns.flat(row)})
        if len(self._rows) >= PART_ROWS or time.monotonic() - self._last >= PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            table = self._pyarrow.Table.from_pylist(self._rows, schema=self._schema)
            with atomic_write(self._part(self._parts)) as file:
                self._pyarrow.parquet.write_table(table, file)
            self._parts += 1
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
        # From the last on, so that what a kill leaves is a beginning.
        for number in reversed(range(self._parts)):
            self._part(number).unlink()
        self.discard()

    def close(self) -> None:
        os.close(self._descriptor)

    def discard(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def read_part(part: Path, task: str, top_k: int) -> Iterator[Row]:
    """Rows without features. Raises OSError or ValueError for a file that is not as this module writes it."""
    return _read_part(part, columns_of(task, top_k))


def _read_part(part: Path, of_task: Columns) -> Iterator[Row]:
    pyarrow = _pyarrow()
    schema = _schema(pyarrow, of_task)
    file = pyarrow.parquet.ParquetFile(part)
    if file.schema_arrow != schema:
        raise ValueError("other columns")
    columns = [name for name in schema.names if of_task.types.get(name) not in (REALS, INTEGERS)]
    for batch in file.iter_batches(columns=columns):
        for values in batch.to_pylist():
            fields = {name: values[name] for name in of_task.fields}
            yield Row(**fields, flags=tuple(values["flags"]), **of_task.from_flat(values))


def adopt_part(folder: Path, file: Path) -> None:
    """Make a complete file the only part of a folder that is gone."""
    folder.mkdir()
    file.replace(folder / "part-000000.parquet")


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError(
            'Parquet needs pyarrow: `pip install "vim-deploy[parquet]"`, or write .csv or .jsonl instead.'
        ) from None
    return pyarrow


def _schema(pyarrow: Any, columns: Columns) -> Any:
    text, number = pyarrow.string(), pyarrow.int32()
    of_fields = [(name, number if name in NUMBER_FIELDS else text) for name in columns.fields]
    kinds = {
        TEXT: text,
        INTEGER: number,
        REAL: pyarrow.float64(),
        INTEGERS: pyarrow.list_(number),
        REALS: pyarrow.list_(pyarrow.float32()),
    }
    of_task = [(name, kinds[kind]) for name, kind in columns.types.items()]
    return pyarrow.schema([*of_fields, ("flags", pyarrow.list_(text)), *of_task])
