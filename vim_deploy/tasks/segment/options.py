"""What can be asked of segmentation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from vim_deploy.errors import ConfigError
from vim_deploy.tasks.segment.ground_truth import Values

OWN_SIZE = "none"  # --scale: images are not scaled
DEFAULT_MEMORY = 4 << 30
DEFAULT_IGNORED = 255


@dataclass(frozen=True)
class SegmentOptions:
    """See the help of vim-infer. None stands for what follows from the model.

    `scale`: (long side, short side) that images are scaled to fit, or OWN_SIZE. `stride` in pixels of the
    scaled image. `memory`: bytes beyond which an image is refused.
    """

    maps: Path | None = None
    overlays: Path | None = None
    areas: Path | None = None
    truth: Path | None = None
    truth_values: Values | None = None
    ignored: int = DEFAULT_IGNORED
    scale: tuple[int, int] | str | None = None
    stride: int | None = None
    tile: bool = False
    memory: int = DEFAULT_MEMORY

    def given(self) -> list[str]:
        """The command line's names of the options that differ from their defaults."""
        return [
            f"--{_OPTIONS.get(field.name, field.name).replace('_', '-')}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]


_OPTIONS = {"memory": "max-memory", "ignored": "ignore"}


def scale_of(text: str) -> tuple[int, int] | str:
    """`none`, or `LONGxSHORT` in pixels. Raises ConfigError."""
    if text == OWN_SIZE:
        return OWN_SIZE
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and 0 < int(side) <= 1 << 20 for side in sides):
        raise ConfigError(
            f"{text!r} is no scale; expected LONGxSHORT in pixels, like 2048x512, or {OWN_SIZE}."
        )
    return int(sides[0]), int(sides[1])
