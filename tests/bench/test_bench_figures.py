"""Percentiles, ratios and tables."""

from dataclasses import asdict

import pytest

from vim_deploy.bench.figures import Latency, ratio
from vim_deploy.bench.table import megabytes, milliseconds, table


def test_latency_is_in_milliseconds_and_independent_of_the_order():
    latency = Latency.of([0.003, 0.001, 0.002])
    assert asdict(latency) == pytest.approx(
        {"count": 3, "p50": 2, "p95": 2.9, "p99": 2.98, "mean": 2, "min": 1, "max": 3}
    )


def test_latency_without_times_is_an_error():
    with pytest.raises(ValueError, match="no times"):
        Latency.of([])


def test_a_ratio_compares_times_of_the_same_round():
    # In the second round everything takes ten times as long, and the ratio is the same.
    slow, fast = [[2.0, 4.0, 6.0], [40.0]], [[2.0], [20.0]]
    found = ratio(slow, fast)
    assert (found.median, found.low, found.high) == (2, 2, 2)
    ranged = ratio([[1.0], [4.0], [3.0]], [[1.0], [1.0], [1.0]])
    assert asdict(ranged) == {"median": 3, "low": 1, "high": 4}


@pytest.mark.parametrize(("above", "below"), [([[1.0]], []), ([], []), ([[1.0], [2.0]], [[1.0]])])
def test_ratios_of_unequal_numbers_of_rounds_are_an_error(above, below):
    with pytest.raises(ValueError, match="rounds"):
        ratio(above, below)


def test_tables_are_aligned_markdown():
    assert table(("name", "ms"), [("a", "1.25"), ("longer", "12")]).splitlines() == [
        "| name   |   ms |",
        "|--------|-----:|",
        "| a      | 1.25 |",
        "| longer |   12 |",
    ]


def test_numbers_have_significant_digits():
    assert [milliseconds(value) for value in (0.1234, 12.345, 123.45)] == ["0.123", "12.3", "123"]
    assert megabytes(1_600_000) == "2"
