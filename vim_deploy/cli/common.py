"""Shared by the commands: error handling, progress on stderr, common options and types."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vim_deploy.engines.registry import all_devices
from vim_deploy.errors import MissingDependencyError, VimDeployError

if TYPE_CHECKING:
    from rich.console import Console

USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, the convention of shells
Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Report = Callable[[str], None]


class Command(click.Command):
    """Prints a VimDeployError on stderr and exits with 2; other exceptions are bugs, with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VimDeployError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(USER_ERROR)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(INTERRUPTED)


def command(cls: type[Command] = Command, **attributes: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Decorator: a click command that prints user errors and exits with 2."""
    return click.command(cls=cls, context_settings={"help_option_names": ["-h", "--help"]}, **attributes)


def console() -> Console:
    """For progress and messages: stderr, since stdout is for results."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@contextlib.contextmanager
def stages(title: str, quiet: bool = False) -> Iterator[Report]:
    """A spinner with the elapsed time on stderr. Yields a function that sets the name of the current stage.

    If stderr is not a terminal, each stage is printed as a line.
    """
    screen = console()
    if quiet or not screen.is_terminal:
        yield (lambda text: None) if quiet else (lambda text: click.echo(f"{title}: {text}", err=True))
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task(title)
        yield lambda text: progress.update(task, description=f"{title}: {text}")


class _EchoHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"{record.levelname.lower()}: {record.getMessage()}", err=True)


@contextlib.contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Around imports: a missing package raises MissingDependencyError naming the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "vim_deploy"):
            raise
        raise MissingDependencyError(
            f'the package {package} is not installed; run `pip install "vim-deploy[{name}]"`.'
        ) from None


def log_to_stderr(quiet: bool = False) -> None:
    """Show the log of the package on stderr; only warnings and errors if `quiet`."""
    logger = logging.getLogger("vim_deploy")
    logger.handlers = [_EchoHandler()]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


def device_option(default: str | None, help: str) -> Callable[[Decorated], Decorated]:
    return click.option(
        "--device", type=click.Choice(all_devices()), default=default, show_default=True, help=help
    )


threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="CPU threads per run.  [default: all CPUs available to this process]",
)
quiet_option = click.option("--quiet", is_flag=True, help="Print only warnings and errors on stderr.")


def with_options(options: Sequence[Callable[..., Any]]) -> Callable[[Decorated], Decorated]:
    """A decorator that adds click options, in the given order."""

    def decorate(function: Decorated) -> Decorated:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate
