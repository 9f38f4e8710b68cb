"""Leaves out the candidates that would take a cell of the grid longer than its time limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.candidates import Candidate
from benchmarks.measure import Timing
from vim_deploy.bench.table import milliseconds

Cell = dict[str, Any]


def within_budget(
    candidates: Sequence[Candidate], cells: Sequence[Cell], cell: Cell, timing: Timing, limit: float
) -> list[Candidate]:
    """The candidates in the same order, some with a reason why they are skipped.

    The fastest are measured, as many as fit into `limit` seconds. Times are expected from those for one image
    in an earlier cell; a candidate without one is measured. `cell`: with its pair, resolution and batch size.
    """
    single = next((other for other in cells if other["batch_size"] == 1 and _same_images(other, cell)), None)
    if cell["batch_size"] == 1 or single is None:
        return list(candidates)
    of_single = {_name(result): result for result in single["results"] if result["status"] == "measured"}
    expected = {
        candidate.name: _expected(of_single[candidate.name], cell["batch_size"], timing)
        for candidate in candidates
        if candidate.name in of_single and candidate.skip_reason is None
    }
    skipped: dict[str, str] = {}
    left = limit
    for name in sorted(expected, key=lambda name: expected[name]):
        if expected[name] <= left:
            left -= expected[name]
            continue
        one = milliseconds(1000 * _seconds(of_single[name]))
        skipped[name] = (
            f"slow: expected to take {expected[name]:.0f} s (one image: {one} ms), and {left:.0f} of "
            f"{limit:.0f} s are left (--cell-seconds)"
        )
    return [
        replace(candidate, skip_reason=skipped.get(candidate.name, candidate.skip_reason))
        for candidate in candidates
    ]


def _expected(single: dict[str, Any], batch: int, timing: Timing) -> float:
    """Seconds of opening and of all turns."""
    return float(single["open_seconds"]) + timing.expected(batch * _seconds(single))


def _seconds(single: dict[str, Any]) -> float:
    return float(single["latency_ms"]["p50"]) / 1000


def _same_images(one: Cell, other: Cell) -> bool:
    return (one["pair"], one["resolution"]) == (other["pair"], other["resolution"])


def _name(result: dict[str, Any]) -> str:
    return f"{result['network']}, {result['runtime']}"
