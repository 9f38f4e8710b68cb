"""What a fake TensorRT records, and how it behaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Recorder:
    """The recorded calls, and how the fake behaves."""

    calls: list[tuple[str, Any]] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    cleared: set[str] = field(default_factory=set)
    layers: list[Any] = field(default_factory=list)
    ignores_types: bool = False  # always builds fp32
    refuses_plugin: bool = False  # the registry silently ignores the plugin
    cuda_error: str = ""  # CUDA does not start: what TensorRT logs
    fails_to_parse: bool = False
    fails_to_build: bool = False
    cannot_obey: bool = False  # 8.6: a layer has no implementation in its type
    lacking_weights: tuple[str, ...] = ()  # weights that refitting does not find
    created_weights: tuple[str, ...] = ()  # weights of the engine that are not in the graph
    renames_constants: bool = False  # the engine's names of these layers are not those of the network
    own_names: bool = False  # layers have new names, with the graph's names as metadata
    tensor_fields: Any = None  # function from a type's name to the tensor's fields; None: as in 10
    plain_names: bool = False  # layer information without types

    def named(self, name: str) -> list[Any]:
        return [value for key, value in self.calls if key == name]
