"""Small ONNX files in the format of vim-export, created without the exporter so that tests are fast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.metadata import ModelMetadata
from vim_deploy.precision import Precision

COLORS = ("red", "green", "blue")


def metadata(**changes: Any) -> ModelMetadata:
    values: dict[str, Any] = {
        "task": "classify",
        "variant": "custom",
        "config": {},
        "precision": Precision.FP32,
        "preprocessing": Preprocessing((8, 8), 1.0, (0.0,) * 3, (1.0,) * 3),
        "class_names": COLORS,
        "checkpoint": {"source": "synthetic", "sha256": None, "key": None, "seed": 0},
        "operator": {},
        "versions": {},
    }
    return ModelMetadata(**{**values, **changes})


def color_model(batch: int | str = "batch", **changes: Any) -> onnx.ModelProto:
    """Logits are ten times the mean of each color: the class is the strongest color."""
    about = metadata(**changes)
    height, width = about.preprocessing.image_size
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 3, height, width])
    name = "logits" if about.task == "classify" else "features"
    output = helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 3])
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "ten"], [name]),
    ]
    ten = numpy_helper.from_array(np.array(10, np.float32), "ten")
    return finish(helper.make_graph(nodes, "colors", [pixels], [output], [ten]), about)


def finish(graph: onnx.GraphProto, about: ModelMetadata, **options: Any) -> onnx.ModelProto:
    model = helper.make_model(
        graph, **{"opset_imports": [helper.make_opsetid("", 17)], "ir_version": 8, **options}
    )
    helper.set_model_props(model, about.to_props())
    return model


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def scan_model(length: int = 4, channels: int = 6, state: int = 16) -> onnx.ModelProto:
    """One selective scan, with its function body; pixels (batch, 1, length, channels)."""
    from vim_deploy.ops.function_body import function_body
    from vim_deploy.ops.signature import CONTRACT_VERSION, OP_DOMAIN, OP_NAME

    generator = np.random.default_rng(0)
    about = metadata(
        preprocessing=Preprocessing((length, channels), 1.0, (0.0,), (1.0,), 1),
        class_names=tuple(f"class {index}" for index in range(length * channels)),
    )
    weights = {
        "A": -np.exp(generator.standard_normal((channels, state))),
        "D": generator.standard_normal(channels),
        "bias": generator.standard_normal(channels),
        "to_state": generator.standard_normal((channels, state)),
    }
    initializers = [numpy_helper.from_array(value.astype(np.float32), key) for key, value in weights.items()]
    initializers.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    nodes = [
        helper.make_node("Squeeze", ["pixels", "axis"], ["u"]),
        helper.make_node("MatMul", ["u", "to_state"], ["B"]),
        helper.make_node(
            OP_NAME,
            ["u", "u", "A", "B", "B", "D", "u", "bias"],
            ["y"],
            domain=OP_DOMAIN,
            delta_softplus=1,
            reverse=0,
            groups=1,
        ),
        helper.make_node("Flatten", ["y"], ["logits"]),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 1, length, channels])
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", length * channels])
    graph = helper.make_graph(nodes, "scan", [pixels], [output], initializers)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(OP_DOMAIN, CONTRACT_VERSION)]
    return finish(graph, about, opset_imports=opsets, functions=[function_body()])
