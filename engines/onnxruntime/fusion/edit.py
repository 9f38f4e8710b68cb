"""Replacing groups of nodes of an ONNX graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper


class Edit:
    """Collects replacements, then makes them all at once."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.counts: Counter[str] = Counter()
        self._constants: list[onnx.TensorProto] = []
        self._graph = graph
        self._place = {node.output[0]: index for index, node in enumerate(graph.node)}
        self._gone: set[int] = set()
        self._new: dict[int, list[onnx.NodeProto]] = {}

    def replace(self, old: list[onnx.NodeProto], new: list[onnx.NodeProto]) -> None:
        """Let `new` stand for `old`, unless an earlier replacement has taken some of these nodes."""
        places = {self._place[node.output[0]] for node in old}
        if places & self._gone:
            return
        self._gone |= places
        for node in new:
            self.counts[node.op_type] += 1
            # Where the first of its outputs was made: what it needs is there, and nothing needs it earlier.
            made = set(node.output)
            place = min(place for place in places if made & set(self._graph.node[place].output))
            self._new.setdefault(place, []).append(node)

    def constant(self, name: str, value: np.ndarray) -> str:
        """A new float32 initializer, kept if a node of the final graph uses it."""
        return self.tensor(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))

    def tensor(self, tensor: onnx.TensorProto) -> str:
        """`constant` for a tensor of any type."""
        self._constants.append(tensor)
        return tensor.name

    def apply(self) -> None:
        graph = self._graph
        nodes = []
        for index, node in enumerate(graph.node):
            if index not in self._gone:
                nodes.append(node)
            nodes += self._new.get(index, [])
        del graph.node[:]
        graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input} | {item.name for item in graph.output}
        made = {name for node in nodes for name in node.output}
        _keep(graph.initializer, [*graph.initializer, *self._constants], used)
        _keep(graph.value_info, list(graph.value_info), made)


def _keep(field: Any, items: Iterable[Any], names: set[str]) -> None:
    """Fill a repeated field with those of the items whose names are among these."""
    kept = [item for item in items if item.name in names]
    del field[:]
    field.extend(kept)
