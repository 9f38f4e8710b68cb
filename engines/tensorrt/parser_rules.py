"""What TensorRT's parser and layers ask of a detector's operators, and by what each of its steps is bounded.

Source: the operators' documentation and importers of onnx-tensorrt 8.6 to 10.1, the reference of INMSLayer,
and the plugin ROIAlign_TRT, which the parser takes for RoiAlign.

NonMaxSuppression's and NonZero's outputs have sizes that depend on values; TensorRT allocates for the most.
That is `max_output_boxes_per_class` of every class for the first, and the number of elements for the second,
so that both must be constant. Behind NonMaxSuppression the graph has TopK, whose size is fixed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

MOST_SORTED = 3840  # TopK's largest k
MOST_SUPPRESSED = 5000  # boxes per image whose score is above the threshold; it takes the best of more
# 8.6 reduces floating-point numbers alone.
_FLOAT_REDUCTIONS = {"ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum"}
_FLOATS, _BOOL, _NON_ZERO = {1, 10, 16}, 9, {1, 6, 7, 9, 10, 16}

Constants = dict[str, np.ndarray]
Rule = Callable[["onnx.NodeProto", dict[str, Any], Constants, dict[str, int]], Iterator[str]]


def detection_problems(
    node: onnx.NodeProto, constants: Constants, types: dict[str, int], major: int
) -> Iterator[str]:
    """Each rule that the node breaks; none for operators that no detector has."""
    import onnx

    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    if node.op_type in _RULES:
        for problem in _RULES[node.op_type](node, attributes, constants, types):
            yield f"node {node.name}: {node.op_type} {problem}"
    if major < 10 and node.op_type in _FLOAT_REDUCTIONS and types.get(node.input[0], 1) not in _FLOATS:
        yield f"node {node.name}: {node.op_type} of whole numbers, which 8.6 does not have"


def _top_k(
    node: onnx.NodeProto, attributes: dict[str, Any], constants: Constants, types: dict[str, int]
) -> Iterator[str]:
    k = constants.get(node.input[1])
    if k is None:
        yield "with a k that is not constant"
    elif k.size != 1 or not 1 <= int(k.flat[0]) <= MOST_SORTED:
        yield f"with k {k.tolist()}; it sorts {MOST_SORTED} at most (fewer proposals or candidates)"
    if attributes.get("sorted", 1) != 1:
        yield "without order (sorted 0)"


def _suppression(
    node: onnx.NodeProto, attributes: dict[str, Any], constants: Constants, types: dict[str, int]
) -> Iterator[str]:
    limit = constants.get(node.input[2]) if len(node.input) > 2 else None
    if limit is None or limit.size != 1 or int(limit.flat[0]) < 1:
        yield "without a constant limit per class, so that its output has no bound"
    elif int(limit.flat[0]) > MOST_SUPPRESSED:
        yield f"of {int(limit.flat[0])} boxes per class; it looks at {MOST_SUPPRESSED} at most"
    for name in node.input[3:]:
        if name not in constants or constants[name].size != 1:
            yield "with a threshold that is not one constant number"
    if attributes.get("center_point_box", 0) not in (0, 1):
        yield f"with center_point_box {attributes['center_point_box']}"


def _roi_align(
    node: onnx.NodeProto, attributes: dict[str, Any], constants: Constants, types: dict[str, int]
) -> Iterator[str]:
    if attributes.get("mode", b"avg") not in (b"avg", b"max"):
        yield f"of mode {attributes['mode']!r}"
    if attributes.get("sampling_ratio", 0) < 0 or attributes.get("spatial_scale", 1.0) <= 0:
        yield "with a negative sampling ratio or a scale that is not positive"
    if types.get(node.input[0], 1) == 16:
        yield "of bfloat16, which its plugin does not have (use --precision fp16 or fp32)"


def _non_zero(
    node: onnx.NodeProto, attributes: dict[str, Any], constants: Constants, types: dict[str, int]
) -> Iterator[str]:
    if types.get(node.input[0], _BOOL) not in _NON_ZERO:
        yield f"of ONNX type {types[node.input[0]]}"


_RULES: dict[str, Rule] = {
    "TopK": _top_k,
    "NonMaxSuppression": _suppression,
    "RoiAlign": _roi_align,
    "NonZero": _non_zero,
}
