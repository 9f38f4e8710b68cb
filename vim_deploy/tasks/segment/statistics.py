"""Statistics over the rows of a segmentation run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vim_deploy.results.row import Row
from vim_deploy.results.tables import Cell, Table, TaskReport
from vim_deploy.tasks.palette import hexadecimal_color
from vim_deploy.tasks.segment.ground_truth import OverlapTotals
from vim_deploy.tasks.segment.result import SegmentationRow
from vim_deploy.tasks.segment.visualization import is_colored
from vim_deploy.tasks.whole_image import edited_row
from vim_deploy.text import plural

_MAX_SHOWN = 5


class SegmentStatistics:
    """The total area of every class and, with ground truth, IoU and accuracy."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self._names = tuple(class_names)
        self._images = np.zeros(len(class_names), np.int64)
        self._pixels = np.zeros(len(class_names), np.int64)
        self._overlap = OverlapTotals.empty(len(class_names))
        self._compared = 0

    def count(self, row: Row) -> None:
        """Raises OutputError for a class that the model does not have."""
        if row.result is None:
            return
        result: SegmentationRow = row.result
        indices = [area.index for area in result.areas] + [item.index for item in result.overlap or ()]
        if unknown := [index for index in indices if not 0 <= index < len(self._names)]:
            raise edited_row(row, f"the class index {unknown[0]}", len(self._names))
        for area in result.areas:
            self._images[area.index] += 1
            self._pixels[area.index] += area.pixels
        if result.overlap is not None:
            self._compared += 1
            self._overlap.add(result.overlap)

    def table(self) -> Iterator[tuple[Any, ...]]:
        """A row for each class, see AREA_COLUMNS in options.py; unknown values are empty."""
        whole = max(1, int(self._pixels.sum()))
        iou, accuracy = self._overlap.iou(), self._overlap.accuracy()
        for index, name in enumerate(self._names):
            ratios = ("" if value is None else f"{value:.6f}" for value in (iou[index], accuracy[index]))
            pixels = int(self._pixels[index])
            color = hexadecimal_color(index) if is_colored(name) else ""
            yield index, name, int(self._images[index]), pixels, f"{pixels / whole:.6f}", *ratios, color

    def to_dict(self) -> dict[str, Any]:
        overlap = self._overlap
        return {
            "classes_found": int((self._images > 0).sum()),
            "compared_with_ground_truth": self._compared,
            "miou": overlap.miou,
            "mean_accuracy": overlap.mean_accuracy,
            "pixel_accuracy": overlap.pixel_accuracy,
            "iou": [[name, value] for name, value in zip(self._names, overlap.iou(), strict=True)]
            if self._compared
            else None,
        }

    def report(self) -> TaskReport:
        overlap, whole = self._overlap, max(1, int(self._pixels.sum()))
        iou, accuracy = overlap.iou(), overlap.accuracy()
        head: tuple[str, ...] = ("class", "images", "area")
        present = [
            index for index in range(len(self._names)) if self._images[index] or iou[index] is not None
        ]
        rows: list[tuple[Cell, ...]] = [
            (self._names[index], int(self._images[index]), int(self._pixels[index]) / whole)
            for index in present
        ]
        figures = {}
        if self._compared:
            head = (*head, "IoU", "accuracy")
            rows = [(*row, iou[index], accuracy[index]) for row, index in zip(rows, present, strict=True)]
            values = {"mIoU": overlap.miou, "pixel accuracy": overlap.pixel_accuracy,
                      "mean accuracy": overlap.mean_accuracy}  # fmt: skip
            figures = {name: f"{value:.2%}" for name, value in values.items() if value is not None}
        table = Table("Classes", head, rows, shares=tuple(range(2, len(head))), classes=True)
        colors = {
            name: hexadecimal_color(index) for index, name in enumerate(self._names) if is_colored(name)
        }
        return TaskReport(figures, [table], colors)

    def lines(self) -> list[str]:
        order = np.argsort(-self._pixels, kind="stable")[:_MAX_SHOWN]
        whole = int(self._pixels.sum())
        largest = [
            f"{self._names[index]}: {self._pixels[index] / whole:.1%}"
            for index in order
            if self._pixels[index]
        ]
        lines = [f"largest classes: {', '.join(largest)}"] if largest else []
        overlap = self._overlap
        if overlap.pixels:
            occurring = sum(value is not None for value in overlap.iou())
            lines.append(
                f"compared with the ground truth of {plural(self._compared, 'image')}: mIoU "
                f"{overlap.miou:.2%} over {plural(occurring, 'class', 'classes')}, pixel accuracy "
                f"{overlap.pixel_accuracy:.2%}, mean accuracy {overlap.mean_accuracy:.2%}"
            )
        return lines
