"""Applying fusion to the graph of an engine; on CPUs with matmuls in float32 or bfloat16."""

from __future__ import annotations

from dataclasses import dataclass, field

from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions
from vim_deploy.errors import EngineError
from vim_deploy.ops.library import instruction_set
from vim_deploy.precision import Precision


@dataclass(frozen=True)
class FusedGraph:
    """A graph, its number of fused operators of each kind, and its precision if it is not the file's."""

    payload: bytes
    operators: dict[str, int] = field(default_factory=dict)
    precision: Precision | None = None


def check_cpu_precision(name: str, options: OnnxruntimeOptions, *, uses_library: bool) -> None:
    """Raises EngineError for options that exclude matmuls in bfloat16."""
    if options.cpu_precision == Precision.BF16 and not (
        uses_library and options.fuses and options.device == "cpu"
    ):
        raise EngineError(
            f"{name}: --cpu-precision bf16 needs the fused operators for the CPU; leave out --no-fusion, "
            "--no-library, --optimization none and --device cuda, or leave out --cpu-precision."
        )


def fuse_for_cuda(data: bytes) -> FusedGraph:
    """The graph with the fused operators that GPUs have, in every precision."""
    import onnx

    from vim_deploy.engines.fusion.domain import GPU_LIMITS
    from vim_deploy.engines.fusion.rewrite import fuse_mixers

    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(data))
    operators = fuse_mixers(model, GPU_LIMITS)
    return FusedGraph(model.SerializeToString() if operators else data, operators)


def fuse_graph(name: str, data: bytes, options: OnnxruntimeOptions) -> FusedGraph:
    """The graph with fused operators. Raises EngineError if no matmul can be in bfloat16 as requested."""
    import onnx

    from vim_deploy.engines.fusion.rewrite import fuse
    from vim_deploy.engines.onnxruntime.fusion.matmul import fuse_matmuls

    model = onnx.load_model_from_string(data)
    operators = fuse(model)
    bfloat16 = options.cpu_precision == Precision.BF16
    # With 16 lanes our float32 matmuls are as fast as the runtime's, with fewer lanes slower. Fusing them
    # with their neighbours saves synchronization between threads.
    if bfloat16 or instruction_set().startswith("avx512"):
        operators = fuse_matmuls(model, bfloat16=bfloat16)
    if bfloat16 and not any(kind.endswith("Bfloat16") for kind in operators):
        raise EngineError(f"{name} has no matmul that can be fused in bfloat16; leave out --cpu-precision.")
    payload = model.SerializeToString() if operators else data
    return FusedGraph(payload, operators, Precision.BF16_MATMUL if bfloat16 else None)
