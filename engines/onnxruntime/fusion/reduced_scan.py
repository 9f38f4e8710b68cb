"""Replaces ScanPair by ScanPairReduced; see plugins/fused/README.md."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import TensorProto, helper

from vim_deploy.engines.fusion.domain import FUSED_DOMAIN, SCAN_PAIR
from vim_deploy.engines.fusion.edit import Edit
from vim_deploy.engines.onnxruntime.fusion.packing import grouped, raw_tensor, to_bfloat16
from vim_deploy.onnx_graph.index import GraphIndex

SCAN_PAIR_REDUCED = "ScanPairReduced"
_MAX_RANK = 64  # kMaxReducedRank in fused.h
_DELTA_WEIGHTS = (3, 9)  # indices of inputs
_PACKED = "/bfloat16"  # end of the name of packed weights, after the name of the weights


def reduce_scans(model: onnx.ModelProto) -> None:
    """Replace the scans in place. Those with larger time step projections stay as they are."""
    index, edit = GraphIndex(model.graph), Edit(model.graph)
    for node in index.nodes:
        if node.op_type != SCAN_PAIR or node.domain != FUSED_DOMAIN:
            continue
        weights = [index.constant(node.input[position], rank=2) for position in _DELTA_WEIGHTS]
        if len(weights[0]) > _MAX_RANK:
            continue
        inputs = list(node.input)
        for position, values in zip(_DELTA_WEIGHTS, weights, strict=True):
            inputs[position] = edit.tensor(_packed(f"{node.input[position]}{_PACKED}", values))
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        new = helper.make_node(
            SCAN_PAIR_REDUCED, inputs, node.output, name=node.name, domain=FUSED_DOMAIN, **attributes
        )
        edit.replace([node], [new])
    edit.apply()


def rounded_weights(model: onnx.ModelProto) -> set[str]:
    """The names of the weights that `reduce_scans` has rounded to bfloat16."""
    names = (tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.BFLOAT16)
    return {name.removesuffix(_PACKED) for name in names if name.endswith(_PACKED)}


def round_time_steps(model: onnx.ModelProto, weights: Collection[str]) -> None:
    """Round both inputs of the matmuls with these weights to bfloat16, in place and in standard operators.

    This is the definition of what ScanPairReduced computes, for comparison with engines.
    """
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights:
            for position, value in enumerate(node.input):
                short, back = f"{node.output[0]}/short {position}", f"{node.output[0]}/rounded {position}"
                nodes.append(helper.make_node("Cast", [value], [short], name=short, to=TensorProto.BFLOAT16))
                nodes.append(helper.make_node("Cast", [short], [back], name=back, to=TensorProto.FLOAT))
                node.input[position] = back
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _packed(name: str, weights: np.ndarray) -> onnx.TensorProto:
    """(rank / 2 rounded up, pairs of values along the rank for each channel), from (rank, channels)."""
    pairs = to_bfloat16(grouped(weights, 2))
    return raw_tensor(name, TensorProto.BFLOAT16, pairs.reshape(len(pairs), -1))
