"""The smallest model that shows whether the operator really computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vim_deploy.engines.onnxruntime.providers import PROCESSOR, quiet_options, small_model
from vim_deploy.ops.signature import CONTRACT_VERSION, OP_DOMAIN, OP_NAME


def library_registers(library: Path) -> str:
    """Why ONNX Runtime does not take an operator library; empty when it does."""
    import onnxruntime

    try:
        quiet_options(onnxruntime).register_custom_ops_library(str(library))
    except Exception as error:  # the runtime's own exceptions have no common base
        return " ".join(str(error).split())[:300]
    return ""


def scan_runs(library: Path, provider: str = PROCESSOR) -> str:
    """Why one step of the scan is not right in ONNX Runtime; empty when it is."""
    import onnxruntime

    options = quiet_options(onnxruntime)
    try:
        options.register_custom_ops_library(str(library))
        names = [provider] if provider == PROCESSOR else [provider, PROCESSOR]
        session = onnxruntime.InferenceSession(_one_scan(), options, providers=names, enable_fallback=False)
        values = _scan_values()
        (found,) = session.run(None, values)
    except Exception as error:  # the runtime's own exceptions have no common base
        return " ".join(str(error).split())[:300]
    difference = float(np.abs(found - _one_step(**values)).max())
    return "" if difference < 1e-5 else f"one step of the scan is wrong by {difference:.1e}"


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
    graph = helper.make_graph([node], "scan", inputs, [y])
    return small_model(graph, helper.make_opsetid(OP_DOMAIN, CONTRACT_VERSION))


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
