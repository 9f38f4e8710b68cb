"""Compares Vim with DeiT on this machine.

python -m benchmarks.compare --quick
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from benchmarks.candidates import ENGINE_AND_FLOOR, PRECISIONS, RUNTIMES, Choice
from benchmarks.grid import Grid, Limits, blank, compare, missing, prepare
from benchmarks.measure import Timing
from benchmarks.networks import HEADS, ROOT, pairs
from benchmarks.plots import draw
from benchmarks.report import format_result
from benchmarks.saved import saved_cells
from vim_deploy import machine
from vim_deploy.cli.bench import batch_sizes as whole_numbers
from vim_deploy.cli.common import command, quiet_option, stages, threads_option
from vim_deploy.errors import MissingDependencyError
from vim_deploy.files import atomic_write
from vim_deploy.text import plural

_PATCH = 16
_QUICK = {
    "resolutions": (224,),
    "batch_sizes": (1,),
    "models": ("tiny",),
    "rounds": 2,
    "seconds": 0.5,
}


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
    "--precisions",
    is_flag=True,
    help="Same as --only for our engine and for DeiT in OpenVINO, both in fp32, bf16 and int8.",
)
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
@click.option(
    "--cell-seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="With several images, shorten turns and skip slow candidates to fit, judging by their time for one.",
)
@click.option(
    "--stop-after", type=click.FloatRange(min=0), metavar="SECONDS", help="Then, start no further cell."
)
@click.option("--resume", is_flag=True, help="Keep the cells in the output file; measure the others.")
@click.option("--prepare", "only_prepare", is_flag=True, help="Only export, quantize and build.")
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
    folder = output.resolve().parent
    choice = Choice(threads or machine.usable_cpus(), folder, options["slow_up_to"], _only(options))
    limits = Limits(options["cell_seconds"], options["stop_after"])

    def save(result: dict[str, Any]) -> None:
        with atomic_write(output) as file:
            file.write(json.dumps(result, indent=1).encode())

    with stages("compare", quiet) as report:
        if options["only_prepare"]:
            prepare(grid, choice, report)
            return
        result = blank(grid, choice, timing, limits)
        if options["resume"]:
            result["cells"] = saved_cells(output, result)
        compare(grid, choice, timing, report, save, limits=limits, result=result)
    click.echo(format_result(result))
    click.echo(f"\nresults in {output}", err=True)
    if left := len(missing(grid, result)):
        click.echo(f"{plural(left, 'cell')} left: run the same command with --resume", err=True)
    _draw(result, output)


def _only(options: dict[str, Any]) -> frozenset[str] | None:
    """The selected runtimes; None for all."""
    only = frozenset(options["only"])
    if options["floor"]:
        only |= ENGINE_AND_FLOOR
    if options["precisions"]:
        only |= PRECISIONS
    return only or None


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
