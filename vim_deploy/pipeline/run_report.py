"""The report of a run of vim-infer: what it says about the run and the engine."""

from __future__ import annotations

import dataclasses
import os
from datetime import datetime, timezone
from enum import Enum
from functools import partial
from typing import Any

from vim_deploy.engines.manifest import Manifest
from vim_deploy.package import VERSION
from vim_deploy.pipeline.options import InferenceOptions
from vim_deploy.pipeline.summary import Summary
from vim_deploy.report import About, Drawings, RunReport
from vim_deploy.tasks.base import TaskHandler
from vim_deploy.tasks.options import task_options
from vim_deploy.tasks.registry import TASKS
from vim_deploy.text import by, printable

_NOT_LISTED = ("engine", "inputs", "command", "limits", "task_options", "cluster")


def open_report(options: InferenceOptions, task: TaskHandler) -> RunReport | None:
    """The report to add rows to, None without --report."""
    if options.report is None:
        return None
    return RunReport(task.columns, options.limits, task.draws_in_report)


def open_drawings(options: InferenceOptions, task: TaskHandler) -> Drawings:
    """Draws nothing without --report, and for a task whose predictions are not drawn in it."""
    drawn = options.report is not None and task.draws_in_report
    return Drawings(task.columns, options.limits, partial(task.draw, legend=False) if drawn else None)


def write_report(
    report: RunReport,
    options: InferenceOptions,
    task: TaskHandler,
    manifest: Manifest,
    summary: Summary,
) -> None:
    """Raises OutputError."""
    assert options.report is not None
    about = About(
        summary=summary.to_dict(),
        lines=task.summary_lines(),
        facts={name: printable(value) for name, value in _facts(options, task, manifest).items()},
        options={name: printable(value) for name, value in _options(options, task).items()},
    )
    report.write(options.report, about, task.report(), options.worker_count)


def _facts(options: InferenceOptions, task: TaskHandler, manifest: Manifest) -> dict[str, str]:
    metadata = task.network.metadata
    facts = {
        "date": datetime.now(timezone.utc).isoformat(sep=" ", timespec="seconds"),
        "vim-deploy": VERSION,
        "command": options.command,
        "results": _text(options.output),
        "inputs": _text(options.inputs),
        "engine": f"{options.engine}: {manifest.backend} on {manifest.device}, {manifest.precision}",
        "model": f"{metadata.variant}, {metadata.task}, {by(metadata.preprocessing.image_size)}",
        "weights": str(metadata.checkpoint.get("source")),
        "exported file": f"{manifest.source.name}, SHA-256 {manifest.source.sha256}",
        "validation": manifest.validated,
    }
    return {name: value for name, value in facts.items() if value}


def _options(options: InferenceOptions, task: TaskHandler) -> dict[str, str]:
    """All options with the values that the run used, by name."""
    spec = TASKS.get(task.network.metadata.task)
    of_task = task_options(spec, options.task_options, os.fspath(options.engine))
    values: dict[str, Any] = {}
    for part in (options, options.limits, of_task):
        values |= {item.name: getattr(part, item.name) for item in dataclasses.fields(part)}
    return {name.replace("_", "-"): _text(value) for name, value in values.items() if name not in _NOT_LISTED}


def _text(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return str(value)
