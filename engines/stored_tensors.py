"""Tensors of an ONNX graph whose values are stored outside of it, in the weights of a payload.

The graph keeps names, types and shapes of these initializers. It never refers to another file: the manifest
has the offsets, and a backend passes the values to its runtime.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from vim_deploy.engines.payload import ALIGNMENT, Payload
from vim_deploy.errors import EngineError

if TYPE_CHECKING:
    import onnx

# Smaller tensors, for example shapes, stay in the graph.
_SMALLEST = 1024  # bytes
_VALUE_FIELDS = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")


def split_weights(data: bytes) -> Payload:
    """The payload of a complete graph: large initializers become weights, each at a multiple of ALIGNMENT."""
    import onnx

    model = onnx.load_model_from_string(data)
    overridable = {value.name for value in model.graph.input}
    weights, offsets = bytearray(), {}
    for tensor in model.graph.initializer:
        size = byte_size(tensor)
        if size is None or size < _SMALLEST or tensor.name in overridable:
            continue
        values = tensor.raw_data or onnx.numpy_helper.to_array(tensor).tobytes()
        weights += bytes(-len(weights) % ALIGNMENT)
        offsets[tensor.name] = len(weights)
        weights += values
        for name in _VALUE_FIELDS:
            tensor.ClearField(name)
    return Payload(model.SerializeToString(), bytes(weights), offsets) if offsets else Payload(data)


def check_offsets(name: str, model: onnx.ModelProto, payload: Payload) -> None:
    """Raises EngineError unless the initializers without values are those in the weights."""
    empty = {tensor.name: byte_size(tensor) for tensor in without_values(model)}
    if empty.keys() != payload.offsets.keys():
        different = sorted(empty.keys() ^ payload.offsets.keys())
        raise EngineError(
            f"{name}: the manifest and the graph differ in which tensors are in the weights: "
            f"{different[:3]}; the engine was edited. Build it again."
        )
    for tensor, offset in payload.offsets.items():
        size = empty[tensor]
        if size is None or offset < 0 or offset % ALIGNMENT or offset + size > len(payload.weights):
            raise EngineError(
                f"{name}: the tensor {tensor!r} has the offset {offset} in weights of "
                f"{len(payload.weights)} bytes, where it does not fit; the engine was edited. Build it again."
            )


def without_values(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """The initializers that have elements, but no values."""
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) and not any(getattr(tensor, name) for name in _VALUE_FIELDS):
            yield tensor


def byte_size(tensor: onnx.TensorProto) -> int | None:
    """The bytes of a tensor's values; None for types that are not stored in weights."""
    width = element_bytes().get(tensor.data_type)
    return None if width is None else width * math.prod(tensor.dims)


def element_bytes() -> Mapping[int, int]:
    """The bytes of an element for the types of tensors in weights."""
    from onnx import TensorProto as Type

    return {
        **dict.fromkeys((Type.INT8, Type.UINT8, Type.BOOL), 1),
        **dict.fromkeys((Type.FLOAT16, Type.BFLOAT16, Type.INT16, Type.UINT16), 2),
        **dict.fromkeys((Type.FLOAT, Type.INT32, Type.UINT32), 4),
        **dict.fromkeys((Type.DOUBLE, Type.INT64, Type.UINT64), 8),
    }
