"""Rules of TensorRT's parser and layers for the operators of detectors.

Source: the operators' documentation and importers of onnx-tensorrt 8.6 to 10.1, the reference of INMSLayer,
and the plugin ROIAlign_TRT, which the parser uses for RoiAlign.

The outputs of NonMaxSuppression and NonZero have sizes that depend on values; TensorRT allocates the maximum:
`max_output_boxes_per_class` for every class, and the number of elements. Both must be constant. After
NonMaxSuppression the graph has a TopK, whose output size is fixed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

PLUGIN_OPERATORS = {"RoiAlign"}  # run by plugins of TensorRT
MAX_TOP_K = 3840  # largest k of TopK
MAX_NMS_BOXES = 5000  # boxes per image above the score threshold; of more, the best ones
# 8.6 reduces only floating-point tensors.
_FLOAT_REDUCTIONS = {"ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum"}
_FLOATS, _BOOL, _NON_ZERO = {1, 10, 16}, 9, {1, 6, 7, 9, 10, 16}

Constants = dict[str, np.ndarray]
Rule = Callable[["onnx.NodeProto", dict[str, Any], Constants, dict[str, int]], Iterator[str]]


def detection_problems(
    node: onnx.NodeProto, constants: Constants, types: dict[str, int], major: int
) -> Iterator[str]:
    """The rules that the node violates; other operators than a detector's have none."""
    import onnx

    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    if node.op_type in _RULES:
        for problem in _RULES[node.op_type](node, attributes, constants, types):
            yield f"node {node.name}: {node.op_type} {problem}"
    if major < 10 and node.op_type in _FLOAT_REDUCTIONS and types.get(node.input[0], 1) not in _FLOATS:
        yield f"node {node.name}: {node.op_type} of integers, which 8.6 does not support"


def _top_k(
    node: onnx.NodeProto, attributes: dict[str, Any], constants: Constants, types: dict[str, int]
) -> Iterator[str]:
    k = constants.get(node.input[1])
    if k is None:
        yield "with a k that is not constant"
    elif k.size != 1 or not 1 <= int(k.flat[0]) <= MAX_TOP_K:
        yield f"with k {k.tolist()}; expected at most {MAX_TOP_K} (use fewer proposals)"
    if attributes.get("sorted", 1) != 1:
        yield "with unsorted output (sorted 0)"


def _suppression(
    node: onnx.NodeProto, attributes: dict[str, Any], constants: Constants, types: dict[str, int]
) -> Iterator[str]:
    limit = constants.get(node.input[2]) if len(node.input) > 2 else None
    if limit is None or limit.size != 1 or int(limit.flat[0]) < 1:
        yield "without a constant max_output_boxes_per_class, so that its output size is unbounded"
    elif int(limit.flat[0]) > MAX_NMS_BOXES:
        yield f"of {int(limit.flat[0])} boxes per class; expected at most {MAX_NMS_BOXES}"
    for name in node.input[3:]:
        if name not in constants or constants[name].size != 1:
            yield "with a threshold that is not a constant scalar"
    if attributes.get("center_point_box", 0) not in (0, 1):
        yield f"with center_point_box {attributes['center_point_box']}"


def _roi_align(
    node: onnx.NodeProto, attributes: dict[str, Any], constants: Constants, types: dict[str, int]
) -> Iterator[str]:
    if attributes.get("mode", b"avg") not in (b"avg", b"max"):
        yield f"with mode {attributes['mode']!r}"
    if "sampling_ratio" not in attributes:
        yield "without sampling_ratio: ONNX's default is 0, the parser's is 1"
    if attributes.get("sampling_ratio", 0) < 0 or attributes.get("spatial_scale", 1.0) <= 0:
        yield "with a negative sampling ratio or a scale that is not positive"
    if types.get(node.input[0], 1) == 16:
        yield "in bfloat16, which its plugin does not support (use --precision fp16 or fp32)"


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
