"""What is exported: a task of an opened model, and what the file will say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.errors import ExportError
from vim_deploy.export.source import ModelSource, open_source
from vim_deploy.export.task import Task, VimTask
from vim_deploy.model.config import variant_name


@dataclass(frozen=True)
class Subject:
    """A task in float32. `num_classes` 0: nothing to name.

    `config` is what the structure can be built from again, `origin` what the metadata says of the weights,
    `notes` everything that was assumed about them.
    """

    task: Task
    variant: str
    config: dict[str, Any]
    num_classes: int
    origin: dict[str, Any]
    notes: tuple[str, ...]
    preprocessing: Preprocessing | None  # the reference's own; None where it has none for such a model


def open_subject(source: ModelSource, task: str, features: str) -> Subject:
    """Raises CheckpointError, ConfigError or ExportError."""
    opened = open_source(source)
    config = opened.model.config
    if task == "classify" and not config.num_classes:
        raise ExportError("the model has no head, so it cannot classify; export it with --task features.")
    return Subject(
        task=VimTask(opened.model, task, features),
        variant=variant_name(config),
        config=config.to_dict(),
        num_classes=config.num_classes if task == "classify" else 0,
        origin=opened.origin,
        notes=opened.notes,
        preprocessing=Preprocessing(image_size=config.image_size) if config.channels == 3 else None,
    )
