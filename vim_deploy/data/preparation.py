"""How a decoded image becomes what a task starts from: the part that loaders and their processes share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from vim_deploy.data.bilinear import resize
from vim_deploy.data.padded import Padded
from vim_deploy.data.preprocess import MODES, Preprocessing
from vim_deploy.errors import ConfigError


class Preparation(Protocol):
    """`crop` runs where images are decoded, which may be another process; `normalise` where they are used."""

    def shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """Of what `crop` gives (height, width, channels) for an upright image of that (width, height)."""
        ...

    def crop(self, image: Image.Image) -> np.ndarray:
        """8-bit pixels (height, width, channels) of an 8-bit image."""
        ...

    def normalise(self, values: np.ndarray) -> np.ndarray:
        """What the task takes, from what `crop` gives."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, which `preparation_from` reads back."""
        ...


@dataclass(frozen=True)
class Scaling:
    """A whole image, scaled with its proportions to fit `within` (long side, short side), or as it is.

    Bilinear without antialiasing, enlarging too; pixels stay 8-bit. Source: mmcv's `imrescale`, which the
    reference's test images pass through with (2048, 512).
    """

    within: tuple[int, int] | None
    channels: int = 3

    def scaled_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) for an image of `size` (width, height)."""
        width, height = size
        if self.within is None:
            return height, width
        factor = min(max(self.within) / max(size), min(self.within) / min(size))
        return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))

    def shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        return (*self.scaled_size(size), self.channels)

    def crop(self, image: Image.Image) -> np.ndarray:
        height, width = self.scaled_size(image.size)
        values = np.asarray(image.convert(MODES[self.channels])).reshape(image.height, image.width, -1)
        if values.shape[:2] == (height, width):
            return values
        return np.rint(resize(values, height, width)).astype(np.uint8)

    def normalise(self, values: np.ndarray) -> np.ndarray:
        """As they are: windows are normalised when they are cut."""
        return values

    def to_dict(self) -> dict[str, Any]:
        return {"within": None if self.within is None else list(self.within), "channels": self.channels}


def needed_of(preparation: Preparation) -> Callable[[int, int], tuple[int, int]] | None:
    """The least size of an image that a preparation makes its pixels from, where it leaves their shape alone.

    The others give as many pixels as the image's own proportions say, which a reduced image has not exactly.
    """
    return preparation.resized_size if isinstance(preparation, Preprocessing) else None


def preparation_from(values: dict[str, Any]) -> Preparation:
    """Reads `to_dict` of any preparation. Raises ConfigError."""
    if "padded" in values:
        height, width = values["padded"]
        return Padded((height, width), values["channels"])
    if "within" not in values:
        return Preprocessing.from_dict(values)
    within = values["within"]
    if within is None:
        return Scaling(None, values["channels"])
    if len(within) != 2 or not all(type(side) is int and side > 0 for side in within):
        raise ConfigError(f"within is {within!r}; expected two sides in pixels, or null.")
    return Scaling((within[0], within[1]), values["channels"])
