"""vim-validate with segmenters: a correct export passes, other weights fail."""

from __future__ import annotations

import json

import commands
import numpy as np
import pytest
from golden_segmenter import golden_segmenter
from PIL import Image

from vim_deploy.cli.export import main as export
from vim_deploy.cli.validate import main as validate
from vim_deploy.model import save_checkpoint


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkpoint and the file exported from it."""
    folder = tmp_path_factory.mktemp("segmenter")
    weights, model = folder / "weights.safetensors", folder / "model.onnx"
    save_checkpoint(golden_segmenter(), weights)
    options = ("--task", "segment", "--checkpoint", weights, "--no-check", "-o", model)
    done = commands.invoke(export, "auto", *options)
    assert done.exit_code == 0, done.output
    return weights, model


def run(place, *options):
    weights, model = place
    arguments = ["auto", str(model), "--checkpoint", str(weights), "--random", "1", "--no-hard", *options]
    return commands.invoke(validate, *arguments)


def test_a_correct_export_passes(place):
    result = run(place)
    assert result.exit_code == 0, result.output
    assert "passed" in result.output


def test_weights_read_with_another_option_fail(place):
    result = run(place, "--no-average-directions", "--no-function-body")
    assert result.exit_code == 1, result.output
    assert "relative difference" in result.output


def test_layers_are_compared(place):
    result = run(place, "--layers", "--no-function-body")
    assert result.exit_code == 0, result.output
    assert "no part exceeds its limit" in result.stdout
    for part in ("map 4", "neck 1", "top-down 2", "fusion", "logits"):
        assert part in result.stdout


def test_miou_is_measured_on_images_with_ground_truth(place, tmp_path):
    generator = np.random.default_rng(0)
    for index in range(3):
        pixels, classes = (
            generator.integers(0, 256, (40, 50, 3), np.uint8),
            generator.integers(0, 3, (40, 50)),
        )
        for folder, values in (("images", pixels), ("maps", classes.astype(np.uint8))):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(values).save(tmp_path / folder / f"{index}.png")
    given = ("--images", str(tmp_path / "images"), "--ground-truth", str(tmp_path / "maps"))
    result = run(place, *given, "--no-function-body", "--max-images", "1", "--json")
    assert result.exit_code == 0, result.output
    quality = json.loads(result.stdout)["artifacts"][0]["quality"]
    assert (quality["metric"], quality["images"]) == ("mIoU", 3)
    assert 0 < quality["reference"] < 1
    assert quality["value"] == pytest.approx(quality["reference"], abs=1e-3)
    assert quality["interval"][0] <= quality["value"] - quality["reference"] <= quality["interval"][1]
    assert "needs --images" in run(place, "--ground-truth", str(tmp_path)).stderr


def test_labels_are_refused(place, tmp_path):
    result = run(place, "--labels", "folder", "--images", str(tmp_path))
    assert result.exit_code == 2
    assert "--labels needs a task with one class per image" in result.stderr
