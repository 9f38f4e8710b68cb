"""Estimates the memory that computing a label map needs."""

from __future__ import annotations

from dataclasses import dataclass

from vim_deploy.tasks.segment.axis import Axis
from vim_deploy.tasks.segment.mapper import TILE

_FLOAT = 4  # bytes
# Largest activations of a runtime per window, in feature maps of the decode head's finest resolution: four
# concatenated maps, the result of their convolution and its workspace. Measured with UPerNet in ONNX Runtime.
PEAK_MAPS = 8
# Bytes per pixel of the image: the label map with its file and the ground truth as read and as used, or with
# the image and its overlay.
_LABEL_BYTES = 8


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak bytes of `windows` (stored logits), `run` (one inference) and `maps` (everything else)."""

    windows: int
    run: int
    maps: int

    @property
    def total(self) -> int:
        return self.windows + self.run + self.maps


def estimate_memory(
    rows: Axis, columns: Axis, *, classes: int, channels: int, width: int, batch: int, tile: bool
) -> MemoryEstimate:
    """For one image. `width`: channels of the decode head; `tile`: only rows of windows in use are stored."""
    cells = rows.cells * columns.cells
    bands = min(len(rows.starts), max_bands(rows)) if tile else len(rows.starts)
    tile_bytes = min(TILE, rows.original) * min(TILE, columns.original) * classes * _FLOAT
    pixels = rows.original * columns.original
    return MemoryEstimate(
        windows=bands * len(columns.starts) * cells * classes * _FLOAT,
        run=batch
        * _FLOAT
        * (rows.crop * columns.crop * channels + cells * (2 * classes + PEAK_MAPS * width)),
        maps=3 * tile_bytes + rows.scaled * columns.scaled * channels + pixels * _LABEL_BYTES,
    )


def max_bands(rows: Axis) -> int:
    """The largest number of rows of windows that a row of tiles depends on."""
    return max(
        len(list(rows.shares(top, min(top + TILE, rows.original)))) for top in range(0, rows.original, TILE)
    )


def format_bytes(count: float) -> str:
    """A size for people, e.g. `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
