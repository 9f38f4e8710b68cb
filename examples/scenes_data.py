"""Scenes for segmentation: several digits on a textured background, with their label maps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from digits_data import CLASS_NAMES as DIGIT_NAMES
from digits_data import Digits, load_split
from numpy.typing import NDArray
from PIL import Image

from vim_deploy.data.preprocess import Preprocessing

Scene = tuple[NDArray[np.uint8], NDArray[np.uint8]]

SIZE = 128
CLASS_NAMES = ("background", *DIGIT_NAMES)
PREPROCESSING = Preprocessing(image_size=(SIZE, SIZE), crop_ratio=1.0, mean=(0.5,) * 3, std=(0.25,) * 3)
HELD_OUT_SCENES, HELD_OUT_SEED = 200, 1_000_000  # far from the seeds of training

_SIDES = (30, 52)  # pixels of a digit
_MAX_ROTATION = 12  # degrees
_TRIES = 12  # positions to try per digit, as digits must not overlap
_STROKE = 128  # least gray value, of 255, that belongs to the digit
_LEAST_CONTRAST = 90.0  # largest difference of two colors in one channel


def make_scene(
    digits: Digits, generator: np.random.Generator, height: int = SIZE, width: int = SIZE
) -> Scene:
    """An image (height, width, 3) and its label map (height, width): 0 is background, 1 + d is digit d."""
    background, ink = _colors(generator)
    image = background + _texture(generator, height, width)
    labels = np.zeros((height, width), np.uint8)
    taken = np.zeros((height, width), bool)
    for _ in range(_TRIES * height * width // SIZE**2):
        side = int(generator.integers(*_SIDES))
        top, left = (int(generator.integers(0, length - side + 1)) for length in (height, width))
        place = (slice(top, top + side), slice(left, left + side))
        if taken[place].any():
            continue
        taken[place] = True
        index = int(generator.integers(len(digits.labels)))
        cover = _digit(digits.pixels[index], side, generator)
        image[place] += (cover[..., None] / 255) * (ink - image[place])
        labels[place][cover >= _STROKE] = 1 + digits.labels[index]
    noisy = image + generator.normal(0, 6, image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), labels


def held_out_scenes(count: int = HELD_OUT_SCENES) -> Iterator[Scene]:
    """Scenes of held-out digits; always the same."""
    _, digits = load_split()
    for index in range(count):
        yield make_scene(digits, np.random.default_rng([HELD_OUT_SEED, index]))


def _colors(generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two contrasting colors: background and ink."""
    while True:
        background, ink = generator.uniform(20, 235, (2, 3))
        if np.abs(background - ink).max() >= _LEAST_CONTRAST:
            return background, ink


def _texture(generator: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """Stripes in a random direction, and smooth shading: (height, width, 3)."""
    angle, length = generator.uniform(0, np.pi), generator.uniform(5, 20)
    y, x = np.mgrid[:height, :width]
    stripes = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / length)
    coarse = generator.uniform(-1, 1, (max(2, height // 16), max(2, width // 16))).astype(np.float32)
    shade = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    weights = generator.uniform(0, 18, (2, 3))
    return np.asarray(stripes[..., None] * weights[0] + shade[..., None] * weights[1])


def _digit(pixels: NDArray[np.uint8], side: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """A digit's gray values, enlarged and slightly rotated."""
    image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
    turn = generator.uniform(-_MAX_ROTATION, _MAX_ROTATION)
    return np.asarray(image.rotate(turn, Image.Resampling.BILINEAR))
