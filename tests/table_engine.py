"""An engine whose weights are one table, and what it computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from small_onnx import finish, metadata, save

from vim_deploy import load
from vim_deploy.engines.build import build_engine

CLASSES = ("red", "green", "blue")
ROWS = 3


def table_model(columns: int, value: float = 1.0) -> onnx.ModelProto:
    """Logits are the colors' means, times the mean of the row of a table that the strongest one selects."""
    table = np.full((ROWS, columns), value, np.float32) * np.arange(1, ROWS + 1, dtype=np.float32)[:, None]
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("ArgMax", ["mean"], ["row"], axis=1, keepdims=0),
        helper.make_node("Gather", ["table", "row"], ["selected"], axis=0),
        helper.make_node("ReduceMean", ["selected"], ["scale"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "scale"], ["logits"]),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "table", [pixels], [logits], [numpy_helper.from_array(table, "table")])
    return finish(graph, metadata(class_names=CLASSES))


def built(columns: int = 200_000, value: float = 1.0, name: str = "table.engine") -> Path:
    """An engine; by default with 2.4 MB of weights."""
    build_engine(save(table_model(columns, value), Path("table.onnx")), name)
    return Path(name)


def logits(path: Path) -> np.ndarray:
    with load(path) as opened:
        return run(opened)


def run(opened: Any) -> np.ndarray:
    pixels = np.zeros((1, 3, 8, 8), np.float32)
    pixels[0, 2] = 1
    outputs: np.ndarray = opened.run(pixels)["logits"]
    return outputs
