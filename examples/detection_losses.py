"""Losses of a Cascade Mask R-CNN whose objects are all on the finest level, for training on a CPU.

All boxes of a batch are pooled together by one grid of bilinear samples, with 2 x 2 samples per bin, like
RoIAlign for boxes of 28 to 56 pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from detection_data import Scene
from torch import Tensor

from vim_deploy.dense.boxes import apply_deltas
from vim_deploy.dense.cascade import BOX_GRID, MASK_GRID, CascadeHeads
from vim_deploy.dense.detector import Detector

MATCHED = (0.5, 0.6, 0.7)  # least IoU with a ground-truth box, per stage
_ANCHOR_MATCHED, _ANCHOR_MISSED = 0.6, 0.3
_ANCHORS, _PROPOSED, _JITTERED = 96, 16, 16  # per image
_BOX_WEIGHT = 0.25  # low, because classification takes longest to learn


def detection_loss(model: Detector, pixels: Tensor, scenes: list[Scene]) -> Tensor:
    """The sum of the losses of proposals, stages and masks for a batch (batch, 3, height, width)."""
    levels = model.backbone(pixels)
    network = model.proposal_generator
    anchors = torch.cat([network.anchors(index, level) for index, level in enumerate(levels)])
    heads = [network.rpn_head(level) for level in levels]
    logits = torch.cat([found.permute(0, 2, 3, 1).flatten(1) for found, _ in heads], dim=1)
    deltas = torch.cat(
        [found.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3) for _, found in heads], dim=1
    )
    loss = torch.stack(
        [_proposal_loss(*parts, anchors) for parts in zip(logits, deltas, _true_boxes(scenes), strict=True)]
    ).mean()
    boxes = torch.stack(
        [
            _boxes_to_learn(*parts, anchors, pixels.shape[-1])
            for parts in zip(logits, deltas, scenes, strict=True)
        ]
    )
    return loss + _heads_loss(model.roi_heads, levels[0], boxes, scenes, pixels.shape[-1])


def _true_boxes(scenes: list[Scene]) -> list[Tensor]:
    return [torch.from_numpy(scene.boxes) for scene in scenes]


def _proposal_loss(logits: Tensor, deltas: Tensor, true: Tensor, anchors: Tensor) -> Tensor:
    overlap = overlaps(anchors, true)
    best, owner = overlap.max(dim=1)
    matched = (best >= _ANCHOR_MATCHED) | ((overlap == overlap.amax(dim=0)) & (overlap > 0)).any(dim=1)
    chosen = _sample(matched, _ANCHORS // 2)
    missed = _sample((best < _ANCHOR_MISSED) & ~matched, _ANCHORS - len(chosen))
    both = torch.cat([chosen, missed])
    loss = F.binary_cross_entropy_with_logits(logits[both], matched[both].float())
    wanted = deltas_to(anchors[chosen], true[owner[chosen]])
    return loss + F.smooth_l1_loss(deltas[chosen], wanted, beta=0.1, reduction="sum") / _ANCHORS


@torch.no_grad()
def _boxes_to_learn(logits: Tensor, deltas: Tensor, scene: Scene, anchors: Tensor, side: int) -> Tensor:
    """The network's best boxes and randomly shifted ground-truth boxes, which help at the start."""
    best = logits.topk(4 * _PROPOSED).indices
    best = best[torch.randperm(len(best))[:_PROPOSED]]
    proposed = apply_deltas(anchors[best], deltas[best])
    true = torch.from_numpy(scene.boxes)[torch.randint(len(scene.boxes), (_JITTERED,))]
    size = (true[:, 2:] - true[:, :2]).repeat(1, 2)
    moved = true + 0.2 * torch.rand(_JITTERED, 1) * size * torch.randn(_JITTERED, 4)
    return tidy(torch.cat([proposed, moved]), side)


def _heads_loss(heads: CascadeHeads, level: Tensor, boxes: Tensor, scenes: list[Scene], side: int) -> Tensor:
    loss = level.new_zeros(())
    for index, least in enumerate(MATCHED):
        matches = [_match(own, scene, least) for own, scene in zip(boxes, scenes, strict=True)]
        classes, true = (torch.cat(parts) for parts in zip(*matches, strict=True))
        flat = boxes.flatten(0, 1)
        hidden = heads.box_head[index](F.avg_pool2d(pool_batch(level, boxes, 2 * BOX_GRID, side), 2))
        logits, deltas = heads.box_predictor[index](hidden)
        weights = heads.config.stage_weights[index]
        inside = classes < heads.config.num_classes
        wanted = deltas_to(flat[inside], true[inside], *weights)
        loss = loss + F.cross_entropy(logits, classes)
        loss = loss + _BOX_WEIGHT * F.smooth_l1_loss(deltas[inside], wanted, reduction="sum") / len(flat)
        if index == 0:
            loss = loss + _mask_loss(heads, level, boxes, classes, matches, scenes, side)
        moved = apply_deltas(flat, deltas.detach(), *weights)
        boxes = tidy(moved, side).unflatten(0, boxes.shape[:2])
    return loss


