"""The result of detection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Detection:
    """One object. `box`: left, top, right, bottom in pixels of the original image, to a thousandth.

    `rle`: the mask in the original image as COCO's compressed run-length encoding, if it is needed.
    """

    index: int
    name: str
    score: float
    box: tuple[float, float, float, float]
    rle: str | None = None


@dataclass(frozen=True)
class Detections:
    """A prediction, best object first. Rows have `objects` only.

    `masks`: probabilities over each object's box (objects, rows, columns). `model_input`: the scaled image
    given to the model, without padding, uint8 (height, width, channels).
    """

    objects: tuple[Detection, ...]
    masks: np.ndarray
    model_input: np.ndarray
