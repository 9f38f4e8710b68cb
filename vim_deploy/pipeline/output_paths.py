"""Checks, before a run, that it does not overwrite files that it must not."""

from __future__ import annotations

from vim_deploy.data.discover import starts_like_an_image
from vim_deploy.errors import OutputError
from vim_deploy.pipeline.options import InferenceOptions
from vim_deploy.tasks.options import written_files


def check_output_paths(options: InferenceOptions) -> None:
    """Raises OutputError if the results, the report or a task's file would replace another file."""
    _check_report(options)
    _check_task_files(options)
    path = options.output
    if path is None or not path.is_file():
        return
    if options.engine.exists() and path.samefile(options.engine):
        raise OutputError(f"{path} is the engine; choose another file with -o.")
    if starts_like_an_image(path):
        raise OutputError(f"{path} is an image that the results would replace; choose another file with -o.")


def _check_report(options: InferenceOptions) -> None:
    report, results = options.report, options.output
    if report is None:
        return
    if results is None or (results.exists() and not results.is_file()):
        raise OutputError("--report is created from a results file; give one with -o.")
    if report.resolve() == results.resolve() or starts_like_an_image(report):
        raise OutputError(f"the report would replace {report}; choose another name.")
    if not report.resolve().parent.is_dir():
        raise OutputError(f"the folder of the report {report} does not exist; create it first.")


def _check_task_files(options: InferenceOptions) -> None:
    taken = {"the results": options.output, "the engine": options.engine, "the report": options.report}
    for flag, path in written_files(options.task_options):
        for owner, other in taken.items():
            if other is not None and path.resolve() == other.resolve():
                raise OutputError(f"{flag} {path} is also the path of {owner}; choose another name.")
        if path.is_file() and starts_like_an_image(path):
            raise OutputError(f"{flag} {path} is an image and would be replaced; choose another name.")
