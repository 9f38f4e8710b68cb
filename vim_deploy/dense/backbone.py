"""Vision Mamba as a backbone: feature maps instead of class scores, with the reference's tensor names."""

from __future__ import annotations

from torch import Tensor

from vim_deploy.dense.config import BackboneConfig, Tap
from vim_deploy.model.norms import cast
from vim_deploy.model.vim import VisionMamba


class DenseBackbone(VisionMamba):
    """One map per tap, each (batch, embed, grid height, grid width), coarsely one pixel per patch.

    Source: arXiv 2401.09417 section 4.2 and 4.3; upstream keys without a prefix.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config.vim)
        self.backbone_config = config
        if not config.final_norm:
            del self.norm_f

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]  # maps, not logits
        """Preprocessed images (batch, channels, height, width) to the maps, in the order of the taps."""
        config = self.backbone_config
        last = self.config.depth - 1
        maps = []
        # Only what is tapped must be kept: a map of a large image is tens of megabytes.
        for index, (hidden, residual) in enumerate(self.trace(pixels)):
            if index in config.taps:
                kind = config.last if index == last else config.inner
                tokens = self._tapped(hidden, residual, kind, before_next=index < last)
                # Mixers may compute in a narrower type; maps are of the pixels'.
                maps.append(self.feature_map(cast(tokens, pixels.dtype)))
            if index == config.taps[-1]:
                break
        return tuple(maps)

    def _tapped(self, hidden: Tensor, residual: Tensor, kind: Tap, before_next: bool) -> Tensor:
        if kind is Tap.HIDDEN:
            return hidden
        if before_next and self.config.rope:
            # The reference adds at the entry of the next block, after that block's rotary step.
            hidden = self.rope(hidden)
            if self.config.rope_residual:
                residual = self.rope(residual)
        stream = residual + hidden
        normalised: Tensor = self.norm_f(stream) if kind is Tap.NORMALISED else stream
        return normalised
