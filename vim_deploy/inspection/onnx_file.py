"""Describes an ONNX file written by vim-export."""

from __future__ import annotations

from collections import Counter
from typing import Any

import onnx

from vim_deploy.engines.source import read_source
from vim_deploy.inspection.model import describe_file, describe_model
from vim_deploy.ops.signature import OP_DOMAIN


def describe_onnx(path: str) -> dict[str, Any]:
    """`graph`: versions, inputs, outputs and the number of nodes; `scans` are those of our operator.

    Raises EngineError for a file that vim-build would refuse.
    """
    source = read_source(path)
    model = onnx.load_from_string(source.data)
    domains = Counter(node.domain for node in model.graph.node)
    return {
        **describe_file("onnx", path),
        "model": describe_model(source.metadata, source.outputs),
        "graph": {
            "ir_version": model.ir_version,
            "opset": next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
            "nodes": domains.total(),
            "scans": domains[OP_DOMAIN],
            "inputs": [spec.to_dict() for spec in source.inputs],
            "outputs": [spec.to_dict() for spec in source.outputs],
        },
    }
