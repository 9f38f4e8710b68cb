"""The values of the parts of a Vision Mamba in its exported graph."""

from __future__ import annotations

import onnx

from vim_deploy.errors import ExportError
from vim_deploy.families.parts import UNGATED
from vim_deploy.families.vim_parts import FINAL_NORM, TOKENS
from vim_deploy.onnx_graph.index import GraphIndex
from vim_deploy.ops.signature import OP_DOMAIN, OP_NAME, by_name


def find_probes(model: onnx.ModelProto) -> dict[str, str]:
    """Names of parts to names of values, for a classifier. Raises ExportError without a scan."""
    graph = GraphIndex(model.graph)
    probes = block_probes(graph, "")
    probes[FINAL_NORM] = next(
        node.output[0] for node in reversed(graph.nodes) if node.name.startswith("norm_f/")
    )
    return probes


def block_probes(graph: GraphIndex, prefix: str) -> dict[str, str]:
    """The same for the tokens and all blocks; `prefix`: of the model's modules, such as "backbone."."""
    scans: dict[int, list[onnx.NodeProto]] = {}
    for node in graph.nodes:
        if node.domain == OP_DOMAIN and node.op_type == OP_NAME:
            scans.setdefault(int(node.name.removeprefix(prefix).split(".")[1]), []).append(node)
    if not scans:
        raise ExportError("the graph has no selective scan; expected an ONNX file written by vim-export.")
    probes: dict[str, str] = {}
    for index in sorted(scans):
        probes.update(_block_probes(graph, prefix, index, scans[index]))
        probes.update(_pair_probes(graph, probes, index))
    first = probes["layers.0.residual"]
    # A rotary embedding comes between the tokens and the residual stream.
    probes[TOKENS] = graph.upstream(first, lambda node: node.name.startswith(f"{prefix}rope/"))
    return probes


def _block_probes(graph: GraphIndex, prefix: str, index: int, scans: list[onnx.NodeProto]) -> dict[str, str]:
    block, inside = f"layers.{index}", f"{prefix}layers.{index}"
    probes = {}
    for direction, node in zip(("forward", "backward"), scans, strict=False):
        inputs = by_name(node.input)
        probes[f"{block}.convolution {direction}"] = inputs["u"]
        probes[f"{block}.x_proj {direction}"] = graph.upstream(inputs["B"], _is_slicing)
        probes[f"{block}.dt_proj {direction}"] = inputs["delta"]
        probes[f"{block}.scan {direction}"] = node.output[0] + UNGATED
        probes[f"{block}.gate {direction}"] = node.output[0]
    in_proj = graph.upstream(by_name(scans[0].input)["z"], _is_slicing)
    out_proj = next(node for node in graph.nodes if node.name == f"{inside}.mixer.out_proj/MatMul")
    probes[f"{block}.in_proj"] = in_proj
    norm = graph.producers[in_proj].input[0]
    probes[f"{block}.norm"] = norm
    normed = graph.upstream(norm, lambda node: node.op_type == "Cast")
    probes[f"{block}.residual"] = graph.upstream(normed, lambda node: node.name.startswith(f"{inside}.norm/"))
    probes[f"{block}.sum"] = out_proj.input[0]
    probes[f"{block}.out_proj"] = _scaled(graph, out_proj.output[0], f"{inside}.mixer")
    return probes


def _pair_probes(graph: GraphIndex, probes: dict[str, str], index: int) -> dict[str, str]:
    """The sums of a pair of blocks with one direction each, if block `index` is the second of one."""
    found = {}
    for kind, name in (("out_proj", "hidden"), ("residual", "residual")):
        values = [probes.get(f"layers.{block}.{kind}") for block in (index - 1, index)]
        for node in graph.consumers[values[1] or ""]:
            if node.op_type == "Add" and sorted(node.input) == sorted(map(str, values)):
                found[f"layers.{index}.pair {name}"] = node.output[0]
    return found if len(found) == 2 else {}


def _is_slicing(node: onnx.NodeProto) -> bool:
    return node.op_type in ("Split", "Slice")


def _scaled(graph: GraphIndex, value: str, module: str) -> str:
    """The block's output: the projection, or the projection times the layer scale."""
    for node in graph.nodes:
        if value in node.input and node.op_type == "Mul" and node.name.startswith(f"{module}/"):
            return node.output[0]
    return value
