"""The columns of the task raw."""

from __future__ import annotations

import json
from typing import Any

from vim_deploy.results.columns import COMMON_FIELDS, TEXT, Columns
from vim_deploy.results.row import Row
from vim_deploy.tasks.raw.result import RawFile


class RawColumns(Columns):
    """`file`, escaped like paths, and `shapes` of the arrays in it, by name; outside of JSON as JSON text."""

    def __init__(self) -> None:
        super().__init__(COMMON_FIELDS, {"file": TEXT, "shapes": TEXT})

    def to_json(self, row: Row) -> dict[str, Any]:
        if row.result is None:
            return dict.fromkeys(self.types)
        shapes = {name: list(shape) for name, shape in row.result.shapes.items()}
        return {"file": row.result.path, "shapes": shapes}

    def to_cells(self, row: Row) -> dict[str, Any]:
        values = self.to_json(row)
        return values if row.result is None else {**values, "shapes": json.dumps(values["shapes"])}

    def from_json(self, values: dict[str, Any]) -> RawFile:
        shapes = {str(name): tuple(map(int, shape)) for name, shape in values["shapes"].items()}
        return RawFile(values["file"], shapes)

    def from_cells(self, values: dict[str, Any]) -> RawFile:
        return self.from_json({**values, "shapes": json.loads(values["shapes"])})
