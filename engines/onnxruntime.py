"""ONNX Runtime as a backend: the optimised graph as payload, the operator library in every session."""

from __future__ import annotations

import importlib.metadata
import logging
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vim_deploy import machine
from vim_deploy.errors import EngineError, MissingDependencyError, OperatorLibraryError
from vim_deploy.files import sha256_of_file
from vim_deploy.ops.library import CONTRACT_VERSION, ort_library

from .base import BuildOptions, Built, RunOptions, TensorSpec
from .fused import FUSED_VERSION
from .manifest import Manifest
from .selfcheck import compare, random_pixels
from .source import SourceModel

_log = logging.getLogger("vim_deploy")

OPTIMIZATIONS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
PROVIDERS = {
    "cpu": ["CPUExecutionProvider"],
    # What CUDA does not take, the selective scan among it, runs on the processor.
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
}
PAYLOAD_NAME = "model.onnx"
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


def build(source: SourceModel, options: BuildOptions) -> Built:
    """Optimise the graph, reload it and compare it with the original file. Raises EngineError."""
    if options.optimization not in OPTIMIZATIONS:
        raise EngineError(
            f"optimization is {options.optimization!r}; expected one of {', '.join(OPTIMIZATIONS)}."
        )
    _check_precision(source, options)
    operator = _operator_record(source, options.use_library)
    library = ort_library() if operator["implementation"] == "library" else None
    threads = options.threads or machine.usable_processors()
    name = source.record.name

    def session(model: bytes, level: str, save_to: Path | None = None) -> Any:
        return _session(name, model, library, threads, options.device, level, save_to)

    payload = source.data
    fused: dict[str, int] = {}
    if operator["implementation"] == "library" and _fuses(options) and source.metadata.precision == "fp32":
        payload, fused = _fused(source.data)
    if options.optimization != "none":
        with tempfile.TemporaryDirectory(prefix="vim-build-") as folder:
            saved = Path(folder) / PAYLOAD_NAME
            session(payload, options.optimization, saved)
            payload = saved.read_bytes()
    pixels = random_pixels(source.input, source.metadata.preprocessing)
    check = compare(
        name,
        source.metadata.precision,
        expected=_run(session(source.data, "none"), source.outputs, pixels),
        found=_run(session(payload, "none"), source.outputs, pixels),
    )
    settings: dict[str, Any] = {
        "optimization": options.optimization,
        "threads": options.threads,
        "providers": PROVIDERS[options.device],
    }
    if fused:
        settings["fused"] = fused
    return Built(
        payload=payload,
        payload_name=PAYLOAD_NAME,
        environment=_environment(
            operator["implementation"] == "library", options.optimization, fuses=bool(fused)
        ),
        operator=operator,
        settings=settings,
        input=source.input,
        outputs=source.outputs,
        self_check=check,
    )


def fingerprint(options: BuildOptions) -> dict[str, str]:
    try:
        library = sha256_of_file(ort_library()) if options.use_library else "not used"
    except OperatorLibraryError:
        library = "missing"  # the build fails if the graph needs it
    return {
        **_environment(
            options.use_library, options.optimization, fuses=options.use_library and _fuses(options)
        ),
        "optimization": options.optimization,
        "library": library,
    }


def environment(manifest: Manifest) -> dict[str, str]:
    return _environment(
        manifest.operator.get("implementation") == "library",
        manifest.settings.get("optimization", "all"),
        fuses=bool(manifest.settings.get("fused")),
    )


def open_payload(payload: bytes, manifest: Manifest, options: RunOptions) -> OrtBackend:
    """A session on the payload of an engine whose manifest was checked. Raises EngineError."""
    library = None
    if manifest.operator.get("implementation") == "library":
        library = ort_library()
        if (found := sha256_of_file(library)) != manifest.operator.get("library_sha256"):
            _log.warning(
                "the operator library is another build (%.12s) than the one this engine was checked with "
                "(%.12s); the contract version is the same",
                found,
                manifest.operator.get("library_sha256"),
            )
    threads = options.threads or manifest.settings.get("threads") or machine.usable_processors()
    session = _session(manifest.source.name, payload, library, threads, manifest.device, "none")
    return OrtBackend(session, manifest.input, manifest.outputs)


