"""Preprocessing of detectors: images are scaled to fit the model's input and padded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from vim_deploy.data.preprocess import MODES, Preprocessing


@dataclass(frozen=True)
class Padded:
    """Scales an image, keeping its proportions, to fit `within` (height, width); small images are enlarged.

    Bilinear with antialiasing on 8-bit pixels, as in the reference (detectron2's ResizeShortestEdge with both
    sides at 1024). Padding follows in `padded_pixels`.
    """

    within: tuple[int, int]
    channels: int = 3

    def scaled_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) for an image of `size` (width, height)."""
        width, height = size
        factor = min(self.within[0] / height, self.within[1] / width)
        return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))

    def shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        return (*self.scaled_size(size), self.channels)

    def crop(self, image: Image.Image) -> np.ndarray:
        """The scaled image: uint8 (height, width, channels)."""
        height, width = self.scaled_size(image.size)
        scaled = image.convert(MODES[self.channels]).resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(scaled).reshape(height, width, self.channels)

    def normalize(self, values: np.ndarray) -> np.ndarray:
        """Unchanged: overlays are drawn on 8-bit pixels; `padded_pixels` normalizes."""
        return values

    def to_dict(self) -> dict[str, Any]:
        return {"padded": list(self.within), "channels": self.channels}


def padded_pixels(values: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Normalizes the output of `Padded.crop` and pads it with zeros at the bottom and right.

    Returns float32 (channels, height, width).
    """
    height, width = preprocessing.image_size
    padding = ((0, 0), (0, height - values.shape[0]), (0, width - values.shape[1]))
    return np.pad(preprocessing.normalize(values), padding)
