"""Checks, before a run, that it replaces no other files."""

from __future__ import annotations

import os
from pathlib import Path

from vim_deploy.data.discover import STANDARD_INPUT
from vim_deploy.errors import EngineError, OutputError, os_errors
from vim_deploy.files import is_file, is_folder
from vim_deploy.output_files import FileKind, OutputFile, check_output_files, containing, input_paths
from vim_deploy.pipeline.options import InferenceOptions
from vim_deploy.results.output import output_errors
from vim_deploy.results.recognize import RESULTS_FILE, check_companions
from vim_deploy.storage import StoragePath, file_or_url, is_url
from vim_deploy.tasks.options import picture_flags, task_paths

# The marker is in report/page.html.
REPORT_FILE = FileKind("a report of vim-infer", containing(b'<meta name="generator" content="vim-infer">'))


def check_outputs(options: InferenceOptions) -> None:
    """Raises OutputError for outputs that must not be written, and for options of outputs that are not."""
    _check_picture_options(options)
    paths, results, outputs = task_paths(options.task_options), options.output, []
    if options.report is not None and (
        results is None
        or (os.path.lexists(results) and not is_file(results) and not isinstance(results, StoragePath))
    ):
        raise OutputError("--report is created from a results file; give one with -o.")
    if results is not None:
        outputs.append(OutputFile("-o", results, RESULTS_FILE, special=True))
    if options.report is not None:
        outputs.append(OutputFile("--report", options.report, REPORT_FILE))
    given = [text for text in options.inputs if text != STANDARD_INPUT]
    inputs = [options.engine, *input_paths(given), *paths.inputs]
    inputs += [file_or_url(text) for text in given if is_url(text)]
    inputs += [path for path in (options.source, options.labels) if isinstance(path, Path)]
    check_output_files([*outputs, *paths.outputs], inputs, options.force)
    if results is not None and (is_file(results) or not os.path.lexists(results)):
        with output_errors(results):
            check_companions(results)
    input_folders = [path for path in inputs if is_folder(path) or isinstance(path, StoragePath)]
    for option, folder in folders_of(options):
        inside = [given for given in input_folders if folder.resolve().is_relative_to(given.resolve())]
        if inside:
            raise OutputError(
                f"{option} {folder} is inside the input folder {inside[0]}, so its files would become "
                "inputs; give another folder."
            )


def _check_picture_options(options: InferenceOptions) -> None:
    if options.overlays is None and not options.legend:
        raise OutputError("--no-legend is only valid with --overlays; give both or neither.")
    flags = picture_flags(options.task_options)
    if flags and options.overlays is None and options.report is None:
        raise OutputError(
            f"{', '.join(flags)}: only valid with --overlays or --report; give one of them, or leave it out."
        )


def check_for_arrays(options: InferenceOptions, engine: str) -> None:
    """Raises EngineError for options that concern images, for a model with named arrays."""
    flags = {
        "--report": options.report is not None,
        "--overlays": options.overlays is not None,
        "--batch-size": options.batch_size is not None,
        "--reduced-jpeg": options.limits.reduced_jpeg,
    }
    if given := [flag for flag, present in flags.items() if present]:
        raise EngineError(
            f"{', '.join(given)}: only for models that take images, and {engine} takes named arrays (task "
            "raw), one run per file. Leave it out."
        )


def folders_of(options: InferenceOptions) -> list[tuple[str, Path]]:
    """The folders for files of images, with the flags that name them."""
    overlays = [] if options.overlays is None else [("--overlays", options.overlays)]
    return [*task_paths(options.task_options).folders, *overlays]


def make_folders(options: InferenceOptions) -> list[Path]:
    """Create the folders for files of images. Raises OutputError."""
    folders = folders_of(options)
    for option, folder in folders:
        with os_errors(OutputError, f"{option} {folder} cannot be created"):
            folder.mkdir(parents=True, exist_ok=True)
    return [folder for _, folder in folders]
