"""The figures of a run that segments, counted row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vim_deploy.errors import OutputError
from vim_deploy.results import Row
from vim_deploy.tasks.segment.ground_truth import Scores

_SHOWN = 5


class SegmentFigures:
    """Areas of every class, and with truth how far label maps agree with it."""

    COLUMNS = ("index", "class", "images", "pixels", "share", "iou", "accuracy")

    def __init__(self, class_names: Sequence[str]) -> None:
        self._names = tuple(class_names)
        self._images = np.zeros(len(class_names), np.int64)
        self._pixels = np.zeros(len(class_names), np.int64)
        self._scores = Scores.empty(len(class_names))
        self._compared = 0

    def count(self, row: Row) -> None:
        indices = [area.index for area in row.areas] + [entry.index for entry in row.agreement or ()]
        if unknown := [index for index in indices if not 0 <= index < len(self._names)]:
            raise OutputError(
                f"the row of {row.path} has the class number {unknown[0]}, and the model has "
                f"{len(self._names)} classes: the rows were edited. Begin with --restart."
            )
        for area in row.areas:
            self._images[area.index] += 1
            self._pixels[area.index] += area.pixels
        if row.agreement is not None:
            self._compared += 1
            self._scores.add(row.agreement)

    def table(self) -> Iterator[tuple[Any, ...]]:
        """A row for each class; see COLUMNS. Empty where nothing is known."""
        whole = max(1, int(self._pixels.sum()))
        iou, accuracy = self._scores.iou(), self._scores.accuracy()
        for index, name in enumerate(self._names):
            ratios = ("" if value is None else f"{value:.6f}" for value in (iou[index], accuracy[index]))
            pixels = int(self._pixels[index])
            yield index, name, int(self._images[index]), pixels, f"{pixels / whole:.6f}", *ratios

    def to_dict(self) -> dict[str, Any]:
        scores = self._scores
        return {
            "classes_found": int((self._images > 0).sum()),
            "compared_with_truth": self._compared,
            "miou": scores.miou,
            "mean_accuracy": scores.mean_accuracy,
            "pixel_accuracy": scores.pixel_accuracy,
            "iou": [[name, value] for name, value in zip(self._names, scores.iou(), strict=True)]
            if self._compared
            else None,
        }

    def lines(self) -> list[str]:
        order = np.argsort(-self._pixels, kind="stable")[:_SHOWN]
        whole = int(self._pixels.sum())
        largest = [
            f"{self._names[index]} {self._pixels[index] / whole:.1%}"
            for index in order
            if self._pixels[index]
        ]
        lines = [f"largest classes: {', '.join(largest)}"] if largest else []
        scores = self._scores
        if scores.pixels:
            occurring = sum(value is not None for value in scores.iou())
            lines.append(
                f"against the true label maps of {self._compared} images: mIoU {scores.miou:.2%} over "
                f"{occurring} classes, pixel accuracy {scores.pixel_accuracy:.2%}, mean accuracy "
                f"{scores.mean_accuracy:.2%}"
            )
        return lines
