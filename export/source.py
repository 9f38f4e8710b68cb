"""Where the weights of an export come from: a checkpoint, or a seed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vim_deploy.errors import ConfigError, ExportError
from vim_deploy.model.checkpoint import load_model
from vim_deploy.model.config import REGISTERED_NAMES, VimConfig, preset, variant_name
from vim_deploy.model.position import Rule
from vim_deploy.model.synthetic import fill_generated
from vim_deploy.model.vim import VisionMamba

FROM_CHECKPOINT = "auto"


@dataclass(frozen=True)
class ModelSource:
    """A model by name, configuration file or checkpoint.

    `name` is a named model, a JSON file with the fields of VimConfig or the reference's options, or "auto"
    for what the checkpoint's tensors say. Without `checkpoint`, weights are generated from `seed`. `halve`
    settles for segmenters and detectors whether the sum of both scan directions is halved, which weights do
    not show.
    """

    name: str
    checkpoint: str | None = None
    entry: Literal["model", "model_ema"] = "model"
    image_size: tuple[int, int] | None = None
    num_classes: int | None = None
    halve: bool | None = None
    position_rule: Rule = "geometric"
    seed: int = 0


@dataclass(frozen=True)
class LoadedSource:
    """The model in evaluation mode, what the metadata says of its origin, and what was assumed."""

    model: VisionMamba
    origin: dict[str, Any]
    notes: tuple[str, ...]


def open_source(source: ModelSource) -> LoadedSource:
    """Build the model. Raises CheckpointError, ConfigError or ExportError."""
    if source.checkpoint is None:
        return _generated(source)
    from_file = _config_file(source.name)
    model, loaded = load_model(
        source.checkpoint,
        entry=source.entry,
        config=from_file,
        image_size=source.image_size,
        num_classes=source.num_classes,
        position_rule=source.position_rule,
    )
    if from_file is None and source.name != FROM_CHECKPOINT:
        _check_variant(source.name, loaded.config, loaded.source)
    origin = {"source": loaded.source, "sha256": loaded.sha256, "entry": loaded.entry, "seed": None}
    return LoadedSource(model, origin, loaded.notes)


def _generated(source: ModelSource) -> LoadedSource:
    config = _config_file(source.name) or preset(source.name)
    changes: dict[str, Any] = {"image_size": source.image_size, "num_classes": source.num_classes}
    config = config.replace(**{key: value for key, value in changes.items() if value is not None})
    model = VisionMamba(config)
    fill_generated(model, seed=source.seed)
    origin, note = generated_origin(source.seed)
    return LoadedSource(model.eval(), origin, (note,))


def generated_origin(seed: int) -> tuple[dict[str, Any], str]:
    """What the metadata and what a note says of generated weights."""
    note = f"weights generated from seed {seed}: for measuring only, predictions mean nothing"
    return {"source": "generated", "sha256": None, "entry": None, "seed": seed}, note


def read_config_file(name: str) -> dict[str, Any] | None:
    """The object in a JSON file; None where `name` is no such file's. Raises ConfigError."""
    if not name.endswith(".json"):
        return None
    try:
        values = json.loads(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read {name}: {error.strerror}; give a JSON file or a model's name."
        ) from None
    except ValueError as error:
        raise ConfigError(f"{name} is not JSON: {error}.") from None
    if not isinstance(values, dict):
        raise ConfigError(
            f"{name} holds a {type(values).__name__}; expected an object with the model's options."
        )
    return values


def undescribed(name: str, kind: str, error: Exception) -> ConfigError:
    """What to raise for a JSON file that describes no model of a kind."""
    why = str(error) if isinstance(error, ConfigError) else f"{error!r}."
    return ConfigError(
        f"{name} describes no {kind}: {why} Give a file with the model's options, a model's name, or "
        f"{FROM_CHECKPOINT!r} to take what the checkpoint says."
    )


def _config_file(name: str) -> VimConfig | None:
    values = read_config_file(name)
    if values is None:
        return None
    # `img_size`, `d_state` and the like are spelled so by the reference alone.
    is_reference = any(key.startswith("if_") or key in ("img_size", "d_state") for key in values)
    try:
        return VimConfig.from_reference(values) if is_reference else VimConfig.from_dict(values)
    except (ConfigError, TypeError, ValueError) as error:
        raise undescribed(name, "classifier", error) from None


def _check_variant(name: str, found: VimConfig, source: str) -> None:
    expected = preset(name).replace(image_size=found.image_size, num_classes=found.num_classes)
    if expected != found:
        wanted = REGISTERED_NAMES.get(name, name)
        raise ExportError(
            f"{source} is not a {wanted}: its tensors say {variant_name(found)} "
            f"({_differences(expected, found)}). Name the right model, or {FROM_CHECKPOINT!r} to take "
            "what it is."
        )


def _differences(expected: VimConfig, found: VimConfig) -> str:
    wanted, have = expected.to_dict(), found.to_dict()
    return ", ".join(f"{key} {have[key]}, not {wanted[key]}" for key in wanted if wanted[key] != have[key])
