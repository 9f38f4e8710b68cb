"""Loading of checkpoints, shared by all kinds of models: reading, checking, fitting to a configuration."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import nn

from vim_deploy.errors import CheckpointError, ConfigError
from vim_deploy.model import checkpoint_hub
from vim_deploy.model.checkpoint_read import CONFIG_KEY, read_checkpoint
from vim_deploy.model.checkpoint_weights import StateDict, check_fit, clean, select_state_dict
from vim_deploy.model.config import ModelConfig, VimConfig
from vim_deploy.model.kind import Kind, check_kind
from vim_deploy.model.position import Rule, resize_position_embedding
from vim_deploy.model.rope import RotaryEmbedding

# Batch norm counts training steps in integer tensors, which evaluation ignores.
_COUNTER = "num_batches_tracked"

CheckpointKey = Literal["model", "model_ema"]
Config = TypeVar("Config", bound=ModelConfig)
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class LoadedCheckpoint(Generic[Config]):
    """Weights that were read, checked and found to fit `config`.

    `state_dict` is float32, complete, and independent of the file. `source` is the name of the file or its
    name on the hub, `sha256` the hash of the file. `key`: where the state dict was found in the file
    ("model", "model_ema", ...), None for a bare state dict. `notes`: everything that was assumed or changed.
    `class_names`: those stored in the checkpoint, if any.
    """

    config: Config
    state_dict: StateDict
    source: str
    sha256: str
    key: str | None
    notes: tuple[str, ...]
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Adjustments:
    """Requested changes to a trained model; None leaves a value as it was trained."""

    image_size: tuple[int, int] | None = None
    num_classes: int | None = None
    average_directions: bool | None = None
    position_rule: Rule = "geometric"


@dataclass(frozen=True)
class ReadWeights:
    """Weights of a file: float32, finite, without prefixes of wrappers and counters of batch norms.

    `content` is everything in the file, `config` the configuration written by `save_checkpoint`, if any.
    `source`, `sha256` and `key` are those of LoadedCheckpoint. `notes` is appended to.
    """

    content: Any
    state: StateDict
    config: dict[str, Any] | None
    source: str
    sha256: str
    key: str | None
    notes: list[str]

    def loaded(
        self, config: Config, state: StateDict, class_names: tuple[str, ...] | None = None
    ) -> LoadedCheckpoint[Config]:
        return LoadedCheckpoint(
            config, state, self.source, self.sha256, self.key, tuple(self.notes), class_names
        )


def read_weights(source: str | os.PathLike[str], key: CheckpointKey, kind: Kind) -> ReadWeights:
    """Read a checkpoint of that kind of model. Raises CheckpointError. Code in the file is not run."""
    path, name = locate(source)
    raw = read_checkpoint(path)
    values, found = select_state_dict(raw.content, key, name)
    check_kind(map(str, values), kind, name)
    weights = {key: value for key, value in values.items() if not str(key).endswith(_COUNTER)}
    state, notes = clean(weights, name)
    return ReadWeights(raw.content, state, raw.config, name, raw.sha256, found, notes)


def locate(source: str | os.PathLike[str]) -> tuple[Path, str]:
    """The local path of a checkpoint, downloaded if necessary, and its name in messages and metadata."""
    text = os.fspath(source)
    if text.startswith(checkpoint_hub.PREFIX):
        return checkpoint_hub.download(text)
    return Path(text), Path(text).name


def stored_config(read: ReadWeights, parse: Callable[[dict[str, Any]], Config]) -> Config | None:
    """The configuration in the file's metadata, None without one. Raises CheckpointError if it is invalid."""
    if read.config is None:
        return None
    try:
        return parse(read.config)
    except (ConfigError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{read.source}: the configuration in the metadata {CONFIG_KEY} is invalid: {error} Write the "
            "file again with save_checkpoint."
        ) from None


def fit_weights(
    read: ReadWeights,
    trained: Config,
    adjustments: Adjustments,
    *,
    build: Callable[[Config], nn.Module],
    backbone: Callable[[Config], VimConfig],
    description: Callable[[Config], str],
    prefix: str = "",
) -> LoadedCheckpoint[Config]:
    """Check the weights against the configuration they were trained with, and apply the adjustments.

    `build` makes a model, `backbone` returns its Vision Mamba's configuration, and `prefix` is that of the
    backbone's tensor names. Raises CheckpointError.
    """
    trained = trained.adjusted(average_directions=adjustments.average_directions)
    check_class_count(read.source, trained.num_classes, adjustments.num_classes)
    shapes = shapes_of(build, trained)
    counters = {name for name in shapes if name.endswith(_COUNTER)}
    expected = {name: shape for name, shape in shapes.items() if name not in counters}
    check_fit(read.state, expected, read.source, description(trained))
    size = adjustments.image_size
    if size is not None and size != trained.image_size:
        fit_to_image(read.state, backbone(trained), size, adjustments.position_rule, read.notes, prefix)
        trained = trained.adjusted(image_size=size)
    return read.loaded(trained, {**read.state, **{name: torch.tensor(0) for name in counters}})


def model_with_weights(build: Callable[[Config], Model], loaded: LoadedCheckpoint[Config]) -> Model:
    """The model in evaluation mode."""
    model = build(loaded.config)
    model.load_state_dict(loaded.state_dict, strict=True)
    return model.eval()


def check_class_count(source: str, found: int, requested: int | None) -> None:
    """Raises CheckpointError if a number of classes was requested that the checkpoint does not have."""
    if requested not in (None, found):
        raise CheckpointError(
            f"{source} has {found} classes, but {requested} were requested. Omit the number of classes to "
            f"use the head as it is, or give a checkpoint that was trained for {requested} classes."
        )


def shapes_of(build: Callable[[Config], nn.Module], config: Config) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of a model, in the order of its state dict."""
    with torch.device("meta"):
        model = build(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def fit_to_image(
    state: StateDict,
    trained: VimConfig,
    image_size: tuple[int, int],
    rule: Rule,
    notes: list[str],
    prefix: str = "",
) -> None:
    """Resize in place what depends on the patch grid. `prefix`: of the backbone's tensor names."""
    config = trained.replace(image_size=image_size)
    if config.grid == trained.grid:
        return
    grids = f"from {_by(trained.grid)} to {_by(config.grid)} patches"
    if config.position_embedding:
        state[f"{prefix}pos_embed"] = resize_position_embedding(
            state[f"{prefix}pos_embed"], trained.grid, config.grid, config.class_token, rule
        )
        notes.append(f"position embedding resized {grids} with the rule {rule!r}.")
    if config.rope:
        tables = RotaryEmbedding(config.embed_dim, config.grid[0]).state_dict()
        state.update({f"{prefix}rope.{name}": table for name, table in tables.items()})
        notes.append(f"rotary tables recomputed {grids}.")


def _by(grid: tuple[int, int]) -> str:
    return f"{grid[0]}x{grid[1]}"
