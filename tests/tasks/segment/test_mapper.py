"""Label maps from windows' logits, compared with resizing the logits of the complete image in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from golden_data import assert_close, load_json, load_tensors
from golden_segmenter import golden_segmenter

from vim_deploy.data.bilinear import resize
from vim_deploy.tasks.segment import mapper
from vim_deploy.tasks.segment.axis import Axis
from vim_deploy.tasks.segment.memory import max_bands

CROP, STRIDE, CELLS, CLASSES = 64, 43, 16, 7


def windows_of(rows: Axis, columns: Axis, seed: int = 0) -> list[list[np.ndarray]]:
    generator = np.random.default_rng(seed)
    shape = (rows.cells, columns.cells, CLASSES)
    return [[generator.standard_normal(shape, np.float32) for _ in columns.starts] for _ in rows.starts]


def by_torch(rows: Axis, columns: Axis, windows: list[list[np.ndarray]]) -> np.ndarray:
    """Each window is resized to the crop, the windows are averaged, and the result is resized; float64."""
    size = (max(rows.scaled, rows.crop), max(columns.scaled, columns.crop))
    total, count = torch.zeros(1, CLASSES, *size, dtype=torch.float64), torch.zeros(size)
    for top, band in zip(rows.starts, windows, strict=True):
        for left, logits in zip(columns.starts, band, strict=True):
            place = (slice(top, top + rows.crop), slice(left, left + columns.crop))
            values = torch.from_numpy(logits.astype(np.float64)).permute(2, 0, 1)[None]
            total[..., place[0], place[1]] += F.interpolate(
                values, size=(rows.crop, columns.crop), mode="bilinear", align_corners=False
            )
            count[place] += 1
    whole = (total / count)[..., : rows.scaled, : columns.scaled]
    return F.interpolate(whole, size=(rows.original, columns.original), mode="bilinear", align_corners=False)[
        0
    ].numpy()


@pytest.mark.parametrize(
    ("original", "scaled"),
    [
        ((101, 80), (101, 80)),  # not scaled
        ((300, 517), (101, 180)),  # enlarged, several tiles
        ((40, 30), (150, 110)),  # reduced
        ((64, 64), (64, 64)),  # one window
        ((50, 200), (30, 120)),  # smaller than the crop
    ],
)
def test_scores_match_resizing_the_complete_image(original, scaled):
    rows, columns = (Axis(*sides, CROP, STRIDE, CELLS) for sides in zip(original, scaled, strict=True))
    windows = windows_of(rows, columns)
    expected = by_torch(rows, columns, windows)
    down, across = list(rows.shares(0, original[0])), list(columns.shares(0, original[1]))
    found = mapper._scores(down, across, dict(enumerate(windows))).transpose(2, 1, 0)
    assert_close(found, expected, 1e-5)  # float32 sums of at most a few dozen terms
    labels = mapper.label_map(
        rows, columns, CLASSES, lambda requested: {band: windows[band] for band in requested}
    )
    assert labels.shape == original
    assert labels.dtype == np.uint8
    # Ties within rounding may give either class.
    first, second = np.sort(expected, axis=0)[-1:-3:-1]
    clear = first - second > 1e-4
    assert np.array_equal(labels[clear], expected.argmax(axis=0)[clear])
    assert clear.mean() > 0.99


def test_rows_of_windows_are_requested_from_top_to_bottom_and_released():
    rows, columns = Axis(2000, 500, CROP, STRIDE, CELLS), Axis(70, 70, CROP, STRIDE, CELLS)
    windows = windows_of(rows, columns)
    requested: list[list[int]] = []

    def bands(numbers):
        requested.append(numbers)
        return {number: windows[number] for number in numbers}

    mapper.label_map(rows, columns, CLASSES, bands)
    assert {number for numbers in requested for number in numbers} == set(range(len(windows)))
    assert all(numbers == list(range(numbers[0], numbers[-1] + 1)) for numbers in requested)
    assert [numbers[0] for numbers in requested] == sorted(numbers[0] for numbers in requested)
    assert max(map(len, requested)) == max_bands(rows) < len(windows)


@torch.no_grad()
def test_sliding_windows_match_the_reference():
    tensors, crop = load_tensors("segmenter"), load_json("segmenter")["slide"]["crop"]
    model, image = golden_segmenter(), torch.from_numpy(tensors["slide_image"])
    stride = load_json("segmenter")["slide"]["stride"]
    expected = tensors["slide_logits"][0]
    height, width = expected.shape[1:]
    rows, columns = (
        Axis(height, height, crop[0], stride[0], CELLS),
        Axis(width, width, crop[1], stride[1], CELLS),
    )

    def band_of(index):
        top = rows.starts[index]
        crops = [image[..., top : top + crop[0], left : left + crop[1]] for left in columns.starts]
        return [model(window)[0].permute(1, 2, 0).numpy() for window in crops]

    down, across = list(rows.shares(0, height)), list(columns.shares(0, width))
    bands = {share.window: band_of(share.window) for share in down}
    found = mapper._scores(down, across, bands)
    assert_close(found.transpose(2, 1, 0), expected, 3e-5)  # tolerance of the golden data
    labels = mapper.label_map(
        rows, columns, len(expected), lambda requested: {index: band_of(index) for index in requested}
    )
    assert (labels != expected.argmax(axis=0)).mean() < 1e-3  # near ties


@pytest.mark.parametrize("size", [(31, 40), (7, 9), (13, 80), (26, 3)])
def test_resizing_matches_pytorch(size):
    image = np.random.default_rng(0).integers(0, 256, (13, 20, 3), dtype=np.uint8)
    given = torch.from_numpy(image.astype(np.float64)).permute(2, 0, 1)[None]
    expected = F.interpolate(given, size=size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    assert_close(resize(image, *size), expected, 1e-6)  # float32 values up to 255


def test_more_than_256_classes_need_16_bits():
    rows = columns = Axis(CROP, CROP, CROP, CROP, 4)
    logits = np.zeros((4, 4, 300), np.float32)
    logits[..., 299] = 1
    labels = mapper.label_map(rows, columns, 300, lambda requested: {0: [logits]})
    assert labels.dtype == np.uint16
    assert (labels == 299).all()
