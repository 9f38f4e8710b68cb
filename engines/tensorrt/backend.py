"""The TensorRT backend: the payload is the serialized engine, the selective scan is our plugin."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias, cast

import numpy as np

from vim_deploy.engines.base import Built, RunOptions
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.onnxruntime.reference import reference_outputs
from vim_deploy.engines.payload import Payload
from vim_deploy.engines.selfcheck import compare, random_pixels
from vim_deploy.engines.source import SourceModel
from vim_deploy.engines.tensorrt.api import (
    load_plugin,
    load_roi_align,
    major,
    make_builder,
    make_logger,
    tensorrt,
)
from vim_deploy.engines.tensorrt.builder import PlanRequest, build_plan
from vim_deploy.engines.tensorrt.driver import Gpu, gpu
from vim_deploy.engines.tensorrt.graph import prepare
from vim_deploy.engines.tensorrt.open import code_is_allowed, deserialize
from vim_deploy.engines.tensorrt.options import TensorrtOptions
from vim_deploy.engines.tensorrt.readback import check_precision, layer_information
from vim_deploy.engines.tensorrt.refit import refit
from vim_deploy.engines.tensorrt.runner import TensorrtRunner
from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.errors import EngineError, MissingDependencyError, OperatorLibraryError, os_errors
from vim_deploy.files import atomic_write, sha256_of, sha256_of_file
from vim_deploy.ops.library import tensorrt_library
from vim_deploy.ops.signature import CONTRACT_VERSION
from vim_deploy.options import to_record

_log = logging.getLogger("vim_deploy")

PAYLOAD_NAME = "model.plan"
Shape: TypeAlias = tuple[int, ...]
Profile: TypeAlias = tuple[Shape, Shape, Shape]


def build(source: SourceModel, options: TensorrtOptions) -> Built:
    """Build an engine, read it back and run it.

    Raises EngineError, MissingDependencyError, OperatorLibraryError.
    """
    shapes = _profile(options, source)
    trt, device = tensorrt(), gpu()
    precision, name = source.metadata.precision, source.record.name
    graph = prepare(name, source.data, precision, major(trt), options.fp32_accumulation, options.fuse)
    library = load_plugin(trt) if graph.scans else None
    if graph.other_plugins:
        load_roi_align(trt, name)
    logger = make_logger(trt)
    profile = shapes if None in source.input.shape else None
    request = PlanRequest(name, graph, precision, source.input.name, profile, options)
    # Before TensorRT runs the graph: the limits of this run bound what the graph can do.
    reference = _reference(source, shapes)
    plan, build_info = build_plan(trt, logger, request)

    engine = deserialize(trt, logger, plan, library, allow_code=options.version_compatible)
    if options.strip:
        refit(trt, logger, engine, graph.data)
    information = layer_information(trt, engine, source.input.name, shapes[1])
    if options.layers is not None:
        _write_layers(options.layers, information)
    if graph.fused:
        build_info["fused"] = graph.fused
    build_info |= {
        "batches": [shape[0] for shape in shapes],
        "sizes": [list(shape[2:]) for shape in shapes],
        "graph_sha256": sha256_of(graph.data),
        "layers": check_precision(information, graph, precision),
    }
    return Built(
        payload=Payload(plan),
        payload_name=PAYLOAD_NAME,
        environment=_environment(trt, device, options, library),
        operator=_operator_record(library),
        build_info=build_info,
        inputs=source.inputs,
        outputs=source.outputs,
        self_check=_self_check(engine, source, shapes, reference),
    )


def fingerprint(options: TensorrtOptions) -> dict[str, str]:
    trt, device = tensorrt(), gpu()
    try:
        library: Path | None = tensorrt_library(major(trt))
    except OperatorLibraryError:
        library = None  # the build fails if the graph needs it
    return {**_environment(trt, device, options, library), "options": json.dumps(to_record(options))}


def environment(manifest: Manifest) -> dict[str, str]:
    """Looks for the GPU first: TensorRT's Runtime terminates a process that has none."""
    device, trt = gpu(), tensorrt()
    library = tensorrt_library(major(trt)) if _uses_plugin(manifest) else None
    return _environment(trt, device, _options_of(manifest), library)


def open_payload(payload: Payload, manifest: Manifest, options: RunOptions) -> TensorrtRunner:
    if options.threads is not None:
        raise EngineError("a TensorRT engine runs on the GPU and has no threads; leave out --threads.")
    gpu()
    trt = tensorrt()
    logger = make_logger(trt)
    make_builder(trt, logger)  # an error where CUDA does not start: a Runtime would terminate the process
    library = load_plugin(trt) if _uses_plugin(manifest) else None
    built_with = _options_of(manifest)
    allow_code = built_with.version_compatible and code_is_allowed()
    engine = deserialize(trt, logger, payload.data, library, allow_code)
    if built_with.strip:
        refit(trt, logger, engine, _weights(manifest, built_with, options.source, major(trt)))
    low, _, high = _recorded_profile(manifest)
    return TensorrtRunner(engine, manifest.input, manifest.outputs, low, high)


def _uses_plugin(manifest: Manifest) -> bool:
    return bool(manifest.operator.get("implementation") == "plugin")


def _options_of(manifest: Manifest) -> TensorrtOptions:
    return cast("TensorrtOptions", manifest.options)


