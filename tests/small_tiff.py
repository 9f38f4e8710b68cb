"""TIFF files of any sample type, which Pillow cannot write."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

_FORMATS = {"u": 1, "i": 2, "f": 3}  # of numpy's kinds
_ENTRIES = 11
_SHORT, _LONG = 3, 4


def write_tiff(path: Path, pixels: np.ndarray) -> Path:
    """Write (height, width, samples) as one uncompressed strip in little-endian order."""
    height, width, samples = pixels.shape
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    start, extra = 8 + 2 + 12 * _ENTRIES + 4, b""
    entries: list[tuple[int, int, int, bytes]] = []

    def short(tag: int, *values: int) -> None:
        nonlocal extra
        packed = struct.pack(f"<{len(values)}H", *values)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", start + len(extra)), extra + packed
        entries.append((tag, _SHORT, len(values), packed.ljust(4, b"\0")))

    def long(tag: int, value: int) -> None:
        entries.append((tag, _LONG, 1, struct.pack("<I", value)))

    long(256, width)
    long(257, height)
    short(258, *[8 * pixels.dtype.itemsize] * samples)
    short(259, 1)  # no compression
    short(262, 2 if samples >= 3 else 1)  # RGB or grayscale
    short(277, samples)
    long(278, height)
    long(279, len(data))
    short(284, 1)  # samples of a pixel are adjacent
    short(339, *[_FORMATS[pixels.dtype.kind]] * samples)
    long(273, start + len(extra))
    directory = b"".join(
        struct.pack("<HHI", *entry[:3]) + entry[3] for entry in sorted(entries, key=lambda entry: entry[0])
    )
    head = struct.pack("<2sHIH", b"II", 42, 8, _ENTRIES)
    path.write_bytes(head + directory + b"\0\0\0\0" + extra + data)
    return path
