"""Bilinear resizing with half-pixel centres and without antialiasing, as PyTorch's `interpolate` does it.

In numpy alone. That is `align_corners=False`; upstream's test images are scaled the same way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def neighbours(
    old: int, new: int, first: int = 0, end: int | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """For the new pixels `first` to `end`: the old pixel before, the one after, and the weight of the latter.

    One axis of `old` pixels becomes one of `new`; beyond the edges the last pixel goes on.
    """
    places = np.arange(first, new if end is None else end, dtype=np.float64)
    centres = np.maximum((places + 0.5) * (old / new) - 0.5, 0.0)
    before = np.minimum(centres.astype(np.intp), old - 1)
    return before, np.minimum(before + 1, old - 1), centres - before


def matrix(old: int, new: int, first: int, end: int) -> tuple[int, NDArray[np.float64]]:
    """The same as weights (end - first, n) of n old pixels; with them the number of the first of these."""
    before, after, weight = neighbours(old, new, first, end)
    start = int(before[0])
    weights = np.zeros((end - first, int(after[-1]) + 1 - start))
    rows = np.arange(end - first)
    weights[rows, before - start] = 1 - weight
    np.add.at(weights, (rows, after - start), weight)
    return start, weights


def resize(image: np.ndarray, height: int, width: int) -> Floats:
    """(old height, old width, channels) of any type as float32 (height, width, channels)."""
    return _along(_along(image, 0, height), 1, width)


def _along(image: np.ndarray, axis: int, new: int) -> Floats:
    if image.shape[axis] == new:
        return image.astype(np.float32, copy=False)
    before, after, weight = neighbours(image.shape[axis], new)
    shape = [1, 1, 1]
    shape[axis] = new
    share = weight.astype(np.float32).reshape(shape)
    low = np.take(image, before, axis).astype(np.float32)
    high = np.take(image, after, axis).astype(np.float32)
    high -= low
    high *= share
    high += low
    return high
