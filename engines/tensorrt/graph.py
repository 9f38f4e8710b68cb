"""Preparing a graph for TensorRT's parser, and checking the parser's rules first.

The parser finds a plugin by the node's operator name and by two string attributes; it ignores the domain.
TensorRT 10 and later prefer a local function over a plugin, so that the function body is removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vim_deploy.engines.fusion.domain import FUSED_DOMAIN
from vim_deploy.engines.tensorrt.accumulation import accumulate_in_fp32
from vim_deploy.engines.tensorrt.fused import fuse_for_plugins, fused_nodes, fused_problems
from vim_deploy.engines.tensorrt.parser_8_6 import has_bounds, rewrite_for_8_6
from vim_deploy.engines.tensorrt.parser_rules import PLUGIN_OPERATORS, Constants, detection_problems
from vim_deploy.engines.tensorrt.slices import simplify_slices
from vim_deploy.errors import EngineError
from vim_deploy.ops.signature import (
    ATTRIBUTES,
    CONTRACT_VERSION,
    FLAGS,
    GATE,
    INPUTS,
    OP_DOMAIN,
    OP_NAME,
    is_gated,
)
from vim_deploy.precision import FLOAT_PRECISIONS, Precision

if TYPE_CHECKING:
    import onnx

PLUGIN_VERSION = str(CONTRACT_VERSION)
PLUGIN_NAMESPACE = OP_DOMAIN
_GATED = "gated"
PLUGIN_FIELDS = (*ATTRIBUTES, _GATED)
_PRECISIONS = {precision.onnx_type: precision for precision in FLOAT_PRECISIONS}

# Operators of exported models (opset 17, in fp8 19) that the parsers of 8.6 and later support.
_PARSED = {
    "Abs", "Add", "And", "ArgMax", "BatchNormalization", "Cast", "Clip", "Concat", "Constant",
    "ConstantOfShape", "Conv", "ConvTranspose", "Cos", "DequantizeLinear", "Div", "Equal", "Erf", "Exp",
    "Expand", "Flatten", "Gather", "GatherND", "Gemm", "GlobalAveragePool", "Greater", "GreaterOrEqual",
    "Identity", "LayerNormalization", "Less", "Log", "MatMul", "Max", "MaxPool", "Min", "Mul", "Neg",
    "NonMaxSuppression", "NonZero", "Not", "Or", "Pad", "Pow", "QuantizeLinear", "Reciprocal",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape", "Resize",
    "RoiAlign", "Shape", "Sigmoid", "Sin", "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Squeeze",
    "Sub", "Tanh", "Tile", "TopK", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
_PARSED_FROM_10 = {"Gelu"}
_INT64 = 7  # onnx.TensorProto.DataType
_LAST_OPSET = {8: 17, 10: 20, 11: 20}
# ONNX types that only 10 and later have.
_FROM_10 = {
    16: "bfloat16 tensors, which it does not support (use --precision fp16)",
    17: "float8 tensors, which only TensorRT 10 and later support (use --precision int8)",
}


@dataclass(frozen=True)
class PreparedGraph:
    """A graph for TensorRT.

    `types`: precision of every floating-point tensor; `scans`: names of our plugin's nodes; `other_plugins`:
    names of the nodes that run as plugins of TensorRT; `fused`: the number of fused operators of each kind,
    which are plugins too and part of `scans`; `quantized`: names of the matmuls whose inputs are quantized.
    """

    data: bytes
    types: dict[str, Precision]
    scans: tuple[str, ...]
    other_plugins: tuple[str, ...] = ()
    fused: dict[str, int] = field(default_factory=dict)
    quantized: tuple[str, ...] = ()


def prepare(
    name: str,
    data: bytes,
    precision: Precision,
    major: int,
    fp32_accumulation: bool = False,
    fuse: bool = False,
) -> PreparedGraph:
    """The graph of an exported file for TensorRT `major`.

    Removes the function body, adds the plugin's attributes, fixes inputs with a default to it, simplifies
    slices, and for 8.6 rewrites what its parser does not support. `fp32_accumulation`: see
    `accumulate_in_fp32`. `fuse`: replace the scans and convolutions of a block with two plugins.

    Raises EngineError that names the parser's rules that the graph violates, or for a graph in another
    precision than its metadata.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(data))
    types = _types(model)
    fused = fuse_for_plugins(model, types) if fuse else {}
    del model.functions[:]
    _fix_optional_inputs(model)
    simplify_slices(model, open_only=major < 10)
    del model.graph.value_info[:]  # possibly stale; TensorRT infers the types from the nodes
    scans = [node for node in model.graph.node if (node.domain, node.op_type) == (OP_DOMAIN, OP_NAME)]
    for node in scans:
        _fill_gate(node)
        node.attribute.append(onnx.helper.make_attribute("plugin_version", PLUGIN_VERSION))
        node.attribute.append(onnx.helper.make_attribute("plugin_namespace", PLUGIN_NAMESPACE))
    if fp32_accumulation:
        if major < 10:
            raise EngineError(f"TensorRT {major} chooses how it accumulates; leave out --fp32-accumulation.")
        accumulate_in_fp32(model, types)
    if major < 10:
        rewrite_for_8_6(model)
    plugins = [*scans, *fused_nodes(model)]
    problems = [*lint(model, types, major), *_precision_problems(plugins, types, precision)]
    if major < 10:
        problems += _output_problems(model)
    if problems:
        raise EngineError(
            f"{name} cannot be built with TensorRT {major}: {'; '.join(problems[:5])}"
            f"{f'; and {len(problems) - 5} more' if len(problems) > 5 else ''}. Export it with vim-export."
        )
    return PreparedGraph(
        model.SerializeToString(),
        {name: _PRECISIONS[kind] for name, kind in types.items() if kind in _PRECISIONS},
        (*(node.name for node in scans), *(node.name for node in fused_nodes(model))),
        tuple(node.name for node in model.graph.node if node.op_type in PLUGIN_OPERATORS),
        fused,
        quantized_matmuls(model),
    )


