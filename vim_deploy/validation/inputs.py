"""Inputs to compare models on: real images, noise, and numerically difficult images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from vim_deploy.data.discover import Discovery
from vim_deploy.data.loading import decode_path
from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.errors import ImageError

REAL, RANDOM, HARD = KINDS = ("real", "random", "hard")
LARGE = 100.0  # times the values of normalized images
_SQUARE = 16  # side of the coarse checkerboard: a patch


@dataclass(frozen=True)
class Input:
    """One preprocessed image: float32 (channels, height, width). `kind` groups inputs in reports."""

    name: str
    kind: str
    pixels: np.ndarray


def real_inputs(
    images: Sequence[str], prepare: Callable[[Image.Image], np.ndarray], limit: int | None = None
) -> list[Input]:
    """Image files, folders and globs, each prepared by `prepare`, such as a Preprocessing.

    Raises ImageError for one that cannot be read.
    """
    found = [
        Input(_short(item.path), REAL, prepare(decode_path(item.path).image))
        for item in islice(Discovery(images), limit)
    ]
    if not found:
        raise ImageError(f"no images found in {', '.join(images)}; give image files, or folders with images.")
    return found


def random_inputs(shape: tuple[int, int, int], count: int = 4, seed: int = 0) -> list[Input]:
    """Gaussian noise of variance 1, like normalized images. `shape`: (channels, height, width)."""
    generator = np.random.default_rng(seed)
    return [
        Input(f"noise {index}", RANDOM, generator.standard_normal(shape, np.float32))
        for index in range(count)
    ]


def hard_inputs(preprocessing: Preprocessing, seed: int = 0) -> list[Input]:
    """Constant, alternating and extreme inputs: no contrast, and sums that cancel or grow."""
    shape = (preprocessing.channels, *preprocessing.image_size)
    mean = np.asarray(preprocessing.mean, np.float32)[:, None, None]
    std = np.asarray(preprocessing.std, np.float32)[:, None, None]

    def image(brightness: np.ndarray | float) -> np.ndarray:
        """Normalized pixels of a brightness from 0 to 1: (height, width) or one number."""
        pixels = (np.broadcast_to(brightness, shape) - mean) / std
        return np.ascontiguousarray(pixels, np.float32)

    generator = np.random.default_rng(seed)
    rows, columns = np.indices(preprocessing.image_size)
    one_pixel = np.zeros(preprocessing.image_size)
    one_pixel[shape[1] // 2, shape[2] // 2] = 1
    images = {
        "black": image(0.0),
        "white": image(1.0),
        "checkerboard": image((rows + columns) % 2),
        "coarse checkerboard": image((rows // _SQUARE + columns // _SQUARE) % 2),
        "one white pixel": image(one_pixel),
        "salt and pepper": image(generator.integers(0, 2, shape)),
        "zeros": np.zeros(shape, np.float32),
        "large values": generator.standard_normal(shape, np.float32) * np.float32(LARGE),
    }
    return [Input(name, HARD, pixels) for name, pixels in images.items()]


def stacked(inputs: Iterable[Input]) -> np.ndarray:
    """The pixels of all inputs: (images, channels, height, width)."""
    return np.stack([item.pixels for item in inputs])


def batches(inputs: Sequence[Input], size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(inputs), size):
        yield stacked(inputs[start : start + size])


def digest(inputs: Iterable[Input]) -> str:
    """SHA-256 of names and pixels: two runs with the same digest used the same inputs."""
    total = hashlib.sha256()
    for item in inputs:
        total.update(f"{item.kind}/{item.name}/{item.pixels.shape}".encode())
        total.update(np.ascontiguousarray(item.pixels).tobytes())
    return total.hexdigest()


def _short(path: str) -> str:
    return "/".join(Path(path).parts[-2:])
