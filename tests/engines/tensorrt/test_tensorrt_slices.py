"""Slices are prepared so that TensorRT's parser makes few layers of them, and compute the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
from prepared_graph import runner
from task_exports import EXPORTS

from vim_deploy.engines.onnxruntime.session import make_session
from vim_deploy.engines.tensorrt.graph import prepare
from vim_deploy.engines.tensorrt.slices import simplify_slices
from vim_deploy.onnx_graph.index import GraphIndex

pytest.importorskip("onnxruntime", reason="graphs are run by onnxruntime")

_GRAPH = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[{batch}, 6, 4] x) => (float[{batch}, a, b] y)
<int64[1] start = {{{start}}}, int64[1] end = {{{end}}}, int64[1] axis = {{{axis}}},
 int64[1] step = {{{step}}}, int64[6] pads = {{{pads}}}>
{{
  padded = Pad (x, pads)
  part = Slice (padded, start, end, axis, step)
  y = Neg (part)
}}
"""


def operators(
    start: int,
    end: int,
    axis: int = 1,
    step: int = 1,
    pads: str = "0, 0, 0, 0, 0, 0",
    batch: str = "n",
    open_only: bool = True,
) -> list[str]:
    """The operators of the prepared graph, whose results equal those of the original one."""
    import onnxruntime

    text = _GRAPH.format(start=start, end=end, axis=axis, step=step, pads=pads, batch=batch)
    before = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text), data_prop=True)
    model = onnx.ModelProto()
    model.CopyFrom(before)
    simplify_slices(model, open_only)
    onnx.checker.check_model(model)
    x = np.arange(24 * 3, dtype=np.float32).reshape(3, 6, 4)[: 3 if batch == "n" else int(batch)]
    expected, found = (
        onnxruntime.InferenceSession(each.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"x": x}
        )[0]
        for each in (before, model)
    )
    assert np.array_equal(expected, found)
    return [node.op_type for node in model.graph.node]


PADDED = "0, 3, 0, 0, 0, 0"  # three rows before


@pytest.mark.parametrize(
    ("start", "end", "axis"),
    [
        (0, 2, 1),
        (2, 4, 1),
        (4, 6, 1),
        (-2, 2**62, 1),
        (-5, -1, 1),
        (1, 99, -1),
        (0, 3, 2),
        (-99, 2, 2),
    ],
)
def test_a_slice_of_a_known_size_becomes_a_split(start, end, axis):
    assert operators(start, end, axis) == ["Pad", "Split", "Neg"]


def test_slices_of_known_shapes_are_replaced_too_on_request():
    assert operators(1, 3, batch="2", open_only=False) == ["Pad", "Split", "Neg"]


@pytest.mark.parametrize("batch", ["n", "2"])
@pytest.mark.parametrize(
    ("start", "end", "pads"),
    [
        (3, 9, PADDED),
        (3, 2**31, PADDED),
        (0, 6, "0, 0, 0, 0, 3, 0"),
        (1, 7, "0, 1, 0, 0, 2, 0"),
        (-6, 99, PADDED),
    ],
)
def test_a_slice_that_undoes_a_padding_is_removed(start, end, pads, batch):
    assert operators(start, end, pads=pads, batch=batch) == ["Neg"]


@pytest.mark.parametrize(
    ("start", "end", "pads"), [(2, 8, PADDED), (3, 8, PADDED), (3, 9, "0, 3, 1, 0, 0, 0"), (0, 9, PADDED)]
)
def test_other_slices_of_a_padding_are_kept(start, end, pads):
    assert operators(start, end, pads=pads) == ["Pad", "Split", "Neg"]


@pytest.mark.parametrize(
    "given",
    [
        {"start": 0, "end": 1, "axis": 0},  # of the open axis
        {"start": 0, "end": 6, "step": 2},
        {"start": 4, "end": 4},  # empty
        {"start": 1, "end": 3, "batch": "2"},  # all sizes are known
    ],
)
def test_other_slices_stay(given):
    assert operators(**given) == ["Pad", "Slice", "Neg"]


def test_a_slice_that_is_an_output_stays():
    text = _GRAPH.format(start=3, end=9, axis=1, step=1, pads=PADDED, batch="n")
    model = onnx.parser.parse_model(text.replace("y = Neg (part)", "").replace("part", "y"))
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    simplify_slices(model, True)
    assert [node.op_type for node in model.graph.node] == ["Pad", "Slice"]


@pytest.mark.parametrize(("task", "removed"), [("classify", 4), ("segment", 8)])
def test_tasks_compute_the_same(task, removed):
    """Of the four taps of every convolution, one is the input itself."""
    exported = EXPORTS[task]()
    prepared = onnx.load_model_from_string(prepare("m", exported.SerializeToString(), "fp32", 10).data)
    before, after = ([node.op_type for node in model.graph.node] for model in (exported, prepared))
    assert after.count("Slice") == 0
    assert before.count("Slice") == after.count("Split") - before.count("Split") + removed
    plain = make_session(exported.SerializeToString())  # runs the same function body
    sides = [dim.dim_value for dim in exported.graph.input[0].type.tensor_type.shape.dim][1:]
    for batch in (1, 3):
        pixels = np.random.default_rng(batch).standard_normal((batch, *sides), np.float32)
        for expected, found in zip(
            plain.run(None, {"pixels": pixels}), runner(prepared)(pixels), strict=True
        ):
            assert np.array_equal(expected, found)


def test_shapes_of_split_parts_are_those_of_the_slices():
    exported = EXPORTS["classify"]()
    prepared = onnx.load_model_from_string(prepare("m", exported.SerializeToString(), "fp32", 10).data)
    shapes = GraphIndex(exported.graph)
    sizes = {item.name: onnx.numpy_helper.to_array(item) for item in prepared.graph.initializer}
    for node in prepared.graph.node:
        if node.op_type == "Split" and node.input[1:] and node.input[1].endswith("/sizes"):
            for name, size in zip(node.output, sizes[node.input[1]], strict=True):
                if not name.endswith(("/before", "/after")):
                    assert shapes.shape(name)[1] == size
