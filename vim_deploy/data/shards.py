"""Images inside of files: tar files, such as shards of WebDataset, and Parquet files with image bytes.

The path of an image is that of the file, a slash and the name in the tar file or the number of the row. In a
Parquet file, the images are in the first column of binary values, or of structures with a field `bytes` (as
written by the datasets library). An index of a tar file and a row group are kept between images.

Labels are in the files of a tar file with the same key as the image, as in WebDataset, or in a column of a
Parquet file.
"""

from __future__ import annotations

import contextlib
import json
import re
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from vim_deploy.errors import ImageError, MissingDependencyError
from vim_deploy.files import is_file, open_regular
from vim_deploy.storage import is_url
from vim_deploy.storage.path import file_system
from vim_deploy.storage.url import reason_of

MAX_BYTES = 1 << 30  # of one image
_SHARD = re.compile(r"(.*?\.(?:tar|parquet))/(.+)", re.DOTALL | re.IGNORECASE)
_SUFFIXES = (".tar", ".parquet")
_P = ParamSpec("_P")
_T = TypeVar("_T")
_KEPT = 4  # open indexes and row groups; images come in order
LABEL_FIELDS = ("label", "cls")  # columns, or fields of JSON files, that have labels
_LABEL_SUFFIXES = (".cls", ".cls.txt", ".json")
_MAX_LABEL = 16 << 10  # bytes of a file with a label


@dataclass
class _TarIndex:
    """Offset and size of each regular file by name, and the contents of small files that may have labels."""

    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    labels: dict[str, bytes] = field(default_factory=dict)


