"""An option type whose choices are the entries of a registry."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from vim_deploy.registry import Registry


class RegistryType(click.ParamType):
    """A click type: a name in `registry`, which is read when the command runs."""

    name = "choice"

    def __init__(self, registry: Registry[Any]) -> None:
        self._registry = registry

    def _choice(self) -> click.Choice[str]:
        return click.Choice(self._registry.names())

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return self._choice().convert(value, param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return self._choice().shell_complete(ctx, param, incomplete)

    def get_metavar(self, *arguments: Any, **named: Any) -> str | None:  # click 8.2 adds an argument
        return self._choice().get_metavar(*arguments, **named)
