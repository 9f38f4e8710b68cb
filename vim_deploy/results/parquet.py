"""Results in Parquet files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from vim_deploy.errors import MissingDependencyError
from vim_deploy.results.columns import INTEGER, INTEGERS, REAL, REALS, TEXT, Columns
from vim_deploy.results.row import NUMBER_FIELDS, Row


class ParquetParts:
    """Parts that are Parquet files."""

    suffix = ".parquet"

    def __init__(self, columns: Columns) -> None:
        self._pyarrow = _pyarrow()
        self._columns = columns
        self._schema = _schema(self._pyarrow, columns)

    def write(self, file: IO[bytes], rows: Sequence[Row]) -> None:
        columns = self._columns
        values = [
            {**row.fields(columns.fields), "flags": list(row.flags), **columns.to_cells(row)} for row in rows
        ]
        table = self._pyarrow.Table.from_pylist(values, schema=self._schema)
        self._pyarrow.parquet.write_table(table, file)

    def read(self, part: Path) -> Iterator[Row]:
        return read_part(part, self._columns)

    def merge(self, file: IO[bytes], parts: Iterable[Path]) -> None:
        parquet = self._pyarrow.parquet
        with parquet.ParquetWriter(file, self._schema) as writer:
            for part in parts:
                with part.open("rb") as source:
                    writer.write_table(parquet.read_table(source, schema=self._schema))


def read_part(part: Path, columns: Columns) -> Iterator[Row]:
    """The rows of a part, without its arrays. Raises OSError or ValueError for a file with another schema."""
    pyarrow = _pyarrow()
    schema = _schema(pyarrow, columns)
    names = [name for name in schema.names if columns.types.get(name) not in (REALS, INTEGERS)]
    with part.open("rb") as content:
        file = pyarrow.parquet.ParquetFile(content)
        if file.schema_arrow != schema:
            raise ValueError("it has other columns")
        for batch in file.iter_batches(columns=names):
            for values in batch.to_pylist():
                fields = {name: values[name] for name in columns.fields}
                result = columns.from_cells(values) if values["status"] == "ok" else None
                yield Row(**fields, flags=tuple(values["flags"]), result=result)


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