def _match(boxes: Tensor, scene: Scene, least: float) -> tuple[Tensor, Tensor]:
    """Class and ground-truth box of each box; the class after the last is background."""
    true = torch.from_numpy(scene.boxes)
    best, owner = overlaps(boxes, true).max(dim=1)
    classes = torch.from_numpy(scene.classes)[owner]
    return torch.where(best >= least, classes, 10), true[owner]


def _mask_loss(
    heads: CascadeHeads,
    level: Tensor,
    boxes: Tensor,
    classes: Tensor,
    matches: list[tuple[Tensor, Tensor]],
    scenes: list[Scene],
    side: int,
) -> Tensor:
    """The loss for up to four boxes with objects in each image."""
    losses = []
    for image, (own, (found, true), scene) in enumerate(zip(boxes, matches, scenes, strict=True)):
        chosen = _sample(found < heads.config.num_classes, 4)
        if not len(chosen):
            continue
        pooled = F.avg_pool2d(pool_batch(level[image : image + 1], own[None, chosen], 2 * MASK_GRID, side), 2)
        logits = heads.mask_head(pooled)[torch.arange(len(chosen)), found[chosen]]
        owner = (torch.from_numpy(scene.boxes)[None] == true[chosen][:, None]).all(dim=2).int().argmax(dim=1)
        masks = torch.from_numpy(scene.masks).float()[owner]
        grid = _grid(own[chosen][:, None], logits.shape[-1], side)
        wanted = F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0]
        losses.append(F.binary_cross_entropy_with_logits(logits, (wanted >= 0.5).float()))
    return torch.stack(losses).mean() if losses else level.new_zeros(())


def pool_batch(level: Tensor, boxes: Tensor, size: int, side: int) -> Tensor:
    """(batch, channels, height, width) and boxes (batch, n, 4) to (batch * n, channels, size, size)."""
    found = F.grid_sample(level, _grid(boxes, size, side), padding_mode="border", align_corners=False)
    return found.unflatten(2, (boxes.shape[1], size)).transpose(1, 2).flatten(0, 1)


def _grid(boxes: Tensor, size: int, side: int) -> Tensor:
    """Sample positions in the boxes for grid_sample: (batch, n * size, size, 2)."""
    steps = (torch.arange(size) + 0.5) / size
    low, extent = boxes[..., None, :2], (boxes[..., 2:] - boxes[..., :2])[..., None, :]
    places = (low + steps[:, None] * extent) / side * 2 - 1  # (batch, n, size, 2)
    x = places[..., None, :, 0].expand(-1, -1, size, -1)
    y = places[..., :, None, 1].expand(-1, -1, -1, size)
    return torch.stack([x, y], dim=-1).flatten(1, 2)


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union: (n, 4) and (m, 4) to (n, m)."""
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = (high - low).clamp(min=0).prod(dim=-1)
    areas = [(given[:, 2:] - given[:, :2]).prod(dim=-1) for given in (boxes, others)]
    return common / (areas[0][:, None] + areas[1][None] - common)


def deltas_to(boxes: Tensor, wanted: Tensor, center: float = 1.0, size: float = 1.0) -> Tensor:
    """The deltas with which `apply_deltas` moves `boxes` to `wanted`; both (n, 4)."""
    own, other = (given[:, 2:] - given[:, :2] for given in (boxes, wanted))
    moved = (wanted[:, :2] + other / 2 - boxes[:, :2] - own / 2) / own
    return torch.cat([center * moved, size * torch.log(other / own)], dim=1)


def tidy(boxes: Tensor, side: int) -> Tensor:
    """Boxes clipped to the image, with sides of at least four pixels."""
    low = boxes[:, :2].clamp(0, side - 4)
    return torch.cat([low, torch.maximum(boxes[:, 2:].clamp(max=side), low + 4)], dim=1)


def _sample(chosen: Tensor, most: int) -> Tensor:
    places = torch.nonzero(chosen)[:, 0]
    return places[torch.randperm(len(places))[:most]]
