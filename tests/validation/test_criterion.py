"""The verdict on int8 engines: by accuracy, mIoU or average precision, or by cosine without classes."""

from __future__ import annotations

import numpy as np
import pytest

from vim_deploy.validation.accuracy import paired
from vim_deploy.validation.compare import compare
from vim_deploy.validation.criterion import judge
from vim_deploy.validation.quality import QualityDifference

OUTPUTS = np.random.default_rng(0).standard_normal((4, 50))


def report(noise: float, precision: str = "int8-matmul"):
    found = OUTPUTS + noise * np.random.default_rng(1).standard_normal(OUTPUTS.shape)
    return compare(lambda _: OUTPUTS, lambda _: found, OUTPUTS, precision=precision, batch=4)


def accuracy(wrong: int, images: int = 200):
    reference = np.zeros(images)
    artifact = reference.copy()
    artifact[:wrong] = 1
    return paired(reference, artifact)


@pytest.mark.parametrize(("wrong", "passes"), [(0, True), (2, True), (3, False)])
def test_accuracy_may_fall_by_one_point(wrong, passes):
    criterion = judge(True, report(1.0), accuracy(wrong), None)
    assert (criterion.reason is None) is passes
    if not passes:
        assert criterion.reason == (
            "top-1 accuracy 98.50% on 200 images, eager model 100.00%; largest loss 1%"
        )


@pytest.mark.parametrize(("value", "passes"), [(0.795, True), (0.785, False), (float("nan"), False)])
def test_mean_iou_may_fall_by_one_point(value, passes):
    quality = QualityDifference("mIoU", 20, 0.8, value, (-0.1, 0.1), 100)
    assert (judge(True, report(1.0), None, quality).reason is None) is passes


@pytest.mark.parametrize(("images", "certain"), [(20, False), (360, False), (2000, True)])
def test_a_verdict_on_few_images_has_a_note(images, certain):
    """Without any changed class: Newcombe's interval of 360 images reaches -1.18 %."""
    criterion = judge(True, report(1.0), accuracy(0, images), None)
    assert criterion.reason is None
    if certain:
        assert criterion.notes == ()
    else:
        (note,) = criterion.notes
        assert note.startswith(f"top-1 accuracy on {images} images: the 95 % interval of the difference, -")
        assert note.endswith("includes losses above 1%; more images make it narrower")


def test_without_labels_there_is_no_pass():
    assert "give labeled --images with --labels or --ground-truth" in str(
        judge(True, report(0.0), None, None).reason
    )


@pytest.mark.parametrize(("noise", "passes"), [(0.01, True), (0.5, False)])
def test_outputs_without_classes_are_judged_by_their_cosine(noise, passes):
    assert (judge(False, report(noise), None, None).reason is None) is passes


@pytest.mark.parametrize("precision", ["int8", "int8-matmul", "fp8"])
def test_differences_of_any_size_are_within_the_tolerance_but_not_nan(precision):
    assert report(10.0, precision).passed
    assert not report(float("nan"), precision).passed
