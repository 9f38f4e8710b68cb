"""Where the nodes of a session really ran, by the runtime's own profile.

A node that the GPU's provider has no kernel for goes to the processor without a word, widened to float32 if
need be.
What is computed of shapes belongs there; what is computed of numbers is refused.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from vim_deploy.engines.onnxruntime.providers import CUDA, PROCESSOR
from vim_deploy.errors import EngineError
from vim_deploy.ops.signature import OP_NAME

_FLOATING = {"float", "float16", "bfloat16", "double"}
_SMALL = 8  # elements: factors of a resize and the like, which come from shapes
_MOST_NAMED = 5


def read_profile(path: Path) -> list[dict[str, Any]]:
    """The nodes that ran, in the form of a session's `end_profiling`. Raises EngineError."""
    try:
        events = json.loads(path.read_text())
        nodes = [event for event in events if event.get("cat") == "Node" and "provider" in event["args"]]
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise EngineError(
            f"ONNX Runtime's profile {path.name} cannot be read ({error!r}), so that it is not known where "
            "the nodes ran; the engine is not kept."
        ) from None
    return nodes


def check_on_cuda(name: str, nodes: list[dict[str, Any]], scans: bool) -> dict[str, int]:
    """How many nodes each provider ran. Raises EngineError where the processor computed numbers.

    `scans`: the graph has selective scans, which must be among the nodes on the GPU.
    """
    strays = sorted({_described(node) for node in nodes if _computes_numbers(node)})
    if strays:
        more = f"; and {len(strays) - _MOST_NAMED} more" if len(strays) > _MOST_NAMED else ""
        raise EngineError(
            f"{name}: asked for cuda, but ONNX Runtime computes on the processor: "
            f"{'; '.join(strays[:_MOST_NAMED])}{more}. Its CUDA provider has no kernel for these; use "
            "another --precision, --backend tensorrt, or --device cpu. The engine is not kept."
        )
    on_cuda = [node["args"].get("op_name") for node in nodes if node["args"]["provider"] == CUDA]
    if not on_cuda or (scans and OP_NAME not in on_cuda):
        raise EngineError(f"{name}: the profile shows no {OP_NAME if on_cuda else 'node'} on the GPU.")
    return dict(sorted(Counter(str(node["args"]["provider"]) for node in nodes).items()))


def _computes_numbers(node: dict[str, Any]) -> bool:
    if node["args"]["provider"] != PROCESSOR:
        return False
    shapes = node["args"].get("output_type_shape", [])
    return any(
        kind in _FLOATING and math.prod(sizes) > _SMALL for shape in shapes for kind, sizes in shape.items()
    )


def _described(node: dict[str, Any]) -> str:
    label = str(node.get("name", "")).removesuffix("_kernel_time")
    return f"{node['args'].get('op_name')} {label!r:.100}"
