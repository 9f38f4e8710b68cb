"""Which images ranges are computed from."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from vim_deploy.data.calibration import calibration_images


@pytest.mark.parametrize(
    ("count", "expected"), [(3, [0, 2, 4]), (2, [0, 3]), (5, [0, 1, 2, 3, 4]), (9, range(5))]
)
def test_images_are_spread_over_the_folders(tmp_path: Path, count, expected):
    for number in range(5):
        folder = tmp_path / f"class{number}"
        folder.mkdir()
        Image.new("L", (2, 2)).save(folder / "a.png")
    found = calibration_images([tmp_path], count)
    assert found == [str(tmp_path / f"class{number}" / "a.png") for number in expected]


def test_a_folder_without_images(tmp_path: Path):
    assert calibration_images([tmp_path], 3) == []
