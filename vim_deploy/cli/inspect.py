"""vim-inspect: what is in a file."""

from __future__ import annotations

import json
import shutil

import click

from vim_deploy.cli.common import command, echo


@command()
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def main(file: str, as_json: bool) -> None:
    """Show what is in FILE: an engine, an ONNX file made by vim-export, or a checkpoint (also
    hf://owner/repo[/file]).

    The model, its task, classes and preprocessing, the precision, the results of comparisons with the eager
    model, and for engines the runtime and the machine that they were built for. Nothing is run.

    Exit codes: 0 success, 2 user error; the message says how to fix it.
    """
    from vim_deploy.inspection import inspect, to_text

    description = inspect(file)
    width = min(shutil.get_terminal_size().columns, 120)
    echo(json.dumps(description, indent=2) if as_json else to_text(description, width))
