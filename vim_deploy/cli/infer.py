"""vim-infer: images to predictions."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vim_deploy.cli.common import (
    command,
    console,
    device_option,
    log_to_stderr,
    quiet_option,
    threads_option,
)

if TYPE_CHECKING:
    from vim_deploy.inference import InferenceOptions, Summary

FAILURES = 1


@command()
@click.argument("engine", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, metavar="IMAGES...")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Results file.  [default: CSV on stdout]"
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(("csv", "jsonl", "parquet")),
    help="Format of the results.  [default: told by the name of the output]",
)
@click.option("--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Classes per image.")
@device_option(None, "Device that the engine must be for; an ONNX file is built for it.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images per inference.  [default: 8]")
@threads_option
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Threads that decode images.  [default: one per processor, at most 8]",
)
@click.option(
    "--labels",
    type=click.Choice(("auto", "none", "folder", "sorted")),
    default="auto",
    show_default=True,
    help="True classes, for accuracy. folder: the folder of an image is named like its class. sorted: the "
    "i-th subfolder in sorted order is class i. auto: folder, if all subfolders of the inputs are named like "
    "classes.",
)
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    help="ONNX file that the engine must have been built from.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a summary of the run on stdout (needs -o).")
@quiet_option
def main(
    engine: Path,
    images: tuple[str, ...],
    output: Path | None,
    format_name: str | None,
    top_k: int,
    device: str | None,
    batch_size: int | None,
    threads: int | None,
    workers: int | None,
    labels: str,
    source: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run ENGINE on IMAGES: files, folders (searched to the bottom) and globs.

    ENGINE is a file made by vim-build, or an ONNX file made by vim-export, for which an engine is built and
    kept in a cache. There is one row per image, in order; an image that cannot be read is a row with the
    reason.

    Exit codes: 0 all images fine, 1 finished with failures, 2 something the message tells how to mend.
    """
    from vim_deploy.data.discover import Labels
    from vim_deploy.errors import OutputError
    from vim_deploy.inference import InferenceOptions, run_inference
    from vim_deploy.results import Format

    if as_json and output is None:
        raise OutputError("--json prints on stdout, where the results go without -o; give -o FILE.")
    log_to_stderr(quiet)
    options = InferenceOptions(
        engine=engine,
        inputs=images,
        output=output,
        format=Format(format_name) if format_name else None,
        top_k=top_k,
        device=device,
        batch_size=batch_size,
        threads=threads,
        workers=workers,
        labels=Labels(labels),
        source=source,
    )
    summary = run_inference(options, console=None if quiet else console())
    _report(summary, options, as_json, quiet)
    if summary.failed:
        sys.exit(FAILURES)


def _report(summary: Summary, options: InferenceOptions, as_json: bool, quiet: bool) -> None:
    if as_json:
        click.echo(json.dumps(summary.to_dict(), indent=2))
    if quiet:
        return
    click.echo(summary.text(), err=True)
    if options.output is not None:
        click.echo(f"results in {options.output}", err=True)
