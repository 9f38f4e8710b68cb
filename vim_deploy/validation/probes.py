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
from vim_deploy.precision import Precision
from vim_deploy.validation.artifacts import Artifact, RunMode, Target, open_artifact, open_source_model

# The names of values in an exported graph, by part; see Family.probes.
FindProbes = Callable[[onnx.ModelProto], dict[str, str]]


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
