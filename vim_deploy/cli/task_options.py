"""Options that belong to a task. They are read from the task registry when the command is called."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import click
from click.core import ParameterSource

from vim_deploy.cli.sections import SectionedCommand
from vim_deploy.options import click_option
from vim_deploy.tasks.options import Role, option_fields
from vim_deploy.tasks.registry import TASKS


class TaskOptionsCommand(SectionedCommand):
    """A command with the options of all registered tasks, each task's in its own section of the help."""

    role: ClassVar[Role] = "options"

    def sections(self) -> dict[str, list[click.Option]]:
        parameters = _task_parameters(TASKS.names(), self.role)
        return {
            f"Options of the task {name}": [
                parameters[item.name] for item in option_fields(TASKS.get(name), self.role)
            ]
            for name in TASKS.names()
        }


@cache
def _task_parameters(tasks: tuple[str, ...], role: Role) -> dict[str, click.Option]:
    """By name; an option of several tasks is one parameter."""
    parameters: dict[str, click.Option] = {}
    for item in (item for name in tasks for item in option_fields(TASKS.get(name), role)):
        parameters.setdefault(item.name, click_option(item))
    return parameters


def take_task_options(given: dict[str, Any], role: Role = "options") -> dict[str, Any]:
    """Removes the values of task options from `given` and returns those that are on the command line."""
    context = click.get_current_context()
    values = {name: given.pop(name) for name in _task_parameters(TASKS.names(), role)}
    return {
        name: value
        for name, value in values.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
