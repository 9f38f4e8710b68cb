"""The ONNX Runtime backend: the payload is the optimized graph, run with the operator library."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from vim_deploy import machine
from vim_deploy.engines.base import Built, RunOptions
from vim_deploy.engines.fusion.domain import FUSED_VERSION
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.onnxruntime.batching import can_split, images_at_once, split
from vim_deploy.engines.onnxruntime.cuda_bfloat16 import upcast_unsupported
from vim_deploy.engines.onnxruntime.fusion.apply import (
    FusedGraph,
    check_cpu_precision,
    fuse_for_cuda,
    fuse_graph,
    prepare,
)
from vim_deploy.engines.onnxruntime.layout import has_blocks
from vim_deploy.engines.onnxruntime.limited import run_limited
from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions
from vim_deploy.engines.onnxruntime.placement import check_on_cuda, read_profile
from vim_deploy.engines.onnxruntime.providers import check_device, providers_of
from vim_deploy.engines.onnxruntime.reference import reference_outputs
from vim_deploy.engines.onnxruntime.session import (
    make_session,
    run_session,
    runtime,
    unsuitable_optimizers,
)
from vim_deploy.engines.payload import Payload
from vim_deploy.engines.selfcheck import Arrays, compare, compare_quantized, random_arrays
from vim_deploy.engines.shared_weights import release_pages
from vim_deploy.engines.source import SourceModel
from vim_deploy.engines.tensors import BatchRange, TensorSpec
from vim_deploy.errors import EngineError, OperatorLibraryError
from vim_deploy.files import sha256_of_file
from vim_deploy.ops.library import check_fused_version, instruction_set, ort_cuda_library, ort_library
from vim_deploy.ops.signature import CONTRACT_VERSION
from vim_deploy.options import to_record
from vim_deploy.precision import MATMUL_PRECISIONS, Precision
from vim_deploy.tasks.registry import TASKS

_log = logging.getLogger("vim_deploy")

PAYLOAD_NAME = "model.onnx"


def build(source: SourceModel, options: OnnxruntimeOptions) -> Built:
    """Optimize the graph, reload it and compare it with the original file. Raises EngineError."""
    _check_precision(source, options)
    check_device(options.device)
    operator = _operator_record(source, options)
    uses_library = operator["implementation"] == "library"
    check_cpu_precision(source.record.name, options, uses_library=uses_library)
    graph = _rewritten(source, options, uses_library)
    if graph.operators and options.device == "cpu":
        check_fused_version(FUSED_VERSION)
    build_info: dict[str, Any] = {"fused": graph.operators} if graph.operators else {}
    pixels = random_arrays(source.inputs, source.metadata, source.record.name)
    if options.device == "cpu":
        payload, expected, found = _built_for_cpu(source, graph.payload, pixels, options, uses_library)
    else:
        # First on the CPU, with limits: this bounds what the graph can do on the GPU.
        expected = reference_outputs(source, pixels)
        data, found, built = _built_for_cuda(source, graph.payload, pixels, options, uses_library)
        payload = Payload(data)
        build_info |= built
    precision = graph.precision or source.metadata.precision
    return Built(
        payload=payload,
        payload_name=PAYLOAD_NAME,
        environment=_recorded(options, payload, uses_library, fused=bool(graph.operators)),
        operator=operator,
        build_info=build_info,
        inputs=source.inputs,
        outputs=source.outputs,
        self_check=_self_check(source, graph, precision, pixels, expected, found),
        precision=precision,
    )


def _self_check(
    source: SourceModel,
    graph: FusedGraph,
    precision: Precision,
    pixels: Arrays,
    expected: dict[str, np.ndarray],
    found: dict[str, np.ndarray],
) -> dict[str, Any]:
    name, task = source.record.name, source.metadata.task
    if graph.quantized is None:
        return compare(name, task, precision, expected, found)
    quantized = run_limited(source, graph.quantized, pixels, library=ort_library()).expected
    return compare_quantized(name, task, expected, quantized, found)


def _rewritten(source: SourceModel, options: OnnxruntimeOptions, uses_library: bool) -> FusedGraph:
    """The graph for the device, before the runtime optimizes it."""
    precision = source.metadata.precision
    fuses = uses_library and options.fuses
    if options.device == "cpu":
        if not (fuses and precision.activations == Precision.FP32):
            return FusedGraph(source.data)
        data = prepare(source.data, options)
        smoothing = None
        if options.calibrate is not None:
            # Only builds import `onnx` and what decodes images.
            from vim_deploy.engines.onnxruntime.calibration import calibrate

            smoothing = calibrate(replace(source, data=data), options.calibrate)
        graph = fuse_graph(source.record.name, data, options, smoothing)
        return graph if graph.operators else FusedGraph(source.data)
    graph = fuse_for_cuda(source.data) if fuses else FusedGraph(source.data)
    if precision == Precision.BF16:
        return replace(graph, payload=upcast_unsupported(graph.payload))
    return graph


def _built_for_cpu(
    source: SourceModel, graph: bytes, pixels: Arrays, options: OnnxruntimeOptions, uses_library: bool
) -> tuple[Payload, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The payload, the outputs of the file, and those of the payload."""
    runs = run_limited(
        source,
        source.data,
        pixels,
        library=_library(options.device) if uses_library else None,
        threads=options.threads or machine.usable_cpus(),
        graph=graph,
        optimization=options.optimization,
    )
    assert runs.payload is not None
    assert runs.found is not None
    return runs.payload, runs.expected, runs.found


