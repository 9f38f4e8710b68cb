"""What stands on the two backbones: the classifier, nothing (their map of features), or the same UPerNet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.deit import Deit, DeitConfig
from vim_deploy.dense.config import BackboneConfig
from vim_deploy.dense.neck import PyramidBackbone
from vim_deploy.dense.segmentation import LEVELS, SegmenterConfig, quarter_indices
from vim_deploy.dense.segmenter import Segmenter
from vim_deploy.dense.upernet import UPerHead
from vim_deploy.export.task import TaskModule
from vim_deploy.model.config import ClassToken, VimConfig
from vim_deploy.model.synthetic import fill_synthetic
from vim_deploy.model.vim import VisionMamba
from vim_deploy.tasks.classify.export import ClassifyModule
from vim_deploy.tasks.features.export import FeaturesModule
from vim_deploy.tasks.segment.export import SegmentModule


def vim_config(vim: VimConfig, head: str) -> dict[str, Any]:
    """What `vim-export` builds the network from, as plain JSON; image size and widths are those of `vim`."""
    if head == "classifier":
        return vim.to_dict()
    backbone = vim.replace(class_token=ClassToken.NONE, num_classes=0)
    return backbone.to_dict() if head == "map" else _segmenter(backbone).to_dict()


def vim_task(config: dict[str, Any], head: str) -> TaskModule:
    """The network of `vim_config` in evaluation mode, with the weights that vim-export generates."""
    model: Any
    if head == "upernet":
        model = Segmenter(SegmenterConfig.from_dict(config))
    else:
        model = VisionMamba(VimConfig.from_dict(config))
    fill_synthetic(model, seed=0)
    model.eval()
    if head == "upernet":
        return SegmentModule(model)
    return ClassifyModule(model) if head == "classifier" else FeaturesModule(model, "map")


def deit_model(config: DeitConfig, head: str, seed: int = 0) -> nn.Module:
    """In evaluation mode, random weights that are the same for the same seed."""
    kinds = {"classifier": Deit, "map": DeitMap, "upernet": DeitSegmenter}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kinds[head](config).eval()


class DeitMap(Deit):
    """Images (batch, 3, size, size) to the normalised patches' map (batch, embed, grid, grid)."""

    def forward(self, pixels: Tensor) -> Tensor:
        return self.as_map(self.norm(self.blocks(self.tokens(pixels))))


class DeitSegmenter(Deit):
    """Taps after every quarter of the blocks, and neck and head as on the Vision Mamba beside it."""

    def __init__(self, config: DeitConfig) -> None:
        super().__init__(config)
        size = (config.image_size, config.image_size)
        like = _segmenter(
            VimConfig(
                image_size=size,
                embed_dim=config.embed_dim,
                depth=LEVELS,
                class_token=ClassToken.NONE,
                num_classes=0,
            )
        )
        neck = PyramidBackbone(like)
        self.levels = nn.ModuleList((neck.fpn1, neck.fpn2, neck.fpn3, neck.fpn4))
        self.decode_head = UPerHead(like)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens, maps = self.tokens(pixels), []
        quarter = len(self.blocks) // LEVELS
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if (index + 1) % quarter == 0:
                maps.append(self.as_map(tokens))
        logits: Tensor = self.decode_head(
            tuple(level(found) for level, found in zip(self.levels, maps, strict=True))
        )
        return logits


def _segmenter(vim: VimConfig) -> SegmenterConfig:
    """As the reference's tiny segmenter has it, at any width and depth."""
    backbone = BackboneConfig(vim, quarter_indices(vim.depth))
    return SegmenterConfig(backbone, channels=vim.embed_dim, auxiliary_channels=0)
