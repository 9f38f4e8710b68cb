"""Build options of the ONNX Runtime backend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import click

from vim_deploy.engines.spec import MAX_THREADS, BuildOptions, device_option, fusion_option
from vim_deploy.options import option
from vim_deploy.precision import MATMUL_PRECISIONS, Precision

OPTIMIZATIONS = ("all", "extended", "basic", "none")


@dataclass(frozen=True)
class OnnxruntimeOptions(BuildOptions):
    """`threads` None: all CPUs that this process may use."""

    backend: ClassVar[str] = "onnxruntime"

    device: str = device_option("cpu", "cuda")
    threads: int | None = option(
        None,
        type=click.IntRange(1, MAX_THREADS),
        help="Threads of one inference.  [default: all CPUs that the process may use]",
    )
    optimization: str = option(
        "all",
        type=click.Choice(OPTIMIZATIONS),
        help="Graph optimization level. 'all' ties CPU engines of networks with several convolutions, such "
        "as segmenters and detectors, to this CPU's instruction set.",
    )
    use_library: bool = option(
        True,
        flag="--library/--no-library",
        help="Run the selective scan with the operator library. Without it standard operators are used, "
        "which is several times slower.",
    )
    fuse: bool = fusion_option()
    cpu_precision: str = option(
        Precision.FP32.value,
        type=click.Choice((Precision.FP32.value, *MATMUL_PRECISIONS)),
        help="On CPU: precision of matmul inputs. bf16 is faster on CPUs with bfloat16 instructions, int8 on "
        "all CPUs; norms and the scan stay in fp32. The manifest records the error.",
    )
    calibrate: Path | None = option(
        None,
        type=click.Path(path_type=Path),  # checked by a build only: an engine outlives the folder
        metavar="FOLDER",
        help="With --cpu-precision int8: images from which smoothing factors of matmul inputs are computed.",
    )

    @property
    def fuses(self) -> bool:
        """Whether fused operators are used: level 'none' keeps the file's graph."""
        return self.fuse and self.use_library and self.optimization != "none"
