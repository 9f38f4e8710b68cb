"""The definition of int8 matmuls in standard operators, for comparison with engines that fuse them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vim_deploy.engines.onnxruntime.fusion.int8 import MOST, SMALLEST, quantize
from vim_deploy.onnx_graph.index import GraphIndex


def quantize_matmuls(
    model: onnx.ModelProto, matmuls: Collection[str], smoothing: Mapping[str, np.ndarray]
) -> None:
    """Replace matmuls in place, given by the names of their outputs.

    `smoothing`: factors of the inputs, as for `fuse_matmuls`. Integers are computed in float32, which is
    exact up to 2^24.
    """
    index = GraphIndex(model.graph)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.output[0] not in matmuls:
            nodes.append(node)
            continue
        weights = index.constant(node.input[1], rank=2)
        factors = smoothing.get(node.output[0], np.ones(len(weights), np.float32))
        new, constants = _quantized(node, weights / factors[:, None], factors)
        nodes += new
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()
        )
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _quantized(
    matmul: onnx.NodeProto, weights: np.ndarray, factors: np.ndarray
) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray | float]]:
    """The nodes of one matmul, and their constants by name."""
    y = matmul.output[0]

    def name(part: str) -> str:
        return f"{y}/int8 {part}"

    integers, scales = quantize(weights)
    constants: dict[str, np.ndarray | float] = {
        name("factors"): factors,
        name("smallest"): SMALLEST,
        name("most"): MOST,
        name("weights"): integers,
        name("scales"): scales,
    }
    steps: list[tuple[str, list[str], str]] = [
        ("Mul", [matmul.input[0], name("factors")], name("smooth")),
        ("Abs", [name("smooth")], name("magnitude")),
        ("ReduceMax", [name("magnitude")], name("largest")),
        ("Max", [name("largest"), name("smallest")], name("range")),
        ("Div", [name("most"), name("range")], name("inverse")),
        ("Mul", [name("smooth"), name("inverse")], name("scaled")),
        ("Round", [name("scaled")], name("integers")),
        ("MatMul", [name("integers"), name("weights")], name("sums")),
        ("Div", [name("range"), name("most")], name("row scale")),
        ("Mul", [name("row scale"), name("scales")], name("scale")),
        ("Mul", [name("sums"), name("scale")], y),
    ]
    nodes = []
    for kind, inputs, output in steps:
        attributes: dict[str, Any] = {"axes": [-1], "keepdims": 1} if kind == "ReduceMax" else {}
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
    return nodes, constants
