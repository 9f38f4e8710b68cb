"""Shared by the commands: error handling, progress on stderr, common options and types."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from vim_deploy.engines.spec import MAX_THREADS
from vim_deploy.errors import as_user_error
from vim_deploy.options import RunPath
from vim_deploy.package import VERSION
from vim_deploy.text import printable

if TYPE_CHECKING:
    from rich.console import Console

USER_ERROR = 2
HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
_VERBOSE = f"{__name__}.verbose"  # in the context's meta: whether --verbose is given
_ARGUMENTS = f"{__name__}.arguments"  # in the context's meta: the arguments as given
INTERRUPTED = 130  # 128 + SIGINT, the convention of shells
Decorated = TypeVar("Decorated", bound=Callable[..., Any])
AnyCommand = TypeVar("AnyCommand", bound=click.Command)
Report = Callable[[str], None]


def echo(text: str, *, err: bool = False) -> None:
    """Print text that may contain names from files: control characters are escaped."""
    click.echo(printable(text), err=err)


class Command(click.Command):
    """Prints user errors on stderr and exits with 2; other exceptions are bugs, with a traceback.

    `examples`: command lines at the end of the help.
    """

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{' ' * formatter.current_indent}{line}\n")
        super().format_epilog(ctx, formatter)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGUMENTS] = tuple(args)
        rest = super().parse_args(ctx, args)
        for param in self.get_params(ctx):
            value = ctx.params.get(param.name or "")
            if isinstance(param.type, click.Path) and value is not None:
                for path in value if isinstance(value, tuple) else [value]:
                    if isinstance(path, Path):
                        _check_path(path, param, ctx)
        return rest

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **options)
        except click.UsageError as error:
            raise _printable_error(error) from None

    def invoke(self, ctx: click.Context) -> Any:
        _open_closed_descriptors()
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _printable_error(error) from None
        except KeyboardInterrupt:
            echo("interrupted", err=True)
            sys.exit(INTERRUPTED)
        except Exception as error:
            if (problem := as_user_error(error)) is None:
                raise
            if _is_verbose(ctx):
                echo(traceback.format_exc(), err=True)
            echo(f"error: {problem}", err=True)
            sys.exit(USER_ERROR)


def command_line(name: str) -> str:
    """The current command as it could be typed again."""
    return shlex.join([name, *click.get_current_context().meta[_ARGUMENTS]])


def _check_path(path: Path, param: click.Parameter, ctx: click.Context) -> None:
    """Refuse a path that no file can have, such as one with a name that is too long."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # it may be created, or the command has a better message
    except OSError as error:
        raise click.BadParameter(f"{os.fspath(path)!r}: {error.strerror}.", ctx, param) from None


def _open_closed_descriptors() -> None:
    """Otherwise, a file opened later would become standard input, output or error."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number


def _printable_error(error: click.UsageError) -> click.UsageError:
    """The error without control characters: it may name arguments, which may be names of files."""
    return click.UsageError(printable(error.format_message()), error.ctx)


def command(cls: type[Command] = Command, **attributes: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Decorator: a click command that prints user errors and exits with 2, see Command for the attributes."""
    settings = {**HELP_OPTIONS, "show_default": True}

    def decorate(function: Callable[..., Any]) -> click.Command:
        made = click.command(cls=cls, context_settings=settings, **attributes)(function)
        return with_version(_verbose_option(made))

    return decorate


_verbose_option = click.option(
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=lambda ctx, param, value: ctx.meta.__setitem__(_VERBOSE, value),
    help="Print the whole log with times, and the tracebacks of errors.",
)


def with_version(made: AnyCommand) -> AnyCommand:
    """Add --version. click's decorator keeps the name of its first command, so each one needs its own."""
    decorate = click.version_option(
        VERSION, "--version", message="%(prog)s %(version)s", help="Print the version."
    )
    return decorate(made)


def _is_verbose(ctx: click.Context) -> bool:
    return bool(ctx.meta.get(_VERBOSE))


def complete_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Shell completion of paths, for arguments and options that also take other texts."""
    return [CompletionItem(incomplete, type="file")]


def console(*, stderr: bool = True, width: int | None = None) -> Console:
    """A console that escapes control characters; by default stderr, since stdout is for results."""
    from rich.console import Console
    from rich.text import Text

    class PrintableConsole(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **options)

    return PrintableConsole(stderr=stderr, highlight=False, width=width)


@contextlib.contextmanager
def stages(title: str, quiet: bool = False) -> Iterator[Report]:
    """A spinner with the elapsed time on stderr. Yields a function that sets the name of the current stage.

    If stderr is not a terminal, each stage is printed as a line.
    """
    screen = console()
    if quiet or not screen.is_terminal:
        yield (lambda text: None) if quiet else (lambda text: echo(f"{title}: {text}", err=True))
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task(printable(title))
        yield lambda text: progress.update(task, description=printable(f"{title}: {text}"))


class _EchoHandler(logging.Handler):
    """`repeat` False: a line that is among the last ones is not printed again, such as a message about an
    engine that a command opens several times."""

    def __init__(self, repeat: bool) -> None:
        super().__init__()
        self._last: deque[str] = deque(maxlen=0 if repeat else 50)

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if line not in self._last:
            self._last.append(line)
            echo(line, err=True)


class _Lines(logging.Formatter):
    """`level: message`; with `times`, the time before and the module after the level."""

    def __init__(self, times: bool) -> None:
        super().__init__(
            "%(asctime)s %(lower)s %(module)s: %(message)s" if times else "%(lower)s: %(message)s"
        )

    def format(self, record: logging.LogRecord) -> str:
        record.lower = record.levelname.lower()
        return super().format(record)


def log_to_stderr(quiet: bool = False) -> None:
    """Show the log of the package on stderr: warnings and errors if `quiet`, everything with --verbose."""
    context = click.get_current_context(silent=True)
    verbose = context is not None and _is_verbose(context)
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose contradict each other; give only one.")
    handler = _EchoHandler(repeat=verbose)
    handler.setFormatter(_Lines(verbose))
    logger = logging.getLogger("vim_deploy")
    logger.handlers = [handler]
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)


def path_option(
    *names: str, help: str, storage: bool = False, **settings: Any
) -> Callable[[Decorated], Decorated]:
    """An option whose value is a Path, with `storage` also a StoragePath for a URL."""
    kind = RunPath() if storage else click.Path(path_type=Path)
    return click.option(*names, type=kind, help=help, **settings)


threads_option = click.option(
    "--threads",
    type=click.IntRange(1, MAX_THREADS),
    help="CPU threads per run.  [default: all CPUs available to this process]",
)
force_option = click.option(
    "--force", is_flag=True, help="Replace existing output files that are not results of this command."
)
quiet_option = click.option("--quiet", is_flag=True, help="Print only warnings and errors on stderr.")


def with_options(options: Sequence[Callable[..., Any]]) -> Callable[[Decorated], Decorated]:
    """A decorator that adds click options, in the given order."""

    def decorate(function: Decorated) -> Decorated:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate
