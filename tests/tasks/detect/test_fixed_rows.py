"""Detectors with a fixed number of rows: the same objects as without, from the file to the results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import task_exports
from dense.golden_detector import golden_detector, golden_input
from dense.random_detector import random_detector, random_image
from infer_command import csv_rows, json_rows, run
from small_detector import color_detector, with_rectangles
from small_engines import save_and_build
from small_onnx import save

from vim_deploy import load
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.onnxruntime.session import make_session
from vim_deploy.errors import EngineError, ExportError
from vim_deploy.export.eager import EagerModel
from vim_deploy.export.onnx import to_onnx
from vim_deploy.ops import ort_library
from vim_deploy.tasks.detect.export import DetectModule
from vim_deploy.tasks.detect.options import DetectExportOptions
from vim_deploy.tasks.detect.spec import SPEC

FIXED = DetectExportOptions(fixed_rows=True)
MODELS = {
    "reference": (golden_detector, [golden_input()], (0.0, 0.05, 0.2, 0.5)),
    "random": (
        lambda: random_detector(
            2, num_classes=60, pre_nms_topk=200, post_nms_topk=80, detections_per_image=20
        ),
        [random_image(seed) for seed in range(3)],
        (0.0, 0.2, 0.34, 0.5),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_both_files_give_the_same_objects(name):
    """Bit by bit, in ONNX Runtime; and both forms of the eager model differ from the files alike."""
    make, images, thresholds = MODELS[name]
    model = make()
    if name == "reference":
        plain_file, fixed_file = (task_exports.detector(fixed_rows) for fixed_rows in (False, True))
    else:
        plain_file, fixed_file = (to_onnx(DetectModule(model, options)) for options in (None, FIXED))
    sizes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in fixed_file.graph.output
    }
    rows = model.config.detections_per_image
    assert sizes == {
        "boxes": [rows, 4],
        "scores": [rows],
        "classes": [rows],
        "masks": [rows, 28, 28],
        "count": [1],
        "exceeded": [2],
    }
    plain, fixed = (
        make_session(file.SerializeToString(), library=ort_library()) for file in (plain_file, fixed_file)
    )
    counts = set()
    for image in images:
        for threshold in (np.array(value, np.float32) for value in thresholds):
            given = {"pixels": image.numpy(), "score_threshold": threshold}
            expected = plain.run(None, given)
            *found, count, _ = fixed.run(None, given)
            assert len(expected[0]) == count[0]
            counts.add(int(count[0]))
            for reference, values in zip(expected, found, strict=True):
                assert np.array_equal(reference, values[: count[0]])
    assert len(counts) > 2  # not only all rows or none
    task, pixels = DetectModule(model, FIXED), images[0].numpy()
    zero = {"pixels": pixels, "score_threshold": np.array(0, np.float32)}
    difference = task.difference(EagerModel(task).run(pixels), fixed.run(None, zero))
    assert difference.relative < 2e-4


def test_unused_rows_are_not_compared():
    def outputs(scores, classes):
        count = len(scores)
        boxes = np.tile(np.array([[1, 2, 3, 4]], np.float32), (count, 1))
        return {
            "boxes": boxes,
            "scores": np.array(scores, np.float32),
            "classes": np.array(classes, np.int32),
            "masks": np.zeros((count, 28, 28), np.float32),
            "count": np.array([1], np.int32),
            "exceeded": np.zeros(2, np.int32),
        }

    assert SPEC.compare(outputs([0.5, 0.1, 0], [1, 2, 3]), outputs([0.5, 0.1, 0], [1, 2, 4])).relative == 0
    # Rows after the objects are compared: two of three may not differ.
    assert SPEC.compare(outputs([0.5, 0.1, 0.1], [1, 2, 3]), outputs([0.5, 0.1, 0.1], [1, 4, 4])).relative > 1


def test_option_is_checked():
    with pytest.raises(ExportError, match="fixed_rows is 'yes'; expected true or false"):
        DetectExportOptions(fixed_rows="yes")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("onnxruntime", reason="engines are run by onnxruntime")
    for name, colors in {"1": (0, 1), "2": (), "3": (0, 1, 2)}.items():
        boxes = {index: (2 + 10 * index, 4, 10 + 10 * index, 20) for index in colors}
        with_rectangles(Path("images", f"{name}.png"), (32, 32), boxes)


def test_rows_after_the_count_are_no_objects(place):
    save_and_build(color_detector(), "plain.onnx", "plain.engine")
    save_and_build(color_detector(fixed_rows=True), "fixed.onnx", "fixed.engine")
    found = {}
    for name in ("plain", "fixed"):
        result = run(f"{name}.engine", "images", "-o", f"{name}.jsonl", "--score-threshold", "0.05")
        assert result.exit_code == 0, result.output
        found[name] = [row["objects"] for row in json_rows(f"{name}.jsonl")]
    assert found["fixed"] == found["plain"]
    assert [len(objects) for objects in found["fixed"]] == [2, 0, 3]


def test_exceeded_bounds_are_in_the_rows_and_in_the_summary(place):
    save_and_build(color_detector(fixed_rows=True), "fixed.onnx", "fixed.engine")
    result = run("fixed.engine", "images", "-o", "out.csv", "--json")
    assert result.exit_code == 0, result.output
    assert [row["flags"] for row in csv_rows("out.csv")] == ["", "", "objects_limited"]
    assert json.loads(result.stdout)["objects_limited"] == 1
    assert "1 image with more objects than the network returns" in result.stderr


@pytest.mark.parametrize(
    ("output", "value", "message"),
    [("count", 4, "returned the count .*; expected an integer from 0 to 3"), ("exceeded", None, "of shape")],
)
def test_wrong_counts_are_errors(place, output, value, message):
    model = color_detector(fixed_rows=True)
    (last,) = [node for node in model.graph.node if node.output[0] == output]
    if output == "count":
        last.attribute[0].i = 6
        last.input[0] = "four"
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value], np.float32), "four"))
    else:
        last.input.append("no_bound")
        model.graph.output[-1].type.tensor_type.shape.dim[0].dim_value = 3
    build_engine(save(model, Path("wrong.onnx")), "wrong.engine")
    with load("wrong.engine") as engine, pytest.raises(EngineError, match=message):
        list(engine.predict("images/1.png"))


def test_nan_is_not_an_image_without_objects(place):
    save_and_build(color_detector(fixed_rows=True), "fixed.onnx", "fixed.engine")
    with load("fixed.engine") as engine:
        plain = engine.runner.run

        def broken(pixels):
            outputs = plain(pixels)
            return {**outputs, "scores": outputs["scores"] * np.nan, "count": outputs["count"] * 0}

        engine.runner.run = broken
        (result,) = engine.predict("images/1.png")
    assert "NaN" in str(result.error)
