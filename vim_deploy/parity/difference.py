"""The difference of two results, and whether it is within tolerance. Needs only numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vim_deploy.precision import Precision


@dataclass(frozen=True)
class Difference:
    """The difference of two arrays of the same shape (batch, ...), a reference and a candidate.

    `max_abs`: largest absolute difference; `max_reference`: largest reference magnitude; `relative`: their
    ratio; `top1_equal` of `images`: rows with the same largest element (None if rows have no classes).
    """

    max_abs: float
    max_reference: float
    relative: float
    images: int
    top1_equal: int | None

    def within(self, precision: str) -> bool:
        """Whether the difference is within the precision's tolerance; False if it is not finite."""
        return bool(self.relative <= Precision(precision).tolerance)


def difference(reference: np.ndarray, candidate: np.ndarray) -> Difference:
    """Compare two results of the same shape; NaN or infinity on either side gives an infinite difference."""
    if reference.shape != candidate.shape:
        raise ValueError(f"shapes {reference.shape} and {candidate.shape} differ; expected the same.")
    expected, actual = reference.astype(np.float64), candidate.astype(np.float64)
    finite = bool(np.isfinite(expected).all() and np.isfinite(actual).all())
    max_abs = float(np.abs(actual - expected).max(initial=0.0)) if finite else float("inf")
    max_reference = float(np.abs(expected).max(initial=0.0)) if finite else float("inf")
    relative = (max_abs / max_reference if max_reference else max_abs) if finite else float("inf")
    top1 = None
    if finite and expected.ndim == 2 and expected.shape[1] > 1:
        top1 = int((expected.argmax(1) == actual.argmax(1)).sum())
    return Difference(max_abs, max_reference, relative, len(expected) if expected.ndim else 1, top1)


def cosine_similarity(reference: np.ndarray, candidate: np.ndarray) -> float:
    """The cosine similarity of two arrays as vectors: 1 if both are zero, 0 if one is."""
    a, b = reference.astype(np.float64).ravel(), candidate.astype(np.float64).ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norms == 0:
        return float(not a.any() and not b.any())
    return float(np.clip(a @ b / norms, -1.0, 1.0))


def signal_to_noise(reference: np.ndarray, candidate: np.ndarray) -> float:
    """The power of the reference divided by that of the difference, in dB; infinite for equal arrays."""
    expected = reference.astype(np.float64)
    noise = float(np.square(candidate.astype(np.float64) - expected).sum())
    signal = float(np.square(expected).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def rank_correlation(reference: np.ndarray, candidate: np.ndarray) -> float:
    """Spearman's rank correlation of two vectors; equal values get their mean rank."""
    a, b = (_ranks(values.ravel()) for values in (reference, candidate))
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b / spread) if spread else float(not a.any() and not b.any())


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    ranks: np.ndarray = mean_rank[places.ravel()]
    return ranks
