"""What becomes of one input: the same record for every task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Score:
    """One class of a top-k list."""

    index: int
    name: str
    probability: float


@dataclass(frozen=True)
class ClassArea:
    """A class that a label map has, and in how many pixels."""

    index: int
    name: str
    pixels: int


@dataclass(frozen=True)
class Segments:
    """The class of every pixel.

    `labels`: class numbers, 8- or 16-bit (height, width), of the image's own size. `areas`: the classes
    found, largest first. `seen`: the scaled image as the network saw it, 8-bit (height, width, channels).
    """

    labels: np.ndarray
    areas: tuple[ClassArea, ...]
    seen: np.ndarray


@dataclass(frozen=True)
class FoundObject:
    """`box`: left, top, right, bottom in the image's own pixels, to a thousandth. `outline`: its mask in the
    image as COCO's compressed run lengths, where it was asked for."""

    index: int
    name: str
    score: float
    box: tuple[float, float, float, float]
    outline: str | None = None


@dataclass(frozen=True)
class Objects:
    """What was detected in an image, best first.

    `masks`: probabilities over each object's box (objects, rows, columns). `seen`: the scaled image, 8-bit
    (height, width, channels).
    """

    found: tuple[FoundObject, ...]
    masks: np.ndarray
    seen: np.ndarray


@dataclass(frozen=True)
class Prediction:
    """What became of one input."""

    path: str | None  # None for an image that was given as an object
    status: str  # "ok" or "error"
    reason: str = ""  # why the status is "error"
    size: tuple[int, int] | None = None  # width, height, upright
    flags: tuple[str, ...] = ()  # what decoding did, see data/decode.py
    label: int | None = None  # index of the true class where known
    rank: int | None = None  # how many classes scored above the true one
    top: tuple[Score, ...] = ()  # best first
    features: np.ndarray | None = None
    segments: Segments | None = None
    objects: Objects | None = None
