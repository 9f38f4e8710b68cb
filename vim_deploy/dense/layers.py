"""Layers shared by the parts of segmenters and detectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_EPS = 1e-6


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel: (batch, channels, height, width) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        centered = x - x.mean(1, keepdim=True)
        scaled = centered / torch.sqrt(centered.pow(2).mean(1, keepdim=True) + _EPS)
        return scaled * self.weight[:, None, None] + self.bias[:, None, None]


def upsample(inputs: int, outputs: int) -> nn.Module:
    """A transposed convolution to twice the height and width."""
    return nn.ConvTranspose2d(inputs, outputs, 2, stride=2)


class NormConv(nn.Conv2d):
    """A same-size convolution without bias, followed by a norm; keys `weight` and `norm.*`."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = ChannelNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        normalized: Tensor = self.norm(super().forward(x))
        return normalized
