"""Segmenters and detectors opened for export: by a name, a configuration in a file, or a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.dense.checkpoint import Config, LoadedDense, Model
from vim_deploy.errors import ConfigError, ExportError
from vim_deploy.export.model import ExportModel
from vim_deploy.export.source import (
    FROM_CHECKPOINT,
    ModelSource,
    generated_origin,
    read_config_file,
    undescribed,
)
from vim_deploy.export.task import TaskModule
from vim_deploy.model.synthetic import fill_generated


@dataclass(frozen=True)
class Family(Generic[Model, Config]):
    """One kind of dense model.

    `name_of` is the short name whatever crop, class count and halving are. `known_names` are the classes of
    the data set `data_set`, which heads of as many classes without names are taken for.
    """

    kind: str
    build: Callable[[Config], Model]
    load: Callable[..., tuple[Model, LoadedDense[Config]]]
    from_dict: Callable[[dict[str, Any]], Config]
    preset: Callable[[str], Config]
    presets: Mapping[str, Config]
    name_of: Callable[[Config], str]
    known_names: tuple[str, ...]
    data_set: str


@dataclass(frozen=True)
class Opened(Generic[Model, Config]):
    """A model in evaluation mode, and what the metadata and notes say of its weights."""

    model: Model
    config: Config
    origin: dict[str, Any]
    notes: tuple[str, ...]
    class_names: tuple[str, ...] | None = None


def open_dense(source: ModelSource, family: Family[Model, Config]) -> Opened[Model, Config]:
    """Raises CheckpointError, ConfigError or ExportError."""
    from_file = _config_file(source.name, family)
    if source.checkpoint is None:
        return _generated(source, from_file or family.preset(source.name), family)
    model, loaded = family.load(
        source.checkpoint,
        entry=source.entry,
        config=from_file,
        image_size=source.image_size,
        num_classes=source.num_classes,
        halve=source.halve,
        position_rule=source.position_rule,
    )
    if from_file is None and source.name != FROM_CHECKPOINT:
        found = family.name_of(loaded.config)
        if family.preset(source.name) is not family.presets.get(found):
            raise ExportError(
                f"{loaded.source} is not a {source.name}: its tensors say {found}. Name the right model, or "
                f"{FROM_CHECKPOINT!r} to take what it is."
            )
    origin = {"source": loaded.source, "sha256": loaded.sha256, "entry": loaded.entry, "seed": None}
    return Opened(model, loaded.config, origin, loaded.notes, loaded.class_names)


def export_model_of(
    opened: Opened[Model, Config],
    family: Family[Model, Config],
    task: TaskModule,
    variant: str,
    config: dict[str, Any],
) -> ExportModel:
    """`config` is what the metadata holds of the structure."""
    names, notes, classes = opened.class_names, opened.notes, opened.config.num_classes
    if names is None and classes == len(family.known_names):
        names = family.known_names
        taken = f"{classes} classes without names: taken for those of {family.data_set}"
        notes = (*notes, f"{taken}; --class-names says otherwise.")
    preprocessing = Preprocessing(image_size=opened.config.image_size, crop_ratio=1.0)
    return ExportModel(
        task=task,
        variant=variant,
        config=config,
        num_classes=classes,
        origin=opened.origin,
        notes=notes,
        preprocessing=preprocessing if opened.config.backbone.vim.channels == 3 else None,
        class_names=names,
    )


def _generated(source: ModelSource, config: Config, family: Family[Model, Config]) -> Opened[Model, Config]:
    if source.image_size is not None:
        config = config.with_vim(image_size=source.image_size)
    if source.num_classes is not None:
        config = config.replace(num_classes=source.num_classes)
    if source.halve is not None:
        config = config.with_vim(halve=source.halve)
    model = family.build(config)
    fill_generated(model, seed=source.seed)
    origin, note = generated_origin(source.seed)
    return Opened(model.eval(), config, origin, (note,))


def _config_file(name: str, family: Family[Model, Config]) -> Config | None:
    values = read_config_file(name)
    if values is None:
        return None
    try:
        return family.from_dict(values)
    except (ConfigError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise undescribed(name, family.kind, error) from None
