"""The detector example: the included weights and the training."""

import json
import sys
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
from example_exports import example_export

from vim_deploy.cli import infer
from vim_deploy.dense.boxes import apply_deltas
from vim_deploy.dense.detector_checkpoint import load_detector
from vim_deploy.dense.roi import roi_align

EXAMPLES = Path(__file__).parents[2] / "examples"
DETECTOR = EXAMPLES / "detector"
sys.path.insert(0, str(EXAMPLES))

pytest.importorskip("sklearn", reason="the digits are part of scikit-learn (extra: examples)")
pytest.importorskip("pycocotools", reason="average precision needs pycocotools (extra: detect)")

from detection_data import held_out_objects, make_objects  # noqa: E402
from detection_losses import deltas_to, detection_loss, pool_batch  # noqa: E402
from digits_data import load_split  # noqa: E402
from train_detector import CONFIG, PREPROCESSING  # noqa: E402
from write_objects import write_objects  # noqa: E402


def test_included_weights_reach_the_documented_precision(tmp_path):
    stated = json.loads((DETECTOR / "detector.json").read_text())["held_out"]
    assert write_objects(tmp_path) == stated["scenes"]
    model = tmp_path / "objects.onnx"
    model.write_bytes(example_export("detector", "detect"))
    result = commands.run(
        infer, model, tmp_path / "images", "-o", tmp_path / "rows.csv", "--json", "--quiet",
        "--annotations", tmp_path / "annotations.json",
    )  # fmt: skip
    figures = json.loads(result.stdout)
    assert figures["evaluated_images"] == stated["scenes"]
    for kind, least in (("bbox", 0.75), ("segm", 0.5)):
        reached = figures["average_precision"][kind]["AP"]
        # Rounding of boxes, scores and in the engine may change the order of a few objects.
        assert reached == pytest.approx(stated["average_precision"][kind]["AP"], abs=5e-3)
        assert reached >= least


def test_included_weights_are_small_and_have_metadata():
    _, loaded = load_detector(DETECTOR / "detector.safetensors")
    assert loaded.config == CONFIG
    assert [note for note in loaded.notes if "float16" not in note] == []
    assert (DETECTOR / "detector.safetensors").stat().st_size < 2_500_000


def test_objects_are_deterministic_and_boxes_enclose_their_masks():
    (first,), (again,) = held_out_objects(1), held_out_objects(1)
    assert np.array_equal(first.image, again.image)
    for scene in held_out_objects(5):
        assert len(scene.classes) == len(scene.boxes) == len(scene.masks) > 0
        for (left, top, right, bottom), mask in zip(scene.boxes.astype(int), scene.masks, strict=True):
            assert mask[top:bottom, left:right].sum() == mask.sum()
            assert mask[top].any()
            assert mask[bottom - 1].any()
            assert mask[:, left].any()
            assert mask[:, right - 1].any()


def test_deltas_of_the_loss_invert_those_of_the_model():
    boxes, wanted = torch.tensor([[2.0, 3, 20, 40]]), torch.tensor([[5.0, 1, 31, 33]])
    for weights in ((1.0, 1.0), (10.0, 5.0)):
        torch.testing.assert_close(apply_deltas(boxes, deltas_to(boxes, wanted, *weights), *weights), wanted)


def test_pooling_in_training_equals_that_of_the_model():
    """For boxes of 28 to 56 pixels, RoIAlign uses 2 x 2 samples for each of the 7 x 7 bins."""
    level = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[10.0, 20, 42, 60], [70.0, 64, 126, 110]])
    samples = pool_batch(level, boxes[None], 14, side=128)
    found = torch.nn.functional.avg_pool2d(samples, 2)
    torch.testing.assert_close(found, roi_align(level, boxes, 0.25, 7), atol=1e-5, rtol=0)


def test_one_step_on_the_same_scenes_reduces_the_loss():
    digits, _ = load_split()
    scenes = [make_objects(digits, np.random.default_rng([5, index])) for index in range(2)]
    pixels = torch.from_numpy(np.stack([PREPROCESSING.normalize(scene.image) for scene in scenes]))
    model, _ = load_detector(DETECTOR / "detector.safetensors")

    def loss() -> torch.Tensor:
        torch.manual_seed(0)  # samples the same boxes
        return detection_loss(model, pixels, scenes)

    before = loss()
    before.backward()
    with torch.no_grad():
        norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.02 / norm * parameter.grad
        assert loss() < before
