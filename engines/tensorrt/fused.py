"""The fused operators as plugins: rewriting a graph, and the rules for their nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vim_deploy.engines.fusion.domain import (
    ATTRIBUTES,
    FUSED_DOMAIN,
    FUSED_VERSION,
    GPU_LIMITS,
    INPUT_COUNTS,
    TYPED_INPUTS,
)

if TYPE_CHECKING:
    import onnx

_FLOAT32 = 1  # onnx.TensorProto.DataType
_PLUGIN = {"plugin_version": str(FUSED_VERSION), "plugin_namespace": FUSED_DOMAIN}


def fuse_for_plugins(model: onnx.ModelProto, types: dict[str, int]) -> dict[str, int]:
    """Fuse mixers in place; returns the number of fused operators of each kind.

    Shapes must be inferred. `types`: ONNX element types, to which those of new constants are added.
    """
    import onnx

    from vim_deploy.engines.fusion.rewrite import fuse_mixers

    counts = fuse_mixers(model, GPU_LIMITS)
    for node in fused_nodes(model):
        node.attribute.extend(onnx.helper.make_attribute(*item) for item in _PLUGIN.items())
    types |= {item.name: item.data_type for item in model.graph.initializer}
    return counts


def fused_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.domain == FUSED_DOMAIN]


def fused_problems(node: onnx.NodeProto, types: dict[str, int]) -> Iterator[str]:
    """What in the node does not match the plugin."""
    if node.op_type not in INPUT_COUNTS:
        yield f"node {node.name}: there is no plugin for the operator {node.op_type}"
        return
    attributes = {attribute.name: attribute for attribute in node.attribute}
    for name in ATTRIBUTES[node.op_type]:
        if name not in attributes or attributes[name].i not in (0, 1):
            yield f"node {node.name}: attribute {name} is not an integer 0 or 1"
    for name, value in _PLUGIN.items():
        if name not in attributes or attributes[name].s != value.encode():
            yield f"node {node.name}: attribute {name} is not the string {value!r}"
    for name in attributes.keys() - {*ATTRIBUTES[node.op_type], *_PLUGIN}:
        yield f"node {node.name}: attribute {name} is not an attribute of the plugin"
    if len(node.input) != INPUT_COUNTS[node.op_type] or not all(node.input):
        yield f"node {node.name}: {len(node.input)} inputs; the plugin has {INPUT_COUNTS[node.op_type]}"
        return
    kind = types.get(node.input[0])
    for index, value in enumerate(node.input):
        expected = kind if index in TYPED_INPUTS[node.op_type] else _FLOAT32
        if types.get(value) != expected:
            yield f"node {node.name}: input {index} has ONNX type {types.get(value)}, expected {expected}"
