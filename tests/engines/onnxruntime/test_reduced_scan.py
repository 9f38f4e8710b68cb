"""ScanPairReduced: the time steps in bfloat16, and scans that stay in float32."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from small_exports import IMAGE_SIZE, small_export

from vim_deploy.engines.fusion.rewrite import fuse
from vim_deploy.engines.onnxruntime.fusion import reduced_scan
from vim_deploy.engines.onnxruntime.fusion.reduced_scan import (
    reduce_scans,
    round_time_steps,
    rounded_weights,
)
from vim_deploy.ops.library import ort_library

ort = pytest.importorskip("onnxruntime", reason="running graphs needs onnxruntime")


@pytest.fixture
def plain() -> onnx.ModelProto:
    return onnx.load_model_from_string(small_export("fp32"))


@pytest.fixture
def fused(plain) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(plain)
    fuse(model)
    return model


def run(model: onnx.ModelProto) -> np.ndarray:
    pixels = np.random.default_rng(0).standard_normal((2, 3, *IMAGE_SIZE)).astype(np.float32)
    options = ort.SessionOptions()
    options.register_custom_ops_library(str(ort_library()))
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: pixels})[0]


def scans(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node if node.op_type.startswith("ScanPair")}


def test_reduced_scans_equal_standard_operators_with_rounded_time_steps(plain, fused):
    in_float32 = run(fused)
    reduce_scans(fused)
    assert scans(fused) == {"ScanPairReduced"}
    round_time_steps(plain, rounded_weights(fused))
    found, expected = run(fused), run(plain)
    largest = np.abs(expected).max()
    # A value may be rounded to another bfloat16 value after a different order of summation.
    assert np.abs(found - expected).max() < 2e-4 * largest
    assert np.abs(found - in_float32).max() > 4e-4 * largest


def test_scans_with_large_ranks_are_not_changed(fused, monkeypatch):
    monkeypatch.setattr(reduced_scan, "_MAX_RANK", 0)
    reduce_scans(fused)
    assert scans(fused) == {"ScanPair"}
    assert not rounded_weights(fused)


def test_pairs_of_an_odd_rank_end_with_zeros():
    weights = np.arange(6, dtype=np.float32).reshape(3, 2)
    packed = reduced_scan._packed("weights", weights)
    assert packed.data_type == TensorProto.BFLOAT16
    values = numpy_helper.to_array(packed).astype(np.float32)
    np.testing.assert_array_equal(values, [[0, 2, 1, 3], [4, 0, 5, 0]])
