"""Pastes the mask of a box into the image. numpy only."""

from __future__ import annotations

import math

import numpy as np

THRESHOLD = 0.5  # mask probability of pixels that belong to the object


def paste_mask(mask: np.ndarray, box: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boolean (height, width): whether the mask's probability is at least `THRESHOLD`.

    `mask` (rows, columns) covers `box` (left, top, right, bottom, in pixels of the image). It is sampled
    bilinearly at the pixels' centers and is zero outside, as in detectron2's `paste_masks_in_image`.
    """
    inside, left, top = paste_into_box(mask, box, height, width)
    whole = np.zeros((height, width), bool)
    whole[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return whole


def paste_into_box(mask: np.ndarray, box: np.ndarray, height: int, width: int) -> tuple[np.ndarray, int, int]:
    """The part of `paste_mask` that the mask can reach, with the position of its first column and row."""
    left, top, right, bottom = (float(value) for value in box)
    rows, (first, _) = _weights(top, bottom, height, mask.shape[0])
    columns, (begin, _) = _weights(left, right, width, mask.shape[1])
    inside: np.ndarray = rows @ mask.astype(np.float64) @ columns.T >= THRESHOLD
    return inside, begin, first


def _weights(start: float, stop: float, length: int, cells: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Weights (pixels, cells) of the mask's cells along one axis, and the range of pixels they apply to."""
    first = min(max(math.floor(start) - 1, 0), length)
    last = max(min(math.ceil(stop) + 1, length), first)
    if stop <= start:  # empty after clipping to the image
        return np.zeros((0, cells)), (first, first)
    positions = (np.arange(first, last) + 0.5 - start) / (stop - start) * cells - 0.5
    # Linear interpolation between the cells' centers; zero outside.
    return np.maximum(0.0, 1 - np.abs(positions[:, None] - np.arange(cells))), (first, last)
