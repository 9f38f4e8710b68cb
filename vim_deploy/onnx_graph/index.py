"""Look-ups over an ONNX graph: producers and consumers of values, constants, shapes and attributes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
import onnx
from onnx import numpy_helper

_STANDARD_DOMAINS = ("", "ai.onnx")
_FLOATS = ("float32", "float16", "bfloat16")


class NoMatchError(Exception):
    """A part of the graph does not have the expected form."""


def demand(condition: bool) -> None:
    """Raises NoMatchError unless the condition is true."""
    if not condition:
        raise NoMatchError


class GraphIndex:
    """An index of one graph, which must not change meanwhile.

    `producers`: the node that computes each value; `consumers`: the nodes that read it; `outputs`: the names
    of the graph's outputs. The methods raise NoMatchError for everything that the graph does not have.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes = list(graph.node)
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.consumers[name].append(node)
        self._initializers = {item.name: item for item in graph.initializer}
        self.outputs = {item.name for item in graph.output}
        values = [*graph.value_info, *graph.input, *graph.output]
        self._shapes = {item.name: _shape(item) for item in values}

    def producer(self, value: str, op_type: str, domain: str = "") -> onnx.NodeProto:
        """The node that computes `value`, of this operator."""
        node = self.producers.get(value)
        if node is None or not is_op(node, op_type, domain):
            raise NoMatchError
        return node

    def only_consumer(self, value: str, op_type: str) -> onnx.NodeProto | None:
        """The one node that reads `value`, if it is of this operator and `value` is not a graph output."""
        nodes = self.consumers[value]
        matches = len(nodes) == 1 and value not in self.outputs and is_op(nodes[0], op_type)
        return nodes[0] if matches else None

    def upstream(self, value: str, skip: Callable[[onnx.NodeProto], bool]) -> str:
        """The nearest value at or before `value` whose producer is not skipped.

        Follows the first input of a skipped node that is not constant.
        """
        while value in self.producers and skip(self.producers[value]):
            value = next(name for name in self.producers[value].input if name not in self._initializers)
        return value

    def constant(self, value: str, rank: int | None = None) -> np.ndarray:
        """The initializer `value`; with a rank its elements must be floating-point numbers."""
        if value not in self._initializers:
            raise NoMatchError
        array = numpy_helper.to_array(self._initializers[value])
        demand(rank is None or (array.ndim == rank and array.dtype.name in _FLOATS))
        return array

    def is_constant(self, value: str) -> bool:
        return value in self._initializers

    def shape(self, value: str) -> tuple[int | str, ...]:
        """Sizes, or the names of dynamic ones; every size is known or named."""
        shape = self._shapes.get(value)
        if shape is None:
            raise NoMatchError
        return shape

    def with_constant(self, node: onnx.NodeProto) -> tuple[str, str]:
        """The two inputs of a commutative node, the constant one last."""
        first, second = node.input
        demand(self.is_constant(first) != self.is_constant(second))
        return (second, first) if self.is_constant(first) else (first, second)

    def is_closed(self, nodes: Iterable[onnx.NodeProto], exposed: Iterable[str]) -> bool:
        """Whether nothing outside `nodes` reads what they compute, except the values in `exposed`."""
        inside = {id(node) for node in nodes}
        visible = set(exposed)
        return all(
            name in visible
            or (name not in self.outputs and all(id(user) in inside for user in self.consumers[name]))
            for node in nodes
            for name in node.output
        )


def is_op(node: onnx.NodeProto, op_type: str, domain: str = "") -> bool:
    """Whether the node is of this operator; "" and "ai.onnx" are the same domain."""
    same = node.domain in _STANDARD_DOMAINS if domain in _STANDARD_DOMAINS else node.domain == domain
    return same and bool(node.op_type == op_type)


def integer(node: onnx.NodeProto, name: str) -> int:
    """An integer attribute that is present on the node."""
    return int(_attribute(node, name, onnx.AttributeProto.INT).i)


def integers(node: onnx.NodeProto, name: str) -> list[int]:
    """A list attribute that is present on the node."""
    return list(_attribute(node, name, onnx.AttributeProto.INTS).ints)


def _attribute(node: onnx.NodeProto, name: str, kind: int) -> onnx.AttributeProto:
    for attribute in node.attribute:
        if attribute.name == name and attribute.type == kind:
            return attribute
    raise NoMatchError


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...] | None:
    if not value.type.tensor_type.HasField("shape"):
        return None
    sizes: list[int | str] = [
        size.dim_value if size.HasField("dim_value") else size.dim_param
        for size in value.type.tensor_type.shape.dim
    ]
    return None if "" in sizes else tuple(sizes)
