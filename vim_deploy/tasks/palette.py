"""Colors of classes, and encoded images."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_JPEG_QUALITY = 90


def palette(classes: int) -> NDArray[np.uint8]:
    """A color for each class, (classes, 3): the bits of the class index plus one, spread over the channels.

    Neighboring indices have clearly different colors, and none is black. Source: Pascal VOC's color map.
    """
    indices = np.arange(1, classes + 1)
    colors = np.zeros((classes, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= (((indices >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colors


def color_of(index: int) -> tuple[int, int, int]:
    """The color of one class."""
    red, green, blue = (int(value) for value in palette(index + 1)[index])
    return red, green, blue


def hexadecimal_color(index: int) -> str:
    """The color of one class as "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*color_of(index))


def encoded(image: Image.Image, format: str) -> bytes:
    """The image as a file: "PNG", or "JPEG" with a high quality."""
    file = io.BytesIO()
    image.save(file, format, quality=_JPEG_QUALITY)
    return file.getvalue()
