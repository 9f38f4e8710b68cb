"""The segmenter example: the included weights and the training."""

import json
import sys
from pathlib import Path

import commands
import numpy as np
import pytest
from example_exports import example_export
from PIL import Image

from vim_deploy.cli import infer
from vim_deploy.dense.segmenter_checkpoint import load_segmenter

EXAMPLES = Path(__file__).parents[2] / "examples"
SCENES = EXAMPLES / "scenes"
sys.path.insert(0, str(EXAMPLES))

pytest.importorskip("sklearn", reason="the digits are part of scikit-learn (extra: examples)")

from scenes_data import CLASS_NAMES, SIZE, held_out_scenes  # noqa: E402
from write_scenes import write_scenes  # noqa: E402


def test_included_weights_reach_the_documented_miou(tmp_path):
    stated = json.loads((SCENES / "scenes.json").read_text())["held_out"]
    count = write_scenes(tmp_path)
    assert count == stated["scenes"]
    model = tmp_path / "scenes.onnx"
    model.write_bytes(example_export("scenes", "segment"))
    result = commands.run(
        infer, model, tmp_path / "images", "-o", tmp_path / "rows.csv", "--scale", "none",
        "--ground-truth", tmp_path / "labels", "--json", "--quiet",
    )  # fmt: skip
    figures = json.loads(result.stdout)
    # Rounding in the engine changes a few pixels at the borders of classes.
    assert figures["miou"] == pytest.approx(stated["miou"], abs=2e-3)
    assert figures["pixel_accuracy"] == pytest.approx(stated["pixel_accuracy"], abs=1e-3)
    assert figures["miou"] >= 0.8


def test_included_weights_are_small_and_have_metadata():
    _, loaded = load_segmenter(SCENES / "scenes.safetensors", num_classes=len(CLASS_NAMES))
    assert loaded.notes == ()
    assert loaded.config.image_size == (SIZE, SIZE)
    assert (SCENES / "scenes.safetensors").stat().st_size < 2_000_000


def test_scenes_are_deterministic_and_match_their_label_maps(tmp_path):
    (first, labels), (again, _) = next(held_out_scenes(1)), next(held_out_scenes(1))
    assert np.array_equal(first, again)
    assert first.shape == (SIZE, SIZE, 3)
    assert labels.shape == (SIZE, SIZE)
    found = set(np.unique(np.stack([labels for _, labels in held_out_scenes(20)])).tolist())
    assert found == set(range(len(CLASS_NAMES)))
    write_scenes(tmp_path, 1)
    with Image.open(tmp_path / "labels" / "0000.png") as image:
        assert np.array_equal(np.asarray(image), labels)
