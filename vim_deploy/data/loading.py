"""Loads inputs in the calling thread, for images in memory and for trusted files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from PIL import Image

from vim_deploy.data.decode import Limits, load_image
from vim_deploy.data.discover import Item
from vim_deploy.data.preparation import Preparation, minimum_size_of
from vim_deploy.errors import ImageError
from vim_deploy.machine import usable_cpus, usable_memory

Input: TypeAlias = Item | Image.Image
MAX_DEFAULT_WORKERS = 8


@dataclass(frozen=True)
class Loaded:
    """A decoded input. `pixels`: the output of the task's preparation; None if it failed for `reason`."""

    item: Item | None
    reason: str = ""
    size: tuple[int, int] | None = None
    flags: tuple[str, ...] = ()
    pixels: np.ndarray | None = None


class Loader(Protocol):
    """`load_many` is called from several threads. An invalid input gives a `reason`, not an exception."""

    def load_many(self, inputs: Sequence[Input]) -> Iterator[Loaded]: ...

    def close(self) -> None:
        """Cancel decoding; waiting calls of `load_many` return."""
        ...


class ThreadLoader:
    """Decodes in the calling thread. A crash of a decoder ends the process."""

    def __init__(self, preparation: Preparation, limits: Limits) -> None:
        self._preparation, self._limits = preparation, limits
        self._minimum_size = minimum_size_of(preparation)

    def load_many(self, inputs: Sequence[Input]) -> Iterator[Loaded]:
        return map(self.load, inputs)

    def load(self, given: Input) -> Loaded:
        item = given if isinstance(given, Item) else None
        try:
            source = given.path if isinstance(given, Item) else given
            decoded = load_image(source, self._limits, self._minimum_size)
            pixels = self._preparation.normalise(self._preparation.crop(decoded.image))
        except ImageError as error:
            return Loaded(item, reason=str(error))
        except MemoryError:
            return Loaded(item, reason="not enough memory to decode the image")
        return Loaded(item, size=decoded.size, flags=decoded.flags, pixels=pixels)

    def close(self) -> None:
        pass


def default_workers(limits: Limits) -> int:
    """Decoding workers: one per CPU, up to MAX_DEFAULT_WORKERS and as many as the memory is enough for."""
    workers, memory = min(usable_cpus(), MAX_DEFAULT_WORKERS), usable_memory()
    return workers if memory is None else max(1, min(workers, memory // limits.memory))
