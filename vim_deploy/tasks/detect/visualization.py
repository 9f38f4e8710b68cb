"""Objects drawn over an image: masks in the classes' colours, boxes, names and scores."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vim_deploy.prediction import FoundObject
from vim_deploy.tasks.segment.visualization import palette

OPACITY = 0.45  # of the masks
_JPEG_QUALITY = 90
_DARK = 128  # mean of a colour below which text on it is white


def objects_jpeg(
    seen: np.ndarray, objects: Sequence[FoundObject], masks: Sequence[np.ndarray], classes: int
) -> bytes:
    """`seen`: 8-bit (height, width, channels); `masks`: boolean, of that size; boxes in its pixels.

    Best last, so that they lie on top.
    """
    colours = palette(classes)
    if seen.shape[2] == 1:
        seen = seen.repeat(3, axis=2)
    mixed = seen.astype(np.float32)
    for found, mask in zip(reversed(objects), reversed(masks), strict=True):
        mixed[mask] += OPACITY * (colours[found.index] - mixed[mask])
    image = Image.fromarray(mixed.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    size = max(9, min(image.size) // 48)
    font = ImageFont.load_default(size)
    for found in reversed(objects):
        _frame(draw, font, found, tuple(int(value) for value in colours[found.index]), max(1, size // 9))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def _frame(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    found: FoundObject,
    colour: tuple[int, ...],
    width: int,
) -> None:
    left, top, right, bottom = found.box
    draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=width)
    text = f"{found.name} {found.score:.2f}"
    _, _, text_width, text_height = draw.textbbox((0, 0), text, font=font)
    above = top - text_height if top >= text_height else top
    draw.rectangle((left, above, left + text_width, above + text_height), fill=colour)
    ink = (255, 255, 255) if sum(colour) / 3 < _DARK else (0, 0, 0)
    draw.text((left, above), text, fill=ink, font=font)
