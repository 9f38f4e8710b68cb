"""A mask over its box, brought to the image's pixels. numpy only."""

from __future__ import annotations

import math

import numpy as np

THRESHOLD = 0.5  # of the probability that a pixel belongs to the object


def pasted(mask: np.ndarray, box: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boolean (height, width): where the mask's probability is `THRESHOLD` or more.

    `mask` (rows, columns) lies over `box` (left, top, right, bottom) in pixels of the image; it is sampled
    bilinearly at the pixels' centres, with nothing around it, as upstream's `paste_masks_in_image`.
    """
    left, top, right, bottom = (float(value) for value in box)
    rows, (first, last) = _weights(top, bottom, height, mask.shape[0])
    columns, (begin, end) = _weights(left, right, width, mask.shape[1])
    whole = np.zeros((height, width), bool)
    whole[first:last, begin:end] = rows @ mask.astype(np.float64) @ columns.T >= THRESHOLD
    return whole


def _weights(start: float, stop: float, length: int, cells: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Each pixel's weights of the cells (pixels, cells), and the range of pixels that the box can reach."""
    first = min(max(math.floor(start) - 1, 0), length)
    last = max(min(math.ceil(stop) + 1, length), first)
    if stop <= start:  # clipped to nothing at the image's edge: no pixel, and nothing to divide by
        return np.zeros((0, cells)), (first, first)
    at = (np.arange(first, last) + 0.5 - start) / (stop - start) * cells - 0.5
    # A tent around every cell's centre; beyond the outermost ones there is nothing.
    return np.maximum(0.0, 1 - np.abs(at[:, None] - np.arange(cells))), (first, last)
