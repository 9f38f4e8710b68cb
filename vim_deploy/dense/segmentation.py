"""Configuration of segmenters. Imports no framework."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from vim_deploy.dense.config import BackboneConfig, DenseConfig, FeatureType
from vim_deploy.errors import ConfigError
from vim_deploy.model.config import ClassToken, VimConfig, preset_name
from vim_deploy.model.fields import LARGEST, MAX_CLASSES, check_fields

LEVELS = 4  # feature maps of the decode head
AUXILIARY_LEVEL = 2  # upstream `in_index` of the auxiliary head
NECK_PATCHES = (8, 16)  # patch sizes that the reference's neck supports


@dataclass(frozen=True)
class SegmenterConfig(DenseConfig):
    """UPerNet on a Vision Mamba: backbone with neck, decode head, and an auxiliary head for training.

    `channels`: width of the decode head; `auxiliary_channels`: width of the auxiliary head, 0 for none.
    `neck` (upstream `if_fpn`) resizes the feature maps to four scales; without it all have the backbone's.
    The defaults are the reference's. Source: arXiv 2401.09417 section 4.2.
    """

    kind: ClassVar[str] = "segmenter"

    num_classes: int = 150
    channels: int = 192
    auxiliary_channels: int = 256
    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    neck: bool = True

    def __post_init__(self) -> None:
        check_fields(self, {"num_classes": (1, MAX_CLASSES), "auxiliary_channels": (0, LARGEST)})
        object.__setattr__(self, "pool_scales", tuple(self.pool_scales))
        if not 1 <= len(self.pool_scales) <= 16 or not all(
            type(scale) is int and 1 <= scale <= LARGEST for scale in self.pool_scales
        ):
            raise ConfigError(
                f"pool_scales are {self.pool_scales!r:.100}; expected 1 to 16 numbers from 1 to {LARGEST}."
            )
        if len(self.backbone.out_indices) not in (1, LEVELS):
            raise ConfigError(
                f"out_indices are {self.backbone.out_indices}; expected {LEVELS} indices, or 1 for all "
                "levels."
            )
        if self.neck and self.backbone.vim.patch_size not in NECK_PATCHES:
            raise ConfigError(
                f"patch_size is {self.backbone.vim.patch_size}; the neck supports {NECK_PATCHES}. Use one of "
                "these, or neck=False."
            )
        if self.neck and min(self.backbone.vim.grid) < self.coarsest:
            raise ConfigError(
                f"a grid of {self.backbone.vim.grid} patches is too small for the neck; expected at least "
                f"{self.coarsest} on each side. Give a larger image size."
            )

    @property
    def coarsest(self) -> int:
        """The factor by which the neck downsamples the grid for its smallest map."""
        return 4 if self.backbone.vim.patch_size == NECK_PATCHES[0] else 2

    @classmethod
    def from_reference(cls, values: dict[str, Any]) -> SegmenterConfig:
        """Convert `backbone`, `decode_head` and `auxiliary_head` of an mmsegmentation model configuration.

        Raises ConfigError for heads other than the reference's.
        """
        decode, auxiliary = values.get("decode_head", {}), values.get("auxiliary_head") or {}
        kinds = (decode.get("type", "UPerHead"), auxiliary.get("type", "FCNHead"))
        convolutions = (auxiliary.get("num_convs", 1), auxiliary.get("concat_input", False))
        if kinds != ("UPerHead", "FCNHead") or (auxiliary and convolutions != (1, False)):
            raise ConfigError(
                f"heads {kinds}, auxiliary num_convs and concat_input {convolutions}; expected UPerHead, and "
                "FCNHead with num_convs=1 and concat_input=False."
            )
        backbone = {key: value for key, value in values["backbone"].items() if key != "type"}
        return cls(
            backbone=BackboneConfig.from_reference(backbone),
            num_classes=decode["num_classes"],
            channels=decode["channels"],
            auxiliary_channels=auxiliary["channels"] if auxiliary else 0,
            pool_scales=decode.get("pool_scales", (1, 2, 3, 6)),
            neck=bool(backbone.get("if_fpn", True)),
        )


def quarter_indices(depth: int) -> tuple[int, ...]:
    """The last block of each quarter, as in the reference for 24 blocks; of fewer than 4 blocks, the last."""
    if depth < LEVELS:
        return (depth - 1,)
    return tuple(depth * (level + 1) // LEVELS - 1 for level in range(LEVELS))


def _preset(embed_dim: int, **backbone: Any) -> SegmenterConfig:
    vim = VimConfig(
        image_size=(512, 512),
        embed_dim=embed_dim,
        class_token=ClassToken.NONE,
        num_classes=0,
        rope=bool(backbone),
        rope_residual=bool(backbone),
    )
    features = BackboneConfig(vim=vim, out_indices=quarter_indices(vim.depth), **backbone)
    return SegmenterConfig(backbone=features, channels=embed_dim)


SEGMENTER_PRESETS: dict[str, SegmenterConfig] = {
    "upernet_vim_tiny": _preset(192),
    "upernet_vim_small": _preset(384, intermediate=FeatureType.STREAM, last=FeatureType.STREAM),
}


def segmenter_name(config: SegmenterConfig) -> str:
    """The preset that differs at most in crop, classes, directions' sum and auxiliary head, else 'custom'."""
    config = config.replace(auxiliary_channels=SegmenterConfig.auxiliary_channels)
    return preset_name(config, SEGMENTER_PRESETS, config.backbone.vim.average_directions)
