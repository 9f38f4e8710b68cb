"""Running graphs that were prepared for TensorRT in ONNX Runtime.

Scans are computed by the function body, fused operators by the library for CPUs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from vim_deploy.engines.fusion.domain import FUSED_DOMAIN
from vim_deploy.engines.onnxruntime.session import unsuitable_optimizers
from vim_deploy.onnx_graph.upcast import upcast_to_fp32
from vim_deploy.ops.function_body import body_for
from vim_deploy.ops.library import ort_library
from vim_deploy.ops.signature import ATTRIBUTES, GATE, OP_NAME
from vim_deploy.precision import Precision


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
    options = onnxruntime.SessionOptions()
    if any(node.domain == FUSED_DOMAIN for node in upcast.graph.node):
        options.register_custom_ops_library(str(ort_library()))
    if scans:
        upcast.functions.append(body_for(scans, opset_of(upcast)))
    session = onnxruntime.InferenceSession(
        upcast.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(unsuitable_optimizers(Precision.FP8)),
    )
    return lambda pixels: session.run(None, {"pixels": pixels})


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators."""
    return next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
