"""From single times to the figures that are reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Latency:
    """Times of single inferences, in milliseconds."""

    count: int
    p50: float
    p95: float
    p99: float
    mean: float
    min: float
    max: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Raises ValueError without any times."""
        times = sorted(1000 * value for value in seconds)
        p50, p95, p99 = (percentile(times, share) for share in PERCENTILES)
        return cls(len(times), p50, p95, p99, sum(times) / len(times), times[0], times[-1])

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Ratio:
    """How many times as much: the median of the ratios of a run's rounds, and their range."""

    median: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` percent of the sorted values lie, interpolated linearly between two."""
    if not ordered:
        raise ValueError("a percentile of no values; expected one or more.")
    position = (len(ordered) - 1) * share / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def ratio(numerator: Sequence[Sequence[float]], denominator: Sequence[Sequence[float]]) -> Ratio:
    """Ratio of two subjects' times, each a list of rounds of times.

    Round i of one is compared with round i of the other alone, because they ran side by side: what else the
    machine did in that round slowed both. Raises ValueError for unequal numbers of rounds, or none.
    """
    if len(numerator) != len(denominator) or not numerator:
        raise ValueError(
            f"{len(numerator)} and {len(denominator)} rounds; expected the same number, 1 or more."
        )
    ratios = [median(above) / median(below) for above, below in zip(numerator, denominator, strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios))
