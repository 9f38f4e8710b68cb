"""Configuration of backbones for dense prediction. Imports no framework."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from vim_deploy.errors import ConfigError
from vim_deploy.model.config import ClassToken, VimConfig
from vim_deploy.model.fields import check_fields

if TYPE_CHECKING:
    from typing import Self


class FeatureType(str, Enum):
    """The tensor that a feature map is made from."""

    HIDDEN = "hidden"  # output of the block, without residual and norm
    STREAM = "stream"  # residual + hidden
    NORMALISED = "normalised"  # the final norm of residual + hidden


# Upstream `last_layer_process`.
_REFERENCE_LAST = {
    "none": FeatureType.HIDDEN,
    "add": FeatureType.STREAM,
    "add & norm": FeatureType.NORMALISED,
}


@dataclass(frozen=True)
class BackboneConfig:
    """A Vision Mamba without class token and head that returns feature maps.

    `out_indices`: the blocks, counted from 0, whose feature maps are returned. The last block's map is of
    type `last`, all others of type `intermediate`. `final_norm` False: there is no final norm.
    """

    vim: VimConfig
    out_indices: tuple[int, ...]
    intermediate: FeatureType = FeatureType.HIDDEN
    last: FeatureType = FeatureType.HIDDEN
    final_norm: bool = field(default=True)

    def __post_init__(self) -> None:
        check_fields(self, {})
        object.__setattr__(self, "out_indices", tuple(self.out_indices))
        object.__setattr__(self, "intermediate", FeatureType(self.intermediate))
        object.__setattr__(self, "last", FeatureType(self.last))
        depth = self.vim.depth
        if (
            list(self.out_indices) != sorted(set(self.out_indices) & set(range(depth)))
            or not self.out_indices
        ):
            raise ConfigError(
                f"out_indices are {self.out_indices}; expected ascending block indices from 0 to {depth - 1}."
            )
        if self.vim.class_token is not ClassToken.NONE or self.vim.num_classes or self.vim.paired:
            raise ConfigError(
                f"a backbone has class_token={self.vim.class_token.value}, "
                f"num_classes={self.vim.num_classes}, paired={self.vim.paired}; expected none, 0 and False."
            )
        if self.intermediate is FeatureType.NORMALISED or (
            self.last is FeatureType.NORMALISED and not self.final_norm
        ):
            raise ConfigError(
                "only the last block's map can be normalised, and only with a final norm; choose another "
                "type."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; the inverse of `from_dict`."""
        return {
            "vim": self.vim.to_dict(),
            "out_indices": list(self.out_indices),
            "intermediate": self.intermediate.value,
            "last": self.last.value,
            "final_norm": self.final_norm,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BackboneConfig:
        known = {spec.name for spec in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigError(f"unknown backbone fields {unknown}; expected fields of {sorted(known)}.")
        return cls(**{**values, "vim": VimConfig.from_dict(values["vim"])})

    @classmethod
    def from_reference(cls, flags: dict[str, Any]) -> BackboneConfig:
        """Convert the options of the reference's segmentation or detection backbone.

        A requested class token is ignored, because the reference deletes it. Raises ConfigError for unknown
        options.
        """
        rest = dict(flags)
        residual = rest.pop("use_residual_as_feature", False)
        last = rest.pop("last_layer_process", "none")
        detection = rest.pop("out_feature", None) is not None
        indices = rest.pop("out_indices", None)
        for inert in ("if_cls_token", "if_fpn", "final_pool_type"):  # for the neck, or without effect
            rest.pop(inert, None)
        if last not in _REFERENCE_LAST:
            raise ConfigError(
                f"reference option last_layer_process={last!r}; expected one of {sorted(_REFERENCE_LAST)}."
            )
        # Nothing is pooled; one value for all backbones, so that equal ones compare equal.
        vim = VimConfig.from_reference({**rest, "final_pool_type": "mean"}).replace(num_classes=0)
        return cls(
            vim=vim,
            out_indices=tuple(indices) if indices is not None else (vim.depth - 1,),
            intermediate=FeatureType.STREAM if residual else FeatureType.HIDDEN,
            last=_REFERENCE_LAST[last] if residual or detection else FeatureType.HIDDEN,
            final_norm=not detection,
        )


class DenseConfig:
    """What the configurations of segmenters and detectors share; both are dataclasses with these fields."""

    backbone: BackboneConfig
    num_classes: int

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input: the crop of a segmenter, the padded image of a detector."""
        return self.backbone.vim.image_size

    def replace(self, **changes: Any) -> Self:
        copy: Self = dataclasses.replace(self, **changes)  # type: ignore[type-var]  # a dataclass
        return copy

    def with_vim(self, **changes: Any) -> Self:
        """A copy with changed VimConfig fields of the backbone."""
        vim = self.backbone.vim.replace(**changes)
        return self.replace(backbone=dataclasses.replace(self.backbone, vim=vim))

    def adjusted(
        self,
        *,
        image_size: tuple[int, int] | None = None,
        num_classes: int | None = None,
        average_directions: bool | None = None,
    ) -> Self:
        """See ModelConfig.adjusted."""
        vim = self.backbone.vim.adjusted(image_size=image_size, average_directions=average_directions)
        backbone = dataclasses.replace(self.backbone, vim=vim)
        classes = self.num_classes if num_classes is None else num_classes
        return self.replace(backbone=backbone, num_classes=classes)
