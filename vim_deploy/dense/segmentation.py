"""What a segmenter is made of, without PyTorch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from vim_deploy.dense.config import BackboneConfig, Tap
from vim_deploy.errors import ConfigError
from vim_deploy.model.config import ClassToken, VimConfig

LEVELS = 4  # maps that the decode head takes
AUXILIARY_LEVEL = 2  # upstream `in_index` of the auxiliary head
NECK_PATCHES = (8, 16)  # patch sizes that the reference's neck is made for


@dataclass(frozen=True)
class SegmenterConfig:
    """UPerNet on a Vision Mamba: backbone with neck, decode head, and an auxiliary head for training.

    `channels` is the decode head's width, `auxiliary_channels` the auxiliary head's (0: there is none).
    `neck` (upstream `if_fpn`) brings the maps to four scales; without it all have the backbone's. Defaults
    are the reference's. Source: arXiv 2401.09417 section 4.2.
    """

    backbone: BackboneConfig
    num_classes: int = 150
    channels: int = 192
    auxiliary_channels: int = 256
    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    neck: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "pool_scales", tuple(self.pool_scales))
        for name, least in (("num_classes", 1), ("channels", 1), ("auxiliary_channels", 0)):
            if (value := getattr(self, name)) < least:
                raise ConfigError(f"{name} is {value}; expected {least} or more.")
        if not self.pool_scales or min(self.pool_scales) < 1:
            raise ConfigError(f"pool_scales are {self.pool_scales}; expected numbers of 1 or more.")
        if len(self.backbone.taps) not in (1, LEVELS):
            raise ConfigError(f"taps are {self.backbone.taps}; expected {LEVELS} of them, or one for all.")
        if self.neck and self.backbone.vim.patch_size not in NECK_PATCHES:
            raise ConfigError(
                f"patch_size is {self.backbone.vim.patch_size}; the neck is made for {NECK_PATCHES}. "
                "Use one of these, or a model without neck."
            )
        if self.neck and min(self.backbone.vim.grid) < self.coarsest:
            raise ConfigError(
                f"a grid of {self.backbone.vim.grid} patches is too small for the neck, which halves it; "
                f"expected {self.coarsest} or more on each side. Give a larger image size."
            )

    @property
    def coarsest(self) -> int:
        """By what the neck divides the grid for its smallest map."""
        return 4 if self.backbone.vim.patch_size == NECK_PATCHES[0] else 2

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the crops that the segmenter takes."""
        return self.backbone.vim.image_size

    def replace(self, **changes: Any) -> SegmenterConfig:
        return dataclasses.replace(self, **changes)

    def with_vim(self, **changes: Any) -> SegmenterConfig:
        """With changed VimConfig fields of the backbone."""
        vim = self.backbone.vim.replace(**changes)
        return self.replace(backbone=dataclasses.replace(self.backbone, vim=vim))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, `from_dict` reads them back: `backbone`, and all the rest under `head`."""
        head = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "backbone"
        }
        return {
            "backbone": self.backbone.to_dict(),
            "head": {**head, "pool_scales": list(self.pool_scales)},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SegmenterConfig:
        head = values.get("head", {})
        if unknown := sorted(set(values) - {"backbone", "head"}) + sorted(set(head) - _HEAD_FIELDS):
            raise ConfigError(f"unknown segmenter fields {unknown}; known are {sorted(_HEAD_FIELDS)}.")
        if "backbone" not in values:
            raise ConfigError(
                "a segmenter's configuration without `backbone`; expected `backbone` and `head`."
            )
        return cls(backbone=BackboneConfig.from_dict(values["backbone"]), **head)

    @classmethod
    def from_reference(cls, values: dict[str, Any]) -> SegmenterConfig:
        """Translate `backbone`, `decode_head` and `auxiliary_head` of a model's mmsegmentation configuration.

        Raises ConfigError for other heads than the reference's.
        """
        decode, auxiliary = values.get("decode_head", {}), values.get("auxiliary_head") or {}
        kinds = (decode.get("type", "UPerHead"), auxiliary.get("type", "FCNHead"))
        convolutions = (auxiliary.get("num_convs", 1), auxiliary.get("concat_input", False))
        if kinds != ("UPerHead", "FCNHead") or (auxiliary and convolutions != (1, False)):
            raise ConfigError(
                f"heads {kinds}, auxiliary num_convs and concat_input {convolutions}; expected UPerHead, and "
                "FCNHead with one convolution and without concatenation."
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


_HEAD_FIELDS = {field.name for field in dataclasses.fields(SegmenterConfig)} - {"backbone"}


def quarter_taps(depth: int) -> tuple[int, ...]:
    """Behind every quarter of the blocks, as the reference has it for 24; of fewer than four, the last."""
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
    taps = BackboneConfig(vim=vim, taps=quarter_taps(vim.depth), **backbone)
    return SegmenterConfig(backbone=taps, channels=embed_dim)


SEGMENTER_PRESETS: dict[str, SegmenterConfig] = {
    "upernet_vim_tiny": _preset(192),
    "upernet_vim_small": _preset(384, inner=Tap.STREAM, last=Tap.STREAM),
}


def segmenter_preset(name: str) -> SegmenterConfig:
    """The configuration of a named segmenter. Raises ConfigError for an unknown name."""
    if name not in SEGMENTER_PRESETS:
        raise ConfigError(f"unknown segmenter {name!r}; expected one of {', '.join(SEGMENTER_PRESETS)}.")
    return SEGMENTER_PRESETS[name]


def segmenter_name(config: SegmenterConfig) -> str:
    """The short name of a segmenter, whatever the crop's size and class count, or 'custom'."""
    for name, candidate in SEGMENTER_PRESETS.items():
        same = candidate.with_vim(image_size=config.image_size, halve=config.backbone.vim.halve).replace(
            num_classes=config.num_classes
        )
        if same == config.replace(auxiliary_channels=same.auxiliary_channels):
            return name
    return "custom"
