"""The payload of an engine: what its backend opens."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# Of tensors in the weights, in bytes: a cache line, and the vectors of all instruction sets.
ALIGNMENT = 64
_MAX_AXES = 32  # of arrays in numpy 1


class ElementType(NamedTuple):
    """`number`: in onnx.TensorProto.DataType. `bytes`: of an element."""

    number: int
    bytes: int


# The types of tensors in the weights, by their names in ONNX. Opening an engine does not import `onnx`.
ELEMENT_TYPES = {
    "FLOAT": ElementType(1, 4),
    "UINT8": ElementType(2, 1),
    "INT8": ElementType(3, 1),
    "UINT16": ElementType(4, 2),
    "INT16": ElementType(5, 2),
    "INT32": ElementType(6, 4),
    "INT64": ElementType(7, 8),
    "BOOL": ElementType(9, 1),
    "FLOAT16": ElementType(10, 2),
    "DOUBLE": ElementType(11, 8),
    "UINT32": ElementType(12, 4),
    "UINT64": ElementType(13, 8),
    "BFLOAT16": ElementType(16, 2),
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in the weights. `type`: a name in ELEMENT_TYPES. `offset`: in bytes."""

    type: str
    shape: tuple[int, ...]
    offset: int

    @property
    def element(self) -> ElementType:
        return ELEMENT_TYPES[self.type]

    @property
    def bytes(self) -> int:
        return self.element.bytes * math.prod(self.shape)

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.type, "shape": list(self.shape), "offset": self.offset}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> StoredTensor:
        """Reads `to_dict`. Raises TypeError, KeyError or ValueError for anything else."""
        kind, shape, offset = values["type"], values["shape"], values["offset"]
        if type(kind) is not str or kind not in ELEMENT_TYPES:
            raise ValueError(f"tensor of type {kind!r:.100}")
        if type(shape) is not list or not all(type(size) is int and size >= 0 for size in shape):
            raise TypeError(f"tensor of shape {shape!r:.100}")
        if len(shape) > _MAX_AXES:
            raise ValueError(f"tensor of shape {shape!r:.100}")
        if type(offset) is not int or offset < 0:
            raise ValueError(f"tensor at the offset {offset!r:.100}")
        return cls(kind, tuple(shape), offset)


@dataclass(frozen=True)
class Payload:
    """`data`: a graph or another format of the backend.

    `weights`: the values of `tensors`, by name, which the graph refers to as external data. Processes that
    open the same engine share this memory, so it must not be written to. Both are empty if the graph is
    complete.
    """

    data: bytes
    weights: bytes | memoryview = b""
    tensors: Mapping[str, StoredTensor] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return len(self.data) + len(self.weights)

    @property
    def sha256(self) -> str:
        """The hash of the data followed by the weights."""
        digest = hashlib.sha256(self.data)
        digest.update(self.weights)
        return digest.hexdigest()
