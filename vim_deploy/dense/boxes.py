"""Boxes (left, top, right, bottom) in pixels: anchors, deltas, suppression. No weights.

Source: arXiv 1506.01497 (anchors and deltas).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Of a side, in one step: upstream's bound against overflow, and one that float32's range has in any case.
_LARGEST_GROWTH, _LARGEST_SHRINKING = math.log(1000 / 16), -100.0


def level_anchors(size: float, ratios: tuple[float, ...], stride: int, height: int, width: int) -> Tensor:
    """Every cell's anchors, cells row by row: (height * width * ratios, 4) float32.

    The first cell's anchors are centred on the origin. Ratios are height over width at equal area.
    """
    shapes = [(math.sqrt(size**2 / ratio), ratio * math.sqrt(size**2 / ratio)) for ratio in ratios]
    cell = torch.tensor([[-w / 2, -h / 2, w / 2, h / 2] for w, h in shapes])
    y, x = (torch.arange(count, dtype=torch.float32) * stride for count in (height, width))
    corner = torch.stack(
        [x[None].expand(height, width), y[:, None].expand(height, width)], dim=-1
    )  # (height, width, 2)
    return (corner.flatten(0, 1).repeat(1, 2)[:, None] + cell[None]).flatten(0, 1)


def apply_deltas(
    boxes: Tensor, deltas: Tensor, centre_weight: float = 1.0, size_weight: float = 1.0
) -> Tensor:
    """Move the centres by fractions of the sizes, and scale the sizes exponentially; both (n, 4)."""
    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + 0.5 * size
    new_centre = deltas[:, :2] / centre_weight * size + centre
    growth = (deltas[:, 2:] / size_weight).clamp(_LARGEST_SHRINKING, _LARGEST_GROWTH)
    half = 0.5 * torch.exp(growth) * size
    return torch.cat([new_centre - half, new_centre + half], dim=1)


def image_limits(pixels: Tensor) -> Tensor:
    """(width, height, width, height) of the image in a padded one (1, channels, height, width).

    Padding is exactly zero, and what lies right of or below the last pixel that is not zero is padding. A
    whole image of zeros has no size.
    """
    present = (pixels != 0).to(pixels.dtype).amax(dim=(0, 1))
    height, width = present.shape
    rows = torch.arange(1, height + 1, dtype=pixels.dtype) * present.amax(dim=1)
    columns = torch.arange(1, width + 1, dtype=pixels.dtype) * present.amax(dim=0)
    return torch.stack([columns.amax(dim=0), rows.amax(dim=0)]).repeat(2)


def clip(boxes: Tensor, limits: Tensor) -> Tensor:
    """Boxes cut to the image."""
    return torch.minimum(boxes.clamp(min=0), limits)


@torch.library.custom_op("vim_deploy::keep_best", mutates_args=())
def keep_best(
    boxes: Tensor, scores: Tensor, threshold: Tensor, overlap: float, limit: int
) -> tuple[Tensor, Tensor]:
    """Greedy suppression within each class, then the best of all classes.

    `boxes` (n, 4), `scores` (classes, n), `threshold` a scalar. A box is dropped for a better one of its
    class that it shares more than `overlap` of their union with; scores of `threshold` and less do not take
    part. Returns places (limit, 2) int64, pairs of class and box, best first, and their scores (limit,). Rows
    beyond what was found hold zeros and the score `threshold`, so that all shapes are fixed.

    An operator of its own because exported graphs have NonMaxSuppression for it.
    """
    found = [
        (label, index)
        for label in range(scores.shape[0])
        for index in _suppressed(boxes, scores[label], threshold, overlap)
    ]
    places = torch.tensor(found, dtype=torch.int64).reshape(-1, 2)
    values = scores[places[:, 0], places[:, 1]]
    order = values.argsort(descending=True, stable=True)[:limit]
    missing = limit - len(order)
    return (
        torch.cat([places[order], places.new_zeros(missing, 2)]),
        torch.cat([values[order], threshold.expand(missing)]),
    )


@keep_best.register_fake
def _(boxes: Tensor, scores: Tensor, threshold: Tensor, overlap: float, limit: int) -> tuple[Tensor, Tensor]:
    return boxes.new_empty((limit, 2), dtype=torch.int64), scores.new_empty((limit,))


def _suppressed(boxes: Tensor, scores: Tensor, threshold: Tensor, overlap: float) -> list[int]:
    """Indices that survive, best first."""
    order = scores.argsort(descending=True, stable=True)
    order = order[scores[order] > threshold]
    shared = _overlaps(boxes[order]) > overlap
    dropped = torch.zeros(len(order), dtype=torch.bool)
    kept = []
    for place, index in enumerate(order.tolist()):
        if not dropped[place]:
            kept.append(index)
            dropped |= shared[place]
    return kept


def _overlaps(boxes: Tensor) -> Tensor:
    """Intersection over union of every pair: (n, 4) to (n, n); 0 where the union is empty."""
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = (high - low).clamp(min=0).prod(dim=-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=-1)
    return torch.nan_to_num(common / (area[:, None] + area[None] - common), nan=0.0)