def _built_for_cuda(
    source: SourceModel, graph: bytes, pixels: Arrays, options: OnnxruntimeOptions, uses_library: bool
) -> tuple[bytes, dict[str, np.ndarray], dict[str, Any]]:
    """The payload, its outputs, and facts for the manifest.

    In this process: CUDA reserves more addresses than the machine has memory, and limits of a process do not
    apply to the memory of a GPU. The provider of each node is checked; it depends only on the graph and on
    the runtime's version, so that it is the same wherever the engine is opened. Raises EngineError.
    """
    tf32 = source.metadata.precision != Precision.FP32
    session = partial(
        make_session,
        name=source.record.name,
        providers=providers_of(options.device, tf32=tf32),
        library=_library(options.device) if uses_library else None,
        threads=options.threads or machine.usable_cpus(),
        disabled=unsuitable_optimizers(source.metadata.precision),
    )
    settings = TASKS.get(source.metadata.task).settings
    with tempfile.TemporaryDirectory(prefix="vim-build-") as folder:
        payload, saved = graph, Path(folder) / PAYLOAD_NAME
        if options.optimization != "none":
            session(graph, optimization=options.optimization, save_to=saved)
            payload = saved.read_bytes()
        profiled = session(payload, optimization="none", profile_to=Path(folder) / "profile")
        found = run_session(profiled, [spec.name for spec in source.outputs], pixels, settings)
        nodes = read_profile(Path(profiled.end_profiling()))
    counts = check_on_cuda(source.record.name, nodes, uses_library)
    return payload, found, {"tf32": tf32, "nodes": counts}


def fingerprint(options: OnnxruntimeOptions) -> dict[str, str]:
    try:
        library = sha256_of_file(_library(options.device)) if options.use_library else "not used"
    except OperatorLibraryError:
        library = "missing"  # the build fails if the graph needs it
    # The number of threads is chosen when an engine is opened.
    return {
        **_environment(options, options.use_library, fused=options.fuses),
        "options": json.dumps(to_record(replace(options, threads=None))),
        "library": library,
    }


def environment(manifest: Manifest) -> dict[str, str]:
    uses_library = manifest.operator.get("implementation") == "library"
    return _environment(_options_of(manifest), uses_library, fused=bool(manifest.build_info.get("fused")))


def open_payload(payload: Payload, manifest: Manifest, options: RunOptions) -> OrtRunner:
    """A session for the payload of an engine whose manifest was checked. Raises EngineError."""
    check_device(manifest.device)
    library = None
    if manifest.operator.get("implementation") == "library":
        library = _library(manifest.device)
        if manifest.device == "cpu" and manifest.build_info.get("fused"):
            check_fused_version(FUSED_VERSION)
        if (found := sha256_of_file(library)) != manifest.operator.get("library_sha256"):
            _log.warning(
                "this engine was checked with another build of the operator library (%.12s) than the present "
                "one (%.12s); the contract version is the same",
                manifest.operator.get("library_sha256"),
                found,
            )
        if (checked := manifest.operator.get("kernels", "")) not in ("", here := instruction_set()):
            _log.warning(
                "this engine was checked with the kernels for %.20s; those for %s run here, whose results "
                "differ in the last digits",
                checked,
                here,
            )
    if manifest.precision in MATMUL_PRECISIONS.values():
        _log.info(
            "matmul inputs are in %s: in the self-check this engine differed from %s by %.1e of the largest "
            "value",
            _options_of(manifest).cpu_precision,
            manifest.source.name,
            manifest.self_check.get("max_relative_diff", float("nan")),
        )
    threads = options.threads or _options_of(manifest).threads or machine.usable_cpus()
    session = make_session(
        payload,
        name=manifest.source.name,
        providers=providers_of(manifest.device, tf32=bool(manifest.build_info.get("tf32"))),
        library=library,
        threads=threads,
        optimization="none",
    )
    release_pages(payload.weights)  # of weights that the session packed, nothing is used any more
    task = TASKS.get(manifest.model_metadata("the engine").task)
    splits = manifest.device == "cpu" and can_split(task, manifest.input, manifest.outputs)
    return OrtRunner(session, manifest.input, manifest.outputs, threads if splits else None)


