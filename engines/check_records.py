"""Which graphs have passed the checks of this user, so that each is checked only once.

A record is a file in the cache folder whose name and content are the key of a check: a hash of everything
that its result depends on. Only records count that no other user could have written. What is not recorded is
checked, so that a missing or damaged record only costs time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from vim_deploy.engines.cache_folder import cache_subfolder
from vim_deploy.errors import EngineError
from vim_deploy.files import atomic_write, is_on_local_disk

_log = logging.getLogger("vim_deploy")

FOLDER = "checks"
SUFFIX = ".passed"
_PRIVATE_FOLDER = 0o700
_READ_ONLY = 0o400
_WRITABLE = 0o222
_WRITABLE_BY_OTHERS = 0o022


def has_passed(key: str) -> bool:
    """Whether this user has recorded the check with this key."""
    try:
        with _opened_folder() as (_, descriptor):
            return _is_valid(descriptor, key)
    except (OSError, EngineError) as error:
        _log.debug("no record of a check: %s", error)
        return False


def record_passed(key: str) -> None:
    """Record a check. If that is not possible, it is made again the next time."""
    try:
        with _opened_folder() as (folder, _):
            path = folder / f"{key}{SUFFIX}"
            path.unlink(missing_ok=True)  # it is not valid
            # Another process may be first. Damage after a power failure is found when the record is read.
            with (
                contextlib.suppress(FileExistsError),
                atomic_write(path, replace=False, durable=False) as file,
            ):
                file.write(_content(key))
                os.fchmod(file.fileno(), _READ_ONLY)
    except (OSError, EngineError) as error:
        _log.info("the graph will be checked again the next time: %s", error)


@contextlib.contextmanager
def _opened_folder() -> Iterator[tuple[Path, int]]:
    """The folder of records, and its descriptor. Raises OSError or EngineError if others can change it."""
    folder = cache_subfolder(FOLDER, _PRIVATE_FOLDER)
    if not is_on_local_disk(folder):
        raise OSError(f"{folder} is on a network file system; set VIM_DEPLOY_CACHE to a local folder")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or status.st_mode & _WRITABLE_BY_OTHERS:
            raise OSError(
                f"{folder} has mode {status.st_mode & 0o777:03o} and owner {status.st_uid}; expected "
                f"a folder of user {os.geteuid()} that others cannot write to"
            )
        yield folder, descriptor
    finally:
        os.close(descriptor)


def _is_valid(folder: int, key: str) -> bool:
    """Raises OSError if there is no such file, and for links."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(f"{key}{SUFFIX}", flags, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_uid != os.geteuid()
            or status.st_mode & _WRITABLE
            or os.read(descriptor, len(_content(key)) + 1) != _content(key)
        ):
            return False
        with contextlib.suppress(OSError):  # the cache may be read-only
            os.utime(descriptor)  # from which its last use is known
        return True
    finally:
        os.close(descriptor)


def _content(key: str) -> bytes:
    """With the key: a record that was renamed is not valid."""
    return f"vim_deploy: the check {key} has passed\n".encode()
