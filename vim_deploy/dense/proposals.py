"""The region proposal network.

Source: arXiv 1506.01497; upstream keys with the prefix `proposal_generator.`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vim_deploy.dense.boxes import apply_deltas, clip, level_anchors, nms
from vim_deploy.dense.detector_config import LEVELS, DetectorConfig

# Lower than any logit, for boxes that are excluded from suppression.
EXCLUDED = -1e30


class Proposals(NamedTuple):
    """`boxes` (proposals, 4), best first, and `logits` (proposals,).

    If there are fewer proposals, the others have the logit `EXCLUDED`.
    """

    boxes: Tensor
    logits: Tensor


class _Head(nn.Module):
    """Scores and deltas of all anchors of one level."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        channels, anchors = config.channels, len(config.aspect_ratios)
        self.conv = nn.Sequential()
        for index in range(config.proposal_convs):
            self.conv.add_module(f"conv{index}", nn.Conv2d(channels, channels, 3, padding=1))
        self.objectness_logits = nn.Conv2d(channels, anchors, 1)
        self.anchor_deltas = nn.Conv2d(channels, 4 * anchors, 1)

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor]:
        for convolution in self.conv:
            level = convolution(level).relu()
        return self.objectness_logits(level), self.anchor_deltas(level)


class ProposalNetwork(nn.Module):
    """Feature levels of one image to proposals."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.rpn_head = _Head(config)

    def forward(self, levels: tuple[Tensor, ...], limits: Tensor) -> Proposals:
        """`levels`: each (1, channels, height, width); `limits`: of `image_limits`."""
        boxes, logits = zip(*(self._of_level(*pair, limits) for pair in enumerate(levels)), strict=True)
        all_boxes, all_logits = torch.cat(boxes), torch.cat(logits)
        best, order = all_logits.topk(min(self.config.post_nms_topk, len(all_logits)))
        return Proposals(all_boxes.index_select(0, order), best)

    def _of_level(self, index: int, level: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = self.rpn_head(level)
        anchors = self.anchors(index, level)
        # From (1, anchors per cell, height, width) to the order of the anchors.
        scores = logits.permute(0, 2, 3, 1).flatten()
        offsets = deltas.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).reshape(-1, 4)
        count = min(self.config.pre_nms_topk, len(anchors))
        best, order = scores.topk(count)
        chosen = apply_deltas(anchors.index_select(0, order), offsets.index_select(0, order))
        boxes = clip(chosen, limits)
        whole = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1) > 0
        best = torch.where(whole, best, EXCLUDED)
        limit = min(self.config.post_nms_topk, count)
        pairs, kept = nms(
            boxes, best[None], torch.tensor(EXCLUDED), self.config.proposal_nms_iou_threshold, limit
        )
        return boxes.index_select(0, pairs[:, 1]), kept

    def anchors(self, index: int, level: Tensor) -> Tensor:
        """The anchors of the level with that index (anchors, 4), ordered by cell, then ratio."""
        height, width = level.shape[-2:]
        size, stride = self.config.anchor_sizes[index], 2 ** LEVELS[index]
        return level_anchors(size, self.config.aspect_ratios, stride, height, width)
