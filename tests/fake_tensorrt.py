"""A fake of the module `tensorrt` in the versions 8.6, 10 and 11. It does not use TensorRT.

It records the calls of our code, and has exactly the names of each version's public headers. Its networks and
engines are in fake_tensorrt_network.py and fake_tensorrt_engine.py.
"""

from __future__ import annotations

import enum
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from fake_gpu import FakeGpu
from fake_tensorrt_engine import Engine
from fake_tensorrt_network import ConstantLayer, Network, Parser, ParserRefitter, Refitter
from fake_tensorrt_recorder import Recorder

from vim_deploy.engines.fusion.domain import FUSED_VERSION

_FLAGS = {
    8: "FP16 INT8 DEBUG GPU_FALLBACK STRICT_TYPES REFIT DISABLE_TIMING_CACHE TF32 SPARSE_WEIGHTS "
    "SAFETY_SCOPE OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS DIRECT_IO REJECT_EMPTY_ALGORITHMS "
    "ENABLE_TACTIC_HEURISTIC VERSION_COMPATIBLE EXCLUDE_LEAN_RUNTIME FP8",
    10: "FP16 INT8 DEBUG GPU_FALLBACK REFIT DISABLE_TIMING_CACHE TF32 SPARSE_WEIGHTS SAFETY_SCOPE "
    "OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS DIRECT_IO REJECT_EMPTY_ALGORITHMS "
    "VERSION_COMPATIBLE EXCLUDE_LEAN_RUNTIME FP8 ERROR_ON_TIMING_CACHE_MISS BF16 DISABLE_COMPILATION_CACHE "
    "STRIP_PLAN REFIT_IDENTICAL WEIGHT_STREAMING",
    11: "DEBUG GPU_FALLBACK REFIT DISABLE_TIMING_CACHE TF32 SPARSE_WEIGHTS VERSION_COMPATIBLE "
    "EXCLUDE_LEAN_RUNTIME ERROR_ON_TIMING_CACHE_MISS DISABLE_COMPILATION_CACHE STRIP_PLAN REFIT_IDENTICAL "
    "WEIGHT_STREAMING",
}
_NETWORK = {8: "EXPLICIT_BATCH EXPLICIT_PRECISION", 10: "EXPLICIT_BATCH STRONGLY_TYPED", 11: "STRONGLY_TYPED"}
_HARDWARE = {8: "NONE AMPERE_PLUS", 10: "NONE AMPERE_PLUS", 11: "NONE AMPERE_PLUS SAME_COMPUTE_CAPABILITY"}
_SOURCES = {
    8: "CUBLAS CUBLAS_LT CUDNN EDGE_MASK_CONVOLUTIONS JIT_CONVOLUTIONS",
    10: "CUBLAS CUBLAS_LT CUDNN EDGE_MASK_CONVOLUTIONS JIT_CONVOLUTIONS",
    11: "EDGE_MASK_CONVOLUTIONS JIT_CONVOLUTIONS",
}
_PREVIEWS = {8: "PROFILE_SHARING_0806", 10: "PROFILE_SHARING_0806", 11: "ALIASED_PLUGIN_IO_10_03"}
_TYPES = {8: "FLOAT HALF INT8 INT32 BOOL"}
_TYPES[10] = _TYPES[11] = _TYPES[8] + " UINT8 FP8 BF16 INT64 INT4"
_VERSIONS = {8: "8.6.0", 10: "10.13.0", 11: "11.1.0"}


def _enumeration(name: str, members: str) -> Any:
    return enum.IntEnum(name, members.split(), start=0)


def fake(major: int, gpu: FakeGpu, recorder: Recorder, strongly_typed_flag: bool = True) -> Any:
    """The module. `strongly_typed_flag` False: 11 without its deprecated flag."""
    trt: Any = ModuleType("tensorrt")
    trt.__version__ = _VERSIONS[major]
    trt.__spec__ = ModuleSpec("tensorrt", None)  # PyTorch looks for it
    network = _NETWORK[major] if strongly_typed_flag else "PREFER_JIT_PYTHON_PLUGINS"
    trt.NetworkDefinitionCreationFlag = _enumeration("NetworkDefinitionCreationFlag", network)
    trt.BuilderFlag = _enumeration("BuilderFlag", _FLAGS[major])
    trt.HardwareCompatibilityLevel = _enumeration("HardwareCompatibilityLevel", _HARDWARE[major])
    trt.TacticSource = _enumeration("TacticSource", _SOURCES[major])
    trt.PreviewFeature = _enumeration("PreviewFeature", _PREVIEWS[major])
    trt.DataType = _enumeration("DataType", _TYPES[major])
    trt.LayerType = _enumeration(
        "LayerType", "CONVOLUTION CAST ELEMENTWISE PLUGIN_V2 CONSTANT SHAPE MATRIX_MULTIPLY"
    )
    trt.MemoryPoolType = _enumeration("MemoryPoolType", "WORKSPACE DLA_MANAGED_SRAM")
    trt.ProfilingVerbosity = _enumeration("ProfilingVerbosity", "LAYER_NAMES_ONLY NONE DETAILED")
    trt.LayerInformationFormat = _enumeration("LayerInformationFormat", "ONELINE JSON")
    trt.ILogger = _logger_base()
    registry = _Registry(major, recorder)
    trt.get_plugin_registry = lambda: registry
    trt.init_libnvinfer_plugins = lambda logger, namespace: True
    trt.Builder = lambda logger: _builder(trt, major, recorder, logger)
    trt.OnnxParser = lambda made, logger: Parser(made, recorder)
    trt.Runtime = lambda logger: _Runtime(major, gpu, recorder)
    trt.WeightsRole = _enumeration("WeightsRole", "KERNEL BIAS SHIFT SCALE CONSTANT ANY")
    trt.IConstantLayer = ConstantLayer
    if major >= 10:
        trt.Refitter = lambda engine, logger: Refitter(engine, recorder)
        trt.OnnxParserRefitter = lambda refitter, logger: ParserRefitter(refitter, recorder)
    return trt


