"""Networks of the fake TensorRT, the parser that fills them, and refitting."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import onnx
from fake_tensorrt_recorder import Recorder
from prepared_graph import opset_of

from vim_deploy.engines.fusion.domain import CONV_PAIR, FUSED_DOMAIN, SCAN_PAIR
from vim_deploy.ops.function_body import function_body

OUR_PLUGINS = ("SelectiveScan", SCAN_PAIR, CONV_PAIR)
_KINDS = {"Cast": "CAST", "Conv": "CONVOLUTION", "Shape": "SHAPE"}
_KINDS |= dict.fromkeys(OUR_PLUGINS, "PLUGIN_V2")


def _layers(trt: Any, model: onnx.ModelProto) -> list[_Layer]:
    """One layer for each node; for a Gemm, like the parser, a matmul with an unnamed output, and a sum."""
    types = element_types(model)
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


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """ONNX element types of all tensors."""
    complete = onnx.ModelProto()
    complete.CopyFrom(model)
    complete.functions.append(function_body(opset=opset_of(model)))
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


class ConstantLayer(_Layer):
    @property
    def weights(self) -> np.ndarray:
        return self.values


def _constant_name(weights: str) -> str:
    """The name of the layer with weights that the parser made."""
    return f"(Unnamed Layer* {weights}) [Constant]"


class Network:
    def __init__(self, trt: Any, strong: bool) -> None:
        self.trt, self.strong, self.data, self.layers = trt, strong, b"", []

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def get_layer(self, index: int) -> Any:
        return self.layers[index]


class Parser:
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


class Refitter:
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


class ParserRefitter:
    def __init__(self, refitter: Any, recorder: Recorder) -> None:
        self._recorder = recorder
        self.num_errors = len(recorder.created_weights)

    def refit_from_bytes(self, data: bytes) -> bool:
        self._recorder.calls.append(("refit_from_bytes", data))
        # As in the source of 10.1: every weight of the engine must be in the graph.
        return not self._recorder.created_weights

    def get_error(self, index: int) -> str:
        return "Failed to refit all the weights."
