"""Reading regular files, atomic writes, and SHA-256 hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading. Raises OSError, also for pipes and devices, which could block or never end."""
    # Without O_NONBLOCK, opening a pipe waits for its writer. It has no effect on regular files.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return os.fdopen(descriptor, "rb")


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file object whose content replaces `path` atomically when the block ends without an error.

    Raises OSError when writing fails; nothing is left behind then.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        # Never replace a device or a folder by a file.
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    # Not tempfile: its files are readable only by their owner.
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
