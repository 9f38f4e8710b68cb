"""Exported detectors: detections of files and engines compared with the reference, and errors."""

from __future__ import annotations

import json
from collections import Counter

import commands
import numpy as np
import onnx
import onnxruntime
import pytest
import task_exports
import torch
from dense.golden_detector import (
    TOLERANCE,
    assert_same_set,
    golden_config,
    golden_detector,
    golden_input,
    golden_weights,
)
from golden_data import load_tensors
from PIL import Image

from vim_deploy import load
from vim_deploy.cli.export import main
from vim_deploy.cli.infer import main as infer
from vim_deploy.dense.coco import COCO_NAMES
from vim_deploy.dense.roi import roi_align
from vim_deploy.engines.build import build_engine
from vim_deploy.export import exporter
from vim_deploy.export.onnx import to_onnx
from vim_deploy.metadata import ModelMetadata
from vim_deploy.ops import ort_library
from vim_deploy.tasks.detect.export import DetectModule


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the reference's detector as a checkpoint, its configuration, and the exported file."""
    folder = tmp_path_factory.mktemp("detector")
    torch.save({"model": golden_weights(), "iteration": 7}, folder / "model_final.pth")
    (folder / "small.json").write_text(json.dumps(golden_config().to_dict()))
    result = export(folder, "small.json", "--checkpoint", "model_final.pth")
    assert result.exit_code == 0, result.output
    return folder


def export(folder, name, *options):
    name = str(folder / name) if name.endswith(".json") else name
    given = [str(folder / text) if text.endswith((".pth", ".txt", ".onnx")) else text for text in options]
    if "-o" not in options:
        given += ["-o", str(folder / "small.onnx")]
    return commands.invoke(main, name, "--task", "detect", *given)


def session(path, library=True):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if library:
        options.register_custom_ops_library(str(ort_library()))
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def assert_golden(boxes, scores, classes, masks):
    expected = load_tensors("detector")
    assert_same_set(
        np.concatenate([boxes, scores[:, None], classes[:, None]], axis=1),
        np.concatenate(
            [expected["det.boxes"], expected["det.scores"][:, None], expected["det.classes"][:, None]], axis=1
        ),
        TOLERANCE,
    )
    assert (masks.shape, masks.dtype) == ((len(boxes), 28, 28), np.float32)
    assert classes.dtype == np.int64


@pytest.mark.parametrize("library", [True, False], ids=["library", "function_body"])
def test_file_gives_the_reference_detections(place, library):
    outputs = session(place / "small.onnx", library).run(None, {"pixels": golden_input().numpy()})
    assert_golden(*outputs)
    with torch.no_grad():
        eager = golden_detector()(golden_input())
    # The order is the same here, so that masks can be compared.
    assert np.array_equal(outputs[2], eager[2].numpy())
    np.testing.assert_allclose(outputs[3], eager[3].numpy(), atol=TOLERANCE)


def test_engine_with_fused_operators_gives_the_reference_detections(place):
    manifest = build_engine(place / "small.onnx", place / "small.engine")
    assert sum(manifest.build_info["fused"].values()) > 0
    with load(place / "small.engine") as engine:
        outputs = engine.run(golden_input().numpy())
    assert_golden(*(outputs[name] for name in ("boxes", "scores", "classes", "masks")))


def test_command_gives_the_reference_detections(place):
    """From an image file to rows. The image has the network's width, so that it is not scaled."""
    image = Image.fromarray(load_tensors("detector")["image"].transpose(1, 2, 0))
    image.save(place / "image.png")
    given = [place / "small.onnx", place / "image.png", "-o", place / "rows.jsonl", "--quiet"]
    result = commands.invoke(infer, *given)
    assert result.exit_code == 0, result.output
    objects = json.loads((place / "rows.jsonl").read_text())["objects"]
    rows = np.array([[*found["box"], found["score"], found["index"]] for found in objects])
    expected = load_tensors("detector")
    expected = np.column_stack([expected[f"det.{name}"] for name in ("boxes", "scores", "classes")])
    assert_same_set(rows, expected, TOLERANCE)


def test_comparisons_use_a_score_threshold_of_zero(place):
    """With the default threshold, random pixels may give no objects."""
    (props,) = [{p.key: p.value for p in onnx.load(str(place / "small.onnx")).metadata_props}]
    parity = ModelMetadata.from_props(props, "small.onnx").parity
    assert set(parity) == {"library", "function_body", "images"}
    assert 0 < parity["library"]["relative"] < 2e-4
    manifest = build_engine(place / "small.onnx", place / "other.engine")
    assert manifest.self_check["max_relative_diff"] > 0


def test_comparison_uses_batches_of_one_image(place, monkeypatch):
    """Two images, whose objects must not be mixed up."""
    monkeypatch.setattr(exporter, "to_onnx", lambda task, **options: task_exports.detector())
    image = Image.fromarray(load_tensors("detector")["image"].transpose(1, 2, 0))
    for name, flipped in (("a.png", image), ("b.png", image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))):
        (place / "check").mkdir(exist_ok=True)
        flipped.save(place / "check" / name)
    given = ("--checkpoint", "model_final.pth", "--check-images", str(place / "check"))
    result = export(place, "small.json", *given, "-o", "checked.onnx")
    assert result.exit_code == 0, result.output
    assert "on 2 images" in result.output
    assert "on 2 real images" in result.output


