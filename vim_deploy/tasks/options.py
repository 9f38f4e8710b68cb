"""What can be asked of the tasks, and how a task is opened."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vim_deploy.errors import EngineError

from .detect_options import DetectOptions
from .feature_files import FeatureOptions
from .segment_options import SegmentOptions

if TYPE_CHECKING:
    from vim_deploy.engines.engine import Engine

    from .base import Task

# Loaded when a task is opened: each brings what it alone needs.
_HOMES = {
    "classify": ("vectors", "Classify"),
    "features": ("vectors", "Features"),
    "segment": ("segment", "Segment"),
    "detect": ("detect", "Detect"),
}


@dataclass(frozen=True)
class TaskOptions:
    """`inputs` are the files and folders of a run, by which a task's own files are named."""

    top_k: int = 5
    features: FeatureOptions = field(default_factory=FeatureOptions)
    segment: SegmentOptions = field(default_factory=SegmentOptions)
    detect: DetectOptions = field(default_factory=DetectOptions)
    inputs: Sequence[str] = ()


def _refuse_others(engine: Engine, options: TaskOptions) -> None:
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


def open_task(engine: Engine, options: TaskOptions) -> Task:
    """The task that the engine is for. Raises EngineError or OutputError for options that do not fit it."""
    name = engine.metadata.task
    if name not in _HOMES:
        raise EngineError(f"{engine.path} is for the task {name}, which vim-infer does not do.")
    _refuse_others(engine, options)
    if engine.metadata.preprocessing.channels not in (1, 3):
        raise EngineError(
            f"the model takes {engine.metadata.preprocessing.channels} channels and images have 1 or 3; "
            "prepare the pixels yourself and call Engine.run(pixels)."
        )
    module, cls = _HOMES[name]
    task: Task = getattr(importlib.import_module(f"vim_deploy.tasks.{module}"), cls)(engine, options)
    return task
