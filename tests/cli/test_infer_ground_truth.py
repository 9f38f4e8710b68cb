"""vim-infer with ground-truth label maps: metrics, resumed runs, and invalid maps."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from infer_command import csv_rows, run
from small_engines import save_and_build
from small_onnx import COLORS
from small_segmenter import color_segmenter, save_map, striped

from vim_deploy.dense.ade20k import ADE20K_CLASSES
from vim_deploy.tasks.segment.files import SegmentFiles
from vim_deploy.tasks.segment.options import GroundTruthValues, SegmentOptions

OWN = ("--scale", "none")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_and_build(color_segmenter(), "colors.onnx", "colors.engine")


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_ground_truth_gives_iou_and_accuracy(format):
    """Borders are aligned with cells, so the model is correct; a quarter of one map is changed."""
    for name in ("a", "b"):
        true = striped(Path(f"images/sub/{name}.png"), 32, 32)
        if name == "b":
            true[16:, :16] = 1
        save_map(Path(f"ground_truth/sub/{name}.png"), true)
    options = ("--ground-truth", "ground_truth", "--areas", "areas.csv", "--json", *OWN)
    result = run("colors.engine", "images", "-o", f"out.{format}", *options)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["compared_with_ground_truth"] == 2
    # Interpolation moves a border by at most half a cell.
    assert figures["pixel_accuracy"] == pytest.approx(1 - 256 / 2048, abs=0.02)
    ious = dict(figures["iou"])
    assert ious["red"] == pytest.approx(768 / 1024, abs=0.03)
    assert figures["miou"] == pytest.approx(np.mean(list(ious.values())))
    table = list(csv.DictReader(io.StringIO(Path("areas.csv").read_text())))
    assert [row["class"] for row in table] == list(COLORS)
    assert float(table[0]["iou"]) == pytest.approx(ious["red"], abs=1e-6)
    assert sum(int(row["pixels"]) for row in table) == 2048


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_a_resumed_run_has_the_metrics_of_all_rows(format):
    for name in ("a", "b", "d"):
        save_map(Path(f"ground_truth/{name}.png"), striped(Path(f"images/{name}.png"), 32, 32))
    Path("images/c.png").write_bytes(b"no image")
    command = ("colors.engine", "images", "--ground-truth", "ground_truth", *OWN, "--json")
    assert run(*command, "-o", f"whole.{format}").exit_code == 1
    stopped = run(*command, "-o", f"out.{format}", "--max-failures", "0", "--workers", 1)
    assert stopped.exit_code == 3, stopped.output
    resumed = run(*command, "-o", f"out.{format}", "--resume")
    whole = run(*command, "-o", f"again.{format}")
    assert json.loads(resumed.stdout)["resumed"] == 3
    for name in ("compared_with_ground_truth", "miou", "pixel_accuracy", "iou", "classes_found", "images"):
        assert json.loads(resumed.stdout)[name] == json.loads(whole.stdout)[name]


def test_one_based_maps_have_zero_for_unlabeled_pixels():
    true = striped(Path("images/a.png"), 32, 32) + 1
    true[:, :8] = 0
    save_map(Path("ground_truth/a.png"), true)
    options = ("--ground-truth", "ground_truth", "--ground-truth-values", "one-based", *OWN, "--json")
    result = run("colors.engine", "images", "-o", "o.csv", *options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["pixel_accuracy"] > 0.95
    (row,) = csv_rows("o.csv")
    overlap = json.loads(row["overlap"])
    assert sum(entry["ground_truth"] for entry in overlap) == 32 * 24
    assert [entry["index"] for entry in overlap] == [0, 1, 2]


@pytest.mark.parametrize(("names", "values"), [(ADE20K_CLASSES, "one-based"), (COLORS, "zero-based")])
def test_the_default_ground_truth_values_depend_on_the_classes(names, values):
    files = SegmentFiles(SegmentOptions(ground_truth=Path("ground_truth")), names, ())
    assert files.identity()["ground_truth_values"] == values
    chosen = GroundTruthValues.ZERO_BASED
    options = SegmentOptions(ground_truth=Path("ground_truth"), ground_truth_values=chosen)
    assert SegmentFiles(options, names, ()).identity()["ground_truth_values"] == "zero-based"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (np.zeros((24, 41), np.uint8), "has 41 x 24 pixels, the image 40 x 24"),
        (np.full((24, 40), 7, np.uint8), "has the values 7; expected 0 to 2, and 255 for unlabeled pixels"),
        (np.zeros((24, 40, 3), np.uint8), "mode 'RGB'; expected one number per pixel"),
        (None, "there is no label map ground_truth/a.png"),
        (b"no image", "ground_truth/a.png cannot be read"),
    ],
)
def test_invalid_label_maps_are_error_rows_that_name_them(content, reason):
    striped(Path("images/a.png"))
    Path("ground_truth").mkdir()
    if isinstance(content, bytes):
        Path("ground_truth/a.png").write_bytes(content)
    elif content is not None:
        save_map(Path("ground_truth/a.png"), content)
    result = run("colors.engine", "images", "-o", "o.csv", "--ground-truth", "ground_truth", "--maps", "maps")
    assert result.exit_code == 1
    (row,) = csv_rows("o.csv")
    assert row["status"] == "error"
    assert reason in row["reason"]
    assert not Path("maps/a.png").exists()
