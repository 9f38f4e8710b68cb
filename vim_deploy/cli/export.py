"""`vim-export`: a checkpoint or a model's name to one ONNX file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from vim_deploy.cli.common import command, read_class_names, read_preprocessing, size, stages


@command()
@click.argument("model")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="ONNX file."
)
@click.option("--checkpoint", help="Weights: .pth, .safetensors or hf://owner/repo[/file].")
@click.option(
    "--entry",
    type=click.Choice(["model", "model_ema"]),
    default="model",
    show_default=True,
    help="Which weights of a training checkpoint.",
)
@click.option("--image-size", type=size, help="Input size, N or HEIGHTxWIDTH; the trained one by default.")
@click.option(
    "--position-rule",
    type=click.Choice(["geometric", "reference"]),
    default="geometric",
    show_default=True,
    help="How the position embedding is resized for another image size.",
)
@click.option(
    "--num-classes", type=click.IntRange(min=0), help="Expected classes; chosen for generated weights."
)
@click.option("--task", type=click.Choice(["classify", "features"]), default="classify", show_default=True)
@click.option(
    "--features",
    type=click.Choice(["pooled", "tokens"]),
    default="pooled",
    show_default=True,
    help="For --task features: one vector per image, or one per token.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Fix the batch size; open by default.")
@click.option(
    "--class-names",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="One name per line, or JSON (a list, or an object with `class_names`).",
)
@click.option(
    "--preprocessing",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="JSON object, or an object with `preprocessing`; the reference's by default.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="For generated weights (no --checkpoint)."
)
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="Compare the file with the eager model after writing it.",
)
@click.option("--check-images", multiple=True, help="Images to compare on; random pixels by default.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def main(model: str, output: Path, as_json: bool, **options: Any) -> None:
    """Write MODEL as an ONNX file and prove it equal to the eager model.

    MODEL is vim_tiny, vim_tiny_plus, vim_small, vim_small_plus, vim_base, a name registered upstream, a JSON
    file with a configuration, or "auto" for what the checkpoint says. Without --checkpoint the weights are
    generated from a seed, for measuring, and the file says so.
    """
    with stages("vim-export") as report:
        from vim_deploy.export.run import ExportRequest, export
        from vim_deploy.export.source import ModelSource

        source_keys = ("checkpoint", "entry", "image_size", "position_rule", "num_classes", "seed")
        source = ModelSource(name=model, **{key: options.pop(key) for key in source_keys})
        request = ExportRequest(
            source=source,
            output=output,
            task=options["task"],
            features=options["features"],
            batch=options["batch_size"],
            class_names=read_class_names(options["class_names"]),
            preprocessing=read_preprocessing(options["preprocessing"]),
            check=options["check"],
            check_images=options["check_images"],
        )
        result = export(request, report)
    parity = result.metadata.parity
    if as_json:
        summary = {"path": str(result.path), "variant": result.metadata.variant, "parity": parity}
        click.echo(json.dumps({**summary, "checkpoint": result.metadata.checkpoint, "notes": result.notes}))
        return
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{result.path}: {result.metadata.variant}, {_parity_line(parity)}")


def _parity_line(parity: dict[str, Any] | None) -> str:
    if parity is None:
        return "NOT compared with the eager model (--no-check)"
    found = parity["library"]
    return (
        f"equal to the eager model on {found['images']} {parity['images']} images: largest difference "
        f"{found['max_abs']:.2g} on values up to {found['max_reference']:.2g}"
    )
