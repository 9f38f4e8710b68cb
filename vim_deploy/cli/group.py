"""All commands as one: `python -m vim_deploy COMMAND`. Only the module of the chosen command is imported."""

from __future__ import annotations

from importlib import import_module

import click
from click.shell_completion import get_completion_class

from vim_deploy.cli.common import HELP_OPTIONS, with_version

COMMANDS = ("export", "build", "infer", "validate", "bench", "inspect", "cache", "doctor")
_SHELLS = ("bash", "zsh", "fish")


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        found: click.Command = import_module(f"vim_deploy.cli.{cmd_name}").main
        return found


@with_version
@click.group(cls=_Group, context_settings=HELP_OPTIONS)
def main() -> None:
    """Deploy trained Vision Mamba models: export checkpoints to ONNX, build engines and run them.

    Every command is also installed under its own name, such as vim-export.
    """


@main.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print the shell completion of all vim- commands.

    For bash, add this line to ~/.bashrc: eval "$(python -m vim_deploy completion bash)"
    """
    kind = get_completion_class(shell)
    assert kind is not None  # one of _SHELLS
    for name in COMMANDS:
        program = f"vim-{name}"
        variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
        click.echo(kind(main, {}, program, variable).source())
