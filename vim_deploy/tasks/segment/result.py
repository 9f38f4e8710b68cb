"""The results of segmentation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClassArea:
    """A class of a label map, and its number of pixels."""

    index: int
    name: str
    pixels: int


@dataclass(frozen=True)
class ClassOverlap:
    """Labeled pixels of one class: in both maps, in the predicted map, in the ground truth."""

    index: int
    intersection: int
    predicted: int
    ground_truth: int


def iou_of(overlap: ClassOverlap) -> float:
    """The intersection over union of a class that occurs in one of the maps."""
    return overlap.intersection / (overlap.predicted + overlap.ground_truth - overlap.intersection)


@dataclass(frozen=True)
class Segmentation:
    """A prediction.

    `labels`: class indices, 8- or 16-bit (height, width), of the image's size. `areas`: the classes in it,
    largest first.
    """

    labels: np.ndarray
    areas: tuple[ClassArea, ...]


@dataclass(frozen=True)
class SegmentationRow:
    """The part of a prediction that rows have. `overlap` is None without ground truth."""

    areas: tuple[ClassArea, ...]
    overlap: tuple[ClassOverlap, ...] | None = None
