"""ONNX files and engines, opened for a comparison."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from vim_deploy.engines.base import Runner
from vim_deploy.engines.class_names import class_names_of
from vim_deploy.engines.container import read_manifest
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.onnxruntime.backend import OrtRunner
from vim_deploy.engines.onnxruntime.session import (
    make_session,
    run_session,
    unsuitable_optimizers,
)
from vim_deploy.engines.open import OpenEngine, open_engine
from vim_deploy.engines.source import SourceModel, read_source
from vim_deploy.engines.tensors import BatchRange, TensorSpec
from vim_deploy.errors import EngineError
from vim_deploy.files import sha256_of_file
from vim_deploy.metadata import ModelMetadata
from vim_deploy.ops.library import ort_library
from vim_deploy.precision import Precision
from vim_deploy.tasks.registry import TASKS

DEFAULT_BATCH = 4


class RunMode(str, Enum):
    """What runs the scan of an artifact: the operator library, the file's function body, or the engine."""

    LIBRARY = "library"
    FUNCTION_BODY = "function body"
    ENGINE = "engine"

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Target:
    """An artifact and the mode to run it in. An ONNX file has two modes, an engine has one."""

    path: Path
    mode: RunMode

    @property
    def label(self) -> str:
        return self.path.name if self.mode == RunMode.ENGINE else f"{self.path.name} ({self.mode})"


class Artifact(AbstractContextManager["Artifact"]):
    """An opened artifact; a context manager."""

    def __init__(
        self,
        target: Target,
        network: Runner | OpenEngine,
        metadata: ModelMetadata,
        precision: Precision,
        manifest: Manifest | None = None,
        inputs: tuple[TensorSpec, ...] = (),
    ) -> None:
        self.inputs = inputs  # what `run_arrays` takes
        self.target, self.metadata, self.precision, self.manifest = target, metadata, precision, manifest
        self._network = network
        self._runner: Runner = network.runner if isinstance(network, OpenEngine) else network
        spec = TASKS.get(metadata.task)
        self.output = "" if spec.arrays else spec.primary_output

    @property
    def label(self) -> str:
        return self.target.label

    @property
    def batch(self) -> int | None:
        """The fixed batch size; None for a dynamic one."""
        return self._network.input.shape[0]

    # As tasks see a network, see tasks/base.py.

    @property
    def path(self) -> str:
        return str(self.target.path)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; their indices if the model has no names."""
        return class_names_of(self.metadata, self._runner.outputs)

    @property
    def output_spec(self) -> TensorSpec:
        return next(spec for spec in self._runner.outputs if spec.name == self.output)

    @property
    def batches(self) -> BatchRange:
        return self._network.batches

    def run_all(self, pixels: np.ndarray, size: int | None = None) -> dict[str, np.ndarray]:
        """All outputs for pixels (images, channels, height, width), in supported batches of about `size`.

        A batch that is too small is padded with copies of the last image, whose outputs are dropped.
        """
        batches = self._network.batches
        step = batches.nearest(size or DEFAULT_BATCH)
        lacking = max(0, batches.smallest - (len(pixels) % step or step))
        filled = np.concatenate([pixels, pixels[-1:].repeat(lacking, axis=0)]) if lacking else pixels
        parts = [self._network.run(filled[start : start + step]) for start in range(0, len(filled), step)]
        return {name: np.concatenate([part[name] for part in parts])[: len(pixels)] for name in parts[0]}

    def run(self, pixels: np.ndarray, size: int | None = None) -> np.ndarray:
        """The primary output of the task."""
        return self.run_all(pixels, size)[self.output]

    @property
    def output_names(self) -> list[str]:
        return [spec.name for spec in self._runner.outputs]

    def run_arrays(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs for named arrays, for tasks that take them."""
        if isinstance(self._network, OpenEngine):
            return self._network.run(**arrays)
        return self._network.run(arrays)

    def run_each(self, pixels: np.ndarray) -> list[dict[str, np.ndarray]]:
        """All outputs for each image by itself, with the task's values of `settings`.

        For tasks whose outputs cannot be split by image, such as detection.
        """
        runner, settings = self._runner, TASKS.get(self.metadata.task).settings
        if not settings:
            return [self._network.run(image[None]) for image in pixels]
        if not isinstance(runner, OrtRunner):
            raise EngineError(
                f"{self.target.path}: {', '.join(settings)} can only be set for engines of ONNX Runtime."
            )
        return [run_session(runner.session, self.output_names, image[None], settings) for image in pixels]

    def close(self) -> None:
        self._network.close()

    def __exit__(self, *exception: object) -> None:
        self.close()


def targets_of(path: str | os.PathLike[str], function_body: bool = True) -> list[Target]:
    """The modes in which a file can be run on this machine. Raises EngineError where there is none."""
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        return [Target(path, RunMode.ENGINE)]
    source = read_source(path)
    precision = source.metadata.precision
    if precision == Precision.BF16:
        raise EngineError(
            f"{path} is in bf16, for which ONNX Runtime has no CPU kernels; build an engine with "
            "vim-build --backend tensorrt and validate the engine."
        )
    found = [Target(path, RunMode.LIBRARY)] if precision.activations == Precision.FP32 else []
    if function_body or not found:
        found.append(Target(path, RunMode.FUNCTION_BODY))
    return found


def open_artifact(target: Target, threads: int | None = None) -> Artifact:
    """Raises EngineError, OperatorLibraryError or MissingDependencyError."""
    if target.mode == RunMode.ENGINE:
        engine = open_engine(target.path, threads=threads)
        return Artifact(
            target, engine, engine.metadata, engine.manifest.precision, engine.manifest, engine.inputs
        )
    return open_source_model(target, read_source(target.path), threads)


def open_source_model(target: Target, source: SourceModel, threads: int | None = None) -> Artifact:
    """An ONNX file in a plain session of ONNX Runtime, without graph rewrites."""
    library = ort_library() if target.mode == RunMode.LIBRARY else None
    session = make_session(
        source.data,
        name=str(target.path),
        library=library,
        threads=threads,
        disabled=unsuitable_optimizers(source.metadata.precision),
    )
    network = OrtRunner(session, source.input, source.outputs)
    return Artifact(target, network, source.metadata, source.metadata.precision, inputs=source.inputs)


def source_of(target: Target, others: list[Path]) -> Path:
    """The ONNX file of a target. That of an engine is searched for among `others` and beside the engine.

    Raises EngineError when it is not found.
    """
    if target.mode != RunMode.ENGINE:
        return target.path
    record = read_manifest(target.path).source
    for path in (*others, target.path.with_name(record.name)):
        if path.suffix.lower() == ".onnx" and path.is_file() and sha256_of_file(path) == record.sha256:
            return path
    raise EngineError(
        f"--layers needs the ONNX file that {target.path} was built from: {record.name}, SHA-256 "
        f"{record.sha256[:12]}...; give that file as an artifact too, or place it next to the engine."
    )
