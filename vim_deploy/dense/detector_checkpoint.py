"""Checkpoints of detectors: detectron2, bare state dicts, safetensors."""

from __future__ import annotations

from vim_deploy.dense.checkpoint import assumptions, find_backbone
from vim_deploy.dense.config import BackboneConfig, FeatureType
from vim_deploy.dense.detector import Detector
from vim_deploy.dense.detector_config import DetectorConfig, detector_name
from vim_deploy.errors import CheckpointError, ConfigError
from vim_deploy.model.kind import Kind
from vim_deploy.model.loading import CheckpointReader, ReadWeights
from vim_deploy.text import by, plural

_NET = "backbone.net."
_WIDTH = "backbone.simfp_4.0.weight"
_ANCHORS = "proposal_generator.rpn_head.objectness_logits.weight"
_PROPOSAL_CONV = "proposal_generator.rpn_head.conv.conv{}.weight"
_BOX_CONV = "roi_heads.box_head.0.conv{}.weight"
_HIDDEN = "roi_heads.box_head.0.fc1.weight"
_SCORES, _DELTAS = "roi_heads.box_predictor.{}.cls_score.weight", "roi_heads.box_predictor.0.bbox_pred.weight"
_MASK_CONV, _MASKS = "roi_heads.mask_head.mask_fcn{}.weight", "roi_heads.mask_head.predictor.weight"


def _find_config(
    read: ReadWeights, image_size: tuple[int, int] | None, average_directions: bool | None
) -> DetectorConfig:
    """The configuration that the tensors show; the rest is taken from the reference's configurations."""
    vim, notes = find_backbone(read, _NET, image_size, average_directions)
    _check_heads(read)
    stages = _count(read, _SCORES, first=0)
    ratios = _dim(read, _ANCHORS, 0)
    default = DetectorConfig.stage_weights, DetectorConfig.aspect_ratios
    if (stages, ratios) != tuple(map(len, default)):
        raise CheckpointError(
            f"{read.source} has {plural(stages, 'stage')} and {plural(ratios, 'anchor')} per cell; expected "
            f"the reference's {len(default[0])} and {len(default[1])}, whose weights and ratios are known. "
            "Give the configuration that the model was trained with, as a JSON file instead of the model "
            "name."
        )
    backbone = BackboneConfig(
        vim=vim,
        out_indices=(vim.depth - 1,),
        last=FeatureType.STREAM,
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
    read.notes.extend(_assumptions(config, average_directions))
    return config


def _check_heads(read: ReadWeights) -> None:
    """Raises CheckpointError for other detectors of detectron2."""
    present = read.state.keys()
    if _MASKS not in present and any(name.startswith("roi_heads.box") for name in present):
        raise CheckpointError(
            f"{read.source} has no mask head: the tensor {_MASKS} is missing. Expected a Cascade Mask R-CNN; "
            "detectors without masks are not supported."
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


def _assumptions(config: DetectorConfig, average_directions: bool | None) -> list[str]:
    """Notes on what the tensors do not show."""
    return [
        f"anchors of sizes {_listed(config.anchor_sizes)}, ratios {_listed(config.aspect_ratios)}, "
        f"{config.post_nms_topk} proposals, stage weights, score threshold {config.score_threshold:g}, NMS "
        f"IoU threshold {config.nms_iou_threshold:g} and at most {config.detections_per_image} detections "
        "are assumed, as in the reference's configuration; the weights do not show them.",
        *assumptions(
            config.backbone.vim, average_directions, ", and neither does the reference's configuration"
        ),
    ]


def _describe(config: DetectorConfig) -> str:
    vim = config.backbone.vim
    return (
        f"{detector_name(config)} (image {by(config.image_size)}, embed_dim {vim.embed_dim}, depth "
        f"{vim.depth}, rotary embedding {vim.rope}, pyramid of {config.channels} channels, "
        f"{config.num_classes} classes)"
    )


def _count(read: ReadWeights, pattern: str, first: int = 1) -> int:
    """The number of tensors with consecutively numbered names."""
    number = first
    while pattern.format(number) in read.state:
        number += 1
    if number == first:
        _dim(read, pattern.format(first), 0)
    return number - first


def _dim(read: ReadWeights, name: str, axis: int) -> int:
    if name not in read.state:
        raise CheckpointError(
            f"{read.source} is not a complete Cascade Mask R-CNN: the tensor {name} is missing. Give a "
            "complete checkpoint."
        )
    return read.state[name].shape[axis] if read.state[name].dim() > axis else 0


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


load_detector = CheckpointReader(
    kind=Kind.DETECTOR,
    model=Detector,
    parse_config=DetectorConfig.from_dict,
    find_config=_find_config,
    backbone=lambda config: config.backbone.vim,
    describe=_describe,
    prefix=_NET,
).load
