"""Reads files at URLs with fsspec: https://, s3://, gs://, hf:// and its other file systems."""

from __future__ import annotations

import re

from vim_deploy.errors import ImageError, MissingDependencyError

MAX_BYTES = 1 << 30  # of one file
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_url(text: str) -> bool:
    return _URL.match(text) is not None


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
    import fsspec

    try:
        with fsspec.open(url, "rb") as file:
            content: bytes = file.read(MAX_BYTES + 1)
    except ImportError as error:
        raise MissingDependencyError(f"{url} cannot be read: {error}.") from None
    except MemoryError:
        raise
    except Exception as error:  # every file system of fsspec has its own
        raise ImageError(f"cannot be read: {_reason(error)}") from error
    if len(content) > MAX_BYTES:
        raise ImageError(f"the file has more than {MAX_BYTES} bytes")
    return content


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(": ")
