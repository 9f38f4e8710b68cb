"""Detectors' checkpoints: those of detectron2, bare state dicts, safetensors."""

from __future__ import annotations

import os
from typing import TypeAlias

from vim_deploy.dense.checkpoint import (
    Adjustment,
    LoadedDense,
    ReadWeights,
    backbone_structure,
    load_fitting,
    own_config,
    read_weights,
)
from vim_deploy.dense.config import BackboneConfig, Tap
from vim_deploy.dense.detector import Detector
from vim_deploy.dense.detector_config import DetectorConfig, detector_name
from vim_deploy.errors import CheckpointError, ConfigError
from vim_deploy.model.checkpoint import Entry
from vim_deploy.model.kind import Kind
from vim_deploy.model.position import Rule

_NET = "backbone.net."
_WIDTH = "backbone.simfp_4.0.weight"
_ANCHORS = "proposal_generator.rpn_head.objectness_logits.weight"
_PROPOSAL_CONV = "proposal_generator.rpn_head.conv.conv{}.weight"
_BOX_CONV = "roi_heads.box_head.0.conv{}.weight"
_HIDDEN = "roi_heads.box_head.0.fc1.weight"
_SCORES, _DELTAS = "roi_heads.box_predictor.{}.cls_score.weight", "roi_heads.box_predictor.0.bbox_pred.weight"
_MASK_CONV, _MASKS = "roi_heads.mask_head.mask_fcn{}.weight", "roi_heads.mask_head.predictor.weight"


LoadedDetector: TypeAlias = LoadedDense[DetectorConfig]


def load_detector(
    source: str | os.PathLike[str],
    *,
    entry: Entry = "model",
    config: DetectorConfig | None = None,
    image_size: tuple[int, int] | None = None,
    num_classes: int | None = None,
    halve: bool | None = None,
    position_rule: Rule = "geometric",
) -> tuple[Detector, LoadedDetector]:
    """A detector in evaluation mode, from a `.pth` or `.safetensors` file or `hf://owner/repo/file`.

    `config` describes the model as it was trained; without it, the file's own metadata is used, or else the
    structure is found from the tensors, and what leaves no trace in them is assumed and noted. `halve`
    settles whether the sum of both scan directions is halved, which is one of these. `image_size` (height,
    width) asks for another padded size than the trained one: the position embedding is resized.
    `num_classes` only checks the heads. Raises CheckpointError. No code in the file is run.
    """
    read = read_weights(source, entry, Kind.DETECTOR)
    trained = config or own_config(read, DetectorConfig.from_dict) or _found(read, image_size, halve)
    model, config, state = load_fitting(
        read,
        trained,
        Adjustment(image_size, num_classes, halve, position_rule),
        build=Detector,
        prefix=_NET,
        describe=_describe,
        heads=("the heads have", "the heads as they are"),
    )
    return model, LoadedDense(config, state, read.source, read.sha256, read.entry, tuple(read.notes))


def _found(read: ReadWeights, image_size: tuple[int, int] | None, halve: bool | None) -> DetectorConfig:
    """The structure that the tensors show, completed as the reference's configurations are."""
    vim, notes = backbone_structure(read, _NET, image_size)
    if halve is not None:
        vim = vim.replace(halve=halve)
    _refuse_other_heads(read)
    stages = _count(read, _SCORES, first=0)
    ratios = _dim(read, _ANCHORS, 0)
    default = DetectorConfig.stage_weights, DetectorConfig.aspect_ratios
    if (stages, ratios) != tuple(map(len, default)):
        raise CheckpointError(
            f"{read.source} has {stages} stages and {ratios} anchors per cell; expected the reference's "
            f"{len(default[0])} and {len(default[1])}, whose weights and ratios are known. Give the "
            "configuration that the model was trained with, as a JSON file in place of the model's name."
        )
    backbone = BackboneConfig(
        vim=vim,
        taps=(vim.depth - 1,),
        last=Tap.STREAM,
        final_norm=f"{_NET}norm_f.weight" in read.state,
    )
    read.notes.extend(notes)
    try:
        config = DetectorConfig(
            backbone=backbone,
            num_classes=_dim(read, _SCORES.format(0), 0) - 1,
            channels=_dim(read, _WIDTH, 0),
            proposal_convs=_count(read, _PROPOSAL_CONV, first=0),
            box_convs=_count(read, _BOX_CONV),
            box_hidden=_dim(read, _HIDDEN, 0),
            mask_convs=_count(read, _MASK_CONV),
        )
    except ConfigError as error:
        raise CheckpointError(f"{read.source}: {error}") from None
    read.notes.extend(_assumed(config, halve))
    return config


def _refuse_other_heads(read: ReadWeights) -> None:
    """What detectron2 can build and this cascade is not, by what gives it away."""
    present = read.state.keys()
    if _MASKS not in present and any(name.startswith("roi_heads.box") for name in present):
        raise CheckpointError(
            f"{read.source} has no mask head: the tensor {_MASKS} is missing. Expected a Cascade Mask R-CNN; "
            "a detector of boxes alone is not supported."
        )
    if "roi_heads.box_predictor.cls_score.weight" in present:
        raise CheckpointError(
            f"{read.source} has one box head (roi_heads.box_predictor.cls_score.weight): a Mask R-CNN. "
            "Expected a cascade of three, roi_heads.box_predictor.0 to 2."
        )
    if _DELTAS in present and _dim(read, _DELTAS, 0) != 4:
        raise CheckpointError(
            f"{read.source}: {_DELTAS} has {_dim(read, _DELTAS, 0)} rows, one box per class; expected 4, "
            "the same for all classes, as the reference trains the cascade."
        )


def _assumed(config: DetectorConfig, halve: bool | None) -> list[str]:
    """What leaves no trace in the tensors."""
    vim = config.backbone.vim
    notes = [
        f"anchors of sizes {_listed(config.anchor_sizes)}, ratios {_listed(config.aspect_ratios)}, "
        f"{config.proposals} proposals, stage weights, thresholds (score {config.score_threshold:g}, overlap "
        f"{config.overlap:g}) and {config.detections} detections at most, as in the reference's "
        "configuration; the weights do not show them."
    ]
    if vim.rope:
        notes.append("rotary embedding is applied to the residual too; the weights do not show it.")
    if halve is None and vim.halves_sum:
        notes.append(
            "the sum of both directions is taken to be halved; the weights do not show it, and the "
            "reference's configuration does not state it. --no-halve says otherwise."
        )
    return notes


def _describe(config: DetectorConfig) -> str:
    vim = config.backbone.vim
    height, width = config.image_size
    return (
        f"{detector_name(config)} (image {height}x{width}, embed_dim {vim.embed_dim}, depth {vim.depth}, "
        f"rotary embedding {vim.rope}, pyramid of {config.channels} channels, {config.num_classes} classes)"
    )


def _count(read: ReadWeights, pattern: str, first: int = 1) -> int:
    """How many tensors there are of a numbered name, without a gap."""
    number = first
    while pattern.format(number) in read.state:
        number += 1
    if number == first:
        _dim(read, pattern.format(first), 0)
    return number - first


def _dim(read: ReadWeights, name: str, axis: int) -> int:
    if name not in read.state:
        raise CheckpointError(
            f"{read.source} is no complete Cascade Mask R-CNN: the tensor {name} is missing. Give a complete "
            "checkpoint."
        )
    return read.state[name].shape[axis] if read.state[name].dim() > axis else 0


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
