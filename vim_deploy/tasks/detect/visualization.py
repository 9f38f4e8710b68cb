"""Draws detections on an image: masks in the classes' colors, boxes, names and scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from vim_deploy.prediction import Prediction
from vim_deploy.tasks.detect.options import PICTURE_THRESHOLD
from vim_deploy.tasks.detect.paste import paste_into_box
from vim_deploy.tasks.detect.result import Detection
from vim_deploy.tasks.legend import Font, font_for, height_of, text_color, with_legend
from vim_deploy.tasks.palette import color_of

OPACITY = 0.45  # of the masks


def draw(
    image: Image.Image,
    prediction: Prediction,
    class_names: Sequence[str],
    *,
    threshold: float = PICTURE_THRESHOLD,
    legend: bool = True,
) -> Image.Image:
    """The predicted objects on `image`, which may be a scaled version of the predicted one."""
    result = prediction.result
    picture = draw_objects(
        image, result.objects, result.masks, size=prediction.size or image.size, threshold=threshold
    )
    if not legend:
        return picture
    counts = Counter(found.index for found in result.objects if found.score > threshold)
    entries = [(f"{class_names[index]}: {count}", color_of(index)) for index, count in counts.most_common()]
    return with_legend(picture, entries)


def draw_objects(
    image: Image.Image,
    objects: Sequence[Detection],
    masks: np.ndarray | None,
    *,
    size: tuple[int, int],
    threshold: float = PICTURE_THRESHOLD,
) -> Image.Image:
    """Objects with a score above `threshold`, the best ones last and therefore on top.

    `masks`: probabilities over each object's box (objects, rows, columns), or None. `size`: (width, height)
    of the image that the boxes are in; they are scaled to `image`.
    """
    result = image.convert("RGB") if image.mode != "RGB" else image.copy()
    scale = np.array([image.width / size[0], image.height / size[1]] * 2)
    shown = [number for number, found in enumerate(objects) if found.score > threshold]
    for number in reversed(shown) if masks is not None else ():
        found = objects[number]
        assert masks is not None
        _draw_mask(result, masks[number], np.array(found.box) * scale, color_of(found.index))
    drawing, font = ImageDraw.Draw(result), font_for(image.size)
    for number in reversed(shown):
        _draw_box(drawing, font, objects[number], np.array(objects[number].box) * scale)
    return result


def _draw_mask(image: Image.Image, mask: np.ndarray, box: np.ndarray, color: tuple[int, int, int]) -> None:
    inside, left, top = paste_into_box(mask, box, image.height, image.width)
    if inside.size:
        opacity = Image.fromarray((round(255 * OPACITY) * inside).astype(np.uint8))
        image.paste(color, (left, top), opacity)


def _draw_box(drawing: ImageDraw.ImageDraw, font: Font, found: Detection, box: np.ndarray) -> None:
    left, top, right, bottom = (float(value) for value in box)
    color, height = color_of(found.index), height_of(font)
    drawing.rectangle(
        (left, top, max(left, right - 1), max(top, bottom - 1)), outline=color, width=max(1, height // 8)
    )
    text = f"{found.name} {found.score:.2f}"
    above = top - height if top >= height else top
    drawing.rectangle((left, above, left + font.getlength(text) + 4, above + height), fill=color)
    drawing.text((left + 2, above), text, fill=text_color(color), font=font)
