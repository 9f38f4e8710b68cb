"""Running graphs that were prepared for TensorRT in ONNX Runtime, through the function body."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from vim_deploy.onnx_graph.upcast import upcast_to_fp32
from vim_deploy.ops.function_body import body_for
from vim_deploy.ops.signature import ATTRIBUTES, GATE, OP_NAME


def runner(model: onnx.ModelProto) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A function from pixels to the outputs of the graph, upcast to float32."""
    import onnxruntime

    upcast = upcast_to_fp32(model)
    scans = [node for node in upcast.graph.node if node.op_type == OP_NAME]
    for node in scans:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if attributes["gated"].i == 0:
            node.input[GATE] = ""
        del node.attribute[:]
        node.attribute.extend(attributes[name] for name in ATTRIBUTES)
    del upcast.functions[:]
    upcast.functions.append(body_for(scans))
    session = onnxruntime.InferenceSession(upcast.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"pixels": pixels})
