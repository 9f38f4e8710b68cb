"""Label maps as image files, and overlays."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vim_deploy.tasks.palette import encoded, palette

OPACITY = 0.5  # of the classes' colours in an overlay


def label_map_png(labels: np.ndarray, classes: int) -> bytes:
    """Values are class indices: 8-bit with a palette, or 16-bit grayscale for more than 256 classes."""
    if labels.dtype != np.uint8:
        return encoded(Image.fromarray(labels), "PNG")
    height, width = labels.shape
    image = Image.frombytes("P", (width, height), labels.tobytes())
    image.putpalette(palette(classes).tobytes())
    return encoded(image, "PNG")


def overlay(image: np.ndarray, labels: np.ndarray, classes: int) -> Image.Image:
    """The classes' colours blended over `image`, uint8 (height, width, channels), at its size.

    `labels` may have another size.
    """
    height, width = image.shape[:2]
    rows = np.arange(height) * labels.shape[0] // height
    columns = np.arange(width) * labels.shape[1] // width
    colours = Image.fromarray(palette(classes)[labels[np.ix_(rows, columns)]])
    background = Image.fromarray(image.squeeze(-1) if image.shape[2] == 1 else image).convert("RGB")
    return Image.blend(background, colours, OPACITY)
