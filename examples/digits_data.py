"""The digits of scikit-learn: images, split and preprocessing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from vim_deploy.data.preprocess import Preprocessing

CLASS_NAMES = tuple("0123456789")
SPLIT_SEED = 0
HELD_OUT = 360  # of 1797, stratified by class
LARGEST_VALUE = 16  # of a pixel in the data set

PREPROCESSING = Preprocessing(image_size=(32, 32), crop_ratio=1.0, mean=(0.5,), std=(0.5,), channels=1)


@dataclass(frozen=True)
class Digits:
    """Some of the images: positions in the data set, pixels (count, 8, 8) uint8, labels (count)."""

    indices: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def images(self) -> list[Image.Image]:
        """Grayscale images of 8 x 8 pixels."""
        return [Image.fromarray(pixels) for pixels in self.pixels]

    def inputs(self) -> NDArray[np.float32]:
        """The model input (count, 1, 32, 32)."""
        return np.stack([PREPROCESSING(image) for image in self.images()])


def load_split() -> tuple[Digits, Digits]:
    """Training and held-out digits; always the same."""
    data = load_digits()
    pixels = np.round(data.images * (255 / LARGEST_VALUE)).astype(np.uint8)
    labels = data.target.astype(np.int64)
    training, held_out = train_test_split(
        np.arange(len(labels)), test_size=HELD_OUT, stratify=labels, random_state=SPLIT_SEED
    )
    return tuple(Digits(rows, pixels[rows], labels[rows]) for rows in (np.sort(training), np.sort(held_out)))
