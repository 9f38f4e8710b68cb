"""A lower bound of Vim's latency with these matmuls and this kernel: only its matmuls and its scans.

Both are openers (see vim_deploy/bench/worker.py) of a graph in ONNX Runtime, without convolutions, norms,
elementwise operators or copies. The scans run as operators and not through the Python binding, whose overhead
for 48 short calls would be significant. `Shape` nodes, which read no elements, keep unused outputs from being
removed. One image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vim_deploy.model.config import Directions, VimConfig
from vim_deploy.ops.library import ort_library
from vim_deploy.ops.signature import CONTRACT_VERSION, INPUT_NAMES, OP_DOMAIN, OP_NAME, input_shapes

if TYPE_CHECKING:
    import onnx

    from vim_deploy.bench.worker import Open, Run

_OPSET, _IR_VERSION = 17, 8
_TIME_STEP_BIAS = -3.0


class _Graph:
    """A graph with random weights and inputs."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.inputs: dict[str, np.ndarray] = {}
        self._random = np.random.default_rng(0)

    def random(self, *shape: int) -> np.ndarray:
        return self._random.standard_normal(shape, dtype=np.float32)

    def matmul(self, x: str, rows: int, columns: int) -> str:
        """Add x (length, rows) @ weight, the weight preserves the variance; returns the output's name."""
        name = f"matmul_{len(self.nodes)}"
        self.weights[f"{name}_weight"] = self.random(rows, columns) / np.float32(rows**0.5)
        return self.node("MatMul", [x, f"{name}_weight"], name)

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def keep(self, name: str) -> None:
        self.node("Shape", [name], f"shape_of_{name}")

    def model(self) -> onnx.ModelProto:
        from onnx import TensorProto, helper, numpy_helper

        shapes = [node.output[0] for node in self.nodes if node.op_type == "Shape"]
        self.node("Concat", shapes, "kept", axis=0)
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * value.ndim)
            for name, value in self.inputs.items()
        ]
        output = helper.make_tensor_value_info("kept", TensorProto.INT64, [None])
        weights = [numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        graph = helper.make_graph(self.nodes, "floor", inputs, [output], weights)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(OP_DOMAIN, CONTRACT_VERSION)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)

    def open(self, threads: int) -> Open:
        import onnxruntime

        def open_session() -> Run:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            # Otherwise identical scans would be merged.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.register_custom_ops_library(str(ort_library()))
            model = self.model().SerializeToString()
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            return lambda pixels: session.run(None, self.inputs)[0][None]

        return open_session


def matmuls(config: dict[str, Any], threads: int) -> Open:
    """All matmuls of a Vim with two directions, including the patch embedding."""
    return matmul_graph(VimConfig.from_dict(config)).open(threads)


def matmul_graph(vim: VimConfig) -> _Graph:
    _check(vim)
    graph = _Graph()
    graph.inputs = {
        "patches": graph.random(vim.num_tokens, vim.channels * vim.patch_size**2),
        "u": graph.random(vim.num_tokens, vim.inner),
        "time_steps": graph.random(vim.num_tokens, vim.dt_rank),
        "pooled": graph.random(1, vim.embed_dim),
    }
    hidden = graph.matmul("patches", vim.channels * vim.patch_size**2, vim.embed_dim)
    for _ in range(vim.depth):
        graph.keep(graph.matmul(hidden, vim.embed_dim, 2 * vim.inner))
        for _ in range(2):
            graph.keep(graph.matmul("u", vim.inner, vim.dt_rank + 2 * vim.state))
            delta = graph.matmul("time_steps", vim.dt_rank, vim.inner)
            graph.keep(delta)
        hidden = graph.matmul(delta, vim.inner, vim.embed_dim)
    graph.keep(hidden)
    graph.keep(graph.matmul("pooled", vim.embed_dim, vim.num_classes))
    return graph


def scans(config: dict[str, Any], threads: int) -> Open:
    """All scans of a Vim with two directions."""
    return scan_graph(VimConfig.from_dict(config)).open(threads)


def scan_graph(vim: VimConfig) -> _Graph:
    _check(vim)
    graph = _Graph()
    length, inner, state = vim.num_tokens, vim.inner, vim.state
    shapes = input_shapes({"batch": 1, "length": length, "channels": inner, "state": state})
    graph.inputs = {name: graph.random(*shape) for name, shape in shapes.items() if len(shape) == 3}
    graph.weights = {
        "A": -np.tile(np.arange(1, state + 1, dtype=np.float32), (inner, 1)),
        "D": np.ones(inner, np.float32),
        "delta_bias": np.full(inner, _TIME_STEP_BIAS, np.float32),
    }
    for index in range(2 * vim.depth):
        flags = {"delta_softplus": 1, "reverse": index % 2, "groups": 1}
        graph.keep(graph.node(OP_NAME, list(INPUT_NAMES), f"scan_{index}", domain=OP_DOMAIN, **flags))
    return graph


def _check(vim: VimConfig) -> None:
    if vim.directions is not Directions.SEPARATE or vim.paired:
        raise ValueError(f"directions {vim.directions}; the floor is only defined for separate directions.")
