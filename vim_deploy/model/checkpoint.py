"""Checkpoints of Vision Mamba classifiers; `save_checkpoint` writes those of any model in this package."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from torch import nn

from vim_deploy.errors import CheckpointError
from vim_deploy.files import atomic_write
from vim_deploy.model.checkpoint_read import CONFIG_KEY
from vim_deploy.model.checkpoint_weights import training_hints
from vim_deploy.model.config import VimConfig, variant_name
from vim_deploy.model.kind import Kind
from vim_deploy.model.loading import CheckpointReader, ReadWeights
from vim_deploy.model.variant import find_config
from vim_deploy.model.vim import VisionMamba
from vim_deploy.text import by


def save_checkpoint(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the weights as safetensors with the configuration in the metadata, so that none is inferred.

    `model` is one of this package's, with its `config`.
    """
    from safetensors.torch import save

    target = Path(path)
    if target.suffix != ".safetensors":
        raise CheckpointError(f"{target} does not end in .safetensors, the only format written; rename it.")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    config: Any = model.config
    metadata = {"format": "pt", CONFIG_KEY: json.dumps(config.to_dict(), sort_keys=True)}
    with atomic_write(target) as file:
        file.write(save(state, metadata=metadata))


def _find_config(
    read: ReadWeights, image_size: tuple[int, int] | None, average_directions: bool | None
) -> VimConfig:
    shapes = {name: tuple(tensor.shape) for name, tensor in read.state.items()}
    hints = training_hints(read.content)
    config, assumed = find_config(shapes, read.source, image_size=image_size, **hints)
    read.notes.extend(assumed)
    return config


def _describe(config: VimConfig) -> str:
    return (
        f"{variant_name(config)} (image {by(config.image_size)}, patch {config.patch_size}, stride "
        f"{config.stride}, embed_dim {config.embed_dim}, depth {config.depth}, state {config.state}, "
        f"{config.num_classes} classes, class token {config.class_token.value}, directions "
        f"{config.directions.value})"
    )


_READER = CheckpointReader(
    kind=Kind.CLASSIFIER,
    model=VisionMamba,
    parse_config=VimConfig.from_dict,
    find_config=_find_config,
    backbone=lambda config: config,
    describe=_describe,
    head="head.weight",
)
load_checkpoint, load_model = _READER.read, _READER.load
