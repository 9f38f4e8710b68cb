"""What checkpoints of segmenters and detectors have in common: reading, the backbone, loading."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch
from torch import nn

from vim_deploy.dense.config import BackboneConfig
from vim_deploy.errors import CheckpointError, ConfigError
from vim_deploy.model.checkpoint import Entry, fit_to_image, locate, shapes_of
from vim_deploy.model.checkpoint_read import CONFIG_KEY, read_checkpoint
from vim_deploy.model.checkpoint_weights import StateDict, check_fit, clean, select_entry
from vim_deploy.model.config import VimConfig
from vim_deploy.model.kind import Kind, refuse_other_kind
from vim_deploy.model.position import Rule
from vim_deploy.model.variant import find_structure

if TYPE_CHECKING:
    from typing import Self

# Batch norms count training steps; evaluation does not look at it, and it is no floating-point tensor.
COUNTER = "num_batches_tracked"


class DenseConfig(Protocol):
    """What the configurations of segmenters and detectors have in common."""

    @property
    def backbone(self) -> BackboneConfig: ...

    @property
    def num_classes(self) -> int: ...

    @property
    def image_size(self) -> tuple[int, int]: ...

    def with_vim(self, **changes: Any) -> Self: ...

    def replace(self, **changes: Any) -> Self: ...


Config = TypeVar("Config", bound=DenseConfig)
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class LoadedDense(Generic[Config]):
    """Weights that were read, checked and found to fit `config`.

    `class_names` are those that a training checkpoint names, if any; the rest is as in
    `vim_deploy.model.checkpoint.LoadedCheckpoint`.
    """

    config: Config
    state_dict: StateDict
    source: str
    sha256: str
    entry: str | None
    notes: tuple[str, ...]
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Adjustment:
    """What a caller asks of trained weights, see load_segmenter and load_detector."""

    image_size: tuple[int, int] | None = None
    num_classes: int | None = None
    halve: bool | None = None
    position_rule: Rule = "geometric"


@dataclass(frozen=True)
class ReadWeights:
    """Weights of a file: float32, finite, without wrappers' prefixes and batch norms' counters.

    `content` is all that the file holds, `config` its own description of the model where it has one (written
    by save_checkpoint), `source`, `sha256` and `entry` are as in LoadedCheckpoint. `notes` grow.
    """

    content: Any
    state: StateDict
    config: dict[str, Any] | None
    source: str
    sha256: str
    entry: str | None
    notes: list[str]


def read_weights(source: str | os.PathLike[str], entry: Entry, kind: Kind) -> ReadWeights:
    """Read a checkpoint of that kind of model. Raises CheckpointError. No code in the file is run."""
    path, name = locate(source)
    raw = read_checkpoint(path)
    values, key = select_entry(raw.content, entry, name)
    refuse_other_kind(map(str, values), kind, name)
    weights = {key: value for key, value in values.items() if not str(key).endswith(COUNTER)}
    state, notes = clean(weights, name)
    return ReadWeights(raw.content, state, raw.config, name, raw.sha256, key, notes)


def own_config(read: ReadWeights, build: Any) -> Any:
    """The configuration in the file's metadata by `build` (a `from_dict`), None where there is none."""
    if read.config is None:
        return None
    try:
        return build(read.config)
    except (ConfigError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{read.source}: the metadata {CONFIG_KEY} describes no such model: {error} Write the file again "
            "with save_checkpoint."
        ) from None


def backbone_structure(
    read: ReadWeights, prefix: str, image_size: tuple[int, int] | None
) -> tuple[VimConfig, list[str]]:
    """The backbone's configuration from the tensors below `prefix`, and a note for every choice made."""
    shapes = shapes_below(read.state, prefix)
    if not shapes:
        raise CheckpointError(
            f"{read.source} has heads but no backbone: no tensor's name begins with {prefix!r} among "
            f"{len(read.state)}. Give a complete checkpoint."
        )
    config, notes = find_structure(shapes, read.source, image_size=image_size)
    return config.replace(num_classes=0), notes


def shapes_below(state: StateDict, prefix: str) -> dict[str, tuple[int, ...]]:
    """Names without the prefix, and shapes."""
    return {
        name.removeprefix(prefix): tuple(tensor.shape)
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


def load_fitting(
    read: ReadWeights,
    trained: Config,
    asked: Adjustment,
    *,
    build: Callable[[Config], Model],
    prefix: str,
    describe: Callable[[Config], str],
    heads: tuple[str, str],
) -> tuple[Model, Config, StateDict]:
    """The model in evaluation mode with the weights of `read`, its configuration, and its state dict.

    `trained` is what the weights were trained as, `prefix` what the backbone's names begin with. `heads` are
    "the head has" and "the head as it is", in the model's own words. Raises CheckpointError.
    """
    if asked.halve is not None:
        trained = trained.with_vim(halve=asked.halve)
    if asked.num_classes not in (None, trained.num_classes):
        raise CheckpointError(
            f"{read.source}: {heads[0]} {trained.num_classes} classes, but {asked.num_classes} were asked "
            f"for. Leave the number of classes out to take {heads[1]}, or give a checkpoint that was trained "
            f"for {asked.num_classes} classes."
        )
    shapes = shapes_of(build, trained)
    counters = {name for name in shapes if name.endswith(COUNTER)}
    expected = {name: shape for name, shape in shapes.items() if name not in counters}
    check_fit(read.state, expected, read.source, describe(trained))
    if asked.image_size not in (None, trained.image_size):
        size, vim = asked.image_size, trained.backbone.vim
        fit_to_image(read.state, vim, size, asked.position_rule, read.notes, prefix=prefix)
        trained = trained.with_vim(image_size=size)
    state = {**read.state, **{name: torch.tensor(0) for name in counters}}
    model = build(trained)
    model.load_state_dict(state, strict=True)
    return model.eval(), trained, state
