"""Draws detections on an image: masks in the classes' colours, boxes, names and scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vim_deploy.tasks.detect.result import Detection
from vim_deploy.tasks.palette import palette

OPACITY = 0.45  # of the masks
_DARK = 128  # text is white on colours with a lower mean


def draw_objects(
    image: np.ndarray, objects: Sequence[Detection], masks: Sequence[np.ndarray], classes: int
) -> Image.Image:
    """Objects drawn on `image`, uint8 (height, width, channels), the best ones last and therefore on top.

    `masks`: boolean (height, width) each; boxes in pixels of `image`.
    """
    colours = palette(classes)
    if image.shape[2] == 1:
        image = image.repeat(3, axis=2)
    blended = image.astype(np.float32)
    for found, mask in zip(reversed(objects), reversed(masks), strict=True):
        blended[mask] += OPACITY * (colours[found.index] - blended[mask])
    drawing = Image.fromarray(blended.astype(np.uint8))
    draw = ImageDraw.Draw(drawing)
    size = max(9, min(drawing.size) // 48)
    font = ImageFont.load_default(size)
    for found in reversed(objects):
        _draw_box(draw, font, found, tuple(int(value) for value in colours[found.index]), max(1, size // 9))
    return drawing


def _draw_box(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    found: Detection,
    colour: tuple[int, ...],
    width: int,
) -> None:
    left, top, right, bottom = found.box
    draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=width)
    text = f"{found.name} {found.score:.2f}"
    _, _, text_width, text_height = draw.textbbox((0, 0), text, font=font)
    above = top - text_height if top >= text_height else top
    draw.rectangle((left, above, left + text_width, above + text_height), fill=colour)
    text_colour = (255, 255, 255) if sum(colour) / 3 < _DARK else (0, 0, 0)
    draw.text((left, above), text, fill=text_colour, font=font)
