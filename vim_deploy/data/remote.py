"""Reads image files at URLs with fsspec: https://, s3://, gs://, hf:// and its other file systems."""

from __future__ import annotations

from vim_deploy.errors import ImageError, MissingDependencyError
from vim_deploy.storage.path import file_system
from vim_deploy.storage.url import has_credentials, reason_of

MAX_BYTES = 1 << 30  # of one file


def check_fsspec(url: str) -> None:
    """Raises MissingDependencyError if fsspec, which reads `url`, is not installed."""
    try:
        import fsspec  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            f'{url} needs fsspec; run `pip install "vim-deploy[urls]"`, or download the file and give its '
            "path."
        ) from None


def read_url(url: str) -> bytes:
    """The content of the file.

    Raises ImageError for a file that cannot be read, and MissingDependencyError if fsspec needs another
    package for this kind of URL.
    """
    check_fsspec(url)
    if has_credentials(url):
        raise ImageError("the URL has credentials; set them in the environment")
    try:
        with file_system(url).open(url, "rb") as file:
            content: bytes = file.read(MAX_BYTES + 1)
    except (MissingDependencyError, MemoryError):
        raise
    except Exception as error:  # every file system of fsspec has its own
        raise ImageError(f"cannot be read: {reason_of(error)}") from error
    if len(content) > MAX_BYTES:
        raise ImageError(f"the file has more than {MAX_BYTES} bytes")
    return content
