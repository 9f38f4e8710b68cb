"""Smoothing factors of matmul inputs (SmoothQuant, arXiv 2211.10438, equation 4) from images.

Channels of an input with large values would determine the scale of every row, so that the others are rounded
coarsely. Dividing them by a factor, and multiplying their weights by it, moves a part of the range to the
weights, whose scales are per column.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from vim_deploy.onnx_graph.index import GraphIndex, NoMatchError, demand, is_op

_STRENGTH = 0.5
_AXES = 3  # of inputs: batch, length, depth
_SMALLEST = 1e-5  # ranges of channels that are almost always 0


def with_ranges(data: bytes) -> tuple[bytes, dict[str, str]]:
    """The graph with the largest magnitude of each channel of matmul inputs as its only outputs.

    Also returns the names of these outputs by those of the matmuls' outputs. Only matmuls with constant
    weights and inputs of three axes (batch, length, depth) count.
    """
    model = onnx.load_model_from_string(data)
    graph = model.graph
    matmuls = matmuls_of(GraphIndex(graph))
    inputs = {name: matmul.input[0] for name, matmul in matmuls.items()}
    outputs: dict[str, str] = {}
    for value in dict.fromkeys(inputs.values()):
        outputs[value] = f"{value}/range"
        graph.node.extend(
            [
                helper.make_node("Abs", [value], [f"{value}/magnitude"]),
                helper.make_node(
                    "ReduceMax", [f"{value}/magnitude"], [outputs[value]], axes=[0, 1], keepdims=0
                ),
            ]
        )
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs.values()
    )
    return model.SerializeToString(), {name: outputs[value] for name, value in inputs.items()}


def factors_of(data: bytes, ranges: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The factors of each matmul's input, from the ranges of its channels, by the name of its output."""
    matmuls, index = _indexed(data)
    found = {}
    for name, largest in ranges.items():
        found[name] = 1 / divisors(largest, index.constant(matmuls[name].input[1]), _STRENGTH, _SMALLEST)
    return found


def divisors(ranges: np.ndarray, weights: np.ndarray, strength: float, smallest: float) -> np.ndarray:
    """What input channels (depth) are divided by, and the rows of weights (depth, columns) multiplied.

    `ranges`: the largest magnitudes of the channels, whose exponent is `strength`; that of the weights'
    ranges is 1 - `strength`. Ranges are at least `smallest`. The geometric mean is 1: scales are computed
    afterwards, so that only the ratios matter.
    """
    of_weights = np.abs(weights).max(axis=1)
    logarithms = strength * np.log(np.maximum(ranges, smallest))
    logarithms -= (1 - strength) * np.log(np.maximum(of_weights, smallest))
    found: np.ndarray = np.exp(logarithms - logarithms.mean()).astype(np.float32)
    return found


def _indexed(data: bytes) -> tuple[dict[str, onnx.NodeProto], GraphIndex]:
    index = GraphIndex(onnx.load_model_from_string(data).graph)
    return matmuls_of(index), index


def matmuls_of(index: GraphIndex) -> dict[str, onnx.NodeProto]:
    """The matmuls with constant weights and inputs of three axes, by the names of their outputs."""
    found = {}
    for node in index.nodes:
        try:
            demand(is_op(node, "MatMul") and index.constant(node.input[1], rank=2).size > 0)
            demand(len(index.shape(node.input[0])) == _AXES)
            found[node.output[0]] = node
        except NoMatchError:
            continue
    return found
