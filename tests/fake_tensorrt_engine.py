"""Engines of the fake TensorRT: the ONNX graph, run by ONNX Runtime through the function body."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from fake_gpu import FakeGpu
from fake_tensorrt_network import OUR_PLUGINS, element_types
from fake_tensorrt_recorder import Recorder
from prepared_graph import runner

_SPELLED = {1: "Float", 3: "Int8", 10: "Half", 16: "BFloat16", 17: "FP8"}


class Engine:
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
    def __init__(self, engine: Engine) -> None:
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

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get_engine_information(self, form: Any) -> str:
        assert form.name == "JSON"
        if self._engine.recorder.plain_names:
            return json.dumps({"Layers": ["layer 1", "layer 2"]})
        # TensorRT says "N/A due to dynamic shapes" without a context that has shapes.
        known = self.execution_context is not None and bool(self.execution_context.shapes)
        model = self._engine.model
        types = element_types(model)

        def tensor(name: str) -> dict[str, Any]:
            kind = types.get(name, 1) if self._engine.keeps_types else 1
            text = _SPELLED.get(kind, "Int32") if known else "N/A due to dynamic shapes"
            fields = self._engine.recorder.tensor_fields or (lambda text: {"Format/Datatype": text})
            return {"Name": name, **fields(text)}

        # TensorRT fuses a matmul with the casts for accumulation in float32, and with DequantizeLinear.
        fused = {}
        for node in model.graph.node:
            if node.op_type == "DequantizeLinear" or "/Cast_input" in node.name:
                fused[node.output[0]] = node.input[0]
            elif "/Cast_output" in node.name:
                fused[node.input[0]] = node.output[0]
        layers = [
            {
                **self._named(node.name),
                "TacticName": "sm90_xmma_gemm_f16f16_f16f32",
                "LayerType": "PluginV3" if node.op_type in (*OUR_PLUGINS, "RoiAlign") else "kgen",
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
