"""Cascade Mask R-CNN on Vision Mamba, with the tensor names of detectron2's checkpoints.

Source: arXiv 2401.09417 section 4.3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vim_deploy.dense.boxes import image_limits
from vim_deploy.dense.cascade import CascadeHeads
from vim_deploy.dense.detector_config import POOLED_LEVELS, DetectorConfig, detector_preset
from vim_deploy.dense.proposals import ProposalNetwork
from vim_deploy.dense.pyramid import Pyramid
from vim_deploy.errors import ConfigError


class Detector(nn.Module):
    """One padded image to its objects."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Pyramid(config)
        self.proposal_generator = ProposalNetwork(config)
        self.roi_heads = CascadeHeads(config)

    def forward(
        self, pixels: Tensor, score_threshold: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One image (1, channels, height, width), padded at the right and bottom with zeros.

        `score_threshold`: a scalar of 0 or more, the configuration's unless given. Returns boxes (n, 4) in
        the padded image's pixels and cut to the image, scores (n,), classes (n,) int64, and masks (n, 28, 28)
        as probabilities over each box; best first. Raises ConfigError for another shape.
        """
        self._check(pixels)
        threshold = score_threshold
        if threshold is None:
            threshold = torch.tensor(self.config.score_threshold)
        limits = image_limits(pixels)
        levels = self.backbone(pixels)
        proposals = self.proposal_generator(levels, limits)
        pooled = levels[: len(POOLED_LEVELS)]
        found = self.roi_heads.detect(pooled, proposals, limits, threshold)
        masks = self.roi_heads.masks(pooled, found.boxes, found.classes)
        real = torch.nonzero(found.scores > threshold)[:, 0]
        boxes, scores, classes = (rows.index_select(0, real) for rows in found)
        return boxes, scores, classes, masks.index_select(0, real)

    def cast_weights(self, dtype: torch.dtype) -> None:
        """Let the backbone's mixers compute in `dtype`, in place; see VisionMamba.cast_weights."""
        self.backbone.net.cast_weights(dtype)

    def _check(self, pixels: Tensor) -> None:
        # Images have boxes of different counts, so that a batch has no shape.
        expected = (1, self.config.backbone.vim.channels, *self.config.image_size)
        if tuple(pixels.shape) != expected:
            raise ConfigError(
                f"pixels of shape {tuple(pixels.shape)}; expected one image, {expected}. Pad it with zeros, "
                "or build the model with another image_size."
            )


def create_detector(name: str, **overrides: Any) -> Detector:
    """An untrained detector by its short name, with changed fields of DetectorConfig."""
    return Detector(detector_preset(name, **overrides))
