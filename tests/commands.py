"""Runs a command in this process, and checks its exit code."""

from __future__ import annotations

from types import ModuleType

from click.testing import CliRunner, Result


def run(command: ModuleType, *arguments: object, code: int = 0) -> Result:
    """`command`: a module of vim_deploy.cli. `code`: the expected exit code."""
    result = CliRunner().invoke(command.main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result
