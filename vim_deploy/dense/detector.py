"""Cascade Mask R-CNN on Vision Mamba, with the tensor names of detectron2's checkpoints.

Source: arXiv 2401.09417 section 4.3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vim_deploy.dense.boxes import image_limits
from vim_deploy.dense.cascade import CascadeHeads
from vim_deploy.dense.detector_config import POOLED_LEVELS, DetectorConfig
from vim_deploy.dense.proposals import ProposalNetwork, Proposals
from vim_deploy.dense.pyramid import Pyramid
from vim_deploy.errors import ConfigError


class Detector(nn.Module):
    """A padded image to detections."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.channels, self.image_size = config.backbone.vim.channels, config.image_size
        self.num_classes, self.score_threshold = config.num_classes, config.score_threshold
        self.backbone = Pyramid(config)
        self.proposal_generator = ProposalNetwork(config)
        self.roi_heads = CascadeHeads(config)

    def forward(
        self, pixels: Tensor, score_threshold: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One image (1, channels, height, width), padded with zeros at the right and bottom.

        `score_threshold`: a scalar of at least 0; by default, the configuration's. Returns boxes (n, 4) in
        pixels of the padded image, clipped to the image, scores (n,), classes (n,) int64, and masks
        (n, 28, 28), probabilities relative to each box; best first. Raises ConfigError for another shape.
        """
        threshold = score_threshold
        if threshold is None:
            threshold = torch.tensor(self.config.score_threshold)
        pooled, proposals, limits = self._proposals(pixels)
        found = self.roi_heads.detect(pooled, proposals, limits, threshold)
        masks = self.roi_heads.masks(pooled, found.boxes, found.classes)
        real = torch.nonzero(found.scores > threshold)[:, 0]
        boxes, scores, classes = (rows.index_select(0, real) for rows in found)
        return boxes, scores, classes, masks.index_select(0, real)

    def bounded(self, pixels: Tensor, score_threshold: Tensor) -> tuple[Tensor, ...]:
        """`forward` with outputs of fixed size: boxes (n, 4), scores (n,), classes (n,) int32, masks
        (n, 28, 28), and `objects` and `exceeded` of `BoundedFound`; n is `detections_per_image`."""
        pooled, proposals, limits = self._proposals(pixels)
        (boxes, scores, classes), count, exceeded = self.roi_heads.detect_bounded(
            pooled, proposals, limits, score_threshold
        )
        masks = self.roi_heads.masks(pooled, boxes, classes)
        return boxes, scores, classes.to(torch.int32), masks, count, exceeded

    def _proposals(self, pixels: Tensor) -> tuple[tuple[Tensor, ...], Proposals, Tensor]:
        """The levels that boxes are pooled from, the proposals, and the limits of the image."""
        self._check(pixels)
        limits = image_limits(pixels)
        levels = self.backbone(pixels)
        return levels[: len(POOLED_LEVELS)], self.proposal_generator(levels, limits), limits

    def cast_weights(self, dtype: torch.dtype) -> None:
        """Convert the weights of the backbone's mixers, see VisionMamba.cast_weights."""
        self.backbone.net.cast_weights(dtype)

    def _check(self, pixels: Tensor) -> None:
        # The number of boxes differs between images, so their outputs cannot be stacked.
        expected = (1, self.config.backbone.vim.channels, *self.config.image_size)
        if tuple(pixels.shape) != expected:
            raise ConfigError(
                f"pixels of shape {tuple(pixels.shape)}; expected one image, {expected}. Pad it with zeros, "
                "or build the model with another image_size."
            )
