"""Intermediate outputs (probes) of exported graphs: the values that belong to the parts of a model."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from vim_deploy.engines.build import build_engine
from vim_deploy.engines.container import read_manifest
from vim_deploy.engines.source import read_source
from vim_deploy.errors import EngineError
from vim_deploy.onnx_graph.index import GraphIndex
from vim_deploy.ops.signature import OP_DOMAIN, OP_NAME, by_name
from vim_deploy.precision import Precision
from vim_deploy.validation.artifacts import Artifact, RunMode, Target, open_artifact, open_source_model
from vim_deploy.validation.parts import FINAL_NORM, TOKENS


def find_probes(model: onnx.ModelProto) -> dict[str, str]:
    """Part names (see `parts.py`) to value names. Raises EngineError for a graph without a scan."""
    graph = GraphIndex(model.graph)
    scans: dict[int, list[onnx.NodeProto]] = {}
    for node in graph.nodes:
        if node.domain == OP_DOMAIN and node.op_type == OP_NAME:
            scans.setdefault(int(node.name.split(".")[1]), []).append(node)
    if not scans:
        raise EngineError("the graph has no selective scan; expected an ONNX file written by vim-export.")
    probes = {}
    for index in sorted(scans):
        probes.update(_block_probes(graph, index, scans[index]))
    first = probes["layers.0.residual"]
    # A rotary embedding comes between the tokens and the residual stream.
    probes[TOKENS] = graph.upstream(first, lambda node: node.name.startswith("rope/"))
    probes[FINAL_NORM] = next(
        node.output[0] for node in reversed(graph.nodes) if node.name.startswith("norm_f/")
    )
    return probes


def _block_probes(graph: GraphIndex, index: int, scans: list[onnx.NodeProto]) -> dict[str, str]:
    block = f"layers.{index}"
    probes = {}
    for direction, node in zip(("forward", "backward"), scans, strict=False):
        inputs = by_name(node.input)
        probes[f"{block}.convolution {direction}"] = inputs["u"]
        probes[f"{block}.x_proj {direction}"] = graph.upstream(inputs["B"], _is_slicing)
        probes[f"{block}.dt_proj {direction}"] = inputs["delta"]
        probes[f"{block}.scan {direction}"] = node.output[0]
    in_proj = graph.upstream(by_name(scans[0].input)["z"], _is_slicing)
    out_proj = next(node for node in graph.nodes if node.name == f"{block}.mixer.out_proj/MatMul")
    probes[f"{block}.in_proj"] = in_proj
    norm = graph.producers[in_proj].input[0]
    probes[f"{block}.norm"] = norm
    normed = graph.upstream(norm, lambda node: node.op_type == "Cast")
    probes[f"{block}.residual"] = graph.upstream(normed, lambda node: node.name.startswith(f"{block}.norm/"))
    probes[f"{block}.sum"] = out_proj.input[0]
    probes[f"{block}.out_proj"] = _scaled(graph, out_proj.output[0], f"{block}.mixer")
    return probes


def _is_slicing(node: onnx.NodeProto) -> bool:
    return node.op_type in ("Split", "Slice")


def _scaled(graph: GraphIndex, value: str, module: str) -> str:
    """The block's output: the projection, or the projection times the layer scale."""
    for node in graph.nodes:
        if value in node.input and node.op_type == "Mul" and node.name.startswith(f"{module}/"):
            return node.output[0]
    return value


def with_probes(model: onnx.ModelProto, values: set[str]) -> onnx.ModelProto:
    """A copy with the given values as additional outputs, which a runtime cannot fuse away."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    there = {item.name for item in (*copy.graph.output, *copy.graph.input)}
    # Their types are the file's precision inside blocks; the scan's come from the function body.
    known = {item.name: item for item in onnx.shape_inference.infer_shapes(model).graph.value_info}
    for name in sorted(values - there):
        kind = known[name].type.tensor_type.elem_type if name in known else TensorProto.FLOAT
        copy.graph.output.append(helper.make_tensor_value_info(name, kind, [None, None, None]))
    return copy


def open_probed(target: Target, source: Path, threads: int | None = None) -> tuple[Artifact, dict[str, str]]:
    """The artifact rebuilt from `source` with probes and the same options, and the value names by part.

    Raises the EngineErrors of building and opening.
    """
    model = onnx.load_model_from_string(read_source(source).data)
    probes = find_probes(model)
    with tempfile.TemporaryDirectory(prefix="vim-validate-") as folder:
        path = Path(folder) / source.name
        onnx.save_model(with_probes(model, set(probes.values())), str(path))
        if target.mode != RunMode.ENGINE:
            return open_source_model(target, read_source(path), threads), probes
        manifest = read_manifest(target.path)
        if manifest.precision == Precision.BF16_MATMUL:
            raise EngineError(
                f"{target.path} computes matmuls in bfloat16 inside fused operators, which a graph with "
                "intermediate outputs does not have; drop --layers, or give an engine built without "
                "--cpu-precision."
            )
        engine = path.with_suffix(".engine")
        build_engine(path, engine, manifest.options.self_contained())
        artifact = open_artifact(Target(engine, RunMode.ENGINE), threads)
        artifact.target = target
        return artifact, probes
