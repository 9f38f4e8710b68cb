"""vim-export: a checkpoint or a named model to one ONNX file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vim_deploy.cli.common import (
    command,
    complete_files,
    echo,
    force_option,
    log_to_stderr,
    path_option,
    quiet_option,
    stages,
)
from vim_deploy.cli.model_options import (
    complete_models,
    model_names,
    model_options,
    model_source,
)
from vim_deploy.cli.registry_type import RegistryType
from vim_deploy.cli.task_options import TaskOptionsCommand, take_task_options
from vim_deploy.families.family import FACTORY
from vim_deploy.precision import FILE_PRECISIONS, Precision
from vim_deploy.tasks.registry import TASKS
from vim_deploy.text import by

if TYPE_CHECKING:
    from vim_deploy.export.exporter import ExportResult

_OF_EXPORT = ("task", "batch_size", "precision", "class_names", "preprocessing", "check", "check_images",
              "calibrate", "force")  # fmt: skip


class _ExportCommand(TaskOptionsCommand):
    """Lists the named models of all registered families at the end of its help."""

    role = "export_options"

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.epilog = model_names()
        super().format_epilog(ctx, formatter)


@command(
    _ExportCommand,
    examples=(
        "vim-export vim_tiny --checkpoint vim_t_midclstok_76p1acc.pth -o vim_tiny.onnx",
        "vim-export auto --checkpoint hf://hustvl/Vim-tiny-midclstok -o vim_tiny.onnx",
        "vim-export upernet_vim_tiny --task segment --checkpoint iter_60000.pth -o seg.onnx",
        "vim-export --factory mambavision.models.mamba_vision:mamba_vision_T --batch-size 1 -o t.onnx",
    ),
)
@click.argument("model", required=False, shell_complete=complete_models)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write."
)
@model_options(image_size="as trained")
@click.option(
    "--task",
    type=RegistryType(TASKS),
    default="classify",
    help="What the exported file computes.",
)
@click.option(
    "--precision",
    type=click.Choice([str(precision) for precision in FILE_PRECISIONS]),
    default=str(Precision.FP32),
    help="Type of the blocks' weights and activations, for runtimes that take it from the file (TensorRT). "
    "Inputs, outputs, norms and the residual stream are always float32. int8 and fp8 apply to the large "
    "matmuls, and need --calibrate; fp8 is for TensorRT 10 and later.",
)
@click.option(
    "--calibrate",
    multiple=True,
    shell_complete=complete_files,
    help="Calibration images for --precision int8 and fp8, representative of the application: file, folder "
    "or glob; repeatable. At most 128 are used, evenly spaced.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Fixed batch size.  [default: dynamic]")
@path_option(
    "--class-names",
    help="File with class names: one per line, JSON (a list, class_names, id2label, ImageNet's class index), "
    "timm's synset files, or ultralytics' YAML.  [default: from the checkpoint, or of the dataset with "
    "the same number of classes]",
)
@path_option(
    "--preprocessing",
    help="JSON file with image_size, crop_ratio, mean, std and channels.  [default: the reference's for "
    "ImageNet]",
)
@click.option(
    "--check/--no-check",
    default=True,
    help="Compare the written file with the eager model, and fail if they disagree.",
)
@click.option(
    "--check-images",
    multiple=True,
    shell_complete=complete_files,
    help="Images to compare on: file, folder or glob; repeatable.  [default: random pixels]",
)
@force_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON to stdout.")
@quiet_option
def main(model: str | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Export MODEL to an ONNX file, and verify the file against the eager model.

    MODEL is a named model, a JSON file with a configuration, or "auto" to use the configuration of the
    checkpoint. Without --checkpoint, the weights are synthetic: they are generated from --seed, for
    performance measurements only. With --factory, the network is built by a function of your own.

    Exit codes: 0 written (and verified, unless --no-check), 2 user error; the message says how to fix it.
    """
    log_to_stderr(quiet)
    source = model_source(_named_model(model, options["factory"]), options)
    task_options = take_task_options(options, "export_options")
    with stages("vim-export", quiet) as report:
        from vim_deploy.interface.convert import export_source

        result = export_source(
            source,
            options["output"],
            task_options=task_options,
            output_name="-o",
            report=report,
            **{name: options[name] for name in _OF_EXPORT},
        )
    _report(result, as_json, quiet)


def _named_model(model: str | None, factory: str | None) -> str:
    """The name of the model. Raises UsageError unless it is given either by name or by a factory."""
    if (model is None) == (factory is None):
        raise click.UsageError("give either MODEL or --factory.")
    return FACTORY if model is None else model


def _report(result: ExportResult, as_json: bool, quiet: bool) -> None:
    from vim_deploy.inspection.text import parity_in_words, precision_in_words

    metadata = result.metadata
    if as_json:
        summary = {"path": str(result.path), "notes": result.notes, "metadata": metadata.to_dict()}
        echo(json.dumps(summary, indent=2, sort_keys=True))
    for note in result.notes:
        echo(f"note: {note}", err=True)
    if not quiet:
        echo(
            f"{result.path}: {metadata.variant}, {by(metadata.preprocessing.image_size)}, "
            f"{precision_in_words(metadata.precision, metadata.quantization)}, "
            f"{parity_in_words(metadata.parity)}",
            err=True,
        )
