"""vim-bench: latency, throughput and memory of an engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from vim_deploy.cli.common import command, echo, log_to_stderr, quiet_option, stages, threads_option


def batch_sizes(text: str) -> tuple[int, ...]:
    """A click type: positive integers, separated by commas."""
    sizes = text.split(",")
    if not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
        raise click.BadParameter(f"{text!r}; expected positive integers, such as 1,8,32.")
    return tuple(int(size) for size in sizes)


@command(examples=("vim-bench vim_tiny.engine", "vim-bench vim_tiny.engine --batch-sizes 1,4 --json"))
@click.argument("engine", type=click.Path(path_type=Path))
@click.option(
    "--batch-sizes",
    type=batch_sizes,
    metavar="N,N,...",
    help="Batch sizes to measure.  [default: 1,8,32, or the engine's fixed batch size]",
)
@threads_option
@click.option("--warmup", type=click.IntRange(min=0), default=5, help="Warm-up runs.")
@click.option("--repeats", type=click.IntRange(min=1), default=100, help="Measured runs.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=30.0,
    help="Start no further run of a batch size after this time.",
)
@click.option(
    "--cold-starts",
    type=click.IntRange(min=0),
    default=5,
    help="Processes to start for the time from import to first prediction.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@quiet_option
def main(engine: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Measure latency, images per second and memory of ENGINE for each batch size, and the cold start.

    ENGINE is an engine made by vim-build, or an ONNX file made by vim-export, whose engine is built and
    cached. Each batch size is measured in a separate process, on random pixels: reading and preprocessing
    images is not included. A model with named arrays (task raw) runs on random arrays with the shapes of its
    example inputs.

    Exit codes: 0 success, 2 user error; the message says how to fix it.
    """
    from vim_deploy.bench.engine import BenchOptions, bench_engine, format_result

    log_to_stderr(quiet)
    with stages("vim-bench", quiet) as report:
        result = bench_engine(engine, BenchOptions(**options), report)
    echo(json.dumps(result, indent=2) if as_json else format_result(result))
