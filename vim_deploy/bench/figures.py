"""Statistics of measured times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Latency:
    """Statistics of inference times, in milliseconds."""

    count: int
    p50: float
    p95: float
    p99: float
    mean: float
    min: float
    max: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Raises ValueError for an empty sequence."""
        if not seconds:
            raise ValueError("no times; expected one or more.")
        times = 1000 * np.asarray(seconds, np.float64)
        p50, p95, p99 = (float(value) for value in np.percentile(times, PERCENTILES))
        return cls(len(times), p50, p95, p99, float(times.mean()), float(times.min()), float(times.max()))


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of all rounds, and their range."""

    median: float
    low: float
    high: float


def ratio(numerator: Sequence[Sequence[float]], denominator: Sequence[Sequence[float]]) -> Ratio:
    """Ratio of the times of two candidates, each a list of rounds of times.

    Round i is only compared with round i, because both ran side by side: other load on the machine slowed
    both. Raises ValueError for unequal numbers of rounds, or none.
    """
    if len(numerator) != len(denominator) or not numerator:
        raise ValueError(
            f"{len(numerator)} and {len(denominator)} rounds; expected equal numbers, 1 or more."
        )
    ratios = [median(above) / median(below) for above, below in zip(numerator, denominator, strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios))
