"""Finds the images of a run: files, folders and globs, in a fixed order, with labels from folders.

- A file is used whatever its name. A path that exists is never read as a glob.
- A folder is searched recursively, names in sorted order, files of a folder before its subfolders. Hidden
  entries (leading dot) are skipped. Files that `Discovery.accepts`, by default those with the suffix or the
  first bytes of an image, are used; others are counted in `Discovery.other_files`.
- A glob (`*`, `?`, `[...]`, `**`) is expanded in sorted order; matching folders are searched too.
- `-` stands for a list of paths on standard input, separated by newlines or, with `null_separated`, by zero
  bytes. Paths are processed as they arrive, and once input pauses, all that have arrived are completed. A
  path that does not exist is an item like any other. A path is cut at MAX_PATH_BYTES bytes.
- The same file given twice gives two items. A link to a folder is followed unless it leads to a folder above
  it. A path that cannot be looked up and a folder that cannot be read are items, so that they are reported.
- Files of the run itself (`excluded`) are skipped in folders.
- A tar file, and a Parquet file with images, stands for the images in it (see shards.py).
- URLs are files, folders and globs in storage (see remote_search.py).

Items are yielded as they are found; large folders are not listed completely first.
"""

from __future__ import annotations

import glob
import os
import select
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vim_deploy.data.labels import LabelOf, UnknownLabel
from vim_deploy.data.remote_search import files_at, urls_of
from vim_deploy.data.shards import images_in, is_shard
from vim_deploy.errors import ImageError, MissingDependencyError
from vim_deploy.files import is_folder, is_one_of
from vim_deploy.storage import is_url
from vim_deploy.storage.url import without_credentials

# Includes formats that cannot be decoded, so that such files are reported and not skipped.
_IMAGE_SUFFIXES = frozenset(
    """jpg jpeg jpe jfif png webp bmp dib tif tiff gif
    avif jp2 j2k jpc jpx pbm pgm ppm pnm tga
    heic heif jxl svg eps psd""".split()  # noqa: SIM905
)
STANDARD_INPUT = "-"
# The longest path of Linux, with its zero byte: longer paths cannot be opened.
MAX_PATH_BYTES = 4096
FLUSH_SECONDS = 0.2  # pause of standard input after which the paths so far are completed
_SIGNATURES = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", b"MM\x00*", b"GIF8", b"\xff\x4f\xff\x51",
    b"\x00\x00\x00\x0cjP  ",
)  # fmt: skip
_BRANDS = (b"ftypavif", b"ftypavis", b"ftypheic", b"ftypheix", b"ftypmif1")  # after 4 bytes


@dataclass(frozen=True)
class Item:
    """One input: its path as found, the index of its true class where known, and flags for its row.

    `span`: offset and size of an image in a tar file in storage, so that no other process reads its index.
    """

    path: str
    label: int | None = None
    flags: tuple[str, ...] = ()
    span: tuple[int, int] | None = None


class FlushMarker:
    """Marks a pause among the inputs: all inputs before it are to be completed now."""


def is_image(path: str, name: str) -> bool:
    """Whether a file in a folder has the suffix or the first bytes of an image."""
    return has_image_suffix(name) or starts_like_an_image(path)


def has_image_suffix(name: str) -> bool:
    return name.rpartition(".")[2].lower() in _IMAGE_SUFFIXES


