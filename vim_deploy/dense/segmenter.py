"""A Vision Mamba segmenter in eager PyTorch, for crops and for images by sliding windows."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vim_deploy.dense.neck import PyramidBackbone
from vim_deploy.dense.segmentation import SegmenterConfig
from vim_deploy.dense.upernet import FcnHead, UPerHead
from vim_deploy.dense.windows import placements


class Segmenter(nn.Module):
    """Logits per class at a quarter of the crop's resolution, see `forward`.

    Keys `backbone.`, `decode_head.`, `auxiliary_head.` as in a checkpoint of mmsegmentation 0.29.
    """

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        self.channels, self.image_size = config.backbone.vim.channels, config.image_size
        self.num_classes = config.num_classes
        self.backbone = PyramidBackbone(config)
        self.decode_head = UPerHead(config)
        if config.auxiliary_channels:
            self.auxiliary_head = FcnHead(config)

    def forward(self, pixels: Tensor) -> Tensor:
        """Crops (batch, channels, height, width) to logits (batch, classes, height / 4, width / 4).

        This is the size of the finest feature map: the grid of patches times 4 with a neck for patch size
        16, times 2 with one for patch size 8, and the grid itself without neck.
        """
        logits: Tensor = self.decode_head(self.backbone(pixels))
        return logits

    def forward_training(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the decode head and of the auxiliary head, each at its own resolution."""
        maps = self.backbone(pixels)
        return self.decode_head(maps), self.auxiliary_head(maps)

    def cast_weights(self, dtype: torch.dtype) -> None:
        """Convert the weights of the backbone's mixers, see VisionMamba.cast_weights."""
        self.backbone.cast_weights(dtype)

    def segment(self, pixels: Tensor, stride: tuple[int, int]) -> Tensor:
        """A normalized image (batch, channels, height, width) of any size to logits of that size.

        Sliding windows of the crop's size with this stride; overlapping logits are averaged. An image smaller
        than the crop is padded with zeros at the bottom and right.
        """
        crop = self.config.image_size
        height, width = pixels.shape[-2:]
        pixels = F.pad(pixels, (0, max(0, crop[1] - width), 0, max(0, crop[0] - height)))
        full = pixels.shape[-2:]
        total = pixels.new_zeros(pixels.shape[0], self.config.num_classes, *full)
        count = pixels.new_zeros(full)
        for y in placements(full[0], crop[0], stride[0]):
            for x in placements(full[1], crop[1], stride[1]):
                window = (slice(y, y + crop[0]), slice(x, x + crop[1]))
                logits = self(pixels[..., window[0], window[1]])
                total[..., window[0], window[1]] += F.interpolate(
                    logits, size=crop, mode="bilinear", align_corners=False
                )
                count[window] += 1
        return (total / count)[..., :height, :width]
