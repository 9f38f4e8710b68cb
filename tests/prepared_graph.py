"""Running graphs that were prepared for TensorRT in ONNX Runtime, through the function body."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from vim_deploy.onnx_graph.upcast import upcast_to_fp32
from vim_deploy.ops.function_body import function_body


def runner(model: onnx.ModelProto) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A function from pixels to the outputs of the graph, upcast to float32."""
    import onnxruntime

    upcast = upcast_to_fp32(model)
    for node in upcast.graph.node:
        original = [attribute for attribute in node.attribute if not attribute.name.startswith("plugin_")]
        del node.attribute[:]
        node.attribute.extend(original)
    del upcast.functions[:]
    upcast.functions.append(function_body())
    session = onnxruntime.InferenceSession(upcast.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"pixels": pixels})
