"""vim-validate: proof that exported files and engines give what the eager model gives."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vim_deploy.cli.common import (
    command,
    entry_option,
    halve_option,
    log_to_stderr,
    quiet_option,
    seed_option,
    size,
    stages,
    threads_option,
)

if TYPE_CHECKING:
    from vim_deploy.validation.validate import Validation, ValidationRequest

DIFFERENT = 1


@command()
@click.argument("model")
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="ARTIFACT...")
@click.option(
    "--checkpoint", help="Weights of MODEL: a .pth or .safetensors file, or hf://owner/repo[/file]."
)
@entry_option
@click.option("--image-size", type=size, help="Input size, N or HEIGHTxWIDTH.  [default: the artifacts']")
@click.option(
    "--position-rule",
    type=click.Choice(("geometric", "reference")),
    default="geometric",
    show_default=True,
    help="As at export.",
)
@click.option("--num-classes", type=click.IntRange(min=0), help="As at export.")
@halve_option
@seed_option
@click.option("--images", multiple=True, help="Image files, folders or globs; repeatable.")
@click.option(
    "--max-images",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Of --images, how many outputs are compared in detail.",
)
@click.option("--random", "random_images", type=click.IntRange(min=0), default=4, show_default=True,
              help="Images of noise.")  # fmt: skip
@click.option(
    "--hard/--no-hard",
    default=True,
    show_default=True,
    help="Black, white, checkerboards, extreme values.",
)
@click.option(
    "--function-body/--no-function-body",
    default=True,
    show_default=True,
    help="Run ONNX files also without the operator library, which is slow.",
)
@click.option(
    "--layers", is_flag=True, help="Compare every part of every block, and say where an error starts."
)
@click.option("--block", type=click.IntRange(min=0), help="With --layers: print all parts of this block.")
@click.option(
    "--plot", type=click.Path(path_type=Path), help="With --layers: error against depth, .png/.svg/.pdf."
)
@click.option(
    "--invariance",
    is_flag=True,
    help="Run again: other batches, threads, instruction sets, and the same once more.",
)
@click.option(
    "--labels",
    help="Accuracy on all --images. folder: the folder of an image is named like its class (or synset, with "
    "--synsets). sorted: the i-th subfolder is class i. Else a file with IMAGE CLASS on each line.",
)
@click.option(
    "--synsets",
    type=click.Path(path_type=Path),
    help="File whose i-th line begins with the synset of class i.",
)
@click.option("--max-labelled", type=click.IntRange(min=1), help="Use the first labelled images only.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a report that is one HTML file.")
@click.option(
    "--sign", is_flag=True, help="Write the result into each engine that passed; vim-infer shows it."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout instead of tables.")
@threads_option
@quiet_option
def main(model: str, artifacts: tuple[Path, ...], as_json: bool, quiet: bool, **options: Any) -> None:
    """Compare MODEL in eager PyTorch with every ARTIFACT: ONNX files of vim-export, engines of vim-build.

    MODEL is given as to vim-export. The reference runs the plain PyTorch operator, in float32 and in float64.
    ONNX files run with the operator library and by their function body.

    Exit codes: 0 all equal within what their precision costs, 1 some are not, 2 something the message tells
    how to mend.
    """
    log_to_stderr(quiet)
    _check(options)
    with stages("vim-validate", quiet) as report:
        report("loading PyTorch")
        from vim_deploy.validation.validate import validate

        validation = validate(_request(model, artifacts, options), report)
    _write(validation, options)
    if as_json:
        click.echo(json.dumps(validation.to_dict(), indent=2))
    else:
        _print(validation, options["block"])
    if options["sign"]:
        from vim_deploy.validation.sign import sign

        for result in sign(validation):
            click.echo(f"{result.way.path}: signed as validated", err=True)
    sys.exit(0 if validation.passed else DIFFERENT)


def _check(options: dict[str, Any]) -> None:
    """Mistakes that would otherwise show after the long part."""
    for name in ("block", "plot"):
        if options[name] is not None and not options["layers"]:
            raise click.UsageError(f"--{name} shows what --layers finds; give --layers too.")
    for name in ("synsets", "max_labelled"):
        if options[name] is not None and options["labels"] is None:
            raise click.UsageError(f"--{name.replace('_', '-')} belongs to --labels; give --labels too.")
    if options["labels"] is not None and not options["images"]:
        raise click.UsageError("--labels needs images; give --images FOLDER.")
    for name in ("plot", "html"):
        path = options[name]
        if path is not None and not path.absolute().parent.is_dir():
            raise click.UsageError(f"--{name}: the folder {path.parent} does not exist; create it first.")
    if options["plot"] is not None or (options["html"] is not None and options["layers"]):
        from vim_deploy.validation.plots import check_installed

        check_installed()


def _request(model: str, artifacts: tuple[Path, ...], options: dict[str, Any]) -> ValidationRequest:
    from vim_deploy.export.source import ModelSource
    from vim_deploy.validation.artifacts import ways
    from vim_deploy.validation.labels import LabelSource
    from vim_deploy.validation.sign import check_signable
    from vim_deploy.validation.validate import ValidationRequest

    if options["sign"]:
        check_signable([way for path in artifacts for way in ways(path)])
    of_source = ("checkpoint", "entry", "image_size", "position_rule", "num_classes", "halve", "seed")
    of_request = ("images", "max_images", "random_images", "hard", "function_body", "threads", "layers",
                  "invariance")  # fmt: skip
    labels = None
    if options["labels"] is not None:
        labels = LabelSource(options["labels"], options["synsets"], options["max_labelled"])
    return ValidationRequest(
        source=ModelSource(name=model, **{key: options[key] for key in of_source}),
        artifacts=artifacts,
        labels=labels,
        **{key: options[key] for key in of_request},
    )


def _write(validation: Validation, options: dict[str, Any]) -> None:
    from vim_deploy.errors import OutputError
    from vim_deploy.files import atomic_write

    reports = [result.layers for result in validation.results if result.layers]
    if options["plot"] is not None:
        from vim_deploy.validation.plots import error_against_depth, save_figure

        save_figure(error_against_depth(reports), options["plot"])
    if options["html"] is not None:
        from vim_deploy.validation.page import render

        try:
            with atomic_write(options["html"]) as file:
                file.write(render(validation).encode())
        except OSError as error:
            raise OutputError(f"{options['html']} cannot be written: {error.strerror or error}.") from None


def _print(validation: Validation, block: int | None) -> None:
    from rich.console import Console

    from vim_deploy.validation.tables import show

    screen = Console(highlight=False)
    # A table squeezed into a pipe's 80 columns is unreadable.
    show(validation, screen if screen.is_terminal else Console(highlight=False, width=180), block)
