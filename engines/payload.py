"""The payload of an engine: what its backend opens."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

# Of tensors in the weights, in bytes: a cache line, and the vectors of all instruction sets.
ALIGNMENT = 64


@dataclass(frozen=True)
class Payload:
    """`data`: a graph or another format of the backend.

    `weights`: the values of tensors that the graph declares without values, by `offsets` in bytes. Processes
    that open the same engine share this memory, so it must not be written to. Both are empty if the graph is
    complete.
    """

    data: bytes
    weights: bytes | memoryview = b""
    offsets: Mapping[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return len(self.data) + len(self.weights)

    @property
    def sha256(self) -> str:
        """The hash of the data followed by the weights."""
        digest = hashlib.sha256(self.data)
        digest.update(self.weights)
        return digest.hexdigest()
