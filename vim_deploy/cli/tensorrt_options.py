"""The options of vim-build that are TensorRT's."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from vim_deploy.cli.common import size, with_options

if TYPE_CHECKING:
    from vim_deploy.engines.tensorrt.options import TensorrtOptions

_ONE_OR_MORE = click.IntRange(min=1)

# The names are the fields of TensorrtOptions.
_OPTIONS = (
    click.option("--min-batch", type=_ONE_OR_MORE, help="TensorRT: smallest batch.  [default: 1]"),
    click.option("--opt-batch", type=_ONE_OR_MORE, help="TensorRT: batch it is tuned for.  [default: 8]"),
    click.option("--max-batch", type=_ONE_OR_MORE, help="TensorRT: largest batch.  [default: 32]"),
    *(
        click.option(
            f"--{end}-size",
            type=size,
            metavar="HxW",
            help=f"TensorRT: {what} height and width, where the file leaves them open.  [default: {default}]",
        )
        for end, what, default in (
            ("min", "smallest", "the opt size"),
            ("opt", "tuned", "what the file's preprocessing makes"),
            ("max", "largest", "the opt size"),
        )
    ),
    click.option(
        "--workspace",
        "workspace_mib",
        type=_ONE_OR_MORE,
        metavar="MIB",
        help="TensorRT: memory that one layer may use while it runs.  [default: TensorRT's]",
    ),
    click.option(
        "--builder-level",
        "level",
        type=click.IntRange(0, 5),
        help="TensorRT: how long it searches, 0 to 5.  [default: TensorRT's]",
    ),
    click.option(
        "--timing-cache",
        type=click.Path(path_type=Path, dir_okay=False),
        help="TensorRT: file with timings of earlier builds; read, if there, and written.",
    ),
    click.option(
        "--layers",
        type=click.Path(path_type=Path, dir_okay=False),
        help="TensorRT: write the built engine's layer information, JSON, to this file.",
    ),
    click.option(
        "--hardware",
        type=click.Choice(("none", "ampere_plus", "same_compute_capability")),
        default="none",
        show_default=True,
        help="TensorRT: which other GPUs the engine runs on.",
    ),
    click.option(
        "--version-compatible",
        is_flag=True,
        help="TensorRT: for later versions of the same major version, too; opening it runs code in the file.",
    ),
    click.option("--refit", is_flag=True, help="TensorRT: the engine's weights can be exchanged."),
    click.option(
        "--strip",
        is_flag=True,
        help="TensorRT 10 and later: an engine without weights, for vim-infer --source MODEL.",
    ),
)
NAMES = (
    "min_batch", "opt_batch", "max_batch", "min_size", "opt_size", "max_size", "workspace_mib",
    "level", "timing_cache", "layers", "hardware",
    "version_compatible", "refit", "strip",
)  # fmt: skip


tensorrt_options = with_options(_OPTIONS)


def options_of(values: dict[str, Any]) -> TensorrtOptions:
    """From the keyword arguments that `tensorrt_options` gives a command."""
    from vim_deploy.engines.tensorrt.options import TensorrtOptions

    return TensorrtOptions(**values)


def refuse_given(names: Iterable[str], reason: str) -> None:
    """A usage error that names the options of `names` that are on the command line, if there are any."""
    context = click.get_current_context()
    given = [
        parameter.opts[-1]
        for parameter in context.command.params
        if parameter.name in names
        and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"{', '.join(given)}: {reason}")
