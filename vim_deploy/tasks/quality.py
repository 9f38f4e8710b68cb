"""How good the predictions of a run are compared with ground truth, for any selection of its images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Quality:
    """`value` of `metric`, from 0 to 1, over the images with the given numbers, which may repeat.

    `images`: how many images there are. `resamples`: how many selections are worth their time.
    """

    metric: str
    images: int
    value: Callable[[NDArray[np.intp]], float]
    resamples: int
