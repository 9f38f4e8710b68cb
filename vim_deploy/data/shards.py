"""Images inside of files: tar files, such as shards of WebDataset, and Parquet files with image bytes.

The path of an image is that of the file, a slash and the name in the tar file or the number of the row. In a
Parquet file, the images are in the first column of binary values, or of structures with a field `bytes` (as
written by the datasets library). An index of a tar file and a row group are kept between images.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from vim_deploy.errors import ImageError, MissingDependencyError
from vim_deploy.files import is_file, open_regular
from vim_deploy.storage import is_url
from vim_deploy.storage.path import file_system

MAX_BYTES = 1 << 30  # of one image
_SHARD = re.compile(r"(.*?\.(?:tar|parquet))/(.+)", re.DOTALL | re.IGNORECASE)
_SUFFIXES = (".tar", ".parquet")
_KEPT = 4  # open indexes and row groups; images come in order


def is_shard(path: str) -> bool:
    return path.lower().endswith(_SUFFIXES) and (is_url(path) or is_file(path))


def in_shard(path: str) -> bool:
    """Whether an image is inside of a shard."""
    match = _SHARD.fullmatch(path)
    return match is not None and is_shard(match.group(1))


def images_in(path: str, accepts: Callable[[str], bool]) -> Iterator[tuple[str, bool]]:
    """The paths of all entries in their order, and whether each is an image, for tar files by its name.

    A table without images is one entry.

    Raises ImageError for a file that cannot be read, and MissingDependencyError for Parquet without pyarrow.
    """
    if path.lower().endswith(".tar"):
        yield from ((f"{path}/{name}", accepts(name)) for name in _tar_index(path))
        return
    if _image_column(path) is None:
        yield path, False
        return
    rows = sum(count for _, count in _row_groups(path))
    yield from ((f"{path}/{row}", True) for row in range(rows))


def read_from_shard(path: str) -> bytes:
    """The content of an image. Raises ImageError."""
    match = _SHARD.fullmatch(path)
    assert match is not None
    shard, name = match.groups()
    if shard.lower().endswith(".tar"):
        found = _tar_index(shard).get(name)
        if found is None:
            raise ImageError("cannot be read: the tar file has no such entry")
        offset, size = found
        with _opened(shard) as file:
            file.seek(offset)
            content: bytes = file.read(size)
        return content
    return _row(shard, int(name) if name.isdecimal() else -1)


def _opened(path: str) -> Any:
    try:
        return file_system(path).open(path, "rb") if is_url(path) else open_regular(path)
    except MissingDependencyError:
        raise
    except Exception as error:  # every file system of fsspec has its own
        raise ImageError(f"cannot be read: {type(error).__name__}") from error


def _state(path: str) -> tuple[int, int]:
    """Changes with the content of a local file; files in storage must not change during a run."""
    if is_url(path):
        return 0, 0
    try:
        status = Path(path).stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _tar_index(path: str) -> dict[str, tuple[int, int]]:
    return _read_tar_index(path, _state(path))


@lru_cache(_KEPT)
def _read_tar_index(path: str, state: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Offset and size of each regular file; of files with the same name the first."""
    found: dict[str, tuple[int, int]] = {}
    try:
        with _opened(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for entry in archive:
                if entry.isreg() and entry.sparse is None and entry.size <= MAX_BYTES:
                    found.setdefault(entry.name, (entry.offset_data, entry.size))
    except tarfile.TarError as error:
        raise ImageError(f"damaged tar file ({type(error).__name__})") from None
    return found


@lru_cache(_KEPT)
def _parquet(path: str, state: tuple[int, int]) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError(f'{path} needs pyarrow: `pip install "vim-deploy[parquet]"`.') from None
    with _opened(path) as file:
        content = io.BytesIO(file.read()) if is_url(path) else None
    try:
        return pyarrow.parquet.ParquetFile(content or path)
    except (OSError, ValueError) as error:  # pyarrow raises these
        raise ImageError(f"damaged Parquet file ({type(error).__name__})") from None


def _file(path: str) -> Any:
    return _parquet(path, _state(path))


def _image_column(path: str) -> str | None:
    """The column to read, "name" or "name.bytes"; None for a table without images."""
    import pyarrow

    for field in _file(path).schema_arrow:
        kind = field.type
        if pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind):
            return str(field.name)
        if pyarrow.types.is_struct(kind) and any(part.name == "bytes" for part in kind):
            return f"{field.name}.bytes"
    return None


def _row_groups(path: str) -> list[tuple[int, int]]:
    """The first row and the number of rows of each row group."""
    metadata, start, found = _file(path).metadata, 0, []
    for number in range(metadata.num_row_groups):
        count = metadata.row_group(number).num_rows
        found.append((start, count))
        start += count
    return found


@lru_cache(_KEPT)
def _column_of_group(path: str, group: int, state: tuple[int, int]) -> Any:
    name = _image_column(path)
    assert name is not None
    column = _file(path).read_row_group(group, columns=[name]).column(0).combine_chunks()
    return column.field("bytes") if "." in name else column


def _row(path: str, row: int) -> bytes:
    for group, (start, count) in enumerate(_row_groups(path)):
        if start <= row < start + count:
            content = _column_of_group(path, group, _state(path))[row - start].as_py()
            if content is None:
                raise ImageError("cannot be read: the row has no image")
            return bytes(content)
    raise ImageError("cannot be read: the Parquet file has no such row")
