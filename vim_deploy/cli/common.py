"""What the commands share: errors without tracebacks, progress on stderr, common options and types."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vim_deploy.engines.registry import DEVICES
from vim_deploy.errors import MissingDependencyError, VimDeployError

if TYPE_CHECKING:
    from rich.console import Console

USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Report = Callable[[str], None]


class _Command(click.Command):
    """A user's mistake becomes a message on stderr and exit code 2; our own mistakes keep their traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VimDeployError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(USER_ERROR)
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            sys.exit(INTERRUPTED)


def command() -> Callable[[Callable[..., Any]], click.Command]:
    """Decorator: a click command with this project's way with errors."""
    return click.command(cls=_Command, context_settings={"help_option_names": ["-h", "--help"]})


def console() -> Console:
    """For progress and remarks: stderr, so that stdout holds results alone."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@contextlib.contextmanager
def stages(title: str, quiet: bool = False) -> Iterator[Report]:
    """A spinner with the elapsed time, on stderr; the function it yields names the stage at hand.

    Where stderr is no terminal each stage is a line.
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
    """Around imports: a package that is not there becomes the advice to install the extra that brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "vim_deploy"):
            raise
        raise MissingDependencyError(
            f'this needs the package {package}; install it with `pip install "vim-deploy[{name}]"`.'
        ) from None


def log_to_stderr(quiet: bool = False) -> None:
    """Show the library's remarks on stderr, warnings alone when `quiet`."""
    logger = logging.getLogger("vim_deploy")
    logger.handlers = [_EchoHandler()]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


def device_option(default: str | None, help: str) -> Callable[[Decorated], Decorated]:
    return click.option("--device", type=click.Choice(DEVICES), default=default, show_default=True, help=help)


threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads of one inference.  [default: all processors this process may use]",
)
entry_option = click.option(
    "--entry",
    type=click.Choice(("model", "model_ema")),
    default="model",
    show_default=True,
    help="Which weights of a training checkpoint.",
)
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="For generated weights.")
halve_option = click.option(
    "--halve/--no-halve",
    default=None,
    help="For segmenters and detectors: whether the sum of both scan directions is halved, which weights do "
    "not show.  [default: halved, or as the configuration says]",
)
quiet_option = click.option("--quiet", is_flag=True, help="Nothing on stderr but warnings and errors.")


def with_options(options: Sequence[Callable[..., Any]]) -> Callable[[Decorated], Decorated]:
    """A decorator that adds these click options, in this order."""

    def decorate(function: Decorated) -> Decorated:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def size(text: str) -> tuple[int, int]:
    """A click type: `N` or `HEIGHTxWIDTH` in pixels, as (height, width)."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise click.BadParameter(f"{text!r} is no size; expected N or HEIGHTxWIDTH, like 224 or 96x64.")
    return int(sides[0]), int(sides[-1])
