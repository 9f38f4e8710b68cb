"""The result of detection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Box: TypeAlias = "tuple[float, float, float, float]"  # left, top, right, bottom


def box_of(values: Iterable[Any]) -> Box:
    """Four numbers as a box."""
    left, top, right, bottom = (float(value) for value in values)
    return left, top, right, bottom


@dataclass(frozen=True)
class Detection:
    """One object. `box`: in pixels of the original image, to a thousandth.

    `rle`: the mask in the original image as COCO's compressed run-length encoding, if it is needed.
    """

    index: int
    name: str
    score: float
    box: Box
    rle: str | None = None


@dataclass(frozen=True)
class Detections:
    """A prediction, best object first. Rows have `objects` only.

    `masks`: probabilities over each object's box (objects, rows, columns).
    """

    objects: tuple[Detection, ...]
    masks: np.ndarray