def _kept(count: int) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Keeps the latest results of a function. Threads that need the same result wait for it, so that each
    part of a shard is read once."""

    def decorate(function: Callable[_P, _T]) -> Callable[_P, _T]:
        lock = threading.Lock()
        cached = lru_cache(count)(function)

        @wraps(function)
        def call(*given: _P.args, **named: _P.kwargs) -> _T:
            with lock:
                return cached(*given, **named)  # type: ignore[arg-type]

        return call

    return decorate


def is_shard(path: str) -> bool:
    return path.lower().endswith(_SUFFIXES) and (is_url(path) or is_file(path))


def in_shard(path: str) -> bool:
    """Whether an image is inside of a shard."""
    match = _SHARD.fullmatch(path)
    return match is not None and is_shard(match.group(1))


def images_in(
    path: str, accepts: Callable[[str], bool]
) -> Iterator[tuple[str, bool, tuple[int, int] | None]]:
    """All entries except labels, in their order: path, whether it is an image, for tar files by its name, and
    its span.

    The span is the offset and size in a tar file in storage, which must not change during a run; else None. A
    table without images is one entry.

    Raises ImageError for a file that cannot be read, and MissingDependencyError for Parquet without pyarrow.
    """
    if path.lower().endswith(".tar"):
        for name, span in _tar_index(path).files.items():
            if not name.endswith(_LABEL_SUFFIXES):
                yield f"{path}/{name}", accepts(name), span if is_url(path) else None
        return
    if _image_column(path) is None:
        yield path, False, None
        return
    rows = sum(count for _, count in _row_groups(path))
    yield from ((f"{path}/{row}", True, None) for row in range(rows))


def read_from_shard(path: str, span: tuple[int, int] | None = None) -> bytes:
    """The content of an image; `span` as from `images_in`. Raises ImageError."""
    match = _SHARD.fullmatch(path)
    assert match is not None
    shard, name = match.groups()
    if shard.lower().endswith(".tar"):
        found = span or _tar_index(shard).files.get(name)
        if found is None:
            raise ImageError("cannot be read: the tar file has no such entry")
        return _part(shard, *found)
    if (column := _image_column(shard)) is None:
        raise ImageError("cannot be read: the Parquet file has no images")
    content = _value(shard, column, name)
    if content is None:
        raise ImageError("cannot be read: the row has no image")
    return bytes(content)


def label_in_shard(path: str, name: str | None) -> object:
    """The label of an image in a shard as it is stored; None if there is none.

    `name`: the column, or the field of JSON files; None: those of LABEL_FIELDS. In a tar file without a
    `name`, KEY.cls and KEY.cls.txt come first. Raises ImageError for labels that cannot be read.
    """
    match = _SHARD.fullmatch(path)
    if match is None or not is_shard(match.group(1)):
        return None
    shard, image = match.groups()
    fields = LABEL_FIELDS if name is None else (name,)
    if not shard.lower().endswith(".tar"):
        column = next((given for given in fields if given in _file(shard).schema_arrow.names), None)
        return None if column is None else _value(shard, column, image)
    labels = _tar_index(shard).labels
    for key in _keys(image):
        for suffix in _LABEL_SUFFIXES:
            content = labels.get(key + suffix)
            if content is not None and (suffix == ".json" or name is None):
                return _json_label(content, fields) if suffix == ".json" else _text_label(content)
    return None


def _keys(image: str) -> tuple[str, str]:
    """The name without its suffix, and up to the first dot as in WebDataset."""
    folder, slash, name = image.rpartition("/")
    return image.rpartition(".")[0], f"{folder}{slash}{name.partition('.')[0]}"


def _text_label(content: bytes) -> object:
    text = content.decode(errors="replace").strip()
    return int(text) if text.isdecimal() and len(text) < 10 else text


def _json_label(content: bytes, fields: tuple[str, ...]) -> object:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        raise ImageError("its label is not valid JSON") from None
    if not isinstance(values, dict):
        raise ImageError("its label is not a JSON object")
    return next((values[name] for name in fields if name in values), None)


def _part(path: str, offset: int, size: int) -> bytes:
    if is_url(path):
        with _reading():
            part: bytes = file_system(path).cat_file(path, start=offset, end=offset + size)
            return part
    with _opened(path) as file:
        file.seek(offset)
        content: bytes = file.read(size)
        return content


def _opened(path: str, **options: Any) -> Any:
    """`options` for files in storage."""
    with _reading():
        return file_system(path).open(path, "rb", **options) if is_url(path) else open_regular(path)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (MissingDependencyError, MemoryError):
        raise
    except Exception as error:  # every file system of fsspec has its own
        raise ImageError(f"cannot be read: {reason_of(error)}") from error


def _state(path: str) -> tuple[int, int]:
    """Changes with the content of a local file; files in storage must not change during a run."""
    if is_url(path):
        return 0, 0
    try:
        status = Path(path).stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _tar_index(path: str) -> _TarIndex:
    return _read_tar_index(path, _state(path))


@_kept(_KEPT)
def _read_tar_index(path: str, state: tuple[int, int]) -> _TarIndex:
    """Of files with the same name the first."""
    found = _TarIndex()
    try:
        with _opened(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for entry in archive:
                if not entry.isreg() or entry.sparse is not None or entry.size > MAX_BYTES:
                    continue
                if (
                    found.files.setdefault(entry.name, (entry.offset_data, entry.size))[0]
                    != entry.offset_data
                ):
                    continue
                if entry.name.endswith(_LABEL_SUFFIXES) and entry.size <= _MAX_LABEL:
                    content = archive.extractfile(entry)
                    found.labels[entry.name] = b"" if content is None else content.read()
    except tarfile.TarError as error:
        raise ImageError(f"damaged tar file ({type(error).__name__})") from None
    return found


@_kept(_KEPT)
def _parquet(path: str, state: tuple[int, int]) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError(f'{path} needs pyarrow: `pip install "vim-deploy[parquet]"`.') from None
    # In storage, only the parts that are used are read: the end of the file, and the columns of row groups.
    file = _opened(path, cache_type="none") if is_url(path) else path
    with _damaged_table():
        return pyarrow.parquet.ParquetFile(file)


def _file(path: str) -> Any:
    return _parquet(path, _state(path))


def _image_column(path: str) -> str | None:
    """The column to read, "name" or "name.bytes"; None for a table without images."""
    import pyarrow

    for given in _file(path).schema_arrow:
        kind = given.type
        if pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind):
            return str(given.name)
        if pyarrow.types.is_struct(kind) and any(part.name == "bytes" for part in kind):
            return f"{given.name}.bytes"
    return None


def _row_groups(path: str) -> list[tuple[int, int]]:
    return _read_row_groups(path, _state(path))


@lru_cache(_KEPT)
def _read_row_groups(path: str, state: tuple[int, int]) -> list[tuple[int, int]]:
    """The first row and the number of rows of each row group."""
    metadata, start, found = _file(path).metadata, 0, []
    for number in range(metadata.num_row_groups):
        count = metadata.row_group(number).num_rows
        found.append((start, count))
        start += count
    return found


@_kept(2 * _KEPT)  # images and labels
def _column_of_group(path: str, name: str, group: int, state: tuple[int, int]) -> Any:
    with _damaged_table():
        column = _file(path).read_row_group(group, columns=[name]).column(0).combine_chunks()
        return column.field("bytes") if name == _image_column(path) and "." in name else column


def _value(path: str, column: str, row: str) -> Any:
    """Raises ImageError for a row that does not exist or cannot be read."""
    number = int(row) if row.isdecimal() else -1
    for group, (start, count) in enumerate(_row_groups(path)):
        if start <= number < start + count:
            with _damaged_table():
                return _column_of_group(path, column, group, _state(path))[number - start].as_py()
    raise ImageError("cannot be read: the Parquet file has no such row")


@contextlib.contextmanager
def _damaged_table() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, NotImplementedError, IndexError) as error:  # pyarrow raises these
        raise ImageError(f"damaged Parquet file ({type(error).__name__})") from None
