"""The options of segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import click

from vim_deploy.options import RunPath, TextType, option
from vim_deploy.output_files import FileKind, starting

ORIGINAL_SIZE = "none"  # --scale: images are not scaled
DEFAULT_MEMORY = 4 << 30
DEFAULT_IGNORE = 255
AREA_COLUMNS = ("index", "class", "images", "pixels", "share", "iou", "accuracy", "color")
_AREAS_FILE = FileKind("a table of areas of vim-infer", starting(",".join(AREA_COLUMNS).encode() + b"\n"))
_MAX_SIDE = 1 << 20
_MAX_MEMORY = 1 << 60
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class GroundTruthValues(str, Enum):
    """The values of ground-truth label maps."""

    ZERO_BASED = "zero-based"  # class indices
    ONE_BASED = "one-based"  # class indices plus 1, and 0 for unlabeled pixels, as in ADE20K

    @property
    def offset(self) -> int:
        return 1 if self is GroundTruthValues.ONE_BASED else 0


class _ScaleType(TextType):
    name = "scale"
    expected = f"LONGxSHORT in pixels, like 2048x512, or {ORIGINAL_SIZE}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """`none`, or two sides in pixels as (long, short)."""
        if value == ORIGINAL_SIZE:
            return value
        sides = value.lower().split("x") if isinstance(value, str) else [str(side) for side in value]
        if len(sides) != 2 or not all(side.isdecimal() and 0 < int(side) <= _MAX_SIDE for side in sides):
            self.fail(f"{value!r} is not a scale; expected {self.expected}.")
        return int(sides[0]), int(sides[1])


class _MemoryType(TextType):
    name = "memory"
    expected = "a number of bytes, like 4G or 512M"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """`4G`, `512M` or `300000` as a number of bytes."""
        value = str(value)
        unit = value[-1:].upper() if value[-1:].upper() in _UNITS else ""
        try:
            count = float(value[: len(value) - len(unit)]) * _UNITS[unit]
        except ValueError:
            count = 0
        if not 0 < count < _MAX_MEMORY:
            self.fail(f"{value!r} is not a size in memory; expected {self.expected}.")
        return int(count)


class _ValuesType(click.Choice[str]):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return GroundTruthValues(super().convert(value, param, ctx))


@dataclass(frozen=True)
class SegmentOptions:
    """See `vim-infer --help`. None: chosen from the model.

    `scale`: (long side, short side) that images are scaled to fit, or ORIGINAL_SIZE. `stride` in pixels of
    the scaled image. `max_memory` in bytes.
    """

    maps: Path | None = option(
        writes="folder", type=RunPath(file_okay=False), help="Folder for label maps (PNG)."
    )
    areas: Path | None = option(
        writes=_AREAS_FILE,
        type=RunPath(dir_okay=False),
        help="CSV file for the total area of each class; with --ground-truth also its IoU.",
    )
    ground_truth: Path | None = option(
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of ground-truth label maps, named like the images, to compute mIoU and pixel accuracy.",
    )
    ground_truth_values: GroundTruthValues | None = option(
        for_files=True,
        type=_ValuesType([values.value for values in GroundTruthValues]),
        help="Values of ground-truth label maps. zero-based: class indices. one-based: class indices plus 1, "
        "and 0 is unlabeled.  [default: one-based for the classes of ADE20K, else zero-based]",
    )
    ignore: int = option(
        DEFAULT_IGNORE, for_files=True, type=int, help="Ground-truth value of unlabeled pixels."
    )
    scale: tuple[int, int] | str | None = option(
        type=_ScaleType(),
        metavar="LONGxSHORT|none",
        help="Size that images are scaled to fit, or none to keep their size.  [default: the network's input "
        "size as the short side, four times that as the long side]",
    )
    stride: int | None = option(
        type=click.IntRange(min=1),
        help="Distance between sliding windows in pixels.  [default: 2/3 of the window]",
    )
    tile: bool = option(
        False,
        is_flag=True,
        help="Compute label maps strip by strip, which limits the memory for tall images.",
    )
    max_memory: int = option(
        DEFAULT_MEMORY,
        type=_MemoryType(),
        metavar="BYTES[K|M|G|T]",
        show_default=False,
        help="Images that are estimated to need more memory count as failed.  [default: 4G]",
    )
