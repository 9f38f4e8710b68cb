"""ONNX Runtime as a backend: the optimised graph as payload, the operator library in every session."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from vim_deploy import machine
from vim_deploy.engines.base import BuildOptions, Built, RunOptions
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.onnxruntime.batching import images_at_once, parts
from vim_deploy.engines.onnxruntime.cuda_bfloat16 import widen_lacking
from vim_deploy.engines.onnxruntime.fusion.apply import (
    BF16_PRODUCTS,
    Fused,
    check_cpu_precision,
    fused,
    fuses,
)
from vim_deploy.engines.onnxruntime.fusion.domain import FUSED_VERSION
from vim_deploy.engines.onnxruntime.placement import check_on_cuda, read_profile
from vim_deploy.engines.onnxruntime.reference import reference_outputs
from vim_deploy.engines.onnxruntime.session import (
    OPTIMIZATIONS,
    PROVIDERS,
    Setting,
    check_device,
    library_for,
    open_session,
    run_session,
    runtime,
)
from vim_deploy.engines.selfcheck import compare, random_pixels
from vim_deploy.engines.source import SourceModel
from vim_deploy.engines.tensors import BatchRange, TensorSpec
from vim_deploy.errors import EngineError, OperatorLibraryError
from vim_deploy.files import sha256_of_file
from vim_deploy.ops.signature import CONTRACT_VERSION

_log = logging.getLogger("vim_deploy")

PAYLOAD_NAME = "model.onnx"


def build(source: SourceModel, options: BuildOptions) -> Built:
    """Optimise the graph, reload it and compare it with the original file. Raises EngineError."""
    if options.optimization not in OPTIMIZATIONS:
        raise EngineError(
            f"optimization is {options.optimization!r}; expected one of {', '.join(OPTIMIZATIONS)}."
        )
    _check_precision(source, options)
    check_device(options.device)
    operator = _operator_record(source, options)
    name, precision = source.record.name, source.metadata.precision
    uses_library = operator["implementation"] == "library"
    check_cpu_precision(name, options, uses_library=uses_library)
    setting = Setting(
        name,
        options.device,
        library_for(options.device) if uses_library else None,
        options.threads or machine.usable_cpus(),
        tf32=precision != "fp32",
    )
    payload = source.data
    rewritten = Fused(payload, {})
    if uses_library and fuses(options) and precision == "fp32":
        rewritten = fused(name, source.data, options)
        payload = rewritten.payload
    elif options.device == "cuda" and precision == "bf16":
        payload = widen_lacking(source.data)
    if options.optimization != "none":
        with tempfile.TemporaryDirectory(prefix="vim-build-") as folder:
            saved = Path(folder) / PAYLOAD_NAME
            open_session(payload, setting, options.optimization, save_to=saved)
            payload = saved.read_bytes()
    pixels = random_pixels(source.input, source.metadata.preprocessing)
    found, nodes = _tried(payload, setting, source, pixels)
    precision = rewritten.precision or precision
    check = compare(name, precision, expected=_expected(source, setting, pixels), found=found)
    settings: dict[str, Any] = {
        "optimization": options.optimization,
        "threads": options.threads,
        "providers": PROVIDERS[options.device],
    }
    if rewritten.operators:
        settings["fused"] = rewritten.operators
    if options.device == "cuda":
        settings |= {"tf32": setting.tf32, "nodes": nodes}
    return Built(
        payload=payload,
        payload_name=PAYLOAD_NAME,
        environment=_environment(
            options.device, uses_library, options.optimization, fuses=bool(rewritten.operators)
        ),
        operator=operator,
        settings=settings,
        input=source.input,
        outputs=source.outputs,
        self_check=check,
        precision=rewritten.precision,
    )


def _expected(source: SourceModel, setting: Setting, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """The file as it is. For a GPU on the processor, where nothing of what is to be checked takes part."""
    if setting.device != "cpu":
        return reference_outputs(source, pixels)
    session = open_session(source.data, setting, "none")
    return run_session(session, source.outputs, pixels, compared=True)


def _tried(
    payload: bytes, setting: Setting, source: SourceModel, pixels: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Outputs of the payload and, on a GPU, how many nodes each provider ran, which is checked.

    Which provider takes a node depends on the graph and the runtime's version alone, so that it holds
    wherever the engine is opened. Raises EngineError.
    """
    if setting.device != "cuda":
        session = open_session(payload, setting, "none")
        return run_session(session, source.outputs, pixels, compared=True), {}
    with tempfile.TemporaryDirectory(prefix="vim-build-") as folder:
        session = open_session(payload, setting, "none", profile_to=Path(folder) / "profile")
        found = run_session(session, source.outputs, pixels, compared=True)
        nodes = read_profile(Path(session.end_profiling()))
    scans = setting.library is not None
    return found, check_on_cuda(setting.name, nodes, scans)


