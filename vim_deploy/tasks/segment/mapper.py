"""Computes a label map of the original size from windows' logits, one tile at a time to save memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vim_deploy.tasks.segment.axis import Axis, Share

TILE = 64  # side of the part of a label map that is computed at once, in pixels
Logits = NDArray[np.float32]  # of one window: (cells down, cells across, classes)


def label_type(classes: int) -> np.dtype[Any]:
    """The type of a label map's values."""
    return np.dtype(np.uint8 if classes <= 256 else np.uint16)


def label_map(
    rows: Axis, columns: Axis, classes: int, bands: Callable[[list[int]], dict[int, list[Logits]]]
) -> np.ndarray:
    """Class indices of `label_type`, shape (rows.original, columns.original).

    `bands` returns the logits of rows of windows by their indices, each from left to right. A row below all
    requested indices is never requested again.
    """
    labels = np.empty((rows.original, columns.original), label_type(classes))
    across = [(first, list(columns.shares(first, end))) for first, end in _tiles(columns.original)]
    for top, bottom in _tiles(rows.original):
        down = list(rows.shares(top, bottom))
        found = bands([share.window for share in down])
        for left, shares in across:
            scores = _scores(down, shares, found)
            labels[top:bottom, left : left + len(scores)] = scores.argmax(axis=-1).T
    return labels


def _tiles(length: int) -> list[tuple[int, int]]:
    return [(first, min(first + TILE, length)) for first in range(0, length, TILE)]


def _scores(down: list[Share], across: list[Share], bands: dict[int, list[Logits]]) -> Logits:
    """Averaged logits of a tile, (width, height, classes)."""
    scores: Logits | None = None
    for horizontal in across:
        for vertical in down:
            cells = bands[vertical.window][horizontal.window][vertical.cells, horizontal.cells]
            high, wide, classes = cells.shape
            columns = vertical.spread(cells.reshape(high, -1)).reshape(-1, wide, classes)
            transposed = np.ascontiguousarray(columns.transpose(1, 0, 2)).reshape(wide, -1)
            part = horizontal.spread(transposed).reshape(len(horizontal.weights), -1, classes)
            scores = part if scores is None else np.add(scores, part, out=scores)
    assert scores is not None
    return scores
