"""The heads of a detector: a cascade of box stages and a mask head.

Source: arXiv 1712.00726 (cascade), 1703.06870 (masks); upstream keys with the prefix `roi_heads.`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vim_deploy.dense.boxes import apply_deltas, clip, nms
from vim_deploy.dense.detector_config import DetectorConfig
from vim_deploy.dense.layers import NormConv, upsample
from vim_deploy.dense.proposals import EXCLUDED, Proposals
from vim_deploy.dense.roi import pool

BOX_GRID, MASK_GRID = 7, 14
# Pairs of box and class that the bounded form considers. TensorRT's TopK returns at most 3840 elements, and
# its non-maximum suppression takes at most 5000 boxes.
MAX_CANDIDATES = 3839


class Stage(NamedTuple):
    """Outputs of a stage for n boxes: `hidden` (n, width), `logits` (n, classes + background), `deltas` and
    `boxes` (n, 4)."""

    hidden: Tensor
    logits: Tensor
    deltas: Tensor
    boxes: Tensor


class Found(NamedTuple):
    """Detections, best first: `boxes` (n, 4), `scores` (n,), `classes` (n,) int64."""

    boxes: Tensor
    scores: Tensor
    classes: Tensor


class BoundedFound(NamedTuple):
    """`found` always has the same number of rows, of which the first `objects` (1,) int32 are objects.

    `exceeded` (2,) int32: 1 if there are more objects than rows, 1 if there are more than `MAX_CANDIDATES`
    pairs of box and class above the threshold.
    """

    found: Found
    objects: Tensor
    exceeded: Tensor


class _BoxHead(nn.Module):
    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.names = [f"conv{index + 1}" for index in range(config.box_convs)]
        for name in self.names:
            self.add_module(name, NormConv(config.channels, config.channels, 3))
        self.fc1 = nn.Linear(config.channels * BOX_GRID**2, config.box_hidden)

    def forward(self, pooled: Tensor) -> Tensor:
        for name in self.names:
            pooled = self.get_submodule(name)(pooled).relu()
        hidden: Tensor = self.fc1(pooled.flatten(1)).relu()
        return hidden


class _BoxPredictor(nn.Module):
    """Class scores, and deltas for all classes together."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.cls_score = nn.Linear(config.box_hidden, config.num_classes + 1)
        self.bbox_pred = nn.Linear(config.box_hidden, 4)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(hidden), self.bbox_pred(hidden)


class _MaskHead(nn.Module):
    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        channels = config.channels
        self.names = [f"mask_fcn{index + 1}" for index in range(config.mask_convs)]
        for name in self.names:
            self.add_module(name, NormConv(channels, channels, 3))
        self.deconv = upsample(channels, channels)
        self.predictor = nn.Conv2d(channels, config.num_classes, 1)

    def forward(self, pooled: Tensor) -> Tensor:
        for name in self.names:
            pooled = self.get_submodule(name)(pooled).relu()
        logits: Tensor = self.predictor(self.deconv(pooled).relu())
        return logits


