"""Inputs to pixels, in threads: the way for images in memory and for callers who trust their files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from PIL import Image

from vim_deploy.data.decode import Limits, load_image
from vim_deploy.data.discover import Item
from vim_deploy.data.preparation import Preparation, needed_of
from vim_deploy.errors import ImageError

Input: TypeAlias = Item | Image.Image


@dataclass(frozen=True)
class Loaded:
    """An input after decoding. `pixels`: what the task's preparation gives, None when there is a reason."""

    item: Item | None
    reason: str = ""
    size: tuple[int, int] | None = None
    flags: tuple[str, ...] = ()
    pixels: np.ndarray | None = None


class Loader(Protocol):
    """`load_many` is called from several threads and raises nothing for what is wrong with an input."""

    def load_many(self, inputs: Sequence[Input]) -> Iterator[Loaded]: ...

    def close(self) -> None:
        """End what is under way; calls of `load_many` that still wait return."""
        ...


class ThreadLoader:
    """Decodes in the calling thread. A decoder that crashes takes the process with it."""

    def __init__(self, preparation: Preparation, limits: Limits) -> None:
        self._preparation, self._limits = preparation, limits
        self._needed = needed_of(preparation)

    def load_many(self, inputs: Sequence[Input]) -> Iterator[Loaded]:
        return map(self.load, inputs)

    def load(self, given: Input) -> Loaded:
        item = given if isinstance(given, Item) else None
        try:
            source = given.path if isinstance(given, Item) else given
            decoded = load_image(source, self._limits, self._needed)
            pixels = self._preparation.normalise(self._preparation.crop(decoded.image))
        except ImageError as error:
            return Loaded(item, reason=str(error))
        except MemoryError:
            return Loaded(item, reason="not enough memory to decode the image")
        return Loaded(item, size=decoded.size, flags=decoded.flags, pixels=pixels)

    def close(self) -> None:
        pass
