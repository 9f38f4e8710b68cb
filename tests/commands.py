"""Runs commands in this process, and programs."""

from __future__ import annotations

import subprocess
from types import ModuleType
from typing import Any

import click
from click.testing import CliRunner, Result


def invoke(command: click.Command | ModuleType, *arguments: object, **options: Any) -> Result:
    """`command`: a command, or a module of vim_deploy.cli. `options`: of CliRunner.invoke."""
    main = command.main if isinstance(command, ModuleType) else command
    return CliRunner().invoke(main, [str(argument) for argument in arguments], **options)


def run(command: click.Command | ModuleType, *arguments: object, code: int = 0) -> Result:
    """Like `invoke`, and checks the exit code."""
    result = invoke(command, *arguments)
    assert result.exit_code == code, result.output
    return result


def output_of(*program: str) -> str:
    """What a program prints, which must succeed."""
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout
