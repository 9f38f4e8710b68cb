"""Raising a graph to a later opset: the same results, and the form that the later opset requires."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from small_exports import small_export

from vim_deploy.export.opset import raise_opset
from vim_deploy.ops.function_body import OPSETS, body_for


def reductions_and_splits() -> onnx.ModelProto:
    """Opset 17: axes as an attribute, no axes, and splits with and without sizes."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[-1], keepdims=1),
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=1),
        helper.make_node("Add", ["mean", "largest"], ["sum"]),
        helper.make_node("Sub", ["x", "sum"], ["centered"]),
        helper.make_node("Split", ["centered"], ["first", "second"], axis=1),
        helper.make_node("Split", ["second", "sizes"], ["third", "fourth"], axis=1),
        helper.make_node("Concat", ["fourth", "first", "third"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, [3, 8])],
        [value("y", TensorProto.FLOAT, [3, 8])],
        [numpy_helper.from_array(np.array([1, 3], np.int64), "sizes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_results_do_not_change():
    model = reductions_and_splits()
    x = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    raise_opset(model, 19)
    onnx.checker.check_model(model, full_check=True)
    assert (model.opset_import[0].version, model.ir_version) == (19, 9)
    (found,) = ReferenceEvaluator(model).run(None, {"x": x})
    assert np.array_equal(found, expected)


def test_the_function_body_has_the_opset_of_its_file():
    model = onnx.load_model_from_string(small_export("fp8"))
    scans = [node for node in model.graph.node if node.op_type == "SelectiveScan"]
    (function,) = model.functions
    assert function == body_for(scans, 19) != body_for(scans)
    with pytest.raises(ValueError, match=f"opset {OPSETS[-1] + 1}; expected 17 to 19"):
        body_for(scans, OPSETS[-1] + 1)
