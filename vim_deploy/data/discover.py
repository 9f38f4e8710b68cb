"""Which images a run is about: files, folders and globs, in a fixed order, with labels from folders.

- A file is taken as it is, whatever its name. A path that exists is never read as a glob.
- A folder is searched to the bottom, names in sorted order, files of a folder before its subfolders. Hidden
  entries (leading dot) are left out. A file belongs to the run when its name ends like an image's, or when
  its first bytes are an image's; others are counted in `Discovery.other_files`.
- A glob (`*`, `?`, `[...]`, `**`) is expanded in sorted order; folders among the matches are searched too.
- `-` stands for a list of paths on standard input, one a line or, with `null_separated`, one between zero
  bytes. They are taken as they come, and what has come is finished when no more does; one that does not
  exist is an item like any other.
- The same file given twice gives two items. A link to a folder is followed unless it leads back into its own
  path. A folder that cannot be read is an item itself, so that it is not overlooked.
- Files of the run itself (`excluded`) are never taken from a folder.

Items come as they are found: a folder of a million images is never listed whole.
"""

from __future__ import annotations

import glob
import os
import select
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import IO

from vim_deploy.errors import ImageError

# Names of formats that are not read are here too: such files are refused with a reason, not overlooked.
_IMAGE_SUFFIXES = frozenset(
    """jpg jpeg jpe jfif png webp bmp dib tif tiff gif
    heic heif avif jxl jp2 svg eps psd""".split()  # noqa: SIM905
)
STANDARD_INPUT = "-"
SILENCE_SECONDS = 0.2  # without a new line on standard input: what has come is finished
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", b"MM\x00*", b"GIF8")


class Labels(str, Enum):
    """Where an image's true class comes from."""

    AUTO = "auto"  # as FOLDER when every subfolder of every input folder is named like a class, else as NONE
    NONE = "none"
    FOLDER = "folder"  # the name of the folder the image lies in is the name of its class
    SORTED = "sorted"  # the i-th subfolder of the input folder, sorted by name, is class i


@dataclass(frozen=True)
class Item:
    """One input: its path as found, and the index of its true class where known."""

    path: str
    label: int | None = None


class Pause:
    """Among the inputs: no more for now, so everything before is to be finished."""


@dataclass
class Discovery:
    """Iterating yields the items; the counts are complete once it has ended."""

    inputs: Sequence[str | os.PathLike[str]]
    classes: Mapping[str, int] = field(default_factory=dict)  # folder name to class index
    excluded: Sequence[Path] = ()
    null_separated: bool = False
    stopped: Callable[[], bool] = lambda: False  # ends the waiting for standard input
    other_files: int = 0
    notes: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Item]:
        """Raises ImageError, before the first item, for an input that does not exist or matches nothing."""
        return (given for given in self.stream() if isinstance(given, Item))

    def stream(self) -> Iterator[Item | Pause]:
        """The items, and a pause wherever standard input has nothing more for a moment.

        Raises as iterating does.
        """
        self.other_files, self.notes = 0, []
        for path in [path for given in self.inputs for path in _matches(os.fspath(given))]:
            if path == STANDARD_INPUT:
                end = b"\0" if self.null_separated else b"\n"
                for line in _listed(sys.stdin.buffer, end, self.stopped):
                    yield from [line] if isinstance(line, Pause) else self._expand(line)
            else:
                yield from self._expand(path)

    def _expand(self, path: str) -> Iterator[Item]:
        if Path(path).is_dir():
            yield from self._search(path, ())
        else:
            yield self._item(path)

    def _search(self, folder: str, ancestors: tuple[tuple[int, int], ...]) -> Iterator[Item]:
        try:
            status = Path(folder).stat()
            with os.scandir(folder) as entries:
                names = sorted((entry.name, _is_dir(entry)) for entry in entries if entry.name[0] != ".")
        except OSError:
            yield self._item(folder)  # decoding it tells why
            return
        identity = (status.st_dev, status.st_ino)
        if identity in ancestors:
            self.notes.append(f"folder {folder} was left out: the link leads back to a folder above it")
            return
        own = {path.name for path in self.excluded}
        for name, is_dir in names:
            if is_dir:
                continue
            path = os.path.join(folder, name)  # noqa: PTH118 - a Path for each of a million names costs time
            if name in own and _is_one_of(path, self.excluded):
                continue
            if _is_image(path, name):
                yield self._item(path)
            else:
                self.other_files += 1
        for name, is_dir in names:
            if is_dir:
                yield from self._search(os.path.join(folder, name), (*ancestors, identity))  # noqa: PTH118

    def _item(self, path: str) -> Item:
        return Item(path, self.classes.get(Path(path).parent.name) if self.classes else None)


