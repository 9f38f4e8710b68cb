"""Commands with options from registries, which are read when the command runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import click

from vim_deploy.cli.common import Command


class SectionedCommand(Command, ABC):
    """A command with additional options, which are in separate sections of the help."""

    @abstractmethod
    def sections(self) -> Mapping[str, Sequence[click.Option]]:
        """The further options by the titles of their sections. An option may be in several sections."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        further = {option.name: option for options in self.sections().values() for option in options}
        return [*super().get_params(ctx), *further.values()]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [item for item in super().get_params(ctx) if isinstance(item, click.Option)]
        for title, options in {"Options": own, **self.sections()}.items():
            records = [option.get_help_record(ctx) for option in options]
            if shown := [record for record in records if record is not None]:
                with formatter.section(title):
                    formatter.write_dl(shown)
