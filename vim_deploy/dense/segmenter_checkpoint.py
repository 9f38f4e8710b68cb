"""Segmenters' checkpoints: those of mmsegmentation 0.29, bare state dicts, safetensors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeAlias

from vim_deploy.dense.checkpoint import (
    Adjustment,
    LoadedDense,
    ReadWeights,
    backbone_structure,
    load_fitting,
    own_config,
    read_weights,
    shapes_below,
)
from vim_deploy.dense.config import BackboneConfig, Tap
from vim_deploy.dense.segmentation import SegmenterConfig, quarter_taps, segmenter_name
from vim_deploy.dense.segmenter import Segmenter
from vim_deploy.errors import CheckpointError
from vim_deploy.model.checkpoint import Entry
from vim_deploy.model.config import VimConfig
from vim_deploy.model.kind import Kind
from vim_deploy.model.position import Rule

_BACKBONE = "backbone."
_DECODE, _AUXILIARY = "decode_head.conv_seg.weight", "auxiliary_head.conv_seg.weight"
_POOLED = "decode_head.psp_modules."


LoadedSegmenter: TypeAlias = LoadedDense[SegmenterConfig]


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
    model, config, state = load_fitting(
        read,
        trained,
        Adjustment(image_size, num_classes, halve, position_rule),
        build=Segmenter,
        prefix=_BACKBONE,
        describe=_describe,
        heads=("the decode head has", "the head as it is"),
    )
    names = _class_names(read, config.num_classes)
    loaded = LoadedDense(
        config, state, read.source, read.sha256, read.entry, tuple(read.notes), class_names=names
    )
    return model, loaded


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
        backbone=BackboneConfig(vim=vim, taps=quarter_taps(vim.depth), inner=tap, last=tap),
        num_classes=shapes[_DECODE][0],
        channels=shapes[_DECODE][1],
        auxiliary_channels=shapes[_AUXILIARY][1] if _AUXILIARY in shapes else 0,
        neck=any(name.startswith(f"{_BACKBONE}fpn1.") for name in shapes),
    )


def _assumed(vim: VimConfig, halve: bool | None) -> list[str]:
    """What leaves no trace in the tensors."""
    taps = "the residual stream" if vim.rope else "the blocks' outputs without residual"
    like = "small" if vim.rope else "tiny"
    notes = [
        f"maps are taken behind blocks {quarter_taps(vim.depth)}, from {taps}, as in the reference's {like} "
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
