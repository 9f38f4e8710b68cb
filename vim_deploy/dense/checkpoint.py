"""What checkpoints of segmenters and detectors have in common: reading, counters, the backbone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from vim_deploy.errors import CheckpointError, ConfigError
from vim_deploy.model.checkpoint import Entry, locate
from vim_deploy.model.checkpoint_read import CONFIG_KEY, read_checkpoint
from vim_deploy.model.checkpoint_weights import StateDict, clean, select_entry
from vim_deploy.model.config import VimConfig
from vim_deploy.model.kind import Kind, refuse_other_kind
from vim_deploy.model.variant import find_structure

# Batch norms count training steps; evaluation does not look at it, and it is no floating-point tensor.
COUNTER = "num_batches_tracked"


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


def without_counters(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in shapes.items() if not name.endswith(COUNTER)}


def with_counters(state: StateDict, shapes: Mapping[str, tuple[int, ...]]) -> StateDict:
    """A complete state dict for a model of these tensors, the counters at zero."""
    counters = {name: torch.tensor(0) for name in shapes if name.endswith(COUNTER)}
    return {**state, **counters}
