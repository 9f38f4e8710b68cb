"""Matches the objects of an image with its annotations, which shows where the worst predictions are.

It does not replace the average precision: it uses one score threshold and one IoU.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from vim_deploy.tasks.detect.annotations import Annotations
from vim_deploy.tasks.detect.result import Box, Detection, box_of

IOU = 0.5  # of boxes that match


@dataclass(frozen=True)
class Matches:
    """Numbers of objects: `correct` have a matching annotation, `wrong` have none, `missed` annotations have
    no object."""

    correct: int
    wrong: int
    missed: int

    @property
    def mistake(self) -> float:
        """The fraction of objects and annotations without a match."""
        return (self.wrong + self.missed) / max(1, self.correct + self.wrong + self.missed)

    def __str__(self) -> str:
        return f"{self.correct} correct, {self.wrong} wrong, {self.missed} missed"


class AnnotatedObjects:
    """The annotated boxes by image and class; crowds are left out."""

    def __init__(self, annotations: Annotations) -> None:
        indices = {number: index for index, number in enumerate(annotations.category_ids)}
        names = {number: name for name, number in annotations.image_ids.items()}
        self._boxes: dict[str, list[tuple[int, Box]]] = {name: [] for name in annotations.image_ids}
        for entry in annotations.content["annotations"]:
            name, index = names.get(entry["image_id"]), indices.get(entry["category_id"])
            if name is not None and index is not None and not entry["iscrowd"]:
                left, top, width, height = entry["bbox"]
                self._boxes[name].append((index, box_of((left, top, left + width, top + height))))

    def match(self, path: str, objects: Sequence[Detection]) -> Matches | None:
        """`objects`: best first. Each takes the free annotation of its class with the largest IoU.

        An IoU below IOU is no match. None for an image that is not in the annotations.
        """
        annotated = self._boxes.get(PurePath(path).name)
        if annotated is None:
            return None
        free: dict[int, list[Box]] = defaultdict(list)
        for index, box in annotated:
            free[index].append(box)
        correct = 0
        for found in objects:
            boxes = free[found.index]
            best = max(boxes, key=lambda box: iou(box, found.box), default=None)
            if best is not None and iou(best, found.box) >= IOU:
                boxes.remove(best)
                correct += 1
        return Matches(correct, len(objects) - correct, len(annotated) - correct)


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes; 0 for empty ones."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0.0, width) * max(0.0, height)
    union = _area(one) + _area(other) - common
    return common / union if union > 0 else 0.0


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
