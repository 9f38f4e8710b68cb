"""Operations on boxes (left, top, right, bottom) in pixels: anchors, deltas, non-maximum suppression.

Source: arXiv 1506.01497 (anchors and deltas).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Limits of the log scale of a side: upstream's against overflow, and one of float32's range.
_MAX_LOG_SCALE, _MIN_LOG_SCALE = math.log(1000 / 16), -100.0


def level_anchors(size: float, ratios: tuple[float, ...], stride: int, height: int, width: int) -> Tensor:
    """The anchors of all cells, in row-major order: (height * width * ratios, 4) float32.

    The first cell's anchors are centered on the origin. Ratios are height over width at equal area.
    """
    shapes = [(math.sqrt(size**2 / ratio), ratio * math.sqrt(size**2 / ratio)) for ratio in ratios]
    cell = torch.tensor([[-w / 2, -h / 2, w / 2, h / 2] for w, h in shapes])
    y, x = (torch.arange(count, dtype=torch.float32) * stride for count in (height, width))
    corner = torch.stack(
        [x[None].expand(height, width), y[:, None].expand(height, width)], dim=-1
    )  # (height, width, 2)
    return (corner.flatten(0, 1).repeat(1, 2)[:, None] + cell[None]).flatten(0, 1)


def apply_deltas(
    boxes: Tensor, deltas: Tensor, center_weight: float = 1.0, size_weight: float = 1.0
) -> Tensor:
    """Shift the centers relative to the sizes, and scale the sizes exponentially; both (n, 4)."""
    size = boxes[:, 2:] - boxes[:, :2]
    center = boxes[:, :2] + 0.5 * size
    new_center = deltas[:, :2] / center_weight * size + center
    log_scale = (deltas[:, 2:] / size_weight).clamp(_MIN_LOG_SCALE, _MAX_LOG_SCALE)
    half = 0.5 * torch.exp(log_scale) * size
    return torch.cat([new_center - half, new_center + half], dim=1)


def image_limits(pixels: Tensor) -> Tensor:
    """(width, height, width, height) of the image inside its padding (1, channels, height, width).

    All pixels to the right of and below the last nonzero pixel are padding. An image of zeros has size 0.
    """
    present = (pixels != 0).to(pixels.dtype).amax(dim=(0, 1))
    height, width = present.shape
    rows = torch.arange(1, height + 1, dtype=pixels.dtype) * present.amax(dim=1)
    columns = torch.arange(1, width + 1, dtype=pixels.dtype) * present.amax(dim=0)
    return torch.stack([columns.amax(dim=0), rows.amax(dim=0)]).repeat(2)


def clip(boxes: Tensor, limits: Tensor) -> Tensor:
    """Boxes clipped to the image."""
    return torch.minimum(boxes.clamp(min=0), limits)


@torch.library.custom_op("vim_deploy::nms", mutates_args=())
def nms(
    boxes: Tensor, scores: Tensor, score_threshold: Tensor, iou_threshold: float, limit: int
) -> tuple[Tensor, Tensor]:
    """Greedy non-maximum suppression per class, then the best boxes of all classes.

    `boxes` (n, 4), `scores` (classes, n), `score_threshold` a scalar. A box is suppressed by a better one of
    its class if their IoU is greater than `iou_threshold`; boxes with scores up to `score_threshold` are
    ignored. Returns pairs of class and box (limit, 2) int64, best first, and their scores (limit,). Unused
    rows have zeros and the score `score_threshold`, so that all shapes are fixed.

    This is a custom operator so that exported graphs use NonMaxSuppression.
    """
    found = [
        (label, index)
        for label in range(scores.shape[0])
        for index in _nms_of_class(boxes, scores[label], score_threshold, iou_threshold)
    ]
    pairs = torch.tensor(found, dtype=torch.int64).reshape(-1, 2)
    values = scores[pairs[:, 0], pairs[:, 1]]
    order = values.argsort(descending=True, stable=True)[:limit]
    missing = limit - len(order)
    return (
        torch.cat([pairs[order], pairs.new_zeros(missing, 2)]),
        torch.cat([values[order], score_threshold.expand(missing)]),
    )


@nms.register_fake
def _(
    boxes: Tensor, scores: Tensor, score_threshold: Tensor, iou_threshold: float, limit: int
) -> tuple[Tensor, Tensor]:
    return boxes.new_empty((limit, 2), dtype=torch.int64), scores.new_empty((limit,))


def _nms_of_class(boxes: Tensor, scores: Tensor, score_threshold: Tensor, iou_threshold: float) -> list[int]:
    """Indices of the remaining boxes, best first."""
    order = scores.argsort(descending=True, stable=True)
    order = order[scores[order] > score_threshold]
    overlapping = _iou(boxes[order]) > iou_threshold
    suppressed = torch.zeros(len(order), dtype=torch.bool)
    kept = []
    for place, index in enumerate(order.tolist()):
        if not suppressed[place]:
            kept.append(index)
            suppressed |= overlapping[place]
    return kept


def _iou(boxes: Tensor) -> Tensor:
    """Intersection over union of all pairs: (n, 4) to (n, n); 0 if the union is empty."""
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = (high - low).clamp(min=0).prod(dim=-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=-1)
    return torch.nan_to_num(common / (area[:, None] + area[None] - common), nan=0.0)
