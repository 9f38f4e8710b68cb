"""vim-build: from an exported ONNX file to an engine."""

from __future__ import annotations

import json
import time
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from vim_deploy.cli.common import (
    command,
    echo,
    force_option,
    log_to_stderr,
    path_option,
    quiet_option,
    stages,
)
from vim_deploy.cli.registry_type import RegistryType
from vim_deploy.cli.sections import SectionedCommand
from vim_deploy.engines.registry import BACKENDS, DEFAULT_BACKEND, all_devices
from vim_deploy.options import click_option

if TYPE_CHECKING:
    from vim_deploy.engines.manifest import Manifest
    from vim_deploy.engines.spec import BuildOptions


class _BuildCommand(SectionedCommand):
    """Has the options of all registered backends."""

    def sections(self) -> dict[str, tuple[click.Option, ...]]:
        return {
            f"{BACKENDS.get(name).title} options (--backend {name})": _click_options(name)
            for name in BACKENDS.names()
        }


@cache
def _click_options(backend: str) -> tuple[click.Option, ...]:
    """A backend's own options; `--device` is common to all."""
    return tuple(
        click_option(item) for item in fields(BACKENDS.get(backend).options) if item.name != "device"
    )


def build_options(context: click.Context) -> BuildOptions:
    """The options of a parsed command line. Raises UsageError for options of another backend."""
    backend: str = context.params["backend"]
    given = {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    own = {option.name for option in _click_options(backend)}
    for other in BACKENDS.names():
        foreign = [
            (option.secondary_opts if given[option.name] is False else option.opts)[-1]
            for option in _click_options(other)
            if option.name in given.keys() - own
        ]
        if foreign:
            raise click.UsageError(f"{', '.join(foreign)}: only valid with --backend {other}.")
    return BACKENDS.get(backend).options(**{name: given[name] for name in {*own, "device"} & given.keys()})


_DEFAULT_DEVICES = ", ".join(f"{BACKENDS.get(name).devices[0]} for {name}" for name in BACKENDS.names())


@command(
    _BuildCommand,
    examples=(
        "vim-build vim_tiny.onnx -o vim_tiny.engine",
        "vim-build vim_tiny.onnx -o vim_tiny.engine --cpu-precision bf16",
        "vim-build vim_tiny.onnx -o vim_tiny_trt.engine --backend tensorrt",
    ),
)
@click.argument("model", type=click.Path(path_type=Path))
@path_option("-o", "--output", required=True, help="Engine file to write.")
@click.option(
    "--backend",
    type=RegistryType(BACKENDS),
    default=DEFAULT_BACKEND,
    help="Runtime that the engine is built for.",
)
@click.option(
    "--device",
    type=click.Choice(all_devices()),
    help=f"Device that the engine runs on.  [default: {_DEFAULT_DEVICES}]",
)
@force_option
@click.option("--json", "as_json", is_flag=True, help="Print the engine's manifest to stdout.")
@quiet_option
@click.pass_context
def main(
    context: click.Context,
    model: Path,
    output: Path,
    force: bool,
    as_json: bool,
    quiet: bool,
    **values: Any,
) -> None:
    """Build an engine from MODEL, an ONNX file made by vim-export.

    An engine file contains the optimized network and a manifest: what it was built from, with which options,
    and for which machine. Before it is written, the engine is compared with MODEL on random pixels.

    Exit codes: 0 built, 2 user error (the message says how to fix it).
    """
    from vim_deploy.engines.build import build_engine

    options = build_options(context)
    log_to_stderr(quiet)
    started = time.perf_counter()
    with stages("vim-build", quiet) as report:
        report(f"{output.name} for {options.backend}")
        manifest = build_engine(model, output, options, force=force)
    if as_json:
        echo(json.dumps(manifest.to_dict(), indent=2, sort_keys=True))
    if not quiet:
        echo(_summary(output, manifest, time.perf_counter() - started), err=True)


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
