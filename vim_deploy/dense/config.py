"""What a dense-prediction backbone is made of, without PyTorch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from vim_deploy.errors import ConfigError
from vim_deploy.model.config import ClassToken, VimConfig


class Tap(str, Enum):
    """What a feature map holds after its block."""

    HIDDEN = "hidden"  # the mixer's last output, no residual and no norm
    STREAM = "stream"  # residual + hidden
    NORMALISED = "normalised"  # the final norm of residual + hidden


# Upstream `last_layer_process`.
_REFERENCE_LAST = {"none": Tap.HIDDEN, "add": Tap.STREAM, "add & norm": Tap.NORMALISED}


@dataclass(frozen=True)
class BackboneConfig:
    """A Vision Mamba without class token and head that gives feature maps.

    `taps` are the blocks, counted from 0, behind which maps are taken. All but the last block give `inner`,
    the last one gives `last`. `final_norm` False: the checkpoint has no final norm at all (detection).
    """

    vim: VimConfig
    taps: tuple[int, ...]
    inner: Tap = Tap.HIDDEN
    last: Tap = Tap.HIDDEN
    final_norm: bool = field(default=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "taps", tuple(self.taps))
        object.__setattr__(self, "inner", Tap(self.inner))
        object.__setattr__(self, "last", Tap(self.last))
        depth = self.vim.depth
        if list(self.taps) != sorted(set(self.taps) & set(range(depth))) or not self.taps:
            raise ConfigError(
                f"taps are {self.taps}; expected ascending block numbers from 0 to {depth - 1}."
            )
        if self.vim.class_token is not ClassToken.NONE or self.vim.num_classes or self.vim.paired:
            raise ConfigError(
                f"a backbone with class_token={self.vim.class_token.value}, {self.vim.num_classes} classes, "
                f"paired={self.vim.paired}; expected none of the three."
            )
        if self.inner is Tap.NORMALISED or (self.last is Tap.NORMALISED and not self.final_norm):
            raise ConfigError(
                "only the last block's map can be normalised, and only with a final norm; choose another tap."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, `from_dict` reads them back."""
        return {
            "vim": self.vim.to_dict(),
            "taps": list(self.taps),
            "inner": self.inner.value,
            "last": self.last.value,
            "final_norm": self.final_norm,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BackboneConfig:
        known = {spec.name for spec in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigError(f"unknown backbone fields {unknown}; known are {sorted(known)}.")
        return cls(**{**values, "vim": VimConfig.from_dict(values["vim"])})

    @classmethod
    def from_reference(cls, flags: dict[str, Any]) -> BackboneConfig:
        """Translate the options of the reference's segmentation or detection backbone.

        A class token that is asked for is made and deleted again upstream, so it is none here. Raises
        ConfigError for unknown options.
        """
        rest = dict(flags)
        residual = rest.pop("use_residual_as_feature", False)
        last = rest.pop("last_layer_process", "none")
        detection = rest.pop("out_feature", None) is not None
        taps = rest.pop("out_indices", None)
        for inert in ("if_cls_token", "if_fpn", "final_pool_type"):  # the neck's, or without effect here
            rest.pop(inert, None)
        if last not in _REFERENCE_LAST:
            raise ConfigError(
                f"reference option last_layer_process={last!r}; expected one of {sorted(_REFERENCE_LAST)}."
            )
        # Nothing is pooled; the value that all backbones have makes equal ones compare equal.
        vim = VimConfig.from_reference({**rest, "final_pool_type": "mean"}).replace(num_classes=0)
        return cls(
            vim=vim,
            taps=tuple(taps) if taps is not None else (vim.depth - 1,),
            inner=Tap.STREAM if residual else Tap.HIDDEN,
            last=_REFERENCE_LAST[last] if residual or detection else Tap.HIDDEN,
            final_norm=not detection,
        )
