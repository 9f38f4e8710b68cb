"""Replaces groups of nodes in an ONNX graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper


class Edit:
    """Collects replacements and applies them together."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.counts: Counter[str] = Counter()
        self._constants: dict[str, onnx.TensorProto] = {}
        self._graph = graph
        self._index = {node.output[0]: index for index, node in enumerate(graph.node)}
        self._removed: set[int] = set()
        self._added: dict[int, list[onnx.NodeProto]] = {}

    def replace(self, old: list[onnx.NodeProto], new: list[onnx.NodeProto]) -> None:
        """Replace nodes, unless an earlier replacement has already removed one of them."""
        indices = {self._index[node.output[0]] for node in old}
        if indices & self._removed:
            return
        self._removed |= indices
        for node in new:
            self.counts[node.op_type] += 1
            # At the first old node with one of its outputs: its inputs come before, its consumers after.
            outputs = set(node.output)
            index = min(index for index in indices if outputs & set(self._graph.node[index].output))
            self._added.setdefault(index, []).append(node)

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a float32 initializer; it is dropped if the final graph does not use it. Returns its name."""
        return self.tensor(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))

    def tensor(self, tensor: onnx.TensorProto) -> str:
        """Like `constant`, for a tensor of any type. The same name must have the same values."""
        self._constants[tensor.name] = tensor
        return tensor.name

    def apply(self) -> None:
        graph = self._graph
        nodes = []
        for index, node in enumerate(graph.node):
            if index not in self._removed:
                nodes.append(node)
            nodes += self._added.get(index, [])
        del graph.node[:]
        graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input} | {item.name for item in graph.output}
        computed = {name for node in nodes for name in node.output}
        _set(graph.initializer, [*graph.initializer, *self._constants.values()], used)
        _set(graph.value_info, list(graph.value_info), computed)


def _set(field: Any, items: Iterable[Any], names: set[str]) -> None:
    """Set a repeated field to the items with these names."""
    selected = [item for item in items if item.name in names]
    del field[:]
    field.extend(selected)
