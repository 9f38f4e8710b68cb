"""What becomes of a graph on the processor: fused operators, and the precision of their products."""

from __future__ import annotations

from dataclasses import dataclass

from vim_deploy.engines.base import BuildOptions
from vim_deploy.errors import EngineError
from vim_deploy.ops.library import instruction_set

CPU_PRECISIONS = ("fp32", "bf16")
# What an engine's manifest calls its precision: float32 but for the factors of matrix products.
BF16_PRODUCTS = "bf16-products"


@dataclass(frozen=True)
class Fused:
    """A graph, how many fused operators of each kind it has, and its precision if it is not the file's."""

    payload: bytes
    operators: dict[str, int]
    precision: str | None = None


def fuses(options: BuildOptions) -> bool:
    """Fused operators run on the processor; an engine without any optimisation is the file as it is."""
    return options.fuse and options.device == "cpu" and options.optimization != "none"


def check_cpu_precision(name: str, options: BuildOptions, *, uses_library: bool) -> None:
    """Refuses options with which products cannot be in bfloat16. Raises EngineError."""
    if options.cpu_precision not in CPU_PRECISIONS:
        raise EngineError(
            f"cpu precision is {options.cpu_precision!r}; expected one of {', '.join(CPU_PRECISIONS)}."
        )
    if options.cpu_precision == "bf16" and not (uses_library and fuses(options)):
        raise EngineError(
            f"{name}: --cpu-precision bf16 is a matter of fused operators on the processor; leave out "
            "--no-fusion, --no-library, --optimization none and --device cuda, or --cpu-precision."
        )


def fused(name: str, data: bytes, options: BuildOptions) -> Fused:
    """The graph with fused operators. Raises EngineError where products in bfloat16 find no place."""
    import onnx

    from vim_deploy.engines.onnxruntime.fusion.matmul import join_products
    from vim_deploy.engines.onnxruntime.fusion.rewrite import fuse

    model = onnx.load_model_from_string(data)
    operators = fuse(model)
    bfloat16 = options.cpu_precision == "bf16"
    # Our products in float32 are as fast as the runtime's with 16 lanes, and slower with fewer; joined to
    # their neighbours they save hand-overs between threads.
    if bfloat16 or instruction_set().startswith("avx512"):
        operators = join_products(model, bfloat16=bfloat16)
    if bfloat16 and not any(kind.endswith("Bfloat16") for kind in operators):
        raise EngineError(
            f"{name} has no matrix products of the form that fused operators hold; leave out --cpu-precision."
        )
    payload = model.SerializeToString() if operators else data
    return Fused(payload, operators, BF16_PRODUCTS if bfloat16 else None)
