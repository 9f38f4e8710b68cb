"""The segmenter's backbone with its neck: four feature maps of decreasing resolution."""

from __future__ import annotations

from torch import Tensor, nn

from vim_deploy.dense.backbone import DenseBackbone
from vim_deploy.dense.layers import upsample
from vim_deploy.dense.segmentation import LEVELS, SegmenterConfig


class PyramidBackbone(DenseBackbone):
    """Four maps (batch, embed, height, width), finest first; with the neck, their strides are 4, 8, 16, 32.

    A single out index is used for all four levels. Without neck, all maps have the grid of patches. The
    neck's keys (`fpn1`, `fpn2`) are siblings of the backbone's.
    """

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__(config.backbone)
        self.neck = config.neck
        if config.neck:
            steps = _from_patch_16 if config.backbone.vim.patch_size == 16 else _from_patch_8
            self.fpn1, self.fpn2, self.fpn3, self.fpn4 = steps(config.backbone.vim.embed_dim)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]  # maps, not logits
        """Preprocessed images (batch, channels, height, width) to the four maps."""
        maps = super().forward(pixels)
        if len(maps) == 1:
            maps = maps * LEVELS
        if not self.neck:
            return maps
        levels = (self.fpn1, self.fpn2, self.fpn3, self.fpn4)
        return tuple(level(found) for level, found in zip(levels, maps, strict=True))


def _from_patch_16(width: int) -> tuple[nn.Module, ...]:
    return (
        nn.Sequential(upsample(width, width), nn.BatchNorm2d(width), nn.GELU(), upsample(width, width)),
        nn.Sequential(upsample(width, width)),
        nn.Identity(),
        nn.MaxPool2d(2),
    )


def _from_patch_8(width: int) -> tuple[nn.Module, ...]:
    return nn.Sequential(upsample(width, width)), nn.Identity(), nn.MaxPool2d(2), nn.MaxPool2d(4)
