"""What a detector is made of, without PyTorch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from vim_deploy.dense.config import BackboneConfig, Tap
from vim_deploy.errors import ConfigError
from vim_deploy.model.config import ClassToken, VimConfig

LEVELS = (2, 3, 4, 5, 6)  # level k has one pixel per 2^k image pixels
POOLED_LEVELS = LEVELS[:-1]  # the coarsest one only proposes


@dataclass(frozen=True)
class DetectorConfig:
    """A Cascade Mask R-CNN on the simple feature pyramid.

    Images are padded to the square `backbone.vim.image_size`. `channels` is the width of the pyramid and of
    every convolution behind it. `anchor_sizes`: one per level, pixels; `aspect_ratios`: height over width.
    `candidates` boxes per level enter the suppression and `proposals` leave it. `stage_weights`: how much
    each stage's deltas are scaled, for the centre and for the size. `score_threshold`, `overlap` and
    `detections` say which boxes are reported. Source: arXiv 2401.09417 section 4.3, 2203.16527, 1712.00726.
    """

    backbone: BackboneConfig
    num_classes: int = 80
    channels: int = 256
    anchor_sizes: tuple[float, ...] = (32, 64, 128, 256, 512)
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    candidates: int = 1000
    proposals: int = 1000
    proposal_overlap: float = 0.7
    proposal_convs: int = 2
    box_convs: int = 4
    box_hidden: int = 1024
    stage_weights: tuple[tuple[float, float], ...] = ((10, 5), (20, 10), (30, 15))
    mask_convs: int = 4
    score_threshold: float = 0.05
    overlap: float = 0.5
    detections: int = 100

    def __post_init__(self) -> None:
        for name in ("anchor_sizes", "aspect_ratios"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        weights = tuple((float(centre), float(size)) for centre, size in self.stage_weights)
        object.__setattr__(self, "stage_weights", weights)
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more.")
        object.__setattr__(self, "score_threshold", float(self.score_threshold))
        for name in ("score_threshold", "proposal_overlap", "overlap"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 0 or more and less than 1.")
        if len(self.anchor_sizes) != len(LEVELS) or not self.aspect_ratios or not self.stage_weights:
            raise ConfigError(
                f"{len(self.anchor_sizes)} anchor sizes, {len(self.aspect_ratios)} aspect ratios, "
                f"{len(self.stage_weights)} stages; expected {len(LEVELS)} sizes, one or more of the rest."
            )
        if min(*self.anchor_sizes, *self.aspect_ratios, *(w for pair in weights for w in pair)) <= 0:
            raise ConfigError("an anchor size, aspect ratio or stage weight is not positive; correct it.")
        self._check_backbone()

    def _check_backbone(self) -> None:
        vim, taps = self.backbone.vim, self.backbone.taps
        if len(taps) != 1 or vim.stride != 16 or min(vim.image_size) < 64 or vim.embed_dim % 4:
            raise ConfigError(
                f"a detector on {len(taps)} maps of stride {vim.stride}, image {vim.image_size}, embed_dim "
                f"{vim.embed_dim}; expected one map of stride 16, 64 pixels or more, a multiple of 4."
            )

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the padded image."""
        return self.backbone.vim.image_size

    def replace(self, **changes: Any) -> DetectorConfig:
        return dataclasses.replace(self, **changes)

    def with_vim(self, **changes: Any) -> DetectorConfig:
        """With changed VimConfig fields of the backbone."""
        vim = self.backbone.vim.replace(**changes)
        return self.replace(backbone=dataclasses.replace(self.backbone, vim=vim))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: `backbone` and `head`; `from_dict` reads them back."""
        values = dataclasses.asdict(self)
        del values["backbone"]
        values["stage_weights"] = [list(pair) for pair in self.stage_weights]
        head = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        return {"backbone": self.backbone.to_dict(), "head": head}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DetectorConfig:
        """Raises ConfigError for fields that are missing, unknown or of the wrong type."""
        if set(values) != {"backbone", "head"}:
            raise ConfigError(f"a detector has the fields {sorted(values)}; expected backbone and head.")
        known = {spec.name for spec in dataclasses.fields(cls)} - {"backbone"}
        if unknown := sorted(set(values["head"]) - known):
            raise ConfigError(f"unknown detector fields {unknown}; known are {sorted(known)}.")
        try:
            return cls(backbone=BackboneConfig.from_dict(values["backbone"]), **values["head"])
        except (TypeError, ValueError, KeyError) as error:
            raise ConfigError(f"a detector's field has a value of the wrong type: {error}.") from None


_COUNTS = (
    "num_classes", "channels", "candidates", "proposals", "proposal_convs", "box_convs", "box_hidden",
    "mask_convs", "detections",
)  # fmt: skip


def _preset(embed_dim: int) -> DetectorConfig:
    vim = VimConfig(
        image_size=(1024, 1024),
        num_classes=0,
        embed_dim=embed_dim,
        class_token=ClassToken.NONE,
        rope=True,
        rope_residual=True,
    )
    taps = (vim.depth - 1,)
    return DetectorConfig(BackboneConfig(vim, taps, last=Tap.STREAM, final_norm=False))


DETECTORS: dict[str, DetectorConfig] = {
    "cascade_vim_tiny": _preset(192),
    "cascade_vim_small": _preset(384),
    "cascade_vim_base": _preset(768),
}


def detector_preset(name: str, **overrides: Any) -> DetectorConfig:
    """The configuration of a named detector with changed fields. Raises ConfigError for an unknown name."""
    if name not in DETECTORS:
        raise ConfigError(f"unknown detector {name!r}; expected one of {', '.join(DETECTORS)}.")
    return DETECTORS[name].replace(**overrides)


def detector_name(config: DetectorConfig) -> str:
    """The short name of a published architecture, whatever the image size and class count, or 'custom'."""
    for name, candidate in DETECTORS.items():
        same = candidate.replace(num_classes=config.num_classes).with_vim(image_size=config.image_size)
        if same == config:
            return name
    return "custom"
