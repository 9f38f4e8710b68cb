"""The results of feature extraction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Features:
    """`values`: the network's output for the image, of the output's shape without the batch axis."""

    values: np.ndarray


@dataclass(frozen=True)
class FeatureFile:
    """The file that has an image's features: its escaped path below the --arrays folder, and the shape."""

    path: str
    shape: tuple[int, ...]
