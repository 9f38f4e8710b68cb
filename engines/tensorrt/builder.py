"""Building with TensorRT 8.6, 10 and 11: differences are detected by name in the installed module.

Strong typing is requested where its flag exists (10, and 11 until it is removed), implied where precision
flags no longer exist (11), and imitated on 8.6: there every layer is constrained to the types of the graph.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from vim_deploy.engines.tensorrt.api import make_builder, parser_errors, required
from vim_deploy.engines.tensorrt.graph import PreparedGraph
from vim_deploy.engines.tensorrt.options import TensorrtOptions
from vim_deploy.errors import EngineError, os_errors
from vim_deploy.files import atomic_write
from vim_deploy.precision import Precision

_log = logging.getLogger("vim_deploy")

_MIB = 1 << 20
_LOG_INTERVAL_SECONDS = 60
_OBEY, _PREFER = "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS"
# Layers whose precision cannot be set in TensorRT 8.6, or which have none.
_UNCONSTRAINED = ("CONSTANT", "CAST", "SHAPE")


@dataclass(frozen=True)
class PlanRequest:
    """A plan to build. `shapes`: minimum, optimum and maximum input shape; None for a fixed shape."""

    name: str
    graph: PreparedGraph
    precision: Precision
    input: str
    shapes: tuple[tuple[int | None, ...], ...] | None
    options: TensorrtOptions


def build_plan(trt: ModuleType, logger: Any, request: PlanRequest) -> tuple[bytes, dict[str, Any]]:
    """The serialized engine, and the typing, flags and seconds of the build. Raises EngineError."""
    builder = make_builder(trt, logger)
    flags, typing = network_flags(trt)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(request.graph.data):
        raise EngineError(f"TensorRT {trt.__version__} cannot parse {request.name}: {parser_errors(parser)}")
    config = builder.create_builder_config()
    chosen = _set_precision(trt, config, network, request, typing)
    chosen += _set_options(trt, config, request.options)
    if request.shapes is not None:
        profile = builder.create_optimization_profile()
        profile.set_shape(request.input, *request.shapes)
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(f"TensorRT rejects the profile {request.shapes}: {logger.reasons()}")
    cache = request.options.timing_cache
    if cache is not None:
        _load_timing_cache(config, cache)
    started = time.perf_counter()
    with _log_progress(request.name):
        plan = builder.build_serialized_network(network, config)
        if plan is None and _OBEY in chosen:
            chosen = _prefer_types(trt, config, request.name, chosen, logger)
            plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(
            f"TensorRT {trt.__version__} cannot build an engine from {request.name}: {logger.reasons()}"
        )
    if cache is not None:
        _save_timing_cache(config, cache)
    seconds = round(time.perf_counter() - started, 1)
    return bytes(plan), {"typing": typing, "flags": chosen, "build_seconds": seconds}


def network_flags(trt: ModuleType) -> tuple[int, str]:
    """The network's creation flags and its typing: strong, implied or constrained."""
    names = trt.NetworkDefinitionCreationFlag
    # Without it 8.6 creates a network with an implicit batch dimension; later versions have no such networks.
    flags = 1 << int(names.EXPLICIT_BATCH) if hasattr(names, "EXPLICIT_BATCH") else 0
    if hasattr(names, "STRONGLY_TYPED"):
        return flags | 1 << int(names.STRONGLY_TYPED), "strong"
    return flags, "constrained" if hasattr(trt.BuilderFlag, "FP16") else "implied"


def _set_precision(
    trt: ModuleType, config: Any, network: Any, request: PlanRequest, typing: str
) -> list[str]:
    chosen: list[str] = []
    if request.precision.activations == Precision.FP32:
        # TF32 is on unless cleared; it would round the matmul inputs of a float32 file to 10 bits.
        config.clear_flag(trt.BuilderFlag.TF32)
        if request.precision == Precision.INT8 and typing == "constrained":
            # Allows integer kernels; which layers use them follows from QuantizeLinear in the graph.
            config.set_flag(trt.BuilderFlag.INT8)
            chosen.append("INT8")
        return chosen
    if typing == "constrained":
        if request.precision != Precision.FP16:
            raise EngineError(
                f"TensorRT {trt.__version__} does not support {request.precision}; export with fp16."
            )
        for name in ("FP16", _OBEY):
            config.set_flag(getattr(trt.BuilderFlag, name))
            chosen.append(name)
        _constrain_types(trt, network, request.graph.types)
    # TF32 rounds the float32 parts of a reduced-precision file no more than its blocks are rounded.
    config.set_flag(trt.BuilderFlag.TF32)
    return [*chosen, "TF32"]


