"""Conversion from opset 18, the exporter's lowest, to opset 17 and IR 8, and from there to later ones.

Files in opset 17 work with ONNX Runtime 1.17 and later, and TensorRT 8.6 and later. The version converter of
onnx cannot be used: it has no adapter for Split from 18 to 17, and on its way up it drops functions.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vim_deploy.errors import ExportError

OPSET = 17
IR_VERSION = 8

# Operators that changed in 18. Some are converted, some are equivalent as exported, the others are refused.
_CHANGED_IN_18 = {
    "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "CenterCropPad", "Col2Im", "GroupNormalization",
    "LpPool", "Mish", "OptionalGetElement", "OptionalHasElement", "Pad", "ReduceL1", "ReduceL2",
    "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSumSquare", "Resize", "ScatterElements", "ScatterND", "Split",
}  # fmt: skip
_REDUCTIONS = {name for name in _CHANGED_IN_18 if name.startswith("Reduce")}


def lower_to_opset_17(model: onnx.ModelProto) -> None:
    """Convert `model` in place, without a change of its results.

    Raises ExportError for nodes without an equivalent in opset 17.
    """
    constants = {item.name: item for item in model.graph.initializer}
    freed: set[str] = set()
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in _CHANGED_IN_18:
            continue
        if node.op_type in _REDUCTIONS:
            freed.update(_axes_to_attribute(node, constants))
        elif node.op_type == "Split":
            _drop_split_count(node)
        elif node.op_type == "Resize":
            _drop_resize_attributes(node)
        elif node.op_type == "Pad" and len(node.input) > 3:
            raise ExportError(f"node {node.name}: Pad with axes has no equivalent in opset {OPSET}.")
        elif node.op_type not in ("Pad", "ScatterND", "ScatterElements"):
            raise ExportError(
                f"node {node.name}: operator {node.op_type} has no equivalent in opset {OPSET}."
            )
    for name in freed.difference(_inputs_of_nodes(model.graph)):
        model.graph.initializer.remove(constants[name])
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = OPSET
    model.ir_version = IR_VERSION


def raise_opset(model: onnx.ModelProto, opset: int) -> None:
    """Convert `model` from opset 17 to 18 or 19 in place, without a change of its results.

    What `lower_to_opset_17` leaves needs a change only where 18 moved attributes to inputs or requires new
    ones; 19 only added types and attributes with the old behavior as their default.
    """
    for node in model.graph.node:
        if node.op_type in _REDUCTIONS and (axes := _pop_axes(node)) is not None:
            name = f"{node.output[0]}/axes"
            model.graph.initializer.append(numpy_helper.from_array(np.array(axes, np.int64), name))
            node.input.append(name)
        elif node.op_type == "Split" and len(node.input) < 2:
            node.attribute.append(helper.make_attribute("num_outputs", len(node.output)))
    for part in (model, *model.functions):
        for entry in part.opset_import:
            if entry.domain in ("", "ai.onnx"):
                entry.version = opset
    model.ir_version = max(model.ir_version, helper.find_min_ir_version_for(model.opset_import, True))


def _pop_axes(node: onnx.NodeProto) -> list[int] | None:
    for attribute in node.attribute:
        if attribute.name == "axes":
            node.attribute.remove(attribute)
            return list(attribute.ints)
    return None


def _inputs_of_nodes(graph: onnx.GraphProto) -> Iterator[str]:
    """Including those of subgraphs."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):
                yield from _inputs_of_nodes(subgraph)


def _axes_to_attribute(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> list[str]:
    """Returns the inputs that are no longer used."""
    _drop_attributes(node, {"noop_with_empty_axes"})
    if len(node.input) < 2 or not node.input[1]:
        return []
    if node.input[1] not in constants:
        raise ExportError(
            f"node {node.name}: the axes of {node.op_type} are not constant; expected constant axes."
        )
    axes = numpy_helper.to_array(constants[node.input[1]])
    node.attribute.append(helper.make_attribute("axes", np.atleast_1d(axes).tolist()))
    freed = list(node.input[1:])
    del node.input[1:]
    return freed


def _drop_split_count(node: onnx.NodeProto) -> None:
    if len(node.input) < 2 and len(node.output) < 2:
        raise ExportError(f"node {node.name}: Split without sizes has one output; expected two or more.")
    _drop_attributes(node, {"num_outputs"})


def _drop_resize_attributes(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.name == "antialias" and attribute.i:
            raise ExportError(f"node {node.name}: Resize with antialias has no equivalent in opset {OPSET}.")
    _drop_attributes(node, {"antialias", "axes", "keep_aspect_ratio_policy"})


def _drop_attributes(node: onnx.NodeProto, names: set[str]) -> None:
    for attribute in [item for item in node.attribute if item.name in names]:
        node.attribute.remove(attribute)
