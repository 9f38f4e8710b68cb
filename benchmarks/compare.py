"""Vim beside DeiT on this machine, in one command.

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

from benchmarks.measure import Timing, measure
from benchmarks.networks import HEADS, ROOT, Pair, describe, pairs
from benchmarks.plots import draw
from benchmarks.ratios import across_cells, within_cell
from benchmarks.report import in_text
from benchmarks.subjects import ENGINE_AND_FLOOR, RUNTIMES, Choice, subjects
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
    """What is measured: every pair at every resolution, with batches up to `batched_up_to` pixels a side."""

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
            keep: Callable[[dict[str, Any]], None] = lambda result: None) -> dict[str, Any]:  # fmt: skip
    """Measure the grid; the result is plain JSON, single times included. `keep` gets it after every cell."""
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
        keep(result)
    return result


def _measure(pair: Pair, batch: int, choice: Choice, timing: Timing, report: Report) -> dict[str, Any]:
    title = f"{pair.label}, {pair.size} pixels, batch {batch}"
    report(f"{title}: exporting and building what is not there yet")
    chosen = subjects(pair, batch, choice)
    shape = (batch, 3, pair.size, pair.size)
    results = measure(chosen, shape, timing, lambda stage: report(f"{title}: {stage}"))
    cell = {"pair": pair.label, "resolution": pair.size, "batch_size": batch, "results": results}
    return {**cell, "ratios": within_cell(cell)}


def _sides(text: str) -> tuple[int, ...]:
    """A click type: image sides that hold whole patches."""
    sizes = whole_numbers(text)
    for size in sizes:
        if size % _PATCH:
            raise click.BadParameter(f"{size} is no multiple of the patch size, {_PATCH}.")
    return sizes


def _models(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in pairs():
            raise click.BadParameter(f"{name!r}; expected some of {', '.join(pairs())}, with commas between.")
    return names


def _heads(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(HEADS):
        raise click.BadParameter(f"{sorted(unknown)}; expected some of {', '.join(HEADS)}, with commas.")
    return names


@command()
@click.option(
    "--quick", is_flag=True, help="A first look: the tiny models, 224 pixels, single images, 2 rounds."
)
@click.option("--only", multiple=True, type=click.Choice(RUNTIMES), help="Only these; repeatable.")
@click.option("--floor", is_flag=True, help="The same as --only for our engine, matrix products and scans.")
@click.option(
    "--models",
    type=_models,
    metavar="NAME,NAME",
    default="tiny,small",
    show_default=True,
    help="Sizes of network.",
)
@click.option(
    "--heads",
    type=_heads,
    metavar="NAME,NAME",
    default="classifier",
    show_default=True,
    help="What stands on both backbones: classifier, map (nothing), upernet (segmentation).",
)
@click.option(
    "--resolutions",
    type=_sides,
    metavar="N,N,...",
    default="224,512,624,1024,1248",
    show_default=True,
    help="Pixels.",
)
@click.option(
    "--batch-sizes",
    type=whole_numbers,
    metavar="N,N,...",
    default="1,8,32",
    show_default=True,
    help="Images.",
)
@click.option(
    "--batched-up-to",
    type=int,
    default=512,
    show_default=True,
    help="Largest resolution for batches of more than one image.",
)
@click.option(
    "--slow-up-to",
    type=int,
    default=512,
    show_default=True,
    help="Largest resolution for the reference operator and for ONNX Runtime without the library.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Turns of everyone.")
@click.option(
    "--repeats", type=click.IntRange(min=1), default=10, show_default=True, help="Inferences a turn."
)
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=2.0, show_default=True, help="Limit of a turn."
)
@threads_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=ROOT / "benchmark-output" / "compare.json",
    help="JSON file; plots and exported networks go beside it.  [default: benchmark-output/compare.json]",
)
@quiet_option
@click.pass_context
def main(context: click.Context, threads: int | None, output: Path, quiet: bool, **options: Any) -> None:
    """Measure Vim and DeiT in every runtime that is installed, side by side, each in a process of its own.

    Prints tables with ratios, writes JSON, and draws speed and memory against resolution. Weights are
    generated. The first run exports the networks, which takes minutes.
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

    def keep(result: dict[str, Any]) -> None:
        output.write_text(json.dumps(result, indent=1), encoding="utf-8")

    with stages("compare", quiet) as report:
        result = compare(grid, choice, timing, report, keep)
    click.echo(in_text(result))
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
