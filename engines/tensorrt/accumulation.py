"""Accumulating the matmuls of fp16 and bf16 graphs in float32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_MATMULS = ("MatMul", "Gemm")
_FLOAT, _REDUCED = 1, (10, 16)  # onnx.TensorProto.DataType


def accumulate_in_fp32(model: onnx.ModelProto, types: dict[str, int]) -> None:
    """Cast the inputs of every fp16 or bf16 matmul to float32 and its output back, in place.

    TensorRT 10 and later fuse these casts with the matmul: the kernel reads and writes the same types as
    before, but may not accumulate in float16. `types`: ONNX element types; the new tensors are added.
    """
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        reduced = node.op_type in _MATMULS and types.get(node.output[0]) in _REDUCED
        model.graph.node.extend(_with_casts(node, types) if reduced else [node])


def _with_casts(node: onnx.NodeProto, types: dict[str, int]) -> Iterator[onnx.NodeProto]:
    from onnx import helper

    (output,) = node.output
    scope = f"{node.name.rpartition('/')[0]}/{output}"
    inputs = [f"{output}/input_{index}" for index in range(len(node.input))]
    for index, (original, name) in enumerate(zip(node.input, inputs, strict=True)):
        yield helper.make_node("Cast", [original], [name], f"{scope}/Cast_input_{index}", to=_FLOAT)
    types |= dict.fromkeys([*inputs, f"{output}/fp32"], _FLOAT)
    node.input[:], node.output[:] = inputs, [f"{output}/fp32"]
    yield node
    yield helper.make_node("Cast", [f"{output}/fp32"], [output], f"{scope}/Cast_output", to=types[output])
