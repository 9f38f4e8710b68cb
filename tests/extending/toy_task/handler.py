from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vim_deploy.options import option
from vim_deploy.results.columns import COMMON_FIELDS, REAL, TEXT, Columns
from vim_deploy.results.row import Row
from vim_deploy.tasks.array_output import ArrayOutputHandler
from vim_deploy.tasks.base import Network


@dataclass(frozen=True)
class CertaintyOptions:
    unit: str = option("share", help="share or percent.")


class CertaintyColumns(Columns):
    """`certainty` in the selected unit."""

    def __init__(self) -> None:
        super().__init__(COMMON_FIELDS, {"certainty": REAL, "unit": TEXT})

    def to_cells(self, row: Row) -> dict[str, Any]:
        return dict(zip(self.types, row.result or (None, None), strict=True))

    def from_cells(self, values: dict[str, Any]) -> tuple[float, str]:
        return float(values["certainty"]), str(values["unit"])

    to_json, from_json = to_cells, from_cells


class CertaintyHandler(ArrayOutputHandler):
    def __init__(self, network: Network, options: CertaintyOptions, inputs: Sequence[str]) -> None:
        super().__init__(network)
        self._unit = options.unit

    @property
    def columns(self) -> CertaintyColumns:
        return CertaintyColumns()

    def _fields(self, output: np.ndarray, label: int | None) -> dict[str, Any]:
        factor = 100 if self._unit == "percent" else 1
        return {"result": (factor * float(output[0]), self._unit)}
