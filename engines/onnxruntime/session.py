"""Creating and running ONNX Runtime sessions."""

from __future__ import annotations

import importlib.metadata
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from vim_deploy.engines.onnxruntime.weights import add_weights
from vim_deploy.engines.payload import Payload
from vim_deploy.errors import EngineError, MissingDependencyError, OperatorLibraryError
from vim_deploy.precision import Precision

_log = logging.getLogger("vim_deploy")

# See docs/security.md. 1.23 is the last version for Python 3.10, which TensorRT 8.6 needs.
OLDEST_VERSION = (1, 27) if sys.version_info >= (3, 11) else (1, 23)
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
Provider: TypeAlias = "str | tuple[str, dict[str, str]]"  # a name, with options
_OPTIMIZATIONS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
# Fuses quantized matmuls without looking at their type, into operators for integers (1.31: a file in fp8 does
# not load).
_QDQ_OPTIMIZER = "QDQSelectorActionTransformer"
# Warnings would include every initializer that runs can override.
_LOG_ERRORS, _LOG_FATAL = 3, 4


def runtime() -> ModuleType:
    """The module onnxruntime. Raises MissingDependencyError when it is not installed or too old."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            f'onnxruntime does not load ({error}); install it with `pip install "vim-deploy[cpu]"` '
            'or, for NVIDIA GPUs, `pip install "vim-deploy[gpu]"`.'
        ) from None
    if _version(onnxruntime) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise MissingDependencyError(
            f"onnxruntime {onnxruntime.__version__} is installed; expected {oldest} or later, because models "
            'can make earlier versions read other files. Run `pip install -U "vim-deploy[cpu]"` or, for '
            'NVIDIA GPUs, `pip install -U "vim-deploy[gpu]"`.'
        )
    if _is_installed("onnxruntime") and _is_installed("onnxruntime-gpu"):
        _log.warning(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; "
            "remove both and install one."
        )
    return onnxruntime


def unsuitable_optimizers(precision: Precision) -> tuple[str, ...]:
    """The optimizers that must be left out (`disabled`) when a file in this precision is optimized."""
    return (_QDQ_OPTIMIZER,) if precision is Precision.FP8 else ()


def make_session(
    model: bytes | Path | Payload,
    *,
    name: str = "the model",
    providers: Sequence[Provider] = (CPU,),
    library: Path | None = None,
    threads: int | None = None,
    optimization: str = "all",
    disabled: Sequence[str] = (),
    save_to: Path | None = None,
    profile_to: Path | None = None,
    quiet: bool = False,
) -> Any:
    """An InferenceSession for a file, its bytes, or the payload of an engine.

    `name` is the file's name in messages. `library`: operator library to register. `threads` None: ONNX
    Runtime's default. `optimization`: none, basic, extended or all. `disabled`: names of optimizers that are
    left out. `save_to`: file for the optimized graph. `profile_to`: prefix of the profile's file name.
    `quiet` suppresses the runtime's error log.

    Raises EngineError, also when one of the providers does not start; OperatorLibraryError when the library
    does not load; MissingDependencyError when ONNX Runtime is not installed.
    """
    onnxruntime = runtime()
    options = _session_options(onnxruntime, optimization, threads, save_to, profile_to, quiet)
    if library is not None:
        try:
            options.register_custom_ops_library(str(library))
        except Exception as error:  # the runtime's exceptions have no common base class
            raise OperatorLibraryError(
                f"ONNX Runtime {onnxruntime.__version__} does not load {library}: {error}"
            ) from None
    weights: list[Any] = []
    if isinstance(model, Payload):
        weights = add_weights(onnxruntime, options, model)
        model = model.data
    try:
        # The fallback of the Python layer would continue with other providers after a failure.
        session = onnxruntime.InferenceSession(
            str(model) if isinstance(model, Path) else model,
            options,
            providers=list(providers),
            enable_fallback=False,
            disabled_optimizers=list(disabled),
        )
    except Exception as error:
        raise EngineError(f"ONNX Runtime {onnxruntime.__version__} does not load {name}: {error}") from None
    # A provider that does not start is left out without an error.
    started = session.get_providers()
    for provider in providers:
        if (wanted := provider if isinstance(provider, str) else provider[0]) not in started:
            raise EngineError(f"{wanted} does not start; ONNX Runtime fell back to {', '.join(started)}.")
    if hasattr(session, "_model_bytes"):
        session._model_bytes = None  # a copy of the file, needed only to change providers
    session.weights_in_use = weights  # the session has pointers to this memory
    return session


def _session_options(
    onnxruntime: ModuleType,
    optimization: str,
    threads: int | None,
    save_to: Path | None,
    profile_to: Path | None,
    quiet: bool,
) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _LOG_FATAL if quiet else _LOG_ERRORS
    # Memory patterns keep the arena of the first run beside the block that later runs use: a quarter more.
    options.enable_mem_pattern = False
    # Otherwise bytes that are also a file in ONNX Runtime's own format would be loaded as that, unchecked.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    level = getattr(onnxruntime.GraphOptimizationLevel, _OPTIMIZATIONS[optimization])
    options.graph_optimization_level = level
    if threads is not None:
        options.intra_op_num_threads = threads
    if save_to is not None:
        options.optimized_model_filepath = str(save_to)
    if profile_to is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_to)
    return options


def run_session(
    session: Any,
    outputs: Sequence[str],
    pixels: np.ndarray | Mapping[str, np.ndarray],
    settings: Mapping[str, float] | None = None,
) -> dict[str, np.ndarray]:
    """The outputs by name, for the value of the first input or for all inputs by name. Raises EngineError.

    `settings`: values for the model's overridable initializers; those that it does not have are ignored.
    """
    feeds = dict(pixels) if isinstance(pixels, Mapping) else {session.get_inputs()[0].name: pixels}
    if settings:
        known = {item.name for item in session.get_overridable_initializers()}
        feeds |= {name: np.array(settings[name], np.float32) for name in known & settings.keys()}
    try:
        values = session.run(list(outputs), feeds)
    except Exception as error:
        shapes = ", ".join(f"{name} of shape {value.shape}" for name, value in feeds.items())
        raise EngineError(f"ONNX Runtime failed on {shapes}: {error}") from None
    return dict(zip(outputs, values, strict=True))


def _version(onnxruntime: ModuleType) -> tuple[int, ...]:
    return tuple(int(part) for part in str(onnxruntime.__version__).split(".")[:2])


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
