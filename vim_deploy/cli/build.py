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
    with_options,
)
from vim_deploy.cli.registry_type import RegistryType
from vim_deploy.cli.sections import SectionedCommand
from vim_deploy.engines.registry import BACKENDS, DEFAULT_BACKEND, all_devices
from vim_deploy.options import click_option
from vim_deploy.serving import SERVER_BACKENDS

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


_REPOSITORY_OPTIONS = (
    path_option(
        "--triton",
        metavar="FOLDER",
        help="Write a model repository of Triton Inference Server to this folder instead of an engine.",
    ),
    click.option("--name", help="With --triton: the model's name.  [default: the file's name]"),
    click.option(
        "--triton-backend",
        "server_backend",
        type=click.Choice(SERVER_BACKENDS),
        help="With --triton: the server's backend that runs the network. 'python' runs an engine with this "
        f"package.  [default: {SERVER_BACKENDS[0]}]",
    ),
    path_option(
        "--served-from",
        metavar="PATH",
        help="With --triton: path of the folder on the server, if it is a different one.",
    ),
)
_DEFAULT_DEVICES = ", ".join(f"{BACKENDS.get(name).devices[0]} for {name}" for name in BACKENDS.names())


@command(
    _BuildCommand,
    examples=(
        "vim-build vim_tiny.onnx -o vim_tiny.engine",
        "vim-build vim_tiny.onnx -o vim_tiny.engine --cpu-precision bf16",
        "vim-build vim_tiny.onnx -o vim_tiny_trt.engine --backend tensorrt",
        "vim-build vim_tiny.onnx --triton repository/ --name vim_tiny",
    ),
)
@click.argument("model", type=click.Path(path_type=Path))
@path_option("-o", "--output", help="Engine file to write. Required without --triton.")
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
@with_options(_REPOSITORY_OPTIONS)
@force_option
@click.option("--json", "as_json", is_flag=True, help="Print the engine's manifest to stdout.")
@quiet_option
@click.pass_context
def main(
    context: click.Context,
    model: Path,
    output: Path | None,
    triton: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    **values: Any,
) -> None:
    """Build an engine from MODEL, an ONNX file made by vim-export.

    An engine file contains the optimized network and a manifest: what it was built from, with which options,
    and for which machine. Before it is written, the engine is compared with MODEL on random pixels.

    With --triton, a folder for Triton Inference Server is written instead: a model that takes tensors, and
    one that takes encoded images.

    Exit codes: 0 built, 2 user error (the message says how to fix it).
    """
    from vim_deploy.engines.build import build_engine
    from vim_deploy.serving.repository import write_repository

    names = ("name", "server_backend", "served_from")
    repository_options = {name: values[name] for name in names if values[name] is not None}
    if (output is None) == (triton is None):
        raise click.UsageError("Give either -o / --output or --triton.")
    if triton is None and repository_options:
        raise click.UsageError("--name, --triton-backend and --served-from are only valid with --triton.")
    options = build_options(context)
    log_to_stderr(quiet)
    started = time.perf_counter()
    with stages("vim-build", quiet) as report:
        if output is not None:
            report(f"{output.name} for {options.backend}")
            manifest = build_engine(model, output, options, force=force)
            written = f"{output}: {manifest.payload.bytes / 1e6:.1f} MB"
        else:
            assert triton is not None
            report(f"{triton.name} for {options.backend}")
            repository = write_repository(model, triton, options, force=force, **repository_options)
            manifest, written = repository.manifest, f"{triton}: {' and '.join(repository.models)}"
    if as_json:
        echo(json.dumps(manifest.to_dict(), indent=2, sort_keys=True))
    if not quiet:
        echo(_summary(written, manifest, time.perf_counter() - started), err=True)


def _summary(written: str, manifest: Manifest, seconds: float) -> str:
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
        f"{written} in {seconds:.1f} s, {manifest.backend} on {manifest.device}, {manifest.precision}, "
        f"selective scan: {scan}, {compared}"
    )