def quantized_matmuls(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the matmuls that TensorRT computes in an 8-bit type: both inputs are dequantized."""
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return tuple(
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul" and dequantized.issuperset(node.input)
    )


def _fill_gate(node: onnx.NodeProto) -> None:
    """Replace a missing z with u, which the plugin does not read if its attribute `gated` is 0, in place."""
    import onnx

    gated = is_gated(node)
    if not gated and len(node.input) > GATE:
        node.input[GATE] = node.input[0]
    node.attribute.append(onnx.helper.make_attribute(_GATED, int(gated)))


def lint(model: onnx.ModelProto, types: dict[str, int], major: int) -> Iterator[str]:
    """The rules of TensorRT `major`'s parser that the graph violates; `types` are ONNX element types."""
    for function in model.functions:
        yield f"local function {function.name}, which hides the plugin from TensorRT 10 and later"
    if major < 10:
        yield from (problem for kind, problem in _FROM_10.items() if kind in types.values())
    last = _LAST_OPSET[max(key for key in _LAST_OPSET if key <= max(major, 8))]
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and entry.version > last:
            yield f"opset {entry.version}, but its parser supports at most {last}"
    known = _PARSED if major < 10 else _PARSED | _PARSED_FROM_10
    constants = _constants(model)
    for node in model.graph.node:
        if node.op_type == OP_NAME:
            yield from _plugin_problems(node, types)
        elif node.domain == FUSED_DOMAIN:
            yield from fused_problems(node, types)
        elif node.op_type not in known:
            yield f"node {node.name}: its parser does not support the operator {node.op_type}"
        elif any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            yield f"node {node.name}: {node.op_type} with a subgraph"
        elif major < 10 and has_bounds(node):
            yield f"node {node.name}: Shape with start or end, which 8.6 ignores"
        else:
            yield from detection_problems(node, constants, types, major)


def _plugin_problems(node: onnx.NodeProto, types: dict[str, int]) -> Iterator[str]:
    attributes = {attribute.name: attribute for attribute in node.attribute}
    for name in (*FLAGS, _GATED):
        if name not in attributes or attributes[name].type != 2 or attributes[name].i not in (0, 1):
            yield f"node {node.name}: attribute {name} is not an integer 0 or 1"
    if "groups" not in attributes or attributes["groups"].type != 2 or attributes["groups"].i < 1:
        yield f"node {node.name}: attribute groups is not an integer of 1 or more"
    for name, value in (("plugin_version", PLUGIN_VERSION), ("plugin_namespace", PLUGIN_NAMESPACE)):
        if name not in attributes or attributes[name].s != value.encode():
            yield f"node {node.name}: attribute {name} is not the string {value!r}"
    for name in attributes.keys() - {*PLUGIN_FIELDS, "plugin_version", "plugin_namespace"}:
        yield f"node {node.name}: attribute {name} is not an attribute of the plugin"
    if len(node.input) != len(INPUTS) or not all(node.input) or len(node.output) != 1:
        yield f"node {node.name}: inputs {list(node.input)}; the plugin has {len(INPUTS)}, none left out"
        return
    kinds = [types.get(name) for name in node.input]
    for index, (spec, kind) in enumerate(zip(INPUTS, kinds, strict=True)):
        expected = 1 if spec.float32 else kinds[0]
        if kind not in _PRECISIONS or kind != expected:
            yield f"node {node.name}: input {index} has ONNX type {kind}, the plugin expects {expected}"


def _precision_problems(
    scans: list[onnx.NodeProto], types: dict[str, int], precision: Precision
) -> Iterator[str]:
    expected = Precision(precision).activations
    for node in scans:
        found = _PRECISIONS.get(types.get(node.input[0] if node.input else "", 0))
        if found != expected:
            yield f"its metadata says {precision}, but node {node.name} is {found}"


def _output_problems(model: onnx.ModelProto) -> Iterator[str]:
    """8.6 would write 32-bit integers into memory that is read as 64-bit integers."""
    for value in model.graph.output:
        if value.type.tensor_type.elem_type == _INT64:
            yield f"output {value.name}: 64-bit integers, which 8.6 does not have"


def _types(model: onnx.ModelProto) -> dict[str, int]:
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return {**types, **{item.name: item.data_type for item in model.graph.initializer}}


def _constants(model: onnx.ModelProto) -> Constants:
    """Scalars and vectors that a run cannot change."""
    from onnx import numpy_helper

    inputs = {value.name for value in model.graph.input}
    small = (item for item in model.graph.initializer if len(item.dims) < 2 and item.name not in inputs)
    return {item.name: numpy_helper.to_array(item) for item in small}


def _fix_optional_inputs(model: onnx.ModelProto) -> None:
    """Remove inputs with a default, in place: TensorRT has no optional inputs."""
    defaults = {item.name for item in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in defaults]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
