"""Intermediate outputs (probes): artifacts rebuilt with the values of a model's parts as outputs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from vim_deploy.engines.build import build_engine
from vim_deploy.engines.container import read_manifest
from vim_deploy.engines.source import read_source
from vim_deploy.errors import EngineError
from vim_deploy.families.parts import UNGATED
from vim_deploy.ops.signature import INPUT_NAMES
from vim_deploy.precision import MATMUL_PRECISIONS
from vim_deploy.validation.artifacts import Artifact, RunMode, Target, open_artifact, open_source_model

_GATE = 32.0
# The names of values in an exported graph, by part; see Family.probes.
FindProbes = Callable[[onnx.ModelProto], dict[str, str]]


def with_probes(model: onnx.ModelProto, values: set[str]) -> onnx.ModelProto:
    """A copy with the given values as additional outputs, which a runtime cannot fuse away."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    types = _element_types(model)
    for name in sorted(values):
        if name.endswith(UNGATED):
            _add_ungated(copy.graph, name.removesuffix(UNGATED), types)
    there = {item.name for item in (*copy.graph.output, *copy.graph.input)}
    # Their types are the file's precision inside blocks; the scan's come from the function body.
    known = {item.name: item for item in onnx.shape_inference.infer_shapes(copy).graph.value_info}
    for name in sorted(values - there):
        kind = known[name].type.tensor_type.elem_type if name in known else TensorProto.FLOAT
        output = helper.make_tensor_value_info(name, kind, None)
        if name in known:
            output.CopyFrom(known[name])
        copy.graph.output.append(output)
    return copy


def _element_types(model: onnx.ModelProto) -> dict[str, int]:
    values = onnx.shape_inference.infer_shapes(model).graph.value_info
    return {value.name: value.type.tensor_type.elem_type for value in values}


def _add_ungated(graph: onnx.GraphProto, gated: str, types: dict[str, int]) -> None:
    """Compute what the scan with the output `gated` is without its gate.

    The function body of the file multiplies every scan by silu(z). A second scan gets z = _GATE everywhere,
    for which silu is exactly _GATE in every floating-point type, and its output is divided by _GATE, which
    is a power of two.
    """
    index, scan = next((place, node) for place, node in enumerate(graph.node) if gated in node.output)
    twin = onnx.NodeProto()
    twin.CopyFrom(scan)
    z, value = scan.input[INPUT_NAMES.index("z")], gated + UNGATED
    twin.name, twin.output[0] = f"{value} scan", f"{value} scan"
    twin.input[INPUT_NAMES.index("z")] = f"{value} z"
    gate = helper.make_tensor(f"{value} gate", types[z], [], [_GATE])
    graph.initializer.append(gate)
    nodes = [
        helper.make_node("Shape", [z], [f"{value} shape"]),
        helper.make_node("Expand", [gate.name, f"{value} shape"], [f"{value} z"]),
        twin,
        helper.make_node("Div", [twin.output[0], gate.name], [value]),
    ]
    for place, node in enumerate(nodes):
        graph.node.insert(index + place, node)


def open_probed(
    target: Target, source: Path, find_probes: FindProbes, threads: int | None = None
) -> tuple[Artifact, dict[str, str]]:
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
        if manifest.precision in MATMUL_PRECISIONS.values():
            raise EngineError(
                f"{target.path} is in {manifest.precision}, which fused operators compute; a graph with "
                "intermediate outputs does not have them; drop --layers, or give an engine built without "
                "--cpu-precision."
            )
        engine = path.with_suffix(".engine")
        build_engine(path, engine, manifest.options.self_contained())
        artifact = open_artifact(Target(engine, RunMode.ENGINE), threads)
        artifact.target = target
        return artifact, probes
