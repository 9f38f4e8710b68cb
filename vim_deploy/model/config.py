"""Configuration of a Vision Mamba: sizes, options, named models. Imports no framework."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from vim_deploy.errors import ConfigError
from vim_deploy.model.fields import (
    MAX_CLASSES,
    check_fields,
    check_names,
    field_names,
    pair_of_sides,
    plain_fields,
)

if TYPE_CHECKING:
    from typing import Self


class ModelConfig(Protocol):
    """What checkpoint loading and export need of the configuration of any model."""

    @property
    def image_size(self) -> tuple[int, int]: ...

    @property
    def num_classes(self) -> int: ...

    def adjusted(self, **changes: Any) -> Self:
        """A copy with other values of `image_size`, `num_classes` and `average_directions`.

        None leaves one unchanged. Options that a model lacks are ignored.
        """

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""


class ClassToken(str, Enum):
    """Position of the class token in the sequence."""

    NONE = "none"
    FRONT = "front"
    MIDDLE = "middle"
    DOUBLE = "double"

    @property
    def rows(self) -> int:
        """Number of class tokens."""
        return {"none": 0, "double": 2}.get(self.value, 1)


class Pooling(str, Enum):
    """How tokens are pooled when there is no class token."""

    MEAN = "mean"
    LAST = "last"
    ALL = "all"
    MAX = "max"


class Directions(str, Enum):
    """Scan directions of one mixer (upstream `bimamba_type`)."""

    FORWARD = "forward"  # upstream "none"
    SHARED = "shared"  # upstream "v1": only A differs between the scans
    SEPARATE = "separate"  # upstream "v2": only the input and output projections are shared


_REFERENCE_POOLING = {
    "mean": Pooling.MEAN,
    "none": Pooling.LAST,
    "all": Pooling.ALL,
    "max": Pooling.MAX,
}
_REFERENCE_DIRECTIONS = {
    "none": Directions.FORWARD,
    "v1": Directions.SHARED,
    "v2": Directions.SEPARATE,
}

# Reference options without effect on evaluation, or only on the type of the residual stream, which is always
# float32 here.
_INERT_REFERENCE_FLAGS = {
    "residual_in_fp32",
    "fused_add_norm",
    "drop_rate",
    "drop_path_rate",
    "initializer_cfg",
    "device",
    "dtype",
    "pretrained",
    "if_bimamba",
    "if_devide_out",
    "pt_hw_seq_len",
}
# Reference options for training experiments, with the values that disable them.
_TRAINING_REFERENCE_FLAGS: dict[str, tuple[Any, ...]] = {
    "flip_img_sequences_ratio": (-1, -1.0, 0, 0.0, None),
    "use_random_cls_token": (False, None),
    "if_random_token_rank": (False, None),
    "if_random_cls_token_position": (False, None),
    "ft_seq_len": (None,),
    "ssm_cfg": (None, {}),
}


# Far above those of published models; an untrusted file cannot request more memory or time.
_RANGES = {
    "patch_size": (1, 1024), "stride": (1, 1024), "channels": (1, 1024), "num_classes": (0, MAX_CLASSES),
    "depth": (1, 256), "state": (1, 1024), "conv_width": (1, 1024), "expand": (1, 64), "norm_eps": (0, 1),
}  # fmt: skip


@dataclass(frozen=True)
class VimConfig:
    """Structure of a Vision Mamba, which determines the shapes of its weights.

    Sizes are in pixels or channels. Source: arXiv 2401.09417 section 3 and the
    constructor options of the reference implementation.
    """

    image_size: tuple[int, int] = (224, 224)  # height, width
    patch_size: int = 16
    stride: int = 16
    channels: int = 3
    num_classes: int = 1000  # 0: no head, features are the output
    embed_dim: int = 192
    depth: int = 24
    state: int = 16
    conv_width: int = 4
    expand: int = 2
    class_token: ClassToken = ClassToken.MIDDLE
    pooling: Pooling = Pooling.MEAN
    directions: Directions = Directions.SEPARATE
    average_directions: bool = True  # the mean of both directions, not their sum (upstream `if_divide_out`)
    paired: bool = False  # blocks 2i and 2i+1 in parallel, the second reversed
    position_embedding: bool = True
    rope: bool = False
    rope_residual: bool = False
    rms_norm: bool = True
    norm_eps: float = 1e-5
    layer_scale: bool = False

    def __post_init__(self) -> None:
        check_fields(self, _RANGES)
        object.__setattr__(self, "image_size", pair_of_sides(self.image_size))
        object.__setattr__(self, "class_token", ClassToken(self.class_token))
        object.__setattr__(self, "pooling", Pooling(self.pooling))
        object.__setattr__(self, "directions", Directions(self.directions))
        if min(self.image_size) < self.patch_size:
            raise ConfigError(
                f"image_size {self.image_size} is smaller than patch_size {self.patch_size}; "
                "give a larger image size."
            )
        if self.paired and self.depth % 2:
            raise ConfigError(f"depth is {self.depth}; paired directions need an even depth.")
        if self.rope:
            self._check_rope()

    def _check_rope(self) -> None:
        side_y, side_x = self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size
        if (side_y, side_x) != self.grid or side_y != side_x or side_y % 2:
            raise ConfigError(
                f"rotary embedding with a grid of {self.grid} (stride {self.stride}): expected an even "
                "square grid and a stride equal to the patch size."
            )
        if self.class_token in (ClassToken.MIDDLE, ClassToken.DOUBLE):
            raise ConfigError(
                f"rotary embedding with class_token={self.class_token.value}: only 'none' and 'front' "
                "leave the patch tokens where the rotary table expects them."
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches; remaining pixels at the right and bottom are ignored."""
        height, width = self.image_size
        return (
            (height - self.patch_size) // self.stride + 1,
            (width - self.patch_size) // self.stride + 1,
        )

    @property
    def unused_pixels(self) -> tuple[int, int]:
        """Rows at the bottom and columns at the right that no patch covers."""
        height, width = ((side - self.patch_size) % self.stride for side in self.image_size)
        return height, width

    @property
    def num_patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def num_tokens(self) -> int:
        """Sequence length, class tokens included."""
        return self.num_patches + self.class_token.rows

    @property
    def class_index(self) -> int | None:
        """Position of the single class token, or None."""
        return {ClassToken.FRONT: 0, ClassToken.MIDDLE: self.num_patches // 2}.get(self.class_token)

    @property
    def inner(self) -> int:
        """Channels inside the mixer (D in the paper)."""
        return self.expand * self.embed_dim

    @property
    def dt_rank(self) -> int:
        """Rank of the time-step projection (R)."""
        return math.ceil(self.embed_dim / 16)

    @property
    def averages_directions(self) -> bool:
        """Whether the directions are averaged: only separate directions can be."""
        return self.average_directions and self.directions is Directions.SEPARATE

    def replace(self, **changes: Any) -> VimConfig:
        return dataclasses.replace(self, **changes)

    def adjusted(self, **changes: Any) -> VimConfig:
        """See ModelConfig.adjusted."""
        return self.replace(**{name: value for name, value in changes.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; the inverse of `from_dict`."""
        return plain_fields(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> VimConfig:
        check_names("configuration", values, field_names(cls))
        return cls(**values)

    @classmethod
    def from_reference(cls, flags: dict[str, Any]) -> VimConfig:
        """Convert constructor options of the reference implementation, with its defaults.

        Raises ConfigError for unknown and training-only options.
        """
        rest = dict(flags)

        def take(name: str, default: Any) -> Any:
            value = rest.pop(name, default)
            return default if value is None else value

        values: dict[str, Any] = {
            "image_size": take("img_size", 224),
            "patch_size": take("patch_size", 16),
            "stride": take("stride", 16),
            "channels": take("channels", 3),
            "num_classes": take("num_classes", 1000),
            "embed_dim": take("embed_dim", 192),
            "depth": take("depth", 24),
            "state": take("d_state", 16),
            "rms_norm": bool(take("rms_norm", False)),
            "norm_eps": take("norm_epsilon", 1e-5),
            "position_embedding": bool(take("if_abs_pos_embed", False)),
            "rope": bool(take("if_rope", False)),
            "rope_residual": bool(take("if_rope_residual", False)),
            "average_directions": bool(take("if_divide_out", True)),
            "paired": bool(take("if_bidirectional", False)),
            "layer_scale": rest.pop("init_layer_scale", None) is not None,
            "pooling": _choice("final_pool_type", take("final_pool_type", "none"), _REFERENCE_POOLING),
            "directions": _choice("bimamba_type", take("bimamba_type", "none"), _REFERENCE_DIRECTIONS),
            "class_token": _reference_class_token(take),
        }
        for name, allowed in _TRAINING_REFERENCE_FLAGS.items():
            if name in rest and (value := rest.pop(name)) not in allowed:
                raise ConfigError(f"reference option {name}={value!r} is for training only; disable it.")
        unknown = sorted(set(rest) - _INERT_REFERENCE_FLAGS)
        if unknown:
            raise ConfigError(f"unknown reference options {unknown}; remove them or correct their spelling.")
        return cls(**values)


def _choice(name: str, value: str, table: dict[str, Any]) -> Any:
    if value not in table:
        raise ConfigError(f"reference option {name}={value!r}; expected one of {sorted(table)}.")
    return table[value]


def _reference_class_token(take: Any) -> ClassToken:
    present = take("if_cls_token", False)
    middle = take("use_middle_cls_token", False)
    double = take("use_double_cls_token", False)
    if not present:
        return ClassToken.NONE
    # "double" takes precedence in the reference.
    return ClassToken.DOUBLE if double else ClassToken.MIDDLE if middle else ClassToken.FRONT


PRESETS: dict[str, VimConfig] = {
    "vim_tiny": VimConfig(embed_dim=192),
    "vim_tiny_plus": VimConfig(embed_dim=192, stride=8),
    "vim_small": VimConfig(embed_dim=384),
    "vim_small_plus": VimConfig(embed_dim=384, stride=8),
    "vim_base": VimConfig(embed_dim=768),
}
# As registered with timm upstream, where base is spelled differently.
_REGISTERED = "vim_{}_224_bimambav2_final_pool_mean_abs_pos_embed_with_{}_div2"
REGISTERED_NAMES: dict[str, str] = {
    _REGISTERED.format("tiny_patch16", "midclstok"): "vim_tiny",
    _REGISTERED.format("tiny_patch16_stride8", "midclstok"): "vim_tiny_plus",
    _REGISTERED.format("small_patch16", "midclstok"): "vim_small",
    _REGISTERED.format("small_patch16_stride8", "midclstok"): "vim_small_plus",
    _REGISTERED.format("base_patch16", "middle_cls_token"): "vim_base",
}


def preset(name: str, **overrides: Any) -> VimConfig:
    """The configuration of a named model, by its short or upstream name, with changed fields.

    Raises ConfigError for an unknown name or field.
    """
    short = REGISTERED_NAMES.get(name, name)
    if short not in PRESETS:
        raise ConfigError(
            f"unknown model {name!r}; expected one of {', '.join(PRESETS)} or an upstream name."
        )
    return VimConfig.from_dict({**PRESETS[short].to_dict(), **overrides})


def variant_name(config: VimConfig) -> str:
    """The name of the preset that differs at most in image size and class count, else 'custom'."""
    return preset_name(config, PRESETS)


def preset_name(
    config: ModelConfig, presets: Mapping[str, ModelConfig], average_directions: bool | None = None
) -> str:
    """The preset that differs at most in image size and class count, else 'custom'.

    `average_directions`: a value that is set in the presets, so that it does not have to be the same.
    """
    for name, candidate in presets.items():
        changes = {"image_size": config.image_size, "num_classes": config.num_classes}
        if candidate.adjusted(**changes, average_directions=average_directions) == config:
            return name
    return "custom"
