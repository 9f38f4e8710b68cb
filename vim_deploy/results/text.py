"""CSV and JSON Lines: a record is one line of bytes, so half a record is known by its missing line end."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any, Protocol

from vim_deploy.predict import Score

from .escape import escape, guard, unescape, unguard
from .formats import Format
from .row import NUMBER_FIELDS, Row, scores_of


class Codec(Protocol):
    """`header` opens the file; `line` and `row` are each other's inverse but for features.

    `row` raises ValueError for a line that is no record.
    """

    header: bytes

    def line(self, row: Row) -> bytes: ...

    def row(self, line: bytes) -> Row: ...


def codec(format: Format, task: str, top_k: int) -> Codec:
    return CsvCodec(top_k) if format is Format.CSV else JsonLinesCodec(task)


class CsvCodec:
    """Columns: the fields, `flags` (separated by spaces), and a name and a probability for each place.

    Text is escaped and guarded, so that no cell holds a line end or is taken for a formula.
    """

    def __init__(self, top_k: int) -> None:
        self._top_k = top_k
        empty = Row("", "")
        self._columns = [*empty.fields(), "flags", *empty.top_columns(top_k)]
        self.header = _csv_line(self._columns)

    def line(self, row: Row) -> bytes:
        # The path is escaped already.
        cells = [guard(row.path)]
        cells += [_cell(value) for name, value in row.fields().items() if name != "path"]
        cells.append(" ".join(row.flags))
        cells += [_cell(value) for value in row.top_columns(self._top_k).values()]
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
            if name not in NUMBER_FIELDS and not name.endswith("_probability"):
                cell = unguard(cell)
                values[name] = cell if name == "path" else unescape(cell).decode("utf-8", "surrogatepass")
        return _row(values, tuple(values["flags"].split()), scores_of(values, self._top_k))


class JsonLinesCodec:
    """An object per line: the fields, `flags` (a list), and `top` (a list of objects) or `features`."""

    header = b""

    def __init__(self, task: str) -> None:
        self._task = task

    def line(self, row: Row) -> bytes:
        values = row.fields()
        values["flags"] = list(row.flags)
        if self._task == "features":
            values["features"] = None if row.features is None else row.features.tolist()
        else:
            values["top"] = [
                {"class": score.name, "index": score.index, "probability": score.probability}
                for score in row.top
            ]
        # A lone half of a surrogate pair, which no encoder takes, can only come with a class name.
        text = json.dumps(values, ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8", "backslashreplace") + b"\n"

    def row(self, line: bytes) -> Row:
        try:
            values = json.loads(line)
            scores = tuple(
                Score(score["index"], score["class"], score["probability"]) for score in values.get("top", ())
            )
            return _row(values, tuple(values["flags"]), scores)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(repr(error)) from None


def _row(values: dict[str, Any], flags: tuple[str, ...], top: tuple[Score, ...]) -> Row:
    if values["status"] not in ("ok", "error") or not isinstance(values["path"], str):
        raise ValueError(f"status {values['status']!r}")
    rank, width, height = (
        None if values[name] in (None, "") else int(values[name]) for name in NUMBER_FIELDS
    )
    return Row(
        path=values["path"],
        status=values["status"],
        reason=values["reason"] or None,
        label=values["label"] or None,
        rank=rank,
        width=width,
        height=height,
        flags=flags,
        top=top,
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
