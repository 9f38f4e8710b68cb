"""Trained weights in, a model out: reading, checking, resizing, saving."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from vim_deploy.errors import CheckpointError, ConfigError
from vim_deploy.files import atomic_write
from vim_deploy.model import checkpoint_hub
from vim_deploy.model.checkpoint_read import CONFIG_KEY, RawCheckpoint, read_checkpoint
from vim_deploy.model.checkpoint_weights import StateDict, check_fit, clean, select_entry, training_hints
from vim_deploy.model.config import VimConfig, variant_name
from vim_deploy.model.kind import Kind, refuse_other_kind
from vim_deploy.model.position import Rule, resize_position_embedding
from vim_deploy.model.rope import RotaryEmbedding
from vim_deploy.model.variant import differing_fields, find_config
from vim_deploy.model.vim import VisionMamba

Entry = Literal["model", "model_ema"]
Config = TypeVar("Config")


@dataclass(frozen=True)
class LoadedCheckpoint:
    """Weights that were read, checked and found to fit `config`.

    `state_dict` is float32, independent of the file, and complete. `source` is the file's name or its hub
    name, `sha256` the hash of the file's bytes, `entry` the key in the file ("model", "model_ema", ...; None
    for a bare state dict). `notes` say everything that was assumed or changed.
    """

    config: VimConfig
    state_dict: StateDict
    source: str
    sha256: str
    entry: str | None
    notes: tuple[str, ...]


def load_checkpoint(
    source: str | os.PathLike[str],
    *,
    entry: Entry = "model",
    config: VimConfig | None = None,
    image_size: int | tuple[int, int] | None = None,
    num_classes: int | None = None,
    position_rule: Rule = "geometric",
) -> LoadedCheckpoint:
    """Read a checkpoint and make it fit a model of the given image size.

    `source` is a `.pth` training checkpoint or state dict, a `.safetensors` file, or
    `hf://owner/repo[/file]`. `config` describes the model the weights were trained as; without it, the
    configuration in a safetensors file's metadata is used, or else it is found from the tensors. `image_size`
    (pixels, one number or height and width) asks for another input size than the trained one: the position
    embedding is then resized by `position_rule` (see `vim_deploy.model.position`). `num_classes` only checks
    the head. Raises CheckpointError for everything that is wrong with the file or does not fit. No code in
    the file is run.
    """
    path, name = locate(source)
    raw = read_checkpoint(path)
    values, key = select_entry(raw.content, entry, name)
    refuse_other_kind(map(str, values), Kind.CLASSIFIER, name)
    state, notes = clean(values, name)
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    trained = _trained_config(raw, state, config, size, name, notes)
    _check_classes(state, trained, num_classes, name)
    check_fit(state, shapes_of(VisionMamba, trained), name, _describe(trained))
    if size is not None and size != trained.image_size:
        trained = fit_to_image(state, trained, size, position_rule, notes)
    return LoadedCheckpoint(trained, state, name, raw.sha256, key, tuple(notes))


def load_model(
    source: str | os.PathLike[str],
    *,
    entry: Entry = "model",
    config: VimConfig | None = None,
    image_size: int | tuple[int, int] | None = None,
    num_classes: int | None = None,
    position_rule: Rule = "geometric",
) -> tuple[VisionMamba, LoadedCheckpoint]:
    """`load_checkpoint`, and the model with these weights in evaluation mode."""
    loaded = load_checkpoint(
        source,
        entry=entry,
        config=config,
        image_size=image_size,
        num_classes=num_classes,
        position_rule=position_rule,
    )
    model = VisionMamba(loaded.config)
    model.load_state_dict(loaded.state_dict, strict=True)
    return model.eval(), loaded


def save_checkpoint(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the weights as safetensors with the configuration in the metadata: nothing has to be guessed.

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


def locate(source: str | os.PathLike[str]) -> tuple[Path, str]:
    """Where a checkpoint lies on this machine, and its name in messages and metadata."""
    text = os.fspath(source)
    if text.startswith(checkpoint_hub.PREFIX):
        return checkpoint_hub.download(text)
    return Path(text), Path(text).name


def _trained_config(
    raw: RawCheckpoint,
    state: StateDict,
    given: VimConfig | None,
    image_size: tuple[int, int] | None,
    source: str,
    notes: list[str],
) -> VimConfig:
    own = None
    if raw.config is not None:
        try:
            own = VimConfig.from_dict(raw.config)
        except (ConfigError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"{source}: the metadata {CONFIG_KEY} describes no model: {error} Write the file again with "
                "save_checkpoint."
            ) from None
    if given is not None:
        if own is not None and (differing := differing_fields(given, own)):
            notes.append(
                f"the given configuration differs from the file's own in {differing}; the given one used."
            )
        return given
    if own is not None:
        return own
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    config, assumed = find_config(shapes, source, image_size=image_size, **training_hints(raw.content))
    notes.extend(assumed)
    return config


def _check_classes(state: StateDict, config: VimConfig, asked: int | None, source: str) -> None:
    head = state.get("head.weight")
    present = 0 if head is None or head.dim() != 2 else head.shape[0]
    wanted = config.num_classes if asked is None else asked
    if present != wanted:
        raise CheckpointError(
            f"{source}: the head has {present} classes, but {wanted} were asked for. Leave the number of "
            f"classes out to take the head as it is, or give a checkpoint that was trained for {wanted} "
            "classes."
        )


def shapes_of(build: Callable[[Config], nn.Module], config: Config) -> dict[str, tuple[int, ...]]:
    """Names and shapes of every tensor of a model, in the order of a checkpoint."""
    with torch.device("meta"):
        model = build(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _describe(config: VimConfig) -> str:
    height, width = config.image_size
    return (
        f"{variant_name(config)} (image {height}x{width}, patch {config.patch_size}, stride {config.stride}, "
        f"embed_dim {config.embed_dim}, depth {config.depth}, state {config.state}, {config.num_classes} "
        f"classes, class token {config.class_token.value}, directions {config.directions.value})"
    )


def fit_to_image(
    state: StateDict,
    trained: VimConfig,
    image_size: tuple[int, int],
    rule: Rule,
    notes: list[str],
    prefix: str = "",
) -> VimConfig:
    """Fit what depends on the grid of patches to another image size, in place; returns the new configuration.

    `prefix` is what stands before the backbone's names in `state`.
    """
    config = trained.replace(image_size=image_size)
    if config.grid == trained.grid:
        return config
    grids = f"from {_by(trained.grid)} to {_by(config.grid)} patches"
    if config.position_embedding:
        state[f"{prefix}pos_embed"] = resize_position_embedding(
            state[f"{prefix}pos_embed"], trained.grid, config.grid, config.class_token, rule
        )
        notes.append(f"position embedding resized {grids} with the rule {rule!r}.")
    if config.rope:
        tables = RotaryEmbedding(config.embed_dim, config.grid[0]).state_dict()
        state.update({f"{prefix}rope.{name}": table for name, table in tables.items()})
        notes.append(f"rotary tables computed anew {grids}.")
    return config


def _by(grid: tuple[int, int]) -> str:
    return f"{grid[0]}x{grid[1]}"
