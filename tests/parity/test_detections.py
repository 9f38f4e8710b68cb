"""Detections are compared as sets, and wrong ones do not pass."""

from __future__ import annotations

import numpy as np
import pytest

from vim_deploy.parity.detections import ALLOWED_MISMATCHES, detections_difference


def detections(count=100, seed=0):
    generator = np.random.default_rng(seed)
    corner = generator.uniform(0, 900, (count, 2))
    return (
        np.concatenate([corner, corner + generator.uniform(10, 100, (count, 2))], axis=1).astype(np.float32),
        np.sort(generator.uniform(0.05, 0.9, count).astype(np.float32))[::-1].copy(),
        generator.integers(0, 5, count),
        generator.uniform(0, 1, (count, 28, 28)).astype(np.float32),
    )


def changed(given, place, change):
    values = list(given)
    values[place] = change(values[place].copy())
    return tuple(values)


def test_order_does_not_matter():
    given = detections()
    order = np.random.default_rng(1).permutation(100)
    assert detections_difference(given, tuple(values[order] for values in given)).relative == 0


def test_rounding_is_reported_as_a_difference_of_its_size():
    given = detections()
    found = detections_difference(given, changed(given, 0, lambda boxes: boxes + 0.01))
    assert found.relative == pytest.approx(0.01 / given[0].max(), rel=1e-2)


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (0, lambda boxes: boxes + 5),
        (1, lambda scores: scores * 0.98),
        (2, lambda classes: (classes + 1) % 5),
        (3, lambda masks: masks[:, ::-1]),
        (0, lambda boxes: np.where(np.arange(100)[:, None] < 3, boxes + 5, boxes)),
        (1, lambda scores: np.where(np.arange(100) == 50, np.nan, scores)),
    ],
    ids=["boxes", "scores", "classes", "masks", "three boxes", "NaN"],
)
def test_wrong_detections_do_not_pass(place, change):
    given = detections()
    assert not detections_difference(given, changed(given, place, change)).within("fp32")


def test_allowed_mismatches_are_ignored():
    given = detections()
    few = int(ALLOWED_MISMATCHES * 100)

    def moved(count):
        return changed(given, 0, lambda boxes: np.where(np.arange(100)[:, None] < count, boxes + 50, boxes))

    assert detections_difference(given, moved(few)).relative == 0
    assert not detections_difference(given, moved(few + 1)).within("fp32")


def test_counts_may_differ_by_the_allowed_mismatches():
    given = detections()
    few = int(ALLOWED_MISMATCHES * 100)
    assert detections_difference(given, tuple(v[: 100 - few] for v in given)).relative == 0
    assert not detections_difference(given, tuple(v[: 99 - few] for v in given)).within("fp32")
    assert not detections_difference(given, tuple(v[:0] for v in given)).within("fp32")


def test_each_detection_has_one_counterpart():
    """Ten copies of a detection do not match ten detections."""
    given = detections(10)
    same = tuple(np.repeat(values[:1], 10, axis=0) for values in given)
    assert not detections_difference(given, same).within("fp32")


def test_two_empty_sets_are_equal():
    nothing = detections(0)
    assert detections_difference(nothing, nothing).relative == 0
