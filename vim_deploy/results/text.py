"""CSV and JSON Lines: a record is one line of bytes, so half a record is known by its missing line end."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any, Protocol

from vim_deploy.results.columns import INTEGER, REAL, Columns, columns_of
from vim_deploy.results.escape import escape, guard, unescape, unguard
from vim_deploy.results.formats import Format
from vim_deploy.results.row import NUMBER_FIELDS, Row


class Codec(Protocol):
    """`header` opens the file; `line` and `row` are each other's inverse, as far as the columns are.

    `row` raises ValueError for a line that is no record.
    """

    header: bytes

    def line(self, row: Row) -> bytes: ...

    def row(self, line: bytes) -> Row: ...


def codec(format: Format, task: str, top_k: int) -> Codec:
    columns = columns_of(task, top_k)
    return CsvCodec(columns) if format is Format.CSV else JsonLinesCodec(columns)


class CsvCodec:
    """Columns: the fields, `flags` (separated by spaces), and what the task adds.

    Text is escaped and guarded, so that no cell holds a line end or is taken for a formula.
    """

    def __init__(self, columns: Columns) -> None:
        self._of_task = columns
        self._columns = [*columns.fields, "flags", *columns.types]
        self._numbers = {name for name, kind in columns.types.items() if kind in (INTEGER, REAL)}
        self._numbers |= set(NUMBER_FIELDS)
        self.header = _csv_line(self._columns)

    def line(self, row: Row) -> bytes:
        # The path is escaped already.
        cells = [guard(row.path)]
        fields = row.fields(self._of_task.fields)
        cells += [_cell(value) for name, value in fields.items() if name != "path"]
        cells.append(" ".join(row.flags))
        cells += [_cell(value) for value in self._of_task.flat(row).values()]
        return _csv_line(cells)

    def row(self, line: bytes) -> Row:
        try:
            (cells,) = csv.reader([line.decode()], strict=True)
        except csv.Error as error:
            raise ValueError(str(error)) from None
        if len(cells) != len(self._columns):
            raise ValueError(f"{len(cells)} cells instead of {len(self._columns)}")
        values: dict[str, Any] = dict(zip(self._columns, cells, strict=True))
        for name, cell in values.items():
            if name not in self._numbers:
                cell = unguard(cell)
                values[name] = cell if name == "path" else unescape(cell).decode("utf-8", "surrogatepass")
        try:
            return _row(values, tuple(values["flags"].split()), self._of_task.from_flat(values))
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(repr(error)) from None


class JsonLinesCodec:
    """An object per line: the fields, `flags` (a list), and what the task adds."""

    header = b""

    def __init__(self, columns: Columns) -> None:
        self._of_task = columns

    def line(self, row: Row) -> bytes:
        values = {**row.fields(self._of_task.fields), "flags": list(row.flags), **self._of_task.plain(row)}
        # A lone half of a surrogate pair, which no encoder takes, can only come with a class name.
        text = json.dumps(values, ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8", "backslashreplace") + b"\n"

    def row(self, line: bytes) -> Row:
        try:
            values = json.loads(line)
            return _row(values, tuple(values["flags"]), self._of_task.from_plain(values))
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(repr(error)) from None


def _row(values: dict[str, Any], flags: tuple[str, ...], of_task: dict[str, Any]) -> Row:
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
        **of_task,
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
