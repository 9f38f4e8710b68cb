"""Opening models of any family by name, configuration file or checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from vim_deploy.errors import ConfigError, ExportError, os_errors
from vim_deploy.families.family import AUTO, Family, ModelSource
from vim_deploy.files import open_regular
from vim_deploy.model.config import ModelConfig
from vim_deploy.model.fields import differing_fields
from vim_deploy.model.loading import LoadedCheckpoint
from vim_deploy.model.synthetic import fill_synthetic
from vim_deploy.registry import load_object


@dataclass(frozen=True)
class OpenedModel:
    """A model in evaluation mode. `origin`: of its weights, for the metadata; `notes`: what was assumed.

    `preprocessing`: the fields of Preprocessing that the model itself has, if any.
    """

    model: Any  # an nn.Module that is a vim_deploy.export.task.Network
    config: ModelConfig
    origin: dict[str, Any]
    notes: tuple[str, ...]
    class_names: tuple[str, ...] | None
    preprocessing: dict[str, Any] | None = None


def open_model(source: ModelSource, family: Family) -> OpenedModel:
    """Raises CheckpointError, ConfigError or ExportError."""
    if family.open is not None:
        found: OpenedModel = load_object(family.open)(source)
        return found
    config = _config_file(source.name, family)
    opened = (_synthetic if source.checkpoint is None else _trained)(source, config, family)
    return replace(opened, notes=(*opened.notes, *family.notes_of(opened.config)))


def _trained(source: ModelSource, config: ModelConfig | None, family: Family) -> OpenedModel:
    loaded: LoadedCheckpoint[Any]
    model, loaded = load_object(family.load)(
        source.checkpoint,
        checkpoint_key=source.checkpoint_key,
        config=config,
        image_size=source.image_size,
        num_classes=source.num_classes,
        average_directions=source.average_directions,
        position_rule=source.position_rule,
    )
    if config is None and source.name not in (AUTO, family.name):
        _check_name(source.name, loaded, family)
    origin = {"source": loaded.source, "sha256": loaded.sha256, "key": loaded.key, "seed": None}
    return OpenedModel(model, loaded.config, origin, loaded.notes, loaded.class_names)


def _synthetic(source: ModelSource, config: ModelConfig | None, family: Family) -> OpenedModel:
    if config is None and source.name in (AUTO, family.name):
        raise ExportError(f"the model {source.name!r} needs --checkpoint; give one, or name a model.")
    config = config or family.preset(source.name)
    config = config.adjusted(
        image_size=source.image_size,
        num_classes=source.num_classes,
        average_directions=source.average_directions,
    )
    model = load_object(family.model)(config)
    fill_synthetic(model, seed=source.seed)
    note = (
        f"synthetic weights (seed {source.seed}): for performance measurements, predictions are meaningless."
    )
    origin = {"source": "synthetic", "sha256": None, "key": None, "seed": source.seed}
    return OpenedModel(model.eval(), config, origin, (note,), None)


def _check_name(name: str, loaded: LoadedCheckpoint[Any], family: Family) -> None:
    """Raises ExportError if the weights are not those of the named model."""
    expected, found = family.preset(name), family.name_of(loaded.config)
    if expected is family.presets.get(found):
        return
    expected = expected.adjusted(image_size=loaded.config.image_size, num_classes=loaded.config.num_classes)
    raise ExportError(
        f"{loaded.source} is not a {family.aliases.get(name, name)}: its tensors are those of a {found} "
        f"model, which differs in {differing_fields(loaded.config, expected)}. Give the right name, or "
        f"{AUTO!r} to use the checkpoint's configuration."
    )


def _config_file(name: str, family: Family) -> ModelConfig | None:
    """The configuration in a JSON file, None for other names. Raises ConfigError."""
    if not name.endswith(".json"):
        return None
    advice = "Give a JSON file or the name of a model."
    try:
        with os_errors(ConfigError, f"cannot read {name}", advice), open_regular(name) as file:
            values = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name} is not valid JSON: {error}.") from None
    if not isinstance(values, dict):
        raise ConfigError(
            f"{name} contains a {type(values).__name__}; expected an object with the model's configuration."
        )
    try:
        return family.parse_config(values)
    except (ConfigError, TypeError, ValueError, KeyError, AttributeError) as error:
        reason = str(error) if isinstance(error, ConfigError) else f"{error!r}."
        raise ConfigError(
            f"{name} is not a valid {family.kind} configuration: {reason} Give a file with the model's "
            f"configuration, a named model, or {AUTO!r} to use the checkpoint's configuration."
        ) from None
