"""The columns of feature extraction."""

from __future__ import annotations

from typing import Any

from vim_deploy.results.columns import (
    COMMON_FIELDS,
    INTEGERS,
    LABEL_FIELDS,
    REALS,
    SIZE_FIELDS,
    TEXT,
    Columns,
)
from vim_deploy.results.row import Row
from vim_deploy.tasks.features.result import FeatureFile
from vim_deploy.text import by

_FIELDS = (*COMMON_FIELDS, *LABEL_FIELDS, *SIZE_FIELDS)


class FeatureColumns(Columns):
    """`features`, in Parquet with their `shape`. They are not read back."""

    csv_error = (
        "features do not fit into CSV; use -o with a name ending in .jsonl or .parquet, or write them to "
        "files with --arrays."
    )

    def __init__(self) -> None:
        super().__init__(_FIELDS, {"features": REALS, "shape": INTEGERS})

    def to_cells(self, row: Row) -> dict[str, Any]:
        if row.result is None:
            return dict.fromkeys(self.types)
        values = row.result.values
        return {"features": values.ravel(), "shape": list(values.shape)}

    def to_json(self, row: Row) -> dict[str, Any]:
        return {"features": None if row.result is None else row.result.values.tolist()}

    def from_cells(self, values: dict[str, Any]) -> None:
        return None

    from_json = from_cells


class FeatureFileColumns(Columns):
    """`file`, escaped like paths, and `shape` of the array in it, e.g. 192x14x14."""

    def __init__(self) -> None:
        super().__init__(_FIELDS, {"file": TEXT, "shape": TEXT})

    def to_cells(self, row: Row) -> dict[str, Any]:
        if row.result is None:
            return dict.fromkeys(self.types)
        return {"file": row.result.path, "shape": by(row.result.shape) or None}

    def from_cells(self, values: dict[str, Any]) -> FeatureFile:
        shape = values["shape"]
        return FeatureFile(values["file"], tuple(int(side) for side in shape.split("x")) if shape else ())

    to_json, from_json = to_cells, from_cells
