"""DeiT in plain PyTorch with random weights, for benchmarks: the transformer that Vim is compared with.

Source: arXiv 2012.12877 (without distillation) and arXiv 2010.11929 section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

_DEVIATION = 0.02
_EPSILON = 1e-6


@dataclass(frozen=True)
class DeitConfig:
    """Sizes; `image_size` is height and width in pixels."""

    image_size: int = 224
    embed_dim: int = 192
    heads: int = 3
    depth: int = 12
    patch_size: int = 16
    num_classes: int = 1000
    mlp_ratio: int = 4


class Attention(nn.Module):
    """(batch, length, embed) to the same shape."""

    def __init__(self, config: DeitConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, length, embed = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, length, 3, self.heads, embed // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(batch, length, embed))


class Block(nn.Module):
    """(batch, length, embed) to the same shape."""

    def __init__(self, config: DeitConfig) -> None:
        super().__init__()
        embed, hidden = config.embed_dim, config.mlp_ratio * config.embed_dim
        self.norm1 = nn.LayerNorm(embed, eps=_EPSILON)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(embed, eps=_EPSILON)
        self.mlp = nn.Sequential(nn.Linear(embed, hidden), nn.GELU(), nn.Linear(hidden, embed))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        mixed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return mixed


class Deit(nn.Module):
    """Images (batch, 3, size, size) to logits (batch, classes)."""

    def __init__(self, config: DeitConfig) -> None:
        super().__init__()
        embed, patch = config.embed_dim, config.patch_size
        self.patch_embed = nn.Conv2d(3, embed, patch, patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, embed) * _DEVIATION)
        self.grid = config.image_size // patch
        length = 1 + self.grid**2
        self.pos_embed = nn.Parameter(torch.randn(1, length, embed) * _DEVIATION)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(embed, eps=_EPSILON)
        self.head = nn.Linear(embed, config.num_classes)

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.blocks(self.tokens(pixels)))[:, 0])
        return logits

    def tokens(self, pixels: Tensor) -> Tensor:
        """The input of the first block: the class token, then the patches."""
        patches = self.patch_embed(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(pixels.shape[0], -1, -1), patches], dim=1)
        return tokens + self.pos_embed

    def as_map(self, tokens: Tensor) -> Tensor:
        """The patch tokens as a feature map (batch, embed, grid, grid)."""
        return tokens[:, 1:].transpose(1, 2).unflatten(2, (self.grid, self.grid))
