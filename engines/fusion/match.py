"""The patterns of nodes that fused operators can replace. Every node is checked, and must match exactly."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx

from vim_deploy.onnx_graph.index import GraphIndex, NoMatchError, demand, integer, integers
from vim_deploy.ops.signature import OP_DOMAIN, OP_NAME, by_name

_SEQUENCE_RANK = 3  # (batch, length, channels)


@dataclass
class Norm:
    """y = RMSNorm(x), or RMSNorm(x + residual) with the sum as a second output."""

    y: str
    x: str
    weight: str
    epsilon: float
    residual: str | None = None
    sum: str | None = None
    nodes: list[onnx.NodeProto] = field(default_factory=list)


@dataclass
class Conv:
    """u = SiLU(causal depthwise convolution of x)."""

    x: str
    u: str
    taps: np.ndarray  # (width, channels)
    bias: np.ndarray  # (channels)
    reverse: bool
    nodes: list[onnx.NodeProto]


@dataclass
class Direction:
    """One scan of a mixer, with its convolution and projections."""

    conv: Conv
    projection: str
    delta_weight: str
    A: str
    D: str
    delta_bias: str
    z: str
    softplus: int
    nodes: list[onnx.NodeProto]


@dataclass
class Mixer:
    """y = the sum or the average of the gated scans of both directions."""

    y: str
    xz: str
    average: bool
    directions: tuple[Direction, Direction]  # forward, backward
    nodes: list[onnx.NodeProto]


def match_norm(graph: GraphIndex, scaled: onnx.NodeProto) -> Norm:
    """The norm whose last node is the Mul `scaled`. Raises NoMatchError."""
    quotient, weight = graph.with_constant(scaled)
    divide = graph.producer(quotient, "Div")
    x, root = divide.input
    sqrt = graph.producer(root, "Sqrt")
    add = graph.producer(sqrt.input[0], "Add")
    mean, epsilon = graph.with_constant(add)
    reduce = graph.producer(mean, "ReduceMean")
    demand(_axes(graph, reduce) == [-1] and integer(reduce, "keepdims") == 1)
    square = graph.producer(reduce.input[0], "Pow")
    demand(square.input[0] == x and _is_scalar(graph, square.input[1], 2.0))
    shape = graph.shape(x)
    demand(len(shape) == _SEQUENCE_RANK and graph.constant(weight, rank=1).shape == shape[-1:])
    norm = Norm(scaled.output[0], x, weight, _scalar(graph, epsilon))
    norm.nodes = [scaled, divide, sqrt, add, reduce, square]
    demand(graph.is_closed(norm.nodes, exposed=[norm.y]))
    _add_residual(graph, norm)
    return norm


def _axes(graph: GraphIndex, reduce: onnx.NodeProto) -> list[int]:
    """An attribute up to opset 17, and an input from 18 on."""
    if len(reduce.input) < 2:
        return integers(reduce, "axes")
    return [int(axis) for axis in graph.constant(reduce.input[1])]


def _add_residual(graph: GraphIndex, norm: Norm) -> None:
    """Include the addition before the norm, if its inputs have the same shape."""
    try:
        add = graph.producer(norm.x, "Add")
        if any(graph.shape(name) != graph.shape(norm.x) for name in add.input):
            return
    except NoMatchError:
        return
    norm.sum = norm.x
    norm.x, norm.residual = add.input
    norm.nodes.append(add)


def match_mixer(graph: GraphIndex, total: onnx.NodeProto) -> Mixer:
    """The mixer whose two scans are added by `total`. Raises NoMatchError."""
    scans = [graph.producer(name, OP_NAME, OP_DOMAIN) for name in total.input]
    scans.sort(key=lambda scan: integer(scan, "reverse"))
    demand([integer(scan, "reverse") for scan in scans] == [0, 1])
    forward, backward = (_direction(graph, scan) for scan in scans)
    demand(
        forward.softplus == backward.softplus
        and forward.conv.x == backward.conv.x
        and forward.z == backward.z
    )
    demand(not forward.conv.reverse and backward.conv.reverse)
    for one, other in ((forward.A, backward.A), (forward.delta_weight, backward.delta_weight)):
        demand(graph.constant(one, rank=2).shape == graph.constant(other, rank=2).shape)
    demand(forward.conv.taps.shape == backward.conv.taps.shape)
    split = graph.producer(forward.z, "Split")
    channels = graph.constant(forward.D, rank=1).size
    demand(list(split.output) == [forward.conv.x, forward.z] and integer(split, "axis") == _SEQUENCE_RANK - 1)
    demand(graph.shape(split.input[0])[-1:] == (2 * channels,) and graph.shape(forward.z)[-1:] == (channels,))
    nodes = [split, *forward.nodes, *backward.nodes, *scans, total]
    last = total
    divide = graph.only_consumer(total.output[0], "Div")
    if divide is not None and divide.input[0] == total.output[0] and _is_scalar(graph, divide.input[1], 2.0):
        last = divide
        nodes.append(divide)
    y = last.output[0]
    demand(graph.is_closed(nodes, exposed=[y, forward.conv.u, backward.conv.u]))
    return Mixer(y, split.input[0], last is not total, (forward, backward), nodes)


def _direction(graph: GraphIndex, scan: onnx.NodeProto) -> Direction:
    inputs = by_name(scan.input)
    dt_proj = graph.producer(inputs["delta"], "MatMul")
    split = graph.producer(dt_proj.input[0], "Split")
    demand(list(split.output) == [dt_proj.input[0], inputs["B"], inputs["C"]])
    demand(integer(split, "axis") == _SEQUENCE_RANK - 1)
    channels, state = graph.constant(inputs["A"], rank=2).shape
    rank = graph.constant(dt_proj.input[1], rank=2).shape[0]
    demand(graph.constant(split.input[1]).tolist() == [rank, state, state])
    demand(graph.constant(dt_proj.input[1]).shape == (rank, channels))
    for name in ("D", "delta_bias"):
        demand(graph.constant(inputs[name], rank=1).shape == (channels,))
    conv = _conv(graph, inputs["u"])
    demand(conv.bias.shape == (channels,))
    return Direction(
        conv=conv,
        projection=split.input[0],
        delta_weight=dt_proj.input[1],
        A=inputs["A"],
        D=inputs["D"],
        delta_bias=inputs["delta_bias"],
        z=inputs["z"],
        softplus=integer(scan, "delta_softplus"),
        nodes=[*conv.nodes, split, dt_proj],
    )


def _conv(graph: GraphIndex, u: str) -> Conv:
    silu = graph.producer(u, "Mul")
    before = silu.input[0]
    sigmoid = graph.producer(silu.input[1], "Sigmoid")
    demand(sigmoid.input[0] == before)
    node = graph.producer(before, "Add")
    nodes = [silu, sigmoid]
    bias = None
    if any(graph.is_constant(name) for name in node.input):
        nodes.append(node)
        before, constant = graph.with_constant(node)
        bias = graph.constant(constant, rank=1)
    terms = _terms(graph, before, nodes)
    padded, taps = _tapped_slices(graph, terms, nodes)
    pad = graph.producer(padded, "Pad")
    nodes.append(pad)
    # By default Pad has the mode "constant" and the value 0.
    demand(len(pad.input) == 2 and all(item.s == b"constant" for item in pad.attribute))
    front = [0, len(taps) - 1, 0, 0, 0, 0]
    pads = graph.constant(pad.input[1]).tolist()
    demand(len(taps) > 1 and pads in (front, front[3:] + front[:3]))
    x = pad.input[0]
    demand(graph.shape(x)[-1:] == taps.shape[1:] and graph.shape(u) == graph.shape(x))
    if bias is None:
        bias = np.zeros(taps.shape[1], np.float32)
    demand(bias.shape == taps.shape[1:])
    return Conv(x, u, taps, bias, pads != front, nodes)


def _terms(graph: GraphIndex, value: str, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The Mul nodes that a chain of Add nodes ending in `value` sums; appends the Add nodes to `nodes`."""
    try:
        add = graph.producer(value, "Add")
    except NoMatchError:
        return [graph.producer(value, "Mul")]
    nodes.append(add)
    return [*_terms(graph, add.input[0], nodes), graph.producer(add.input[1], "Mul")]


