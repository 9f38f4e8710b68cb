"""How much memory a label map takes to make, told before it is made."""

from __future__ import annotations

from dataclasses import dataclass

from vim_deploy.tasks.segment.axis import Axis
from vim_deploy.tasks.segment.mapper import TILE

_FLOAT = 4  # bytes
# What a runtime holds of a window at its widest, in maps of the decode head's finest resolution: four maps
# side by side, their convolution's result and its workspace. Measured with UPerNet in ONNX Runtime.
WIDEST_MAPS = 8
_COMPARED = (
    8  # bytes for each of the image's pixels: label map, its file, the true label map as read and as used
)
_DRAWN = 10  # bytes for each of the scaled image's pixels: an overlay and what it is mixed from


@dataclass(frozen=True)
class Needs:
    """Bytes, each at its largest. `windows`: logits that are kept; `run`: one inference; `maps`: the rest."""

    windows: int
    run: int
    maps: int

    @property
    def total(self) -> int:
        return self.windows + self.run + self.maps


def needs(
    rows: Axis, columns: Axis, *, classes: int, channels: int, width: int, batch: int, tile: bool
) -> Needs:
    """For one image. `width`: channels of the decode head; `tile`: only rows of windows in use are kept."""
    cells = rows.cells * columns.cells
    bands = min(len(rows.starts), most_bands(rows)) if tile else len(rows.starts)
    of_tile = min(TILE, rows.own) * min(TILE, columns.own) * classes * _FLOAT
    pixels = rows.own * columns.own
    return Needs(
        windows=bands * len(columns.starts) * cells * classes * _FLOAT,
        run=batch
        * _FLOAT
        * (rows.crop * columns.crop * channels + cells * (2 * classes + WIDEST_MAPS * width)),
        maps=3 * of_tile + rows.scaled * columns.scaled * (channels + _DRAWN) + pixels * _COMPARED,
    )


def most_bands(rows: Axis) -> int:
    """Rows of windows that a row of tiles may depend on."""
    return max(len(list(rows.shares(top, min(top + TILE, rows.own)))) for top in range(0, rows.own, TILE))


def readable(count: float) -> str:
    """`1.5 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def bytes_of(text: str) -> int | None:
    """`4G`, `512M`, `300000`; None for anything else."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
    number, unit = (text[:-1], units.get(text[-1:].upper())) if text[-1:].upper() in units else (text, 1)
    try:
        value = float(number) * (unit or 1)
    except ValueError:
        return None
    return int(value) if 0 < value < 1 << 60 else None
