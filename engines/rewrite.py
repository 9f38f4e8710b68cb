"""Exported graphs for the processor: known groups of nodes become one operator each of `plugins/fused/`.

The exported file stays as it is; only the engine's copy of the graph changes. What does not have exactly the
form of `rewrite_match.py` is left alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .fused import FUSED_DOMAIN, FUSED_VERSION
from .rewrite_graph import GraphView, NoMatchError, is_a
from .rewrite_match import Direction, Mixer, Norm, match_mixer, match_norm


def fuse(model: onnx.ModelProto) -> dict[str, int]:
    """Put fused operators where the graph has their form; in place. Returns how many of each kind."""
    view, edit = GraphView(model.graph), _Edit(model.graph)
    for node in model.graph.node:
        try:
            if is_a(node, "Mul"):
                norm = match_norm(view, node)
                edit.replace(norm.nodes, _norm_nodes(norm))
            elif is_a(node, "Add"):
                mixer = match_mixer(view, node)
                edit.replace(mixer.nodes, _mixer_nodes(view, edit, mixer))
        except (NoMatchError, ValueError):  # ValueError: another number of inputs or dimensions
            continue
    edit.apply()
    if edit.counts and FUSED_DOMAIN not in {entry.domain for entry in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(FUSED_DOMAIN, FUSED_VERSION))
    return dict(edit.counts)


class _Edit:
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
        """A new initializer, kept if a node of the final graph uses it."""
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name

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


def _norm_nodes(norm: Norm) -> list[onnx.NodeProto]:
    if norm.residual is None or norm.sum is None:
        inputs, outputs, kind = [norm.x, norm.weight], [norm.y], "RMSNorm"
    else:
        inputs, outputs, kind = [norm.x, norm.residual, norm.weight], [norm.y, norm.sum], "AddRMSNorm"
    return [_node(kind, norm.y, inputs, outputs, epsilon=norm.epsilon)]


def _mixer_nodes(view: GraphView, edit: _Edit, mixer: Mixer) -> list[onnx.NodeProto]:
    ahead, back = (direction.conv for direction in mixer.directions)
    filters = []
    scans = []
    for direction in mixer.directions:
        conv = direction.conv
        filters += [edit.constant(f"{conv.u}/taps", conv.taps), edit.constant(f"{conv.u}/bias", conv.bias)]
        scans += _scan_inputs(view, edit, direction)
    return [
        _node("CausalConvPair", ahead.u, [mixer.xz, *filters], [ahead.u, back.u]),
        _node(
            "ScanPair",
            mixer.y,
            [mixer.xz, *scans],
            [mixer.y],
            delta_softplus=mixer.directions[0].softplus,
            halve=int(mixer.halve),
        ),
    ]


def _scan_inputs(view: GraphView, edit: _Edit, direction: Direction) -> list[str]:
    by_state = edit.constant(f"{direction.conv.u}/A", view.constant(direction.A).T)
    return [
        direction.conv.u,
        direction.projection,
        direction.delta_weight,
        by_state,
        direction.D,
        direction.delta_bias,
    ]


def _node(kind: str, value: str, inputs: list[str], outputs: list[str], **attributes: Any) -> onnx.NodeProto:
    name = f"{value.rpartition('/')[0]}/{kind}"
    return helper.make_node(kind, inputs, outputs, name=name, domain=FUSED_DOMAIN, **attributes)
