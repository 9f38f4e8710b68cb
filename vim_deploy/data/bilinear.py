"""Bilinear resizing with half-pixel centers and without antialiasing, in numpy.

The same as PyTorch's `interpolate` with `align_corners=False`, and as upstream's scaling of test images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def neighbors(
    old: int, new: int, first: int = 0, end: int | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """For the new pixels `first` to `end`: the old pixel before, the one after, and the weight of the latter.

    An axis of `old` pixels is resized to `new` pixels; the edge pixels are repeated beyond the edges.
    """
    places = np.arange(first, new if end is None else end, dtype=np.float64)
    centers = np.maximum((places + 0.5) * (old / new) - 0.5, 0.0)
    before = np.minimum(centers.astype(np.intp), old - 1)
    return before, np.minimum(before + 1, old - 1), centers - before


def matrix(old: int, new: int, first: int, end: int) -> tuple[int, NDArray[np.float64]]:
    """The same as a matrix: the first old pixel, and weights (end - first, n) of n old pixels from there."""
    before, after, weight = neighbors(old, new, first, end)
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
    before, after, weight = neighbors(image.shape[axis], new)
    shape = [1, 1, 1]
    shape[axis] = new
    share = weight.astype(np.float32).reshape(shape)
    low = np.take(image, before, axis).astype(np.float32)
    high = np.take(image, after, axis).astype(np.float32)
    high -= low
    high *= share
    high += low
    return high
