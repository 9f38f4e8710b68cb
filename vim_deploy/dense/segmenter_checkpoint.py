"""Checkpoints of segmenters: mmsegmentation 0.29, bare state dicts, safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vim_deploy.dense.checkpoint import assumptions, find_backbone, shapes_below
from vim_deploy.dense.config import BackboneConfig, FeatureType
from vim_deploy.dense.segmentation import SegmenterConfig, quarter_indices, segmenter_name
from vim_deploy.dense.segmenter import Segmenter
from vim_deploy.errors import CheckpointError
from vim_deploy.model.config import VimConfig
from vim_deploy.model.kind import Kind
from vim_deploy.model.loading import CheckpointReader, ReadWeights
from vim_deploy.text import by, plural

_BACKBONE = "backbone."
_DECODE, _AUXILIARY = "decode_head.conv_seg.weight", "auxiliary_head.conv_seg.weight"
_POOLED = "decode_head.psp_modules."


def _find_config(
    read: ReadWeights, image_size: tuple[int, int] | None, average_directions: bool | None
) -> SegmenterConfig:
    """The configuration that the tensors show; the rest is taken from the reference's configurations."""
    vim, notes = find_backbone(read, _BACKBONE, image_size, average_directions)
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
            "JSON file instead of the model name."
        )
    read.notes.extend([*notes, *_assumptions(vim, average_directions)])
    feature = FeatureType.STREAM if vim.rope else FeatureType.HIDDEN
    return SegmenterConfig(
        backbone=BackboneConfig(vim, quarter_indices(vim.depth), intermediate=feature, last=feature),
        num_classes=shapes[_DECODE][0],
        channels=shapes[_DECODE][1],
        auxiliary_channels=shapes[_AUXILIARY][1] if _AUXILIARY in shapes else 0,
        neck=any(name.startswith(f"{_BACKBONE}fpn1.") for name in shapes),
    )


def _assumptions(vim: VimConfig, average_directions: bool | None) -> list[str]:
    """Notes on what the tensors do not show."""
    features = "the residual stream" if vim.rope else "the blocks' outputs without residual"
    like = "small" if vim.rope else "tiny"
    unstated = "; neither does the reference's small configuration" if vim.rope else ""
    return [
        f"feature maps are assumed to be {features} after blocks {quarter_indices(vim.depth)}, as in the "
        f"reference's {like} configuration; the weights do not show it.",
        *assumptions(vim, average_directions, unstated),
    ]


def _describe(config: SegmenterConfig) -> str:
    vim = config.backbone.vim
    return (
        f"{segmenter_name(config)} (crop {by(config.image_size)}, patch {vim.patch_size}, "
        f"embed_dim {vim.embed_dim}, depth {vim.depth}, rotary embedding {vim.rope}, neck {config.neck}, "
        f"head of {config.channels} channels, {config.num_classes} classes)"
    )


def _class_names(read: ReadWeights, classes: int) -> tuple[str, ...] | None:
    """The names in `meta.CLASSES`; if they do not fit, a note is added and they are not used."""
    meta: Any = read.content.get("meta") if isinstance(read.content, Mapping) else None
    names = meta.get("CLASSES") if isinstance(meta, Mapping) else None
    if not isinstance(names, (list, tuple)):
        return None
    if len(names) != classes or not all(isinstance(name, str) for name in names):
        read.notes.append(
            f"the checkpoint has {plural(len(names), 'class name')} for "
            f"{plural(classes, 'class', 'classes')}; they are not used."
        )
        return None
    return tuple(names)


load_segmenter = CheckpointReader(
    kind=Kind.SEGMENTER,
    model=Segmenter,
    parse_config=SegmenterConfig.from_dict,
    find_config=_find_config,
    backbone=lambda config: config.backbone.vim,
    describe=_describe,
    prefix=_BACKBONE,
    class_names=_class_names,
).load
