"""A one-node model that tests whether ONNX Runtime runs the operator correctly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vim_deploy.engines.onnxruntime.providers import small_model
from vim_deploy.engines.onnxruntime.session import CPU, make_session
from vim_deploy.ops.signature import CONTRACT_VERSION, FLAGS, OP_DOMAIN, OP_NAME, input_shapes


def scan_runs(library: Path, provider: str = CPU) -> str:
    """Why a scan of one step fails or is wrong in ONNX Runtime; empty if it is correct."""
    providers = [provider] if provider == CPU else [provider, CPU]
    try:
        session = make_session(_one_scan(), providers=providers, library=library, threads=1, quiet=True)
        values = _scan_values()
        (found,) = session.run(None, values)
    except Exception as error:  # the runtime's own exceptions have no common base
        return " ".join(str(error).split())[:300]
    difference = float(np.abs(found - _one_step(values)).max())
    return "" if difference < 1e-5 else f"the test scan is wrong by {difference:.1e}"


_SHAPES = input_shapes({"batch": 1, "length": 1, "channels": 8, "state": 16})


def _one_scan() -> bytes:
    from onnx import TensorProto, helper

    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in _SHAPES.items()
    ]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, _SHAPES["u"])
    attributes: dict[str, Any] = {**dict.fromkeys(FLAGS, 0), "groups": 1}
    node = helper.make_node(OP_NAME, list(_SHAPES), ["y"], domain=OP_DOMAIN, **attributes)
    graph = helper.make_graph([node], "scan", inputs, [y])
    return small_model(graph, helper.make_opsetid(OP_DOMAIN, CONTRACT_VERSION))


def _scan_values() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    values = {name: generator.random(shape, np.float32) for name, shape in _SHAPES.items()}
    values["A"] = -values["A"]
    return values


def _one_step(x: dict[str, np.ndarray]) -> np.ndarray:
    """The first step does not depend on A: y = (C·B (delta + bias) u + D u) silu(z)."""
    step = (x["delta"] + x["delta_bias"]) * x["u"] * (x["B"] * x["C"]).sum(-1, keepdims=True)
    result: np.ndarray = (step + x["D"] * x["u"]) * x["z"] / (1 + np.exp(-x["z"]))
    return result
