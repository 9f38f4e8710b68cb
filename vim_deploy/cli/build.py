"""vim-build: from an exported ONNX file to an engine."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vim_deploy.cli.common import (
    command,
    device_option,
    log_to_stderr,
    quiet_option,
    stages,
    threads_option,
)
from vim_deploy.engines.registry import BACKENDS

if TYPE_CHECKING:
    from vim_deploy.engines.manifest import Manifest

OPTIMIZATIONS = ("all", "extended", "basic", "none")


@command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Engine file to write.")
@click.option("--backend", type=click.Choice(tuple(BACKENDS)), default="onnxruntime", show_default=True)
@device_option("cpu", "Device the engine is for.")
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
@click.option("--json", "as_json", is_flag=True, help="Print the engine's manifest on stdout.")
@quiet_option
def main(
    model: Path,
    output: Path,
    backend: str,
    device: str,
    threads: int | None,
    optimization: str,
    no_library: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Build an engine from MODEL, an ONNX file made by vim-export.

    The engine holds the optimised network and a manifest of what it was built from, with what, and for which
    machine. It is compared with MODEL on random pixels before it is written.

    Exit codes: 0 built, 2 something the message tells how to mend.
    """
    from vim_deploy.engines.base import BuildOptions
    from vim_deploy.engines.build import build_engine

    log_to_stderr(quiet)
    started = time.perf_counter()
    with stages("vim-build", quiet) as report:
        report(f"{output.name} for {backend}")
        options = BuildOptions(device, threads, optimization, use_library=not no_library)
        manifest = build_engine(model, output, backend=backend, options=options)
    if as_json:
        click.echo(json.dumps(manifest.to_dict(), indent=2, sort_keys=True))
    if not quiet:
        click.echo(_summary(output, manifest, time.perf_counter() - started), err=True)


def _summary(output: Path, manifest: Manifest, seconds: float) -> str:
    scan = {
        "library": "operator library",
        "function": "function body (slow; --no-library)",
        "none": "not in this model",
    }.get(manifest.operator.get("implementation", ""), "see the manifest")
    return (
        f"{output}: {manifest.payload.bytes / 1e6:.1f} MB in {seconds:.1f} s, {manifest.backend} on "
        f"{manifest.device}, {manifest.precision}, selective scan: {scan}, "
        f"differs from {manifest.source.name} by {manifest.self_check.get('max_abs_diff', float('nan')):.1e}"
    )
