"""Converting files from float16 or bfloat16 to float32. Needs only onnx and numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx


def upcast_to_fp32(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model with every float16 or bfloat16 tensor as a float32 tensor of the same values.

    It runs where a runtime has no kernels for reduced precision. Comparing it with the eager model checks the
    graph and the weights, not the rounding.
    """
    import onnx

    reduced = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    upcast = onnx.ModelProto()
    upcast.CopyFrom(model)
    for item in upcast.graph.initializer:
        if item.data_type in reduced:
            item.CopyFrom(_float32(item))
    for node in upcast.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in reduced:
                attribute.i = onnx.TensorProto.FLOAT
            elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type in reduced:
                attribute.t.CopyFrom(_float32(attribute.t))
    for value in (*upcast.graph.input, *upcast.graph.output, *upcast.graph.value_info):
        if value.type.tensor_type.elem_type in reduced:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return upcast


def _float32(tensor: onnx.TensorProto) -> onnx.TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
