"""Weights of an engine in memory: a mapped copy that all processes of a user share, or private memory.

The engine file itself is never mapped: when another file is copied over it, it is cut first, and a process
that reads a mapped page at that moment is killed by SIGBUS. Copies are in the cache folder, under the hash of
their content. They are read-only, and are replaced and removed only by name, which mappings survive.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vim_deploy.engines.cache_folder import cache_subfolder, mark_used
from vim_deploy.errors import EngineError, os_errors
from vim_deploy.files import atomic_write, is_on_local_disk, path_exists

_log = logging.getLogger("vim_deploy")

FOLDER = "weights"
_BLOCK = 1 << 20
_WORTH_SHARING = 1 << 20  # bytes
_READ_ONLY = 0o400
_WRITABLE = 0o222


class DamagedError(Exception):
    """The content has another hash than expected, which is the argument."""


class _MappedFile(mmap.mmap):
    """A file, other than memory without one."""


@dataclass(frozen=True)
class Source:
    """Weights in an open engine file. `head`: what their hash starts with; `sha256`: the expected hash, 64
    hexadecimal digits."""

    file: BinaryIO
    offset: int
    size: int
    head: bytes
    sha256: str

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """Positions and content. Raises DamagedError at the end."""
        digest = hashlib.sha256(self.head)
        self.file.seek(self.offset)
        at = 0
        while at < self.size and (block := self.file.read(min(_BLOCK, self.size - at))):
            digest.update(block)
            yield at, block
            at += len(block)
        if (found := digest.hexdigest()) != self.sha256:
            raise DamagedError(found)


def private_weights(source: Source) -> memoryview:
    """The weights in memory of this process. Raises DamagedError and OSError."""
    memory = memoryview(mmap.mmap(-1, source.size))
    for at, block in source.blocks():
        memory[at : at + len(block)] = block
    return memory.toreadonly()


def shared_weights(source: Source) -> memoryview:
    """The weights in memory that processes share, or private memory where that is not possible.

    The engine is read and hashed, and the mapped memory is compared with what was hashed. Raises DamagedError
    and OSError.
    """
    if source.size < _WORTH_SHARING:
        return private_weights(source)
    try:
        return _mapped_copy(source)
    except (OSError, EngineError) as error:
        _log.info("weights are in memory of this process, not shared with others: %s", error)
    return private_weights(source)


def release_pages(weights: bytes | memoryview) -> None:
    """Tell the system that the pages of shared weights are not needed now; those that are used come back."""
    memory = weights.obj if isinstance(weights, memoryview) else None
    if isinstance(memory, _MappedFile) and hasattr(mmap, "MADV_DONTNEED"):
        memory.madvise(mmap.MADV_DONTNEED)


def _mapped_copy(source: Source) -> memoryview:
    """Raises OSError or EngineError if there can be no copy, and DamagedError."""
    folder = cache_subfolder(FOLDER)
    if not is_on_local_disk(folder):
        # A server can cut the file, or be out of reach when a page is read.
        raise OSError(f"{folder} is on a network file system. Set VIM_DEPLOY_CACHE to a local folder.")
    path = folder / f"{source.sha256}.weights"
    with os_errors(EngineError, f"{path} cannot be used"):
        if path_exists(path):
            _check_owner(path)
            try:
                return _verified(path, source)
            except OSError as error:
                _log.warning("copying the weights again: %s", error)
                path.unlink(missing_ok=True)
        return _verified(path, source, _write_copy(path, source))


def _check_owner(path: Path) -> None:
    """Raises EngineError for the copy of another user, which is not replaced either."""
    if (owner := path.lstat().st_uid) != os.geteuid():
        raise EngineError(
            f"{path} belongs to another user (ID {owner}). Set VIM_DEPLOY_CACHE to a folder of your own."
        )


def _write_copy(path: Path, source: Source) -> os.stat_result | None:
    """The new file; None if another process was first."""
    try:
        # Damage after a power failure is found when the copy is opened.
        with atomic_write(path, replace=False, durable=False) as file:
            for _, block in source.blocks():
                file.write(block)
            os.fchmod(file.fileno(), _READ_ONLY)
            written = os.fstat(file.fileno())
    except FileExistsError:
        return None
    return written


def _verified(path: Path, source: Source, written: os.stat_result | None = None) -> memoryview:
    """The mapped copy. Raises OSError if it may be changed by others or differs from the engine.

    `written`: a file that this process has just written and hashed, which is not compared again.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        safe = status.st_uid == os.geteuid() and not status.st_mode & _WRITABLE
        if not safe or status.st_size != source.size:
            raise OSError(
                f"{path} has {status.st_size} bytes, mode {status.st_mode & 0o777:03o} and owner "
                f"{status.st_uid}; expected {source.size} bytes, mode 400 and owner {os.geteuid()}"
            )
        weights = memoryview(_MappedFile(descriptor, source.size, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)
    if written is not None and os.path.samestat(status, written):
        return weights
    same = True
    for at, block in source.blocks():
        same = same and weights[at : at + len(block)].tobytes() == block
    if not same:
        raise OSError(f"{path} differs from the engine")
    mark_used(path)
    return weights
