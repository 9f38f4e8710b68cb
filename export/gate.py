"""The gate of a scan as standard operators, for files in which only some scans have one."""

from __future__ import annotations

import onnx
from onnx import helper

from vim_deploy.ops.signature import GATE, OP_DOMAIN, OP_NAME, is_gated


def gate_after_scan(graph: onnx.GraphProto) -> None:
    """Multiply the output of every gated scan with silu(z), and remove its input z, in place.

    All scans of a file share one function body, and a function cannot test whether an input is there.
    """
    nodes = []
    for node in graph.node:
        nodes.append(node)
        if (node.domain, node.op_type) == (OP_DOMAIN, OP_NAME) and is_gated(node):
            z, y = node.input[GATE], node.output[0]
            node.input[GATE], node.output[0] = "", f"{y}/ungated"
            names = {kind: f"{y}/{kind}" for kind in ("Sigmoid", "SiLU")}
            nodes += [
                helper.make_node("Sigmoid", [z], [names["Sigmoid"]], name=names["Sigmoid"]),
                helper.make_node("Mul", [z, names["Sigmoid"]], [names["SiLU"]], name=names["SiLU"]),
                helper.make_node("Mul", [node.output[0], names["SiLU"]], [y], name=f"{y}/gated"),
            ]
    del graph.node[:]
    graph.node.extend(nodes)
