"""Applying fusion to the graph of an engine; on CPUs with matmuls in float32, bfloat16 or int8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions
from vim_deploy.errors import EngineError
from vim_deploy.ops.library import instruction_set
from vim_deploy.precision import MATMUL_PRECISIONS, Precision

if TYPE_CHECKING:
    import numpy as np
    import onnx


@dataclass(frozen=True)
class FusedGraph:
    """A graph, its number of fused operators of each kind, and its precision if it is not the file's.

    `quantized`: for matmuls in int8, the file's graph with the same rounding in standard operators.
    """

    payload: bytes
    operators: dict[str, int] = field(default_factory=dict)
    precision: Precision | None = None
    quantized: bytes | None = None


def check_cpu_precision(name: str, options: OnnxruntimeOptions, *, uses_library: bool) -> None:
    """Raises EngineError for options that exclude matmuls in reduced precision."""
    if options.calibrate is not None and options.cpu_precision != "int8":
        raise EngineError(
            f"{name}: --calibrate is for --cpu-precision int8; add it, or leave out --calibrate."
        )
    if options.cpu_precision != Precision.FP32 and not (
        uses_library and options.fuses and options.device == "cpu"
    ):
        raise EngineError(
            f"{name}: --cpu-precision {options.cpu_precision} needs the fused operators for the CPU; leave "
            "out --no-fusion, --no-library, --optimization none and --device cuda, or leave out "
            "--cpu-precision."
        )


def fuse_for_cuda(data: bytes) -> FusedGraph:
    """The graph with the fused operators that GPUs have, in every precision."""
    import onnx

    from vim_deploy.engines.fusion.domain import GPU_LIMITS
    from vim_deploy.engines.fusion.rewrite import fuse_mixers

    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(data))
    operators = fuse_mixers(model, GPU_LIMITS)
    return FusedGraph(model.SerializeToString() if operators else data, operators)


def prepare(data: bytes, options: OnnxruntimeOptions) -> bytes:
    """The graph with first and last layers that `fuse_graph` can fuse and smoothing factors can be for."""
    import onnx

    from vim_deploy.engines.onnxruntime.fusion.ends import rewrite_ends

    model = onnx.load_model_from_string(data)
    rewrite_ends(model, patches=options.cpu_precision in MATMUL_PRECISIONS)
    return model.SerializeToString()


def fuse_graph(
    name: str, data: bytes, options: OnnxruntimeOptions, smoothing: Mapping[str, np.ndarray] | None = None
) -> FusedGraph:
    """The graph with fused operators, from a graph of `prepare`.

    Raises EngineError if no matmul can be in the requested precision.
    """
    import onnx

    from vim_deploy.engines.fusion.rewrite import fuse
    from vim_deploy.engines.onnxruntime.fusion.activations import fuse_activations
    from vim_deploy.engines.onnxruntime.fusion.int8 import INT8
    from vim_deploy.engines.onnxruntime.fusion.matmul import BFLOAT16, FLOAT32, fuse_matmuls

    model = onnx.load_model_from_string(data)
    operators = fuse(model)
    wanted = options.cpu_precision
    weights = {"fp32": FLOAT32, "bf16": BFLOAT16, "int8": INT8}[wanted]
    reduced = wanted in MATMUL_PRECISIONS
    # With 16 lanes our float32 matmuls are as fast as the runtime's, with fewer lanes slower. Fusing them
    # with their neighbors saves synchronization between threads.
    if reduced or instruction_set().startswith("avx512"):
        operators = fuse_matmuls(model, weights, smoothing)
    if reduced and not any(kind.endswith(weights.suffix) for kind in operators):
        raise EngineError(f"{name} has no matmul that can be fused in {wanted}; leave out --cpu-precision.")
    operators |= fuse_activations(model)
    payload = model.SerializeToString() if operators else data
    quantized = _quantized(data, model, smoothing or {}) if weights is INT8 else None
    return FusedGraph(payload, operators, MATMUL_PRECISIONS.get(wanted), quantized)


def _quantized(data: bytes, fused: onnx.ModelProto, smoothing: Mapping[str, np.ndarray]) -> bytes:
    """The file's graph with the matmuls that the fused graph has in int8 and bfloat16."""
    import onnx

    from vim_deploy.engines.onnxruntime.fusion.int8_reference import quantize_matmuls
    from vim_deploy.engines.onnxruntime.fusion.matmul import matmul_of_packed
    from vim_deploy.engines.onnxruntime.fusion.reduced_scan import round_time_steps, rounded_weights

    names = filter(None, (matmul_of_packed(tensor.name) for tensor in fused.graph.initializer))
    model = onnx.load_model_from_string(data)
    quantize_matmuls(model, set(names), smoothing)
    round_time_steps(model, rounded_weights(fused))
    return model.SerializeToString()