def _logger_base() -> Any:
    class ILogger:
        Severity = _enumeration("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

        def __init__(self) -> None:
            pass

    return ILogger


class _Registry:
    def __init__(self, major: int, recorder: Recorder) -> None:
        self._recorder = recorder
        self.creators: list[Any] = []
        setattr(self, "all_creators" if major >= 10 else "plugin_creator_list", self.creators)

    def load_library(self, path: str) -> None:
        self._recorder.calls.append(("load_library", path))
        if self._recorder.refuses_plugin:
            return
        plugins = [("vim_deploy", "SelectiveScan", "2")]
        plugins += [("vim_deploy.fused", name, str(FUSED_VERSION)) for name in ("ScanPair", "CausalConvPair")]
        for name_space, name, version in plugins:
            creator: Any = ModuleType("creator")
            creator.plugin_namespace, creator.name, creator.plugin_version = name_space, name, version
            self.creators.append(creator)


def _builder(trt: Any, major: int, recorder: Recorder, logger: Any) -> _Builder:
    if recorder.cuda_error:
        logger.log(trt.ILogger.Severity.ERROR, recorder.cuda_error)
        raise TypeError("pybind11::init(): factory function returned nullptr")
    return _Builder(trt, major, recorder)


class _Builder:
    def __init__(self, trt: Any, major: int, recorder: Recorder) -> None:
        self._trt, self._major, self._recorder = trt, major, recorder

    def create_network(self, flags: int) -> Any:
        self._recorder.calls.append(("create_network", flags))
        strong = getattr(self._trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return Network(self._trt, self._major == 11 or (strong is not None and bool(flags >> strong & 1)))

    def create_builder_config(self) -> Any:
        return _Config(self._recorder)

    def create_optimization_profile(self) -> Any:
        return _Profile(self._recorder)

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        self._recorder.layers = network.layers
        self._recorder.calls.append(("build_serialized_network", set(self._recorder.flags)))
        cannot_obey = self._recorder.cannot_obey and "OBEY_PRECISION_CONSTRAINTS" in self._recorder.flags
        if self._recorder.fails_to_build or cannot_obey:
            return None
        # Without a flag 8.6 builds fp32; so did newer versions with outdated packages.
        typed = network.strong or not self._recorder.flags.isdisjoint(("FP16", "INT8"))
        keeps_types = typed and not self._recorder.ignores_types
        return bytes([keeps_types]) + network.data


class _Config:
    def __init__(self, recorder: Recorder) -> None:
        self.__dict__["_recorder"] = recorder

    def __setattr__(self, name: str, value: Any) -> None:
        self._recorder.calls.append((name, value))

    def __getattr__(self, name: str) -> Any:
        def record(*arguments: Any) -> Any:
            self._recorder.calls.append((name, arguments))

        return record

    def set_flag(self, flag: Any) -> None:
        self._recorder.flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self._recorder.flags.discard(flag.name)
        self._recorder.cleared.add(flag.name)

    def add_optimization_profile(self, profile: Any) -> int:
        return 0

    def create_timing_cache(self, data: bytes) -> Any:
        self._recorder.calls.append(("create_timing_cache", data))
        return None if data == b"of another version" else object()

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        return True

    def get_timing_cache(self) -> Any:
        cache: Any = ModuleType("cache")
        cache.serialize = lambda: b"timings"
        return cache


class _Profile:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def set_shape(self, name: str, *shapes: Any) -> None:
        self._recorder.calls.append(("set_shape", (name, *shapes)))


class _Runtime:
    def __init__(self, major: int, gpu: FakeGpu, recorder: Recorder) -> None:
        # TensorRT's Runtime terminates the process.
        assert gpu.count and not recorder.cuda_error, "Runtime was created although CUDA does not start"
        self._gpu, self._recorder = gpu, recorder
        self._registry = _Registry(major, recorder)
        self.engine_host_code_allowed = False

    def get_plugin_registry(self) -> _Registry:
        return self._registry

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        self._recorder.calls.append(("engine_host_code_allowed", self.engine_host_code_allowed))
        # The runtime in a version-compatible engine does not see the global registry.
        if self.engine_host_code_allowed and not self._registry.creators:
            return None
        return Engine(plan, self._gpu, self._recorder) if plan[:1] in (b"\0", b"\1") else None
