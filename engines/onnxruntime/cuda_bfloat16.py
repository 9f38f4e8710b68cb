"""What ONNX Runtime's CUDA provider lacks in bfloat16, done in float32: moving values about loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

# By the provider's table of kernels in 1.25; everything else that exported graphs do in bfloat16 has one.
_LACKING = ("Pad",)


def widen_lacking(data: bytes) -> bytes:
    """The graph with casts around each bfloat16 node without a kernel; results stay the same bit for bit."""
    import onnx

    model = onnx.load_model_from_string(data)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {
        value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.input)
    }
    types |= {item.name: item.data_type for item in inferred.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type in _LACKING and types.get(node.input[0]) == onnx.TensorProto.BFLOAT16:
            nodes += _in_float32(node)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _in_float32(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    from onnx import NodeProto, TensorProto, helper

    wide = NodeProto()
    wide.CopyFrom(node)
    wide.input[0], wide.output[0] = f"{node.output[0]}/wide_input", f"{node.output[0]}/wide"
    before = helper.make_node(
        "Cast", [node.input[0]], [wide.input[0]], f"{node.name}/widen", to=TensorProto.FLOAT
    )
    after = helper.make_node(
        "Cast", [wide.output[0]], [node.output[0]], f"{node.name}/narrow", to=TensorProto.BFLOAT16
    )
    return [before, wide, after]
