"""The columns of segmentation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from vim_deploy.results.columns import COMMON_FIELDS, SIZE_FIELDS, TEXT, Columns
from vim_deploy.results.row import Row
from vim_deploy.results.tables import Table
from vim_deploy.tasks.segment.result import ClassArea, ClassOverlap, SegmentationRow, iou_of

_OVERLAP_KEYS = ("index", "intersection", "predicted", "ground_truth")


class SegmentColumns(Columns):
    """`classes`: the classes of the label map with their areas; `overlap` with the ground truth, or null.

    Lists of objects; in CSV and Parquet as JSON text.
    """

    def __init__(self) -> None:
        super().__init__((*COMMON_FIELDS, *SIZE_FIELDS), {"classes": TEXT, "overlap": TEXT})

    def to_json(self, row: Row) -> dict[str, Any]:
        if row.result is None:
            return {"classes": [], "overlap": None}
        pixels = (row.width or 0) * (row.height or 0)
        classes = [
            {"class": area.name, "index": area.index, "pixels": area.pixels, "share": area.pixels / pixels}
            for area in row.result.areas
        ]
        overlap = row.result.overlap
        return {"classes": classes, "overlap": None if overlap is None else [vars(item) for item in overlap]}

    def from_json(self, values: dict[str, Any]) -> SegmentationRow:
        areas = tuple(
            ClassArea(int(area["index"]), str(area["class"]), int(area["pixels"]))
            for area in values["classes"]
        )
        overlap = values["overlap"]
        if overlap is not None:
            overlap = tuple(ClassOverlap(*(int(item[key]) for key in _OVERLAP_KEYS)) for item in overlap)
        return SegmentationRow(areas, overlap)

    def to_cells(self, row: Row) -> dict[str, Any]:
        if row.result is None:
            return dict.fromkeys(self.types)
        return {
            name: None if value is None else json.dumps(value, ensure_ascii=False)
            for name, value in self.to_json(row).items()
        }

    def from_cells(self, values: dict[str, Any]) -> SegmentationRow:
        return self.from_json(
            {
                "classes": json.loads(values["classes"] or "[]"),
                "overlap": json.loads(values["overlap"] or "null"),
            }
        )

    def scores(self, row: Row) -> Sequence[tuple[str, float]]:
        """The share of each class."""
        areas = () if row.result is None else row.result.areas
        pixels = sum(area.pixels for area in areas)
        return [(area.name, area.pixels / pixels) for area in areas]

    def mistake(self, row: Row) -> float | None:
        """1 - mIoU of the image, over the classes of the prediction and the ground truth."""
        miou = _miou(row)
        return None if miou is None or miou == 1 else 1 - miou

    def remark(self, row: Row) -> str:
        miou = _miou(row)
        return "" if miou is None else f"mIoU {miou:.2%}"

    def details(self, row: Row) -> Table | None:
        if row.result is None:
            return None
        pixels = sum(area.pixels for area in row.result.areas)
        if row.result.overlap is None:
            rows = [(area.name, area.pixels / pixels, area.pixels) for area in row.result.areas]
            return Table("Classes", ("class", "area", "pixels"), rows, shares=(1,), classes=True)
        ious = {item.index: iou_of(item) for item in row.result.overlap}
        with_iou = [
            (area.name, area.pixels / pixels, ious.get(area.index), area.pixels) for area in row.result.areas
        ]
        return Table("Classes", ("class", "area", "IoU", "pixels"), with_iou, shares=(1, 2), classes=True)


def _miou(row: Row) -> float | None:
    """Of one image; None without ground truth."""
    overlap = None if row.result is None else row.result.overlap
    return sum(iou_of(item) for item in overlap) / len(overlap) if overlap else None
