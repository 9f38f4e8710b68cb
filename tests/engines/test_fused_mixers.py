"""Mixers fused for GPUs: the operators' contract in C++ and Python, and graphs in every precision."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from small_exports import BLOCKS, IMAGE_SIZE, small_export

from vim_deploy.engines.fusion import domain
from vim_deploy.engines.fusion.rewrite import fuse_mixers
from vim_deploy.engines.tensorrt.graph import prepare
from vim_deploy.errors import EngineError
from vim_deploy.onnx_graph.upcast import upcast_to_fp32
from vim_deploy.ops.signature import OP_NAME

FUSED = Path(__file__).parents[2] / "plugins" / "fused"


def source(name: str) -> str:
    return re.sub(r"//.*", "", (FUSED / name).read_text())


def test_python_and_cpp_have_the_same_contract() -> None:
    text = source("contract_fused.h")
    texts = dict(re.findall(r'constexpr char (k\w+)\[\] = "(.*?)";', text))
    assert texts["kDomain"] == domain.FUSED_DOMAIN and texts["kVersionText"] == str(domain.FUSED_VERSION)
    assert (texts["kScanPairName"], texts["kConvPairName"]) == (domain.SCAN_PAIR, domain.CONV_PAIR)
    for kind, table in ((domain.SCAN_PAIR, "kScanPairSpecs"), (domain.CONV_PAIR, "kConvPairSpecs")):
        (body,) = re.findall(rf"{table}\[\w+\] = \{{(.*?)\n\}};", text, re.DOTALL)
        types = re.findall(r"InputType::(\w+)\}", body)
        assert len(types) == domain.INPUT_COUNTS[kind]
        assert tuple(index for index, found in enumerate(types) if found == "kT") == domain.TYPED_INPUTS[kind]
    (names,) = re.findall(r"kScanPairAttributeNames\[\w+\] = \{(.*?)\}", text)
    assert tuple(re.findall(r'"(\w+)"', names)) == domain.ATTRIBUTES[domain.SCAN_PAIR]


def test_the_limits_are_those_of_the_kernels() -> None:
    found = dict(re.findall(r"constexpr std::int64_t (k\w+) = (\d+);", source("pair_cuda.h")))
    limits = domain.GPU_LIMITS
    assert found == {
        "kPairMaxState": str(limits.state),
        "kPairMaxRank": str(limits.rank),
        "kConvMaxWidth": str(limits.width),
    }


def inferred(precision: str) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(onnx.load_model_from_string(small_export(precision)))


def logits(model: onnx.ModelProto, pixels: np.ndarray) -> np.ndarray:
    """In float32, with the operator library for CPUs."""
    ort = pytest.importorskip("onnxruntime", reason="running graphs needs onnxruntime")
    from vim_deploy.ops.library import ort_library

    options = ort.SessionOptions()
    options.register_custom_ops_library(str(ort_library()))
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"pixels": pixels})[0]
    return found


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_fused_graphs_compute_the_same_in_float32(precision: str) -> None:
    pixels = np.random.default_rng(0).standard_normal((3, 3, *IMAGE_SIZE), np.float32)
    model, fused = inferred(precision), inferred(precision)
    assert fuse_mixers(fused, domain.GPU_LIMITS) == {domain.CONV_PAIR: BLOCKS, domain.SCAN_PAIR: BLOCKS}
    kinds = {node.op_type for node in fused.graph.node}
    assert not kinds & {OP_NAME, "Pad", "Sigmoid", "Split"}
    expected, found = (logits(upcast_to_fp32(graph), pixels) for graph in (model, fused))
    # The same operations in another order.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_mixers_above_the_limits_are_not_fused() -> None:
    model = inferred("fp32")
    assert fuse_mixers(model, domain.Limits(state=8, rank=48, width=16)) == {}
    assert model.graph == inferred("fp32").graph


@pytest.mark.parametrize("major", [8, 10, 11])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_gets_two_plugins_for_each_block(precision: Any, major: int) -> None:
    plain = prepare("m", small_export(precision), precision, major)
    prepared = prepare("m", small_export(precision), precision, major, fuse=True)
    assert prepared.fused == {domain.CONV_PAIR: BLOCKS, domain.SCAN_PAIR: BLOCKS}
    graph = onnx.load_model_from_string(prepared.data).graph
    plugins = [node for node in graph.node if node.name in prepared.scans]
    assert len(plugins) == 2 * BLOCKS
    for node in plugins:
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        assert attributes["plugin_version"] == str(domain.FUSED_VERSION).encode()
        assert attributes["plugin_namespace"] == domain.FUSED_DOMAIN.encode()
    nodes = len(onnx.load_model_from_string(plain.data).graph.node)
    assert nodes - len(graph.node) == 35 * BLOCKS


def test_a_fused_node_that_is_not_the_plugins_is_refused() -> None:
    model = inferred("fp32")
    fuse_mixers(model, domain.GPU_LIMITS)  # without the plugin's attributes
    with pytest.raises(EngineError, match=r"attribute plugin_version is not the string"):
        prepare("m", model.SerializeToString(), "fp32", 10)  # type: ignore[arg-type]
