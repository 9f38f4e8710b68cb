"""The rule for output files, which every command applies before it starts to work.

An output never replaces an input of the same run, also not through a link. It replaces an existing file only
if the file is empty or is an earlier result of the same kind, or with `--force`.
"""

from __future__ import annotations

import contextlib
import glob
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vim_deploy.errors import OutputError, os_errors
from vim_deploy.files import identity_of, is_one_of
from vim_deploy.storage import StoragePath

_MARKER_BYTES = 1 << 16  # read at each end of a file to recognize it


@dataclass(frozen=True)
class FileKind:
    """A kind of output. `title`: what it is called, with its article.

    `matches`: whether an existing file is of this kind and was written by this package.
    """

    title: str
    matches: Callable[[Path], bool]


@dataclass(frozen=True)
class OutputFile:
    """A file that a run creates or replaces, and the option that names it.

    `special`: a folder, device or pipe is not refused here but left to the writer.
    """

    option: str
    path: Path
    kind: FileKind
    special: bool = False


def starting(*prefixes: bytes) -> Callable[[Path], bool]:
    """For FileKind: whether a file starts with one of these bytes."""

    def matches(path: Path) -> bool:
        return head_of(path, max(map(len, prefixes))).startswith(prefixes)

    return matches


def containing(marker: bytes) -> Callable[[Path], bool]:
    """For FileKind: whether a file has these bytes near its start or its end."""

    def matches(path: Path) -> bool:
        with path.open("rb") as file:
            head = file.read(_MARKER_BYTES)
            file.seek(max(0, path.stat().st_size - _MARKER_BYTES))
            return marker in head or marker in file.read()

    return matches


def head_of(path: Path, count: int) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(count)


def input_paths(given: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The existing files and folders among `given`; globs are expanded, other texts are left out."""
    found: list[str] = []
    for item in given:
        text = os.fspath(item)
        if os.path.lexists(text):
            found.append(text)
        elif glob.has_magic(text):
            # The search for inputs refuses folders that are nested too deeply.
            with contextlib.suppress(RecursionError):
                found += glob.glob(text, recursive=True)  # noqa: PTH207
    return [Path(text) for text in found]


def check_output_files(outputs: Sequence[OutputFile], inputs: Iterable[Path], force: bool = False) -> None:
    """Raises OutputError for the first output that must not be written.

    `inputs`: files and folders that the run reads; those that do not exist are left out. `force` allows
    replacing files of other kinds, but no inputs.
    """
    inputs = list(inputs)
    for number, output in enumerate(outputs):
        with os_errors(OutputError, f"{output.option} {output.path} cannot be written"):
            _check(output, outputs[:number], inputs, force)


def _check(output: OutputFile, others: Sequence[OutputFile], inputs: Sequence[Path], force: bool) -> None:
    option, path = output.option, output.path
    for other in others:
        if path.resolve() == other.path.resolve() or is_one_of(path, [other.path]):
            raise OutputError(f"{option} {path} is also the path of {other.option}; choose another name.")
    if isinstance(path, StoragePath):
        _check_stored(output, path, inputs, force)
        return
    try:
        status = path.stat()
    except FileNotFoundError:
        parent = path.resolve().parent
        if not parent.is_dir():
            raise OutputError(
                f"{option} {path} cannot be written: the folder {parent} does not exist; create it first."
            ) from None
        _check_writable(parent)
        return
    if not stat.S_ISREG(status.st_mode):
        if output.special:
            return
        raise OutputError(f"{option} {path} is not a regular file; choose another name.")
    if is_one_of(path, inputs):
        raise OutputError(f"{option} {path} is an input of this run; choose another name.")
    _check_writable(path.resolve().parent)
    if not status.st_size or output.kind.matches(path):
        return
    if not force:
        raise OutputError(
            f"{option} {path} exists and is not {output.kind.title}; choose another name, or replace it with "
            "--force."
        )
    # Only here can it be a file in an input folder: results are not used as inputs.
    if is_one_of(path, _files_below(inputs)):
        raise OutputError(f"{option} {path} is an input of this run; choose another name.")


def _check_stored(output: OutputFile, path: StoragePath, inputs: Sequence[Path], force: bool) -> None:
    """Whether a file can be written there shows when the run writes its record."""
    if path in inputs:
        raise OutputError(f"{output.option} {path} is an input of this run; choose another name.")
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    if status.st_size and not force and not output.kind.matches(path):  # type: ignore[arg-type]
        raise OutputError(
            f"{output.option} {path} exists and is not {output.kind.title}; choose another name, or replace "
            "it with --force."
        )


def _check_writable(folder: Path) -> None:
    """Raises OSError if no file can be created in the folder, which its permissions do not always show."""
    with tempfile.TemporaryFile(dir=folder):
        pass


def _files_below(paths: Iterable[Path]) -> Iterator[Path]:
    seen: set[tuple[int, int] | None] = set()
    for path in paths:
        for folder, folders, names in os.walk(path, followlinks=True):
            if (identity := identity_of(folder)) in seen:
                folders.clear()  # a link to a folder above it
                continue
            seen.add(identity)
            yield from (Path(folder, name) for name in names)
