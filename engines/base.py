"""What a backend is: the little that everything else needs to know of a runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vim_deploy.errors import EngineError

from .tensorrt_options import TensorrtOptions

if TYPE_CHECKING:
    from .manifest import Manifest
    from .source import SourceModel


@dataclass(frozen=True)
class TensorSpec:
    """Name, numpy type name and shape of an input or output; None stands for a size chosen at run time."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TensorSpec:
        """Reads `to_dict`. Raises TypeError, KeyError or ValueError for anything else."""
        shape = tuple(values["shape"])
        if not all(size is None or (type(size) is int and size >= 0) for size in shape):
            raise ValueError(f"shape {shape!r}")
        return cls(str(values["name"]), np.dtype(values["dtype"]).name, shape)

    def check(self, array: np.ndarray) -> None:
        """Raises EngineError unless the array has this type and shape; nothing is converted."""
        expected = ", ".join("any" if size is None else str(size) for size in self.shape)
        fits = len(array.shape) == len(self.shape) and all(
            size is None or size == given for size, given in zip(self.shape, array.shape, strict=True)
        )
        if not fits or 0 in array.shape:
            raise EngineError(f"{self.name} has shape {array.shape}; the engine expects ({expected}).")
        if array.dtype != np.dtype(self.dtype):
            raise EngineError(
                f"{self.name} has type {array.dtype}; the engine expects {self.dtype}. "
                f"Convert it with .astype({self.dtype!r})."
            )


@dataclass(frozen=True)
class BatchRange:
    """The batch sizes that an engine runs, both ends included; `largest` None: no end."""

    smallest: int = 1
    largest: int | None = None

    @classmethod
    def of(cls, input: TensorSpec) -> BatchRange:
        """That of an input whose batch size is fixed, or open without limits."""
        fixed = input.shape[0]
        return cls() if fixed is None else cls(fixed, fixed)

    @property
    def fixed(self) -> bool:
        return self.smallest == self.largest

    def holds(self, size: int) -> bool:
        return self.smallest <= size and (self.largest is None or size <= self.largest)

    def nearest(self, size: int) -> int:
        """`size`, or the end that it lies beyond."""
        return max(self.smallest, size if self.largest is None else min(size, self.largest))

    def __str__(self) -> str:
        if self.fixed:
            return str(self.smallest)
        return f"{self.smallest} {'or more' if self.largest is None else f'to {self.largest}'}"


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