class OrtBackend:
    """A session and its specs; `run` may be called from several threads."""

    def __init__(self, session: Any, input: TensorSpec, outputs: tuple[TensorSpec, ...]) -> None:
        self.input = input
        self.outputs = outputs
        self._session = session

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        if self._session is None:
            raise EngineError("the engine is closed; open it again with load_engine.")
        return _run(self._session, self.outputs, pixels)

    def close(self) -> None:
        self._session = None


def _session(
    name: str,
    model: bytes,
    library: Path | None,
    threads: int,
    device: str,
    optimization: str,
    save_to: Path | None = None,
) -> Any:
    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _LOG_ERRORS_ONLY
    options.intra_op_num_threads = threads
    # With patterns the memory of a first run stays beside the one block that later runs use: a quarter more.
    options.enable_mem_pattern = False
    options.graph_optimization_level = getattr(
        onnxruntime.GraphOptimizationLevel, OPTIMIZATIONS[optimization]
    )
    if save_to is not None:
        options.optimized_model_filepath = str(save_to)
    if library is not None:
        try:
            options.register_custom_ops_library(str(library))
        except Exception as error:
            raise OperatorLibraryError(
                f"ONNX Runtime {onnxruntime.__version__} does not load {library}: {error}"
            ) from None
    providers = PROVIDERS[device]
    _check_providers(device, onnxruntime.get_available_providers(), "has")
    try:
        session = onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # the runtime's own exceptions have no common base
        raise EngineError(f"ONNX Runtime {onnxruntime.__version__} refuses {name}: {error}") from None
    # A listed provider may still not start, and the runtime then goes on without it.
    _check_providers(device, session.get_providers(), "started")
    return session


def _check_providers(device: str, present: list[str], verb: str) -> None:
    if not set(PROVIDERS[device]) <= set(present):
        raise EngineError(
            f"device {device!r} needs {' and '.join(PROVIDERS[device])}; this ONNX Runtime {verb} {present}. "
            "Use --device cpu, or install what the device needs."
        )


def _run(session: Any, outputs: tuple[TensorSpec, ...], pixels: np.ndarray) -> dict[str, np.ndarray]:
    names = [spec.name for spec in outputs]
    try:
        values = session.run(names, {session.get_inputs()[0].name: pixels})
    except Exception as error:
        raise EngineError(f"ONNX Runtime failed on pixels of shape {pixels.shape}: {error}") from None
    return dict(zip(names, values, strict=True))


def _check_precision(source: SourceModel, options: BuildOptions) -> None:
    """Refuses what the runtime would refuse later and less clearly."""
    precision, name = source.metadata.precision, source.record.name
    if precision == "fp32" or not source.uses_operator:
        return
    if precision == "bf16" and options.device == "cpu":
        raise EngineError(
            f"{name} is in bf16, for which ONNX Runtime has no kernels on the processor; export with "
            "--precision fp32, or build for --backend tensorrt."
        )
    if options.use_library:
        raise EngineError(
            f"{name} is in {precision}, and the operator library computes in fp32 alone; export with "
            "--precision fp32, or use --no-library for the function body, which is several times slower."
        )


def _operator_record(source: SourceModel, use_library: bool) -> dict[str, Any]:
    if not source.uses_operator:
        return {"implementation": "none"}
    if not use_library:
        return {"implementation": "function"}
    return {
        "implementation": "library",
        "contract": CONTRACT_VERSION,
        "library_sha256": sha256_of_file(ort_library()),
    }


def _fuses(options: BuildOptions) -> bool:
    """Fused operators run on the processor; an engine without any optimisation is the file as it is."""
    return options.fuse and options.device == "cpu" and options.optimization != "none"


def _fused(data: bytes) -> tuple[bytes, dict[str, int]]:
    """The graph with fused operators, and how many of each kind there are."""
    import onnx

    from .rewrite import fuse

    model = onnx.load_model_from_string(data)
    counts = fuse(model)
    return (model.SerializeToString(), counts) if counts else (data, {})


def _environment(uses_library: bool, optimization: str, *, fuses: bool) -> dict[str, str]:
    values = {"onnxruntime": str(runtime().__version__), "architecture": machine.architecture()}
    if optimization == "all":
        # This level lays weights out for the vector width of the processor that it ran on.
        values["instruction_set"] = machine.instruction_set()
    if uses_library:
        values["operator_contract"] = str(CONTRACT_VERSION)
    if fuses:
        values["fused_operators"] = str(FUSED_VERSION)
    return values


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
