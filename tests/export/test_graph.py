"""Exported graphs: opset, names, operators."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import helper

from vim_deploy.engines.onnxruntime.session import make_session
from vim_deploy.errors import EngineError, ExportError
from vim_deploy.export.clean import simplify
from vim_deploy.export.onnx import to_onnx
from vim_deploy.export.opset import lower_to_opset_17
from vim_deploy.export.task import task_module
from vim_deploy.model import create_model
from vim_deploy.model.synthetic import fill_synthetic
from vim_deploy.ops import ort_library
from vim_deploy.ops.signature import CONTRACT_VERSION, OP_DOMAIN, OP_NAME
from vim_deploy.tasks.classify.export import ClassifyModule
from vim_deploy.tasks.features.export import FeaturesModule
from vim_deploy.tasks.features.options import FeatureExportOptions
from vim_deploy.tasks.registry import TASKS

SMALL = {"embed_dim": 32, "depth": 2, "image_size": (32, 48), "num_classes": 5}


@pytest.fixture(scope="module")
def model():
    model = create_model("vim_tiny", **SMALL)
    fill_synthetic(model, seed=1)
    return model.eval()


@pytest.fixture(scope="module")
def exported(model):
    return to_onnx(ClassifyModule(model))


def test_opset_and_ir_version_are_supported_by_old_runtimes(exported):
    assert exported.ir_version == 8
    assert {entry.domain: entry.version for entry in exported.opset_import} == {
        "": 17,
        OP_DOMAIN: CONTRACT_VERSION,
    }
    onnx.checker.check_model(exported, full_check=False)


def test_all_initializers_are_used(exported):
    used = {name for node in exported.graph.node for name in node.input}
    assert {item.name for item in exported.graph.initializer} <= used


def test_the_file_can_be_quantized_by_onnxruntime(exported, tmp_path):
    quantization = pytest.importorskip("onnxruntime.quantization", reason="quantizes with onnxruntime")
    onnx.save_model(exported, str(tmp_path / "model.onnx"))
    quantization.quantize_dynamic(tmp_path / "model.onnx", tmp_path / "quantized.onnx")
    quantized = onnx.load(str(tmp_path / "quantized.onnx"))
    assert sum(node.op_type == "MatMulInteger" for node in quantized.graph.node) > 10
    pixels = np.random.default_rng(0).standard_normal((2, 3, 32, 48), np.float32)
    full, coarse = (
        make_session(model.SerializeToString(), library=ort_library()).run(None, {"pixels": pixels})[0]
        for model in (exported, quantized)
    )
    # Quantization rounds to 8 bits.
    np.testing.assert_allclose(coarse, full, atol=0.1 * np.abs(full).max())


def test_scan_is_one_operator_with_both_attributes_and_all_inputs(exported, model):
    scans = [node for node in exported.graph.node if node.domain == OP_DOMAIN]
    assert len(scans) == 2 * model.config.depth
    for node in scans:
        assert node.op_type == OP_NAME
        assert len(node.input) == 8
        assert all(node.input)
        assert {attribute.name for attribute in node.attribute} == {"delta_softplus", "reverse", "groups"}
    assert Counter(a.i for node in scans for a in node.attribute if a.name == "reverse") == {0: 2, 1: 2}
    assert [function.name for function in exported.functions] == [OP_NAME]


def test_nothing_is_flipped_and_only_patches_are_transposed(exported):
    transposes = [node.name for node in exported.graph.node if node.op_type == "Transpose"]
    assert transposes == ["patch_embed/Transpose"]
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in exported.graph.initializer}
    for node in exported.graph.node:
        if node.op_type == "Slice" and len(node.input) > 4:
            assert (constants[node.input[4]] > 0).all(), node.name


def test_weights_and_nodes_are_named_after_modules(exported, model):
    names = {item.name for item in exported.graph.initializer}
    keys = set(model.state_dict())
    assert {"pos_embed", "head.weight", "layers.1.mixer.D_b", "layers.0.norm.weight"} <= names & keys
    nodes = {node.name for node in exported.graph.node}
    assert {"layers.1.mixer/SelectiveScan_1", "layers.0.mixer.out_proj/MatMul"} <= nodes
    assert len(nodes) == len(exported.graph.node)


def test_input_and_output(exported):
    (pixels,), (logits,) = exported.graph.input, exported.graph.output
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (pixels, logits)
    ]
    assert (pixels.name, logits.name) == ("pixels", "logits")
    assert shapes == [["batch", 3, 32, 48], ["batch", 5]]


@pytest.mark.parametrize(
    ("features", "shape"),
    [("pooled", ("batch", 32)), ("tokens", ("batch", 7, 32)), ("map", ("batch", 32, 2, 3))],
    ids=["pooled", "tokens", "map"],
)
def test_features_equal_the_eager_model(model, features, shape):
    ort = pytest.importorskip("onnxruntime", reason="running exported files needs onnxruntime")
    task = FeaturesModule(model, FeatureExportOptions(features))
    session = ort.InferenceSession(to_onnx(task).SerializeToString(), providers=["CPUExecutionProvider"])
    (output,) = session.get_outputs()
    assert (output.name, tuple(output.shape)) == ("features", shape)
    pixels = torch.randn(3, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = task(pixels).numpy()
    found = session.run(None, {"pixels": pixels.numpy()})[0]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_fixed_batch(model):
    exported = to_onnx(ClassifyModule(model), batch=3)
    assert exported.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 3


def test_unknown_options_are_refused(model):
    with pytest.raises(ExportError, match="features is 'all'; expected one of pooled, tokens, map"):
        FeatureExportOptions("all")
    with pytest.raises(EngineError, match="--features: only for models of the task features"):
        task_module(TASKS.get("classify"), model, {"features": "map"})


def _graph(nodes, constants, opset=18):
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("x", "y")]
    initializers = [
        onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def test_lowering_refuses_operators_without_an_equivalent_in_opset_17():
    model = _graph(
        [helper.make_node("Resize", ["x", "", "s"], ["y"], name="r", antialias=1)], {"s": [1.0, 2.0]}
    )
    with pytest.raises(ExportError, match="node r: Resize with antialias"):
        lower_to_opset_17(model)
    model = _graph([helper.make_node("CenterCropPad", ["x", "s"], ["y"], name="c")], {"s": [4]})
    with pytest.raises(ExportError, match="node c: operator CenterCropPad has no equivalent"):
        lower_to_opset_17(model)


def test_lowering_moves_reduction_axes_into_an_attribute():
    model = _graph([helper.make_node("ReduceMean", ["x", "axes"], ["y"])], {"axes": np.array([-1])})
    lower_to_opset_17(model)
    (node,) = model.graph.node
    assert list(node.input) == ["x"]
    assert list(next(a for a in node.attribute if a.name == "axes").ints) == [-1]


def test_only_slices_of_whole_axes_are_removed():
    whole, part = np.array([0]), np.array([1])
    end, axis, step = np.array([np.iinfo(np.int64).max]), np.array([0]), np.array([1])
    constants = {"whole": whole, "part": part, "end": end, "axis": axis, "step": step}
    nodes = [
        helper.make_node("Slice", ["x", "whole", "end", "axis", "step"], ["a"], name="dropped"),
        helper.make_node("Slice", ["a", "part", "end", "axis", "step"], ["b"], name="kept"),
        helper.make_node("Identity", ["b"], ["y"]),
    ]
    model = ir.serde.deserialize_model(_graph(nodes, constants))
    simplify(model)
    (node,) = model.graph
    assert node.name == "kept"
    assert node.inputs[0].name == "x"
