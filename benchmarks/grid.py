"""The grid of a comparison, cell by cell."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from benchmarks.budget import within_budget
from benchmarks.candidates import Choice, candidates
from benchmarks.measure import Timing, measure
from benchmarks.networks import Pair, code_digest, describe
from benchmarks.ratios import across_cells, within_cell
from vim_deploy.bench.conditions import conditions, load_average

Report = Callable[[str], None]


@dataclass(frozen=True)
class Grid:
    """Every pair at every resolution; batches of several images up to `batched_up_to` pixels per side."""

    pairs: tuple[Pair, ...]
    resolutions: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    batched_up_to: int

    def cells(self) -> list[tuple[Pair, int]]:
        """Pairs at their resolution, and batch sizes."""
        return [
            (pair.at(size), batch)
            for pair in self.pairs
            for size in self.resolutions
            for batch in self.batch_sizes
            if batch == 1 or size <= self.batched_up_to
        ]


@dataclass(frozen=True)
class Limits:
    """Seconds: for the turns of a cell, see budget.py, and after which no further cell is started."""

    cell_seconds: float | None = None
    stop_after: float | None = None


def blank(grid: Grid, choice: Choice, timing: Timing, limits: Limits) -> dict[str, Any]:
    """A result without cells."""
    settings = {
        "threads": choice.threads,
        "slow_up_to": choice.slow_up_to,
        "runtimes": None if choice.only is None else sorted(choice.only),
        "cell_seconds": limits.cell_seconds,
    }
    return {
        "conditions": {**conditions(), "load_average_at_end": load_average()},
        "settings": {**asdict(timing), **settings},
        "code": code_digest(),
        "networks": [describe(pair) for pair in grid.pairs],
        "cells": [],
        "growth": {},
    }


def compare(grid: Grid, choice: Choice, timing: Timing, report: Report = lambda stage: None,
            save: Callable[[dict[str, Any]], None] = lambda result: None, *,
            limits: Limits = Limits(), result: dict[str, Any] | None = None) -> dict[str, Any]:  # fmt: skip
    """Measure the cells of the grid that `result` lacks; it is plain JSON, with all times. `save` is called
    after every cell."""
    choice.folder.mkdir(parents=True, exist_ok=True)
    result = result or blank(grid, choice, timing, limits)
    started = time.monotonic()
    for pair, batch in missing(grid, result):
        if limits.stop_after is not None and time.monotonic() - started > limits.stop_after:
            break
        cell = _measure(pair, batch, choice, timing, report, limits, result["cells"])
        result["cells"].append(cell)
        result["conditions"]["load_average_at_end"] = load_average()
        result["growth"] = across_cells(result["cells"])
        save(result)
    return result


def missing(grid: Grid, result: dict[str, Any]) -> list[tuple[Pair, int]]:
    """The cells of the grid that are not measured yet."""
    measured = {(cell["pair"], cell["resolution"], cell["batch_size"]) for cell in result["cells"]}
    return [(pair, batch) for pair, batch in grid.cells() if (pair.label, pair.size, batch) not in measured]


def _measure(
    pair: Pair,
    batch: int,
    choice: Choice,
    timing: Timing,
    report: Report,
    limits: Limits,
    cells: list[dict[str, Any]],
) -> dict[str, Any]:
    title = f"{pair.label}, {pair.size} pixels, batch {batch}"
    report(f"{title}: exporting and building")
    chosen = candidates(pair, batch, choice)
    cell: dict[str, Any] = {"pair": pair.label, "resolution": pair.size, "batch_size": batch}
    if limits.cell_seconds is not None:
        chosen, timing = within_budget(chosen, cells, cell, timing, limits.cell_seconds)
    start = {
        "turn_seconds": timing.seconds,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "load_average": load_average(),
    }
    shape = (batch, 3, pair.size, pair.size)
    results = measure(chosen, shape, timing, lambda stage: report(f"{title}: {stage}"))
    cell |= {**start, "results": results}
    return {**cell, "ratios": within_cell(cell)}


def prepare(grid: Grid, choice: Choice, report: Report) -> None:
    """Export, quantize and build the files of the grid."""
    choice.folder.mkdir(parents=True, exist_ok=True)
    for pair, batch in grid.cells():
        report(f"{pair.label}, {pair.size} pixels, batch {batch}")
        candidates(pair, batch, choice)
