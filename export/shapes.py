"""Constant shapes of reshapes in graphs with a dynamic batch size.

The exporter computes the shape of every reshape from the batch size. If only one size is not constant, it can
be left to Reshape as -1. Otherwise runtimes have to keep several nodes for each shape; TensorRT's parser of
8.6 makes still more layers of them.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

_SHAPE_INPUT = 1  # of Reshape and Expand


def make_shapes_constant(model: ir.Model) -> None:
    """Simplify the shapes given to Reshape and Expand, in place; unused nodes remain.

    A shape with one size that is not constant becomes constant for Reshape. Expand has no such placeholder;
    it gets the size directly from Shape.
    """
    for node in model.graph:
        shape = node.inputs[_SHAPE_INPUT] if _is_shaped(node) else None
        concat = None if shape is None else shape.producer()
        if concat is None or concat.op_type != "Concat":
            continue
        sizes = [_constant(part) for part in concat.inputs]
        known = [size for values in sizes for size in values or ()]
        if sizes.count(None) != 1 or min(known, default=1) < 1:
            continue
        unknown = sizes.index(None)
        source = _single_size(concat.inputs[unknown])
        if source is None:
            continue
        if node.op_type == "Reshape":
            values = [size for part in sizes for size in ([-1] if part is None else part)]
            name = f"{node.outputs[0].name}_shape"
            constant = ir.Value(name=name, const_value=ir.tensor(np.array(values, np.int64), name=name))
            model.graph.register_initializer(constant)
            node.replace_input_with(_SHAPE_INPUT, constant)
        else:
            concat.replace_input_with(unknown, source)


def _is_shaped(node: ir.Node) -> bool:
    return node.op_type in ("Reshape", "Expand") and not node.domain


def _constant(value: ir.Value | None) -> list[int] | None:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy().reshape(-1).tolist()


def _single_size(value: ir.Value | None) -> ir.Value | None:
    """The output of the Shape that computes this value, if it is one size: a Shape of one axis.

    Nodes between them only change a scalar to a vector and back.
    """
    node = None if value is None else value.producer()
    if node is None:
        return None
    if node.op_type in ("Reshape", "Squeeze", "Unsqueeze"):
        return _single_size(node.inputs[0])
    if node.op_type != "Shape":
        return None
    start, end = (node.attributes.get_int(name, default) for name, default in (("start", 0), ("end", 0)))
    return node.outputs[0] if start >= 0 and end == start + 1 else None