def _tapped_slices(
    graph: GraphIndex, terms: list[onnx.NodeProto], nodes: list[onnx.NodeProto]
) -> tuple[str, np.ndarray]:
    """The padded sequence and the taps, where term k multiplies the slice from token k on with tap k."""
    padded: set[str] = set()
    taps = []
    for shift, term in enumerate(terms):
        shifted, tap = graph.with_constant(term)
        taps.append(graph.constant(tap, rank=1))
        piece = graph.producer(shifted, "Slice")
        start, _, axis, step = (graph.constant(name).tolist() for name in piece.input[1:])
        # The end is not compared: it follows from the length, which is that of the convolution's output.
        demand((start, axis, step) == ([shift], [1], [1]))
        demand(graph.shape(shifted) == graph.shape(term.output[0]))
        nodes += [term, piece]
        padded.add(piece.input[0])
    demand(len(padded) == 1 and len({tap.shape for tap in taps}) == 1)
    return padded.pop(), np.stack(taps)


def _scalar(graph: GraphIndex, value: str) -> float:
    array = graph.constant(value)
    demand(array.size == 1 and array.ndim <= 1)
    return float(array.reshape(()))


def _is_scalar(graph: GraphIndex, value: str, expected: float) -> bool:
    return graph.is_constant(value) and _scalar(graph, value) == expected
