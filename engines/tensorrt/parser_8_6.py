"""Rewrites of a graph for TensorRT 8.6, whose parser supports less of ONNX than that of later versions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_INT32 = (-(1 << 31), (1 << 31) - 1)


def rewrite_for_8_6(model: onnx.ModelProto) -> None:
    """Clip integers to 32 bits, and compute the whole shape wherever a part of it is read; in place."""
    _slice_shapes(model.graph)
    _clip_integers(model.graph)


def has_bounds(node: onnx.NodeProto) -> bool:
    """Whether the node is a Shape with `start` or `end`, which 8.6 ignores: it returns the whole shape."""
    return bool(node.op_type == "Shape" and node.attribute)


def _slice_shapes(graph: onnx.GraphProto) -> None:
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        graph.node.extend(_whole_and_slice(graph, node) if has_bounds(node) else [node])


def _whole_and_slice(graph: onnx.GraphProto, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Shape and Slice with the same result. Both operators count negative bounds from the end."""
    import numpy as np
    from onnx import helper, numpy_helper

    (part,) = node.output
    bounds = {"start": 0, "end": _INT32[1]} | {item.name: item.i for item in node.attribute}
    names = [f"{part}/{name}" for name in ("start", "end")]
    graph.initializer.extend(
        numpy_helper.from_array(np.array([value], np.int64), name)
        for name, value in zip(names, (bounds["start"], bounds["end"]), strict=True)
    )
    yield helper.make_node("Shape", node.input, [f"{part}/whole"], node.name)
    yield helper.make_node("Slice", [f"{part}/whole", *names], [part], f"{node.name}/Slice")


def _clip_integers(graph: onnx.GraphProto) -> None:
    """Clip integers such as 2^63 - 1 to 32 bits: 8.6 would do it with a warning for each."""
    import numpy as np
    from onnx import TensorProto, numpy_helper

    for item in graph.initializer:
        if item.data_type == TensorProto.INT64:
            values = numpy_helper.to_array(item)
            item.CopyFrom(numpy_helper.from_array(np.clip(values, *_INT32), item.name))
