"""The columns that a task adds to rows, and their form in each file format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from vim_deploy.results.row import Row
from vim_deploy.results.tables import Table

TEXT, INTEGER, REAL, INTEGERS, REALS = "text", "integer", "real", "integers", "reals"  # column types

COMMON_FIELDS = ("path", "status", "reason")
SIZE_FIELDS = ("width", "height")
LABEL_FIELDS = ("label", "rank")


class Columns(ABC):
    """Writes and reads `Row.result` of one task.

    `fields`: the fields of Row that the task's files have. `types`: the columns of CSV and Parquet, with
    their types; `to_cells` fills them and `from_cells` reads them back. `to_json` and `from_json` do the same
    for the values of JSON Lines. The readers return `Row.result` and raise KeyError, TypeError or ValueError
    for values that were not written by the writers; rows with an error are not read. `csv_error`: why the
    columns cannot be written to CSV and what to do instead, None if they can.
    """

    csv_error: str | None = None

    def __init__(self, fields: tuple[str, ...], types: dict[str, str]) -> None:
        self.fields, self.types = fields, types

    @abstractmethod
    def to_cells(self, row: Row) -> dict[str, Any]: ...

    @abstractmethod
    def from_cells(self, values: dict[str, Any]) -> Any: ...

    @abstractmethod
    def to_json(self, row: Row) -> dict[str, Any]: ...

    @abstractmethod
    def from_json(self, values: dict[str, Any]) -> Any: ...

    def record(self, row: Row) -> dict[str, Any]:
        """The row as plain data: an object in JSON Lines."""
        return {**row.fields(self.fields), "flags": list(row.flags), **self.to_json(row)}

    def scores(self, row: Row) -> Sequence[tuple[str, float]]:
        """What the report shows for a row: classes with a number from 0 to 1, largest first."""
        return ()

    def predicted(self, row: Row) -> str | None:
        """The one class predicted for the image, for tasks that predict one."""
        return None

    def mistake(self, row: Row) -> float | None:
        """How wrong the prediction is, from 0 to 1; None if it is right or the truth is not known."""
        return None

    def remark(self, row: Row) -> str:
        """A short text about the prediction for the report."""
        return ""

    def details(self, row: Row) -> Table | None:
        """What the report shows for a row when its picture is enlarged."""
        return None
