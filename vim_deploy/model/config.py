"""What a Vision Mamba is made of, without PyTorch: sizes, options, names."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

from vim_deploy.errors import ConfigError


class ClassToken(str, Enum):
    """Where the class token sits."""

    NONE = "none"
    FRONT = "front"
    MIDDLE = "middle"
    DOUBLE = "double"

    @property
    def rows(self) -> int:
        """Rows that the class tokens add to the sequence."""
        return {"none": 0, "double": 2}.get(self.value, 1)


class Pooling(str, Enum):
    """How features become logits when there is no class token."""

    MEAN = "mean"
    LAST = "last"
    ALL = "all"
    MAX = "max"


class Directions(str, Enum):
    """Scan directions of one mixer (upstream `bimamba_type`)."""

    FORWARD = "forward"  # upstream "none"
    SHARED = "shared"  # upstream "v1": the backward scan has only an A of its own
    SEPARATE = "separate"  # upstream "v2": everything but the projections in and out is doubled


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

# Reference options that change nothing in evaluation, or only the numeric type
# of the residual stream, which is float32 here in any case.
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
# Reference options that only training experiments switch on; refused when on.
_TRAINING_REFERENCE_FLAGS: dict[str, tuple[Any, ...]] = {
    "flip_img_sequences_ratio": (-1, -1.0, 0, 0.0, None),
    "use_random_cls_token": (False, None),
    "if_random_token_rank": (False, None),
    "if_random_cls_token_position": (False, None),
    "ft_seq_len": (None,),
    "ssm_cfg": (None, {}),
}


@dataclass(frozen=True)
class VimConfig:
    """A Vision Mamba's structure; the weights' shapes follow from it.

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
    halve: bool = True  # halve the sum of both directions (upstream `if_divide_out`)
    paired: bool = False  # blocks 2i and 2i+1 in parallel, the second reversed
    position_embedding: bool = True
    rope: bool = False
    rope_residual: bool = False
    rms_norm: bool = True
    norm_eps: float = 1e-5
    layer_scale: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_size", _pair(self.image_size))
        object.__setattr__(self, "class_token", ClassToken(self.class_token))
        object.__setattr__(self, "pooling", Pooling(self.pooling))
        object.__setattr__(self, "directions", Directions(self.directions))
        for name in ("patch_size", "stride", "channels", "embed_dim", "depth", "state"):
            value = getattr(self, name)
            if value < 1:
                raise ConfigError(f"{name} is {value}; expected 1 or more.")
        if self.num_classes < 0:
            raise ConfigError(f"num_classes is {self.num_classes}; expected 0 or more.")
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
        """Patches per column and per row; leftover pixels at the right and bottom are ignored."""
        height, width = self.image_size
        return (
            (height - self.patch_size) // self.stride + 1,
            (width - self.patch_size) // self.stride + 1,
        )

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
    def halves_sum(self) -> bool:
        """Whether the two directions' sum is really halved: only separate directions are."""
        return self.halve and self.directions is Directions.SEPARATE

    def replace(self, **changes: Any) -> VimConfig:
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, `from_dict` reads them back."""
        values = dataclasses.asdict(self)
        return {key: _plain(value) for key, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> VimConfig:
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(f"unknown configuration fields {unknown}; known are {sorted(known)}.")
        return cls(**values)

    @classmethod
    def from_reference(cls, flags: dict[str, Any]) -> VimConfig:
        """Translate the reference constructor's options, with the reference's own defaults.

        Raises ConfigError for an option that is unknown or that only training uses.
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
            "halve": bool(take("if_divide_out", True)),
            "paired": bool(take("if_bidirectional", False)),
            "layer_scale": rest.pop("init_layer_scale", None) is not None,
            "pooling": _choice("final_pool_type", take("final_pool_type", "none"), _REFERENCE_POOLING),
            "directions": _choice("bimamba_type", take("bimamba_type", "none"), _REFERENCE_DIRECTIONS),
            "class_token": _reference_class_token(take),
        }
        for name, allowed in _TRAINING_REFERENCE_FLAGS.items():
            if name in rest and (value := rest.pop(name)) not in allowed:
                raise ConfigError(
                    f"reference option {name}={value!r} exists for training only; expected it off."
                )
        unknown = sorted(set(rest) - _INERT_REFERENCE_FLAGS)
        if unknown:
            raise ConfigError(f"unknown reference options {unknown}; remove them or check their spelling.")
        return cls(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return (value, value)
    try:
        height, width = (int(side) for side in value)
    except (TypeError, ValueError):
        raise ConfigError(f"image_size is {value!r}; expected one number or (height, width).") from None
    return (height, width)


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
    # The reference asks for "double" first.
    return ClassToken.DOUBLE if double else ClassToken.MIDDLE if middle else ClassToken.FRONT


def _variant(embed_dim: int, stride: int) -> VimConfig:
    return VimConfig(embed_dim=embed_dim, stride=stride)


PRESETS: dict[str, VimConfig] = {
    "vim_tiny": _variant(192, 16),
    "vim_tiny_plus": _variant(192, 8),
    "vim_small": _variant(384, 16),
    "vim_small_plus": _variant(384, 8),
    "vim_base": _variant(768, 16),
}
# Spelled as upstream registers them; base has a spelling of its own.
_REGISTERED = "vim_{}_224_bimambav2_final_pool_mean_abs_pos_embed_with_{}_div2"
REGISTERED_NAMES: dict[str, str] = {
    _REGISTERED.format("tiny_patch16", "midclstok"): "vim_tiny",
    _REGISTERED.format("tiny_patch16_stride8", "midclstok"): "vim_tiny_plus",
    _REGISTERED.format("small_patch16", "midclstok"): "vim_small",
    _REGISTERED.format("small_patch16_stride8", "midclstok"): "vim_small_plus",
    _REGISTERED.format("base_patch16", "middle_cls_token"): "vim_base",
}


def preset(name: str, **overrides: Any) -> VimConfig:
    """The configuration of a named model, short or as registered upstream, with changed fields.

    Raises ConfigError for an unknown name or field.
    """
    short = REGISTERED_NAMES.get(name, name)
    if short not in PRESETS:
        raise ConfigError(
            f"unknown model {name!r}; expected one of {', '.join(PRESETS)} or a name registered upstream."
        )
    return VimConfig.from_dict({**PRESETS[short].to_dict(), **overrides})


def variant_name(config: VimConfig) -> str:
    """The short name of a published architecture, whatever the image size and class count, or 'custom'."""
    for name, candidate in PRESETS.items():
        if candidate.replace(image_size=config.image_size, num_classes=config.num_classes) == config:
            return name
    return "custom"
