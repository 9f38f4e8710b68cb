"""Pictures of predictions: colors, boxes, thresholds and legends at any scale of the image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vim_deploy.errors import EngineError
from vim_deploy.prediction import Prediction
from vim_deploy.tasks.classify.result import Classification, Score
from vim_deploy.tasks.detect.result import Detection, Detections
from vim_deploy.tasks.draw import draw
from vim_deploy.tasks.legend import with_legend
from vim_deploy.tasks.palette import color_of
from vim_deploy.tasks.registry import TASKS
from vim_deploy.tasks.segment.result import ClassArea, Segmentation

GRAY = (100, 100, 100)
SCENE = ("background", "cat", "dog")


def picture(task: str, result: object, size: tuple[int, int], names=SCENE, **options) -> Image.Image:
    prediction = Prediction("a.png", "ok", size=(80, 60), result=result)
    return draw(TASKS.get(task), Image.new("RGB", size, GRAY), prediction, names, **options)


def segmentation() -> Segmentation:
    """Background in the upper half, a cat in the lower left and a dog in the lower right quarter."""
    labels = np.zeros((60, 80), np.uint8)
    labels[30:, :40], labels[30:, 40:] = 1, 2
    return Segmentation(labels, (ClassArea(0, "background", 2400),))


@pytest.mark.parametrize("size", [(80, 60), (40, 30), (320, 240)])
def test_classes_are_blended_and_the_background_is_not(size):
    found = picture("segment", segmentation(), size, legend=False)
    assert found.size == size
    width, height = size
    assert found.getpixel((width // 2, height // 4)) == GRAY
    for index, across in ((1, width // 4), (2, 3 * width // 4)):
        expected = [(gray + color) / 2 for gray, color in zip(GRAY, color_of(index), strict=True)]
        assert np.abs(np.subtract(found.getpixel((across, 3 * height // 4)), expected)).max() <= 1


def test_the_legend_is_below_the_image_and_has_the_colors_of_the_classes():
    found = picture("segment", segmentation(), (400, 300))
    assert found.width == 400 and found.height > 300
    legend = {color for _, color in found.crop((0, 300, 400, found.height)).getcolors(1 << 20)}
    assert {color_of(1), color_of(2)} <= legend
    assert color_of(0) not in legend


def test_a_gray_image_with_more_than_256_classes():
    labels = np.full((4, 4), 299, np.uint16)
    names = [f"class {index}" for index in range(300)]
    prediction = Prediction(None, "ok", size=(4, 4), result=Segmentation(labels, ()))
    found = draw(TASKS.get("segment"), Image.new("L", (4, 4), 100), prediction, names, legend=False)
    expected = [(100 + color) / 2 for color in color_of(299)]
    assert np.abs(np.subtract(found.getpixel((1, 1)), expected)).max() <= 1


def detections() -> Detections:
    """A cat on the left, and with a low score a dog on the right; both masks fill their boxes."""
    cat = Detection(1, "cat", 0.9, (10.0, 20.0, 30.0, 50.0))
    dog = Detection(2, "dog", 0.2, (50.0, 20.0, 70.0, 50.0))
    return Detections((cat, dog), np.ones((2, 28, 28), np.float32))


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize(("threshold", "dog"), [(0.25, False), (0.1, True)])
def test_objects_above_the_threshold_are_drawn_at_the_scale_of_the_image(scale, threshold, dog):
    size = (80 * scale, 60 * scale)
    found = picture("detect", detections(), size, threshold=threshold, legend=False)
    assert found.size == size
    assert found.getpixel((20 * scale, 45 * scale)) != GRAY
    assert (found.getpixel((60 * scale, 45 * scale)) != GRAY) == dog
    assert found.getpixel((40 * scale, 55 * scale)) == GRAY
    assert found.getpixel((10 * scale, 40 * scale)) == color_of(1)  # the border of the box


def test_the_legend_of_a_detection_counts_what_is_drawn():
    found = picture("detect", detections(), (400, 300))
    legend = {color for _, color in found.crop((0, 300, 400, found.height)).getcolors(1 << 20)}
    assert color_of(1) in legend and color_of(2) not in legend


def test_classes_of_a_classified_image_are_below_it():
    result = Classification((Score(1, "cat", 0.8), Score(2, "dog", 0.2)))
    found = picture("classify", result, (200, 100))
    assert found.width == 200 and found.height > 100
    assert found.crop((0, 0, 200, 100)).getcolors() == [(20000, GRAY)]
    assert found.crop((0, 100, 200, found.height)).getextrema()[0][0] < 50  # text
    assert picture("classify", result, (200, 100), legend=False).size == (200, 100)


def test_features_cannot_be_drawn():
    with pytest.raises(EngineError, match="predictions of the task features cannot be drawn"):
        picture("features", np.zeros(3), (8, 8))


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (3000, 5), (5, 3000)])
def test_legends_fit_below_images_of_any_size(size):
    entries = [(f"{'long ' * 20}{index}", color_of(index)) for index in range(30)]
    found = with_legend(Image.new("RGB", size, GRAY), entries)
    assert found.width >= size[0] and found.height > size[1]
    assert found.crop((0, 0, *size)).getcolors() == [(size[0] * size[1], GRAY)]
