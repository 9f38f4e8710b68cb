"""TensorRT's builder, in one way for 8.6, 10 and 11: what differs is looked up by name in what is installed.

Strong typing is asked for where it can be (10, and 11 until the flag goes), implied where precision flags no
longer exist (11), and imitated on 8.6: there every layer is held to the types of the graph.
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

from vim_deploy.engines.tensorrt.api import required
from vim_deploy.engines.tensorrt.graph import PreparedGraph
from vim_deploy.engines.tensorrt.options import TensorrtOptions
from vim_deploy.errors import EngineError
from vim_deploy.files import atomic_write

_log = logging.getLogger("vim_deploy")

_MIB = 1 << 20
_SECONDS_BETWEEN_SIGNS = 60
_OBEY, _PREFER = "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS"
# Layers whose precision TensorRT 8.6 does not let choose, or which have none.
_UNCONSTRAINED = ("CONSTANT", "CAST", "SHAPE")


@dataclass(frozen=True)
class BuildTask:
    """One engine to build. `shapes`: smallest, best and largest of the input; None where it is fixed."""

    name: str
    graph: PreparedGraph
    precision: str
    input: str
    shapes: tuple[tuple[int | None, ...], ...] | None
    options: TensorrtOptions


def build_plan(trt: ModuleType, logger: Any, task: BuildTask) -> tuple[bytes, dict[str, Any]]:
    """The serialised engine, and what was chosen: typing, flags, seconds. Raises EngineError."""
    builder = _builder(trt, logger)
    flags, typing = _network_flags(trt)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(task.graph.data):
        reasons = "; ".join(str(parser.get_error(index)) for index in range(min(parser.num_errors, 3)))
        raise EngineError(f"TensorRT {trt.__version__} does not parse {task.name}: {reasons}")
    config = builder.create_builder_config()
    chosen = _set_precision(trt, config, network, task, typing)
    chosen += _set_options(trt, config, task.options)
    if task.shapes is not None:
        profile = builder.create_optimization_profile()
        profile.set_shape(task.input, *task.shapes)
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(f"TensorRT refuses the profile {task.shapes}: {logger.reasons()}")
    cache = _timing_cache(config, task.options.timing_cache)
    started = time.perf_counter()
    with _signs_of_life(task.name):
        plan = builder.build_serialized_network(network, config)
        if plan is None and _OBEY in chosen:
            chosen = _prefer_types(trt, config, task.name, chosen, logger)
            plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"TensorRT {trt.__version__} builds no engine of {task.name}: {logger.reasons()}")
    if cache is not None:
        _save_timing_cache(config, cache)
    seconds = round(time.perf_counter() - started, 1)
    return bytes(plan), {"typing": typing, "flags": chosen, "build_seconds": seconds}


def _builder(trt: ModuleType, logger: Any) -> Any:
    try:
        return trt.Builder(logger)
    except TypeError:  # what its bindings make of a null pointer
        raise EngineError(f"TensorRT {trt.__version__} does not start: {logger.reasons()}") from None


def _network_flags(trt: ModuleType) -> tuple[int, str]:
    """The network's creation flags, and how its types come about: strong, implied or constrained."""
    names = trt.NetworkDefinitionCreationFlag
    # Without it 8.6 makes a network of the kind before ONNX; later versions have no other kind.
    flags = 1 << int(names.EXPLICIT_BATCH) if hasattr(names, "EXPLICIT_BATCH") else 0
    if hasattr(names, "STRONGLY_TYPED"):
        return flags | 1 << int(names.STRONGLY_TYPED), "strong"
    return flags, "constrained" if hasattr(trt.BuilderFlag, "FP16") else "implied"


def _set_precision(trt: ModuleType, config: Any, network: Any, task: BuildTask, typing: str) -> list[str]:
    chosen: list[str] = []
    if task.precision == "fp32":
        # TF32 is on unless cleared and would round a float32 file's products to 10 bits.
        config.clear_flag(trt.BuilderFlag.TF32)
        return chosen
    if typing == "constrained":
        if task.precision != "fp16":
            raise EngineError(f"TensorRT {trt.__version__} has no {task.precision}; export with fp16.")
        for name in ("FP16", _OBEY):
            config.set_flag(getattr(trt.BuilderFlag, name))
            chosen.append(name)
        _hold_to_types(trt, network, task.graph.types)
    # The float32 edges of a file in reduced precision lose no more to TF32 than its blocks to their type.
    config.set_flag(trt.BuilderFlag.TF32)
    return [*chosen, "TF32"]


