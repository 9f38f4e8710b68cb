"""The first and last layers as matmuls of sequences: the same results, and graphs that are not changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_exports import BLOCKS, IMAGE_SIZE, small_export

from vim_deploy.engines.fusion.rewrite import fuse
from vim_deploy.engines.onnxruntime.fusion.ends import rewrite_ends
from vim_deploy.engines.onnxruntime.fusion.int8 import INT8
from vim_deploy.engines.onnxruntime.fusion.matmul import BFLOAT16, FLOAT32, fuse_matmuls
from vim_deploy.ops.library import ort_library

ort = pytest.importorskip("onnxruntime", reason="running graphs needs onnxruntime")


@pytest.fixture
def model() -> onnx.ModelProto:
    return onnx.load_model_from_string(small_export("fp32"))


def run(model: onnx.ModelProto, count: int = 2) -> np.ndarray:
    pixels = np.random.default_rng(0).standard_normal((count, 3, *IMAGE_SIZE)).astype(np.float32)
    options = ort.SessionOptions()
    options.register_custom_ops_library(str(ort_library()))
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: pixels})[0]


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("count", [1, 3])
def test_the_rewritten_graph_computes_the_same(model, count):
    expected = run(model, count)
    rewrite_ends(model, patches=True)
    onnx.checker.check_model(model)
    assert not {"Gemm", "Conv"} & set(kinds(model))
    np.testing.assert_allclose(run(model, count), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    fuse(model)
    fuse_matmuls(model, FLOAT32)
    np.testing.assert_allclose(run(model, count), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_every_matmul_is_fused_and_only_the_scan_keeps_matrices_in_float32(model):
    rewrite_ends(model, patches=True)
    fuse(model)
    assert fuse_matmuls(model, INT8) == {
        "PatchProjectInt8": 1,
        "NormProjectInt8": 1,
        "ConvProjectInt8": BLOCKS,
        "ScanPairReduced": BLOCKS,
        "ProjectNormProjectInt8": BLOCKS,
    }
    matrices = {
        item.name: item.dims
        for item in model.graph.initializer
        if item.data_type == TensorProto.FLOAT and len(item.dims) > 1 and "embed" not in item.name
    }
    of_scans = {name for node in model.graph.node if node.op_type == "ScanPairReduced" for name in node.input}
    taps = {name for name in matrices if name.endswith("/taps")}
    assert set(matrices) - {"cls_token"} <= of_scans | taps


@pytest.mark.parametrize(("weights", "tolerance"), [(BFLOAT16, 3e-2), (INT8, 1e-1)])
def test_patches_are_read_from_the_images(model, weights, tolerance):
    expected = run(model, 3)
    rewrite_ends(model, patches=True)
    fuse(model)
    assert fuse_matmuls(model, weights)[f"PatchProject{weights.suffix}"] == 1
    assert "Transpose" not in kinds(model)
    np.testing.assert_allclose(run(model, 3), expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_the_last_projection_and_norm_compute_only_the_token_of_the_classifier(model):
    rewrite_ends(model, patches=False)
    assert kinds(model)["Conv"] == 1
    shapes = {
        info.name: [size.dim_value for size in info.type.tensor_type.shape.dim]
        for info in model.graph.value_info
    }
    projections = [name for name in shapes if "out_proj/MatMul" in name]
    assert [shapes[name][1] for name in projections] == [9] * (BLOCKS - 1) + [1]


def read_the_norm(model: onnx.ModelProto) -> None:
    gather = next(node for node in model.graph.node if node.op_type == "Gather")
    model.graph.output.append(helper.make_tensor_value_info(gather.input[0], TensorProto.FLOAT, None))


def read_another_token(model: onnx.ModelProto) -> None:
    gather = next(node for node in model.graph.node if node.op_type == "Gather")
    model.graph.node.append(helper.make_node("Identity", [gather.input[0]], ["all tokens"]))
    model.graph.output.append(helper.make_tensor_value_info("all tokens", TensorProto.FLOAT, None))


@pytest.mark.parametrize("change", [read_the_norm, read_another_token])
def test_other_readers_of_the_norm_get_all_tokens(model, change: Callable[[onnx.ModelProto], None]):
    change(model)
    expected = run(model)
    rewrite_ends(model, patches=True)
    assert kinds(model)["Gather"] == 1
    assert kinds(model)["Gemm"] == 0
    np.testing.assert_allclose(run(model), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def set_attribute(model: onnx.ModelProto, kind: str, name: str, value: object) -> None:
    node = next(node for node in model.graph.node if node.op_type == kind)
    kept = [item for item in node.attribute if item.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("Conv", "strides", [4, 4]),
        ("Conv", "pads", [1, 1, 1, 1]),
        ("Conv", "dilations", [2, 2]),
        ("Gemm", "alpha", 2.0),
    ],
)
def test_other_layers_are_not_changed(model, kind, name, value):
    set_attribute(model, kind, name, value)
    rewrite_ends(model, patches=True)
    assert kinds(model)[kind] == 1


def test_a_classifier_of_an_average_is_a_matmul_of_one_token():
    weights = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["mean", "weights", "bias"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.arange(6, dtype=np.float32), "bias"),
    ]
    float_info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "mean",
        [float_info("x", TensorProto.FLOAT, ["batch", 3, 4])],
        [float_info("y", TensorProto.FLOAT, ["batch", 6])],
        constants,
        value_info=[float_info("mean", TensorProto.FLOAT, ["batch", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = np.random.default_rng(1).standard_normal((2, 3, 4)).astype(np.float32)

    def run_on_x() -> np.ndarray:
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {"x": x})[0]

    expected = run_on_x()
    rewrite_ends(model, patches=False)
    assert kinds(model) == {"ReduceMean": 1, "Unsqueeze": 1, "MatMul": 1, "Add": 1, "Squeeze": 1}
    np.testing.assert_allclose(run_on_x(), expected, rtol=1e-5)
