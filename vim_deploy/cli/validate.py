"""vim-validate: compare exported files and engines with the eager model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vim_deploy.cli.common import (
    command,
    command_line,
    complete_files,
    console,
    echo,
    force_option,
    log_to_stderr,
    path_option,
    quiet_option,
    stages,
    threads_option,
)
from vim_deploy.cli.model_options import model_argument, model_files, model_options, model_source
from vim_deploy.errors import needs_extra
from vim_deploy.families.family import FACTORY
from vim_deploy.options import flag_of
from vim_deploy.output_files import OutputFile, check_output_files, input_paths

if TYPE_CHECKING:
    from vim_deploy.validation.request import ValidationRequest
    from vim_deploy.validation.results import Validation

FAILED = 1
# Options that are only valid with another one.
_NEEDS = {
    "block": "layers",
    "plot": "layers",
    "synsets": "labels",
    "max_labeled": "labels",
    "labels": "images",
    "ground_truth": "images",
}


@command(
    examples=(
        "vim-validate vim_tiny vim_tiny.onnx vim_tiny.engine --checkpoint vim_t.pth",
        "vim-validate vim_tiny vim_tiny.engine --checkpoint vim_t.pth --images photos/ --sign",
        "vim-validate vim_tiny vim_tiny.onnx --checkpoint vim_t.pth --layers --html page.html",
    )
)
@model_argument
@click.argument("artifacts", nargs=-1, type=click.Path(path_type=Path), metavar="ARTIFACT...")
@model_options(image_size="that of the artifacts")
@click.option(
    "--images",
    multiple=True,
    shell_complete=complete_files,
    help="Image files, folders or globs to compare on; repeatable.",
)
@click.option(
    "--arrays",
    multiple=True,
    shell_complete=complete_files,
    help="For artifacts with named arrays (task raw): .npz files, or folders of them, to compare on; "
    "repeatable.",
)
@click.option(
    "--max-images",
    type=click.IntRange(min=1),
    default=16,
    help="Compare outputs on the first N of --images.",
)
@click.option("--random", "random_images", type=click.IntRange(min=0), default=4,
              help="Number of noise images, or of sets of random arrays, to compare on.")  # fmt: skip
@click.option(
    "--hard/--no-hard",
    default=True,
    help="Also compare on black and white images, checkerboards and extreme values.",
)
@click.option(
    "--function-body/--no-function-body",
    default=True,
    help="Also run ONNX files with their function body instead of the operator library (slow).",
)
@click.option(
    "--rtol",
    type=click.FloatRange(min=0),
    help="Largest accepted difference, relative to the largest reference value of an image.  [default: that "
    "of the artifact's precision]",
)
@click.option(
    "--atol",
    type=click.FloatRange(min=0),
    help="Largest accepted absolute difference, in addition to --rtol.  [default: 0]",
)
@click.option(
    "--layers",
    is_flag=True,
    help="Compare every part of every block, and locate the first error. With --factory, modules are "
    "compared by name.",
)
@click.option(
    "--block",
    type=click.IntRange(min=0),
    help="With --layers, not with --factory: print all parts of this block.",
)
@path_option(
    "--plot",
    help="With --layers: plot the error against depth to a .png, .svg or .pdf file.",
)
@click.option(
    "--invariance",
    is_flag=True,
    help="Repeat each run, also with other batch sizes, thread counts and CPU instruction sets, and compare "
    "the outputs.",
)
@click.option(
    "--labels",
    metavar="folder|sorted|FILE",
    help="Measure accuracy on all --images. folder: images are in folders named like their class (or synset, "
    "with --synsets). sorted: the i-th subfolder is class i. FILE: one line IMAGE CLASS per image.",
)
@path_option(
    "--synsets",
    help="With --labels: file whose i-th line starts with the synset of class i.",
)
@click.option(
    "--max-labeled", type=click.IntRange(min=1), help="With --labels: use only the first N labeled images."
)
@path_option(
    "--ground-truth",
    help="Measure mIoU or average precision on all --images: a folder of label maps for a segmenter, COCO "
    "annotations for a detector.",
)
@path_option("--html", help="Write a self-contained HTML report.")
@click.option(
    "--sign",
    is_flag=True,
    help="Record the result in the manifest of each engine that passed; vim-infer shows it.",
)
@force_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON instead of tables.")
@threads_option
@quiet_option
def main(model: str, artifacts: tuple[Path, ...], as_json: bool, quiet: bool, **options: Any) -> None:
    """Compare every ARTIFACT, an ONNX file or an engine, with MODEL in eager PyTorch.

    MODEL is given as for vim-export; with --factory, it is left out. It runs with the reference operator, in
    float32 and in float64. ONNX files run twice: with the operator library, and with their function body.

    Exit codes: 0 all artifacts are within the tolerance of their precision, 1 some are not, 2 user error; the
    message says how to fix it.
    """
    log_to_stderr(quiet)
    if options["factory"] is not None:  # there is no MODEL: the first argument is an artifact
        model, artifacts = FACTORY, (Path(model), *artifacts)
    if not artifacts:
        raise click.UsageError("Missing argument 'ARTIFACT...'.")
    _check(artifacts, options)
    _check_outputs(model, artifacts, options)
    with stages("vim-validate", quiet) as report:
        report("loading PyTorch")
        with needs_extra("export"):
            from vim_deploy.validation.validate import validate

        _check_plots(options)
        validation = validate(_request(model, artifacts, options), report)
    _write(validation, options)
    if as_json:
        echo(json.dumps(validation.to_dict(), indent=2))
    else:
        _print(validation, options["block"])
    if options["sign"]:
        from vim_deploy.validation.sign import sign

        for result in sign(validation):
            echo(f"{result.target.path}: recorded as validated", err=True)
    sys.exit(0 if validation.passed else FAILED)


def _check(artifacts: tuple[Path, ...], options: dict[str, Any]) -> None:
    """Raises UsageError for arguments that do not go together, before the long part of the run."""
    from vim_deploy.data.discover import has_image_suffix

    if pictures := [path for path in artifacts if has_image_suffix(path.name)]:
        raise click.UsageError(
            f"{pictures[0]} is an image, not an artifact; give --images before each image, or quote a glob: "
            "--images 'photos/*.jpg'."
        )
    for name, needed in _NEEDS.items():
        if options[name] is not None and not options[needed]:
            raise click.UsageError(f"{flag_of(name)} needs --{needed}; add --{needed}.")


def _check_outputs(model: str, artifacts: tuple[Path, ...], options: dict[str, Any]) -> None:
    """Raises OutputError for an output that must not be written. --sign changes engines, which it checks."""
    from vim_deploy.validation.kinds import PAGE_FILE, PLOT_FILE, plot_format

    kinds = {"html": PAGE_FILE, "plot": PLOT_FILE}
    outputs = [OutputFile(f"--{name}", options[name], kind) for name, kind in kinds.items() if options[name]]
    texts = [
        *options["images"],
        *options["arrays"],
        options["labels"] or "",
        options["synsets"] or "",
        options["ground_truth"] or "",
    ]
    check_output_files(
        outputs, [*artifacts, *model_files(model, options), *input_paths(texts)], options["force"]
    )
    if options["plot"] is not None:
        plot_format(options["plot"])


def _check_plots(options: dict[str, Any]) -> None:
    """Raises MissingDependencyError if plots are wanted, and matplotlib is not installed."""
    if options["plot"] is not None or (options["html"] is not None and options["layers"]):
        from vim_deploy.validation.plots import check_installed

        check_installed()


def _request(model: str, artifacts: tuple[Path, ...], options: dict[str, Any]) -> ValidationRequest:
    from vim_deploy.validation.artifacts import targets_of
    from vim_deploy.validation.compare import Tolerance
    from vim_deploy.validation.labels import LabelSource
    from vim_deploy.validation.request import ValidationRequest
    from vim_deploy.validation.sign import check_signable

    given = {name: options[name] for name in ("rtol", "atol") if options[name] is not None}
    if options["sign"] and given:
        raise click.UsageError(
            "--sign records that an engine is within the tolerance of its precision; drop --rtol and --atol."
        )
    if options["sign"]:
        check_signable([target for path in artifacts for target in targets_of(path)])
    of_request = ("images", "arrays", "max_images", "random_images", "hard", "function_body", "threads",
                  "layers", "block", "invariance", "ground_truth")  # fmt: skip
    labels = None
    if options["labels"] is not None:
        labels = LabelSource(options["labels"], options["synsets"], options["max_labeled"])
    return ValidationRequest(
        source=model_source(model, options),
        artifacts=artifacts,
        labels=labels,
        tolerance=Tolerance(**given) if given else None,
        **{key: options[key] for key in of_request},
    )


def _write(validation: Validation, options: dict[str, Any]) -> None:
    from vim_deploy.errors import OutputError, os_errors
    from vim_deploy.files import atomic_write

    reports = [result.layers for result in validation.results if result.layers]
    if options["plot"] is not None:
        from vim_deploy.validation.plots import error_against_depth, save_figure

        save_figure(error_against_depth(reports), options["plot"])
    if options["html"] is not None:
        from vim_deploy.validation.page import render

        page = render(validation, command_line("vim-validate")).encode()
        path = options["html"]
        with os_errors(OutputError, f"{path} cannot be written"), atomic_write(path) as file:
            file.write(page)


def _print(validation: Validation, block: int | None) -> None:
    from vim_deploy.validation.tables import show

    show(validation, console(stderr=False), block)
