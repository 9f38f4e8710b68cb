"""Files and folders at URLs, with the methods of pathlib.Path that runs use."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from vim_deploy.errors import MissingDependencyError
from vim_deploy.storage.url import check_url, is_url, reason_of

_IN_MEMORY = 16 << 20  # bytes; larger files are written to a temporary file before they are uploaded
CONNECTIONS = 64  # requests at the same time; botocore itself allows 10
_S3 = ("s3", "s3a")
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}


class Status(NamedTuple):
    """As os.stat_result, as far as it is known."""

    st_size: int
    st_mode: int = stat.S_IFREG


def file_system(url: str) -> Any:
    """The file system of fsspec for a URL.

    Raises MissingDependencyError, which names the extra, and ValueError for an unknown scheme.
    """
    scheme = url.partition("://")[0].lower()
    try:
        import fsspec

        # Listings change during a run, which the caches of fsspec would not show.
        return fsspec.filesystem(scheme, use_listings_cache=False, **_connections(scheme))
    except ImportError as error:
        extra = _EXTRAS.get(scheme, "urls")
        raise MissingDependencyError(
            f'{scheme}:// cannot be used ({reason_of(error)}); run `pip install "vim-deploy[{extra}]"`, or '
            "copy the files and give their paths."
        ) from None


def _connections(scheme: str) -> dict[str, Any]:
    """The setting of botocore for S3, unless the user's configuration of fsspec has settings for it."""
    from fsspec.config import conf

    if scheme not in _S3 or "config_kwargs" in conf.get(scheme, {}):
        return {}
    return {"config_kwargs": {"max_pool_connections": CONNECTIONS}}


@contextlib.contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    """Every file system has errors of its own; all become OSError."""
    try:
        yield
    except (FileNotFoundError, FileExistsError, MemoryError, MissingDependencyError):
        raise
    except ImportError as error:
        raise MissingDependencyError(f"{url} cannot be used: {error}.") from None
    except Exception as error:
        raise OSError(errno.EIO, reason_of(error)) from None


class StoragePath:
    """A file or folder at a URL. All methods that use the storage raise OSError.

    A file is replaced as a whole when it is closed, so that readers see the old or the new content. Folders
    exist if files do. Raises ConfigError for a URL with credentials.
    """

    def __init__(self, url: str) -> None:
        scheme, _, path = check_url(url).partition("://")
        self._url = f"{scheme}://{path.rstrip('/')}"

    def __str__(self) -> str:
        return self._url

    def __fspath__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return f"StoragePath({self._url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoragePath) and self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)

    @property
    def name(self) -> str:
        return posixpath.basename(self._url)

    @property
    def suffix(self) -> str:
        return posixpath.splitext(self.name)[1]

    @property
    def parent(self) -> StoragePath:
        return StoragePath(posixpath.dirname(self._url))

    def with_name(self, name: str) -> StoragePath:
        return self.parent / name

    def __truediv__(self, name: str | os.PathLike[str]) -> StoragePath:
        return StoragePath(f"{self._url}/{os.fspath(name)}")

    def resolve(self) -> StoragePath:
        return self

    absolute = resolve

    def is_relative_to(self, other: object) -> bool:
        return self == other or self._url.startswith(f"{other}/")

    def relative_to(self, other: StoragePath) -> Path:
        """The path below `other`."""
        return Path(self._url.removeprefix(f"{other}/"))

    def stat(self) -> Status:
        with _storage_errors(self._url):
            found = self._system.info(self._url)
        if found["type"] != "file":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._url)
        return Status(int(found.get("size") or 0))

    def exists(self) -> bool:
        with _storage_errors(self._url):
            return bool(self._system.exists(self._url))

    def is_file(self) -> bool:
        with _storage_errors(self._url):
            return bool(self._system.isfile(self._url))

    def is_dir(self) -> bool:
        with _storage_errors(self._url):
            return bool(self._system.isdir(self._url))

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: folders exist if files do."""

    def iterdir(self) -> Iterator[StoragePath]:
        """In the order of their names; nothing for a folder that does not exist."""
        try:
            with _storage_errors(self._url):
                names = self._system.ls(self._url, detail=False)
        except FileNotFoundError:
            return
        for name in sorted(posixpath.basename(str(entry).rstrip("/")) for entry in names):
            if name and name != self.name:
                yield self / name

    def open(self, mode: str = "rb") -> IO[bytes]:
        """For reading."""
        with _storage_errors(self._url):
            file: IO[bytes] = self._system.open(self._url, mode)
        return file

    def read_bytes(self, most: int | None = None) -> bytes:
        """The content, or its first bytes."""
        with _storage_errors(self._url), self._system.open(self._url, "rb") as file:
            content: bytes = file.read(-1 if most is None else most)
        return content

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    @contextlib.contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        """A local file that is uploaded when the block ends without an error."""
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
            yield file
            file.seek(0)
            with _storage_errors(self._url), self._system.open(self._url, "wb") as target:
                while block := file.read(8 << 20):
                    target.write(block)

    def write_text(self, text: str) -> None:
        with self.writing() as file:
            file.write(text.encode())

    def replace(self, target: StoragePath) -> None:
        """Move the file."""
        with _storage_errors(self._url):
            self._system.mv(self._url, str(target))

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            with _storage_errors(self._url):
                self._system.rm_file(self._url)
        except FileNotFoundError:
            if not missing_ok:
                raise

    @property
    def _system(self) -> Any:
        return file_system(self._url)


def file_or_url(text: str) -> Path:
    """A Path, or a StoragePath for a URL, which has the methods of Path that runs use."""
    return StoragePath(text) if is_url(text) else Path(text)  # type: ignore[return-value]