@dataclass
class OrtRunner:
    """A session and its specs; `run` may be called from several threads.

    `threads`: of a CPU session whose batches are split into parts that keep the threads busy; None: batches
    are run whole.
    """

    session: Any
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    threads: int | None = None

    @property
    def batches(self) -> BatchRange:
        return BatchRange.of(self.input)

    def run(self, pixels: Arrays) -> dict[str, np.ndarray]:
        session = self.session  # `close` may be called by another thread
        if session is None:
            raise EngineError("the engine is closed; open it again with load.")
        names = [spec.name for spec in self.outputs]
        if isinstance(pixels, Mapping):
            return run_session(session, names, pixels)
        at_once = len(pixels)
        if self.threads is not None:
            at_once = images_at_once(pixels.shape, self.threads)
        if len(pixels) <= at_once:
            return run_session(session, names, pixels)
        found = [run_session(session, names, part) for part in split(pixels, at_once)]
        return {name: np.concatenate([part[name] for part in found]) for name in names}

    def close(self) -> None:
        self.session = None


def _options_of(manifest: Manifest) -> OnnxruntimeOptions:
    return cast("OnnxruntimeOptions", manifest.options)


def _library(device: str) -> Path:
    """The operator library for sessions on a device. Raises OperatorLibraryError."""
    return ort_cuda_library() if device == "cuda" else ort_library()


def _check_precision(source: SourceModel, options: OnnxruntimeOptions) -> None:
    """Refuses what the runtime would refuse later with a less clear message."""
    precision, name = source.metadata.precision, source.record.name
    if precision.is_quantized and options.cpu_precision != Precision.FP32:
        raise EngineError(
            f"{name} is in {precision}, which --cpu-precision cannot change; leave it out, or export the "
            "model with --precision fp32."
        )
    if precision.activations == Precision.FP32 or not source.uses_operator or options.device != "cpu":
        return
    if precision == Precision.BF16:
        raise EngineError(
            f"{name} is in bf16, for which ONNX Runtime has no CPU kernels; export with --precision fp32, or "
            "build with --backend tensorrt or --device cuda."
        )
    if options.use_library:
        raise EngineError(
            f"{name} is in {precision}, but the operator library computes only in fp32 on CPU; export with "
            "--precision fp32, build with --device cuda, or use --no-library for the function body, which is "
            "several times slower."
        )


def _operator_record(source: SourceModel, options: OnnxruntimeOptions) -> dict[str, Any]:
    if not source.uses_operator:
        return {"implementation": "none"}
    if not options.use_library:
        return {"implementation": "function"}
    record = {
        "implementation": "library",
        "contract": CONTRACT_VERSION,
        "library_sha256": sha256_of_file(_library(options.device)),
    }
    if options.device == "cpu":
        record["kernels"] = instruction_set()  # that the self-check ran
    return record


def _recorded(
    options: OnnxruntimeOptions, payload: Payload, uses_library: bool, *, fused: bool
) -> dict[str, str]:
    """The environment that a payload needs."""
    values = _environment(options, uses_library, fused=fused)
    if not has_blocks(payload.data):
        values.pop("instruction_set", None)
    return values


def _environment(options: OnnxruntimeOptions, uses_library: bool, *, fused: bool) -> dict[str, str]:
    values = {"onnxruntime": str(runtime().__version__), "architecture": machine.architecture()}
    if options.optimization == "all" and options.device == "cpu":
        # At this level the layout of convolutions can depend on the vector width of the CPU.
        values["instruction_set"] = machine.instruction_set()
    if uses_library:
        values["operator_contract"] = str(CONTRACT_VERSION)
    if fused:
        values["fused_operators"] = str(FUSED_VERSION)
    return values
