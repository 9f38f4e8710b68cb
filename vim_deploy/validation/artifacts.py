"""Exported files and engines, opened so that they can be compared: one way of running an artifact each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vim_deploy.engines.base import Backend, Closing
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.onnxruntime.backend import OrtBackend, runtime
from vim_deploy.engines.open import OpenEngine, open_engine
from vim_deploy.engines.source import SourceModel, read_source
from vim_deploy.errors import EngineError
from vim_deploy.files import sha256_of_file
from vim_deploy.metadata import OUTPUTS, ModelMetadata
from vim_deploy.ops.library import ort_library

LIBRARY, FUNCTION_BODY, ENGINE = "library", "function body", "engine"
DEFAULT_BATCH = 4


@dataclass(frozen=True)
class Way:
    """One way of running one file: an ONNX file has two, with our library and by the function body."""

    path: Path
    how: str

    @property
    def label(self) -> str:
        return self.path.name if self.how == ENGINE else f"{self.path.name} ({self.how})"


class Artifact(Closing):
    """An artifact ready to run; a context manager."""

    def __init__(
        self,
        way: Way,
        network: Backend | OpenEngine,
        metadata: ModelMetadata,
        precision: str,
        manifest: Manifest | None = None,
    ) -> None:
        self.way, self.metadata, self.precision, self.manifest = way, metadata, precision, manifest
        self._network = network
        self.output = OUTPUTS[metadata.task][0]

    @property
    def label(self) -> str:
        return self.way.label

    @property
    def batch(self) -> int | None:
        """The batch size the artifact is fixed to; None when every size is fine."""
        return self._network.input.shape[0]

    def run_all(self, pixels: np.ndarray, size: int | None = None) -> dict[str, np.ndarray]:
        """All outputs for (images, channels, height, width), in batches of `size`, or of what can be run.

        A batch that is too small is filled up by repeating the last image; the surplus is cut off again.
        """
        batches = self._network.batches
        step = batches.nearest(size or DEFAULT_BATCH)
        lacking = max(0, batches.smallest - (len(pixels) % step or step))
        filled = np.concatenate([pixels, pixels[-1:].repeat(lacking, axis=0)]) if lacking else pixels
        parts = [self._network.run(filled[start : start + step]) for start in range(0, len(filled), step)]
        return {name: np.concatenate([part[name] for part in parts])[: len(pixels)] for name in parts[0]}

    def run(self, pixels: np.ndarray, size: int | None = None) -> np.ndarray:
        """The task's output alone."""
        return self.run_all(pixels, size)[self.output]

    def close(self) -> None:
        self._network.close()


def ways(path: str | os.PathLike[str], function_body: bool = True) -> list[Way]:
    """How a file can be run here. Raises EngineError for one that cannot be run at all."""
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        return [Way(path, ENGINE)]
    source = read_source(path)
    precision = source.metadata.precision
    if precision == "bf16":
        raise EngineError(
            f"{path} is in bf16, for which ONNX Runtime has no processor kernels; build an engine with "
            "vim-build --backend tensorrt and validate that."
        )
    found = [Way(path, LIBRARY)] if precision == "fp32" else []
    if function_body or not found:
        found.append(Way(path, FUNCTION_BODY))
    return found


def open_artifact(way: Way, threads: int | None = None) -> Artifact:
    """Raises EngineError, OperatorLibraryError or MissingDependencyError."""
    if way.how == ENGINE:
        engine = open_engine(way.path, threads=threads)
        return Artifact(way, engine, engine.metadata, engine.manifest.precision, engine.manifest)
    return open_source_model(way, read_source(way.path), threads)


def open_source_model(way: Way, source: SourceModel, threads: int | None = None) -> Artifact:
    """An ONNX file in a plain session, as any user of ONNX Runtime would run it."""
    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    if way.how == LIBRARY:
        options.register_custom_ops_library(str(ort_library()))
    try:
        session = onnxruntime.InferenceSession(source.data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own exceptions have no common base
        raise EngineError(f"ONNX Runtime {onnxruntime.__version__} refuses {way.path}: {error}") from None
    network = OrtBackend(session, source.input, source.outputs)
    return Artifact(way, network, source.metadata, source.metadata.precision)


def source_of(way: Way, others: list[Path]) -> Path:
    """The ONNX file that a way runs, or that its engine was built from: among `others`, or beside the engine.

    Raises EngineError where the engine's source is not found.
    """
    if way.how != ENGINE:
        return way.path
    with open_engine(way.path) as engine:
        record = engine.manifest.source
    for path in (*others, way.path.with_name(record.name)):
        if path.suffix.lower() == ".onnx" and path.is_file() and sha256_of_file(path) == record.sha256:
            return path
    raise EngineError(
        f"{way.path} was built from {record.name} (SHA-256 {record.sha256[:12]}...), which is needed to look "
        "inside; name that file as an artifact too, or put it beside the engine."
    )
