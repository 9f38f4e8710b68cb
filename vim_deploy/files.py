"""Reading regular files, atomic writes, and SHA-256 hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

from vim_deploy.storage import StoragePath

try:
    import fcntl
except ImportError:  # no file locks on this system
    fcntl = None  # type: ignore[assignment]

_NETWORK_FILE_SYSTEMS = frozenset(
    (
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "gfs2",
        "gpfs",
        "lustre",
        "nfs",
        "nfs4",
        "ocfs2",
        "smb3",
        "vboxsf",
        "virtiofs",
    )
)
ZIP_SIGNATURE = b"PK\x03\x04"
_TEMPORARY = re.compile(r"\.[0-9a-f]{20}(\.[0-9a-f]{12})?\.tmp")
_SAFE_FLAGS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"))


def is_folder(path: str | os.PathLike[str]) -> bool:
    """False for everything that is not a folder or cannot be looked up, such as a name that is too long.

    Path.is_dir raises an error for the latter.
    """
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: str | os.PathLike[str]) -> bool:
    """The same for regular files."""
    return os.path.isfile(path)  # noqa: PTH113


def path_exists(path: str | os.PathLike[str]) -> bool:
    """Also for a link that leads nowhere."""
    return path.exists() if isinstance(path, StoragePath) else os.path.lexists(path)


def identity_of(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Equal for all paths of one file or folder; None for a path that cannot be looked up."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def is_one_of(path: str | os.PathLike[str], others: Iterable[str | os.PathLike[str]]) -> bool:
    """Whether a path leads to the same file or folder as one of the others."""
    identity = identity_of(path)
    return identity is not None and any(identity_of(other) == identity for other in others)


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading.

    Raises OSError, also for folders, and for pipes and devices, which could block or never end.
    """
    # Without O_NONBLOCK, opening a pipe waits for its writer. It has no effect on regular files.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return os.fdopen(descriptor, "rb")


def is_on_local_disk(path: str | os.PathLike[str]) -> bool:
    """Whether no other machine can change the files of a folder, as on a network file system.

    True where it is not known. Raises OSError for a path that does not exist.
    """
    device = Path(path).stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return True
    # See proc(5): fields, " - ", then the type of the file system.
    found = [line.partition(" - ")[2].split()[:1] for line in lines if line.split()[2] == wanted]
    return not any(
        kind in _NETWORK_FILE_SYSTEMS or kind.startswith("fuse") for (kind,) in filter(None, found)
    )


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def atomic_write(
    path: str | os.PathLike[str], replace: bool = True, durable: bool = True
) -> Iterator[IO[bytes]]:
    """A file object whose content replaces `path` atomically when the block ends without an error.

    `durable`: wait until the content is on the disk, so that it is complete after a power failure too.

    Raises OSError when writing fails, also for a file that exists if not `replace`; nothing is left behind
    then. A killed process leaves at most one temporary file, which the next write to `path` replaces.
    """
    if isinstance(path, StoragePath):
        if not replace and path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        with path.writing() as stored:
            yield stored
        return
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        # Never replace a device or a folder by a file.
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    temporary, file = _open_temporary(target)
    try:
        with file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
            # Before the file is closed, which releases its lock.
            if replace:
                temporary.replace(target)
            else:
                _rename_to_new(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that `atomic_write` writes, or that was left when it was killed."""
    return _TEMPORARY.fullmatch(name) is not None


def _open_temporary(target: Path) -> tuple[Path, IO[bytes]]:
    """A new file beside `target`. Its name is fixed, so that the file of a killed process is used again.

    Not from tempfile, whose files are readable only by their owner.
    """
    name = sha256_of(os.fsencode(target.name))[:20]
    fixed = target.with_name(f".{name}.tmp")
    try:
        # Never through a link or into a pipe that somebody else has put there.
        file = os.fdopen(os.open(fixed, os.O_RDWR | os.O_CREAT | _SAFE_FLAGS, 0o666), "r+b")
    except OSError:
        pass  # for example, the file of another user
    else:
        if _lock(file, fixed):
            file.truncate()
            return fixed, file
        file.close()
    other = target.with_name(f".{name}.{secrets.token_hex(6)}.tmp")
    return other, other.open("xb")


def _lock(file: IO[bytes], path: Path) -> bool:
    """Whether no other process writes to this file, which must be a regular file with this name only."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(file.fileno())
        # The process that had the lock may have renamed the file.
        return (
            stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and os.path.samestat(status, path.lstat())
        )
    except OSError:
        return False


def _rename_to_new(path: Path, target: Path) -> None:
    """Raises FileExistsError if `target` exists."""
    try:
        target.hardlink_to(path)
    except OSError:
        # It exists, or the file system has no hard links.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        path.replace(target)
    else:
        path.unlink()
