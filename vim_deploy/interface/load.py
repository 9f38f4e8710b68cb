"""Opening an engine, an ONNX file or a checkpoint as a model."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from vim_deploy.engines.open import OpenEngine, open_engine
from vim_deploy.errors import EngineError
from vim_deploy.interface.checkpoints import exported_checkpoint, is_checkpoint
from vim_deploy.interface.model import Model

if TYPE_CHECKING:
    from vim_deploy.tasks.classify.model_result import ClassifyResult
    from vim_deploy.tasks.detect.model_result import DetectResult
    from vim_deploy.tasks.features.model_result import FeaturesResult
    from vim_deploy.tasks.segment.model_result import SegmentResult


@overload
def load(
    path: str | os.PathLike[str],
    *,
    task: Literal["classify"],
    threads: int | None = None,
    device: str | None = None,
    source: str | os.PathLike[str] | None = None,
    **export_options: Any,
) -> Model[ClassifyResult]: ...


@overload
def load(
    path: str | os.PathLike[str],
    *,
    task: Literal["features"],
    threads: int | None = None,
    device: str | None = None,
    source: str | os.PathLike[str] | None = None,
    **export_options: Any,
) -> Model[FeaturesResult]: ...


@overload
def load(
    path: str | os.PathLike[str],
    *,
    task: Literal["segment"],
    threads: int | None = None,
    device: str | None = None,
    source: str | os.PathLike[str] | None = None,
    **export_options: Any,
) -> Model[SegmentResult]: ...


@overload
def load(
    path: str | os.PathLike[str],
    *,
    task: Literal["detect"],
    threads: int | None = None,
    device: str | None = None,
    source: str | os.PathLike[str] | None = None,
    **export_options: Any,
) -> Model[DetectResult]: ...


@overload
def load(
    path: str | os.PathLike[str],
    *,
    task: str | None = None,
    threads: int | None = None,
    device: str | None = None,
    source: str | os.PathLike[str] | None = None,
    **export_options: Any,
) -> Model[Any]: ...


def load(
    path: str | os.PathLike[str],
    *,
    task: str | None = None,
    threads: int | None = None,
    device: str | None = None,
    source: str | os.PathLike[str] | None = None,
    **export_options: Any,
) -> Model[Any]:
    """Open an engine made by vim-build, an ONNX file made by vim-export, or a checkpoint.

    For an ONNX file an engine of the default backend is built into the cache folder (`$VIM_DEPLOY_CACHE`, or
    `vim_deploy` in the user's cache folder), and opened from there the next time. A checkpoint, a file with
    weights or `hf://owner/repo[@revision][/file]`, is exported there first, which needs the extra `export`
    and compares the file with the eager model; `export_options` are those of `vim_deploy.export`.

    `task`: the task that the model must be for, which also gives its results their type; for a checkpoint
    also what is exported, by default the only task of a segmenter or detector, and "classify" for a
    classifier. `threads`: CPU threads per run, by default as recorded in the engine. `device`: the device
    that the engine must be for, or is built for. With `source`, an engine that was built from another ONNX
    file is refused.

    Raises EngineError that names the field in which an engine does not fit, MissingDependencyError or
    OperatorLibraryError, and for a checkpoint also what `export` raises.
    """
    name = os.fspath(path)
    if is_checkpoint(name):
        opened_from = os.fspath(exported_checkpoint(name, task, export_options))
    elif export_options:
        options = ", ".join(sorted(export_options))
        raise EngineError(f"{name} is not a checkpoint, and only a checkpoint is exported; omit {options}.")
    else:
        opened_from = name
    opened = _checked(open_engine(opened_from, threads=threads, device=device, source=source), name, task)
    # Other processes may have another working folder.
    reopen = partial(
        open_engine,
        Path(opened_from).absolute(),
        threads=threads,
        device=device,
        source=None if source is None else Path(source).absolute(),
    )
    return Model(opened, reopen, name)


def _checked(opened: OpenEngine, name: str, task: str | None) -> OpenEngine:
    found = opened.metadata.task
    if task not in (None, found):
        opened.close()
        raise EngineError(
            f"{name} is for the task {found}, not {task}; leave out the task, or export a model for {task}."
        )
    return opened