def _prefer_types(trt: ModuleType, config: Any, name: str, chosen: list[str], logger: Any) -> list[str]:
    """Relax the type constraints, for 8.6, which fails if a layer has no implementation in its type.

    The resulting types are checked when the engine is read back and compared with its file.
    """
    _log.warning(
        "TensorRT %s has no implementation of some layer of %s in the file's type (%s); building it again "
        "with preferred instead of required types",
        trt.__version__,
        name,
        logger.reasons(),
    )
    config.clear_flag(getattr(trt.BuilderFlag, _OBEY))
    config.set_flag(getattr(trt.BuilderFlag, _PREFER))
    return [_PREFER if flag == _OBEY else flag for flag in chosen]


def _constrain_types(trt: ModuleType, network: Any, types: dict[str, Precision]) -> None:
    """Constrain every layer with floating-point outputs: norms to float32, matmuls of blocks to float16.

    The parser adds tensors that the graph does not have, such as the matmul of a Gemm; they have the types of
    the network.
    """
    kinds = {Precision.FP32: trt.DataType.FLOAT, Precision.FP16: trt.DataType.HALF}
    free = [getattr(trt.LayerType, name) for name in _UNCONSTRAINED if hasattr(trt.LayerType, name)]
    for layer in map(network.get_layer, range(network.num_layers)):
        tensors = [layer.get_output(index) for index in range(layer.num_outputs)]
        outputs = [kinds[types[each.name]] if each.name in types else each.dtype for each in tensors]
        if layer.type in free or not outputs or not set(outputs) <= set(kinds.values()):
            continue
        if layer.type != trt.LayerType.PLUGIN_V2:
            # A precision also applies to the inputs, and our plugin's A, D and delta_bias are always float32.
            layer.precision = outputs[0]
        for position, kind in enumerate(outputs):
            layer.set_output_type(position, kind)


def _set_options(trt: ModuleType, config: Any, options: TensorrtOptions) -> list[str]:
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # readback.py needs it
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * _MIB)
    if options.level is not None:
        config.builder_optimization_level = options.level
    if options.hardware != "none":
        config.hardware_compatibility_level = required(
            trt.HardwareCompatibilityLevel,
            options.hardware.upper(),
            trt.__version__,
            f"engines for --hardware {options.hardware}",
        )
    wanted = {
        "VERSION_COMPATIBLE": options.version_compatible,
        "STRIP_PLAN": options.strip,
        "REFIT": options.refit,
        # A stripped engine is refitted with the weights that it was built from. This flag costs nothing, and
        # some versions give wrong results with the other one (11.3 loses the biases of matmuls).
        "REFIT_IDENTICAL": options.strip and not options.refit,
    }
    chosen = [name for name, given in wanted.items() if given]
    for name in chosen:
        config.set_flag(required(trt.BuilderFlag, name, trt.__version__, f"with {name}"))
    _set_sources(trt, config)
    return chosen


def _set_sources(trt: ModuleType, config: Any) -> None:
    if hasattr(trt.PreviewFeature, "PROFILE_SHARING_0806"):
        # Lets several contexts share a profile; the default in later versions.
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    if hasattr(trt.TacticSource, "CUBLAS"):
        # Tactics of cuBLAS and cuDNN would need these libraries wherever the engine runs.
        names = ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")
        config.set_tactic_sources(sum(1 << int(getattr(trt.TacticSource, name)) for name in names))


def _load_timing_cache(config: Any, path: Path) -> None:
    with os_errors(EngineError, f"the timing cache {path} cannot be read"):
        data = path.read_bytes() if path.exists() else b""
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        raise EngineError(
            f"{path} is not a timing cache of this TensorRT version and GPU; remove it or use another file."
        )


def _save_timing_cache(config: Any, path: Path) -> None:
    with os_errors(EngineError, f"the timing cache {path} cannot be written"), atomic_write(path) as file:
        file.write(bytes(config.get_timing_cache().serialize()))


@contextlib.contextmanager
def _log_progress(name: str) -> Iterator[None]:
    """Log a message every minute: the builder itself logs nothing for most of its time."""
    done = threading.Event()
    started = time.perf_counter()

    def log() -> None:
        while not done.wait(_LOG_INTERVAL_SECONDS):
            _log.info("TensorRT has been building %s for %.0f s", name, time.perf_counter() - started)

    thread = threading.Thread(target=log, name="build progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
