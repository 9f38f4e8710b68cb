"""Runs a graph of one SelectiveScan node in TensorRT and compares the output with float64.

    python tools/gpu_check/one_node.py LIBRARY RESULT.json

Works with TensorRT 8.6 (libvim_deploy_trt8.so) and with 10 and 11 (libvim_deploy_trt.so). Needs numpy, onnx,
tensorrt and a CUDA runtime library; device memory is allocated through ctypes.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from vim_deploy.ops.signature import (
    CONTRACT_VERSION,
    INPUTS,
    OP_DOMAIN,
    OP_NAME,
    input_shapes,
)

SIZES = {"batch": 2, "length": 197, "channels": 384, "state": 16}
FLOAT32_INPUTS = tuple(spec.name for spec in INPUTS if spec.float32)
SHAPES = input_shapes(SIZES)
TOLERANCE = {"float32": 5e-6, "float16": 6e-4}


def make_graph(dtype: str, reverse: bool) -> bytes:
    """An ONNX file with only this node, whose tensors are the graph's inputs."""
    import onnx
    from onnx import TensorProto, helper

    kind = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}[dtype]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT if name in FLOAT32_INPUTS else kind, shape)
        for name, shape in SHAPES.items()
    ]
    attributes: dict[str, Any] = {"delta_softplus": 1, "reverse": int(reverse), "groups": 1}
    attributes |= {"plugin_version": str(CONTRACT_VERSION), "plugin_namespace": OP_DOMAIN}
    node = helper.make_node(OP_NAME, list(SHAPES), ["y"], domain=OP_DOMAIN, **attributes)
    output = helper.make_tensor_value_info("y", kind, SHAPES["u"])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(OP_DOMAIN, CONTRACT_VERSION)]
    graph = helper.make_graph([node], "one_node", inputs, [output])
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return model.SerializeToString()


def make_inputs(dtype: str, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    values = {name: random.standard_normal(shape) for name, shape in SHAPES.items()}
    values["A"] = -np.exp(values["A"])
    return {
        name: value.astype(np.float32 if name in FLOAT32_INPUTS else dtype) for name, value in values.items()
    }


def expected(inputs: dict[str, np.ndarray], reverse: bool) -> np.ndarray:
    """The contract in float64, (batch, length, channels)."""
    x = {name: value.astype(np.float64) for name, value in inputs.items()}
    dt = np.logaddexp(0, x["delta"] + x["delta_bias"])
    state = np.zeros((*x["u"][:, 0].shape, x["A"].shape[1]))
    y = np.empty_like(x["u"])
    length = y.shape[1]
    for t in reversed(range(length)) if reverse else range(length):
        gain = (dt[:, t] * x["u"][:, t])[..., None] * x["B"][:, t, None]
        state = np.exp(dt[:, t, :, None] * x["A"]) * state + gain
        y[:, t] = (state * x["C"][:, t, None]).sum(-1) + x["D"] * x["u"][:, t]
    result: np.ndarray = y * x["z"] / (1 + np.exp(-x["z"]))
    return result


class Cuda:
    """The required functions of the CUDA runtime."""

    def __init__(self) -> None:
        names = ["libcudart.so", "libcudart.so.13", "libcudart.so.12", "/usr/local/cuda/lib64/libcudart.so"]
        for name in filter(None, [ctypes.util.find_library("cudart"), *names]):
            try:
                self._library = ctypes.CDLL(name)
                return
            except OSError:
                continue
        raise SystemExit("no CUDA runtime library (libcudart.so) was found")

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            raise SystemExit(f"{name} failed with CUDA error {status}")

    def check_device(self) -> None:
        """TensorRT's runtime crashes without a device."""
        count = ctypes.c_int()
        self.call("cudaGetDeviceCount", ctypes.byref(count))
        if count.value == 0:
            raise SystemExit("no CUDA device was found")

    def upload(self, array: np.ndarray) -> int:
        pointer = ctypes.c_void_p()
        self.call("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(array.nbytes))
        source = array.ctypes.data_as(ctypes.c_void_p)
        self.call("cudaMemcpy", pointer, source, ctypes.c_size_t(array.nbytes), 1)
        return int(pointer.value or 0)

    def download(self, pointer: int, array: np.ndarray) -> None:
        target = array.ctypes.data_as(ctypes.c_void_p)
        self.call("cudaMemcpy", target, ctypes.c_void_p(pointer), ctypes.c_size_t(array.nbytes), 2)


def build(trt: Any, logger: Any, graph: bytes, dtype: str) -> bytes:
    """The serialized engine. TensorRT 10 and later use the graph's types; 8.6 requires the flags."""
    builder = trt.Builder(logger)
    flags = 0
    for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):
        flag = getattr(trt.NetworkDefinitionCreationFlag, name, None)
        flags |= 0 if flag is None else 1 << int(flag)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        raise SystemExit("\n".join(str(parser.get_error(i)) for i in range(parser.num_errors)))
    config = builder.create_builder_config()
    if trt.__version__.startswith("8.") and dtype == "float16":
        config.set_flag(trt.BuilderFlag.FP16)
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise SystemExit(f"TensorRT failed to build the {dtype} graph; see its log above")
    return bytes(plan)


def run(trt: Any, logger: Any, cuda: Cuda, plan: bytes, inputs: dict[str, np.ndarray]) -> np.ndarray:
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    context = engine.create_execution_context()
    y = np.full(SHAPES["u"], np.nan, inputs["u"].dtype)
    memory = {name: cuda.upload(array) for name, array in {**inputs, "y": y}.items()}
    for name, pointer in memory.items():
        context.set_tensor_address(name, pointer)
    stream = ctypes.c_void_p()
    cuda.call("cudaStreamCreate", ctypes.byref(stream))
    if not context.execute_async_v3(stream.value):
        raise SystemExit("TensorRT failed to run the engine; see its log above")
    cuda.call("cudaStreamSynchronize", stream)
    cuda.download(memory["y"], y)
    return y


def main() -> int:
    library, result_path = sys.argv[1:]
    cuda = Cuda()
    cuda.check_device()
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.WARNING)
    if trt.get_plugin_registry().load_library(library) is None:
        raise SystemExit(f"{library} could not be loaded as a plugin library of TensorRT {trt.__version__}")
    errors = {}
    for dtype in TOLERANCE:
        for reverse in (False, True):
            inputs = make_inputs(dtype, seed=int(reverse))
            plan = build(trt, logger, make_graph(dtype, reverse), dtype)
            want = expected(inputs, reverse)
            difference = np.abs(run(trt, logger, cuda, plan, inputs).astype(np.float64) - want).max()
            errors[f"{dtype} {'reverse' if reverse else 'forward'}"] = float(difference / np.abs(want).max())
    good = all(error <= TOLERANCE[case.split()[0]] for case, error in errors.items())
    result = {"step": "one node", "tensorrt": trt.__version__, "errors": errors, "passed": good}
    Path(result_path).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
