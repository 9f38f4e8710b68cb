"""Bfloat16 operators without a kernel in ONNX Runtime's CUDA provider are run in float32.

They only move values, so that the results stay the same bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

# According to the provider's kernel table in 1.25; all other operators of exported graphs have a kernel.
_UNSUPPORTED = ("Pad",)


def upcast_unsupported(data: bytes) -> bytes:
    """The graph with casts around each bfloat16 node that has no kernel."""
    import onnx

    model = onnx.load_model_from_string(data)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {
        value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.input)
    }
    types |= {item.name: item.data_type for item in inferred.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type in _UNSUPPORTED and types.get(node.input[0]) == onnx.TensorProto.BFLOAT16:
            nodes += _in_float32(node)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _in_float32(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    from onnx import NodeProto, TensorProto, helper

    upcast = NodeProto()
    upcast.CopyFrom(node)
    upcast.input[0], upcast.output[0] = f"{node.output[0]}/fp32_input", f"{node.output[0]}/fp32"
    before = helper.make_node(
        "Cast", [node.input[0]], [upcast.input[0]], f"{node.name}/to_fp32", to=TensorProto.FLOAT
    )
    after = helper.make_node(
        "Cast", [upcast.output[0]], [node.output[0]], f"{node.name}/to_bf16", to=TensorProto.BFLOAT16
    )
    return [before, upcast, after]
