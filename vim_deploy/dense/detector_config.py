"""Configuration of detectors. Imports no framework."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from vim_deploy.dense.config import BackboneConfig, DenseConfig, FeatureType
from vim_deploy.errors import ConfigError
from vim_deploy.model.config import ClassToken, VimConfig, preset_name
from vim_deploy.model.fields import MAX_CLASSES, check_fields, positive_numbers
from vim_deploy.text import plural

LEVELS = (2, 3, 4, 5, 6)  # level k has one pixel per 2^k image pixels
POOLED_LEVELS = LEVELS[:-1]  # the coarsest one is used for proposals only


_LESS_THAN_ONE = math.nextafter(1.0, 0.0)
_RANGES = {
    "num_classes": (1, MAX_CLASSES), "proposal_convs": (1, 64), "box_convs": (1, 64), "mask_convs": (1, 64),
    "proposal_nms_iou_threshold": (0, _LESS_THAN_ONE), "score_threshold": (0, _LESS_THAN_ONE),
    "nms_iou_threshold": (0, _LESS_THAN_ONE),
}  # fmt: skip


@dataclass(frozen=True)
class DetectorConfig(DenseConfig):
    """A Cascade Mask R-CNN on the simple feature pyramid.

    Images are padded to `backbone.vim.image_size`. `channels`: width of the pyramid and of all convolutions
    after it. `anchor_sizes`: in pixels, one per level; `aspect_ratios`: height over width. `pre_nms_topk`:
    boxes per level before non-maximum suppression of the proposals; `post_nms_topk`: proposals after it;
    `proposal_nms_iou_threshold`: its threshold. `stage_weights`: scale of each stage's deltas, for center and
    size. `score_threshold`, `nms_iou_threshold`, `detections_per_image`: selection of the final detections.
    Source: arXiv 2401.09417 section 4.3, 2203.16527, 1712.00726.
    """

    kind: ClassVar[str] = "detector"

    num_classes: int = 80
    channels: int = 256
    anchor_sizes: tuple[float, ...] = (32, 64, 128, 256, 512)
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    pre_nms_topk: int = 1000
    post_nms_topk: int = 1000
    proposal_nms_iou_threshold: float = 0.7
    proposal_convs: int = 2
    box_convs: int = 4
    box_hidden: int = 1024
    stage_weights: tuple[tuple[float, float], ...] = ((10, 5), (20, 10), (30, 15))
    mask_convs: int = 4
    score_threshold: float = 0.05
    nms_iou_threshold: float = 0.5
    detections_per_image: int = 100

    def __post_init__(self) -> None:
        check_fields(self, _RANGES)
        for name in ("anchor_sizes", "aspect_ratios"):
            object.__setattr__(self, name, positive_numbers(name, getattr(self, name)))
        weights = tuple(
            (center, size)
            for center, size in (positive_numbers("stage_weights", pair) for pair in self.stage_weights)
        )
        object.__setattr__(self, "stage_weights", weights)
        object.__setattr__(self, "score_threshold", float(self.score_threshold))
        if len(self.anchor_sizes) != len(LEVELS) or not self.aspect_ratios or not self.stage_weights:
            raise ConfigError(
                f"{plural(len(self.anchor_sizes), 'anchor size')}, "
                f"{plural(len(self.aspect_ratios), 'aspect ratio')}, "
                f"{plural(len(self.stage_weights), 'stage')}; expected {len(LEVELS)} anchor sizes, and at "
                "least 1 of the others."
            )
        self._check_backbone()

    def _check_backbone(self) -> None:
        vim, maps = self.backbone.vim, len(self.backbone.out_indices)
        if maps != 1 or vim.stride != 16 or min(vim.image_size) < 64 or vim.embed_dim % 4:
            raise ConfigError(
                f"a detector's backbone returns {plural(maps, 'map')} with stride {vim.stride}, image_size "
                f"{vim.image_size} and embed_dim {vim.embed_dim}; expected 1 map with stride 16, sides of 64 "
                "pixels or more, and a multiple of 4."
            )


def _preset(embed_dim: int) -> DetectorConfig:
    vim = VimConfig(
        image_size=(1024, 1024),
        num_classes=0,
        embed_dim=embed_dim,
        class_token=ClassToken.NONE,
        rope=True,
        rope_residual=True,
    )
    return DetectorConfig(BackboneConfig(vim, (vim.depth - 1,), last=FeatureType.STREAM, final_norm=False))


DETECTORS: dict[str, DetectorConfig] = {
    "cascade_vim_tiny": _preset(192),
    "cascade_vim_small": _preset(384),
    "cascade_vim_base": _preset(768),
}


def detector_name(config: DetectorConfig) -> str:
    """The preset that differs at most in image size, classes and average_directions, else 'custom'."""
    return preset_name(config, DETECTORS, config.backbone.vim.average_directions)
