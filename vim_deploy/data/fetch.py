"""Reads the images of a run that are not local files, so that a decoder process can open them."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vim_deploy.data.discover import Item
from vim_deploy.data.memory import EncodedImage
from vim_deploy.data.remote import read_url
from vim_deploy.data.shards import in_shard, read_from_shard
from vim_deploy.errors import ImageError
from vim_deploy.storage import is_url
from vim_deploy.storage.path import CONNECTIONS

THREADS = CONNECTIONS  # files that one loader reads at the same time


@dataclass(frozen=True)
class Readable:
    """Where a decoder process can read an image, and the image's own path or name.

    `reason`: why it cannot, else empty.
    """

    path: str
    name: str
    reason: str = ""


class Fetcher:
    """Reads files at URLs and images in shards, several at once. Decoder processes have no access to URLs."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def readable(self, inputs: Sequence[Item | EncodedImage]) -> Iterator[list[Readable]]:
        """All inputs as files, which exist during the block."""
        remote = [given for given in inputs if isinstance(given, Item) and _is_fetched(given.path)]
        contents = self._threads().map(_read, remote) if remote else iter(())
        with contextlib.ExitStack() as stack:
            files = []
            for given in inputs:
                if isinstance(given, EncodedImage):
                    files.append(_file_of(given.content, given.name or "", stack))
                elif _is_fetched(given.path):
                    files.append(_file_of(next(contents), given.path, stack))
                else:
                    files.append(Readable(given.path, given.path))
            yield files

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            self._pool = self._pool or ThreadPoolExecutor(THREADS, thread_name_prefix="fetch")
            return self._pool

    def close(self) -> None:
        """Does not wait for files that are being read."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def _is_fetched(path: str) -> bool:
    return is_url(path) or in_shard(path)


def _read(item: Item) -> bytes | ImageError:
    path = item.path
    try:
        return read_from_shard(path, item.span) if in_shard(path) else read_url(path)
    except ImageError as error:
        return error
    except MemoryError:
        return ImageError("not enough memory to read the file")


def _file_of(content: bytes | ImageError, name: str, stack: contextlib.ExitStack) -> Readable:
    if isinstance(content, ImageError):
        return Readable("", name, str(content))
    if not hasattr(os, "memfd_create"):  # not Linux
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()), "image")
        temporary.write_bytes(content)
        return Readable(str(temporary), name)
    # In memory, and gone with this process.
    file = stack.enter_context(os.fdopen(os.memfd_create("image"), "wb"))
    file.write(content)
    file.flush()
    return Readable(f"/proc/{os.getpid()}/fd/{file.fileno()}", name)
