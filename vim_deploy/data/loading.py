"""Loads inputs in the calling thread, for images in memory and for trusted files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from vim_deploy.data.decode import DecodedImage, Limits, MinimumSize, decode, decode_bytes
from vim_deploy.data.discover import Item
from vim_deploy.data.memory import ImageSource
from vim_deploy.data.preparation import Preparation, minimum_size_of
from vim_deploy.data.shards import in_shard, read_from_shard
from vim_deploy.errors import ImageError
from vim_deploy.machine import usable_cpus, usable_memory

Input: TypeAlias = Item | ImageSource
MAX_DEFAULT_WORKERS = 8


@dataclass(frozen=True)
class Loaded:
    """A decoded input: `pixels` are the output of the task's preparation, or `arrays` were read from a file.

    Neither: it failed for `reason`.
    """

    given: Input
    reason: str = ""
    size: tuple[int, int] | None = None
    flags: tuple[str, ...] = ()
    pixels: np.ndarray | None = None
    arrays: Mapping[str, np.ndarray] | None = None

    @property
    def failed(self) -> bool:
        return self.pixels is None and self.arrays is None

    @property
    def path(self) -> str | None:
        """The path of the image; None for an image in memory without a name."""
        return self.given.path if isinstance(self.given, Item) else self.given.name

    @property
    def label(self) -> int | None:
        """The index of the true class where known."""
        return self.given.label if isinstance(self.given, Item) else None

    @property
    def all_flags(self) -> tuple[str, ...]:
        """Those of decoding and of the input."""
        return (*self.flags, *self.given.flags) if isinstance(self.given, Item) else self.flags


class Loader(Protocol):
    """`load_many` is called from several threads. An invalid input gives a `reason`, not an exception."""

    def load_many(self, inputs: Sequence[Input]) -> Iterator[Loaded]: ...

    def close(self) -> None:
        """Cancel decoding; waiting calls of `load_many` return."""
        ...


def decode_path(
    path: str, limits: Limits | None = None, minimum_size: MinimumSize | None = None
) -> DecodedImage:
    """`decode` for a path that Discovery found, which may be that of an image in a tar or Parquet file."""
    if in_shard(path):
        return decode_bytes(read_from_shard(path), path, limits, minimum_size)
    return decode(path, limits, minimum_size)


class ThreadLoader:
    """Decodes in the calling thread. A crash of a decoder ends the process."""

    def __init__(self, preparation: Preparation, limits: Limits) -> None:
        self._preparation, self._limits = preparation, limits
        self._minimum_size = minimum_size_of(preparation)

    def load_many(self, inputs: Sequence[Input]) -> Iterator[Loaded]:
        return map(self.load, inputs)

    def load(self, given: Input) -> Loaded:
        try:
            decoded = self._decode(given)
            pixels = self._preparation.normalize(self._preparation.crop(decoded.image))
        except ImageError as error:
            return Loaded(given, reason=str(error))
        except MemoryError:
            return Loaded(given, reason="not enough memory to decode the image")
        return Loaded(given, size=decoded.size, flags=decoded.flags, pixels=pixels)

    def _decode(self, given: Input) -> DecodedImage:
        if isinstance(given, Item):
            return decode_path(given.path, self._limits, self._minimum_size)
        return given.decode(self._limits, self._minimum_size)

    def close(self) -> None:
        pass


def default_workers(limits: Limits) -> int:
    """Decoding workers: one per CPU, up to MAX_DEFAULT_WORKERS and as many as the memory is enough for."""
    workers, memory = min(usable_cpus(), MAX_DEFAULT_WORKERS), usable_memory()
    return workers if memory is None else max(1, min(workers, memory // limits.memory))
