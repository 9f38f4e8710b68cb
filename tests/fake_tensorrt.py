"""A fake of the module `tensorrt` in the versions 8.6, 10 and 11. It does not use TensorRT.

It records the calls of our code, and has exactly the names of each version's public headers.

Its "engine" is the ONNX graph, run by ONNX Runtime through the function body.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from fake_gpu import FakeGpu
from prepared_graph import runner

from vim_deploy.engines.fusion.domain import CONV_PAIR, FUSED_DOMAIN, SCAN_PAIR
from vim_deploy.ops.function_body import function_body

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
_SPELLED = {1: "Float", 10: "Half", 16: "BFloat16"}


@dataclass
class Recorder:
    """The recorded calls, and how the fake behaves."""

    calls: list[tuple[str, Any]] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    cleared: set[str] = field(default_factory=set)
    layers: list[Any] = field(default_factory=list)
    ignores_types: bool = False  # always builds fp32
    refuses_plugin: bool = False  # the registry silently ignores the plugin
    cuda_error: str = ""  # CUDA does not start: what TensorRT logs
    fails_to_parse: bool = False
    fails_to_build: bool = False
    cannot_obey: bool = False  # 8.6: a layer has no implementation in its type
    lacking_weights: tuple[str, ...] = ()  # weights that refitting does not find
    created_weights: tuple[str, ...] = ()  # weights of the engine that are not in the graph
    renames_constants: bool = False  # the engine's names of these layers are not those of the network
    own_names: bool = False  # layers have new names, with the graph's names as metadata
    tensor_fields: Any = None  # function from a type's name to the tensor's fields; None: as in 10
    plain_names: bool = False  # layer information without types

    def named(self, name: str) -> list[Any]:
        return [value for key, value in self.calls if key == name]


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
    trt.OnnxParser = lambda made, logger: _Parser(made, recorder)
    trt.Runtime = lambda logger: _Runtime(major, gpu, recorder)
    trt.WeightsRole = _enumeration("WeightsRole", "KERNEL BIAS SHIFT SCALE CONSTANT ANY")
    trt.IConstantLayer = _ConstantLayer
    if major >= 10:
        trt.Refitter = lambda engine, logger: _Refitter(engine, recorder)
        trt.OnnxParserRefitter = lambda refitter, logger: _ParserRefitter(refitter, recorder)
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
        plugins += [("vim_deploy.fused", name, "4") for name in ("ScanPair", "CausalConvPair")]
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
        return _Network(self._trt, self._major == 11 or (strong is not None and bool(flags >> strong & 1)))

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
        # Without the flag 8.6 builds fp32; so did newer versions with outdated packages.
        keeps_types = (network.strong or "FP16" in self._recorder.flags) and not self._recorder.ignores_types
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


_OUR_PLUGINS = ("SelectiveScan", SCAN_PAIR, CONV_PAIR)
_KINDS = {"Cast": "CAST", "Conv": "CONVOLUTION", "Shape": "SHAPE"}
_KINDS |= dict.fromkeys(_OUR_PLUGINS, "PLUGIN_V2")


def _layers(trt: Any, model: onnx.ModelProto) -> list[_Layer]:
    """One layer for each node; for a Gemm, like the parser, a matmul with an unnamed output, and a sum."""
    types = _element_types(model)
    layers = []
    for number, node in enumerate(model.graph.node):
        dtypes = [_data_type(trt, types.get(name)) for name in node.output]
        kind = _KINDS.get(node.op_type, "ELEMENTWISE")
        if node.op_type == "Gemm":
            unnamed = f"(Unnamed Layer* {number}) [Matrix Multiply]_output"
            layers.append(_Layer(trt, node.name, "MATRIX_MULTIPLY", {unnamed: dtypes[0]}))
            node_name = f"(Unnamed Layer* {number + 1}) [ElementWise]"
        else:
            node_name = node.name
        layers.append(_Layer(trt, node_name, kind, dict(zip(node.output, dtypes, strict=True))))
    return layers


def _data_type(trt: Any, element_type: int | None) -> Any:
    names = {onnx.TensorProto.FLOAT: "FLOAT", onnx.TensorProto.FLOAT16: "HALF"}
    return trt.DataType[names.get(element_type, "INT32")]


def _element_types(model: onnx.ModelProto) -> dict[str, int]:
    """ONNX element types of all tensors."""
    complete = onnx.ModelProto()
    complete.CopyFrom(model)
    complete.functions.append(function_body())
    fused = [node for node in model.graph.node if node.domain == FUSED_DOMAIN]
    while True:
        graph = onnx.shape_inference.infer_shapes(complete).graph
        types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
        # ONNX does not know the fused operators, whose outputs have the type of their first input.
        added = [
            onnx.helper.make_tensor_value_info(name, types[node.input[0]], None)
            for node in fused
            for name in node.output
            if node.input[0] in types and name not in types
        ]
        if not added:
            return types | {item.name: item.data_type for item in model.graph.initializer}
        complete.graph.value_info.extend(added)


class _Layer:
    def __init__(self, trt: Any, name: str, kind: str, outputs: dict[str, Any]) -> None:
        self.name, self.type = name, trt.LayerType[kind]
        self.precision: Any = None
        self.output_types: dict[int, Any] = {}
        self._outputs = list(outputs.items())
        self.num_outputs = len(self._outputs)
        self.values: Any = None

    def get_output(self, index: int) -> Any:
        tensor: Any = ModuleType("tensor")
        tensor.name, tensor.dtype = self._outputs[index]
        return tensor

    def set_output_type(self, index: int, kind: Any) -> None:
        self.output_types[index] = kind


class _ConstantLayer(_Layer):
    @property
    def weights(self) -> np.ndarray:
        return self.values


def _constant_name(weights: str) -> str:
    """The name of the layer with weights that the parser made."""
    return f"(Unnamed Layer* {weights}) [Constant]"


class _Network:
    def __init__(self, trt: Any, strong: bool) -> None:
        self.trt, self.strong, self.data, self.layers = trt, strong, b"", []

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def get_layer(self, index: int) -> Any:
        return self.layers[index]


class _Parser:
    num_errors = 1

    def __init__(self, network: Any, recorder: Recorder) -> None:
        self._network, self._recorder = network, recorder

    def parse(self, data: bytes) -> bool:
        model = onnx.load_model_from_string(data)
        assert not model.functions
        self._network.data = data
        self._network.layers = _layers(self._network.trt, model)
        for position, name in enumerate(self._recorder.created_weights):
            output = {f"{_constant_name(name)}_output": self._network.trt.DataType.INT32}
            layer = _Layer(self._network.trt, _constant_name(name), "CONSTANT", output)
            layer.values = np.array([position, -3, 0])
            self._network.layers.append(layer)
        return not self._recorder.fails_to_parse

    def get_error(self, index: int) -> str:
        return "node 7: no importer"


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
        return _Engine(plan, self._gpu, self._recorder) if plan[:1] in (b"\0", b"\1") else None


class _Engine:
    def __init__(self, plan: bytes, gpu: FakeGpu, recorder: Recorder) -> None:
        self.keeps_types, self.gpu, self.recorder = bool(plan[0]), gpu, recorder
        self.model = onnx.load_model_from_string(plan[1:])
        self._run = runner(self.model)
        self.device_memory_size = 7 << 20

    def compute(self, pixels: np.ndarray) -> list[np.ndarray]:
        return self._run(pixels)

    def create_execution_context(self) -> Any:
        return _Context(self)

    def create_engine_inspector(self) -> Any:
        return _Inspector(self)


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self._engine, self._addresses, self._shapes = engine, {}, {}

    def set_tensor_address(self, name: str, address: int) -> None:
        self._addresses[name] = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = tuple(shape)
        results = self._engine.compute(np.zeros(shape, np.float32))
        for output, values in zip(self._engine.model.graph.output, results, strict=True):
            self._shapes[output.name] = values.shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def execute_async_v3(self, stream: int) -> bool:
        gpu, shape = self._engine.gpu, self._shapes["pixels"]

        def work() -> None:
            pixels = gpu.read(self._addresses["pixels"], shape)
            results = self._engine.compute(pixels)
            for output, values in zip(self._engine.model.graph.output, results, strict=True):
                kind = onnx.helper.tensor_dtype_to_np_dtype(output.type.tensor_type.elem_type)
                gpu.write(self._addresses[output.name], values.astype(kind))

        gpu.enqueue(stream, work)
        return True

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return self._shapes


class _Inspector:
    execution_context: Any = None

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine

    def get_engine_information(self, form: Any) -> str:
        assert form.name == "JSON"
        if self._engine.recorder.plain_names:
            return json.dumps({"Layers": ["layer 1", "layer 2"]})
        # TensorRT says "N/A due to dynamic shapes" without a context that has shapes.
        known = self.execution_context is not None and bool(self.execution_context.shapes)
        model = self._engine.model
        types = _element_types(model)

        def tensor(name: str) -> dict[str, Any]:
            kind = types.get(name, 1) if self._engine.keeps_types else 1
            text = _SPELLED.get(kind, "Int32") if known else "N/A due to dynamic shapes"
            fields = self._engine.recorder.tensor_fields or (lambda text: {"Format/Datatype": text})
            return {"Name": name, **fields(text)}

        # TensorRT fuses the casts around a matmul that accumulates in float32.
        fused = {}
        for node in model.graph.node:
            if "/Cast_input" in node.name:
                fused[node.output[0]] = node.input[0]
            elif "/Cast_output" in node.name:
                fused[node.input[0]] = node.output[0]
        layers = [
            {
                **self._named(node.name),
                "TacticName": "sm90_xmma_gemm_f16f16_f16f32",
                "LayerType": "PluginV3" if node.op_type in (*_OUR_PLUGINS, "RoiAlign") else "kgen",
                "Inputs": [tensor(fused.get(name, name)) for name in node.input],
                "Outputs": [tensor(fused.get(name, name)) for name in node.output],
            }
            for node in model.graph.node
        ]
        return json.dumps({"Layers": layers, "Bindings": ["pixels", "logits"]})

    def _named(self, name: str) -> dict[str, str]:
        if self._engine.recorder.own_names:
            return {"Name": f"__myl_{abs(hash(name))}", "Metadata": f"[ONNX Layer: {name}]"}
        return {"Name": name}


class _Refitter:
    def __init__(self, engine: Any, recorder: Recorder) -> None:
        self._recorder = recorder
        renamed = "renamed " if recorder.renames_constants else ""
        self._created = {f"{renamed}{_constant_name(name)}": name for name in recorder.created_weights}

    def refit_cuda_engine(self) -> bool:
        self._recorder.calls.append(("refit_cuda_engine", ()))
        return not self.get_missing_weights()

    def get_missing_weights(self) -> list[str]:
        return [*self._recorder.lacking_weights, *self._created.values()]

    def get_all_weights(self) -> list[str]:
        return list(self._recorder.created_weights)

    def get_all(self) -> tuple[list[str], list[Any]]:
        return list(self._created), []

    def set_weights(self, layer: str, role: Any, weights: np.ndarray) -> bool:
        self._recorder.calls.append(("set_weights", (layer, role.name, weights.tolist())))
        del self._created[layer]
        return True


class _ParserRefitter:
    def __init__(self, refitter: Any, recorder: Recorder) -> None:
        self._recorder = recorder
        self.num_errors = len(recorder.created_weights)

    def refit_from_bytes(self, data: bytes) -> bool:
        self._recorder.calls.append(("refit_from_bytes", data))
        # As in the source of 10.1: every weight of the engine must be in the graph.
        return not self._recorder.created_weights

    def get_error(self, index: int) -> str:
        return "Failed to refit all the weights."
