"""vim-infer: runs an engine on images."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vim_deploy.cli.common import (
    INTERRUPTED,
    USER_ERROR,
    command,
    command_line,
    complete_files,
    console,
    echo,
    force_option,
    log_to_stderr,
    path_option,
    quiet_option,
    threads_option,
)
from vim_deploy.cli.task_options import TaskOptionsCommand, take_task_options
from vim_deploy.engines.registry import all_devices

if TYPE_CHECKING:
    from vim_deploy.pipeline.options import ClusterOptions, InferenceOptions
    from vim_deploy.pipeline.summary import Summary

FAILURES = 1
LOCAL_CLUSTER = "local"
STOPPED = 3
INTERNAL_ERROR = 70  # as in sysexits.h, because 1 means failed images here
BROKEN_PIPE = 141  # 128 + SIGPIPE


@command(
    TaskOptionsCommand,
    examples=(
        "vim-infer vim_tiny.engine photos/ -o predictions.csv --report report.html",
        "find photos -name '*.jpg' -print0 | vim-infer vim_tiny.engine - --null -o rows.jsonl",
        "vim-infer vim_tiny.engine photos/ -o predictions.csv --resume",
        "vim-infer segmenter.engine photos/ -o rows.csv --maps maps/ --overlays overlays/",
        "vim-infer vim_tiny.engine s3://bucket/photos/ --ray -o s3://bucket/predictions.parquet",
    ),
)
@click.argument("engine", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, metavar="IMAGES...", shell_complete=complete_files)
@path_option("-o", "--output", storage=True, help="Results file.  [default: CSV on stdout]")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(("csv", "jsonl", "parquet")),
    help="Format of the results.  [default: from the suffix of the output]",
)
@click.option(
    "--device",
    type=click.Choice(all_devices()),
    help="Device to run on. An ONNX file is built for it; an engine for another device is refused.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Images per inference.  [default: that of the task, or the nearest that the engine runs]",
)
@threads_option
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes that decode images.  [default: one per CPU, at most 8 and as many as fit into memory]",
)
@click.option(
    "--labels",
    metavar="auto|none|folder|sorted|shards|FILE",
    default="auto",
    help="True classes, to compute the accuracy. folder: the name of an image's folder is its class. sorted: "
    "the i-th subfolder in sorted order is class i. auto: folder, if all subfolders of the inputs have names "
    "of classes, else none. shards: those stored in tar files (.cls, .json) and in Parquet files. "
    "FILE: a CSV file with a line IMAGE,CLASS per image.",
)
@click.option(
    "--label-field",
    metavar="NAME",
    help="With --labels shards: the column of Parquet files, and the field of JSON files in tar files.",
)
@path_option(
    "--source",
    help="ONNX file that the engine must have been built from. Required for engines without weights.",
)
@click.option("--resume", is_flag=True, help="Resume the run recorded in OUTPUT.partial.")
@click.option("--restart", is_flag=True, help="Discard OUTPUT.partial and start over.")
@click.option(
    "--max-failures",
    metavar="N|P%",
    help="Stop when more images than this have failed; a percentage is checked from the 100th row on.",
)
@click.option("--shard", metavar="I/N", help="Process the I-th of N parts of the inputs.")
@click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    default=89_478_485,
    help="Images with more pixels count as failed.",
)
@click.option(
    "--max-metadata",
    type=click.IntRange(min=0),
    default=16 << 20,
    help="Images with more bytes of metadata (EXIF, ICC, texts ...) count as failed.",
)
@click.option(
    "--decode-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    help="Images that take longer to decode count as failed.",
)
@click.option(
    "--reduced-jpeg",
    is_flag=True,
    help="Decode large JPEG files at a fraction of their size: faster, but pixels differ slightly.",
)
@click.option(
    "--depth",
    type=click.IntRange(9, 16),
    default=16,
    help="Number of bits that samples in 16-bit files use, such as 12 for some cameras.",
)
@click.option(
    "--ray",
    metavar="[ADDRESS]",
    is_flag=False,
    flag_value=LOCAL_CLUSTER,
    help="Run on the Ray cluster at ADDRESS; without one, on a local cluster that is started for the run.",
)
@click.option(
    "--actors",
    type=click.IntRange(min=1),
    help="With --ray: processes that run the engine.  [default: one per node, or one per GPU]",
)
@click.option(
    "--actor-gpus",
    type=click.FloatRange(min=0, min_open=True),
    help="With --ray: GPUs of each actor, such as 0.5, for engines on GPUs.  [default: 1]",
)
@click.option("--null", "null_separated", is_flag=True, help="Paths on stdin are separated by zero bytes.")
@click.option(
    "--watch", is_flag=True, help="Keep running and process new files, until stopped or until --idle."
)
@click.option(
    "--idle",
    type=click.FloatRange(min=0, min_open=True),
    help="With --watch: finish after this many seconds without a new file.",
)
@path_option(
    "--overlays",
    storage=True,
    help="Folder for images with the predictions drawn on them (JPEG), at the images' own size.",
)
@click.option("--legend/--no-legend", default=True, help="With --overlays: add a legend below each image.")
@path_option(
    "--report",
    storage=True,
    help="Write an HTML report of the run (needs -o): metrics, tables, wrong predictions and images.",
)
@force_option
@click.option("--json", "as_json", is_flag=True, help="Print a summary of the run on stdout (needs -o).")
@quiet_option
def main(engine: Path, images: tuple[str, ...], as_json: bool, quiet: bool, **given: Any) -> None:
    """Run ENGINE on IMAGES: files, folders (searched recursively), globs; - reads paths from stdin.

    ENGINE is a file written by vim-build, or an ONNX file written by vim-export, for which an engine is built
    and cached. For a model with named arrays (task raw), IMAGES are .npz files with one array per
    input; each is one run, whose outputs are written to --outputs. The results have one row per image, in
    order; the row of an image that cannot be read has the reason. Paths from stdin are processed once input
    pauses for 0.2 s.

    Exit codes: 0 success, 1 finished with failed images, 2 user error (the message says how to fix it),
    3 stopped early, continue with --resume.
    """
    from vim_deploy.errors import OutputError
    from vim_deploy.pipeline.stop import StoppedRunError

    if as_json and given["output"] is None:
        raise OutputError("--json prints to stdout, where the results go without -o; give -o FILE.")
    log_to_stderr(quiet)
    try:
        options = _options(
            engine,
            images,
            {"task_options": take_task_options(given), "command": command_line("vim-infer"), **given},
        )
        summary = _run(options, quiet)
    except StoppedRunError as error:
        echo(f"error: {error}", err=True)
        sys.exit(STOPPED if error.resumable else 128 + error.signal if error.signal else USER_ERROR)
    except KeyboardInterrupt:
        echo("stopped", err=True)
        sys.exit(INTERRUPTED)
    _report(summary, options, as_json, quiet)
    if summary.failed:
        sys.exit(FAILURES)


def _run(options: InferenceOptions, quiet: bool) -> Summary:
    from vim_deploy.errors import as_user_error
    from vim_deploy.pipeline.inference import run_inference

    try:
        return run_inference(options, console=None if quiet else console())
    except BrokenPipeError:
        # Prevents an error when Python flushes stdout at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(BROKEN_PIPE)
    except Exception as error:
        if as_user_error(error) is not None:
            raise
        traceback.print_exc()
        sys.exit(INTERNAL_ERROR)


def _options(engine: Path, images: tuple[str, ...], given: dict[str, Any]) -> InferenceOptions:
    """`given`: the values of the options; those that have another form in InferenceOptions are removed."""
    from vim_deploy.data.decode import Limits
    from vim_deploy.data.labels import Labels
    from vim_deploy.errors import ConfigError
    from vim_deploy.pipeline.inputs import Shard
    from vim_deploy.pipeline.options import InferenceOptions
    from vim_deploy.pipeline.stop import FailureLimit
    from vim_deploy.results import Format, Start

    resume, restart, format_name, labels, max_failures, shard = map(
        given.pop, ("resume", "restart", "format_name", "labels", "max_failures", "shard")
    )
    limits = map(given.pop, ("max_pixels", "max_metadata", "decode_seconds", "reduced_jpeg", "depth"))
    if resume and restart:
        raise ConfigError(
            "--resume keeps the rows of the interrupted run and --restart discards them; give only one."
        )
    if given["idle"] is not None and not given["watch"]:
        raise ConfigError("--idle is only valid with --watch; give both or neither.")
    if given["label_field"] is not None and labels != Labels.SHARDS.value:
        raise ConfigError("--label-field is only valid with --labels shards; give both or neither.")
    cluster = _cluster_options(given)
    return InferenceOptions(
        engine=engine,
        cluster=cluster,
        inputs=images,
        format=Format(format_name) if format_name else None,
        labels=Labels(labels) if labels in set(Labels) else Path(labels),
        start=Start.RESUME if resume else Start.RESTART if restart else Start.NEW,
        limits=Limits(*limits),
        max_failures=FailureLimit.parse(max_failures) if max_failures else FailureLimit(),
        shard=Shard.parse(shard) if shard else Shard(),
        **given,
    )


def _cluster_options(given: dict[str, Any]) -> ClusterOptions | None:
    from vim_deploy.errors import ConfigError
    from vim_deploy.pipeline.options import ClusterOptions

    address, actors, gpus = map(given.pop, ("ray", "actors", "actor_gpus"))
    if address is None:
        if actors is not None or gpus is not None:
            raise ConfigError("--actors and --actor-gpus are only valid with --ray; give it, or none.")
        return None
    if given["watch"]:
        raise ConfigError("--watch is not valid with --ray, which takes all inputs at once; leave one out.")
    return ClusterOptions(None if address == LOCAL_CLUSTER else address, actors, gpus)


def _report(summary: Summary, options: InferenceOptions, as_json: bool, quiet: bool) -> None:
    if as_json:
        echo(json.dumps(summary.to_dict(), indent=2))
    if quiet:
        return
    echo(summary.text(), err=True)
    if options.output is not None:
        echo(f"results in {options.output}", err=True)
    if options.report is not None:
        echo(f"report in {options.report}", err=True)
