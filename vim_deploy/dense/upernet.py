"""Heads that predict classes per pixel from four feature maps, with mmsegmentation 0.29's tensor names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vim_deploy.dense.segmentation import AUXILIARY_LEVEL, LEVELS, SegmenterConfig


class NormalizedConvolution(nn.Module):
    """A same-size convolution without bias, batch norm, and ReLU; keys `conv` and `bn`."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(maps)))


class AveragePool(nn.Module):
    """Average pooling to `cells` x `cells`, like `nn.AdaptiveAvgPool2d`.

    Written as two matmuls, because ONNX has no operator for cells of different sizes.
    """

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, maps: Tensor) -> Tensor:
        rows, columns = (_as(_averaging(size, self.cells), maps) for size in maps.shape[-2:])
        return rows @ maps @ columns.T


def _averaging(size: int, cells: int) -> Tensor:
    """(cells, size): row i averages cell i of adaptive pooling."""
    matrix = [[0.0] * size for _ in range(cells)]
    for cell, weights in enumerate(matrix):
        first, end = cell * size // cells, -(-(cell + 1) * size // cells)
        weights[first:end] = [1 / (end - first)] * (end - first)
    return torch.tensor(matrix, dtype=torch.float64)


class UPerHead(nn.Module):
    """UPerNet (arXiv 1807.10221): pyramid pooling of the coarsest map, then a feature pyramid.

    Keys `conv_seg`, `psp_modules`, `bottleneck`, `lateral_convs`, `fpn_convs`, `fpn_bottleneck`.
    """

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        inputs, width, scales = config.backbone.vim.embed_dim, config.channels, config.pool_scales
        self.conv_seg = nn.Conv2d(width, config.num_classes, 1)
        self.psp_modules = nn.ModuleList(
            nn.Sequential(AveragePool(scale), NormalizedConvolution(inputs, width, 1)) for scale in scales
        )
        self.bottleneck = NormalizedConvolution(inputs + len(scales) * width, width, 3)
        self.lateral_convs = nn.ModuleList(NormalizedConvolution(inputs, width, 1) for _ in range(LEVELS - 1))
        self.fpn_convs = nn.ModuleList(NormalizedConvolution(width, width, 3) for _ in range(LEVELS - 1))
        self.fpn_bottleneck = NormalizedConvolution(LEVELS * width, width, 3)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Four maps, finest first, to logits (batch, classes, height, width) at the size of the finest."""
        levels = [
            convolution(found) for convolution, found in zip(self.lateral_convs, maps[:-1], strict=True)
        ]
        levels.append(self._context(maps[-1]))
        for index in range(LEVELS - 1, 0, -1):
            levels[index - 1] = levels[index - 1] + resized(levels[index], like=levels[index - 1])
        merged = [convolution(level) for convolution, level in zip(self.fpn_convs, levels[:-1], strict=True)]
        merged.append(levels[-1])
        features = self.fpn_bottleneck(torch.cat([resized(level, like=merged[0]) for level in merged], dim=1))
        scores: Tensor = self.conv_seg(features)
        return scores

    def _context(self, coarsest: Tensor) -> Tensor:
        pooled = [resized(module(coarsest), like=coarsest) for module in self.psp_modules]
        context: Tensor = self.bottleneck(torch.cat([coarsest, *pooled], dim=1))
        return context


class FcnHead(nn.Module):
    """The auxiliary head for training: one convolution on the third map; keys `convs` and `conv_seg`."""

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        width = config.auxiliary_channels
        self.conv_seg = nn.Conv2d(width, config.num_classes, 1)
        self.convs = nn.Sequential(NormalizedConvolution(config.backbone.vim.embed_dim, width, 3))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (batch, classes, height, width) at the size of the third map."""
        scores: Tensor = self.conv_seg(self.convs(maps[AUXILIARY_LEVEL]))
        return scores


def resized(maps: Tensor, like: Tensor) -> Tensor:
    """`maps` resized bilinearly, with half-pixel centers, to the size of `like`.

    By an integer factor or two matmuls, so that exported graphs need no computed sizes.
    """
    old, new = maps.shape[-2:], like.shape[-2:]
    if old == new:
        return maps
    factor = new[0] // old[0]
    if new == (factor * old[0], factor * old[1]):
        return F.interpolate(maps, scale_factor=float(factor), mode="bilinear", align_corners=False)
    rows, columns = (_as(_interpolation(*sides), maps) for sides in zip(old, new, strict=True))
    return rows @ maps @ columns.T


def _interpolation(old: int, new: int) -> Tensor:
    """(new, old): row i has the weights of the old pixels for the new pixel i."""
    return F.interpolate(
        torch.eye(old, dtype=torch.float64)[None], size=new, mode="linear", align_corners=False
    )[0].T


def _as(matrix: Tensor, maps: Tensor) -> Tensor:
    return matrix.to(maps.device, maps.dtype)