def _profile(options: TensorrtOptions, source: SourceModel) -> Profile:
    """Minimum, optimum and maximum input shape. Raises EngineError for options that do not fit the file."""
    batch, channels, *sides = source.input.shape
    preprocessing = source.metadata.preprocessing
    batches = options.batches(batch)
    sizes = options.sizes((sides[0], sides[1]), preprocessing.image_size)
    shapes = [
        (size, channels or preprocessing.channels, *pair) for size, pair in zip(batches, sizes, strict=True)
    ]
    if not all(
        low <= side <= high
        for low, side, high in zip(sizes[0], preprocessing.image_size, sizes[2], strict=True)
    ):
        _log.warning(
            "vim-infer cannot use this engine: the model's preprocessing gives %s, outside --min-size and "
            "--max-size",
            "x".join(map(str, preprocessing.image_size)),
        )
    return shapes[0], shapes[1], shapes[2]


def _recorded_profile(manifest: Manifest) -> Profile:
    """The profile that the engine was built with. Raises EngineError for a malformed one."""
    batches, sizes = (manifest.build_info.get(name, ()) for name in ("batches", "sizes"))
    try:
        shapes = [
            (batch, manifest.model_metadata("the engine").preprocessing.channels, height, width)
            for batch, (height, width) in zip(batches, sizes, strict=True)
        ]
        if not all(type(side) is int and side > 0 for shape in shapes for side in shape):
            raise TypeError("expected positive integers")
        low, best, high = shapes
    except (TypeError, ValueError) as error:
        raise EngineError(
            f"the manifest has the batches {batches!r:.100} and the sizes {sizes!r:.100} ({error}); build "
            "the engine again."
        ) from None
    return low, best, high


def _weights(manifest: Manifest, built_with: TensorrtOptions, source: Path | None, version: int) -> bytes:
    """The graph that a stripped engine was built from, read from the ONNX file `source`."""
    if source is None:
        raise EngineError(
            f"the engine has no weights (--strip); give the file it was built from: --source "
            f"{manifest.source.name}."
        )
    choices = (built_with.fp32_accumulation, built_with.fuse)
    graph = prepare(str(source), source.read_bytes(), manifest.precision, version, *choices).data
    found, recorded = sha256_of(graph), str(manifest.build_info.get("graph_sha256"))
    if found != recorded:
        raise manifest.refuse(str(source), "graph_sha256", recorded, found)
    return graph


def _environment(
    trt: ModuleType, device: Gpu, options: TensorrtOptions, library: Path | None
) -> dict[str, str]:
    version = str(trt.__version__)
    values = (
        {"tensorrt_major": version.split(".")[0]} if options.version_compatible else {"tensorrt": version}
    )
    if options.hardware == "ampere_plus":
        later = device.capability >= (8, 0)
        values["gpu"] = "compute capability 8.0 or later" if later else str(device)
    elif options.hardware == "same_compute_capability":
        values["gpu"] = "compute capability {}.{}".format(*device.capability)
    else:
        values["gpu"] = str(device)
    if library is not None:
        values |= {"operator_contract": str(CONTRACT_VERSION), "plugin_sha256": sha256_of_file(library)}
    return values


def _operator_record(library: Path | None) -> dict[str, Any]:
    if library is None:
        return {"implementation": "none"}
    return {
        "implementation": "plugin",
        "contract": CONTRACT_VERSION,
        "library": library.name,
        "library_sha256": sha256_of_file(library),
    }


@dataclass(frozen=True)
class _Reference:
    """Random pixels of the optimum size, and the outputs of the file for them."""

    pixels: np.ndarray
    outputs: dict[str, np.ndarray] | None  # None: ONNX Runtime is not installed
    reason: str = ""


def _reference(source: SourceModel, shapes: Profile) -> _Reference:
    low, best, high = shapes
    size = min(max(2, low[0]), high[0])
    spec = TensorSpec(source.input.name, source.input.dtype, (size, *best[1:]))
    pixels = random_pixels(spec, source.metadata.preprocessing)
    try:
        return _Reference(pixels, reference_outputs(source, pixels))
    except MissingDependencyError as error:
        _log.warning("the engine is NOT compared with %s: %s", source.record.name, error)
        return _Reference(pixels, None, str(error))


def _self_check(engine: Any, source: SourceModel, shapes: Profile, reference: _Reference) -> dict[str, Any]:
    """Compare the engine with the file in ONNX Runtime on the CPU."""
    task, precision = source.metadata.task, source.metadata.precision
    runner = TensorrtRunner(engine, source.input, source.outputs, shapes[0], shapes[2], contexts=1)
    try:
        # Three times: the first run with a shape, the capture of its CUDA graph, and a launch of the graph.
        runs = [runner.run(reference.pixels) for _ in range(3)]
    finally:
        runner.close()
    for again in runs[1:]:
        compare(f"{source.record.name}, run again,", task, precision, runs[0], again)
    if reference.outputs is None:
        return {"compared": False, "reason": reference.reason}
    figures = compare(source.record.name, task, precision, reference.outputs, runs[-1])
    return {"compared": True, **figures}


def _write_layers(path: Path, information: dict[str, Any]) -> None:
    with os_errors(EngineError, f"{path} cannot be written"), atomic_write(path) as file:
        file.write(json.dumps(information, indent=1).encode())
