"""vim-infer --labels: tables, and labels that do not apply."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from infer_command import csv_rows, make_engine, make_images, run
from small_engines import save_and_build
from small_onnx import color_model

pytest.importorskip("onnxruntime", reason="runs engines")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_engine()


def test_labels_from_a_table():
    Path("labels.csv").write_text(
        "image,class\n" + "".join(f"{path},red\n" for path in make_images("flat", 4))
    )
    result = run("colors.engine", "flat", "--labels", "labels.csv", "-o", "out.csv", "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    # The images are red, green, blue, red.
    assert (summary["labeled"], summary["top1_accuracy"]) == (4, 0.5)
    assert [row["label"] for row in csv_rows("out.csv")] == ["red"] * 4
    assert "labels: from labels.csv (4 images)" in result.stderr


def test_numbered_folders_are_no_labels_without_class_names():
    save_and_build(color_model(class_names=None), "nameless.onnx", "nameless.engine")
    for folder in ("1", "2"):
        make_images(f"trip/{folder}", 2)
    result = run("nameless.engine", "trip", "-o", "out.csv")
    assert result.exit_code == 0, result.stderr
    assert "accuracy" not in result.stderr
    assert "labels: none, because the engine has no class names" in result.stderr
    result = run("nameless.engine", "trip", "-o", "out.csv", "--labels", "folder")
    assert "accuracy over 4 labeled images" in result.stderr


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("folder", "--labels folder: none of the images has a label; expected images in folders named like"),
        ("table.csv", "--labels table.csv: none of the images has a label; expected a table that has these"),
        ("fodler", "fodler cannot be read"),
    ],
)
def test_labels_that_match_nothing_are_an_error(labels, message):
    make_images("flat", 2)
    Path("table.csv").write_text("other.png,red\n")
    result = run("colors.engine", "flat", "--labels", labels, "-o", "out.csv")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("out.csv").exists()
