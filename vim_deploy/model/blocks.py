"""Patch embedding and residual block."""

from __future__ import annotations

from torch import Tensor, nn

from vim_deploy.model.config import VimConfig
from vim_deploy.model.mixer import Mixer
from vim_deploy.model.norms import cast, make_norm, upcast


class PatchEmbedding(nn.Module):
    """Pixels (batch, channels, height, width) to (batch, patches, embed), in row-major order.

    Patches overlap if the stride is smaller than the patch size.
    """

    def __init__(self, config: VimConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(config.channels, config.embed_dim, config.patch_size, config.stride)

    def forward(self, pixels: Tensor) -> Tensor:
        patches: Tensor = self.proj(pixels)
        return patches.flatten(2).transpose(1, 2)


class Block(nn.Module):
    """Adds the previous block's output to the residual stream, then applies the mixer to the normalized sum.

    After the block, the residual stream is residual + hidden. It stays in float32 or wider.
    """

    def __init__(self, config: VimConfig) -> None:
        super().__init__()
        self.mixer = Mixer(config)
        self.norm = make_norm(config)

    def forward(
        self, hidden: Tensor, residual: Tensor | None = None, reverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        """(hidden, residual), each (batch, length, embed), to the same; the first block has no residual.

        `reverse` scans from the last token to the first; the order of the tokens does not change.
        """
        residual = upcast(hidden) if residual is None else residual + hidden
        return self.mixer(cast(self.norm(residual), self.mixer.dtype), reverse), residual
