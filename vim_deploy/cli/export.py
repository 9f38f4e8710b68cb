"""vim-export: a checkpoint or a model's name to one ONNX file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vim_deploy.cli.common import (
    command,
    entry_option,
    halve_option,
    log_to_stderr,
    needs_extra,
    quiet_option,
    seed_option,
    stages,
)
from vim_deploy.cli.registry_type import RegistryType
from vim_deploy.options import ImageSize
from vim_deploy.tasks.registry import TASKS

if TYPE_CHECKING:
    from vim_deploy.export.exporter import ExportRequest, ExportResult


@command()
@click.argument("model")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write."
)
@click.option("--checkpoint", help="Weights: a .pth or .safetensors file, or hf://owner/repo[/file].")
@entry_option
@click.option("--image-size", type=ImageSize(), help="Input size, N or HEIGHTxWIDTH.  [default: as trained]")
@click.option(
    "--position-rule",
    type=click.Choice(("geometric", "reference")),
    default="geometric",
    show_default=True,
    help="How the position embedding is resized for another image size: keeping the class token's place, or "
    "as the reference's fine-tuning does it.",
)
@click.option(
    "--num-classes", type=click.IntRange(min=0), help="Classes that the checkpoint must have, or to generate."
)
@halve_option
@click.option(
    "--task",
    type=RegistryType(TASKS),
    default="classify",
    show_default=True,
)
@click.option(
    "--features",
    type=click.Choice(("pooled", "tokens", "map")),
    default="pooled",
    show_default=True,
    help="For --task features: one vector per image, one per token, or the patches' as an image "
    "(embed, height, width).",
)
@click.option(
    "--precision",
    type=click.Choice(("fp32", "fp16", "bf16")),
    default="fp32",
    show_default=True,
    help="Type of the blocks' weights and activations, for engines that take it from the file (TensorRT); "
    "input, output, norms and residual stream are float32 in any case.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Fix the batch size.  [default: open]")
@click.option(
    "--class-names",
    type=click.Path(path_type=Path),
    help="One name per line, or JSON: a list, or an object with class_names.",
)
@click.option(
    "--preprocessing",
    type=click.Path(path_type=Path),
    help="JSON: image_size, crop_ratio, mean, std, channels.  [default: the reference's for ImageNet]",
)
@seed_option
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="Compare the written file with the eager model, and fail if they disagree.",
)
@click.option("--check-images", multiple=True, help="Images to compare on; repeatable.  [default: random]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@quiet_option
def main(model: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Write MODEL as an ONNX file and prove it equal to the eager model.

    MODEL is vim_tiny, vim_tiny_plus, vim_small, vim_small_plus, vim_base, a name registered upstream, a JSON
    file with a configuration, or "auto" for what the checkpoint says; for --task segment upernet_vim_tiny or
    upernet_vim_small; for --task detect cascade_vim_tiny, cascade_vim_small or cascade_vim_base. Without
    --checkpoint the weights are generated from a seed, for measuring, and the file says so.

    Exit codes: 0 written (and equal, unless --no-check), 2 something the message tells how to mend.
    """
    log_to_stderr(quiet)
    with stages("vim-export", quiet) as report:
        report("loading PyTorch")
        with needs_extra("export"):
            from vim_deploy.export.exporter import export

        result = export(_request(model, options), report)
    _report(result, as_json, quiet)


def _request(model: str, options: dict[str, Any]) -> ExportRequest:
    from vim_deploy.export.description import read_class_names, read_preprocessing
    from vim_deploy.export.exporter import ExportRequest
    from vim_deploy.export.source import ModelSource

    names, preprocessing = options["class_names"], options["preprocessing"]
    of_source = ("checkpoint", "entry", "image_size", "position_rule", "num_classes", "halve", "seed")
    return ExportRequest(
        source=ModelSource(name=model, **{key: options[key] for key in of_source}),
        output=options["output"],
        task=options["task"],
        features=options["features"],
        batch=options["batch_size"],
        precision=options["precision"],
        class_names=read_class_names(names) if names else None,
        preprocessing=read_preprocessing(preprocessing) if preprocessing else None,
        check=options["check"],
        check_images=options["check_images"],
    )


def _report(result: ExportResult, as_json: bool, quiet: bool) -> None:
    metadata = result.metadata
    if as_json:
        summary = {"path": str(result.path), "notes": result.notes, "metadata": metadata.to_dict()}
        click.echo(json.dumps(summary, indent=2, sort_keys=True))
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    if not quiet:
        height, width = metadata.preprocessing.image_size
        click.echo(
            f"{result.path}: {metadata.variant}, {height}x{width}, {metadata.precision}, "
            f"{_parity(metadata.parity)}",
            err=True,
        )


def _parity(parity: dict[str, Any] | None) -> str:
    if parity is None:
        return "NOT compared with the eager model (--no-check)"
    if (found := parity.get("library")) is not None:
        agreement = "equal to the eager model"
    else:
        found = parity.get("function_body") or parity["eager"]
        agreement = "close to the eager float32 model"
    return (
        f"{agreement} on {found['images']} {parity['images']} images: largest difference "
        f"{found['max_abs']:.1e} on values up to {found['max_reference']:.2g}"
    )