def fingerprint(options: BuildOptions) -> dict[str, str]:
    try:
        library = sha256_of_file(library_for(options.device)) if options.use_library else "not used"
    except OperatorLibraryError:
        library = "missing"  # the build fails if the graph needs it
    return {
        **_environment(
            options.device,
            options.use_library,
            options.optimization,
            fuses=options.use_library and fuses(options),
        ),
        "cpu_precision": options.cpu_precision,
        "optimization": options.optimization,
        "library": library,
    }


def environment(manifest: Manifest) -> dict[str, str]:
    return _environment(
        manifest.device,
        manifest.operator.get("implementation") == "library",
        manifest.settings.get("optimization", "all"),
        fuses=bool(manifest.settings.get("fused")),
    )


def open_payload(payload: bytes, manifest: Manifest, options: RunOptions) -> OrtBackend:
    """A session on the payload of an engine whose manifest was checked. Raises EngineError."""
    check_device(manifest.device)
    library = None
    if manifest.operator.get("implementation") == "library":
        library = library_for(manifest.device)
        if (found := sha256_of_file(library)) != manifest.operator.get("library_sha256"):
            _log.warning(
                "the operator library is another build (%.12s) than the one this engine was checked with "
                "(%.12s); the contract version is the same",
                found,
                manifest.operator.get("library_sha256"),
            )
    threads = options.threads or manifest.settings.get("threads") or machine.usable_cpus()
    if manifest.precision == BF16_PRODUCTS:
        _log.info(
            "matrix products have bfloat16 factors: when it was built, this engine differed from %s by %.1e "
            "of the largest value",
            manifest.source.name,
            manifest.self_check.get("max_relative_diff", float("nan")),
        )
    tf32 = bool(manifest.settings.get("tf32"))
    setting = Setting(manifest.source.name, manifest.device, library, threads, tf32)
    session = open_session(payload, setting, "none")
    return OrtBackend(
        session, manifest.input, manifest.outputs, threads if manifest.device == "cpu" else None
    )


class OrtBackend:
    """A session and its specs; `run` may be called from several threads.

    `threads` of a processor are given no more images at once than keep them busy; None: whole batches.
    """

    def __init__(
        self,
        session: Any,
        input: TensorSpec,
        outputs: tuple[TensorSpec, ...],
        threads: int | None = None,
    ) -> None:
        self.input = input
        self.outputs = outputs
        self.batches = BatchRange.of(input)
        self._session = session
        self._threads = threads

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        if self._session is None:
            raise EngineError("the engine is closed; open it again with load_engine.")
        at_once = len(pixels)
        if self._threads is not None:
            at_once = images_at_once(self.input, self.outputs, pixels.shape, self._threads)
        if len(pixels) <= at_once:
            return run_session(self._session, self.outputs, pixels)
        session = self._session  # `close` may be called meanwhile
        found = [run_session(session, self.outputs, part) for part in parts(pixels, at_once)]
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}

    def close(self) -> None:
        self._session = None


def _check_precision(source: SourceModel, options: BuildOptions) -> None:
    """Refuses what the runtime would refuse later and less clearly."""
    precision, name = source.metadata.precision, source.record.name
    if precision == "fp32" or not source.uses_operator:
        return
    if precision == "bf16" and options.device == "cpu":
        raise EngineError(
            f"{name} is in bf16, for which ONNX Runtime has no kernels on the processor; export with "
            "--precision fp32, or build for --backend tensorrt or --device cuda."
        )
    if options.use_library and options.device == "cpu":
        raise EngineError(
            f"{name} is in {precision}, and the operator library computes in fp32 alone on a processor; "
            "export with --precision fp32, build for --device cuda, or use --no-library for the function "
            "body, which is several times slower."
        )


def _operator_record(source: SourceModel, options: BuildOptions) -> dict[str, Any]:
    if not source.uses_operator:
        return {"implementation": "none"}
    if not options.use_library:
        return {"implementation": "function"}
    return {
        "implementation": "library",
        "contract": CONTRACT_VERSION,
        "library_sha256": sha256_of_file(library_for(options.device)),
    }


def _environment(device: str, uses_library: bool, optimization: str, *, fuses: bool) -> dict[str, str]:
    values = {"onnxruntime": str(runtime().__version__), "architecture": machine.architecture()}
    if optimization == "all" and device == "cpu":
        # This level lays weights out for the vector width of the processor that it ran on.
        values["instruction_set"] = machine.instruction_set()
    if uses_library:
        values["operator_contract"] = str(CONTRACT_VERSION)
    if fuses:
        values["fused_operators"] = str(FUSED_VERSION)
    return values
