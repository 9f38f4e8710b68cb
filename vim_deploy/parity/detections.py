"""How far two sets of detections are apart. numpy only.

Their order and their members hang on comparisons: which of two scores is larger, whether two boxes share more
than half. Rounding decides where it is close, so that sets are compared, and a few members may differ.
"""

from __future__ import annotations

import numpy as np

from vim_deploy.parity.difference import Difference

# Of the members, rounded up: what comparisons that were close may exchange for other members.
EXCHANGED = 0.02


def detections_difference(
    expected: tuple[np.ndarray, ...], actual: tuple[np.ndarray, ...], images: int = 1
) -> Difference:
    """Compare boxes (n, 4), scores (n,), classes (n,) and masks (n, height, width), n differing or not.

    Each member is held against the one that is nearest to it, by the largest of its differences: of the box
    relative to the largest coordinate, of the score relative to the largest score, of the mask's
    probabilities, and infinite where the classes differ. `max_abs` and `relative` are both the largest of
    these, but for the share `EXCHANGED` of the members. NaN, or more members without a partner than that,
    gives infinity.
    """
    counts = len(expected[0]), len(actual[0])
    most = max(counts)
    exchanged = int(np.ceil(EXCHANGED * most))
    finite = all(np.isfinite(values).all() for values in (*expected, *actual))
    if not finite or abs(counts[0] - counts[1]) > exchanged:
        return Difference(float("inf"), 1.0, float("inf"), images, None)
    distances = _distances(expected, actual)
    nearest = np.sort(np.concatenate([_partners(distances), np.full(most - min(counts), np.inf)]))
    largest = float(nearest[: most - exchanged].max(initial=0.0))
    return Difference(largest, 1.0, largest, images, None)


def _distances(expected: tuple[np.ndarray, ...], actual: tuple[np.ndarray, ...]) -> np.ndarray:
    """(members expected, members found)."""
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


def _partners(distances: np.ndarray) -> np.ndarray:
    """The distances of pairs, each member in one pair, closest pairs first."""
    found = []
    order = np.unravel_index(np.argsort(distances, axis=None, kind="stable"), distances.shape)
    rows, columns = set(range(distances.shape[0])), set(range(distances.shape[1]))
    for row, column in zip(*order, strict=True):
        if row in rows and column in columns:
            rows.discard(row)
            columns.discard(column)
            found.append(distances[row, column])
    return np.asarray(found)
