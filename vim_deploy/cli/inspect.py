"""vim-inspect: what is in a file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click

from vim_deploy.cli.common import command, complete_files, echo, force_option, log_to_stderr, path_option
from vim_deploy.errors import OutputError
from vim_deploy.files import is_one_of


@command(
    examples=(
        "vim-inspect vim_tiny.engine",
        "vim-inspect vim_t_midclstok_76p1acc.pth --json",
        "vim-inspect vim_tiny.onnx --set-class-names names.txt -o named.onnx",
    )
)
@click.argument("file", shell_complete=complete_files)
@path_option(
    "--set-class-names",
    help="Write a copy of FILE with the class names in this file to -o; formats as for vim-export.",
)
@path_option("-o", "--output", help="With --set-class-names: the file to write.")
@force_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def main(file: str, set_class_names: Path | None, output: Path | None, force: bool, as_json: bool) -> None:
    """Show what is in FILE: an engine, an ONNX file made by vim-export, or a checkpoint (also
    hf://owner/repo[/file]).

    The model, its task, classes and preprocessing, the precision, the results of comparisons with the eager
    model, and for engines the runtime and the machine that they were built for. Nothing is run.

    Exit codes: 0 success, 2 user error; the message says how to fix it.
    """
    from vim_deploy.inspection import inspect, to_text

    log_to_stderr()
    if (set_class_names is None) != (output is None):
        raise click.UsageError("--set-class-names and -o are used together; give both or neither.")
    if set_class_names is not None and output is not None:
        file = _with_class_names(file, set_class_names, output, force)
    description = inspect(file)
    width = min(shutil.get_terminal_size().columns, 120)
    echo(json.dumps(description, indent=2) if as_json else to_text(description, width))


def _with_class_names(file: str, names: Path, output: Path, force: bool) -> str:
    from vim_deploy.class_names import read_class_names
    from vim_deploy.inspection.rename import set_class_names

    if is_one_of(output, [names]):
        raise OutputError(f"-o {output} is an input of this run; choose another name.")
    set_class_names(Path(file), read_class_names(names), output, force=force)
    return str(output)
