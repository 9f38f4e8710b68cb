"""What the commands share: errors without tracebacks, the console on stderr, common options."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vim_deploy.engines.registry import DEVICES
from vim_deploy.errors import VimDeployError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def user_errors(function: Decorated) -> Decorated:
    """A user's mistake becomes a message on stderr and exit code 2; our own mistakes keep their traceback."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except VimDeployError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(USER_ERROR)
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            sys.exit(INTERRUPTED)

    return wrapped  # type: ignore[return-value]


def console() -> Console:
    """For progress and remarks: stderr, so that stdout holds results alone."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def spinner(quiet: bool) -> Progress:
    """Shows that something goes on, and for how long; add a task to it and change its description."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=console(), transient=True, disable=quiet)


def log_to_stderr(quiet: bool = False) -> None:
    """Show the library's remarks on stderr, warnings alone when `quiet`."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger = logging.getLogger("vim_deploy")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


def device_option(default: str | None, help: str) -> Callable[[Decorated], Decorated]:
    return click.option("--device", type=click.Choice(DEVICES), default=default, show_default=True, help=help)


threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads of one inference.  [default: all processors this process may use]",
)
quiet_option = click.option("--quiet", is_flag=True, help="Nothing on stderr but warnings and errors.")
