"""The preparations: how decoded images become the input of a task, in this or in a decoder process."""

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
    """`crop` runs where images are decoded, perhaps in another process; `normalize` where they are used."""

    def shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """(height, width, channels) of `crop`'s output for an upright image of `size` (width, height)."""
        ...

    def crop(self, image: Image.Image) -> np.ndarray:
        """8-bit pixels (height, width, channels) of an 8-bit image."""
        ...

    def normalize(self, values: np.ndarray) -> np.ndarray:
        """The task's input, from the output of `crop`."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, for `preparation_from`."""
        ...


@dataclass(frozen=True)
class Scaling:
    """Scales an image, keeping its proportions, to fit `within` (long side, short side); None: no scaling.

    Bilinear without antialiasing on 8-bit pixels; small images are enlarged. Source: mmcv's `imrescale`,
    which the reference uses with (2048, 512).
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

    def normalize(self, values: np.ndarray) -> np.ndarray:
        """Unchanged: each window is normalized when it is cut."""
        return values

    def to_dict(self) -> dict[str, Any]:
        return {"within": None if self.within is None else list(self.within), "channels": self.channels}


def minimum_size_of(preparation: Preparation) -> Callable[[int, int], tuple[int, int]] | None:
    """The smallest decoded size that a preparation needs, for reduced JPEG decoding; None if unsupported.

    Supported only where the output shape does not depend on the image's proportions, because a reduced image
    does not keep them exactly.
    """
    return preparation.resized_size if isinstance(preparation, Preprocessing) else None


def preparation_from(values: dict[str, Any]) -> Preparation:
    """The preparation that `to_dict` describes. Raises ConfigError."""
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
