"""The matmuls of a graph that are quantized."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from vim_deploy.onnx_graph.index import GraphIndex, NoMatchError, demand, is_op

# Smaller matmuls gain nothing. In Vim these are the projections from the rank of the time step.
MIN_DEPTH = 32
# Factors of the inputs are folded into a constant of these producers.
_SCALED = ("Mul", "LayerNormalization")


@dataclass(frozen=True)
class Site:
    """A matmul `value @ weights`; weights (depth, columns).

    `foldable`: inputs of the node that computes `value` which are constants of one element per channel. All
    of them have to be divided by a factor to divide `value` by it; empty if that is not possible.
    """

    node: onnx.NodeProto
    weights: np.ndarray
    foldable: tuple[str, ...]

    @property
    def value(self) -> str:
        return str(self.node.input[0])


def find_sites(graph: onnx.GraphProto) -> list[Site]:
    """All matmuls with constant weights of at least MIN_DEPTH rows. The classifier is a Gemm and not one."""
    index = GraphIndex(graph)
    sites = []
    for node in graph.node:
        if not is_op(node, "MatMul"):
            continue
        try:
            weights = index.constant(node.input[1], rank=2)
        except NoMatchError:
            continue
        if len(weights) >= MIN_DEPTH:
            sites.append(Site(node, weights, _foldable(index, node.input[0], len(weights))))
    return sites


def _foldable(index: GraphIndex, value: str, depth: int) -> tuple[str, ...]:
    producer = index.producers.get(value)
    if producer is None or producer.op_type not in _SCALED:
        return ()
    try:
        demand(len(index.consumers[value]) == 1 and value not in index.outputs)
        if producer.op_type == "Mul":
            names = [index.with_constant(producer)[1]]
        else:
            names = [name for name in producer.input[1:] if name]
        for name in names:
            demand(index.constant(name, rank=1).shape == (depth,))
    except NoMatchError:
        return ()
    return tuple(names)