@dataclass
class Discovery:
    """Iterating yields the items; the counts are complete once it has ended."""

    inputs: Sequence[str | os.PathLike[str]]
    label_of: LabelOf = lambda path: None
    excluded: Sequence[Path] = ()
    null_separated: bool = False
    accepts: Callable[[str, str], bool] = is_image  # path and name of a file in a folder
    stopped: Callable[[], bool] = lambda: False  # ends the wait for standard input
    other_files: int = 0
    notes: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Item]:
        """Raises ImageError, before the first item, for an input that does not exist or matches nothing."""
        return (given for given in self.stream() if isinstance(given, Item))

    def stream(self) -> Iterator[Item | FlushMarker]:
        """The items, with a flush marker wherever standard input pauses. Raises as iterating does."""
        self.other_files, self.notes = 0, []
        for path in [path for given in self.inputs for path in _matches(os.fspath(given))]:
            if path == STANDARD_INPUT:
                end = b"\0" if self.null_separated else b"\n"
                # `stopped` may be set after the first item.
                for line in _listed(end, lambda: self.stopped()):
                    yield from [line] if isinstance(line, FlushMarker) else self._expand(line)
            else:
                yield from self._expand(path)

    def _expand(self, path: str) -> Iterator[Item]:
        if is_shard(path):
            yield from self._images_in(path)
        elif is_url(path):
            yield from self._search_url(path)
        elif is_folder(path):
            yield from self._search(path)
        else:
            yield self._item(path)

    def _search(self, root: str) -> Iterator[Item]:
        # Not recursive: folders may be nested more deeply than Python calls.
        waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [(root, ())]  # folders with their ancestors
        while waiting:
            folder, ancestors = waiting.pop()
            try:
                status = Path(folder).stat()
                with os.scandir(folder) as entries:
                    names = sorted((entry.name, _is_dir(entry)) for entry in entries if entry.name[0] != ".")
            except OSError:
                yield self._item(folder)  # decoding it gives the reason
                continue
            identity = (status.st_dev, status.st_ino)
            if identity in ancestors:
                self.notes.append(f"folder {folder} was skipped: the link leads to a folder above it")
                continue
            yield from self._images(folder, [name for name, is_dir in names if not is_dir])
            subfolders = [os.path.join(folder, name) for name, is_dir in names if is_dir]  # noqa: PTH118
            waiting += [(path, (*ancestors, identity)) for path in reversed(subfolders)]

    def _images(self, folder: str, names: Sequence[str]) -> Iterator[Item]:
        own = {path.name for path in self.excluded}
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - Path objects are slow for a million names
            if name in own and is_one_of(path, self.excluded):
                continue
            if is_shard(path):
                yield from self._images_in(path)
            elif self.accepts(path, name):
                yield self._item(path)
            else:
                self.other_files += 1

    def _images_in(self, shard: str) -> Iterator[Item]:
        if self.accepts is not is_image:  # arrays are not in shards
            self.other_files += 1
            return
        try:
            for path, found, span in images_in(shard, has_image_suffix):
                if found:
                    yield self._item(path, span)
                else:
                    self.other_files += 1
        except ImageError:
            yield self._item(shard)  # decoding it gives a reason
        except MissingDependencyError:
            if any(os.fspath(given) == shard for given in self.inputs):
                raise
            self.other_files += 1  # perhaps results in a folder of images

    def _search_url(self, url: str) -> Iterator[Item]:
        own = {str(path) for path in self.excluded}
        for path, given in files_at(url):
            if path in own:
                continue
            if is_shard(path):
                yield from self._images_in(path)
            elif given or self.accepts(path, path.rpartition("/")[2]):
                # Only a list can have credentials here; reading such a URL gives the reason.
                yield self._item(without_credentials(path))
            else:
                self.other_files += 1

    def _item(self, path: str, span: tuple[int, int] | None = None) -> Item:
        label = self.label_of(path)
        if isinstance(label, UnknownLabel):
            return Item(path, None, (label.value,), span)
        return Item(path, label, span=span)


def _listed(end: bytes, stopped: Callable[[], bool]) -> Iterator[str | FlushMarker]:
    """Entries of standard input as they arrive, with a flush marker at each pause; ends once `stopped()`.

    Raises ImageError if standard input cannot be read.
    """
    if sys.stdin is None:
        raise ImageError("standard input is closed; give it a list of paths, or give images as arguments.")
    rest, paused = b"", False
    while not stopped():
        try:
            ready = select.select([sys.stdin], [], [], FLUSH_SECONDS)[0]
            block = os.read(sys.stdin.fileno(), 1 << 16) if ready else b""
        except OSError as error:
            raise ImageError(
                f"standard input cannot be read: {error.strerror or error}; give it a list of paths."
            ) from None
        if not ready:
            if not paused:
                yield FlushMarker()
            paused = True
            continue
        paused = False
        if not block:
            break
        *whole, rest = (rest + block).split(end)
        yield from (os.fsdecode(entry[:MAX_PATH_BYTES]) for entry in whole if entry)
        rest = rest[:MAX_PATH_BYTES]
    if rest:
        yield os.fsdecode(rest)


def _matches(given: str) -> list[str]:
    if given == STANDARD_INPUT:
        return [given]
    if is_url(given):
        return urls_of(given)
    try:
        os.lstat(given)
        return [given]
    except (FileNotFoundError, NotADirectoryError, ValueError):
        missing = True
    except OSError:
        missing = False  # a folder that cannot be searched, for example; decoding it gives the reason
    is_glob = glob.has_magic(given)
    try:
        matches = sorted(glob.glob(given, recursive=True)) if is_glob else []  # noqa: PTH207
    except RecursionError:
        raise ImageError(
            f"input {given!r} searches folders that are nested too deeply; give the folder."
        ) from None
    if not matches and missing:
        kind = "matches no file" if is_glob else "does not exist"
        raise ImageError(f"input {given!r} {kind}; give image files, folders or globs.")
    return matches or [given]


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def starts_like_an_image(path: str | os.PathLike[str]) -> bool:
    """Whether a regular file has the first bytes of a known image format."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            return False
        with open(path, "rb") as file:  # noqa: PTH123
            head = file.read(12)
    except OSError:
        return False
    is_webp = head[:4] == b"RIFF" and head[8:] == b"WEBP"
    return is_webp or head.startswith(_SIGNATURES) or head[4:] in _BRANDS
