"""A model opened for a task, with everything that the exported file says about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.errors import CheckpointError, ExportError
from vim_deploy.export.task import TaskModule, task_module
from vim_deploy.families.family import FACTORY, Family, ModelSource
from vim_deploy.families.open import OpenedModel, open_model
from vim_deploy.families.registry import families, find_family
from vim_deploy.model.kind import OtherKindError
from vim_deploy.tasks.registry import TASKS
from vim_deploy.tasks.spec import TaskSpec

_NAMES_SHOWN = 5


class OtherTaskError(CheckpointError):
    """A checkpoint that is not for the task. `tasks`: those that it is for."""

    def __init__(self, error: OtherKindError) -> None:
        self.tasks = _tasks_for(error.found.value)
        super().__init__(f"{error} For this one, use --task {' or '.join(self.tasks)}.")


@dataclass(frozen=True)
class ExportModel:
    """A model for a task, in float32 and evaluation mode.

    `num_classes`: 0 if the outputs have no classes. `config` describes the structure, `origin` the weights;
    both are stored in the metadata. `notes`: everything that was assumed. `preprocessing`: the reference's,
    None if it has none for this number of channels. `class_names`: those of the checkpoint,
    or of `assumed_dataset`, which has as many classes.
    """

    family: Family
    task: TaskModule
    variant: str
    config: dict[str, Any]
    num_classes: int
    origin: dict[str, Any]
    notes: tuple[str, ...]
    preprocessing: Preprocessing | None
    class_names: tuple[str, ...] | None = None
    assumed_dataset: str | None = None


def open_export_model(
    source: ModelSource, task: str, options: Mapping[str, Any] | None = None
) -> ExportModel:
    """`options`: keywords of the task's module. Raises CheckpointError, ConfigError or ExportError."""
    spec = TASKS.get(task)
    family = find_family(source.name, spec.model_kinds)
    if family.kind not in spec.model_kinds:
        known = [name for other in families(spec.model_kinds) for name in list(other.presets)[:_NAMES_SHOWN]]
        own = " or ".join(_tasks_for(family.kind))
        raise ExportError(
            f"{source.name} is for --task {own}, not {task}; models for {task}: {', '.join(known)}."
        )
    try:
        opened = open_model(source, family)
    except OtherKindError as error:
        raise OtherTaskError(error) from None
    return export_model_of(opened, family, spec, options)


def export_model_of(
    opened: OpenedModel, family: Family, spec: TaskSpec, options: Mapping[str, Any] | None = None
) -> ExportModel:
    """An opened model for a task. Raises ExportError for a model without the head that the task needs."""
    task = spec.name
    has_classes = spec.class_axis is not None or spec.class_count is not None
    if has_classes and not opened.config.num_classes:
        raise ExportError(f"the model has no head, which --task {task} needs; choose another task.")
    size, channels = opened.config.image_size, opened.model.channels
    names, dataset = _class_names(opened, family) if has_classes else (None, None)
    module = task_module(spec, opened.model, dict(options or {}))
    return ExportModel(
        family=family,
        task=module,
        variant=family.name_of(opened.config),
        config={**family.exported_config(opened.config).to_dict(), **module.config},
        num_classes=opened.config.num_classes if has_classes else 0,
        origin=opened.origin,
        notes=opened.notes,
        preprocessing=_preprocessing(opened, family, size, channels),
        class_names=names,
        assumed_dataset=dataset,
    )


def _preprocessing(
    opened: OpenedModel, family: Family, size: tuple[int, int], channels: int
) -> Preprocessing | None:
    if opened.preprocessing is not None:
        return Preprocessing.from_dict(opened.preprocessing)
    # The rule of the reference is not that of networks from elsewhere.
    return Preprocessing(size, family.crop_ratio) if channels == 3 and family.name != FACTORY else None


def _class_names(opened: OpenedModel, family: Family) -> tuple[tuple[str, ...] | None, str | None]:
    """The names, and the dataset whose names they are assumed to be."""
    count, names = opened.config.num_classes, family.class_names
    if opened.class_names is None and names and count == len(names):
        return names, family.dataset
    return opened.class_names, None


def _tasks_for(kind: str) -> list[str]:
    return [name for name in TASKS.names() if kind in TASKS.get(name).model_kinds]
