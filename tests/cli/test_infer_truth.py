"""vim-infer with true label maps: what is counted, what is resumed, and what does not fit."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from infer_place import csv_rows, run
from small_onnx import COLOURS, save
from small_segmenter import colour_segmenter, save_map, striped

from vim_deploy.dense.ade20k import ADE20K_CLASSES
from vim_deploy.engines.build import build_engine
from vim_deploy.tasks.segment.files import SegmentFiles
from vim_deploy.tasks.segment.ground_truth import Values
from vim_deploy.tasks.segment.options import SegmentOptions

OWN = ("--scale", "none")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build_engine(save(colour_segmenter(), Path("colours.onnx")), "colours.engine")


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_truth_gives_iou_and_accuracy(format):
    """Borders lie on cells, so the network is right everywhere; a quarter of one true map is made wrong."""
    for name in ("a", "b"):
        true = striped(Path(f"images/sub/{name}.png"), 32, 32)
        if name == "b":
            true[16:, :16] = 1
        save_map(Path(f"truth/sub/{name}.png"), true)
    options = ("--truth", "truth", "--areas", "areas.csv", "--json", *OWN)
    result = run("colours.engine", "images", "-o", f"out.{format}", *options)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["compared_with_truth"] == 2
    # Interpolation moves a border by half a cell at most.
    assert figures["pixel_accuracy"] == pytest.approx(1 - 256 / 2048, abs=0.02)
    ious = dict(figures["iou"])
    assert ious["red"] == pytest.approx(768 / 1024, abs=0.03)
    assert figures["miou"] == pytest.approx(np.mean(list(ious.values())))
    table = list(csv.DictReader(io.StringIO(Path("areas.csv").read_text())))
    assert [row["class"] for row in table] == list(COLOURS)
    assert float(table[0]["iou"]) == pytest.approx(ious["red"], abs=1e-6)
    assert sum(int(row["pixels"]) for row in table) == 2048


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_a_resumed_run_has_the_figures_of_all_rows(format):
    for name in ("a", "b", "d"):
        save_map(Path(f"truth/{name}.png"), striped(Path(f"images/{name}.png"), 32, 32))
    Path("images/c.png").write_bytes(b"no image")
    command = ("colours.engine", "images", "--truth", "truth", *OWN, "--json")
    assert run(*command, "-o", f"whole.{format}").exit_code == 1
    stopped = run(*command, "-o", f"out.{format}", "--max-failures", "0", "--workers", 1)
    assert stopped.exit_code == 3, stopped.output
    resumed = run(*command, "-o", f"out.{format}", "--resume")
    whole = run(*command, "-o", f"again.{format}")
    assert json.loads(resumed.stdout)["resumed"] == 3
    for name in ("compared_with_truth", "miou", "pixel_accuracy", "iou", "classes_found", "images"):
        assert json.loads(resumed.stdout)[name] == json.loads(whole.stdout)[name]


def test_ade20k_maps_count_from_one_and_zero_is_not_labelled():
    true = striped(Path("images/a.png"), 32, 32) + 1
    true[:, :8] = 0
    save_map(Path("truth/a.png"), true)
    result = run("colours.engine", "images", "-o", "o.csv", "--truth", "truth", "--truth-values", "from-one",
                 *OWN, "--json")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["pixel_accuracy"] > 0.95
    (row,) = csv_rows("o.csv")
    agreement = json.loads(row["agreement"])
    assert sum(entry["true"] for entry in agreement) == 32 * 24
    assert [entry["index"] for entry in agreement] == [0, 1, 2]


@pytest.mark.parametrize(("names", "values"), [(ADE20K_CLASSES, "from-one"), (COLOURS, "plain")])
def test_the_classes_decide_what_true_values_mean_unless_told(names, values):
    files = SegmentFiles(SegmentOptions(truth=Path("truth")), names, ())
    assert files.identity()["truth_values"] == values
    told = SegmentFiles(SegmentOptions(truth=Path("truth"), truth_values=Values.PLAIN), names, ())
    assert told.identity()["truth_values"] == "plain"


@pytest.mark.parametrize(
    ("truth", "reason"),
    [
        (np.zeros((24, 41), np.uint8), "has 41 x 24 pixels, the image 40 x 24"),
        (np.full((24, 40), 7, np.uint8), "has the values 7; expected 0 to 2, 255 for what is not labelled"),
        (np.zeros((24, 40, 3), np.uint8), "mode 'RGB'; expected one number per pixel"),
        (None, "there is no label map truth/a.png"),
        (b"no image", "truth/a.png cannot be read"),
    ],
)
def test_true_label_maps_that_do_not_fit_are_rows_that_name_them(truth, reason):
    striped(Path("images/a.png"))
    Path("truth").mkdir()
    if isinstance(truth, bytes):
        Path("truth/a.png").write_bytes(truth)
    elif truth is not None:
        save_map(Path("truth/a.png"), truth)
    result = run("colours.engine", "images", "-o", "o.csv", "--truth", "truth", "--maps", "maps")
    assert result.exit_code == 1
    (row,) = csv_rows("o.csv")
    assert row["status"] == "error"
    assert reason in row["reason"]
    assert not Path("maps/a.png").exists()
