"""CSV and JSON Lines. A record is one line, so an incomplete record is recognized by its missing newline."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from vim_deploy.results.columns import INTEGER, REAL, Columns
from vim_deploy.results.escape import escape, guard, unescape, unguard
from vim_deploy.results.formats import Format
from vim_deploy.results.row import NUMBER_FIELDS, Row


class Codec(Protocol):
    """`header` starts the file; `row` parses a line written by `line` and raises ValueError for others."""

    header: bytes

    def line(self, row: Row) -> bytes: ...

    def row(self, line: bytes) -> Row: ...


def codec(format: Format, columns: Columns) -> Codec:
    return CsvCodec(columns) if format is Format.CSV else JsonLinesCodec(columns)


class CsvCodec:
    """Columns: the fields, `flags` (separated by spaces), and the task's columns.

    Text is escaped and guarded, so that no cell contains a newline or is evaluated as a formula.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._names = [*columns.fields, "flags", *columns.types]
        self._numbers = {name for name, kind in columns.types.items() if kind in (INTEGER, REAL)}
        self._numbers |= set(NUMBER_FIELDS)
        self.header = _csv_line(self._names)

    def line(self, row: Row) -> bytes:
        # The path is already escaped.
        cells = [guard(row.path)]
        fields = row.fields(self._columns.fields)
        cells += [_cell(value) for name, value in fields.items() if name != "path"]
        cells.append(" ".join(row.flags))
        cells += [_cell(value) for value in self._columns.to_cells(row).values()]
        return _csv_line(cells)

    def row(self, line: bytes) -> Row:
        try:
            (cells,) = csv.reader([line.decode()], strict=True)
        except csv.Error as error:
            raise ValueError(str(error)) from None
        if len(cells) != len(self._names):
            raise ValueError(f"{len(cells)} cells instead of {len(self._names)}")
        values: dict[str, Any] = dict(zip(self._names, cells, strict=True))
        for name, cell in values.items():
            if name not in self._numbers:
                cell = unguard(cell)
                values[name] = cell if name == "path" else unescape(cell).decode("utf-8", "surrogatepass")
        try:
            return _row(values, tuple(values["flags"].split()), self._columns.from_cells)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(repr(error)) from None


class JsonLinesCodec:
    """One object per line: the fields, `flags` (a list), and the task's values."""

    header = b""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def line(self, row: Row) -> bytes:
        values = self._columns.record(row)
        # Only class names can contain lone surrogates, which UTF-8 cannot encode.
        text = json.dumps(values, ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8", "backslashreplace") + b"\n"

    def row(self, line: bytes) -> Row:
        try:
            values = json.loads(line)
            return _row(values, tuple(values["flags"]), self._columns.from_json)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(repr(error)) from None


class TextParts:
    """Parts that are complete files of one codec. `format`: the suffix without its point."""

    def __init__(self, codec: Codec, format: str) -> None:
        self._codec, self.suffix = codec, f".{format}"

    def write(self, file: IO[bytes], rows: Sequence[Row]) -> None:
        file.write(self._codec.header)
        file.writelines(map(self._codec.line, rows))

    def read(self, part: Path) -> Iterator[Row]:
        with part.open("rb") as file:
            if file.read(len(self._codec.header)) != self._codec.header:
                raise ValueError("it has other columns")
            yield from map(self._codec.row, file)

    def merge(self, file: IO[bytes], parts: Iterable[Path]) -> None:
        file.write(self._codec.header)
        for part in parts:
            with part.open("rb") as source:
                source.seek(len(self._codec.header))
                shutil.copyfileobj(source, file, 1 << 20)


def _row(values: dict[str, Any], flags: tuple[str, ...], read_result: Callable[[dict[str, Any]], Any]) -> Row:
    if values["status"] not in ("ok", "error") or not isinstance(values["path"], str):
        raise ValueError(f"status {values['status']!r}")
    rank, width, height = (
        None if values.get(name) in (None, "") else int(values[name]) for name in NUMBER_FIELDS
    )
    return Row(
        path=values["path"],
        status=values["status"],
        reason=values["reason"] or None,
        label=values.get("label") or None,
        rank=rank,
        width=width,
        height=height,
        flags=flags,
        result=read_result(values) if values["status"] == "ok" else None,
    )


def _csv_line(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.9g}"
    return guard(escape(value)) if isinstance(value, str) else str(value)
