"""The smallest models that show whether a provider and the operator really compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vim_deploy.ops.library import CONTRACT_VERSION, OP_DOMAIN, OP_NAME


def identity_runs(provider: str) -> str:
    """Why doubling a number does not work on a provider; empty when it does."""
    import onnxruntime

    names = [provider] if provider.startswith("CPU") else [provider, "CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(_doubling(), _options(onnxruntime), providers=names)
        if provider not in session.get_providers():
            return f"does not start; the runtime went on with {', '.join(session.get_providers())}"
        (found,) = session.run(None, {"x": np.array([21], np.float32)})
    except Exception as error:  # the runtime's own exceptions have no common base
        return " ".join(str(error).split())[:300]
    return "" if found.tolist() == [42] else f"doubling 21 gave {found.tolist()}"


def scan_runs(library: Path) -> str:
    """Why one step of the scan is not right in ONNX Runtime; empty when it is."""
    import onnxruntime

    options = _options(onnxruntime)
    try:
        options.register_custom_ops_library(str(library))
        session = onnxruntime.InferenceSession(_one_scan(), options, providers=["CPUExecutionProvider"])
        values = _scan_values()
        (found,) = session.run(None, values)
    except Exception as error:  # the runtime's own exceptions have no common base
        return " ".join(str(error).split())[:300]
    difference = float(np.abs(found - _one_step(**values)).max())
    return "" if difference < 1e-5 else f"one step of the scan is wrong by {difference:.1e}"


def _options(onnxruntime: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return options


def _doubling() -> bytes:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "doubling", [x], [y])
    return _model(graph, [helper.make_opsetid("", 17)])


_SHAPES = {
    "u": (1, 1, 8),
    "delta": (1, 1, 8),
    "A": (8, 16),
    "B": (1, 1, 16),
    "C": (1, 1, 16),
    "D": (8,),
    "z": (1, 1, 8),
    "delta_bias": (8,),
}


def _one_scan() -> bytes:
    from onnx import TensorProto, helper

    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in _SHAPES.items()
    ]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, _SHAPES["u"])
    node = helper.make_node(OP_NAME, list(_SHAPES), ["y"], domain=OP_DOMAIN, delta_softplus=0, reverse=0)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(OP_DOMAIN, CONTRACT_VERSION)]
    return _model(helper.make_graph([node], "scan", inputs, [y]), opsets)


def _model(graph: Any, opsets: list[Any]) -> bytes:
    from onnx import helper

    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(model.SerializeToString())


def _scan_values() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    values = {name: generator.random(shape, np.float32) for name, shape in _SHAPES.items()}
    values["A"] = -values["A"]
    return values


def _one_step(
    u: np.ndarray,
    delta: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    D: np.ndarray,
    z: np.ndarray,
    delta_bias: np.ndarray,
) -> np.ndarray:
    """From a state of zero A has no say: y = (C·B (delta + bias) u + D u) silu(z)."""
    step = (delta + delta_bias) * u * (B * C).sum(-1, keepdims=True)
    result: np.ndarray = (step + D * u) * z / (1 + np.exp(-z))
    return result
