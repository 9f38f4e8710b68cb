"""vim-build: from an exported ONNX file to an engine."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vim_deploy.cli.common import (
    command,
    device_option,
    log_to_stderr,
    quiet_option,
    stages,
    threads_option,
)
from vim_deploy.cli.tensorrt_options import NAMES, options_of, refuse_given, tensorrt_options
from vim_deploy.engines.registry import BACKENDS, DEFAULT_DEVICES

if TYPE_CHECKING:
    from vim_deploy.engines.manifest import Manifest

OPTIMIZATIONS = ("all", "extended", "basic", "none")
_ONNXRUNTIME_ONLY = ("threads", "optimization", "no_library", "no_fusion", "cpu_precision")


@command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Engine file to write.")
@click.option("--backend", type=click.Choice(tuple(BACKENDS)), default="onnxruntime", show_default=True)
@device_option(None, "Device the engine is for.  [default: cpu; cuda for TensorRT]")
@threads_option
@click.option(
    "--optimization",
    type=click.Choice(OPTIMIZATIONS),
    default="all",
    show_default=True,
    help="Graph optimisation; 'all' ties the engine to this processor's instruction set.",
)
@click.option(
    "--no-library",
    is_flag=True,
    help="Run the selective scan as standard operators, without the operator library: several times slower.",
)
@click.option(
    "--no-fusion",
    is_flag=True,
    help="Keep the file's own operators instead of faster ones made for the processor.",
)
@click.option(
    "--cpu-precision",
    type=click.Choice(("fp32", "bf16")),
    default="fp32",
    show_default=True,
    help="Factors of matrix products on the processor. bf16 is quicker where the processor has bfloat16 "
    "products; sums, norms and the scan stay fp32. The error is in the manifest.",
)
@tensorrt_options
@click.option("--json", "as_json", is_flag=True, help="Print the engine's manifest on stdout.")
@quiet_option
def main(
    model: Path,
    output: Path,
    backend: str,
    device: str | None,
    threads: int | None,
    optimization: str,
    no_library: bool,
    no_fusion: bool,
    cpu_precision: str,
    as_json: bool,
    quiet: bool,
    **tensorrt: Any,
) -> None:
    """Build an engine from MODEL, an ONNX file made by vim-export.

    The engine holds the optimised network and a manifest of what it was built from, with what, and for which
    machine. It is compared with MODEL on random pixels before it is written.

    Exit codes: 0 built, 2 something the message tells how to mend.
    """
    from vim_deploy.engines.base import BuildOptions
    from vim_deploy.engines.build import build_engine

    if backend == "tensorrt":
        refuse_given(_ONNXRUNTIME_ONLY, "for --backend onnxruntime alone.")
    else:
        refuse_given(NAMES, "for --backend tensorrt alone.")
    log_to_stderr(quiet)
    started = time.perf_counter()
    with stages("vim-build", quiet) as report:
        report(f"{output.name} for {backend}")
        options = BuildOptions(
            device or DEFAULT_DEVICES[backend],
            threads,
            optimization,
            use_library=not no_library,
            tensorrt=options_of(tensorrt),
            fuse=not no_fusion,
            cpu_precision=cpu_precision,
        )
        manifest = build_engine(model, output, backend=backend, options=options)
    if as_json:
        click.echo(json.dumps(manifest.to_dict(), indent=2, sort_keys=True))
    if not quiet:
        click.echo(_summary(output, manifest, time.perf_counter() - started), err=True)


def _summary(output: Path, manifest: Manifest, seconds: float) -> str:
    scan = {
        "library": "operator library",
        "plugin": "plugin",
        "function": "function body (slow; --no-library)",
        "none": "not in this model",
    }.get(manifest.operator.get("implementation", ""), "see the manifest")
    check = manifest.self_check
    if check.get("compared", True):
        largest, relative = (check.get(key, float("nan")) for key in ("max_abs_diff", "max_relative_diff"))
        compared = (
            f"differs from {manifest.source.name} by {largest:.1e}, {relative:.1e} of the largest value"
        )
    else:
        compared = f"NOT compared with {manifest.source.name}"
    return (
        f"{output}: {manifest.payload.bytes / 1e6:.1f} MB in {seconds:.1f} s, {manifest.backend} on "
        f"{manifest.device}, {manifest.precision}, selective scan: {scan}, {compared}"
    )
