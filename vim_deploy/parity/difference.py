"""How far two results are apart, and whether that is too far. numpy only."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

# Largest difference relative to the largest reference value that a correct artifact stays under.
# float32: full-size models differ from float64 by up to 1.4e-5 in plain eager evaluation, and another order
# of summation costs as much again. float16 and bfloat16: the accumulated rounding of 24 blocks. bf16-products
# (engines for a processor: float32 but for the factors of matrix products): generated weights, which amplify
# rounding more than trained ones, give up to 1.3e-1 with the inputs that engines are tried with.
RELATIVE_TOLERANCE = {"fp32": 2e-4, "fp16": 2e-2, "bf16": 1e-1, "bf16-products": 2e-1}


def signal_to_noise_floor(precision: str) -> float:
    """The smallest signal-to-noise ratio (dB) of a correct artifact: the relative tolerance, in power.

    The largest difference alone would let noise on every output pass that is as large as it is on the worst.
    """
    return -20 * math.log10(RELATIVE_TOLERANCE[precision])


@dataclass(frozen=True)
class Difference:
    """The distance of `candidate` from `reference`, arrays of the same shape (batch, ...).

    `max_abs`: largest absolute difference; `max_reference`: largest reference magnitude; `relative`: their
    ratio; `top1_equal` of `images`: rows with the same largest element (None where rows have no classes).
    """

    max_abs: float
    max_reference: float
    relative: float
    images: int
    top1_equal: int | None

    def within(self, precision: str) -> bool:
        """Whether the difference is what the precision costs. False for anything that is not finite."""
        return bool(self.relative <= RELATIVE_TOLERANCE[precision])

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


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
    return Difference(max_abs, max_reference, relative, len(expected), top1)


def cosine_similarity(reference: np.ndarray, candidate: np.ndarray) -> float:
    """Of two arrays taken as vectors; 1 where both are zero, 0 where one is."""
    a, b = reference.astype(np.float64).ravel(), candidate.astype(np.float64).ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norms == 0:
        return float(not a.any() and not b.any())
    return float(np.clip(a @ b / norms, -1.0, 1.0))


def signal_to_noise(reference: np.ndarray, candidate: np.ndarray) -> float:
    """Power of the reference over power of the difference, in dB; infinite for equal arrays."""
    expected = reference.astype(np.float64)
    noise = float(np.square(candidate.astype(np.float64) - expected).sum())
    signal = float(np.square(expected).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def rank_correlation(reference: np.ndarray, candidate: np.ndarray) -> float:
    """Spearman's: the correlation of the ranks of two vectors, equal values sharing their mean rank."""
    a, b = (_ranks(values.ravel()) for values in (reference, candidate))
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b / spread) if spread else float(not a.any() and not b.any())


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    ranks: np.ndarray = mean_rank[places.ravel()]
    return ranks
