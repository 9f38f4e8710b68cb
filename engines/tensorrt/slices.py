"""Slices that TensorRT's parser makes few layers of.

For a tensor with an open axis, such as a dynamic batch, the parser computes the bounds of a Slice at run
time, with 24 layers of shape arithmetic in 8.6, whatever axis is sliced; from 10 on it does so for all
tensors. A Split of constant sizes becomes the same slice layers with 4 layers of arithmetic for each part.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from vim_deploy.onnx_graph.index import GraphIndex, NoMatchError, is_op

if TYPE_CHECKING:
    import onnx


class _Range(NamedTuple):
    """The elements from `start` to `end` of an axis of `size` elements."""

    axis: int
    start: int
    end: int
    size: int


def simplify_slices(model: onnx.ModelProto, open_only: bool) -> None:
    """Remove slices that undo a padding, and replace others by Split, in place.

    `open_only`: replace only those of tensors with an open axis. Slices of several axes, with bounds that are
    not constant or with a step other than 1 stay. The model needs the shapes of its values.
    """
    index = GraphIndex(model.graph)
    outputs = {value.name for value in model.graph.output}
    aliases: dict[str, str] = {}
    sizes: dict[tuple[int, ...], str] = {}
    for node in index.nodes:
        if not is_op(node, "Slice") or node.output[0] in outputs:
            continue
        try:
            part = _range_of(node, index)
            source = _padded(node.input[0], part, index)
        except NoMatchError:
            continue
        if source is not None:
            aliases[node.output[0]] = source
        elif not open_only or any(isinstance(side, str) for side in index.shape(node.input[0])):
            _replace_by_split(node, part, model.graph, sizes)
    for node in index.nodes:
        node.input[:] = [aliases.get(name, name) for name in node.input]
    _remove(model.graph, aliases.keys(), outputs)


def _range_of(node: onnx.NodeProto, index: GraphIndex) -> _Range:
    """The part of its input that a Slice returns. Raises NoMatchError if it is not one range of an axis."""
    starts, ends, *rest = ([int(value) for value in index.constant(name)] for name in node.input[1:])
    axes = rest[0] if rest else [0]
    shape = index.shape(node.input[0])
    if len(starts) != 1 or (len(rest) > 1 and rest[1] != [1]):
        raise NoMatchError
    axis = axes[0] % len(shape)
    size = shape[axis]
    if isinstance(size, str):
        raise NoMatchError
    start, end = (min(max(bound + size if bound < 0 else bound, 0), size) for bound in (starts[0], ends[0]))
    if start >= end:
        raise NoMatchError
    return _Range(axis, start, end, size)


def _padded(value: str, part: _Range, index: GraphIndex) -> str | None:
    """The input of the Pad that computes `value`, if `part` is all of it; None if not."""
    pad = index.producers.get(value)
    if pad is None or not is_op(pad, "Pad"):
        return None
    amounts = index.constant(pad.input[1]).tolist()
    rank = len(amounts) // 2
    others = (
        amounts[: part.axis] + amounts[part.axis + 1 : rank + part.axis] + amounts[rank + part.axis + 1 :]
    )
    before, after = amounts[part.axis], amounts[rank + part.axis]
    undone = min(before, after) >= 0 and (part.start, part.end) == (before, part.size - after)
    return pad.input[0] if undone and not any(others) else None


def _replace_by_split(
    node: onnx.NodeProto, part: _Range, graph: onnx.GraphProto, sizes: dict[tuple[int, ...], str]
) -> None:
    """Turn a Slice into a Split; the outputs before and after the part are unused."""
    import numpy as np
    from onnx import helper, numpy_helper

    (output,) = node.output
    bounds = (0, part.start, part.end, part.size)
    lengths = [high - low for low, high in pairwise(bounds)]
    names = [f"{output}/before", output, f"{output}/after"]
    used = [(name, length) for name, length in zip(names, lengths, strict=True) if length]
    key = tuple(length for _, length in used)
    if key not in sizes:
        sizes[key] = f"{output}/sizes"
        graph.initializer.append(numpy_helper.from_array(np.array(key, np.int64), sizes[key]))
    node.op_type = "Split"
    node.input[1:] = [sizes[key]]
    node.output[:] = [name for name, _ in used]
    node.attribute.append(helper.make_attribute("axis", part.axis))


def _remove(graph: onnx.GraphProto, slices: Collection[str], outputs: set[str]) -> None:
    """Remove the slices with these outputs, and the paddings that nothing else uses."""
    nodes = [node for node in graph.node if node.output[0] not in slices]
    used = outputs.union(*(node.input for node in nodes))
    kept = [node for node in nodes if not is_op(node, "Pad") or node.output[0] in used]
    del graph.node[:]
    graph.node.extend(kept)
