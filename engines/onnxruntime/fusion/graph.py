"""An ONNX graph to look around in: who makes a value, who uses it, what is constant, which shape it has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import numpy_helper

_STANDARD = ("", "ai.onnx")


class NoMatchError(Exception):
    """A part of the graph is not of the form that was looked for."""


def demand(condition: bool) -> None:
    """Raises NoMatchError unless the condition holds."""
    if not condition:
        raise NoMatchError


class GraphView:
    """Look-ups over one graph; raises NoMatchError for everything that is not there. Changes nothing."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._producer = {name: node for node in graph.node for name in node.output}
        self._consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self._consumers[name].append(node)
        self._initializers = {item.name: item for item in graph.initializer}
        self._outputs = {item.name for item in graph.output}
        values = [*graph.value_info, *graph.input, *graph.output]
        self._shapes = {item.name: _shape(item) for item in values}

    def producer(self, value: str, kind: str, domain: str = "") -> onnx.NodeProto:
        """The node of this kind that makes `value`."""
        node = self._producer.get(value)
        if node is None or not is_a(node, kind, domain):
            raise NoMatchError
        return node

    def only_consumer(self, value: str, kind: str) -> onnx.NodeProto | None:
        """The node that alone uses `value`, if it is of this kind."""
        found = self._consumers[value]
        alone = len(found) == 1 and value not in self._outputs and is_a(found[0], kind)
        return found[0] if alone else None

    def constant(self, value: str, rank: int | None = None) -> np.ndarray:
        """The initializer `value`; float32 where a rank is asked for."""
        if value not in self._initializers:
            raise NoMatchError
        array = numpy_helper.to_array(self._initializers[value])
        demand(rank is None or (array.ndim == rank and array.dtype == np.float32))
        return array

    def is_constant(self, value: str) -> bool:
        return value in self._initializers

    def shape(self, value: str) -> tuple[int | str, ...]:
        """Sizes, or the names of open ones; no size is unknown."""
        shape = self._shapes.get(value)
        if shape is None:
            raise NoMatchError
        return shape

    def with_constant(self, node: onnx.NodeProto) -> tuple[str, str]:
        """The two inputs of a commutative node, the constant one last."""
        first, second = node.input
        demand(self.is_constant(first) != self.is_constant(second))
        return (second, first) if self.is_constant(first) else (first, second)

    def closed(self, nodes: Iterable[onnx.NodeProto], kept: Iterable[str]) -> bool:
        """Whether nothing outside of `nodes` uses what they make, the values `kept` excepted."""
        inside = {id(node) for node in nodes}
        visible = set(kept)
        return all(
            name in visible
            or (name not in self._outputs and all(id(user) in inside for user in self._consumers[name]))
            for node in nodes
            for name in node.output
        )


def is_a(node: onnx.NodeProto, kind: str, domain: str = "") -> bool:
    same = node.domain in _STANDARD if domain in _STANDARD else node.domain == domain
    return same and bool(node.op_type == kind)


def integer(node: onnx.NodeProto, name: str) -> int:
    """An integer attribute that is written on the node."""
    for attribute in node.attribute:
        if attribute.name == name and attribute.type == onnx.AttributeProto.INT:
            return int(attribute.i)
    raise NoMatchError


def integers(node: onnx.NodeProto, name: str) -> list[int]:
    for attribute in node.attribute:
        if attribute.name == name and attribute.type == onnx.AttributeProto.INTS:
            return list(attribute.ints)
    raise NoMatchError


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...] | None:
    if not value.type.tensor_type.HasField("shape"):
        return None
    sizes: list[int | str] = [
        size.dim_value if size.HasField("dim_value") else size.dim_param
        for size in value.type.tensor_type.shape.dim
    ]
    return None if "" in sizes else tuple(sizes)
