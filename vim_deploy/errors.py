"""User errors. Commands print the message and exit with code 2; everything else is a bug with a traceback.

A message says what happened (with the value and the file), what was expected, and how to fix it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator


class VimDeployError(Exception):
    """Base class of all errors that the user can fix."""


class ConfigError(VimDeployError):
    """An invalid configuration of a model or a command."""


class CheckpointError(VimDeployError):
    """A checkpoint that cannot be read, is unsafe, or does not match the model."""


class OperatorLibraryError(VimDeployError):
    """The operator library is missing, does not load, or implements another version of the contract."""


class OperatorLibraryMissingError(OperatorLibraryError):
    """The operator library was not found."""


class ExportError(VimDeployError):
    """A model that cannot be exported, or an exported file that differs from it."""


class EngineError(VimDeployError):
    """An engine that cannot be built, opened or run."""


class ImageError(VimDeployError):
    """An image that cannot be read. In a run it becomes a row with the reason."""


class InputError(VimDeployError):
    """An argument of the Python interface that is neither an image nor an array where one is expected."""


class DecoderError(VimDeployError):
    """A process or thread that decodes images cannot be started. In a run it is not an image's failure."""


class OutputError(VimDeployError):
    """Results that cannot be written."""


class ClusterError(VimDeployError):
    """A Ray cluster that cannot be used, or that failed during a run."""


class MissingDependencyError(VimDeployError):
    """A missing optional package; the message names the extra that installs it."""


# Messages of the dynamic linker.
_NO_MEMORY = re.compile("failed to map segment|annot allocate memory")


def as_user_error(error: BaseException) -> VimDeployError | None:
    """The user error for a file or a limit of the system that an exception is about; None for others."""
    if isinstance(error, VimDeployError):
        return error
    # Functions in C end with SystemError if there is no memory for their exception.
    without_exception = isinstance(error, SystemError) and "without exception set" in str(error)
    missing_library = isinstance(error, ImportError) and _NO_MEMORY.search(str(error))
    if isinstance(error, MemoryError) or without_exception or missing_library:
        return VimDeployError(
            "there is not enough memory; free some, raise the limit (ulimit -v), or use a smaller batch size "
            "or fewer workers."
        )
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return VimDeployError(
            "a thread cannot be started; raise the limits on processes and memory (ulimit -u, ulimit -v), or "
            "use fewer workers."
        )
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        if error.filename is not None:
            return VimDeployError(f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}.")
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            return VimDeployError(f"{error.strerror}; raise the limit (ulimit -n, ulimit -v).")
        if error.errno in (errno.ENOSPC, errno.EIO):
            return VimDeployError(f"a file or standard output cannot be written: {error.strerror}.")
    return None


@contextlib.contextmanager
def os_errors(error: type[VimDeployError], what: str, advice: str = "") -> Iterator[None]:
    """Around a file operation: an OSError becomes an `error` "WHAT: reason. ADVICE"."""
    try:
        yield
    except OSError as problem:
        raise error(f"{what}: {problem.strerror or problem}. {advice}".rstrip()) from None


# No extra can choose between these builds: they are on different package indexes.
INSTALL_PYTORCH = (
    '`pip install "vim-deploy[torch]" --extra-index-url https://download.pytorch.org/whl/cpu` for the CPU '
    'build of PyTorch, or `pip install "vim-deploy[torch]"` for the CUDA build (Linux on x86-64, several GB)'
)


def install_command(package: str, extra: str) -> str:
    """What to run if `package`, which is part of `extra` or is PyTorch, is not installed."""
    return INSTALL_PYTORCH if package == "torch" else f'`pip install "vim-deploy[{extra}]"`'


@contextlib.contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Around imports: a missing package raises MissingDependencyError with the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "vim_deploy"):
            raise
        raise MissingDependencyError(
            f"the package {package} is not installed; run {install_command(package, name)}."
        ) from None
