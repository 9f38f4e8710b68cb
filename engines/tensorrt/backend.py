"""TensorRT as a backend: the serialised engine as payload, the selective scan as our plugin."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from vim_deploy.engines.base import BuildOptions, Built, RunOptions
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.onnxruntime.reference import reference_outputs
from vim_deploy.engines.selfcheck import compare, random_pixels
from vim_deploy.engines.source import SourceModel
from vim_deploy.engines.tensorrt.api import load_plugin, major, make_logger, tensorrt
from vim_deploy.engines.tensorrt.builder import BuildTask, build_plan
from vim_deploy.engines.tensorrt.device import DeviceBackend, Gpu, gpu
from vim_deploy.engines.tensorrt.graph import prepare
from vim_deploy.engines.tensorrt.open import code_is_allowed, deserialize, refit
from vim_deploy.engines.tensorrt.options import PROFILE, TensorrtOptions
from vim_deploy.engines.tensorrt.readback import check_precision, layer_information
from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.errors import EngineError, MissingDependencyError, OperatorLibraryError
from vim_deploy.files import atomic_write, sha256_of, sha256_of_file
from vim_deploy.ops.library import tensorrt_library
from vim_deploy.ops.signature import CONTRACT_VERSION

_log = logging.getLogger("vim_deploy")

PAYLOAD_NAME = "model.plan"
Shape: TypeAlias = tuple[int, ...]
Profile: TypeAlias = tuple[Shape, Shape, Shape]


def build(source: SourceModel, options: BuildOptions) -> Built:
    """Build an engine, read it back and run it.

    Raises EngineError, MissingDependencyError, OperatorLibraryError.
    """
    chosen = _checked_options(options)
    shapes = _profile(chosen, source)
    trt, device = tensorrt(), gpu()
    precision, name = source.metadata.precision, source.record.name
    graph = prepare(name, source.data, precision, major(trt))
    if source.metadata.task == "detect":
        raise EngineError(
            f"{name} detects: its outputs have as many rows as there are objects, and TensorRT engines are "
            "run here with outputs of known size alone. The graph itself passes the check of the parser's "
            "rules. Build it with --backend onnxruntime."
        )
    library = load_plugin(trt) if graph.scans else None
    logger = make_logger(trt)
    profile = shapes if None in source.input.shape else None
    task = BuildTask(name, graph, precision, source.input.name, profile, chosen)
    plan, settings = build_plan(trt, logger, task)

    engine = deserialize(trt, logger, plan, allow_code=chosen.version_compatible)
    if chosen.strip:
        refit(trt, logger, engine, graph.data)
    information = layer_information(trt, engine, source.input.name, shapes[1])
    if chosen.layers is not None:
        _write_layers(chosen.layers, information)
    counts = check_precision(information, graph, precision)
    settings |= {
        "batches": [shape[0] for shape in shapes],
        "sizes": [list(shape[2:]) for shape in shapes],
        "graph_sha256": sha256_of(graph.data),
        "layers": counts,
    }
    return Built(
        payload=plan,
        payload_name=PAYLOAD_NAME,
        environment=_environment(trt, device, chosen.hardware, chosen.version_compatible, library),
        operator=_operator_record(library),
        settings={**settings, **chosen.settings()},
        input=source.input,
        outputs=source.outputs,
        self_check=_self_check(engine, source, shapes),
    )


def fingerprint(options: BuildOptions) -> dict[str, str]:
    chosen = _checked_options(options)
    trt, device = tensorrt(), gpu()
    try:
        library: Path | None = tensorrt_library(major(trt))
    except OperatorLibraryError:
        library = None  # the build fails if the graph needs it
    return {
        **_environment(trt, device, chosen.hardware, chosen.version_compatible, library),
        "options": json.dumps(chosen.settings()),
        "profile": json.dumps([getattr(chosen, name) for name in PROFILE]),
    }


def environment(manifest: Manifest) -> dict[str, str]:
    """Asks for the GPU first: TensorRT's Runtime ends a process that has none."""
    device, trt = gpu(), tensorrt()
    uses_plugin = manifest.operator.get("implementation") == "plugin"
    return _environment(
        trt,
        device,
        str(manifest.settings.get("hardware", "none")),
        bool(manifest.settings.get("version_compatible")),
        tensorrt_library(major(trt)) if uses_plugin else None,
    )


def open_payload(payload: bytes, manifest: Manifest, options: RunOptions) -> DeviceBackend:
    if options.threads is not None:
        raise EngineError("an engine for TensorRT runs on the GPU and has no threads; leave --threads out.")
    gpu()
    trt = tensorrt()
    if manifest.operator.get("implementation") == "plugin":
        load_plugin(trt)
    settings, logger = manifest.settings, make_logger(trt)
    allow_code = bool(settings.get("version_compatible")) and code_is_allowed()
    engine = deserialize(trt, logger, payload, allow_code)
    if settings.get("strip"):
        refit(trt, logger, engine, _weights(manifest, options.source, major(trt)))
    low, _, high = _recorded_profile(manifest)
    return DeviceBackend(engine, manifest.input, manifest.outputs, low, high)


def _profile(chosen: TensorrtOptions, source: SourceModel) -> Profile:
    """Smallest, best and largest shape of the input. Raises EngineError for what the file does not allow."""
    batch, channels, *sides = source.input.shape
    rule = source.metadata.preprocessing
    batches = chosen.batches(batch)
    sizes = chosen.sizes((sides[0], sides[1]), rule.image_size)
    shapes = [(size, channels or rule.channels, *pair) for size, pair in zip(batches, sizes, strict=True)]
    if not all(
        low <= side <= high for low, side, high in zip(sizes[0], rule.image_size, sizes[2], strict=True)
    ):
        _log.warning(
            "the engine will not run vim-infer: the model's preprocessing makes %s, outside --min-size and "
            "--max-size",
            "x".join(map(str, rule.image_size)),
        )
    return shapes[0], shapes[1], shapes[2]


def _recorded_profile(manifest: Manifest) -> Profile:
    """What `_profile` gave when the engine was built. Raises EngineError for anything else."""
    settings = manifest.settings
    batches, sizes = settings.get("batches", ()), settings.get("sizes", ())
    try:
        shapes = [
            (batch, manifest.model_metadata("the engine").preprocessing.channels, height, width)
            for batch, (height, width) in zip(batches, sizes, strict=True)
        ]
        if not all(type(side) is int and side > 0 for shape in shapes for side in shape):
            raise TypeError("no numbers above 0")
        low, best, high = shapes
    except (TypeError, ValueError) as error:
        raise EngineError(
            f"the manifest's batches are {batches!r:.100} and its sizes {sizes!r:.100} ({error}); build the "
            "engine again."
        ) from None
    return low, best, high


def _weights(manifest: Manifest, source: Path | None, version: int) -> bytes:
    """The graph that a stripped engine was built from, out of the ONNX file that its opener names."""
    if source is None:
        raise EngineError(
            f"the engine holds no weights (--strip); name the file it was built from: --source "
            f"{manifest.source.name}."
        )
    graph = prepare(str(source), source.read_bytes(), manifest.precision, version).data
    found, recorded = sha256_of(graph), str(manifest.settings.get("graph_sha256"))
    if found != recorded:
        raise manifest.refuse(str(source), "graph_sha256", recorded, found)
    return graph


def _checked_options(options: BuildOptions) -> TensorrtOptions:
    if options.device != "cuda":
        raise EngineError(f"device is {options.device!r}; TensorRT builds for cuda alone.")
    if options.threads is not None or options.optimization != "all" or not options.use_library:
        raise EngineError(
            "threads, optimization and use_library are for ONNX Runtime; TensorRT has a level of its own and "
            "always uses the plugin. Leave them out."
        )
    options.tensorrt.check()
    return options.tensorrt


def _environment(
    trt: ModuleType, device: Gpu, hardware: str, version_compatible: bool, library: Path | None
) -> dict[str, str]:
    version = str(trt.__version__)
    values = {"tensorrt_major": version.split(".")[0]} if version_compatible else {"tensorrt": version}
    if hardware == "ampere_plus":
        later = device.capability >= (8, 0)
        values["gpu"] = "compute capability 8.0 or later" if later else str(device)
    elif hardware == "same_compute_capability":
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


def _self_check(engine: Any, source: SourceModel, shapes: Profile) -> dict[str, Any]:
    """The engine against the file in ONNX Runtime on the processor, on random pixels of the best size."""
    low, best, high = shapes
    size = min(max(2, low[0]), high[0])
    spec = TensorSpec(source.input.name, source.input.dtype, (size, *best[1:]))
    pixels = random_pixels(spec, source.metadata.preprocessing)
    backend = DeviceBackend(engine, source.input, source.outputs, low, high, contexts=1)
    try:
        # Three times: the first run with a shape, the recording of its graph, and the graph again.
        runs = [backend.run(pixels) for _ in range(3)]
    finally:
        backend.close()
    for again in runs[1:]:
        compare(f"{source.record.name}, run again,", source.metadata.precision, runs[0], again)
    try:
        expected = reference_outputs(source, pixels)
    except MissingDependencyError as error:
        _log.warning("the engine was NOT compared with %s: %s", source.record.name, error)
        return {"compared": False, "reason": str(error)}
    figures = compare(source.record.name, source.metadata.precision, expected, runs[-1])
    return {"compared": True, **figures}


def _write_layers(path: Path, information: dict[str, Any]) -> None:
    try:
        with atomic_write(path) as file:
            file.write(json.dumps(information, indent=1).encode())
    except OSError as error:
        raise EngineError(f"{path} cannot be written: {error.strerror or error}.") from None
