"""The difference of two sets of detections. Needs only numpy.

Which detections there are, and their order, depends on comparisons of scores and of overlaps with thresholds.
Rounding decides close cases, so that sets are compared, and a few detections may differ.
"""

from __future__ import annotations

import numpy as np

from vim_deploy.parity.difference import Difference

# The share of detections, rounded up, that may differ because of close comparisons.
ALLOWED_MISMATCHES = 0.02


def detections_difference(
    expected: tuple[np.ndarray, ...], actual: tuple[np.ndarray, ...], images: int = 1
) -> Difference:
    """Compare boxes (n, 4), scores (n,), classes (n,) and masks (n, height, width); n may differ.

    Each detection is compared with the closest one by the largest of its differences: of the box relative to
    the largest coordinate, of the score relative to the largest score, and of the mask's probabilities;
    infinite if the classes differ. `max_abs` and `relative` are both the largest of these differences,
    without the share `ALLOWED_MISMATCHES` of the detections. They are infinite for NaN or infinite values and
    if more detections than that have no counterpart.
    """
    counts = len(expected[0]), len(actual[0])
    most = max(counts)
    allowed = int(np.ceil(ALLOWED_MISMATCHES * most))
    finite = all(np.isfinite(values).all() for values in (*expected, *actual))
    if not finite or abs(counts[0] - counts[1]) > allowed:
        return Difference(float("inf"), 1.0, float("inf"), images, None)
    distances = _distances(expected, actual)
    nearest = np.sort(np.concatenate([_matched(distances), np.full(most - min(counts), np.inf)]))
    largest = float(nearest[: most - allowed].max(initial=0.0))
    return Difference(largest, 1.0, largest, images, None)


def _distances(expected: tuple[np.ndarray, ...], actual: tuple[np.ndarray, ...]) -> np.ndarray:
    """The differences of all pairs: (expected, actual)."""
    result = np.zeros((len(expected[0]), len(actual[0])))
    for place, (reference, found) in enumerate(zip(expected, actual, strict=True)):
        width = int(np.prod(reference.shape[1:]))
        a, b = (values.reshape(-1, width).astype(np.float64) for values in (reference, found))
        is_box_or_score = place < 2
        scale = max(np.abs(a).max(initial=0.0), 1e-30) if is_box_or_score else 1.0
        for row, member in enumerate(a):
            apart = np.abs(b - member).max(axis=1, initial=0.0) / scale
            if place == 2:
                apart = np.where(apart > 0, np.inf, 0.0)
            result[row] = np.maximum(result[row], apart)
    return result


def _matched(distances: np.ndarray) -> np.ndarray:
    """The differences of matched pairs; pairs are matched greedily, closest first."""
    found = []
    order = np.unravel_index(np.argsort(distances, axis=None, kind="stable"), distances.shape)
    rows, columns = set(range(distances.shape[0])), set(range(distances.shape[1]))
    for row, column in zip(*order, strict=True):
        if row in rows and column in columns:
            rows.discard(row)
            columns.discard(column)
            found.append(distances[row, column])
    return np.asarray(found)
