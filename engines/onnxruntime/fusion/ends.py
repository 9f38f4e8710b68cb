"""Rewrites the first and the last layers of a network as matmuls of sequences (batch, length, depth).

Only such matmuls are fused (`matmul.py`) and calibrated (`smoothing.py`). The values are the same, except for
the order of summation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vim_deploy.engines.fusion.match import match_norm
from vim_deploy.onnx_graph.index import GraphIndex, NoMatchError, demand, integer, integers, is_op

_TOKENS = 1  # the axis of a sequence's tokens
_IMAGE_RANK = 4  # (batch, channels, height, width)
# From (batch, channels, rows, patch height, columns, patch width) to (batch, rows, columns, channels, ...).
_PATCH_ORDER = [0, 2, 4, 1, 3, 5]


def rewrite_ends(model: onnx.ModelProto, *, patches: bool) -> None:
    """Rewrite in place.

    A classifier after one token of the last norm computes this norm, and the projection before it, only for
    that token. `patches`: also rewrite convolutions of patches that do not overlap.
    """
    for node in list(model.graph.node):
        try:
            if is_op(node, "Gemm"):
                _rewrite_classifier(model.graph, node)
            elif patches and is_op(node, "Conv"):
                _rewrite_patches(model.graph, node)
        except (NoMatchError, ValueError):  # ValueError: a different number of inputs
            continue


def _rewrite_classifier(graph: onnx.GraphProto, gemm: onnx.NodeProto) -> None:
    index = GraphIndex(graph)
    logits = gemm.output[0]
    demand(logits in index.outputs)
    attributes = {item.name: helper.get_attribute_value(item) for item in gemm.attribute}
    demand(attributes.get("alpha", 1) == attributes.get("beta", 1) == 1 and not attributes.get("transA"))
    x, weights_name, bias = gemm.input
    weights = index.constant(weights_name, rank=2)
    if attributes.get("transB"):
        weights = weights.T
    demand(weights.dtype == np.float32 and index.constant(bias, rank=1).shape == weights.shape[1:])
    batch, depth = index.shape(x)
    row, removed = f"{x}/row", [gemm]
    gather = index.producers.get(x)
    if gather is not None and _takes_one_token(index, gather):
        removed.append(gather)
        token = index.constant(gather.input[1]).reshape(1)
        first = _gather(graph, gather.input[0], token, row)
    else:
        axes = _constant(graph, f"{logits}/axes", np.array([_TOKENS]))
        first = helper.make_node("Unsqueeze", [x, axes], [row], name=row)
    new = [
        first,
        helper.make_node(
            "MatMul", [row, _constant(graph, f"{logits}/weights", weights)], [f"{logits}/MatMul"]
        ),
        helper.make_node("Add", [f"{logits}/MatMul", bias], [f"{logits}/Add"]),
        helper.make_node(
            "Squeeze",
            [f"{logits}/Add", _constant(graph, f"{logits}/axes", np.array([_TOKENS]))],
            [logits],
        ),
    ]
    _replace(graph, removed, {gemm.output[0]: new})
    _declare(graph, row, (batch, 1, depth))
    if first.op_type == "Gather":
        _gather_before_norm(graph, row)


def _takes_one_token(index: GraphIndex, gather: onnx.NodeProto) -> bool:
    if not is_op(gather, "Gather") or not index.is_constant(gather.input[1]):
        return False
    only = len(index.consumers[gather.output[0]]) == 1 and gather.output[0] not in index.outputs
    return only and integer(gather, "axis") == _TOKENS and index.constant(gather.input[1]).ndim == 0


def _gather_before_norm(graph: onnx.GraphProto, row: str) -> None:
    """Take the token `row` before the norm that it is from, and before the projection that is added there.

    Raises NoMatchError if something else reads the other tokens.
    """
    index = GraphIndex(graph)
    gather = index.producer(row, "Gather")
    value, tokens = gather.input
    demand(value not in index.outputs)
    norm = match_norm(index, index.producer(value, "Mul"))
    demand([id(node) for node in index.consumers[value]] == [id(gather)])
    nodes, inputs = list(norm.nodes), [norm.x]
    if norm.residual is not None:
        inputs.append(norm.residual)
        for name in (norm.x, norm.residual):
            matmul = index.producers.get(name)
            if matmul is not None and is_op(matmul, "MatMul") and index.is_constant(matmul.input[1]):
                nodes.append(matmul)
                inputs[inputs.index(name)] = matmul.input[0]
    demand(index.is_closed(nodes, exposed=[value]))
    position = {id(node): at for at, node in enumerate(index.nodes)}
    nodes.sort(key=lambda node: position[id(node)])
    before: dict[str, list[onnx.NodeProto]] = {}
    for name in dict.fromkeys(inputs):
        taken = f"{name}/row"
        user = next(node for node in nodes if name in node.input)
        new = helper.make_node("Gather", [name, tokens], [taken], name=taken, axis=_TOKENS)
        before.setdefault(user.output[0], []).append(new)
        batch, _, size = index.shape(name)
        for node in nodes:
            node.input[:] = [taken if item == name else item for item in node.input]
        _declare(graph, taken, (batch, 1, size))
    _shorten(graph, {name for node in nodes for name in node.output})
    (user,) = index.consumers[row]
    user.input[:] = [value if item == row else item for item in user.input]
    _replace(graph, [gather], before)


def _rewrite_patches(graph: onnx.GraphProto, conv: onnx.NodeProto) -> None:
    index = GraphIndex(graph)
    x, weights_name, bias = conv.input
    weights = index.constant(weights_name, rank=_IMAGE_RANK)
    columns, channels, height, width = weights.shape
    demand(weights.dtype == np.float32 and index.constant(bias, rank=1).shape == (columns,))
    batch, depth, *image = index.shape(x)
    demand(integer(conv, "group") == 1 and depth == channels)
    demand(integers(conv, "strides") == [height, width] and not any(integers(conv, "pads")))
    demand(integers(conv, "dilations") == [1, 1])
    rows, rest = divmod(_size(image[0]), height)
    across, also = divmod(_size(image[1]), width)
    demand(rest == also == 0)
    reshape = _only_consumer(index, conv, "Reshape")
    transpose = _only_consumer(index, reshape, "Transpose")
    demand(index.shape(reshape.output[0]) == (batch, columns, rows * across))
    demand(integers(transpose, "perm") == [0, 2, 1])
    y = transpose.output[0]
    # In shapes for Reshape, 0 is the size of the input.
    split = _constant(graph, f"{y}/split", np.array([0, channels, rows, height, across, width]))
    joined = _constant(graph, f"{y}/joined", np.array([0, rows * across, math.prod(weights.shape[1:])]))
    matrix = _constant(graph, f"{y}/weights", weights.reshape(columns, -1).T)
    new = [
        helper.make_node("Reshape", [x, split], [f"{y}/pieces"]),
        helper.make_node("Transpose", [f"{y}/pieces"], [f"{y}/ordered"], perm=_PATCH_ORDER),
        helper.make_node("Reshape", [f"{y}/ordered", joined], [f"{y}/patches"]),
        helper.make_node("MatMul", [f"{y}/patches", matrix], [f"{y}/MatMul"]),
        helper.make_node("Add", [f"{y}/MatMul", bias], [y]),
    ]
    _declare(graph, f"{y}/patches", (batch, rows * across, math.prod(weights.shape[1:])))
    _replace(graph, [conv, reshape, transpose], {y: new})


@dataclass(frozen=True)
class Patches:
    """The nodes that `rewrite_ends` puts before the matmul of patches.

    `x`: the images (batch, channels, height, width). `image`: the shape (batch, channels * height, width) as
    an input of Reshape. `attributes`: those of the fused operator.
    """

    nodes: list[onnx.NodeProto]
    x: str
    image: np.ndarray
    attributes: dict[str, int]


def match_patches(index: GraphIndex, matmul: onnx.NodeProto) -> Patches:
    """Raises NoMatchError if the input of `matmul` is something else."""
    join = index.producer(matmul.input[0], "Reshape")
    transpose = index.producer(join.input[0], "Transpose")
    demand(integers(transpose, "perm") == _PATCH_ORDER)
    split = index.producer(transpose.input[0], "Reshape")
    shape = index.constant(split.input[1]).tolist()
    demand(len(shape) == len(_PATCH_ORDER) and shape[0] == 0 and min(shape[1:]) > 0)
    _, channels, rows, height, across, width = shape
    joined = [0, rows * across, channels * height * width]
    demand(index.constant(join.input[1]).tolist() == joined)
    return Patches(
        nodes=[split, transpose, join],
        x=split.input[0],
        image=np.array([0, channels * rows * height, across * width]),
        attributes={"channels": channels, "patch_height": height, "patch_width": width},
    )


def _only_consumer(index: GraphIndex, node: onnx.NodeProto, kind: str) -> onnx.NodeProto:
    found = index.only_consumer(node.output[0], kind)
    if found is None:
        raise NoMatchError
    return found


def _size(size: int | str) -> int:
    if isinstance(size, str):
        raise NoMatchError
    return size


def _gather(graph: onnx.GraphProto, value: str, token: np.ndarray, row: str) -> onnx.NodeProto:
    tokens = _constant(graph, f"{row}/token", token)
    return helper.make_node("Gather", [value, tokens], [row], name=row, axis=_TOKENS)


def _constant(graph: onnx.GraphProto, name: str, value: np.ndarray) -> str:
    """Adds an initializer, unless it exists. Returns its name."""
    if name not in {item.name for item in graph.initializer}:
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    return name


def _declare(graph: onnx.GraphProto, name: str, shape: Iterable[int | str]) -> None:
    graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))


def _shorten(graph: onnx.GraphProto, values: set[str]) -> None:
    """Declare one token for these values."""
    for info in graph.value_info:
        if info.name in values:
            size = info.type.tensor_type.shape.dim[_TOKENS]
            size.Clear()
            size.dim_value = 1


def _replace(
    graph: onnx.GraphProto, removed: list[onnx.NodeProto], new: dict[str, list[onnx.NodeProto]]
) -> None:
    """Remove nodes, and insert others before the node that computes a value, by the name of the value."""
    outputs = {node.output[0] for node in removed}
    nodes = []
    for node in graph.node:
        nodes += new.get(node.output[0], [])
        if node.output[0] not in outputs:
            nodes.append(node)
    computed = {name for node in nodes for name in node.output}
    used = {name for node in nodes for name in node.input} | {item.name for item in graph.output}
    values = [info for info in graph.value_info if info.name in computed]
    weights = [item for item in graph.initializer if item.name in used]
    for field, items in ((graph.node, nodes), (graph.value_info, values), (graph.initializer, weights)):
        del field[:]
        field.extend(items)