def _prefer_types(trt: ModuleType, config: Any, name: str, chosen: list[str], logger: Any) -> list[str]:
    """For 8.6, which gives up where no form of some layer has the type that it is held to.

    What becomes of the types is seen when the engine is read back and compared with its file.
    """
    _log.warning(
        "TensorRT %s cannot hold every layer of %s to the file's types (%s); it is built again, with the "
        "types preferred where they cannot be had",
        trt.__version__,
        name,
        logger.reasons(),
    )
    config.clear_flag(getattr(trt.BuilderFlag, _OBEY))
    config.set_flag(getattr(trt.BuilderFlag, _PREFER))
    return [_PREFER if flag == _OBEY else flag for flag in chosen]


def _hold_to_types(trt: ModuleType, network: Any, types: dict[str, str]) -> None:
    """Constrain every layer whose outputs the graph gives a type: norms stay float32, products float16."""
    kinds = {"fp32": trt.DataType.FLOAT, "fp16": trt.DataType.HALF}
    free = [getattr(trt.LayerType, name) for name in _UNCONSTRAINED if hasattr(trt.LayerType, name)]
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        outputs = [kinds.get(types.get(layer.get_output(i).name, "")) for i in range(layer.num_outputs)]
        if layer.type in free or not outputs or None in outputs:
            continue
        layer.precision = outputs[0]
        for position, kind in enumerate(outputs):
            layer.set_output_type(position, kind)


def _set_options(trt: ModuleType, config: Any, options: TensorrtOptions) -> list[str]:
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the engine is read back through it
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * _MIB)
    if options.level is not None:
        config.builder_optimization_level = options.level
    if options.hardware != "none":
        config.hardware_compatibility_level = required(
            trt.HardwareCompatibilityLevel,
            options.hardware.upper(),
            trt.__version__,
            f"engines for {options.hardware}",
        )
    wanted = {
        "VERSION_COMPATIBLE": options.version_compatible,
        "STRIP_PLAN": options.strip,
        "REFIT": options.refit,
        # A stripped engine gets the very weights that it was built with. That costs it nothing, and some
        # versions compute wrongly with the other flag (11.3: biases of matrix products are lost).
        "REFIT_IDENTICAL": options.strip and not options.refit,
    }
    chosen = [name for name, asked in wanted.items() if asked]
    for name in chosen:
        config.set_flag(required(trt.BuilderFlag, name, trt.__version__, f"with {name}"))
    _set_sources(trt, config)
    return chosen


def _set_sources(trt: ModuleType, config: Any) -> None:
    if hasattr(trt.PreviewFeature, "PROFILE_SHARING_0806"):
        # Lets several contexts use one profile; later versions do without asking.
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    if hasattr(trt.TacticSource, "CUBLAS"):
        # cuBLAS and cuDNN would have to be installed wherever the engine runs.
        names = ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")
        config.set_tactic_sources(sum(1 << int(getattr(trt.TacticSource, name)) for name in names))


def _timing_cache(config: Any, path: Path | None) -> Path | None:
    if path is None:
        return None
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise EngineError(f"timing cache {path} cannot be read: {error.strerror or error}.") from None
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        raise EngineError(
            f"{path} is no timing cache of this version of TensorRT and this GPU; remove it or name another."
        )
    return path


def _save_timing_cache(config: Any, path: Path) -> None:
    try:
        with atomic_write(path) as file:
            file.write(bytes(config.get_timing_cache().serialize()))
    except OSError as error:
        raise EngineError(f"timing cache {path} cannot be written: {error.strerror or error}.") from None


@contextlib.contextmanager
def _signs_of_life(name: str) -> Iterator[None]:
    """A remark a minute: the builder itself is silent for most of its time."""
    done = threading.Event()
    started = time.perf_counter()

    def remark() -> None:
        while not done.wait(_SECONDS_BETWEEN_SIGNS):
            _log.info("TensorRT has been building %s for %.0f s", name, time.perf_counter() - started)

    thread = threading.Thread(target=remark, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
