"""Boxes, suppression and pooling in cases that the reference data do not contain: ties, borders, levels."""

from __future__ import annotations

import pytest
import torch

from vim_deploy.dense.boxes import apply_deltas, nms
from vim_deploy.dense.roi import box_levels, pool, roi_align


def keep(boxes, scores, overlap=0.5, threshold=0.0, limit=4):
    places, best = nms(torch.tensor(boxes), torch.tensor(scores), torch.tensor(threshold), overlap, limit)
    return places.tolist(), best.tolist()


TWICE = [[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]


def test_overlapping_box_of_the_same_class_is_suppressed():
    assert keep(TWICE, [[0.5, 0.75, 0.25]]) == ([[0, 1], [0, 2], [0, 0], [0, 0]], [0.75, 0.25, 0, 0])


def test_overlapping_box_of_another_class_is_kept():
    places, scores = keep(TWICE, [[0.5, 0, 0], [0, 0.75, 0]])
    assert (places[:2], scores) == ([[1, 1], [0, 0]], [0.75, 0.5, 0, 0])


def test_box_with_exactly_the_iou_threshold_is_kept():
    halves = [[0.0, 0, 2, 1], [0, 0, 1, 1]]
    assert keep(halves, [[0.75, 0.5]], overlap=0.5, limit=2)[1] == [0.75, 0.5]


def test_box_with_exactly_the_score_threshold_is_dropped():
    assert keep(TWICE, [[0.5, 0.25, 0.25]], threshold=0.25, limit=2)[1] == [0.5, 0.25]
    assert keep(TWICE, [[0.5, 0.25, 0.25]], threshold=0.25, limit=2)[0] == [[0, 0], [0, 0]]


def test_equal_scores_keep_their_order():
    apart = [[0.0, 0, 1, 1], [5, 5, 6, 6], [9, 9, 10, 10]]
    assert keep(apart, [[0.5, 0.5, 0.5]], limit=3)[0] == [[0, 0], [0, 1], [0, 2]]


def test_boxes_without_area_suppress_nothing():
    assert keep([[1.0, 1, 1, 1], [1, 1, 1, 1]], [[0.5, 0.25]], limit=2)[1] == [0.5, 0.25]


def test_levels_equal_the_formula_of_the_reference():
    """floor(4 + log2(size / 224)), clamped to 2 to 5, as in upstream."""
    sides = torch.tensor([0.5, 50, 111.9, 112, 200, 223.9, 224, 300, 448, 900, 2000])
    boxes = torch.cat([torch.full((len(sides), 2), 3.0), 3 + torch.stack([sides, sides], 1)], dim=1)
    expected = torch.floor(4 + torch.log2(sides / 224 + 1e-8)).clamp(2, 5).long()
    # In float32, 3 + 111.9 - 3 differs from 111.9, but there is no boundary between them.
    assert box_levels(boxes).tolist() == expected.tolist()


def test_every_box_is_pooled_from_its_level():
    levels = tuple(torch.full((1, 1, 512 // 2**index, 512 // 2**index), 10.0 + index) for index in range(4))
    boxes = torch.tensor([[10.0, 10, 10 + side, 10 + side] for side in (50, 150, 250, 460)])
    assert pool(levels, boxes, 7).mean(dim=(1, 2, 3)).tolist() == [10, 11, 12, 13]


def test_linear_images_are_pooled_to_the_values_at_bin_centers():
    """Bilinear samples of a linear image are exact for any number of samples."""
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    (found,) = roi_align(ramp, torch.tensor([[16.0, 16, 72, 44]]), 0.25, 7)
    centers = 4 + (torch.arange(7) + 0.5) * 2 - 0.5  # of bins of two pixels
    torch.testing.assert_close(found[0], centers.expand(7, 7))


@pytest.mark.parametrize("box", [[5.0, 5, 5, 20], [0.0, 0, 0, 0]])
def test_empty_boxes_are_pooled_to_zeros(box):
    assert roi_align(torch.ones(1, 2, 8, 8), torch.tensor([box]), 0.25, 7).eq(0).all()


def test_growth_of_a_side_is_limited():
    (box,) = apply_deltas(torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([[0.0, 0, 100, 100]]))
    torch.testing.assert_close(box[2:] - box[:2], torch.tensor([1000.0, 1000.0]))
