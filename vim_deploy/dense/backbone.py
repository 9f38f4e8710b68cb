"""Vision Mamba as a backbone that returns feature maps, with the reference's tensor names."""

from __future__ import annotations

import torch
from torch import Tensor

from vim_deploy.dense.config import BackboneConfig, FeatureType
from vim_deploy.model.norms import cast
from vim_deploy.model.vim import VisionMamba


class DenseBackbone(VisionMamba):
    """One feature map per out index, each (batch, embed, grid height, grid width).

    Source: arXiv 2401.09417 section 4.2 and 4.3; upstream keys without a prefix.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config.vim)
        self.backbone_config = config
        if not config.final_norm:
            del self.norm_f

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]  # maps, not logits
        """Preprocessed images (batch, channels, height, width) to the maps, in the order of out_indices."""
        config = self.backbone_config
        maps = []
        # Only requested maps are kept: a map of a large image has tens of megabytes.
        for index, (hidden, residual) in enumerate(self.trace(pixels)):
            if index in config.out_indices:
                # Mixers may compute in reduced precision; maps have the type of the pixels.
                maps.append(self.map_after(index, hidden, residual, pixels.dtype))
            if index == config.out_indices[-1]:
                break
        return tuple(maps)

    def map_after(self, index: int, hidden: Tensor, residual: Tensor, dtype: torch.dtype) -> Tensor:
        """The map of the out index `index`, from the values after that block."""
        last, config = self.config.depth - 1, self.backbone_config
        kind = config.last if index == last else config.intermediate
        tokens = self._feature(hidden, residual, kind, before_next=index < last)
        return self.feature_map(cast(tokens, dtype))

    def _feature(self, hidden: Tensor, residual: Tensor, kind: FeatureType, before_next: bool) -> Tensor:
        if kind is FeatureType.HIDDEN:
            return hidden
        if before_next and self.config.rope:
            # The reference adds in the next block, after its rotary embedding.
            hidden = self.rope(hidden)
            if self.config.rope_residual:
                residual = self.rope(residual)
        stream = residual + hidden
        normalized: Tensor = self.norm_f(stream) if kind is FeatureType.NORMALIZED else stream
        return normalized
