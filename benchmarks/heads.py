"""The heads on both backbones: the classifier, none (the feature map), or UPerNet."""

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
from vim_deploy.tasks.features.options import FeatureExportOptions
from vim_deploy.tasks.segment.export import SegmentModule


def vim_config(vim: VimConfig, head: str) -> dict[str, Any]:
    """The configuration for `vim-export`, as plain JSON, with image size and widths of `vim`."""
    if head == "classifier":
        return vim.to_dict()
    backbone = vim.replace(class_token=ClassToken.NONE, num_classes=0)
    return backbone.to_dict() if head == "map" else _segmenter(backbone).to_dict()


def vim_task(config: dict[str, Any], head: str) -> TaskModule:
    """The network of `vim_config` in evaluation mode, with synthetic weights."""
    model: Any
    if head == "upernet":
        model = Segmenter(SegmenterConfig.from_dict(config))
    else:
        model = VisionMamba(VimConfig.from_dict(config))
    fill_synthetic(model, seed=0)
    model.eval()
    if head == "upernet":
        return SegmentModule(model)
    if head == "classifier":
        return ClassifyModule(model)
    return FeaturesModule(model, FeatureExportOptions("map"))


def deit_model(config: DeitConfig, head: str, seed: int = 0) -> nn.Module:
    """A model in evaluation mode, with random weights that depend on the seed."""
    kinds = {"classifier": Deit, "map": DeitMap, "upernet": DeitSegmenter}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kinds[head](config).eval()


class DeitMap(Deit):
    """Images (batch, 3, size, size) to the normalized feature map (batch, embed, grid, grid)."""

    def forward(self, pixels: Tensor) -> Tensor:
        return self.as_map(self.norm(self.blocks(self.tokens(pixels))))


class DeitSegmenter(Deit):
    """Feature maps after every quarter of the blocks, with the neck and head of the Vim segmenter."""

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
    """The configuration of the reference's tiny segmenter, at any width and depth."""
    backbone = BackboneConfig(vim, quarter_indices(vim.depth))
    return SegmenterConfig(backbone, channels=vim.embed_dim, auxiliary_channels=0)
