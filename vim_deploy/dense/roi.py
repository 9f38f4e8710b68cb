"""Features of boxes, pooled to a fixed size from the level that matches their size.

Source: arXiv 1703.06870 (RoIAlign) and 1612.03144 (choice of the level).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vim_deploy.dense.detector_config import POOLED_LEVELS

_CANONICAL_SIZE, _CANONICAL_LEVEL = 224, 4


def pool(levels: tuple[Tensor, ...], boxes: Tensor, size: int) -> Tensor:
    """Boxes (n, 4) to features (n, channels, size, size); `levels` finest first, those of `POOLED_LEVELS`.

    All boxes are pooled from all levels, so that all shapes are fixed; on other levels than its own a box is
    replaced by one of a single pixel, which is cheap, and the result is discarded. Empty boxes give zeros;
    RoiAlign would return zeros in some runtimes and 0 / 0 in TensorRT.
    """
    own = box_levels(boxes)
    whole = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1) > 0
    pixel = torch.tensor([0.0, 0.0, 1.0, 1.0])
    pooled: Tensor | float = 0.0
    for level, found in zip(POOLED_LEVELS, levels, strict=True):
        chosen = (own == level) & whole
        part = roi_align(found, torch.where(chosen[:, None], boxes, pixel), 2.0**-level, size)
        pooled = torch.where(chosen[:, None, None, None], part, pooled)
    assert isinstance(pooled, Tensor)
    return pooled


def box_levels(boxes: Tensor) -> Tensor:
    """The level of each box (n,), an integer in floating point: one lower for each halving of the size."""
    side = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sqrt()
    # By comparison, because the rounding of logarithms differs between runtimes.
    bounds = [_CANONICAL_SIZE * 2.0 ** (level - _CANONICAL_LEVEL) for level in POOLED_LEVELS[1:]]
    levels = torch.full_like(side, POOLED_LEVELS[0])
    for bound in bounds:
        levels = levels + (side >= bound).to(side.dtype)
    return levels


@torch.library.custom_op("vim_deploy::roi_align", mutates_args=())
def roi_align(level: Tensor, boxes: Tensor, scale: float, size: int) -> Tensor:
    """The mean of bilinear samples in each of size x size bins of every box.

    `level` (1, channels, height, width), `boxes` (n, 4) in image pixels, `scale` level pixels per image
    pixel. Pixel centers are at half-integers; per side, a bin has one sample per pixel, rounded up. Returns
    (n, channels, size, size).

    This is a custom operator so that exported graphs use RoiAlign. Bilinear weights on a grid are products
    of row and column weights, so each box takes two matmuls.
    """
    channels, height, width = level.shape[1:]
    result = level.new_zeros(len(boxes), channels, size, size)
    for index, (left, top, right, bottom) in enumerate((boxes * scale - 0.5).tolist()):
        rows = _axis_weights(top, bottom - top, size, height)
        columns = _axis_weights(left, right - left, size, width)
        if rows is not None and columns is not None:
            (top_pixel, down), (left_pixel, across) = rows, columns
            part = level[
                0, :, top_pixel : top_pixel + down.shape[1], left_pixel : left_pixel + across.shape[1]
            ]
            result[index] = down.to(level) @ part @ across.to(level).T
    return result


@roi_align.register_fake
def _(level: Tensor, boxes: Tensor, scale: float, size: int) -> Tensor:
    return level.new_empty((boxes.shape[0], level.shape[1], size, size))


def _axis_weights(start: float, extent: float, size: int, length: int) -> tuple[int, Tensor] | None:
    """The first pixel with a weight, and the weights of each bin (size, pixels) from there on."""
    samples = math.ceil(extent / size)
    if samples <= 0:
        return None
    steps = torch.arange(size * samples, dtype=torch.float64) + 0.5
    at = start + steps * (extent / (size * samples))
    inside = (at >= -1) & (at <= length)
    at = at.clamp(0, length - 1)
    low = at.floor().long()
    high = (low + 1).clamp(max=length - 1)
    first = int(low.min())
    weights = torch.zeros(size, int(high.max()) - first + 1, dtype=torch.float64)
    bins = torch.arange(size).repeat_interleave(samples)
    share = inside / samples
    fraction = at - low
    weights.index_put_((bins, low - first), share * (1 - fraction), accumulate=True)
    weights.index_put_((bins, high - first), share * fraction, accumulate=True)
    return first, weights
