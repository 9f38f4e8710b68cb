"""Ground-truth label maps: metrics against a confusion matrix, and the values of maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vim_deploy.errors import ImageError
from vim_deploy.tasks.palette import palette
from vim_deploy.tasks.segment import ground_truth
from vim_deploy.tasks.segment.ground_truth import GroundTruth, OverlapTotals, class_overlaps, class_pixels
from vim_deploy.tasks.segment.options import GroundTruthValues

CLASSES = 4


def maps(height=37, width=23, seed=0):
    generator = np.random.default_rng(seed)
    found = generator.integers(0, CLASSES, (height, width), dtype=np.uint8)
    true = generator.integers(-1, CLASSES, (height, width)).astype(np.int16)
    return found, true


@pytest.mark.parametrize("strip", [1, 23 * 5, 1 << 20])
def test_metrics_over_images_match_the_confusion_matrix(monkeypatch, strip):
    monkeypatch.setattr(ground_truth, "_STRIP_PIXELS", strip)
    scores = OverlapTotals.empty(CLASSES + 1)  # the last class does not occur
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    for seed in range(3):
        found, true = maps(seed=seed)
        scores.add(class_overlaps(found, true, CLASSES + 1))
        assert np.array_equal(class_pixels(found, CLASSES), np.bincount(found.ravel(), minlength=CLASSES))
        for predicted, label in zip(found.ravel(), true.ravel(), strict=True):
            if label >= 0:
                confusion[label, predicted] += 1
    correct = np.diag(confusion)
    iou = correct / (confusion.sum(0) + confusion.sum(1) - correct)
    assert scores.iou() == pytest.approx([*iou, None])
    assert scores.miou == pytest.approx(iou.mean())
    assert scores.accuracy()[:CLASSES] == pytest.approx(correct / confusion.sum(1))
    assert scores.pixel_accuracy == pytest.approx(correct.sum() / confusion.sum())


def test_without_labeled_pixels_there_are_no_metrics():
    scores = OverlapTotals.empty(CLASSES)
    scores.add(class_overlaps(np.zeros((2, 2), np.uint8), np.full((2, 2), -1, np.int16), CLASSES))
    assert (scores.miou, scores.pixel_accuracy, scores.mean_accuracy) == (None, None, None)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_zero_and_the_ignored_value_are_unlabeled_in_one_based_maps(tmp_path, dtype):
    given = np.array([[0, 1, 4], [255, 2, 3]], dtype)
    Image.fromarray(given).save(tmp_path / "a.png")
    found = GroundTruth(tmp_path, GroundTruthValues.ONE_BASED).labels(Path("a"), (3, 2), CLASSES)
    assert found.tolist() == [[-1, 0, 3], [-1, 1, 2]]
    with pytest.raises(ImageError, match="has the values 4; expected 0 to 3, and 255 for unlabeled pixels"):
        GroundTruth(tmp_path, GroundTruthValues.ZERO_BASED).labels(Path("a"), (3, 2), CLASSES)
    with pytest.raises(ImageError, match="has the values 255; expected 1 to 4, and 0 or 9"):
        GroundTruth(tmp_path, GroundTruthValues.ONE_BASED, ignore=9).labels(Path("a"), (3, 2), CLASSES)


def test_every_class_has_a_different_color():
    colors = {tuple(color) for color in palette(256).tolist()}
    assert len(colors) == 256
    assert (0, 0, 0) not in {tuple(color) for color in palette(255).tolist()}
