"""The options of a task, see `vim_deploy.options`. No runtime, no numpy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from vim_deploy.errors import EngineError
from vim_deploy.options import RunPaths, flag_of, paths_of
from vim_deploy.registry import load_object
from vim_deploy.tasks.registry import TASKS
from vim_deploy.tasks.spec import TaskSpec

Role: TypeAlias = Literal["options", "export_options"]  # of vim-infer and of vim-export


@dataclass(frozen=True)
class NoOptions:
    """The options of a task that has none."""


def option_fields(spec: TaskSpec, role: Role = "options") -> tuple[dataclasses.Field[Any], ...]:
    """The fields of the task's options."""
    return dataclasses.fields(load_object(getattr(spec, role)))


def task_options(spec: TaskSpec, given: Mapping[str, Any], source: str, role: Role = "options") -> Any:
    """The task's options dataclass with the `given` values; `source` names the engine or model in errors.

    Raises EngineError for options that the task does not have.
    """
    own = {item.name for item in option_fields(spec, role)}
    if foreign := [name for name in given if name not in own]:
        for other in map(TASKS.get, TASKS.names()):
            names = {item.name for item in option_fields(other, role)}
            if shown := [flag_of(name) for name in foreign if name in names]:
                raise EngineError(
                    f"{', '.join(shown)}: only for models of the task {other.name}, and {source} is for the "
                    f"task {spec.name}. Leave it out, or export a model with --task {other.name}."
                )
        raise EngineError(f"unknown option {foreign[0]!r}; the task {spec.name} has {sorted(own)}.")
    return load_object(getattr(spec, role))(**given)


def picture_flags(given: Mapping[str, Any]) -> list[str]:
    """The flags of those among the `given` options of any task that only change pictures."""
    fields = {item.name: item for name in TASKS.names() for item in option_fields(TASKS.get(name))}
    return [flag_of(name) for name in given if name in fields and fields[name].metadata.get("pictures")]


def task_paths(given: Mapping[str, Any]) -> RunPaths:
    """The paths among the `given` options of any task."""
    fields = {item.name: item for name in TASKS.names() for item in option_fields(TASKS.get(name))}
    return paths_of(fields.values(), given)
