"""Shortens turns and leaves out candidates, so that a cell of the grid stays within its time limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.candidates import Candidate
from benchmarks.measure import Timing
from vim_deploy.bench.table import milliseconds

Cell = dict[str, Any]
_PARTS = (1, 0.5, 0.25, 0)  # of the time limit of a turn


def within_budget(
    candidates: Sequence[Candidate], cells: Sequence[Cell], cell: Cell, timing: Timing, limit: float
) -> tuple[list[Candidate], Timing]:
    """The candidates in the same order, some with a reason why they are skipped, and the timing of the cell.

    Turns are shortened to fit into `limit` seconds, down to one inference; if that is not enough, only the
    fastest candidates are measured. Times are expected from those for one image in an earlier cell; a
    candidate without one is measured. `cell`: with its pair, resolution and batch size.
    """
    single = next((other for other in cells if other["batch_size"] == 1 and _same_images(other, cell)), None)
    if cell["batch_size"] == 1 or single is None:
        return list(candidates), timing
    measured = {_name(result): result for result in single["results"] if result["status"] == "measured"}
    known = {
        candidate.name: measured[candidate.name]
        for candidate in candidates
        if candidate.name in measured and candidate.skip_reason is None
    }
    for part in _PARTS:
        shorter = replace(timing, seconds=part * timing.seconds)
        expected = {name: _expected(known[name], cell["batch_size"], shorter) for name in known}
        if sum(expected.values()) <= limit:
            return list(candidates), shorter
    reasons = _too_slow(expected, known, limit)
    chosen = [
        replace(candidate, skip_reason=reasons.get(candidate.name, candidate.skip_reason))
        for candidate in candidates
    ]
    return chosen, shorter


def _too_slow(expected: dict[str, float], single: dict[str, dict[str, Any]], limit: float) -> dict[str, str]:
    """Why candidates are skipped, by name, if as many as fit are measured, the fastest first."""
    reasons: dict[str, str] = {}
    left = limit
    for name in sorted(expected, key=lambda name: expected[name]):
        if expected[name] <= left:
            left -= expected[name]
            continue
        one = milliseconds(1000 * _seconds(single[name]))
        reasons[name] = (
            f"slow: expected to take {expected[name]:.0f} s (one image: {one} ms), and {left:.0f} of "
            f"{limit:.0f} s are left (--cell-seconds)"
        )
    return reasons


def _expected(single: dict[str, Any], batch: int, timing: Timing) -> float:
    """Seconds of opening and of all turns."""
    return float(single["open_seconds"]) + timing.expected(batch * _seconds(single))


def _seconds(single: dict[str, Any]) -> float:
    return float(single["latency_ms"]["p50"]) / 1000


def _same_images(one: Cell, other: Cell) -> bool:
    return (one["pair"], one["resolution"]) == (other["pair"], other["resolution"])


def _name(result: dict[str, Any]) -> str:
    return f"{result['network']}, {result['runtime']}"
