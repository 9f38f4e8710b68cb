"""The layout that ONNX Runtime gives convolutions, which ties an optimized graph to an instruction set.

At the level "all", channels are in blocks of a vector's width. This is several times faster for networks of
convolutions, but not worth it for one convolution, such as the patch embedding of Vim.
"""

from __future__ import annotations

BLOCKED_DOMAIN = "com.microsoft.nchwc"
# The optimizer that introduces the layout, by ONNX Runtime's name.
BLOCKING_OPTIMIZER = "NchwcTransformer"


def needs_blocks(data: bytes) -> bool:
    """Whether a graph has several convolutions."""
    import onnx

    nodes = onnx.load_model_from_string(data).graph.node
    return sum(node.op_type == "Conv" for node in nodes) > 1


def has_blocks(data: bytes) -> bool:
    """Whether an optimized graph has the layout, and runs only where vectors have the same width."""
    import onnx

    return any(node.domain == BLOCKED_DOMAIN for node in onnx.load_model_from_string(data).graph.node)
