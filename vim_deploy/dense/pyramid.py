"""The simple feature pyramid: five feature maps from the backbone's last one.

Source: arXiv 2203.16527 section 3; upstream keys with the prefix `backbone.`.
"""

from __future__ import annotations

from torch import Tensor, nn

from vim_deploy.dense.backbone import DenseBackbone
from vim_deploy.dense.detector_config import DetectorConfig
from vim_deploy.dense.layers import ChannelNorm, NormConv, upsample


class Pyramid(nn.Module):
    """The backbone `net` with stride 16, and levels 2 to 6 with the same number of channels."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        width, channels = config.backbone.vim.embed_dim, config.channels
        half, quarter = width // 2, width // 4
        self.simfp_2 = nn.Sequential(
            upsample(width, half),
            ChannelNorm(half),
            nn.GELU(),
            upsample(half, quarter),
            *_out(quarter, channels),
        )
        self.simfp_3 = nn.Sequential(upsample(width, half), *_out(half, channels))
        self.simfp_4 = nn.Sequential(*_out(width, channels))
        self.simfp_5 = nn.Sequential(nn.MaxPool2d(2), *_out(width, channels))
        self.net = DenseBackbone(config.backbone)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Images (batch, channels, height, width) to the levels, finest first."""
        (found,) = self.net(pixels)
        return self.levels(found)

    def levels(self, found: Tensor) -> tuple[Tensor, ...]:
        """The backbone's map (batch, embed, height / 16, width / 16) to the levels, finest first."""
        made = [part(found) for part in (self.simfp_2, self.simfp_3, self.simfp_4, self.simfp_5)]
        return (*made, made[-1][:, :, ::2, ::2])


def _out(inputs: int, channels: int) -> tuple[nn.Module, nn.Module]:
    return NormConv(inputs, channels, 1), NormConv(channels, channels, 3)
