"""What is exported: a task of an opened model, and what the file will say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.dense.detector_config import DETECTORS
from vim_deploy.dense.segmentation import SEGMENTER_PRESETS
from vim_deploy.errors import ExportError
from vim_deploy.export.source import FROM_CHECKPOINT, ModelSource, open_source
from vim_deploy.export.task import TaskModule, VimTaskModule
from vim_deploy.model.config import PRESETS, REGISTERED_NAMES, variant_name

_NAMED = (
    ((*PRESETS, *REGISTERED_NAMES), ("classify", "features")),
    (tuple(SEGMENTER_PRESETS), ("segment",)),
    (tuple(DETECTORS), ("detect",)),
)


@dataclass(frozen=True)
class ExportModel:
    """A task in float32. `num_classes` 0: nothing to name.

    `config` is what the structure can be built from again, `origin` what the metadata says of the weights,
    `notes` everything that was assumed about them.
    """

    task: TaskModule
    variant: str
    config: dict[str, Any]
    num_classes: int
    origin: dict[str, Any]
    notes: tuple[str, ...]
    preprocessing: Preprocessing | None  # the reference's own; None where it has none for such a model
    class_names: tuple[str, ...] | None = None  # those that the weights bring, where none are given


def open_export_model(source: ModelSource, task: str, features: str) -> ExportModel:
    """Raises CheckpointError, ConfigError or ExportError."""
    _check_name(source, task)
    if task == "segment":
        from vim_deploy.tasks.segment.export import open_segmenter

        return open_segmenter(source)
    if task == "detect":
        from vim_deploy.tasks.detect.export import open_detector

        return open_detector(source)
    return _open_vim(source, task, features)


def _check_name(source: ModelSource, task: str) -> None:
    """Raises ExportError for a named model of another task."""
    if source.name == FROM_CHECKPOINT and source.checkpoint is None:
        raise ExportError(f"the model {FROM_CHECKPOINT!r} needs --checkpoint; give one, or a model's name.")
    for names, tasks in _NAMED:
        if source.name in names and task not in tasks:
            fitting = ", ".join(name for names, tasks in _NAMED if task in tasks for name in names[:5])
            raise ExportError(
                f"{source.name} is for --task {' or '.join(tasks)}, not {task}; for {task} there are: "
                f"{fitting}."
            )


def _open_vim(source: ModelSource, task: str, features: str) -> ExportModel:
    opened = open_source(source)
    config = opened.model.config
    if task == "classify" and not config.num_classes:
        raise ExportError("the model has no head, so it cannot classify; export it with --task features.")
    return ExportModel(
        task=VimTaskModule(opened.model, task, features),
        variant=variant_name(config),
        config=config.to_dict(),
        num_classes=config.num_classes if task == "classify" else 0,
        origin=opened.origin,
        notes=opened.notes,
        preprocessing=Preprocessing(image_size=config.image_size) if config.channels == 3 else None,
    )
