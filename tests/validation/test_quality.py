"""mIoU and average precision with the interval of their difference."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from small_detector import annotations

from vim_deploy.results.row import Row
from vim_deploy.tasks.detect.annotations import read_annotations
from vim_deploy.tasks.quality import Quality
from vim_deploy.tasks.segment.quality import mean_iou
from vim_deploy.tasks.segment.result import ClassOverlap
from vim_deploy.validation.quality import compare_quality

CLASSES = ("red", "green", "blue")


def segmented(*overlaps: ClassOverlap) -> Row:
    return Row("x", "ok", result=SimpleNamespace(overlap=overlaps))


def of_images(values: list[float]) -> Quality:
    return Quality("mean", len(values), lambda chosen: float(np.array(values)[chosen].mean()), 500)


def test_mean_iou_of_a_selection(tmp_path):
    rows = [
        segmented(ClassOverlap(0, 50, 50, 100), ClassOverlap(1, 0, 50, 0)),
        segmented(ClassOverlap(0, 100, 100, 100)),
    ]
    quality = mean_iou(rows, CLASSES, tmp_path)
    assert (quality.metric, quality.images) == ("mIoU", 2)
    # Classes: 50 of 100 pixels, and 0 of 50; then 100 of 100; then both images together, 150 of 200 and 0.
    assert quality.value(np.array([0])) == pytest.approx(0.25)
    assert quality.value(np.array([1])) == pytest.approx(1.0)
    assert quality.value(np.array([0, 1])) == pytest.approx(0.375)
    assert quality.value(np.array([1, 1])) == pytest.approx(1.0)


def test_average_precision_of_a_selection_equals_an_evaluation_of_its_images(tmp_path):
    pytest.importorskip("pycocotools", reason="average precision needs pycocotools")
    from vim_deploy.tasks.detect.average_precision import Resampled, average_precision

    sizes = {
        f"{number}.png": ((40, 40), {number % 3: (4, 4, 20, 20), 2: (22, 22, 36, 36)}) for number in range(6)
    }
    truth = read_annotations(annotations(tmp_path / "truth.json", sizes), CLASSES)
    generator = np.random.default_rng(0)
    results = [
        {
            "image_id": entry["image_id"],
            "category_id": entry["category_id"],
            "bbox": [float(side) for side in np.array(entry["bbox"]) + generator.normal(0, 1.5, 4)],
            "score": float(generator.random()),
        }
        for entry in truth.content["annotations"]
        if generator.random() < 0.8
    ]
    for entry in truth.content["annotations"]:
        del entry["segmentation"]  # boxes only
    ids = list(truth.image_ids.values())[::-1]
    resampled = Resampled(truth, results, ids)
    assert resampled.kind == "bbox"
    for chosen in ([0, 1, 2, 3, 4, 5], [4, 1], [3]):
        expected = average_precision(truth, results, [ids[number] for number in chosen]).metrics["bbox"]["AP"]
        assert resampled.average_precision(chosen) == pytest.approx(expected)
    assert 0 < resampled.average_precision([0, 0, 0, 5]) < 1
    assert Resampled(truth, [], ids).average_precision([0]) == 0


def test_the_interval_is_that_of_paired_images():
    values = list(np.random.default_rng(1).random(50))
    same = compare_quality(of_images(values), of_images(values))
    assert same.interval == (0, 0) and same.value == same.reference
    # All images are better by the same amount: the difference does not depend on the selection.
    better = compare_quality(of_images(values), of_images([value + 0.1 for value in values]))
    assert better.interval == pytest.approx((0.1, 0.1))
    mixed = compare_quality(
        of_images(values), of_images([value + 0.1 * (-1) ** i for i, value in enumerate(values)])
    )
    assert mixed.interval[0] < -0.01 < 0.01 < mixed.interval[1]
    assert mixed.to_dict()["interval"] == list(mixed.interval)
