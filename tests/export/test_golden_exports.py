"""Exported files of every variant, with and without the operator library, compared with the reference."""

from __future__ import annotations

import numpy as np
import pytest
from golden_data import assert_close, load_json
from golden_models import golden_model

from vim_deploy.export.onnx import to_onnx
from vim_deploy.ops.library import ort_library
from vim_deploy.tasks.classify.export import ClassifyModule

ort = pytest.importorskip("onnxruntime", reason="running exported files needs onnxruntime")

CASES = load_json("models")["cases"]
RELATIVE_TOLERANCE = 2e-5  # recommended by the golden data for float32


def run(model: bytes, pixels: np.ndarray, library: bool) -> np.ndarray:
    options = ort.SessionOptions()
    if library:
        options.register_custom_ops_library(str(ort_library()))
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"pixels": pixels})[0]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_exported_file_equals_the_reference(case):
    model, tensors = golden_model(case)
    exported = to_onnx(ClassifyModule(model)).SerializeToString()
    expected = tensors["logits_f64"]
    for library in (True, False):
        assert_close(run(exported, tensors["image"], library), expected, RELATIVE_TOLERANCE)
    # The batch size is dynamic; the graph was traced with a smaller one.
    five = np.repeat(tensors["image"][:1], 5, axis=0)
    assert_close(run(exported, five, True), np.repeat(expected[:1], 5, axis=0), RELATIVE_TOLERANCE)
