"""What a backend is: the little that everything else needs to know of a runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vim_deploy.engines.tensorrt.options import TensorrtOptions
from vim_deploy.engines.tensors import BatchRange, TensorSpec

if TYPE_CHECKING:
    from vim_deploy.engines.manifest import Manifest
    from vim_deploy.engines.source import SourceModel


class Backend(Protocol):
    """A loaded network. It sees arrays only, never files or images."""

    @property
    def input(self) -> TensorSpec: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def batches(self) -> BatchRange: ...

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """One batch that fits `input`. Raises EngineError when the runtime fails."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class BuildOptions:
    """What a user may choose when an engine is built."""

    device: str = "cpu"
    threads: int | None = None  # None: all processors this process may use
    optimization: str = "all"
    use_library: bool = True  # False: the operator's function body instead of the operator library
    tensorrt: TensorrtOptions = field(default_factory=TensorrtOptions)
    fuse: bool = True  # processor only: groups of nodes become operators of plugins/fused
    cpu_precision: str = (
        "fp32"  # "bf16": matrix products of bfloat16 factors, where fused operators hold them
    )


@dataclass(frozen=True)
class RunOptions:
    """What a user may choose when an engine is opened."""

    threads: int | None = None  # None: as recorded in the engine
    source: Path | None = None  # the ONNX file, for engines without weights


@dataclass(frozen=True)
class Built:
    """What a backend hands back from a build; it becomes part of the manifest."""

    payload: bytes
    payload_name: str
    environment: dict[str, str]  # what must be the same where the engine is opened
    operator: dict[str, Any]
    settings: dict[str, Any]
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    self_check: dict[str, Any] = field(default_factory=dict)
    precision: str | None = None  # None: that of the file


class BackendModule(Protocol):
    """The functions that a module named in the registry has."""

    def build(self, source: SourceModel, options: BuildOptions) -> Built: ...

    def fingerprint(self, options: BuildOptions) -> dict[str, str]:
        """Everything beside the ONNX file that a build with these options depends on; the cache's key."""
        ...

    def environment(self, manifest: Manifest) -> dict[str, str]:
        """The values here and now of the fields that `manifest.environment` records."""
        ...

    def open_payload(self, payload: bytes, manifest: Manifest, options: RunOptions) -> Backend: ...


class Closing:
    """`with` for anything that has close()."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self):  # type: ignore[no-untyped-def]  # Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
