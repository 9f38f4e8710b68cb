"""vim-validate with detectors: sets of detections are compared, and faults are located by stage."""

from __future__ import annotations

import json

import commands
import numpy as np
import pytest
import torch
from dense.golden_detector import golden_config, golden_weights
from PIL import Image
from small_detector import annotations

from vim_deploy.cli.export import main as export
from vim_deploy.cli.validate import main as validate
from vim_deploy.engines.build import build_engine


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkpoint with its configuration, and the file and the engine made from it."""
    folder = tmp_path_factory.mktemp("detector")
    torch.save({"model": golden_weights()}, folder / "model.pth")
    (folder / "small.json").write_text(json.dumps(golden_config().to_dict()))
    options = (
        "--task",
        "detect",
        "--checkpoint",
        folder / "model.pth",
        "--no-check",
        "-o",
        folder / "small.onnx",
    )
    done = commands.invoke(export, folder / "small.json", *options)
    assert done.exit_code == 0, done.output
    build_engine(folder / "small.onnx", folder / "small.engine")
    return folder


def run(place, *options):
    arguments = [place / "small.json", place / "small.onnx", "--checkpoint", place / "model.pth", *options]
    return commands.invoke(validate, *arguments)


def test_a_correct_export_passes(place):
    result = run(place, place / "small.engine", "--random", 1, "--no-hard", "--invariance", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [artifact["label"] for artifact in found["artifacts"]] == [
        "small.onnx (library)", "small.onnx (function body)", "small.engine",
    ]  # fmt: skip
    for artifact in found["artifacts"]:
        assert 0 < artifact["against_float64"]["groups"][-1]["relative"] < 2e-4
        conditions = {row["condition"] for row in artifact["invariance"]["variations"]}
        assert {"repeat 1", "1 thread"} <= conditions
    assert found["eager_float32_against_float64"]["groups"][-1]["relative"] > 0


def test_other_weights_fail(place, tmp_path):
    weights = golden_weights()
    weights["roi_heads.box_predictor.1.cls_score.bias"][0] += 1.0
    torch.save({"model": weights}, tmp_path / "other.pth")
    result = run(
        place, "--checkpoint", tmp_path / "other.pth", "--random", 1, "--no-hard", "--no-function-body"
    )
    assert result.exit_code == 1, result.output
    assert "relative difference" in result.stdout
    assert "was exported from other weights" in result.stdout


def test_the_layers_of_files_and_engines_are_compared(place):
    pytest.importorskip("matplotlib", reason="--plot needs matplotlib")
    result = run(
        place, place / "small.engine", "--layers", "--random", 1, "--no-hard", "--no-function-body", "--json",
        "--plot", place / "layers.svg",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for artifact in json.loads(result.stdout)["artifacts"]:
        assert artifact["layers"]["first_fault"] is None
        assert {"level 6", "proposals", "stage 3", "detections", "masks"} <= {
            part["name"] for part in artifact["layers"]["parts"]
        }


def test_average_precision_is_measured_on_annotated_images(place, tmp_path):
    pytest.importorskip("pycocotools", reason="average precision needs pycocotools")
    for index in range(2):
        pixels = np.random.default_rng(index).integers(0, 256, (100, 128, 3), np.uint8)
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{index}.png")
    boxes = {f"{index}.png": ((128, 100), {0: (10, 10, 60, 60)}) for index in range(2)}
    categories = [{"id": 11 + index, "name": str(index)} for index in range(5)]
    truth = annotations(tmp_path / "truth.json", boxes, categories=categories)
    result = run(
        place, place / "small.engine", "--images", tmp_path / "images", "--ground-truth", truth,
        "--random", 0, "--no-hard", "--no-function-body",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "AP of masks; interval by 200 bootstrap samples of the images" in result.stdout


def test_labels_are_refused(place, tmp_path):
    result = run(place, "--labels", "folder", "--images", tmp_path)
    assert result.exit_code == 2
    assert "--labels needs a task with one class per image" in result.stderr
