"""Compares Vim with DeiT on this machine.

python -m benchmarks.compare --quick
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from benchmarks.candidates import ENGINE_AND_FLOOR, RUNTIMES, Choice, candidates
from benchmarks.measure import Timing, measure
from benchmarks.networks import HEADS, ROOT, Pair, describe, pairs
from benchmarks.plots import draw
from benchmarks.ratios import across_cells, within_cell
from benchmarks.report import format_result
from vim_deploy import machine
from vim_deploy.bench.conditions import conditions, load_average
from vim_deploy.cli.bench import batch_sizes as whole_numbers
from vim_deploy.cli.common import command, quiet_option, stages, threads_option
from vim_deploy.errors import MissingDependencyError

Report = Callable[[str], None]
_PATCH = 16
_QUICK = {
    "resolutions": (224,),
    "batch_sizes": (1,),
    "models": ("tiny",),
    "rounds": 2,
    "seconds": 0.5,
}


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


def compare(grid: Grid, choice: Choice, timing: Timing, report: Report = lambda stage: None,
            save: Callable[[dict[str, Any]], None] = lambda result: None) -> dict[str, Any]:  # fmt: skip
    """Measure the grid; the result is plain JSON, with all times. `save` is called after every cell."""
    choice.folder.mkdir(parents=True, exist_ok=True)
    start = conditions()
    cells: list[dict[str, Any]] = []
    result: dict[str, Any] = {}
    for pair, batch in grid.cells():
        cells.append(_measure(pair, batch, choice, timing, report))
        result = {
            "conditions": {**start, "load_average_at_end": load_average()},
            "settings": {**asdict(timing), "threads": choice.threads, "slow_up_to": choice.slow_up_to},
            "networks": [describe(pair) for pair in grid.pairs],
            "cells": cells,
            "growth": across_cells(cells),
        }
        save(result)
    return result


def _measure(pair: Pair, batch: int, choice: Choice, timing: Timing, report: Report) -> dict[str, Any]:
    title = f"{pair.label}, {pair.size} pixels, batch {batch}"
    report(f"{title}: exporting and building")
    chosen = candidates(pair, batch, choice)
    shape = (batch, 3, pair.size, pair.size)
    results = measure(chosen, shape, timing, lambda stage: report(f"{title}: {stage}"))
    cell = {"pair": pair.label, "resolution": pair.size, "batch_size": batch, "results": results}
    return {**cell, "ratios": within_cell(cell)}


def _sides(text: str) -> tuple[int, ...]:
    """A click type: image sides that are multiples of the patch size."""
    sizes = whole_numbers(text)
    for size in sizes:
        if size % _PATCH:
            raise click.BadParameter(f"{size} is not a multiple of the patch size, {_PATCH}.")
    return sizes


def _models(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in pairs():
            raise click.BadParameter(f"{name!r}; expected some of {', '.join(pairs())}, separated by commas.")
    return names


def _heads(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(HEADS):
        raise click.BadParameter(
            f"{sorted(unknown)}; expected some of {', '.join(HEADS)}, separated by commas."
        )
    return names


@command()
@click.option("--quick", is_flag=True, help="A quick run: tiny models, 224 pixels, single images, 2 rounds.")
@click.option("--only", multiple=True, type=click.Choice(RUNTIMES), help="Only this runtime; repeatable.")
@click.option("--floor", is_flag=True, help="Same as --only for our engine, matmuls and scans.")
@click.option(
    "--models",
    type=_models,
    metavar="NAME,NAME",
    default="tiny,small",
    help="Model sizes.",
)
@click.option(
    "--heads",
    type=_heads,
    metavar="NAME,NAME",
    default="classifier",
    help="Head on both backbones: classifier, map (none), upernet (segmentation).",
)
@click.option(
    "--resolutions",
    type=_sides,
    metavar="N,N,...",
    default="224,512,624,1024,1248",
    help="Image sides in pixels.",
)
@click.option(
    "--batch-sizes",
    type=whole_numbers,
    metavar="N,N,...",
    default="1,8,32",
    help="Images per batch.",
)
@click.option(
    "--batched-up-to",
    type=int,
    default=512,
    help="Largest resolution for batches of more than one image.",
)
@click.option(
    "--slow-up-to",
    type=int,
    default=512,
    help="Largest resolution for the reference operator and for ONNX Runtime without the library.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=5,
    help="Rounds, in which all candidates take turns.",
)
@click.option("--repeats", type=click.IntRange(min=1), default=10, help="Inferences per turn.")
@click.option("--seconds", type=click.FloatRange(min=0), default=2.0, help="Time limit of a turn.")
@threads_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=ROOT / "benchmark-output" / "compare.json",
    help="JSON file; plots and exported networks are written beside it.  "
    "[default: benchmark-output/compare.json]",
)
@quiet_option
@click.pass_context
def main(context: click.Context, threads: int | None, output: Path, quiet: bool, **options: Any) -> None:
    """Measure Vim and DeiT in all installed runtimes, side by side, each in a separate process.

    Prints tables with ratios, writes JSON, and draws speed and memory against resolution. Weights are
    synthetic. The first run exports the networks, which takes minutes.
    """
    if options["quick"]:
        for name, value in _QUICK.items():
            if context.get_parameter_source(name) is ParameterSource.DEFAULT:
                options[name] = value
    chosen = tuple(pairs()[name].under(head) for name in options["models"] for head in options["heads"])
    grid = Grid(chosen, options["resolutions"], options["batch_sizes"], options["batched_up_to"])
    timing = Timing(options["rounds"], options["repeats"], options["seconds"])
    only = frozenset(options["only"]) | (ENGINE_AND_FLOOR if options["floor"] else frozenset())
    folder = output.resolve().parent
    choice = Choice(threads or machine.usable_cpus(), folder, options["slow_up_to"], only or None)

    def save(result: dict[str, Any]) -> None:
        output.write_text(json.dumps(result, indent=1), encoding="utf-8")

    with stages("compare", quiet) as report:
        result = compare(grid, choice, timing, report, save)
    click.echo(format_result(result))
    click.echo(f"\nresults in {output}", err=True)
    _draw(result, output)


def _draw(result: dict[str, Any], output: Path) -> None:
    if len({cell["resolution"] for cell in result["cells"]}) < 2:
        return  # one resolution makes no curve
    try:
        for path in draw(result, output.parent, output.stem):
            click.echo(f"plots in {path}", err=True)
    except MissingDependencyError as error:
        click.echo(f"warning: no plots: {error}", err=True)


if __name__ == "__main__":
    main()
