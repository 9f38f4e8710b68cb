"""Image files that a task writes: colours of classes, and encoding."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_JPEG_QUALITY = 90


def palette(classes: int) -> NDArray[np.uint8]:
    """A colour for each class, (classes, 3): the bits of the class index plus one, spread over the channels.

    Neighbouring indices have clearly different colours, and none is black. Source: Pascal VOC's colour map.
    """
    indices = np.arange(1, classes + 1)
    colours = np.zeros((classes, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((indices >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours


def encoded(image: Image.Image, format: str) -> bytes:
    """The image as a file: "PNG", or "JPEG" with a high quality."""
    file = io.BytesIO()
    image.save(file, format, quality=_JPEG_QUALITY)
    return file.getvalue()
