"""Graphs that are rewritten for TensorRT 8.6 compute the same as the exported ones."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from dense.golden_detector import golden_input
from onnx import TensorProto, helper
from prepared_graph import runner
from task_exports import EXPORTS

from vim_deploy.engines.onnxruntime.session import make_session
from vim_deploy.engines.tensorrt.graph import lint, prepare
from vim_deploy.engines.tensorrt.parser_8_6 import has_bounds, rewrite_for_8_6

pytest.importorskip("onnxruntime", reason="graphs are run by onnxruntime")


def bounded_shapes(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node if has_bounds(node)]


def pixels_of(model: onnx.ModelProto, task: str) -> np.ndarray:
    if task == "detect":
        return golden_input().numpy()  # on noise a detector finds nothing
    batch, *shape = [dim.dim_value or 3 for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(0).standard_normal((batch, *shape), np.float32)


@pytest.mark.parametrize("task", EXPORTS)
def test_parts_of_shapes_are_slices_of_whole_shapes(task):
    """8.6 ignores `start` and `end`: [batch, 3, 16, 32] instead of [batch] makes wrong shapes later."""
    exported = EXPORTS[task]()
    data = exported.SerializeToString()
    # A detector has a fixed batch, and a segmenter no class token.
    assert task in ("detect", "segment") or bounded_shapes(exported)
    rewritten = onnx.load_model_from_string(prepare("model.onnx", data, "fp32", 8).data)
    assert not bounded_shapes(rewritten)
    assert bounded_shapes(onnx.load_model_from_string(prepare("m", data, "fp32", 10).data)) == bounded_shapes(
        exported
    )
    pixels = pixels_of(exported, task)
    plain = make_session(data)  # runs the same function body
    for expected, found in zip(plain.run(None, {"pixels": pixels}), runner(rewritten)(pixels), strict=True):
        assert expected.size
        assert np.array_equal(expected, found)


@pytest.mark.parametrize(
    "bounds",
    [
        {"start": 0, "end": 1},
        {"start": 2},
        {"end": 3},
        {"start": -2},
        {"start": -3, "end": -1},
        {"start": 1, "end": 9},
        {"start": -9, "end": 2},
        {"start": 3, "end": 1},
    ],
)
def test_every_form_of_bounds(bounds):
    import onnxruntime

    node = helper.make_node("Shape", ["x"], ["y"], "shape", **bounds)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "g", [value("x", TensorProto.FLOAT, list("abcd"))], [value("y", TensorProto.INT64, ["n"])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    rewrite_for_8_6(rewritten)
    onnx.checker.check_model(rewritten)
    before, after = (
        onnxruntime.InferenceSession(each.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"x": np.zeros((2, 3, 4, 5), np.float32)}
        )[0]
        for each in (model, rewritten)
    )
    assert np.array_equal(before, after)
    assert list(lint(model, {}, 8)) == ["node shape: Shape with start or end, which 8.6 ignores"]
    assert not list(lint(model, {}, 10)) and not list(lint(rewritten, {}, 8))
