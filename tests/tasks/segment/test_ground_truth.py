"""Agreement of label maps, against counting by hand and against what true maps may hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vim_deploy.errors import ImageError
from vim_deploy.tasks.segment import ground_truth as truth
from vim_deploy.tasks.segment.ground_truth import Scores, Truth, Values, agreement, counted
from vim_deploy.tasks.segment.visualization import palette

CLASSES = 4


def maps(height=37, width=23, seed=0):
    generator = np.random.default_rng(seed)
    found = generator.integers(0, CLASSES, (height, width), dtype=np.uint8)
    true = generator.integers(-1, CLASSES, (height, width)).astype(np.int16)
    return found, true


@pytest.mark.parametrize("strip", [1, 23 * 5, 1 << 20])
def test_sums_over_images_are_those_of_one_confusion_matrix(monkeypatch, strip):
    monkeypatch.setattr(truth, "_STRIP", strip)
    scores = Scores.empty(CLASSES + 1)  # the last class occurs nowhere
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    for seed in range(3):
        found, true = maps(seed=seed)
        scores.add(agreement(found, true, CLASSES + 1))
        assert np.array_equal(counted(found, CLASSES), np.bincount(found.ravel(), minlength=CLASSES))
        for ours, theirs in zip(found.ravel(), true.ravel(), strict=True):
            if theirs >= 0:
                confusion[theirs, ours] += 1
    right = np.diag(confusion)
    iou = right / (confusion.sum(0) + confusion.sum(1) - right)
    assert scores.iou() == pytest.approx([*iou, None])
    assert scores.miou == pytest.approx(iou.mean())
    assert scores.accuracy()[:CLASSES] == pytest.approx(right / confusion.sum(1))
    assert scores.pixel_accuracy == pytest.approx(right.sum() / confusion.sum())


def test_without_labelled_pixels_there_are_no_figures():
    scores = Scores.empty(CLASSES)
    scores.add(agreement(np.zeros((2, 2), np.uint8), np.full((2, 2), -1, np.int16), CLASSES))
    assert (scores.miou, scores.pixel_accuracy, scores.mean_accuracy) == (None, None, None)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_values_from_one_leave_zero_and_the_ignored_out(tmp_path, dtype):
    given = np.array([[0, 1, 4], [255, 2, 3]], dtype)
    Image.fromarray(given).save(tmp_path / "a.png")
    found = Truth(tmp_path, Values.FROM_ONE).of(Path("a"), (3, 2), CLASSES)
    assert found.tolist() == [[-1, 0, 3], [-1, 1, 2]]
    with pytest.raises(ImageError, match="has the values 4; expected 0 to 3, 255 for what is not labelled"):
        Truth(tmp_path, Values.PLAIN).of(Path("a"), (3, 2), CLASSES)
    with pytest.raises(ImageError, match="has the values 255; expected 1 to 4, 0 or 9"):
        Truth(tmp_path, Values.FROM_ONE, ignored=9).of(Path("a"), (3, 2), CLASSES)


def test_every_class_has_a_colour_of_its_own():
    colours = {tuple(colour) for colour in palette(256).tolist()}
    assert len(colours) == 256
    assert (0, 0, 0) not in {tuple(colour) for colour in palette(255).tolist()}
