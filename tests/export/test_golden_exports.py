"""Exported files of every variant, with and without the operator library, compared with the reference."""

from __future__ import annotations

import numpy as np
import pytest
from golden_data import assert_close, load_tensors
from golden_models import CASES, golden_export

from vim_deploy.ops.library import ort_library

ort = pytest.importorskip("onnxruntime", reason="running exported files needs onnxruntime")

RELATIVE_TOLERANCE = 2e-5  # recommended by the golden data for float32


def run(model: bytes, pixels: np.ndarray, library: bool) -> np.ndarray:
    options = ort.SessionOptions()
    if library:
        options.register_custom_ops_library(str(ort_library()))
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"pixels": pixels})[0]


@pytest.mark.parametrize("name", CASES)
def test_exported_file_equals_the_reference(name):
    tensors = load_tensors(f"model_{name}")
    exported = golden_export(name).SerializeToString()
    expected = tensors["logits_f64"]
    for library in (True, False):
        assert_close(run(exported, tensors["image"], library), expected, RELATIVE_TOLERANCE)
    # The batch size is dynamic; the graph was traced with a smaller one.
    five = np.repeat(tensors["image"][:1], 5, axis=0)
    assert_close(run(exported, five, True), np.repeat(expected[:1], 5, axis=0), RELATIVE_TOLERANCE)
