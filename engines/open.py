"""Opening an engine file, or an ONNX file through the engine cache."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from vim_deploy import machine
from vim_deploy.engines.base import Runner, RunOptions, backend_module
from vim_deploy.engines.cache import cached_engine
from vim_deploy.engines.class_names import class_names_of
from vim_deploy.engines.container import read_engine
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.registry import BACKENDS, DEFAULT_BACKEND
from vim_deploy.engines.spec import MAX_THREADS
from vim_deploy.engines.tensors import BatchRange, TensorSpec
from vim_deploy.errors import EngineError, os_errors
from vim_deploy.files import ZIP_SIGNATURE, open_regular, sha256_of_file
from vim_deploy.metadata import ModelMetadata
from vim_deploy.tasks.registry import TASKS
from vim_deploy.text import plural

Opened = TypeVar("Opened", bound="OpenEngine")
_log = logging.getLogger("vim_deploy")


class OpenEngine:
    """A network ready to run, with its manifest and the model's metadata; a context manager."""

    def __init__(self, runner: Runner, manifest: Manifest, path: str) -> None:
        self.runner = runner
        self.manifest: Manifest = manifest
        self.metadata: ModelMetadata = manifest.model_metadata(path)
        self.path = path
        self._task = TASKS.get(self.metadata.task)

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def input(self) -> TensorSpec:
        """Name, type and shape of the pixels."""
        return self.runner.input

    @property
    def batch(self) -> int | None:
        """The fixed batch size, or None for a dynamic one."""
        return self.input.shape[0] if self.input.shape else 1

    @property
    def batches(self) -> BatchRange:
        """The batch sizes that `run` accepts."""
        return self.runner.batches

    @property
    def output(self) -> TensorSpec:
        """The task's primary output."""
        return next(spec for spec in self.runner.outputs if spec.name == self._task.primary_output)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; their indices if the model has no names."""
        return class_names_of(self.metadata, self.runner.outputs)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, type and shape of everything that `run` takes."""
        return self.manifest.inputs if self._task.arrays else (self.input,)

    def run(self, pixels: np.ndarray | None = None, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name for preprocessed pixels: float32 (batch, channels, height, width).

        A model of the task raw takes its inputs by name instead. Nothing is converted or padded. Raises
        EngineError for another name, type or shape, and when the runtime fails.
        """
        if not self._task.arrays:
            given = [*([] if pixels is None else [pixels]), *arrays.values()]
            if len(given) != 1 or set(arrays) - {self.input.name}:
                raise EngineError(f"the model takes one array, {self.input.name}.")
            self.input.check(given[0])
            return self.runner.run(given[0])
        names = [spec.name for spec in self.inputs]
        if pixels is not None:
            if len(names) != 1 or arrays:
                raise EngineError(f"the model takes {', '.join(names)}; give them by name.")
            arrays = {names[0]: pixels}
        if set(arrays) != set(names):
            raise EngineError(
                f"run was given {', '.join(arrays) or 'nothing'}; the model takes {', '.join(names)}."
            )
        for spec in self.inputs:
            spec.check(arrays[spec.name])
        return self.runner.run(arrays)

    def close(self) -> None:
        """Free the runtime's memory."""
        self.runner.close()


def open_engine(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    device: str | None = None,
    source: str | os.PathLike[str] | None = None,
) -> OpenEngine:
    """Open an engine made by vim-build, or an ONNX file made by vim-export.

    For an ONNX file an engine of the default backend is built into a cache (see `engines/cache.py`).
    `threads` defaults to what the engine was built with. `device` must be the device that the engine was
    built for; for an ONNX file it defaults to "cpu". With `source`, an engine that was built from another
    ONNX file is refused.

    Raises EngineError that names the field in which an engine does not fit, MissingDependencyError or
    OperatorLibraryError.
    """
    name = os.fspath(path)
    if threads is not None:
        _check_threads(threads)
    if is_engine(name):
        manifest, payload = read_engine(name, share=True, check_manifest=partial(_check_environment, name))
    else:
        entry, manifest, payload = cached_engine(name, BACKENDS.get(DEFAULT_BACKEND).default_options(device))
        name = os.fspath(entry)
    if device is not None and device != manifest.device:
        raise EngineError(
            f"{name} was built for device {manifest.device}, not {device}; leave out the device, or build an "
            f"engine with vim-build --device {device}."
        )
    if source is not None:
        _check_source(name, manifest, source)
    options = RunOptions(threads, None if source is None else Path(source))
    _log.debug(
        "opening %s: %s on %s, built for %s; threads: %s",
        name,
        manifest.backend,
        manifest.device,
        ", ".join(f"{key} {value}" for key, value in manifest.environment.items()),
        "as built" if threads is None else threads,
    )
    runner = backend_module(manifest.backend).open_payload(payload, manifest, options)
    return OpenEngine(runner, manifest, name)


def _check_environment(name: str, manifest: Manifest) -> None:
    manifest.check_environment(name, backend_module(manifest.backend).environment(manifest))


def _check_threads(threads: int) -> None:
    """Warn about more threads than CPUs. Raises EngineError for a number that no engine runs with."""
    if not 1 <= threads <= MAX_THREADS:
        raise EngineError(f"threads is {threads}; expected 1 to {MAX_THREADS}.")
    if threads > (cpus := machine.usable_cpus()):
        _log.warning(
            "%s threads are more than the %s that this process may use, and slower than %s",
            threads,
            plural(cpus, "CPU"),
            cpus,
        )


def is_engine(name: str) -> bool:
    """Whether a file is an engine, by its first bytes, or an ONNX file. Raises EngineError for others."""
    with os_errors(EngineError, f"{name} cannot be read"), open_regular(name) as file:
        head = file.read(4)
    if head != ZIP_SIGNATURE and Path(name).suffix.lower() != ".onnx":
        raise EngineError(
            f"{name} is neither an engine made by vim-build nor an .onnx file made by vim-export; it may be "
            "damaged."
        )
    return head == ZIP_SIGNATURE


def _check_source(name: str, manifest: Manifest, source: str | os.PathLike[str]) -> None:
    with os_errors(EngineError, f"{os.fspath(source)} cannot be read"):
        found = sha256_of_file(source)
    if manifest.source.sha256 != found:
        raise manifest.refuse(name, "source.sha256", manifest.source.sha256, found)
