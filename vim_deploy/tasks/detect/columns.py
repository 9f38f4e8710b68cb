"""The columns of detection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from vim_deploy.results.columns import COMMON_FIELDS, INTEGER, SIZE_FIELDS, TEXT, Columns
from vim_deploy.results.escape import unescaped_path
from vim_deploy.results.row import Row
from vim_deploy.results.tables import Cell, Table
from vim_deploy.tasks.detect.matching import AnnotatedObjects, Matches
from vim_deploy.tasks.detect.options import PICTURE_THRESHOLD
from vim_deploy.tasks.detect.result import Detection, box_of

_MAX_DETAILS = 100  # objects of an image in the report


class ObjectColumns(Columns):
    """`objects`: class, score, box (left, top, right, bottom) and mask (RLE) of each, best first.

    A list of objects; in CSV and Parquet as JSON text. These have two more columns that are easier to read:
    `count`, and `best`, the best score of each class. `annotated`: what the images of the run contain.
    """

    def __init__(
        self, picture_threshold: float = PICTURE_THRESHOLD, annotated: AnnotatedObjects | None = None
    ) -> None:
        self._picture_threshold, self._annotated = picture_threshold, annotated
        super().__init__((*COMMON_FIELDS, *SIZE_FIELDS), {"count": INTEGER, "best": TEXT, "objects": TEXT})

    def to_json(self, row: Row) -> dict[str, Any]:
        objects = [
            {
                "class": found.name,
                "index": found.index,
                "score": found.score,
                "box": list(found.box),
                "rle": found.rle,
            }
            for found in row.result or ()
        ]
        return {"objects": objects}

    def from_json(self, values: dict[str, Any]) -> tuple[Detection, ...]:
        return tuple(
            Detection(
                int(found["index"]),
                str(found["class"]),
                float(found["score"]),
                box_of(found["box"]),
                None if found["rle"] is None else str(found["rle"]),
            )
            for found in values["objects"]
        )

    def to_cells(self, row: Row) -> dict[str, Any]:
        if row.result is None:
            return dict.fromkeys(self.types)
        return {
            "count": len(row.result),
            "best": "; ".join(f"{name}: {score:.3f}" for name, score in self.scores(row)),
            "objects": json.dumps(self.to_json(row)["objects"], ensure_ascii=False),
        }

    def from_cells(self, values: dict[str, Any]) -> tuple[Detection, ...]:
        return self.from_json({"objects": json.loads(values["objects"] or "[]")})

    def scores(self, row: Row) -> Sequence[tuple[str, float]]:
        """The best score of each class."""
        best: dict[str, float] = {}
        for found in row.result or ():
            best.setdefault(found.name, found.score)
        return list(best.items())

    def details(self, row: Row) -> Table | None:
        """The objects that are drawn, best first."""
        if row.result is None:
            return None
        head = ("class", "score", "left", "top", "right", "bottom")
        rows: list[tuple[Cell, ...]] = [
            (found.name, found.score, *(round(side, 1) for side in found.box))
            for found in self._drawn(row)[:_MAX_DETAILS]
        ]
        title = f"Objects with a score above {self._picture_threshold:g}"
        return Table(title, head, rows, shares=(1,), classes=True)

    def mistake(self, row: Row) -> float | None:
        """The fraction of drawn and annotated objects without a match."""
        matches = self._matches(row)
        return None if matches is None else matches.mistake or None

    def remark(self, row: Row) -> str:
        matches = self._matches(row)
        return "" if matches is None else str(matches)

    def _drawn(self, row: Row) -> list[Detection]:
        return [found for found in row.result or () if found.score > self._picture_threshold]

    def _matches(self, row: Row) -> Matches | None:
        if self._annotated is None or row.status != "ok":
            return None
        return self._annotated.match(unescaped_path(row.path), self._drawn(row))
