"""Overlays of vim-infer: their size and orientation, and what happens if one cannot be drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
from infer_command import csv_rows, make_engine, make_images, run
from PIL import Image
from small_onnx import color_model, save

from vim_deploy.data.original import OriginalImages
from vim_deploy.engines.build import build_engine
from vim_deploy.errors import ImageError


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_engine()


def test_rotated_images_are_drawn_upright():
    Path("images").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # the first row is on the right
    Image.new("RGB", (40, 10), "red").save("images/a.jpg", exif=exif)
    result = run("colors.engine", "images", "-o", "o.csv", "--overlays", "drawn", "--no-legend")
    assert result.exit_code == 0, result.output
    with Image.open("drawn/a.jpg") as image:
        assert image.size == (10, 40)


def test_an_overlay_that_cannot_be_drawn_is_an_error_row(monkeypatch):
    make_images("images", 2)

    def read(self: OriginalImages, path: str, given: object) -> Image.Image:
        if path.endswith("00000.png"):
            raise ImageError("the file was replaced")
        return Image.new("RGB", (4, 3))

    monkeypatch.setattr(OriginalImages, "read", read)
    result = run("colors.engine", "images", "-o", "o.csv", "--overlays", "drawn")
    assert result.exit_code == 1
    bad, good = csv_rows("o.csv")
    assert bad["reason"] == "its overlay cannot be drawn: the file was replaced"
    assert good["status"] == "ok"
    assert [path.name for path in Path("drawn").iterdir()] == ["00001.jpg"]


def test_overlays_are_refused_for_a_task_without_pictures():
    make_images("images", 1)
    features = color_model(task="features")
    build_engine(save(features, Path("features.onnx")), "features.engine")
    result = run("features.engine", "images", "-o", "o.csv", "--overlays", "drawn")
    assert result.exit_code == 2
    assert "predictions of the task features cannot be drawn" in " ".join(result.stderr.split())
    assert not Path("o.csv").exists()
