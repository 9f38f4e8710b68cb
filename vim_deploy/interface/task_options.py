"""The options of tasks in Python: those of `vim-infer` that do not concern files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import click

from vim_deploy.errors import EngineError
from vim_deploy.options import converted
from vim_deploy.tasks.options import option_fields
from vim_deploy.tasks.spec import TaskSpec


def python_options(spec: TaskSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """The given options with values of the declared types.

    Raises EngineError for an option that the task does not have, one that concerns files, and an invalid
    value.
    """
    fields = {item.name: item for item in option_fields(spec)}
    own = [name for name, item in fields.items() if not _concerns_files(item)]
    for name in given:
        if name not in fields:
            raise EngineError(f"{name!r} is not an option of the task {spec.name}, {_which(own)}.")
        if name not in own:
            raise EngineError(
                f"{name!r} is an option of the command vim-infer for files; in Python, use the results. The "
                f"task {spec.name} {_which(own).removeprefix('which ')}."
            )
    return {name: converted(fields[name], value, EngineError) for name, value in given.items()}


def _concerns_files(item: dataclasses.Field[Any]) -> bool:
    settings = item.metadata.get("settings", {})
    return item.metadata.get("for_files", False) or isinstance(settings.get("type"), click.Path)


def _which(names: list[str]) -> str:
    return f"which has {', '.join(names)}" if names else "which has no options"
