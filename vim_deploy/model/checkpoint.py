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
from vim_deploy.model.loading import (
    Adjustments,
    CheckpointKey,
    LoadedCheckpoint,
    ReadWeights,
    check_class_count,
    fit_weights,
    model_with_weights,
    read_weights,
    stored_config,
)
from vim_deploy.model.position import Rule
from vim_deploy.model.variant import differing_fields, find_config
from vim_deploy.model.vim import VisionMamba


def load_checkpoint(
    source: str | os.PathLike[str],
    *,
    checkpoint_key: CheckpointKey = "model",
    config: VimConfig | None = None,
    image_size: int | tuple[int, int] | None = None,
    num_classes: int | None = None,
    average_directions: bool | None = None,
    position_rule: Rule = "geometric",
) -> LoadedCheckpoint[VimConfig]:
    """Read the weights of a classifier and fit them to an image size.

    `source` is a `.pth` training checkpoint or state dict, a `.safetensors` file, or
    `hf://owner/repo[/file]`; `checkpoint_key` selects the weights of a training checkpoint. `config` is the
    configuration that the model was trained with. By default it is read from the metadata of a safetensors
    file, or else inferred from the tensors; `average_directions` sets what tensors do not show.
    `image_size` (pixels: one number, or height and width): for another size than the trained one the position
    embedding is resized by `position_rule` (see `vim_deploy.model.position`). `num_classes` is only checked.
    Raises CheckpointError. Code in the file is not run.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    read = read_weights(source, checkpoint_key, Kind.CLASSIFIER)
    trained = _trained_config(read, config, size)
    head = read.state.get("head.weight")
    check_class_count(
        read.source, 0 if head is None or head.dim() != 2 else head.shape[0], trained.num_classes
    )
    return fit_weights(
        read,
        trained,
        Adjustments(size, num_classes, average_directions, position_rule),
        build=VisionMamba,
        backbone=lambda config: config,
        description=_description,
    )


def load_model(
    source: str | os.PathLike[str], **options: Any
) -> tuple[VisionMamba, LoadedCheckpoint[VimConfig]]:
    """`load_checkpoint`, and the model in evaluation mode with these weights."""
    loaded = load_checkpoint(source, **options)
    return model_with_weights(VisionMamba, loaded), loaded


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


def _trained_config(
    read: ReadWeights, given: VimConfig | None, image_size: tuple[int, int] | None
) -> VimConfig:
    stored = stored_config(read, VimConfig.from_dict)
    if given is not None:
        if stored is not None and (differing := differing_fields(given, stored)):
            read.notes.append(
                f"the given configuration differs from the file's own in {differing}; the given one is used."
            )
        return given
    if stored is not None:
        return stored
    shapes = {name: tuple(tensor.shape) for name, tensor in read.state.items()}
    hints = training_hints(read.content)
    config, assumed = find_config(shapes, read.source, image_size=image_size, **hints)
    read.notes.extend(assumed)
    return config


def _description(config: VimConfig) -> str:
    height, width = config.image_size
    return (
        f"{variant_name(config)} (image {height}x{width}, patch {config.patch_size}, stride {config.stride}, "
        f"embed_dim {config.embed_dim}, depth {config.depth}, state {config.state}, {config.num_classes} "
        f"classes, class token {config.class_token.value}, directions {config.directions.value})"
    )
