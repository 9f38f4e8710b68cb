"""Label maps and pictures of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from vim_deploy.prediction import Prediction
from vim_deploy.tasks.legend import LegendEntry, with_legend
from vim_deploy.tasks.palette import color_of, encoded, palette
from vim_deploy.tasks.segment.ground_truth import class_pixels, strips

OPACITY = 0.5  # of the classes' colors
BACKGROUND = "background"  # the class of this name is not colored


def label_map_png(labels: np.ndarray, classes: int) -> bytes:
    """Values are class indices: 8-bit with a palette, or 16-bit grayscale for more than 256 classes."""
    if labels.dtype != np.uint8:
        return encoded(Image.fromarray(labels), "PNG")
    height, width = labels.shape
    image = Image.frombytes("P", (width, height), labels.tobytes())
    image.putpalette(palette(classes).tobytes())
    return encoded(image, "PNG")


def draw(
    image: Image.Image, prediction: Prediction, class_names: Sequence[str], *, legend: bool = True
) -> Image.Image:
    """The predicted label map over `image`, which may be a scaled version of the predicted one."""
    return draw_labels(image, prediction.result.labels, class_names, legend=legend)


def draw_labels(
    image: Image.Image, labels: np.ndarray, class_names: Sequence[str], *, legend: bool = True
) -> Image.Image:
    """The classes' colors blended over `image`, at its size, and a legend of the classes below it.

    `labels`: class indices (height, width) of any size. The class named "background" is not colored.
    """
    result = image.convert("RGB") if image.mode != "RGB" else image.copy()
    rows = np.arange(image.height) * labels.shape[0] // image.height
    columns = np.arange(image.width) * labels.shape[1] // image.width
    colors = palette(len(class_names))
    colored = np.array([is_colored(name) for name in class_names])
    for strip in strips(image.height, image.width):
        part = labels[np.ix_(rows[strip], columns)]
        box = (0, strip.start, image.width, strip.start + len(part))
        tinted = Image.blend(result.crop(box), Image.fromarray(colors[part]), OPACITY)
        result.paste(tinted, box[:2], Image.fromarray(255 * colored[part].astype(np.uint8)))
    return with_legend(result, _entries(labels, class_names)) if legend else result


def _entries(labels: np.ndarray, class_names: Sequence[str]) -> list[LegendEntry]:
    """The classes that occur, largest first, with their shares and colors."""
    counts = class_pixels(labels, len(class_names))
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda index: -counts[index])
    return [
        (
            f"{class_names[index]}: {counts[index] / labels.size:.1%}",
            color_of(index) if is_colored(class_names[index]) else None,
        )
        for index in order
    ]


def is_colored(name: str) -> bool:
    """Whether a class has a color in pictures."""
    return name.lower() != BACKGROUND