class CascadeHeads(nn.Module):
    """Proposals and feature levels to detections with masks."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        stages = range(len(config.stage_weights))
        self.box_head = nn.ModuleList(_BoxHead(config) for _ in stages)
        self.box_predictor = nn.ModuleList(_BoxPredictor(config) for _ in stages)
        self.mask_head = _MaskHead(config)

    def detect(
        self, levels: tuple[Tensor, ...], proposals: Proposals, limits: Tensor, threshold: Tensor
    ) -> Found:
        """Exactly `config.detections_per_image` rows; those without an object have the score `threshold`."""
        boxes, scores = self._scored(levels, proposals, limits)
        return self.select(boxes, scores, threshold)

    def detect_bounded(
        self, levels: tuple[Tensor, ...], proposals: Proposals, limits: Tensor, threshold: Tensor
    ) -> BoundedFound:
        """The same objects as `detect`, unless there are more than `MAX_CANDIDATES` candidates.

        Only the best candidates are considered. Rows after the objects are further boxes with a score of at
        most `threshold`, so that networks can be compared on images without objects; rows with the score 0
        are unused. Suppression does not depend on boxes with lower scores.
        """
        boxes, scores = self._scored(levels, proposals, limits)
        candidates, too_many = scores, scores.new_zeros(1)
        if scores.numel() > MAX_CANDIDATES:
            best, _ = scores.flatten().topk(MAX_CANDIDATES + 1)
            candidates = torch.where(scores > best[-1], scores, 0.0)
            too_many = (best[-1:] > threshold).to(scores.dtype)
        rows = self.config.detections_per_image
        # One more, which shows whether there are more objects than rows.
        found = self._best(boxes, candidates, torch.zeros(()), rows + 1)
        real = (found.scores > threshold).to(scores.dtype)
        more = real[rows:] if len(real) > rows else scores.new_zeros(1)
        return BoundedFound(
            Found(*(values[:rows] for values in found)),
            real[:rows].sum(dim=0, keepdim=True).to(torch.int32),
            torch.cat([more, too_many]).to(torch.int32),
        )

    def _scored(
        self, levels: tuple[Tensor, ...], proposals: Proposals, limits: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The boxes of the last stage (n, 4) and the mean scores of all stages (classes, n)."""
        config = self.config
        boxes, scores = proposals.boxes, []
        for index in range(len(config.stage_weights)):
            stage = self.stage(index, levels, boxes)
            scores.append(stage.logits.softmax(dim=1))
            boxes = clip(stage.boxes, limits)
        return boxes, mean_scores(scores, proposals.logits)

    def select(self, boxes: Tensor, scores: Tensor, threshold: Tensor) -> Found:
        """The detections among the boxes of the last stage (n, 4) with their mean scores (classes, n)."""
        return self._best(boxes, scores, threshold, self.config.detections_per_image)

    def _best(self, boxes: Tensor, scores: Tensor, threshold: Tensor, limit: int) -> Found:
        """The best boxes after suppression: at most `limit` rows, as many as there are pairs at most."""
        limit = min(limit, scores.numel())
        pairs, best = nms(boxes, scores, threshold, self.config.nms_iou_threshold, limit)
        return Found(boxes.index_select(0, pairs[:, 1]), best, pairs[:, 0])

    def stage(self, index: int, levels: tuple[Tensor, ...], boxes: Tensor) -> Stage:
        """One stage of the cascade; the boxes are not clipped."""
        hidden: Tensor = self.box_head[index](pool(levels, boxes, BOX_GRID))
        logits, deltas = self.box_predictor[index](hidden)
        moved = apply_deltas(boxes, deltas, *self.config.stage_weights[index])
        return Stage(hidden, logits, deltas, moved)

    def mask_logits(self, levels: tuple[Tensor, ...], boxes: Tensor) -> Tensor:
        """(n, classes, 28, 28) in coordinates relative to the boxes."""
        logits: Tensor = self.mask_head(pool(levels, boxes, MASK_GRID))
        return logits

    def masks(self, levels: tuple[Tensor, ...], boxes: Tensor, classes: Tensor) -> Tensor:
        """Probabilities (n, 28, 28) that points of the boxes belong to objects of the given classes."""
        logits = self.mask_logits(levels, boxes)
        own = torch.arange(logits.shape[0]) * logits.shape[1] + classes
        return logits.flatten(0, 1).index_select(0, own).sigmoid()


def mean_scores(scores: list[Tensor], proposed: Tensor) -> Tensor:
    """The mean scores of all stages (classes, n) from the probabilities of each, (n, classes + background).

    `proposed`: the logits of the proposals; those that were excluded get the score 0.
    """
    real = (proposed > EXCLUDED).to(proposed.dtype)
    return (sum(scores[1:], scores[0])[:, :-1] / len(scores) * real[:, None]).T
