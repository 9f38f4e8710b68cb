"""Rotary position embedding of square token grids, used by older models.

Source: arXiv 2104.09864, extended to two axes: the first half of the embedding depends on the row, the second
half on the column.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vim_deploy.errors import ConfigError

PRETRAINING_GRID = 14  # tokens per side, to which positions are scaled


class RotaryEmbedding(nn.Module):
    """Rotates each pair of consecutive channels by an angle that depends on the token's row or column.

    The tables are part of the state dict: (side * side, embed).
    """

    freqs_cos: Tensor
    freqs_sin: Tensor

    def __init__(self, embed_dim: int, side: int) -> None:
        super().__init__()
        if embed_dim % 4:
            raise ConfigError(f"embed_dim is {embed_dim}; rotary embedding needs a multiple of 4.")
        angles = _angles(embed_dim, side)
        self.register_buffer("freqs_cos", angles.cos())
        self.register_buffer("freqs_sin", angles.sin())

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length, embed) to the same shape.

        The first of an odd number of tokens is not rotated: it is the class token, as the grid is even.
        """
        if tokens.shape[1] % 2 == 0:
            return self._rotate(tokens)
        return torch.cat([tokens[:, :1], self._rotate(tokens[:, 1:])], dim=1)

    def _rotate(self, x: Tensor) -> Tensor:
        first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
        rotated = torch.stack([-second, first], dim=-1).flatten(-2)
        return x * self.freqs_cos + rotated * self.freqs_sin


def _angles(embed_dim: int, side: int) -> Tensor:
    half = embed_dim // 2
    frequencies = 10000.0 ** (-torch.arange(0, half, 2) / half)
    positions = torch.arange(side) / side * PRETRAINING_GRID
    axis = torch.outer(positions, frequencies).repeat_interleave(2, dim=-1)
    rows = axis[:, None].expand(side, side, half)
    columns = axis[None].expand(side, side, half)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)
