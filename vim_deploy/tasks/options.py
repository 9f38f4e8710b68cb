"""What can be asked of the tasks, and how a task is opened."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vim_deploy.errors import EngineError
from vim_deploy.tasks.detect.options import DetectOptions
from vim_deploy.tasks.features.files import FeatureOptions
from vim_deploy.tasks.segment.options import SegmentOptions

if TYPE_CHECKING:
    from vim_deploy.engines.open import OpenEngine
    from vim_deploy.tasks.base import Task

# Loaded when a task is opened: each brings what it alone needs.
_HOMES = {
    "classify": ("classify.handler", "Classify"),
    "features": ("features.handler", "Features"),
    "segment": ("segment.handler", "Segment"),
    "detect": ("detect.handler", "Detect"),
}


@dataclass(frozen=True)
class TaskOptions:
    """`inputs` are the files and folders of a run, by which a task's own files are named."""

    top_k: int = 5
    features: FeatureOptions = field(default_factory=FeatureOptions)
    segment: SegmentOptions = field(default_factory=SegmentOptions)
    detect: DetectOptions = field(default_factory=DetectOptions)
    inputs: Sequence[str] = ()


def _refuse_others(engine: OpenEngine, options: TaskOptions) -> None:
    """Raises EngineError for options of another task than the engine's; tasks may share some."""
    name = engine.metadata.task
    given = {
        "features": options.features.given(),
        "segment": options.segment.given(),
        "detect": options.detect.given(),
    }
    own = given.get(name, [])
    for other, asked in given.items():
        if foreign := [option for option in asked if option not in own]:
            raise EngineError(
                f"{', '.join(foreign)}: only for models of the task {other}, and {engine.path} is for the "
                f"task {name}. Leave it out, or export a model with --task {other}."
            )


def open_task(engine: OpenEngine, options: TaskOptions) -> Task:
    """The task that the engine is for. Raises EngineError or OutputError for options that do not fit it."""
    name = engine.metadata.task
    if name not in _HOMES:
        raise EngineError(f"{engine.path} is for the task {name}, which vim-infer does not do.")
    _refuse_others(engine, options)
    if engine.metadata.preprocessing.channels not in (1, 3):
        raise EngineError(
            f"the model takes {engine.metadata.preprocessing.channels} channels and images have 1 or 3; "
            "prepare the pixels yourself and call OpenEngine.run(pixels)."
        )
    module, cls = _HOMES[name]
    task: Task = getattr(importlib.import_module(f"vim_deploy.tasks.{module}"), cls)(engine, options)
    return task
