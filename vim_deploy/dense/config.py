"""Configuration of backbones for dense prediction. Imports no framework."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from vim_deploy.errors import ConfigError
from vim_deploy.model.config import ClassToken, VimConfig
from vim_deploy.model.fields import check_fields, check_names, field_names, plain_fields

if TYPE_CHECKING:
    from typing import Self


class FeatureType(str, Enum):
    """The tensor that a feature map is computed from."""

    HIDDEN = "hidden"  # output of the block, without residual and norm
    STREAM = "stream"  # residual + hidden
    NORMALIZED = "normalized"  # the final norm of residual + hidden


# Upstream `last_layer_process`.
_REFERENCE_LAST = {
    "none": FeatureType.HIDDEN,
    "add": FeatureType.STREAM,
    "add & norm": FeatureType.NORMALIZED,
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
        if self.intermediate is FeatureType.NORMALIZED or (
            self.last is FeatureType.NORMALIZED and not self.final_norm
        ):
            raise ConfigError(
                "only the last block's map can be normalized, and only with a final norm; choose another "
                "type."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; the inverse of `from_dict`."""
        return plain_fields(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BackboneConfig:
        check_names("backbone", values, field_names(cls))
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


@dataclass(frozen=True)
class DenseConfig:
    """What the configurations of segmenters and detectors share. `kind`: the kind of model, for messages."""

    kind: ClassVar[str]

    backbone: BackboneConfig
    num_classes: int

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input: the crop of a segmenter, the padded image of a detector."""
        return self.backbone.vim.image_size

    def replace(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)

    def with_vim(self, **changes: Any) -> Self:
        """A copy with changed VimConfig fields of the backbone."""
        vim = self.backbone.vim.replace(**changes)
        return self.replace(backbone=dataclasses.replace(self.backbone, vim=vim))

    def adjusted(self, *, num_classes: int | None = None, **changes: Any) -> Self:
        """See ModelConfig.adjusted."""
        backbone = dataclasses.replace(self.backbone, vim=self.backbone.vim.adjusted(**changes))
        classes = self.num_classes if num_classes is None else num_classes
        return self.replace(backbone=backbone, num_classes=classes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: `backbone`, and all other fields under `head`; the inverse of `from_dict`."""
        head = plain_fields(self)
        return {"backbone": head.pop("backbone"), "head": head}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Raises ConfigError for fields that are missing, unknown or of the wrong type."""
        head = values.get("head", {})
        check_names(cls.kind, values, ("backbone", "head"))
        check_names(cls.kind, head, field_names(cls) - {"backbone"})
        if "backbone" not in values:
            raise ConfigError(f"the {cls.kind}'s configuration has no `backbone`; expected it and `head`.")
        try:
            return cls(backbone=BackboneConfig.from_dict(values["backbone"]), **head)
        except (TypeError, ValueError, KeyError) as error:
            raise ConfigError(
                f"a field of the {cls.kind}'s configuration is missing or has a wrong type: {error}."
            ) from None
