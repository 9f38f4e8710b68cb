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
from vim_deploy.model.fields import differing_fields
from vim_deploy.model.kind import Kind, check_kind
from vim_deploy.model.position import Rule, resize_position_embedding
from vim_deploy.model.rope import RotaryEmbedding
from vim_deploy.text import by, plural

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


@dataclass(frozen=True)
class CheckpointReader(Generic[Config, Model]):
    """Reads the checkpoints of one kind of model.

    `model` builds a model. `parse_config` reads a configuration written by `save_checkpoint`. `find_config`
    infers one from the tensors; its other arguments are the requested image size and average_directions.
    `backbone` returns the Vision Mamba's configuration, `describe` the model in words. `prefix`: of the
    backbone's tensor names. `head`: the name of the tensor with one row per class, for a clearer message.
    `class_names` reads them from the weights, for this number of classes.
    """

    kind: Kind
    model: Callable[[Config], Model]
    parse_config: Callable[[dict[str, Any]], Config]
    find_config: Callable[[ReadWeights, tuple[int, int] | None, bool | None], Config]
    backbone: Callable[[Config], VimConfig]
    describe: Callable[[Config], str]
    prefix: str = ""
    head: str | None = None
    class_names: Callable[[ReadWeights, int], tuple[str, ...] | None] = lambda read, classes: None

    def read(
        self,
        source: str | os.PathLike[str],
        *,
        checkpoint_key: CheckpointKey = "model",
        config: Config | None = None,
        image_size: int | tuple[int, int] | None = None,
        num_classes: int | None = None,
        average_directions: bool | None = None,
        position_rule: Rule = "geometric",
    ) -> LoadedCheckpoint[Config]:
        """Read the weights of a model and fit them to an image size.

        `source` is a `.pth` training checkpoint or state dict, a `.safetensors` file, or
        `hf://owner/repo[/file]`; `checkpoint_key` selects the weights of a training checkpoint. `config` is
        the configuration that the model was trained with. By default it is read from the metadata of a
        safetensors file, or else inferred from the tensors; `average_directions` sets what tensors do not
        show. `image_size` (pixels: one number, or height and width): for another size than the trained one
        the position embedding is resized by `position_rule` (see `vim_deploy.model.position`). `num_classes`
        is only checked. Raises CheckpointError. Code in the file is not run.
        """
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        read = read_weights(source, checkpoint_key, self.kind)
        trained = self._given_config(read, config) or self.find_config(read, size, average_directions)
        trained = trained.adjusted(average_directions=average_directions)
        self._check(read, trained, num_classes)
        if size is not None and size != trained.image_size:
            fit_to_image(read, self.backbone(trained), size, position_rule, self.prefix)
            trained = trained.adjusted(image_size=size)
        names = self.class_names(read, trained.num_classes)
        return LoadedCheckpoint(
            trained, read.state, read.source, read.sha256, read.key, tuple(read.notes), names
        )

    def load(self, source: str | os.PathLike[str], **options: Any) -> tuple[Model, LoadedCheckpoint[Config]]:
        """`read`, and the model in evaluation mode with these weights."""
        loaded = self.read(source, **options)
        model = self.model(loaded.config)
        model.load_state_dict(loaded.state_dict, strict=True)
        return model.eval(), loaded

    def _given_config(self, read: ReadWeights, given: Config | None) -> Config | None:
        """The given configuration, else the one in the file's metadata, if any."""
        stored = stored_config(read, self.parse_config)
        if given is not None and stored is not None and (differing := differing_fields(given, stored)):
            read.notes.append(
                f"the given configuration differs from the file's own in {differing}; the given one is used."
            )
        return given or stored

    def _check(self, read: ReadWeights, trained: Config, num_classes: int | None) -> None:
        """Raises CheckpointError unless the weights have the configuration's names and shapes."""
        if self.head is not None:
            head = read.state.get(self.head)
            found = 0 if head is None or head.dim() != 2 else head.shape[0]
            check_class_count(read.source, found, trained.num_classes)
        check_class_count(read.source, trained.num_classes, num_classes)
        shapes = shapes_of(self.model, trained)
        counters = {name for name in shapes if name.endswith(_COUNTER)}
        expected = {name: shape for name, shape in shapes.items() if name not in counters}
        check_fit(read.state, expected, read.source, self.describe(trained))
        read.state.update((name, torch.tensor(0)) for name in counters)


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


def check_class_count(source: str, found: int, requested: int | None) -> None:
    """Raises CheckpointError if a number of classes was requested that the checkpoint does not have."""
    if requested not in (None, found):
        raise CheckpointError(
            f"{source} has {plural(found, 'class', 'classes')}, but {requested} were requested. Omit the "
            f"number of classes to use its head, or give a checkpoint with {requested}."
        )


def shapes_of(build: Callable[[Config], nn.Module], config: Config) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of a model, in the order of its state dict."""
    with torch.device("meta"):
        model = build(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def fit_to_image(
    read: ReadWeights, trained: VimConfig, image_size: tuple[int, int], rule: Rule, prefix: str
) -> None:
    """Resize in place what depends on the patch grid. `prefix`: of the backbone's tensor names."""
    config = trained.replace(image_size=image_size)
    if config.grid == trained.grid:
        return
    grids = f"from {by(trained.grid)} to {by(config.grid)} patches"
    if config.position_embedding:
        read.state[f"{prefix}pos_embed"] = resize_position_embedding(
            read.state[f"{prefix}pos_embed"], trained.grid, config.grid, config.class_token, rule
        )
        read.notes.append(f"position embedding resized {grids} with the rule {rule!r}.")
    if config.rope:
        tables = RotaryEmbedding(config.embed_dim, config.grid[0]).state_dict()
        read.state.update({f"{prefix}rope.{name}": table for name, table in tables.items()})
        read.notes.append(f"rotary tables recomputed {grids}.")
