"""Sessions of ONNX Runtime: with which providers, which operator library, and no other than was asked for."""

from __future__ import annotations

import importlib.metadata
import logging
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vim_deploy.engines.onnxruntime.providers import CUDA, PROCESSOR, identity_runs
from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.errors import EngineError, MissingDependencyError, OperatorLibraryError
from vim_deploy.metadata import COMPARED_AT
from vim_deploy.ops.library import ort_cuda_library, ort_library

_log = logging.getLogger("vim_deploy")

OPTIMIZATIONS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
PROVIDERS = {
    "cpu": [PROCESSOR],
    # Shape arithmetic stays on the CPU; placement.py refuses everything else there.
    "cuda": [CUDA, PROCESSOR],
}
_LOG_ERRORS_ONLY = 3


def runtime() -> ModuleType:
    """The module onnxruntime. Raises MissingDependencyError when it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            f'onnxruntime does not load ({error}); install it with `pip install "vim-deploy[cpu]"` '
            'or, for NVIDIA GPUs, `pip install "vim-deploy[gpu]"`.'
        ) from None
    installed = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if len(installed) > 1:
        _log.warning(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; "
            "remove both and install one."
        )
    return onnxruntime


def library_for(device: str) -> Path:
    """The operator library that sessions on a device register. Raises OperatorLibraryError."""
    return ort_cuda_library() if device == "cuda" else ort_library()


@dataclass(frozen=True)
class Setting:
    """What the sessions of one engine have in common. `name` is the file's, for messages."""

    name: str
    device: str
    library: Path | None
    threads: int
    tf32: bool = False  # on GPUs: whether products of float32 matrices may be rounded to 10 bits


def check_device(device: str) -> None:
    """Raises EngineError where the provider of a device is missing or does not start."""
    onnxruntime = runtime()
    _check_providers(device, onnxruntime.get_available_providers(), "has")
    if device == "cuda" and (reason := identity_runs(CUDA)):
        raise EngineError(
            f"device 'cuda' needs {CUDA}: {reason}. Nothing is run on the processor instead. Install the "
            f"CUDA and cuDNN libraries that ONNX Runtime {onnxruntime.__version__} was built for (its own "
            'lines above name the one it misses), like `pip install "onnxruntime-gpu[cuda,cudnn]"`, check '
            "nvidia-smi, or use --device cpu."
        )


def open_session(
    model: bytes,
    setting: Setting,
    optimization: str,
    *,
    save_to: Path | None = None,
    profile_to: Path | None = None,
) -> Any:
    """A session on the bytes of a model; `check_device` comes first. Raises EngineError.

    `save_to`: file for the optimised graph. `profile_to`: beginning of the profile's file name.
    """
    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _LOG_ERRORS_ONLY
    options.intra_op_num_threads = setting.threads
    # With patterns the memory of a first run stays beside the one block that later runs use: a quarter more.
    options.enable_mem_pattern = False
    options.graph_optimization_level = getattr(
        onnxruntime.GraphOptimizationLevel, OPTIMIZATIONS[optimization]
    )
    if save_to is not None:
        options.optimized_model_filepath = str(save_to)
    if profile_to is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_to)
    if setting.library is not None:
        try:
            options.register_custom_ops_library(str(setting.library))
        except Exception as error:
            raise OperatorLibraryError(
                f"ONNX Runtime {onnxruntime.__version__} does not load {setting.library}: {error}"
            ) from None
    try:
        # Without the fallback of its Python layer, which would go on with other providers after a failure.
        session = onnxruntime.InferenceSession(
            model, options, providers=_providers(setting), enable_fallback=False
        )
    except Exception as error:  # the runtime's own exceptions have no common base
        raise EngineError(f"ONNX Runtime {onnxruntime.__version__} refuses {setting.name}: {error}") from None
    # A listed provider may still not start, and the runtime then goes on without it.
    _check_providers(setting.device, session.get_providers(), "started")
    if hasattr(session, "_model_bytes"):
        session._model_bytes = None  # the whole file, kept for changes of providers that nobody asks for
    return session


def run_session(
    session: Any, outputs: tuple[TensorSpec, ...], pixels: np.ndarray, *, compared: bool = False
) -> dict[str, np.ndarray]:
    """Outputs by name; with `compared` the file's settings as COMPARED_AT has them. Raises EngineError."""
    names = [spec.name for spec in outputs]
    feeds = {session.get_inputs()[0].name: pixels}
    if compared:
        feeds |= compared_at(session)
    try:
        values = session.run(names, feeds)
    except Exception as error:
        raise EngineError(f"ONNX Runtime failed on pixels of shape {pixels.shape}: {error}") from None
    return dict(zip(names, values, strict=True))


def compared_at(session: Any) -> dict[str, np.ndarray]:
    """What a session's settings are for a comparison."""
    settings = (item.name for item in session.get_overridable_initializers())
    return {name: np.array(COMPARED_AT[name], np.float32) for name in settings if name in COMPARED_AT}


def _providers(setting: Setting) -> list[Any]:
    # TF32 is on unless switched off.
    given = {CUDA: {"use_tf32": str(int(setting.tf32))}}
    return [(name, given[name]) if name in given else name for name in PROVIDERS[setting.device]]


def _check_providers(device: str, present: list[str], verb: str) -> None:
    if not set(PROVIDERS[device]) <= set(present):
        raise EngineError(
            f"device {device!r} needs {' and '.join(PROVIDERS[device])}; this ONNX Runtime {verb} {present}. "
            "Use --device cpu, or install what the device needs."
        )


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
