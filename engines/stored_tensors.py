"""Tensors of an ONNX graph whose values are stored outside of it, in the weights of a payload.

The graph refers to them as ONNX's external data in WEIGHTS_NAME, a file in the engine. The manifest has a
table of their names, types, shapes and offsets, from which a backend passes the values to its runtime, which
opens no file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vim_deploy.engines.payload import ALIGNMENT, ELEMENT_TYPES, Payload, StoredTensor
from vim_deploy.errors import EngineError

if TYPE_CHECKING:
    import onnx

WEIGHTS_NAME = "weights.bin"
# Smaller tensors, for example shapes, stay in the graph.
_SMALLEST = 1024  # bytes
_VALUE_FIELDS = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")
_TYPE_NAMES = {element.number: name for name, element in ELEMENT_TYPES.items()}


def split_weights(data: bytes) -> Payload:
    """The payload of a complete graph: large initializers become weights, each at a multiple of ALIGNMENT."""
    import onnx

    model = onnx.load_model_from_string(data)
    overridable = {value.name for value in model.graph.input}
    weights, tensors = bytearray(), {}
    for tensor in model.graph.initializer:
        at = len(weights) + -len(weights) % ALIGNMENT
        stored = _stored(tensor, at)
        if stored is None or stored.bytes < _SMALLEST or tensor.name in overridable:
            continue
        values = tensor.raw_data or onnx.numpy_helper.to_array(tensor).tobytes()
        weights += bytes(at - len(weights))
        weights += values
        tensors[tensor.name] = stored
        for name in _VALUE_FIELDS:
            tensor.ClearField(name)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in _reference(stored).items():
            tensor.external_data.add(key=key, value=value)
    return Payload(model.SerializeToString(), bytes(weights), tensors) if tensors else Payload(data)


def check_stored(name: str, model: onnx.ModelProto, tensors: Mapping[str, StoredTensor], size: int) -> None:
    """Raises EngineError unless the graph refers to exactly these tensors, within weights of `size` bytes.

    The references are removed from the graph, so that `check_graph` refuses all other external data.
    """
    found = set()
    for tensor in model.graph.initializer:
        stored = tensors.get(tensor.name)
        if stored is None and not _has_values(tensor) and not tensor.external_data:
            raise _edited(name, tensor.name, "has no values")
        if stored is None:
            continue
        if tensor.name in found or not _refers_to(tensor, stored):
            raise _edited(name, tensor.name, "differs between the manifest and the graph")
        if stored.offset % ALIGNMENT or stored.offset + stored.bytes > size:
            place = f"has the offset {stored.offset} in weights of {size} bytes, where it does not fit"
            raise _edited(name, tensor.name, place)
        found.add(tensor.name)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    if missing := sorted(tensors.keys() - found):
        raise _edited(name, missing[0], "is in the manifest, but not in the graph")


def _has_values(tensor: onnx.TensorProto) -> bool:
    """True also for tensors without elements."""
    return not math.prod(tensor.dims) or any(getattr(tensor, name) for name in _VALUE_FIELDS)


def _refers_to(tensor: onnx.TensorProto, stored: StoredTensor) -> bool:
    """Whether a tensor of the graph is the reference that `split_weights` writes."""
    reference = [(entry.key, entry.value) for entry in tensor.external_data]
    return (
        tensor.data_location == tensor.EXTERNAL
        and not any(getattr(tensor, name) for name in _VALUE_FIELDS)
        and reference == list(_reference(stored).items())
        and _stored(tensor, stored.offset) == stored
    )


def _stored(tensor: onnx.TensorProto, offset: int) -> StoredTensor | None:
    """None for types that are not stored in weights."""
    kind = _TYPE_NAMES.get(tensor.data_type)
    return None if kind is None else StoredTensor(kind, tuple(tensor.dims), offset)


def _reference(stored: StoredTensor) -> dict[str, str]:
    """ONNX's external data of a tensor."""
    return {"location": WEIGHTS_NAME, "offset": str(stored.offset), "length": str(stored.bytes)}


def _edited(name: str, tensor: str, problem: str) -> EngineError:
    return EngineError(
        f"{name}: the tensor {tensor!r:.200} {problem}; the engine was edited. Build it again."
    )
