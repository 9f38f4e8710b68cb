"""From opset 18, the exporter's lowest, to opset 17 and IR 8.

That makes one file for ONNX Runtime 1.17 and later and for TensorRT 8.6 and later.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vim_deploy.errors import ExportError

OPSET = 17
IR_VERSION = 8

# Operators that changed in 18. This pass rewrites some and knows others to be the same;
# the rest is refused rather than relabelled.
_CHANGED_IN_18 = {
    "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "CenterCropPad", "Col2Im", "GroupNormalization",
    "LpPool", "Mish", "OptionalGetElement", "OptionalHasElement", "Pad", "ReduceL1", "ReduceL2",
    "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSumSquare", "Resize", "ScatterElements", "ScatterND", "Split",
}  # fmt: skip
_REDUCTIONS = {name for name in _CHANGED_IN_18 if name.startswith("Reduce")}


def lower_to_opset_17(model: onnx.ModelProto) -> None:
    """Rewrite `model` in place; results are unchanged.

    Raises ExportError for what opset 17 cannot express.
    """
    constants = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in _CHANGED_IN_18:
            continue
        if node.op_type in _REDUCTIONS:
            _axes_to_attribute(node, constants)
        elif node.op_type == "Split":
            _drop_split_count(node)
        elif node.op_type == "Resize":
            _drop_resize_attributes(node)
        elif node.op_type == "Pad" and len(node.input) > 3:
            raise ExportError(f"node {node.name}: Pad with axes has no form in opset {OPSET}.")
        elif node.op_type not in ("Pad", "ScatterND", "ScatterElements"):
            raise ExportError(f"node {node.name}: operator {node.op_type} has no form in opset {OPSET}.")
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = OPSET
    model.ir_version = IR_VERSION


def _axes_to_attribute(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> None:
    _drop_attributes(node, {"noop_with_empty_axes"})
    if len(node.input) < 2 or not node.input[1]:
        return
    if node.input[1] not in constants:
        raise ExportError(
            f"node {node.name}: {node.op_type} over axes that are not constant; expected constants."
        )
    axes = numpy_helper.to_array(constants[node.input[1]])
    node.attribute.append(helper.make_attribute("axes", np.atleast_1d(axes).tolist()))
    del node.input[1:]


def _drop_split_count(node: onnx.NodeProto) -> None:
    if len(node.input) < 2 and len(node.output) < 2:
        raise ExportError(f"node {node.name}: Split without sizes and with one output.")
    _drop_attributes(node, {"num_outputs"})


def _drop_resize_attributes(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.name == "antialias" and attribute.i:
            raise ExportError(f"node {node.name}: Resize with antialias has no form in opset {OPSET}.")
    _drop_attributes(node, {"antialias", "axes", "keep_aspect_ratio_policy"})


def _drop_attributes(node: onnx.NodeProto, names: set[str]) -> None:
    for attribute in [item for item in node.attribute if item.name in names]:
        node.attribute.remove(attribute)
