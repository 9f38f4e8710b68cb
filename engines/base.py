"""What a backend provides: building an engine, and opening and running it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.payload import Payload
from vim_deploy.engines.registry import BACKENDS
from vim_deploy.engines.source import SourceModel
from vim_deploy.engines.tensors import BatchRange, TensorSpec
from vim_deploy.precision import Precision


class Runner(Protocol):
    """A loaded network. It takes and returns arrays; files and images are handled elsewhere."""

    @property
    def input(self) -> TensorSpec: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def batches(self) -> BatchRange: ...

    def run(self, pixels: np.ndarray | Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one batch that fits `input`, or all inputs by name. Raises EngineError when the runtime fails.

        Only backends with `named_arrays` are given inputs by name.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class RunOptions:
    """Options for opening an engine."""

    threads: int | None = None  # None: as recorded in the engine
    source: Path | None = None  # the ONNX file, for engines without weights


@dataclass(frozen=True)
class Built:
    """The result of a build; it becomes part of the manifest."""

    payload: Payload
    payload_name: str
    environment: dict[str, str]  # what must be the same where the engine is opened
    operator: dict[str, Any]
    build_info: dict[str, Any]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    self_check: dict[str, Any] = field(default_factory=dict)
    precision: Precision | None = None  # None: that of the file


class BackendModule(Protocol):
    """The functions of the module that a `BackendSpec` names.

    `options` is an object of the spec's options class.
    """

    def build(self, source: SourceModel, options: Any) -> Built: ...

    def fingerprint(self, options: Any) -> dict[str, str]:
        """Everything a build with these options depends on besides the ONNX file; part of the cache key."""
        ...

    def environment(self, manifest: Manifest) -> dict[str, str]:
        """The current values of the fields that `manifest.environment` records."""
        ...

    def open_payload(self, payload: Payload, manifest: Manifest, options: RunOptions) -> Runner: ...


def backend_module(name: str) -> BackendModule:
    """The module of a backend, imported on first use. Raises EngineError for an unknown backend."""
    return cast("BackendModule", importlib.import_module(BACKENDS.get(name).module))
