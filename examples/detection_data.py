"""The scenes of digits for detection: class, box and mask of each digit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from digits_data import CLASS_NAMES, Digits, load_split
from numpy.typing import NDArray
from scenes_data import HELD_OUT_SEED, make_scene

from vim_deploy.tasks.detect.average_precision import encode_rle

HELD_OUT_SCENES = 100
_DIFFERENT = 250  # digits per scene to choose from, so that their numbers fit into 8 bits
_LARGEST = 52  # pixels of a digit; anything larger is the same digit drawn twice


class Scene(NamedTuple):
    """`image` (height, width, 3); of n digits `classes` (n,), `boxes` (n, 4), `masks` (n, height, width)."""

    image: NDArray[np.uint8]
    classes: NDArray[np.int64]
    boxes: NDArray[np.float32]
    masks: NDArray[np.bool_]


def make_objects(digits: Digits, generator: np.random.Generator) -> Scene:
    """A scene with at least one digit, with a mask for each digit."""
    while True:
        chosen = generator.choice(len(digits.labels), _DIFFERENT, replace=False)
        numbered = Digits(digits.indices[chosen], digits.pixels[chosen], np.arange(_DIFFERENT))
        image, numbers = make_scene(numbered, generator)
        present = np.unique(numbers[numbers > 0])
        masks = numbers == present[:, None, None]
        boxes = np.array([_box(mask) for mask in masks], np.float32).reshape(-1, 4)
        if len(boxes) and (boxes[:, 2:] - boxes[:, :2]).max() <= _LARGEST:
            return Scene(image, digits.labels[chosen][present - 1].astype(np.int64), boxes, masks)


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def held_out_objects(count: int = HELD_OUT_SCENES) -> Iterator[Scene]:
    """Scenes of held-out digits; always the same."""
    _, digits = load_split()
    for index in range(count):
        yield make_objects(digits, np.random.default_rng([HELD_OUT_SEED, index]))


def annotations(scenes: Iterable[Scene]) -> dict[str, Any]:
    """Annotations in COCO's format; image ids start at 0, category ids at 1."""
    content: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1 + index, "name": name} for index, name in enumerate(CLASS_NAMES)],
    }
    for number, scene in enumerate(scenes):
        height, width = scene.image.shape[:2]
        content["images"].append(
            {"id": number, "file_name": f"{number:04d}.png", "height": height, "width": width}
        )
        for index, box, mask in zip(scene.classes, scene.boxes, scene.masks, strict=True):
            left, top, right, bottom = map(float, box)
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": number,
                    "category_id": 1 + int(index),
                    "bbox": [left, top, right - left, bottom - top],
                    "segmentation": {"size": [height, width], "counts": encode_rle(mask)},
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                }
            )
    return content
