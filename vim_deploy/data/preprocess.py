"""Preprocessing of classifiers: from a decoded image to normalized pixels, without PyTorch.

The rule is the reference's evaluation transform: the shorter side is resized with Pillow's antialiased
bicubic filter to `int(size / crop_ratio)`, the center is cropped, values are divided by 255 and normalized.
For rectangular inputs: the image is scaled, keeping its proportions, by the smallest factor at which it
covers `int(height / crop_ratio)` x `int(width / crop_ratio)`. For square inputs that is the shorter side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from vim_deploy.errors import ConfigError, EngineError
from vim_deploy.text import listed

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MODES = {1: "L", 3: "RGB"}
_SEQUENCES = ("image_size", "mean", "std")
_LARGEST_SIDE = 16384
# Larger resized images are not computed completely: a 1 x 60000 image would need gigabytes.
_LARGEST_RESIZED = 1 << 26


ARRAYS_ONLY = (
    "the model takes named arrays, not images (task raw); use vim-infer with .npz files, or "
    "vim_deploy.load(...).run(NAME=array, ...) in Python."
)


@dataclass(frozen=True)
class NoPreprocessing:
    """In the place of the preprocessing of a model without images; using it is an EngineError."""

    def to_dict(self) -> dict[str, Any]:
        return {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise EngineError(ARRAYS_ONLY)


@dataclass(frozen=True)
class Preprocessing:
    """The parameters of the module's rule.

    Raises ConfigError for invalid values (they may come from an untrusted file).
    """

    image_size: tuple[int, int] = (224, 224)  # height, width of the network's input
    crop_ratio: float = 0.875
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channels: int = 3

    def __post_init__(self) -> None:
        sides_valid = len(self.image_size) == 2 and all(
            _is_int(side) and 1 <= side <= _LARGEST_SIDE for side in self.image_size
        )
        if not sides_valid:
            raise ConfigError(
                f"image_size is {self.image_size!r}; expected (height, width), each 1 to {_LARGEST_SIDE}."
            )
        if not (_is_finite(self.crop_ratio) and 0.05 <= self.crop_ratio <= 1):
            raise ConfigError(f"crop_ratio is {self.crop_ratio!r}; expected a number from 0.05 to 1.")
        if not (_is_int(self.channels) and self.channels >= 1):
            raise ConfigError(f"channels is {self.channels!r}; expected 1 or more.")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != self.channels or not all(_is_finite(value) for value in values):
                raise ConfigError(f"{name} is {values!r}; expected {self.channels} numbers, one per channel.")
        if not all(value > 0 for value in self.std):
            raise ConfigError(f"std is {self.std!r}; expected numbers above 0.")

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Float32 (channels, height, width) from an 8-bit image, converted to grayscale for one channel.

        Raises ConfigError for channel counts that images do not have.
        """
        if self.channels not in MODES:
            raise ConfigError(
                f"the model takes {self.channels} channels, but images have 1 or 3; "
                "prepare the pixels yourself and call Model.run(pixels)."
            )
        return self.normalize(self.crop(image))

    def shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """Shape of `crop`'s output, the same for images of any `size`."""
        return (*self.image_size, self.channels)

    def crop(self, image: Image.Image) -> np.ndarray:
        """The center crop of the resized image: uint8 (height, width, channels)."""
        values = np.asarray(self._resize_and_crop(image.convert(MODES[self.channels])))
        return values.reshape(*self.image_size, self.channels)

    def normalize(self, values: np.ndarray) -> np.ndarray:
        """Float32 (channels, height, width) from uint8 (height, width, channels) of any size."""
        out = np.empty((self.channels, *values.shape[:2]), np.float32)
        for channel, table in enumerate(self._tables):
            np.take(table, values[:, :, channel], out=out[channel])
        return out

    @cached_property
    def _tables(self) -> np.ndarray:
        """Normalized value of each 8-bit value, (channels, 256), in the reference's order of operations."""
        scaled = np.arange(256, dtype=np.float32) / np.float32(255)
        mean = np.asarray(self.mean, np.float32)[:, None]
        std = np.asarray(self.std, np.float32)[:, None]
        return (scaled - mean) / std

    def resized_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) before the crop; the longer side is rounded down, as the reference does."""
        target_height, target_width = (int(side / self.crop_ratio) for side in self.image_size)
        if width * target_height <= height * target_width:
            return target_width, int(target_width * height / width)
        return int(target_height * width / height), target_height

    def _resize_and_crop(self, image: Image.Image) -> Image.Image:
        width, height = self.resized_size(*image.size)
        crop_height, crop_width = self.image_size
        top, left = round((height - crop_height) / 2.0), round((width - crop_width) / 2.0)
        box = (left, top, left + crop_width, top + crop_height)
        if width * height <= _LARGEST_RESIZED:
            return image.resize((width, height), Image.Resampling.BICUBIC).crop(box)
        # Extreme proportions: compute only the crop; the result differs by one 8-bit step at most.
        scale_x, scale_y = image.width / width, image.height / height
        source = (box[0] * scale_x, box[1] * scale_y, box[2] * scale_x, box[3] * scale_y)
        return image.resize((crop_width, crop_height), Image.Resampling.BICUBIC, box=source)

    def to_dict(self) -> dict[str, Any]:
        return {
            "image_size": list(self.image_size),
            "crop_ratio": self.crop_ratio,
            "mean": list(self.mean),
            "std": list(self.std),
            "channels": self.channels,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        """Reads `to_dict`. Raises ConfigError for missing, unknown or unusable values."""
        names = [item.name for item in fields(cls)]
        for what, found in (
            ("lacks", [name for name in names if name not in values]),
            ("has unknown fields", sorted(map(str, values.keys() - set(names)))),
        ):
            if found:
                raise ConfigError(f"preprocessing {what} {listed(found)}; expected {', '.join(names)}.")
        for name in _SEQUENCES:
            if not isinstance(values[name], (list, tuple)):
                raise ConfigError(f"{name} is {values[name]!r:.100}; expected a list of numbers.")
        return cls(**{**values, **{name: tuple(values[name]) for name in _SEQUENCES}})


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
