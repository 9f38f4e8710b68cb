"""Opening an engine file, or an ONNX file whose engine is cached: arrays in, arrays out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from vim_deploy.engines.base import Backend, BuildOptions, Closing, RunOptions
from vim_deploy.engines.cache import cached_engine
from vim_deploy.engines.container import read_engine
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.registry import backend_module
from vim_deploy.engines.tensors import BatchRange, TensorSpec
from vim_deploy.errors import EngineError
from vim_deploy.files import sha256_of_file
from vim_deploy.metadata import OUTPUTS, ModelMetadata

_CLASS_AXES = {"classify": -1, "segment": 1}  # of the outputs that have a value for each class
_ZIP_SIGNATURE = b"PK\x03\x04"


class OpenEngine(Closing):
    """A network ready to run, with its manifest and the model's metadata; a context manager."""

    def __init__(self, backend: Backend, manifest: Manifest, path: str) -> None:
        self.backend = backend
        self.manifest: Manifest = manifest
        self.metadata: ModelMetadata = manifest.model_metadata(path)
        self.path = path

    @property
    def input(self) -> TensorSpec:
        return self.backend.input

    @property
    def batch(self) -> int | None:
        """The batch size the engine is fixed to, or None when every size is fine."""
        return self.input.shape[0]

    @property
    def batches(self) -> BatchRange:
        """The batch sizes that `run` takes."""
        return self.backend.batches

    @property
    def output(self) -> TensorSpec:
        """The task's first output: `logits`, `features` or `boxes`."""
        name = OUTPUTS[self.metadata.task][0]
        return next(spec for spec in self.backend.outputs if spec.name == name)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; their numbers where the model brings no names."""
        if self.metadata.class_names is not None:
            return self.metadata.class_names
        if self.metadata.task == "detect":
            return tuple(map(str, range(self.metadata.config["head"]["num_classes"])))
        if self.metadata.task not in _CLASS_AXES:
            return ()
        return tuple(str(index) for index in range(self.output.shape[_CLASS_AXES[self.metadata.task]] or 0))

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name for preprocessed pixels: float32 (batch, channels, height, width).

        Nothing is converted or padded. Raises EngineError for another type or shape, and when the runtime
        fails.
        """
        self.input.check(pixels)
        return self.backend.run(pixels)

    def close(self) -> None:
        self.backend.close()


def open_engine(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    device: str | None = None,
    source: str | os.PathLike[str] | None = None,
) -> OpenEngine:
    """Open an engine made by vim-build, or an ONNX file made by vim-export.

    For an ONNX file an engine is built into a cache and used from there (see `engines/cache.py`). `threads`
    defaults to what the engine was built with; `device` must be the engine's own and defaults to it ("cpu"
    for an ONNX file). With `source`, an engine built from another ONNX file than this one is refused.

    Raises EngineError naming the field in which an engine does not fit, MissingDependencyError and
    OperatorLibraryError.
    """
    name = os.fspath(path)
    if threads is not None and threads < 1:
        raise EngineError(f"threads is {threads}; expected 1 or more.")
    if _is_engine(name):
        manifest, payload = read_engine(name)
        module = backend_module(manifest.backend)
        manifest.check_environment(name, module.environment(manifest))
    else:
        entry, manifest, payload = cached_engine(name, "onnxruntime", BuildOptions(device=device or "cpu"))
        module, name = backend_module(manifest.backend), os.fspath(entry)
    if device is not None and device != manifest.device:
        raise EngineError(
            f"{name} was built for device {manifest.device}, not {device}; leave the device out, or build an "
            f"engine for it with vim-build --device {device}."
        )
    if source is not None:
        _check_source(name, manifest, source)
    options = RunOptions(threads, None if source is None else Path(source))
    return OpenEngine(module.open_payload(payload, manifest, options), manifest, name)


def _is_engine(name: str) -> bool:
    try:
        with Path(name).open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise EngineError(f"{name} cannot be read: {error.strerror or error}.") from None
    if head != _ZIP_SIGNATURE and Path(name).suffix.lower() != ".onnx":
        raise EngineError(
            f"{name} is no engine made by vim-build (or it is damaged), and no .onnx file made by vim-export."
        )
    return head == _ZIP_SIGNATURE


def _check_source(name: str, manifest: Manifest, source: str | os.PathLike[str]) -> None:
    try:
        found = sha256_of_file(source)
    except OSError as error:
        raise EngineError(f"{os.fspath(source)} cannot be read: {error.strerror or error}.") from None
    if manifest.source.sha256 != found:
        raise manifest.refuse(name, "source.sha256", manifest.source.sha256, found)
