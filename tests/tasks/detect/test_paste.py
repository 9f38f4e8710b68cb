"""Pasting masks into images, against PyTorch's grid_sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vim_deploy.tasks.detect.paste import THRESHOLD, paste_mask


def by_grid_sample(mask, box, height, width):
    """Upstream's rule: bilinear, zeros outside, corners not aligned."""
    left, top, right, bottom = box
    y, x = (torch.arange(0, length, dtype=torch.float64) + 0.5 for length in (height, width))
    y, x = (y - top) / (bottom - top) * 2 - 1, (x - left) / (right - left) * 2 - 1
    grid = torch.stack([x[None].expand(height, width), y[:, None].expand(height, width)], dim=-1)
    values = torch.from_numpy(mask.astype(np.float64))[None, None]
    return torch.nn.functional.grid_sample(values, grid[None], align_corners=False)[0, 0].numpy()


@pytest.mark.parametrize("seed", range(20))
def test_pasting_equals_grid_sample(seed):
    generator = np.random.default_rng(seed)
    height, width = generator.integers(3, 80, 2)
    corner = generator.uniform(-5, [width, height])
    box = np.concatenate([corner, corner + generator.uniform(0.1, 60, 2)])
    mask = generator.uniform(0, 1, (28, 28)).astype(np.float32)
    found, values = paste_mask(mask, box, height, width), by_grid_sample(mask, box, height, width)
    assert found.shape == (height, width)
    close = np.abs(values - THRESHOLD) < 1e-9  # rounding may change these
    assert np.array_equal(found | close, (values >= THRESHOLD) | close)


@pytest.mark.parametrize("box", [(-9.0, -9, -4, -4), (50, 50, 60, 60), (3, 3, 3.001, 3.001)])
def test_mask_of_a_box_outside_the_image_or_smaller_than_a_pixel_is_empty(box):
    assert paste_mask(np.ones((28, 28), np.float32), np.array(box), 20, 30).sum() == 0


@pytest.mark.parametrize("box", [(2, 1, 6, 1), (3, 0, 3, 4), (5, 5, 5, 5), (2.5, 0.5, 2.5, 0.5)])
def test_mask_of_a_box_without_area_is_empty(box):
    with np.errstate(all="raise"):
        assert not paste_mask(np.ones((4, 4), np.float32), np.array(box, np.float32), 8, 8).any()


def test_a_full_mask_fills_its_box():
    found = paste_mask(np.full((28, 28), 0.9, np.float32), np.array([4, 6, 14, 12]), 20, 20)
    expected = np.zeros((20, 20), bool)
    expected[6:12, 4:14] = True
    assert np.array_equal(found, expected)
