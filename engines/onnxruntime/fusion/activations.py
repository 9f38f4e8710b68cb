"""Replaces the nodes that the PyTorch exporter writes for GELU with ONNX Runtime's operators for it.

ONNX Runtime fuses GELU itself, but not in the order of multiplications of these graphs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from vim_deploy.engines.fusion.edit import Edit
from vim_deploy.onnx_graph.index import GraphIndex, NoMatchError, demand, is_op

_DOMAIN = "com.microsoft"
_RELATIVE = 1e-6  # of the constants, which are rounded to float32
_CUBIC, _TANH_SCALE = 0.044715, (2 / np.pi) ** 0.5


def fuse_activations(model: onnx.ModelProto) -> dict[str, int]:
    """Fuse in place, in float32. Returns the number of fused operators of each kind."""
    index, edit = GraphIndex(model.graph), Edit(model.graph)
    for node in model.graph.node:
        if not is_op(node, "Mul"):
            continue
        for match in (_gelu, _tanh_gelu):
            try:
                kind, x, nodes = match(index, node)
                demand(index.is_closed(nodes, exposed=node.output))
            except (NoMatchError, ValueError):  # ValueError: a different number of inputs
                continue
            name = f"{node.name}/{kind}"
            edit.replace(nodes, [helper.make_node(kind, [x], node.output, name=name, domain=_DOMAIN)])
            break
    edit.apply()
    if edit.counts and _DOMAIN not in {entry.domain for entry in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return dict(edit.counts)


_Match = tuple[str, str, list[onnx.NodeProto]]  # the operator, its input, and the replaced nodes


def _gelu(graph: GraphIndex, last: onnx.NodeProto) -> _Match:
    """x * (0.5 * (erf(x / sqrt(2)) + 1))."""
    x, erf, nodes = _half_of_one_plus(graph, last, "Erf")
    divide = graph.producer(erf.input[0], "Div")
    demand(divide.input[0] == x)
    _demand_value(graph, divide.input[1], 2**0.5)
    return "Gelu", x, [*nodes, divide]


def _tanh_gelu(graph: GraphIndex, last: onnx.NodeProto) -> _Match:
    """x * (0.5 * (tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)) + 1))."""
    x, tanh, nodes = _half_of_one_plus(graph, last, "Tanh")
    scale = graph.producer(tanh.input[0], "Mul")
    add = graph.producer(_times(graph, scale, _TANH_SCALE), "Add")
    cubic = graph.producer(_other(add.input, x), "Mul")
    power = graph.producer(_times(graph, cubic, _CUBIC), "Pow")
    demand(power.input[0] == x)
    _demand_value(graph, power.input[1], 3.0)
    return "FastGelu", x, [*nodes, scale, add, cubic, power]


def _half_of_one_plus(
    graph: GraphIndex, last: onnx.NodeProto, function: str
) -> tuple[str, onnx.NodeProto, list[onnx.NodeProto]]:
    """Matches x * (0.5 * (function(...) + 1)): x, the node of the function, and all nodes."""
    for x, factor in (last.input, reversed(last.input)):
        try:
            half = graph.producer(factor, "Mul")
            add = graph.producer(_times(graph, half, 0.5), "Add")
            value, one = graph.with_constant(add)
            _demand_value(graph, one, 1.0)
            node = graph.producer(value, function)
        except NoMatchError:
            continue
        return x, node, [last, half, add, node]
    raise NoMatchError


def _times(graph: GraphIndex, node: onnx.NodeProto, expected: float) -> str:
    """The other input of a Mul with this constant."""
    value, constant = graph.with_constant(node)
    _demand_value(graph, constant, expected)
    return value


def _other(inputs: Sequence[str], known: str) -> str:
    first, second = inputs
    demand(known in (first, second))
    return second if first == known else first


def _demand_value(graph: GraphIndex, name: str, expected: float) -> None:
    """A float32 scalar, which also shows the type of the other operand."""
    array = graph.constant(name)
    demand(array.size == 1 and array.ndim <= 1 and array.dtype == np.float32)
    demand(abs(float(array.reshape(())) - expected) <= _RELATIVE * expected)