def _listed(file: IO[bytes], end: bytes, stopped: Callable[[], bool]) -> Iterator[str | Pause]:
    """Entries as they come, a pause at the start of every silence; ends early once `stopped()`."""
    rest, silent = b"", False
    while not stopped():
        if not select.select([file], [], [], SILENCE_SECONDS)[0]:
            if not silent:
                yield Pause()
            silent = True
            continue
        silent = False
        block = os.read(file.fileno(), 1 << 16)
        if not block:
            break
        *whole, rest = (rest + block).split(end)
        yield from map(os.fsdecode, filter(None, whole))
    if rest:
        yield os.fsdecode(rest)


def _is_one_of(path: str, files: Sequence[Path]) -> bool:
    try:
        return any(file.exists() and file.samefile(path) for file in files)
    except OSError:
        return False


def _matches(given: str) -> list[str]:
    if given == STANDARD_INPUT:
        return [given]
    if os.path.lexists(given):
        return [given]
    is_glob = glob.has_magic(given)
    matches = sorted(glob.glob(given, recursive=True)) if is_glob else []  # noqa: PTH207
    if not matches:
        kind = "matches no file" if is_glob else "does not exist"
        raise ImageError(f"input {given!r} {kind}; give image files, folders or globs.")
    return matches


def folder_classes(
    inputs: Sequence[str | os.PathLike[str]], labels: Labels, class_names: Sequence[str]
) -> dict[str, int]:
    """The table from folder name to class index that `labels` asks for; empty when there are no labels.

    Raises ImageError where FOLDER or SORTED was asked for and the folders do not fit the classes.
    """
    if labels is Labels.NONE:
        return {}
    # A name that two classes share (ImageNet has such) tells neither.
    counts = Counter(class_names)
    by_name = {name: index for index, name in enumerate(class_names) if counts[name] == 1}
    found = {name for folder in inputs if Path(folder).is_dir() for name in _subfolders(folder)}
    if labels is Labels.SORTED:
        if len(found) != len(class_names):
            raise ImageError(
                f"--labels sorted needs one subfolder for each of the {len(class_names)} classes; "
                f"the inputs have {len(found)}."
            )
        return {name: index for index, name in enumerate(sorted(found))}
    strangers = sorted(found - by_name.keys())
    if labels is Labels.AUTO:
        return by_name if found and not strangers else {}
    if strangers:
        raise ImageError(
            f"--labels folder: {len(strangers)} folders are not named like one class of the model "
            f"(first: {strangers[0]!r}; the classes begin {list(class_names[:3])}). "
            "Rename them, or use --labels sorted or none."
        )
    return by_name


def _subfolders(folder: str | os.PathLike[str]) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.name[0] != "." and _is_dir(entry)]
    except OSError:
        return []  # the search reports it


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_image(path: str, name: str) -> bool:
    return name.rpartition(".")[2].lower() in _IMAGE_SUFFIXES or begins_like_an_image(path)


def begins_like_an_image(path: str | os.PathLike[str]) -> bool:
    """Whether the first bytes of a regular file are those of a known format."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            return False
        with open(path, "rb") as file:  # noqa: PTH123
            head = file.read(12)
    except OSError:
        return False
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")
