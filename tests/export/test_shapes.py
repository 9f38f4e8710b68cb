"""Shapes that are computed from the batch size become constant, and results stay the same."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest
from golden_segmenter import golden_segmenter
from small_exports import small_model
from task_exports import EXPORTS

from vim_deploy.export import clean
from vim_deploy.export.onnx import to_onnx
from vim_deploy.export.shapes import make_shapes_constant
from vim_deploy.export.task import TaskModule
from vim_deploy.tasks.classify.export import ClassifyModule
from vim_deploy.tasks.features.export import FeaturesModule
from vim_deploy.tasks.features.options import FeatureExportOptions
from vim_deploy.tasks.segment.export import SegmentModule


def task(name: str) -> TaskModule:
    if name == "segment":
        return SegmentModule(golden_segmenter())
    if name == "classify":
        return ClassifyModule(small_model())
    return FeaturesModule(small_model(), FeatureExportOptions("map"))


def run(model: onnx.ModelProto, *inputs: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return list(session.run(None, dict(zip(names, inputs, strict=True))))


@pytest.mark.parametrize(("name", "fewer_nodes"), [("classify", 4), ("features", 6), ("segment", 12)])
def test_exported_files_compute_no_shape_of_a_reshape(name, fewer_nodes, monkeypatch):
    found = EXPORTS[name]()
    monkeypatch.setattr(clean, "make_shapes_constant", lambda model: None)
    before = to_onnx(task(name))
    kinds = Counter(node.op_type for node in found.graph.node)
    constants = {item.name for item in found.graph.initializer}
    assert all(node.input[1] in constants for node in found.graph.node if node.op_type == "Reshape")
    assert not kinds["Squeeze"]
    assert kinds["Shape"] == kinds["Expand"]  # for the class token
    assert len(before.graph.node) - len(found.graph.node) == fewer_nodes
    for batch in (1, 3):
        sides = [dim.dim_value for dim in found.graph.input[0].type.tensor_type.shape.dim][1:]
        pixels = np.random.default_rng(batch).standard_normal((batch, *sides), np.float32)
        for expected, values in zip(run(before, pixels), run(found, pixels), strict=True):
            assert np.array_equal(expected, values)


def changed(text: str) -> onnx.ModelProto:
    """The model after `make_shapes_constant`, compared with itself before on two batches."""
    before = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    model = ir.from_proto(before)
    make_shapes_constant(model)
    after: onnx.ModelProto = ir.to_proto(model)
    for batch in (1, 3):
        x = np.arange(batch * 12, dtype=np.float32).reshape(batch, 12)
        for expected, found in zip(run(before, x), run(after, x), strict=True):
            assert np.array_equal(expected, found)
    return after


GRAPH = """
g (float[n, 12] x) => (float[a, b, c] y)
{{
  size = Shape <start: int = 0, end: int = {end}> (x)
  minus = Constant <value_ints: ints = [-1]> ()
  scalar = Squeeze (size{axes})
  vector = Reshape (scalar, minus)
  four = Constant <value_ints: ints = [4]> ()
  three = Constant <value_ints: ints = [{three}]> ()
  shape = Concat <axis: int = 0> ({parts})
  y = Reshape (x, shape)
}}
"""


def is_constant(model: onnx.ModelProto) -> bool:
    (node,) = [node for node in model.graph.node if node.output[0] == "y"]
    return node.input[1] != "shape"


@pytest.mark.parametrize("parts", ["vector, four, three", "four, three, vector", "four, vector, three"])
def test_a_single_computed_size_becomes_a_placeholder(parts):
    model = changed(GRAPH.format(end=1, axes="", three=3, parts=parts))
    assert is_constant(model)
    assert [list(onnx.numpy_helper.to_array(item)) for item in model.graph.initializer] == [
        [-1 if part == "vector" else {"four": 4, "three": 3}[part] for part in parts.split(", ")]
    ]


@pytest.mark.parametrize(
    "text",
    [
        # Two sizes that are not constant, a computed part with two sizes, and a placeholder that is there.
        GRAPH.format(end=1, axes="", three=12, parts="vector, vector, three").replace("n, 12", "1, 12"),
        GRAPH.format(end=2, axes="", three=1, parts="size, three").replace(
            "scalar = Squeeze (size)", "scalar = Identity (size)"
        ),
        GRAPH.format(end=1, axes="", three=-1, parts="vector, four, three"),
    ],
    ids=["two", "vector", "placeholder"],
)
def test_other_shapes_stay(text):
    before = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    model = ir.from_proto(before)
    make_shapes_constant(model)
    assert not is_constant(ir.to_proto(model))


def test_expand_gets_the_size_directly():
    model = changed(
        """
        g (float[n, 12] x) => (float[n, 5] y)
        {
          size = Shape <start: int = 0, end: int = 1> (x)
          scalar = Squeeze (size)
          minus = Constant <value_ints: ints = [-1]> ()
          vector = Reshape (scalar, minus)
          one = Constant <value_ints: ints = [1]> ()
          values = Constant <value_floats: floats = [1.0, 2.0, 3.0, 4.0, 5.0]> ()
          shape = Concat <axis: int = 0> (vector, one)
          y = Expand (values, shape)
        }
        """
    )
    (concat,) = [node for node in model.graph.node if node.op_type == "Concat"]
    assert list(concat.input) == ["size", "one"]
