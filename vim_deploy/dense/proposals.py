"""The region proposal network: which boxes are worth a look.

Source: arXiv 1506.01497; upstream keys below `proposal_generator.`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vim_deploy.dense.boxes import apply_deltas, clip, keep_best, level_anchors
from vim_deploy.dense.detector_config import LEVELS, DetectorConfig

# Below every logit: what takes no part in the suppression.
NEVER = -1e30


class Proposals(NamedTuple):
    """`boxes` (proposals, 4), best first, and `logits` (proposals,).

    Where an image has fewer, the rest have the logit `NEVER`.
    """

    boxes: Tensor
    logits: Tensor


class _Head(nn.Module):
    """Scores and deltas of every anchor of one level."""

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
    """Levels of one image to proposals."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.rpn_head = _Head(config)

    def forward(self, levels: tuple[Tensor, ...], limits: Tensor) -> Proposals:
        """`levels` (1, channels, height, width) each, `limits` as `image_limits` gives them."""
        boxes, logits = zip(*(self._of_level(*pair, limits) for pair in enumerate(levels)), strict=True)
        all_boxes, all_logits = torch.cat(boxes), torch.cat(logits)
        best, order = all_logits.topk(min(self.config.proposals, len(all_logits)))
        return Proposals(all_boxes.index_select(0, order), best)

    def _of_level(self, index: int, level: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = self.rpn_head(level)
        anchors = self.anchors(index, level)
        # From (1, anchors of a cell, height, width) to the anchors' order.
        scores = logits.permute(0, 2, 3, 1).flatten()
        offsets = deltas.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).reshape(-1, 4)
        count = min(self.config.candidates, len(anchors))
        best, order = scores.topk(count)
        chosen = apply_deltas(anchors.index_select(0, order), offsets.index_select(0, order))
        boxes = clip(chosen, limits)
        whole = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1) > 0
        best = torch.where(whole, best, NEVER)
        limit = min(self.config.proposals, count)
        places, kept = keep_best(boxes, best[None], torch.tensor(NEVER), self.config.proposal_overlap, limit)
        return boxes.index_select(0, places[:, 1]), kept

    def anchors(self, index: int, level: Tensor) -> Tensor:
        """Of the level of that index, in the order of its cells and ratios: (anchors, 4)."""
        height, width = level.shape[-2:]
        size, stride = self.config.anchor_sizes[index], 2 ** LEVELS[index]
        return level_anchors(size, self.config.aspect_ratios, stride, height, width)