def test_file_that_disagrees_is_not_written(place, monkeypatch):
    """Boxes are shifted by half a pixel only when the model is traced."""
    plain = DetectModule.forward

    def shifted(self, pixels, score_threshold):
        boxes, *rest = plain(self, pixels, score_threshold)
        return (boxes + (0.5 if torch.compiler.is_compiling() else 0), *rest)

    monkeypatch.setattr(DetectModule, "forward", shifted)
    result = export(place, "small.json", "--checkpoint", "model_final.pth", "-o", "wrong.onnx")
    assert result.exit_code == 2
    assert "disagrees with the eager model" in result.output
    assert not (place / "wrong.onnx").exists()


def test_image_without_objects_gives_no_rows(place):
    outputs = session(place / "small.onnx").run(None, {"pixels": np.zeros((1, 3, 128, 128), np.float32)})
    assert [values.shape for values in outputs] == [(0, 4), (0,), (0,), (0, 28, 28)]


def test_score_threshold_is_an_input_of_the_network(place):
    pixels = golden_input().numpy()
    runner = session(place / "small.onnx")
    scores = runner.run(["scores"], {"pixels": pixels})[0]
    bound = np.array(np.median(scores), np.float32)
    (fewer,) = runner.run(["scores"], {"pixels": pixels, "score_threshold": bound})
    np.testing.assert_array_equal(fewer, scores[scores > bound])


def test_other_operators_than_the_scan_are_standard(place):
    graph = onnx.load(str(place / "small.onnx"))
    assert {entry.domain: entry.version for entry in graph.opset_import}[""] == 17
    kinds = Counter((node.domain, node.op_type) for node in graph.graph.node)
    assert {kind for kind in kinds if kind[0]} == {("vim_deploy", "SelectiveScan")}
    levels, stages = 4, 3
    assert kinds["", "RoiAlign"] == levels * (stages + 1)
    assert kinds["", "NonMaxSuppression"] == 5 + 1
    shapes = {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in graph.graph.output
    }
    assert shapes == {
        "boxes": ["objects", 4],
        "scores": ["objects"],
        "classes": ["objects"],
        "masks": ["objects", 28, 28],
    }


def test_more_than_one_image_is_refused(place):
    result = export(place, "small.json", "--checkpoint", "model_final.pth", "--batch-size", "2")
    assert result.exit_code == 2
    assert "only supports batch size 1" in result.output


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vim_tiny", (), "vim_tiny is for --task classify or features or raw, not detect"),
        ("cascade_vim_tiny", ("--checkpoint", "model_final.pth"), "is not a cascade_vim_tiny"),
        ("auto", (), "needs --checkpoint"),
        (
            "small.json",
            ("--num-classes", "7", "--checkpoint", "model_final.pth"),
            "has 5 classes, but 7 were requested",
        ),
        ("small.json", ("--class-names", "names.txt"), "2 class names for a model with 5 classes"),
    ],
)
def test_invalid_models_and_class_names_are_refused(place, name, options, message):
    (place / "names.txt").write_text("one\ntwo\n")
    result = export(place, name, *options, "-o", "none.onnx")
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_mean_that_hides_the_padding_is_refused(place):
    zero = {"image_size": [128, 128], "crop_ratio": 1.0, "mean": [0, 0, 0], "std": [1, 1, 1], "channels": 3}
    (place / "zero.json").write_text(json.dumps(zero))
    result = export(place, "small.json", "--preprocessing", str(place / "zero.json"), "-o", "none.onnx")
    assert result.exit_code == 2
    assert "cannot distinguish from padding" in " ".join(result.output.split())


def test_eighty_classes_get_the_names_of_coco(place):
    config = golden_config().replace(num_classes=80, post_nms_topk=4, pre_nms_topk=4)
    (place / "eighty.json").write_text(json.dumps(config.to_dict()))
    result = export(place, "eighty.json", "--no-check", "-o", "eighty.onnx")
    assert result.exit_code == 0, result.output
    props = {p.key: p.value for p in onnx.load(str(place / "eighty.onnx")).metadata_props}
    assert ModelMetadata.from_props(props, "eighty.onnx").class_names == COCO_NAMES


def test_pooling_equals_onnxruntime_at_and_beyond_borders():
    """Boxes of every size, across borders, and smaller than a pixel."""
    generator = np.random.default_rng(3)
    level = generator.standard_normal((1, 2, 20, 24), dtype=np.float32)
    corner = generator.uniform(-30, 100, (60, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(0.01, 90, (60, 2)) ** 1.2], axis=1)
    boxes = boxes.astype(np.float32)

    class Pool(torch.nn.Module):
        def forward(self, level, boxes):
            return roi_align(level, boxes, 0.25, 7)

    from vim_deploy.tasks.detect.onnx_operators import detection_operators

    program = torch.onnx.export(
        Pool().eval(),
        (torch.from_numpy(level), torch.from_numpy(boxes)),
        dynamo=True,
        custom_translation_table=detection_operators(),
        verbose=False,
    )
    runner = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    names = [value.name for value in runner.get_inputs()]
    (found,) = runner.run(None, dict(zip(names, (level, boxes), strict=True)))
    expected = roi_align(torch.from_numpy(level), torch.from_numpy(boxes), 0.25, 7)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)  # float32 sums of up to 200 samples


def test_the_graph_is_deterministic():
    first, second = task_exports.detector(), to_onnx(DetectModule(golden_detector()))
    assert first.SerializeToString() == second.SerializeToString()
