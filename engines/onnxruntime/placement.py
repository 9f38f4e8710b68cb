"""Which provider ran each node of a session, according to the runtime's profile.

ONNX Runtime silently assigns nodes without a CUDA kernel to the CPU, upcast to float32 if necessary. Shape
arithmetic belongs there; computation on floating-point tensors is refused.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from vim_deploy.engines.fusion.domain import SCAN_PAIR
from vim_deploy.engines.onnxruntime.session import CPU, CUDA
from vim_deploy.errors import EngineError
from vim_deploy.ops.signature import OP_NAME
from vim_deploy.text import listed

_FLOATING = {"float", "float16", "bfloat16", "double"}
_SMALL = 8  # elements: values such as the factors of a resize, which are computed from shapes


def read_profile(path: Path) -> list[dict[str, Any]]:
    """The nodes in the profile that a session's `end_profiling` wrote. Raises EngineError."""
    try:
        events = json.loads(path.read_text())
        nodes = [event for event in events if event.get("cat") == "Node" and "provider" in event["args"]]
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise EngineError(
            f"ONNX Runtime's profile {path.name} cannot be read ({error!r}), so the placement of the nodes "
            "is unknown; no engine was written."
        ) from None
    return nodes


def check_on_cuda(name: str, nodes: list[dict[str, Any]], scans: bool) -> dict[str, int]:
    """The number of nodes that each provider ran. Raises EngineError if the CPU computed tensors.

    `scans`: the graph has selective scans, fused or not, which must be among the nodes on the GPU.
    """
    on_cpu = sorted({_described(node) for node in nodes if _computes_tensors(node)})
    if on_cpu:
        raise EngineError(
            f"{name}: the device is cuda, but ONNX Runtime computes on the CPU: "
            f"{listed(on_cpu)}. Its CUDA provider has no kernel for these nodes; use "
            "another --precision, --backend tensorrt, or --device cpu. No engine was written."
        )
    on_cuda = [node["args"].get("op_name") for node in nodes if node["args"]["provider"] == CUDA]
    if not on_cuda or (scans and not {OP_NAME, SCAN_PAIR} & set(on_cuda)):
        raise EngineError(f"{name}: the profile shows no {OP_NAME if on_cuda else 'node'} on the GPU.")
    return dict(sorted(Counter(str(node["args"]["provider"]) for node in nodes).items()))


def _computes_tensors(node: dict[str, Any]) -> bool:
    if node["args"]["provider"] != CPU:
        return False
    shapes = node["args"].get("output_type_shape", [])
    return any(
        kind in _FLOATING and math.prod(sizes) > _SMALL for shape in shapes for kind, sizes in shape.items()
    )


def _described(node: dict[str, Any]) -> str:
    label = str(node.get("name", "")).removesuffix("_kernel_time")
    return f"{node['args'].get('op_name')} {label!r:.100}"
