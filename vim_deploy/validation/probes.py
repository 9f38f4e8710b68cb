"""Looking inside an exported graph: which of its values is which part, and the graph that gives them out."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from vim_deploy.engines.base import BuildOptions
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.container import read_manifest
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.onnxruntime.fusion.apply import BF16_PRODUCTS
from vim_deploy.engines.source import read_source
from vim_deploy.engines.tensorrt.options import TensorrtOptions
from vim_deploy.errors import EngineError
from vim_deploy.onnx_graph.index import GraphIndex
from vim_deploy.ops.signature import OP_DOMAIN, OP_NAME, by_name
from vim_deploy.validation.artifacts import ENGINE, Artifact, Way, open_artifact, open_source_model
from vim_deploy.validation.parts import FINAL_NORM, TOKENS


def find_taps(model: onnx.ModelProto) -> dict[str, str]:
    """Part names (see `parts.py`) to value names. Raises EngineError for a graph that is not as exported."""
    graph = GraphIndex(model.graph)
    scans: dict[int, list[onnx.NodeProto]] = {}
    for node in graph.nodes:
        if node.domain == OP_DOMAIN and node.op_type == OP_NAME:
            scans.setdefault(int(node.name.split(".")[1]), []).append(node)
    if not scans:
        raise EngineError("the graph has no selective scan; expected a file made by vim-export.")
    taps = {}
    for index in sorted(scans):
        taps.update(_block_taps(graph, index, scans[index]))
    first = taps["layers.0.residual"]
    # Rotary embedding, where there is one, lies between the tokens and the stream.
    taps[TOKENS] = graph.upstream(first, lambda node: node.name.startswith("rope/"))
    taps[FINAL_NORM] = next(
        node.output[0] for node in reversed(graph.nodes) if node.name.startswith("norm_f/")
    )
    return taps


def _block_taps(graph: GraphIndex, index: int, scans: list[onnx.NodeProto]) -> dict[str, str]:
    block = f"layers.{index}"
    taps = {}
    for way, node in zip(("forward", "backward"), scans, strict=False):
        inputs = by_name(node.input)
        taps[f"{block}.convolution {way}"] = inputs["u"]
        taps[f"{block}.x_proj {way}"] = graph.upstream(inputs["B"], _is_slicing)
        taps[f"{block}.dt_proj {way}"] = inputs["delta"]
        taps[f"{block}.scan {way}"] = node.output[0]
    in_proj = graph.upstream(by_name(scans[0].input)["z"], _is_slicing)
    out_proj = next(node for node in graph.nodes if node.name == f"{block}.mixer.out_proj/MatMul")
    taps[f"{block}.in_proj"] = in_proj
    norm = graph.producers[in_proj].input[0]
    taps[f"{block}.norm"] = norm
    normed = graph.upstream(norm, lambda node: node.op_type == "Cast")
    taps[f"{block}.residual"] = graph.upstream(normed, lambda node: node.name.startswith(f"{block}.norm/"))
    taps[f"{block}.sum"] = out_proj.input[0]
    taps[f"{block}.out_proj"] = _scaled(graph, out_proj.output[0], f"{block}.mixer")
    return taps


def _is_slicing(node: onnx.NodeProto) -> bool:
    return node.op_type in ("Split", "Slice")


def _scaled(graph: GraphIndex, value: str, module: str) -> str:
    """What the block hands on: the projection, or its product with the layer scale."""
    for node in graph.nodes:
        if value in node.input and node.op_type == "Mul" and node.name.startswith(f"{module}/"):
            return node.output[0]
    return value


def tapped(model: onnx.ModelProto, values: set[str]) -> onnx.ModelProto:
    """A copy with the given values as further outputs. What computes them is unchanged; a runtime cannot
    merge a value away that it has to give out."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    there = {item.name for item in (*copy.graph.output, *copy.graph.input)}
    # Their types are the file's precision inside blocks; the scan's come from the function body.
    known = {item.name: item for item in onnx.shape_inference.infer_shapes(model).graph.value_info}
    for name in sorted(values - there):
        kind = known[name].type.tensor_type.elem_type if name in known else TensorProto.FLOAT
        copy.graph.output.append(helper.make_tensor_value_info(name, kind, [None, None, None]))
    return copy


def _options_of(manifest: Manifest) -> BuildOptions:
    """Those that an engine was built with; but with its weights, so that it opens without its file."""
    settings = manifest.settings
    return BuildOptions(
        device=manifest.device,
        threads=settings.get("threads"),
        optimization=settings.get("optimization", BuildOptions.optimization),
        use_library=manifest.operator.get("implementation") != "function",
        fuse=bool(settings.get("fused")),
        tensorrt=replace(TensorrtOptions.recorded(settings), strip=False),
    )


def open_tapped(way: Way, source: Path, threads: int | None = None) -> tuple[Artifact, dict[str, str]]:
    """The artifact built once more from `source` with taps, in the way it was built, and its taps.

    Raises EngineError as building and opening do.
    """
    model = onnx.load_model_from_string(read_source(source).data)
    taps = find_taps(model)
    with tempfile.TemporaryDirectory(prefix="vim-validate-") as folder:
        path = Path(folder) / source.name
        onnx.save_model(tapped(model, set(taps.values())), str(path))
        if way.how != ENGINE:
            return open_source_model(way, read_source(path), threads), taps
        manifest = read_manifest(way.path)
        if manifest.precision == BF16_PRODUCTS:
            raise EngineError(
                f"{way.path} has products in bfloat16 inside fused operators, which a network that gives out "
                "its parts does not have; leave out --layers, or give an engine made without --cpu-precision."
            )
        options = _options_of(manifest)
        engine = path.with_suffix(".engine")
        build_engine(path, engine, backend=manifest.backend, options=options)
        artifact = open_artifact(Way(engine, ENGINE), threads)
        artifact.way = way
        return artifact, taps
