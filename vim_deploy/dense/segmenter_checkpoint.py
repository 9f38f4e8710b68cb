"""Segmenters' checkpoints: those of mmsegmentation 0.29, bare state dicts, safetensors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vim_deploy.dense.checkpoint import (
    ReadWeights,
    backbone_structure,
    own_config,
    read_weights,
    shapes_below,
    with_counters,
    without_counters,
)
from vim_deploy.dense.config import BackboneConfig, Tap
from vim_deploy.dense.segmentation import LEVELS, SegmenterConfig, segmenter_name
from vim_deploy.dense.segmenter import Segmenter, segmenter_shapes
from vim_deploy.errors import CheckpointError
from vim_deploy.model.checkpoint import Entry, fit_to_image
from vim_deploy.model.checkpoint_weights import StateDict, check_fit
from vim_deploy.model.config import VimConfig
from vim_deploy.model.kind import Kind
from vim_deploy.model.position import Rule

_BACKBONE = "backbone."
_DECODE, _AUXILIARY = "decode_head.conv_seg.weight", "auxiliary_head.conv_seg.weight"
_POOLED = "decode_head.psp_modules."


@dataclass(frozen=True)
class LoadedSegmenter:
    """Weights that were read, checked and found to fit `config`.

    `class_names` are those that the training checkpoint names (`meta.CLASSES`), if any; the rest is as in
    `vim_deploy.model.checkpoint.LoadedCheckpoint`.
    """

    config: SegmenterConfig
    state_dict: StateDict
    class_names: tuple[str, ...] | None
    source: str
    sha256: str
    entry: str | None
    notes: tuple[str, ...]


def load_segmenter(
    source: str | os.PathLike[str],
    *,
    entry: Entry = "model",
    config: SegmenterConfig | None = None,
    image_size: tuple[int, int] | None = None,
    num_classes: int | None = None,
    halve: bool | None = None,
    position_rule: Rule = "geometric",
) -> tuple[Segmenter, LoadedSegmenter]:
    """A segmenter in evaluation mode, from a `.pth` or `.safetensors` file or `hf://owner/repo/file`.

    `config` describes the model as it was trained; without it, the file's own metadata is used, or else the
    structure is found from the tensors, and what leaves no trace in them is assumed and noted. `halve`
    settles whether the sum of both scan directions is halved, which is one of these. `image_size` (height,
    width) asks for another crop than the trained one: the position embedding is resized. `num_classes` only
    checks the head. Raises CheckpointError. No code in the file is run.
    """
    read = read_weights(source, entry, Kind.SEGMENTER)
    trained = config or own_config(read, SegmenterConfig.from_dict) or _found(read, image_size, halve)
    if halve is not None:
        trained = trained.with_vim(halve=halve)
    _check_classes(trained, num_classes, read.source)
    check_fit(read.state, without_counters(segmenter_shapes(trained)), read.source, _describe(trained))
    if image_size is not None and image_size != trained.image_size:
        vim = trained.backbone.vim
        fit_to_image(read.state, vim, image_size, position_rule, read.notes, prefix=_BACKBONE)
        trained = trained.with_vim(image_size=image_size)
    state = with_counters(read.state, segmenter_shapes(trained))
    model = Segmenter(trained)
    model.load_state_dict(state, strict=True)
    names = _class_names(read, trained.num_classes)
    loaded = LoadedSegmenter(trained, state, names, read.source, read.sha256, read.entry, tuple(read.notes))
    return model.eval(), loaded


def _found(read: ReadWeights, image_size: tuple[int, int] | None, halve: bool | None) -> SegmenterConfig:
    """The structure that the tensors show, completed as the reference's two configurations are."""
    vim, notes = backbone_structure(read, _BACKBONE, image_size)
    shapes = shapes_below(read.state, "")
    if _DECODE not in shapes:
        raise CheckpointError(
            f"{read.source} has no decode head: the tensor {_DECODE} is missing. Give a complete checkpoint "
            "of a UPerNet segmenter."
        )
    scales = len({name.removeprefix(_POOLED).split(".")[0] for name in shapes if name.startswith(_POOLED)})
    if scales != len(SegmenterConfig.pool_scales):
        raise CheckpointError(
            f"{read.source} pools at {scales} scales; expected the reference's "
            f"{SegmenterConfig.pool_scales}. Give the configuration that the model was trained with, as a "
            "JSON file in place of the model's name."
        )
    read.notes.extend(notes)
    read.notes.extend(_assumed(vim, halve))
    tap = Tap.STREAM if vim.rope else Tap.HIDDEN
    return SegmenterConfig(
        backbone=BackboneConfig(vim=vim, taps=_taps(vim.depth), inner=tap, last=tap),
        num_classes=shapes[_DECODE][0],
        channels=shapes[_DECODE][1],
        auxiliary_channels=shapes[_AUXILIARY][1] if _AUXILIARY in shapes else 0,
        neck=any(name.startswith(f"{_BACKBONE}fpn1.") for name in shapes),
    )


def _taps(depth: int) -> tuple[int, ...]:
    """Behind every quarter of the blocks, as the reference has it for 24."""
    if depth < LEVELS:
        return (depth - 1,)
    return tuple(depth * (level + 1) // LEVELS - 1 for level in range(LEVELS))


def _assumed(vim: VimConfig, halve: bool | None) -> list[str]:
    """What leaves no trace in the tensors."""
    taps = "the residual stream" if vim.rope else "the blocks' outputs without residual"
    like = "small" if vim.rope else "tiny"
    notes = [
        f"maps are taken behind blocks {_taps(vim.depth)}, from {taps}, as in the reference's {like} "
        "configuration; the weights do not show it."
    ]
    if vim.rope:
        notes.append("rotary embedding is applied to the residual too; the weights do not show it.")
    if halve is None and vim.halves_sum:
        unstated = "; the reference's small configuration does not state it" if vim.rope else ""
        notes.append(
            "the sum of both directions is taken to be halved; the weights do not show it"
            f"{unstated}. --no-halve says otherwise."
        )
    return notes


def _check_classes(config: SegmenterConfig, asked: int | None, source: str) -> None:
    if asked is not None and asked != config.num_classes:
        raise CheckpointError(
            f"{source}: the decode head has {config.num_classes} classes, but {asked} were asked for. Leave "
            "the number of classes out to take the head as it is, or give a checkpoint that was trained for "
            f"{asked} classes."
        )


def _describe(config: SegmenterConfig) -> str:
    vim = config.backbone.vim
    height, width = config.image_size
    return (
        f"{segmenter_name(config)} (crop {height}x{width}, patch {vim.patch_size}, "
        f"embed_dim {vim.embed_dim}, depth {vim.depth}, rotary embedding {vim.rope}, neck {config.neck}, "
        f"head of {config.channels} channels, {config.num_classes} classes)"
    )


def _class_names(read: ReadWeights, classes: int) -> tuple[str, ...] | None:
    """Those in `meta.CLASSES`, where they are what they should be; a note where they are not."""
    meta: Any = read.content.get("meta") if isinstance(read.content, Mapping) else None
    names = meta.get("CLASSES") if isinstance(meta, Mapping) else None
    if not isinstance(names, (list, tuple)):
        return None
    if len(names) != classes or not all(isinstance(name, str) for name in names):
        read.notes.append(
            f"the checkpoint names {len(names)} classes and the head has {classes}; its names are not used."
        )
        return None
    return tuple(names)
