"""The bounded form of a detector: the same objects in a fixed number of rows, exceeded bounds reported."""

from __future__ import annotations

import pytest
import torch
from dense.golden_detector import golden_detector, golden_input
from dense.random_detector import random_detector, random_image

from vim_deploy.dense import cascade

ROWS, CLASSES, BOXES = 20, 60, 80


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def wide_detector(seed):
    """More pairs of box and class than are considered."""
    assert CLASSES * BOXES > cascade.MAX_CANDIDATES
    return random_detector(
        seed, num_classes=CLASSES, pre_nms_topk=200, post_nms_topk=BOXES, detections_per_image=ROWS
    )


def both(model, image, threshold):
    with torch.no_grad():
        return model(image, torch.tensor(threshold)), model.bounded(image, torch.tensor(threshold))


def assert_same_objects(plain, bounded):
    """Bit by bit; returns the number of objects."""
    *rows, count, exceeded = bounded
    assert (count.dtype, count.shape, exceeded.dtype, exceeded.shape) == (
        torch.int32,
        (1,),
        torch.int32,
        (2,),
    )
    objects = int(count)
    assert len(plain[0]) == objects
    for expected, found in zip(plain, rows, strict=True):
        assert torch.equal(expected, found[:objects].to(expected.dtype))
    return objects


@pytest.mark.parametrize("seed", [0, 1])
def test_every_threshold_gives_the_same_objects(seed):
    model, image = wide_detector(seed), random_image(seed)
    scores = model(image, torch.tensor(0.0))[1]
    few = float(scores[ROWS // 4])
    counts = []
    for threshold in (few, float(scores[0]), float(scores[-1]) / 2):
        plain, bounded = both(model, image, threshold)
        counts.append(assert_same_objects(plain, bounded))
        assert [len(rows) for rows in bounded[:4]] == [ROWS] * 4
        assert bounded[2].dtype == torch.int32
    assert counts == [int((scores > few).sum()), 0, ROWS]


def test_more_objects_than_rows_are_reported():
    model, image = wide_detector(0), random_image(0)
    scores = model.bounded(image, torch.tensor(0.0))[1]
    least = float(scores[-1])
    for threshold, expected in ((least / 2, 1), (least, 0)):
        plain, bounded = both(model, image, threshold)
        assert_same_objects(plain, bounded)
        assert int(bounded[5][0]) == expected, (threshold, least)


def test_more_candidates_than_are_considered_are_reported(monkeypatch):
    model, image = wide_detector(0), random_image(0)
    plain, bounded = both(model, image, 0.0)  # every pair has a score above 0
    assert_same_objects(plain, bounded)
    assert int(bounded[5][1]) == 1
    _, bounded = both(model, image, float(plain[1][-1]))
    assert int(bounded[5][1]) == 0
    # With a low bound objects are missing, and are reported.
    monkeypatch.setattr(cascade, "MAX_CANDIDATES", ROWS // 2)
    _, bounded = both(model, image, 0.0)
    assert 0 < int(bounded[4]) <= ROWS // 2
    assert bounded[5].tolist() == [0, 1]
    for expected, found in zip(plain, bounded, strict=False):
        assert torch.equal(expected[0], found[0].to(expected.dtype))


def test_rows_after_the_objects_are_the_next_best_boxes():
    """So that an engine can be compared on an image without objects."""
    model, image = wide_detector(0), random_image(0)
    low, high = (both(model, image, threshold)[1] for threshold in (0.0, 0.99))
    assert (int(low[4]), int(high[4])) == (ROWS, 0)
    for expected, found in zip(low[:4], high[:4], strict=True):
        assert torch.equal(expected, found)


def test_fewer_pairs_than_rows():
    """The reference's small detector: as many pairs as rows, none of which are left out."""
    plain, bounded = both(golden_detector(), golden_input(), 0.0)
    assert assert_same_objects(plain, bounded) == 100
    assert bounded[5].tolist() == [0, 0]
    _, bounded = both(golden_detector(), torch.zeros_like(golden_input()), 0.0)
    assert int(bounded[4]) == 0
    assert bounded[1].eq(0).all()
