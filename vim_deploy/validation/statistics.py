"""Confidence intervals and significance of the difference of two accuracies on the same images."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """95 % confidence interval of a proportion.

    Source: E. B. Wilson, Journal of the American Statistical Association 22 (1927).
    """
    z2, share = Z_95**2, right / total
    center = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z_95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(0.0, center - half), min(1.0, center + half)


def newcombe_paired_interval(
    both: int, first_only: int, second_only: int, neither: int
) -> tuple[float, float]:
    """95 % confidence interval of the second accuracy minus the first, on the same images.

    The arguments count images by which model was correct. Source: R. G. Newcombe, Statistics in Medicine 17
    (1998), method 10: Wilson intervals of both proportions, combined with their correlation.
    """
    total = both + first_only + second_only + neither
    first, second = (both + first_only) / total, (both + second_only) / total
    low1, high1 = wilson_interval(both + first_only, total)
    low2, high2 = wilson_interval(both + second_only, total)
    phi = _correlation(both, first_only, second_only, neither)
    below, above = second - low2, high1 - first
    down = math.sqrt(max(0.0, below**2 - 2 * phi * below * above + above**2))
    below, above = first - low1, high2 - second
    up = math.sqrt(max(0.0, above**2 - 2 * phi * above * below + below**2))
    return second - first - down, second - first + up


def _correlation(both: int, first_only: int, second_only: int, neither: int) -> float:
    """Newcombe's phi, with continuity correction."""
    margins = (both + first_only) * (second_only + neither) * (both + second_only) * (first_only + neither)
    if margins == 0:
        return 0.0
    half = (both + first_only + second_only + neither) / 2
    excess: float = both * neither - first_only * second_only
    if excess > 0:
        excess = max(excess - half, 0.0)
    return excess / math.sqrt(margins)


def mcnemar(first_only: int, second_only: int) -> float:
    """Two-sided p-value of McNemar's exact test; the counts are images that only one model got right."""
    changed = first_only + second_only
    if changed == 0:
        return 1.0
    tail = sum(math.comb(changed, count) for count in range(min(first_only, second_only) + 1))
    return min(1.0, 2 * tail / 2**changed)
