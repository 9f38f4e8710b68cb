"""What every command prints."""

from __future__ import annotations

import logging

import click
import commands
import pytest

from vim_deploy.cli.common import command, console, echo, log_to_stderr
from vim_deploy.errors import EngineError

TITLE, SHOWN = "\x1b]0;owned\a", r"\x1b]0;owned\x07"


@command()
@click.argument("how", type=click.Choice(("error", "log", "echo", "console")))
def shows(how: str) -> None:
    if how == "error":
        raise EngineError(TITLE)
    if how == "log":
        log_to_stderr()
        logging.getLogger("vim_deploy").warning("%s", TITLE)
    elif how == "echo":
        echo(TITLE)
    else:
        from rich.table import Table

        table = Table("name", title=TITLE)
        table.add_row(TITLE)
        console(stderr=False).print(table)
        console(stderr=False).print(TITLE)


@command()
def repeats() -> None:
    log_to_stderr()
    for number in (1, 1, 2, 1):
        logging.getLogger("vim_deploy").warning("opened %s", number)


def test_a_repeated_line_of_the_log_is_printed_once_without_verbose():
    found = commands.invoke(repeats).stderr.splitlines()
    assert found == ["warning: opened 1", "warning: opened 2"]
    assert len(commands.invoke(repeats, "--verbose").stderr.splitlines()) == 4


@pytest.mark.parametrize("how", ["error", "log", "echo", "console", f"other{TITLE}"])
def test_control_characters_are_escaped(how: str):
    result = commands.invoke(shows, how, color=True)
    assert SHOWN in result.output or repr(f"other{TITLE}") in result.output
    assert not {"\x1b", "\a"} & set(result.output)
