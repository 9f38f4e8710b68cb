"""The options of vim-infer that belong to a task. They are read from the task registry when it is called."""

from __future__ import annotations

from functools import cache
from typing import Any

import click

from vim_deploy.cli.common import Command
from vim_deploy.tasks.options import flag, option_fields
from vim_deploy.tasks.registry import TASKS


class TaskOptionsCommand(Command):
    """A command with the options of all registered tasks, each task's in its own section of the help."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *_task_parameters(TASKS.names()).values()]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        parameters = _task_parameters(TASKS.names())
        sections = {"Options": super().get_params(ctx)}
        for name in TASKS.names():
            fields = option_fields(TASKS.get(name))
            sections[f"Options of the task {name}"] = [parameters[item.name] for item in fields]
        for title, section in sections.items():
            options = [parameter for parameter in section if isinstance(parameter, click.Option)]
            records = [option.get_help_record(ctx) for option in options]
            if shown := [record for record in records if record is not None]:
                with formatter.section(title):
                    formatter.write_dl(shown)


@cache
def _task_parameters(tasks: tuple[str, ...]) -> dict[str, click.Parameter]:
    """By name; an option of several tasks is one parameter."""
    parameters: dict[str, click.Parameter] = {}
    for item in (item for name in tasks for item in option_fields(TASKS.get(name))):
        settings = {"show_default": item.default not in (None, False), **item.metadata["settings"]}
        option = click.Option([flag(item.name)], default=item.default, **settings)
        parameters.setdefault(item.name, option)
    return parameters


def take_task_options(given: dict[str, Any]) -> dict[str, Any]:
    """Removes the values of task options from `given` and returns those that differ from their defaults."""
    values = {name: (given.pop(name), item.default) for name, item in _task_parameters(TASKS.names()).items()}
    return {name: value for name, (value, default) in values.items() if value != default}
